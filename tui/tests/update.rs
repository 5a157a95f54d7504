//! What keys and agents bring about, without a terminal.

mod support;

use control::service::Role;
use control::{ClientError, Code, Failure, Signal};
use crossterm::event::KeyCode;
use model::event::Ending;
use support::memory::Memory;
use support::{Console, DARK, sim, still};
use tui::command::{Command, possible};
use tui::form::Plan;
use tui::state::{Focus, Link, Popup};
use tui::update::{Effect, Msg, News, next_tick_ms, update};

fn lone(read_only: bool) -> Console {
    let memory = still(Memory::new("edge-1"), |m| {
        let m = m.with_proxy("cart", true);
        sim::history(&m, 30, &[("cart", 400.0)], |_, _| {});
        m
    });
    Console::new(vec![memory], DARK, read_only)
}

fn halts(effects: &[Effect]) -> bool {
    effects.contains(&Effect::Halt(0))
}

#[test]
fn ctrl_x_halts_from_anywhere_and_every_time() {
    for keys in ["", "2", "2\n", "2/", "2\n\n", "2\n\nca", "?", "?x", ":", ":ha", "q", " "] {
        let mut c = Console::shop(DARK);
        for k in keys.chars() {
            if k == '\n' { drop(c.key(KeyCode::Enter)) } else { drop(c.text(&k.to_string())) }
        }
        assert!(halts(&c.ctrl('x')), "{keys:?}");
        assert!(halts(&c.ctrl('x')), "{keys:?} again");
        assert!(c.model.ui.popup.is_none(), "{keys:?}");
    }
    assert!(halts(&lone(true).ctrl('x')), "also read-only");
    let mut nobody = Console::new(vec![Memory::new("a")], DARK, false);
    let e = ClientError::Refused { endpoint: "x".into() };
    nobody.say(0, News::Signal(Signal::Lost(e)));
    assert!(halts(&nobody.ctrl('x')), "also an agent that seems lost");
}

#[test]
fn a_text_field_takes_letters_that_are_commands_elsewhere() {
    let mut c = lone(false);
    c.text("2");
    c.key(KeyCode::Enter);
    assert_eq!(c.model.ui.focus, Focus::Form);
    for _ in 0..5 {
        c.key(KeyCode::Backspace);
    }
    let effects = c.text("dq2u:?");
    assert!(effects.is_empty());
    assert_eq!(c.model.ui.form.field().unwrap().input.value(), "dq2u:?");
    c.ctrl('u');
    c.text("80ms");
    c.key(KeyCode::Enter);
    assert!(matches!(c.model.ui.popup, Some(Popup::Confirm { .. })));
}

#[test]
fn arming_asks_as_much_as_it_hits() {
    // All of the only target: its name must be typed.
    let mut c = lone(false);
    c.text("2");
    c.key(KeyCode::Enter);
    assert!(c.key(KeyCode::Enter).is_empty());
    assert!(c.text("car").is_empty());
    assert!(c.key(KeyCode::Enter).is_empty(), "not the whole name");
    c.text("t");
    let effects = c.key(KeyCode::Enter);
    assert!(matches!(&effects[..], [Effect::Arm { agent: 0, .. }]), "{effects:?}");

    // A fifth of it: y. A hundredth: nothing.
    for (share, question) in [("20%", true), ("1%", false)] {
        let mut c = lone(false);
        c.text("2");
        c.key(KeyCode::Enter);
        while c.model.ui.form.field().unwrap().name() != "share" {
            c.key(KeyCode::Tab);
        }
        c.ctrl('u');
        c.text(share);
        let mut effects = c.key(KeyCode::Enter);
        if question {
            assert!(effects.is_empty() && c.text("n").is_empty() && c.model.ui.popup.is_none());
            c.key(KeyCode::Enter);
            effects = c.text("y");
        }
        let [Effect::Arm { fault, .. }] = &effects[..] else { panic!("{share}: {effects:?}") };
        assert_eq!(fault.share.to_string(), share);
    }
}

#[test]
fn a_wrong_form_is_not_armed_and_the_wrong_line_is_selected() {
    let mut c = lone(false);
    c.text("2");
    c.key(KeyCode::Enter);
    c.ctrl('u');
    c.text("120");
    c.key(KeyCode::Down);
    assert!(c.key(KeyCode::Enter).is_empty());
    assert!(c.model.ui.popup.is_none());
    assert_eq!(c.model.ui.form.field().unwrap().name(), "delay");
    assert!(c.model.ui.toast.as_ref().unwrap().text.contains("the unit is missing"));
}

#[test]
fn the_agent_is_asked_once_the_form_rests_and_only_the_last_answer_counts() {
    let mut c = lone(false);
    c.text("2");
    let now = c.model.now_ms;
    assert!(next_tick_ms(&c.model).unwrap() <= 250.0);
    assert!(c.tick(now + 100.0).is_empty());
    let effects = c.tick(now + 300.0);
    let [Effect::Plan { agent: 0, ask, .. }] = &effects[..] else { panic!("{effects:?}") };
    let refusal = ClientError::Failure(Failure::new(Code::Held, "held by run x").hint("wait"));
    c.say(0, News::Planned(ask + 1, Err(refusal.clone())));
    assert_eq!(c.model.ui.form.plan, Plan::Asked(*ask));
    c.say(0, News::Planned(*ask, Err(refusal)));
    assert_eq!(c.model.ui.form.plan, Plan::Refused("held by run x; wait".into()));
    assert!(c.screen(80, 24).contains("held by run x; wait"));
}

#[test]
fn read_only_and_roles_say_why_not() {
    let mut c = lone(true);
    assert_eq!(possible(&c.model, Command::Arm), Err("read-only".into()));
    c.text("2");
    assert!(c.text("a").is_empty());
    assert_eq!(c.model.ui.focus, Focus::Catalogue);
    assert!(c.model.ui.toast.as_ref().unwrap().text.contains("arm: read-only"));
    let mut c = lone(false);
    c.role = Role::Viewer;
    c.snapshot(0);
    assert_eq!(possible(&c.model, Command::Arm), Err("needs operator, you are viewer".into()));
    assert!(c.screen(80, 24).contains("viewer"));
}

#[test]
fn disarm_undo_and_what_the_agent_answers() {
    let mut c = Console::shop(DARK);
    c.key(KeyCode::Tab);
    let id = c.model.selected_fault().unwrap().1.id.clone();
    assert_eq!(c.text("d"), [Effect::Disarm(0, id.clone())]);
    assert!(c.model.selected_fault().unwrap().1.leaving);
    c.agents[0].end(&id, Ending::Disarmed);
    c.sync();
    assert_eq!(c.model.armed_count(), 2);
    assert!(c.text("u").is_empty(), "nothing was armed from here");
    let fault = sim::fault(r#"{"target":"proxy:cart","for":"60s","inject":{"latency":{"delay":"1ms"}}}"#);
    let state = c.agents[0].arm_now(fault, None, "me");
    c.say(0, News::Armed(Ok(Box::new(state.clone()))));
    c.sync();
    assert_eq!(c.model.armed_count(), 3, "told twice, on once");
    assert_eq!(c.text("u"), [Effect::Disarm(0, state.id)]);
}

#[test]
fn leaving_asks_only_when_something_is_armed() {
    assert_eq!(lone(false).text("q"), [Effect::Leave]);
    let mut c = Console::shop(DARK);
    assert!(c.text("q").is_empty());
    assert!(c.key(KeyCode::Esc).is_empty() && c.model.ui.popup.is_none());
    c.text("q");
    assert_eq!(c.text("k"), [Effect::Leave]);
    c.text("q");
    assert_eq!(c.text("h"), [Effect::Halt(0), Effect::Leave]);
    assert_eq!(update(&mut Console::shop(DARK).model, Msg::Terminate), [Effect::Leave]);
}

#[test]
fn leaving_an_agent_inside_says_that_it_ends() {
    let mut c = Console::shop(DARK);
    c.text("q");
    assert!(c.screen(80, 24).contains("the run goes on without this console"));
    // The agent in memory says it is process 4711.
    c.model.pid = Some(4711);
    assert!(c.screen(80, 24).contains("the agent ends with it and takes all back"));
}

#[test]
fn a_halt_is_lifted_by_the_name_of_the_run() {
    use control::service::{Caller, Service};
    use futures::FutureExt;
    let mut c = Console::shop(DARK);
    assert!(c.text("r").is_empty() && c.model.ui.popup.is_none(), "nothing is halted");
    let _ = c.agents[0].halt(Caller::inside("sre")).now_or_never();
    c.sync();
    assert_eq!(c.model.armed_count(), 0);
    assert_eq!(possible(&c.model, Command::Arm), Err("halted by sre".into()));
    c.text("r");
    c.text("lift");
    assert!(c.key(KeyCode::Enter).is_empty());
    c.ctrl('u');
    c.text("checkout-latency");
    assert_eq!(c.key(KeyCode::Enter), [Effect::Lift(0)]);
}

#[test]
fn leases_of_what_was_armed_here_are_renewed() {
    let mut c = lone(false);
    let fault = sim::fault(r#"{"target":"proxy:cart","for":"60s","inject":{"latency":{"delay":"1ms"}}}"#);
    let state = c.agents[0].arm_now(fault, Some(model::units::Span::secs(15)), "me");
    c.say(0, News::Armed(Ok(Box::new(state))));
    let mut renewals = 0;
    let now = c.model.now_ms;
    for s in 1..=30 {
        let effects = c.tick(now + f64::from(s) * 1000.0);
        renewals += effects.iter().filter(|e| matches!(e, Effect::Renew(0, _))).count();
    }
    assert_eq!(renewals, 6, "three in each lease");
}

#[test]
fn a_lost_agent_keeps_its_faults_until_they_lapse_and_a_new_life_forgets_them() {
    let mut c = Console::shop(DARK);
    let e = ClientError::Lost { endpoint: "x".into(), why: "gone".into() };
    c.say(0, News::Signal(Signal::Lost(e.clone())));
    assert!(matches!(c.model.agents[0].link, Link::Lost { .. }));
    assert_eq!(c.model.armed_count(), 3);
    let screen = c.screen(120, 36);
    assert!(screen.contains("is lost (went away)") && screen.contains('≤'), "{screen}");
    c.tick(c.model.now_ms + 600_000.0);
    assert!(c.screen(120, 36).contains("lapsed"));
    c.say(0, News::Signal(Signal::Connected { fresh: true }));
    assert_eq!((c.model.armed_count(), c.model.agents[0].targets.len()), (0, 0));
    assert!(c.screen(120, 36).contains("started anew"));
}

#[test]
fn history_fills_plots_and_lanes_but_changes_nothing_that_is() {
    let c = Console::shop(DARK);
    assert_eq!(c.model.armed_count(), 3);
    let tags: Vec<(&str, bool)> =
        c.model.windows.iter().map(|w| (w.tag.as_str(), w.to_ms.is_some())).collect();
    assert_eq!(tags, [("A", true), ("B", false), ("C", false), ("D", false)]);
    assert!(c.model.columns.at(150).is_some(), "back-filled");
    assert_eq!(c.model.bounds.len(), 3);
}

#[test]
fn nothing_new_is_nothing_to_draw() {
    let mut c = lone(false);
    c.model.dirty = false;
    c.snapshot(0);
    assert!(!c.model.dirty, "the same answer again");
    c.second(&[("cart", 400.0)]);
    assert!(c.model.dirty);
    let mut idle = Console::new(vec![still(Memory::new("a"), |m| m.with_proxy("cart", true))], DARK, false);
    idle.model.dirty = false;
    idle.snapshot(0);
    assert!(!idle.model.dirty);
    assert_eq!(next_tick_ms(&idle.model), None, "no clock ticks for an idle agent");
}

#[test]
fn no_sequence_of_keys_panics() {
    let keys = [
        KeyCode::Enter,
        KeyCode::Esc,
        KeyCode::Tab,
        KeyCode::BackTab,
        KeyCode::Up,
        KeyCode::Down,
        KeyCode::Left,
        KeyCode::Right,
        KeyCode::Home,
        KeyCode::End,
        KeyCode::PageUp,
        KeyCode::PageDown,
        KeyCode::Backspace,
        KeyCode::Delete,
        KeyCode::F(1),
    ];
    let letters: Vec<char> = "adru12:/?yTg +-qhknsyYüß漢0%".chars().collect();
    for seed in 0..16_u64 {
        let mut c = if seed % 2 == 0 { Console::shop(DARK) } else { lone(false) };
        for n in 0..300 {
            let draw = model::draw::bits(seed, model::draw::Lane::Share, n) as usize;
            if draw.is_multiple_of(3) {
                c.key(keys[draw / 3 % keys.len()]);
            } else if draw % 31 == 1 {
                update(&mut c.model, Msg::Paste("a\nb\u{1b}c".into()));
            } else {
                c.key(KeyCode::Char(letters[draw / 3 % letters.len()]));
            }
            if n % 10 == 0 {
                let size = [(80, 24), (120, 36), (60, 15), (61, 17)][draw / 7 % 4];
                c.screen(size.0, size.1);
            }
        }
    }
}
