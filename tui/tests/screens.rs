//! Screens as they are drawn, kept as text.

mod support;

use control::{ClientError, Signal};
use crossterm::event::KeyCode;
use ratatui::style::{Color, Modifier};
use support::memory::Memory;
use support::{Console, DARK, sim, still};
use tui::update::News;
use tui::{Look, Marker};

fn lone() -> Console {
    let memory = still(Memory::new("edge-1"), |m| {
        let m = m.with_proxy("cart", true);
        sim::history(&m, 100, &[("cart", 412.0)], |_, _| {});
        m
    });
    Console::new(vec![memory], DARK, false)
}

#[test]
fn overview() {
    let mut c = Console::shop(DARK);
    insta::assert_snapshot!("overview_120x36", c.screen(120, 36));
    insta::assert_snapshot!("overview_80x24", c.screen(80, 24));
    insta::assert_snapshot!("overview_60x15", c.screen(60, 15));
    insta::assert_snapshot!("overview_160x50", c.screen(160, 50));
}

#[test]
fn overview_zoomed_out_and_frozen() {
    let mut c = Console::shop(DARK);
    c.text("---");
    insta::assert_snapshot!("zoomed_out_120x36", c.screen(120, 36));
    c.text("+ ");
    for _ in 0..20 {
        c.second(&sim::RATES);
    }
    insta::assert_snapshot!("frozen_80x24", c.screen(80, 24));
}

#[test]
fn a_run_on_its_time_line() {
    let mut c = lone();
    c.text("6");
    insta::assert_snapshot!("run_none_80x24", c.screen(80, 24));
    let memory = still(Memory::new("edge-1"), |m| {
        let m = m.with_proxy("cart", true);
        sim::staged(&m, 170);
        m
    });
    let mut c = Console::new(vec![memory], DARK, false);
    c.text("6");
    insta::assert_snapshot!("run_80x24", c.screen(80, 24));
    insta::assert_snapshot!("run_120x36", c.screen(120, 36));
    insta::assert_snapshot!("run_60x15", c.screen(60, 15));
    c.text("x");
    assert!(c.screen(80, 24).contains("End checkout and take its faults back?"), "{}", c.screen(80, 24));
    c.key(KeyCode::Esc);
    c.agents[0].event(model::EventKind::RunEnded {
        name: "checkout".into(),
        verdict: "deviated".into(),
        why: "checkout_p99: 8 windows broke < 250ms while faults were on".into(),
        report: Some("runs/checkout-20261128T220102Z".into()),
    });
    c.sync();
    insta::assert_snapshot!("run_over_80x24", c.screen(80, 24));
}

#[test]
fn markers() {
    for (name, marker) in [("dots", Marker::Dots), ("blocks", Marker::Blocks)] {
        let mut c = Console::shop(Look { marker, ..DARK });
        insta::assert_snapshot!(format!("overview_{name}_80x24"), c.screen(80, 24));
    }
}

#[test]
fn faults() {
    let mut c = Console::shop(DARK);
    c.text("2");
    insta::assert_snapshot!("faults_120x36", c.screen(120, 36));
    c.text("/abo");
    c.key(KeyCode::Enter);
    c.key(KeyCode::Enter);
    insta::assert_snapshot!("form_80x24", c.screen(80, 24));
    c.text("9999");
    insta::assert_snapshot!("form_wrong_80x24", c.screen(80, 24));
}

fn connections(look: Look, read_only: bool) -> Console {
    let mut c = Console::shop(look);
    c.model.read_only = read_only;
    sim::connections(&c.agents[0]);
    let effects = c.text("3");
    c.answer(effects);
    c
}

#[test]
fn connections_live() {
    let mut c = connections(DARK, false);
    insta::assert_snapshot!("connections_80x24", c.screen(80, 24));
    let effects = c.text("s");
    c.answer(effects);
    let effects = c.text("s");
    c.answer(effects);
    insta::assert_snapshot!("connections_120x36", c.screen(120, 36));
    let effects = c.text("/held fault");
    c.answer(effects);
    insta::assert_snapshot!("connections_filtered_80x24", c.screen(80, 24));
    c.key(KeyCode::Enter);
    c.text("k");
    insta::assert_snapshot!("connections_reset_80x24", c.screen(80, 24));
    c.key(KeyCode::Esc);
    insta::assert_snapshot!("connections_60x15", c.screen(60, 15));
    insta::assert_snapshot!("connections_read_only_80x24", connections(DARK, true).screen(80, 24));
}

fn requests(look: Look) -> Console {
    let mut c = Console::shop(look);
    c.text("4");
    let list = sim::requests(&c.agents[0]);
    c.say(0, News::Requests(Ok(list)));
    c
}

#[test]
fn requests_live() {
    let mut c = requests(DARK);
    insta::assert_snapshot!("requests_80x24", c.screen(80, 24));
    c.key(KeyCode::Down);
    c.key(KeyCode::Down);
    insta::assert_snapshot!("requests_held_120x36", c.screen(120, 36));
    c.key(KeyCode::Down);
    insta::assert_snapshot!("requests_hit_80x24", c.screen(80, 24));
    c.text("/pay 503");
    insta::assert_snapshot!("requests_filtered_60x15", c.screen(60, 15));
}

#[test]
fn requests_when_there_are_none() {
    let mut c = lone();
    c.text("4");
    assert!(c.screen(80, 24).contains("asking for the requests"));
    c.say(0, News::Requests(Ok(control::RequestList::default())));
    insta::assert_snapshot!("requests_none_80x24", c.screen(80, 24));
    let old = control::Failure::new(control::Code::NotFound, "there is nothing at /api/v1/requests");
    c.say(0, News::Requests(Err(ClientError::Failure(old))));
    assert!(c.screen(80, 24).contains("there is nothing at /api/v1/requests"));
}

fn files(look: Look) -> Console {
    let mut c = Console::shop(look);
    c.text("5");
    c.say(0, News::Operations(Ok(sim::operations(0))));
    c.tick(c.model.now_ms + 1000.0);
    c.say(0, News::Operations(Ok(sim::operations(1))));
    c
}

#[test]
fn files_live() {
    let mut c = files(DARK);
    insta::assert_snapshot!("files_80x24", c.screen(80, 24));
    c.key(KeyCode::Down);
    insta::assert_snapshot!("files_120x36", c.screen(120, 36));
    c.text("/fsync eio");
    insta::assert_snapshot!("files_filtered_60x15", c.screen(60, 15));
    let mut c = lone();
    c.text("5");
    assert!(c.screen(80, 24).contains("asking for the operations"));
    c.say(0, News::Operations(Ok(control::OperationList::default())));
    insta::assert_snapshot!("files_none_80x24", c.screen(80, 24));
}

#[test]
fn connections_of_several_agents() {
    let memory = still(Memory::new("db-1"), |m| m.with_proxy("redis", false));
    let mut c = Console::new(vec![Console::shop(DARK).agents[0].clone(), memory], DARK, false);
    sim::connections(&c.agents[0]);
    let first = c.agents[0].state().connections[3].clone();
    let target = "proxy:redis".parse().unwrap();
    c.agents[1].state().connections = vec![model::ConnectionView { target, faults: Vec::new(), ..first }];
    let effects = c.text("3");
    c.answer(effects);
    insta::assert_snapshot!("connections_two_agents_80x24", c.screen(80, 24));
    for _ in 0..4 {
        c.key(KeyCode::Down);
    }
    insta::assert_snapshot!("connections_two_agents_120x36", c.screen(120, 36));
}

#[test]
fn connections_when_there_are_none() {
    let mut c = lone();
    let effects = c.text("3");
    c.answer(effects);
    insta::assert_snapshot!("connections_none_80x24", c.screen(80, 24));
    let mut c = Console::new(vec![still(Memory::new("edge-1"), |m| m)], DARK, false);
    let effects = c.text("3");
    assert!(c.screen(80, 24).contains("asking for the connections"));
    c.answer(effects);
    insta::assert_snapshot!("connections_no_proxy_80x24", c.screen(80, 24));
    let old = control::Failure::new(control::Code::NotFound, "there is nothing at /api/v1/connections");
    c.say(0, News::Connections(Err(ClientError::Failure(old))));
    assert!(c.screen(80, 24).contains("edge-1: there is nothing at /api/v1/connections"));
}

#[test]
fn questions_before_arming() {
    let mut c = lone();
    c.text("2");
    c.key(KeyCode::Enter);
    c.key(KeyCode::Enter);
    insta::assert_snapshot!("confirm_high_80x24", c.screen(80, 24));
    c.key(KeyCode::Esc);
    while c.model.ui.form.field().unwrap().name() != "share" {
        c.key(KeyCode::Down);
    }
    for _ in 0..6 {
        c.key(KeyCode::Left);
    }
    c.key(KeyCode::Enter);
    insta::assert_snapshot!("confirm_medium_80x24", c.screen(80, 24));
}

#[test]
fn help_and_palette() {
    let mut c = Console::shop(DARK);
    c.text("?");
    insta::assert_snapshot!("help_120x36", c.screen(120, 36));
    c.text("halt");
    insta::assert_snapshot!("help_filtered_80x24", c.screen(80, 24));
    c.key(KeyCode::Esc);
    c.text(":zo");
    insta::assert_snapshot!("palette_80x24", c.screen(80, 24));
}

#[test]
fn details_and_leaving() {
    let mut c = Console::shop(DARK);
    c.key(KeyCode::Tab);
    c.key(KeyCode::Enter);
    insta::assert_snapshot!("fault_80x24", c.screen(80, 24));
    c.key(KeyCode::Esc);
    c.key(KeyCode::BackTab);
    c.key(KeyCode::Enter);
    insta::assert_snapshot!("target_80x24", c.screen(80, 24));
    c.key(KeyCode::Esc);
    c.text("q");
    insta::assert_snapshot!("leaving_80x24", c.screen(80, 24));
}

#[test]
fn halted_and_lifting() {
    use control::Caller;
    use control::service::Service;
    use futures::FutureExt;
    let mut c = Console::shop(DARK);
    c.ctrl('x');
    insta::assert_snapshot!("halting_80x24", c.screen(80, 24));
    let done = c.agents[0].halt(Caller::inside("sre")).now_or_never().unwrap().unwrap();
    c.say(0, News::Halted(3.1, Ok(done)));
    c.sync();
    insta::assert_snapshot!("halted_120x36", c.screen(120, 36));
    c.text("r");
    insta::assert_snapshot!("lifting_80x24", c.screen(80, 24));
}

#[test]
fn nothing_to_show() {
    let mut c = Console::new(vec![still(Memory::new("edge-1"), |m| m)], DARK, false);
    insta::assert_snapshot!("no_targets_80x24", c.screen(80, 24));
    let mut c = Console::new(vec![still(Memory::new("edge-1"), |m| m.with_proxy("cart", true))], DARK, true);
    insta::assert_snapshot!("no_traffic_read_only_80x24", c.screen(80, 24));
    let mut c = Console::new(Vec::new(), DARK, false);
    insta::assert_snapshot!("no_agent_80x24", c.screen(80, 24));
    assert!(c.screen(50, 12).contains("50×12 is too small"));
    for (w, h) in [(1, 1), (2, 40), (300, 2), (61, 15), (60, 60), (400, 15)] {
        c.screen(w, h);
        Console::shop(DARK).screen(w, h);
    }
}

#[test]
fn a_lost_agent() {
    let memory = still(Memory::new("db-1"), |m| {
        let m = m.with_proxy("redis", false);
        sim::history(&m, 300, &[("redis", 96.0)], |_, _| {});
        m
    });
    let mut c = Console::new(vec![Console::shop(DARK).agents[0].clone(), memory], DARK, false);
    let e = ClientError::Refused { endpoint: "unix:/run/murphy-0.sock".into() };
    c.say(0, News::Signal(Signal::Lost(e)));
    insta::assert_snapshot!("lost_120x36", c.screen(120, 36));
}

/// All colours on a screen, and whether anything is reversed and bold.
fn colours(c: &mut Console) -> (Vec<Color>, bool, bool) {
    let buffer = c.buffer(80, 24);
    let mut seen: Vec<Color> = buffer.content().iter().flat_map(|cell| [cell.fg, cell.bg]).collect();
    seen.sort_by_key(|c| format!("{c:?}"));
    seen.dedup();
    let has = |m| buffer.content().iter().any(|cell| cell.modifier.contains(m));
    (seen, has(Modifier::REVERSED), has(Modifier::BOLD))
}

fn every_screen(look: Look, mut check: impl FnMut(&mut Console, &str)) {
    for keys in ["", "2", "2\n", "?", ":", "q", "2\n\n"] {
        let mut c = Console::shop(look);
        for k in keys.chars() {
            if k == '\n' { drop(c.key(KeyCode::Enter)) } else { drop(c.text(&k.to_string())) }
        }
        check(&mut c, keys);
    }
    check(&mut connections(look, false), "connections");
    check(&mut requests(look), "requests");
    check(&mut files(look), "files");
    let mut c = Console::shop(look);
    c.ctrl('x');
    check(&mut c, "halt");
}

#[test]
fn without_colours_none_is_set_but_reverse_and_bold_stay() {
    every_screen(Look { mono: true, ..DARK }, |c, keys| {
        let (seen, reversed, bold) = colours(c);
        assert_eq!(seen, [Color::Reset], "{keys:?}");
        assert!(reversed && bold, "{keys:?}");
    });
}

#[test]
fn colours_that_are_invisible_on_light_ground_are_not_used_there() {
    every_screen(Look { light: true, ..DARK }, |c, keys| {
        let (seen, ..) = colours(c);
        for colour in [Color::Yellow, Color::LightCyan, Color::LightRed, Color::LightMagenta, Color::White] {
            assert!(!seen.contains(&colour), "{keys:?} {colour:?}");
        }
    });
}
