//! What keys and agents bring about, without a terminal.

mod support;

use control::Role;
use control::{ClientError, Code, Failure, Signal};
use crossterm::event::KeyCode;
use model::event::Ending;
use support::memory::Memory;
use support::{Console, DARK, sim, still};
use tui::command::{Command, possible};
use tui::form::Plan;
use tui::state::{Focus, Link, Popup};
use tui::update::{AboutRequests, Effect, Msg, News, next_tick_ms, update};

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
fn a_target_that_nobody_has_opened_is_typed() {
    let mut c = lone(false);
    c.text("2/pause");
    c.key(KeyCode::Enter);
    assert!(!c.screen(80, 24).contains("no target"), "{}", c.screen(80, 24));
    // What is missing comes first.
    c.key(KeyCode::Enter);
    assert_eq!(c.model.ui.form.field().unwrap().name(), "target");
    // A number, and letters that are commands elsewhere.
    c.text("4711");
    assert_eq!(c.model.ui.form.fault().unwrap().target.to_string(), "process:4711");
    let screen = c.screen(120, 36);
    assert!(screen.contains("the whole of process:4711"), "{screen}");
    assert!(screen.contains("murphy arm process:4711 pause --for 1m"), "{screen}");
    for _ in 0..4 {
        c.key(KeyCode::Backspace);
    }
    assert!(c.model.ui.form.target.is_none());
    update(&mut c.model, Msg::Paste("container:shop/web".into()));
    assert_eq!(c.model.ui.form.fault().unwrap().target.to_string(), "container:shop/web");
    // ctrl-u empties the line.
    for (text, why) in [
        ("proxy:cart", "pause cannot be armed on proxy:cart"),
        ("thing:x", "is not a kind of target"),
        ("cgroup:web", "does not say where it is"),
    ] {
        c.ctrl('u');
        c.text(text);
        let screen = c.screen(120, 36);
        assert!(screen.contains(why), "{text}: {screen}");
        assert!(c.key(KeyCode::Enter).is_empty() && c.model.ui.popup.is_none(), "{text}");
    }
    c.ctrl('u');
    c.text("dq");
    c.key(KeyCode::Enter);
    c.text("dq");
    let effects = c.key(KeyCode::Enter);
    let Some(Effect::Arm { fault, .. }) = effects.first() else { panic!("{effects:?}") };
    assert_eq!(fault.target.to_string(), "process:dq");
}

#[test]
fn a_fault_that_is_on_is_changed_by_the_form() {
    let mut c = lone(false);
    let fault = sim::fault(
        r#"{"target":"proxy:cart","for":"60s","share":{"percent":"2%"},"when":{"client":"10.0.0.0/8"},"inject":{"latency":{"delay":"100ms"}}}"#,
    );
    let state = c.agents[0].arm_now(fault, None, "me");
    c.say(0, News::Armed(Ok(Box::new(state.clone()))));
    c.text("e");
    let screen = c.screen(120, 36);
    assert!(screen.contains(&format!("Change {}: latency on proxy:cart", state.id)), "{screen}");
    assert_eq!(c.model.ui.form.field().unwrap().name(), "delay");
    // Nothing is different yet.
    assert!(c.key(KeyCode::Enter).is_empty());
    assert!(c.model.ui.toast.as_ref().unwrap().text.contains("nothing is different"));
    c.ctrl('u');
    c.text("300ms");
    let command = format!("murphy adjust {} delay=300ms", state.id);
    let screen = c.screen(120, 36);
    assert!(screen.contains(&command), "{screen}");
    assert_eq!(c.ctrl('y'), [Effect::Copy(command)]);
    let effects = c.key(KeyCode::Enter);
    let [Effect::Adjust { agent: 0, id, change }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((id, change.inject.len(), change.share, change.lasts), (&state.id, 1, None, None));
    assert!(c.model.ui.form.changes.is_none(), "the form arms again");
    // A larger share is asked about as when it is armed; esc leaves it as it is.
    c.text("e");
    let screen = c.screen(120, 36);
    assert!(screen.contains("client=10.0.0.0/8"), "{screen}");
    while c.model.ui.form.field().unwrap().name() != "share" {
        c.key(KeyCode::Tab);
    }
    c.ctrl('u');
    c.text("50%");
    assert!(c.key(KeyCode::Enter).is_empty() && c.model.ui.popup.is_some());
    c.key(KeyCode::Esc);
    c.key(KeyCode::Esc);
    assert!(c.model.ui.form.changes.is_none() && c.screen(120, 36).contains("Targets"));
    c.text("2");
    assert!(c.screen(120, 36).contains("Arm: latency"), "{}", c.screen(120, 36));
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
    c.say(0, News::Planned(ask + 1, Box::new(Err(refusal.clone()))));
    assert_eq!(c.model.ui.form.plan, Plan::Asked(*ask));
    c.say(0, News::Planned(*ask, Box::new(Err(refusal))));
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

fn connections(role: Role, read_only: bool) -> Console {
    let mut c = Console::shop(DARK);
    c.role = role;
    c.snapshot(0);
    c.model.read_only = read_only;
    sim::connections(&c.agents[0]);
    let effects = c.text("3");
    assert!(matches!(&effects[..], [Effect::Connections(0, _)]), "{effects:?}");
    c.answer(effects);
    c
}

#[test]
fn requests_are_asked_for_held_and_let_go() {
    let mut c = Console::shop(DARK);
    c.role = Role::Operator;
    c.snapshot(0);
    let effects = c.text("4");
    assert!(matches!(&effects[..], [Effect::Requests(0, _)]), "{effects:?}");
    let list = sim::requests(&c.agents[0]);
    c.say(0, News::Requests(Ok(list.clone())));
    let now = c.model.now_ms;
    let asks = |effects: &[Effect]| effects.iter().filter(|e| matches!(e, Effect::Requests(..))).count();
    assert_eq!(asks(&c.tick(now + 1000.0)), 1, "once a second");
    assert_eq!(c.model.selected_request().unwrap().1.id, 930, "the newest");
    c.key(KeyCode::Down);
    c.key(KeyCode::Down);
    assert_eq!(c.model.selected_request().unwrap().1.id, 928);
    // A newer one comes: the selection stays.
    let mut more = list;
    more.requests.push(model::RequestView { id: 931, at_ms: 1_764_380_009_000, ..more.requests[0].clone() });
    c.say(0, News::Requests(Ok(more)));
    assert_eq!((c.model.selected_request().unwrap().1.id, c.model.ui.requests.row), (928, 3));
    let released = c.text("r");
    assert_eq!(released, [Effect::AboutRequests(0, AboutRequests::Release(928))]);
    let held = c.text("i");
    let [Effect::AboutRequests(0, AboutRequests::Hold(order))] = &held[..] else { panic!("{held:?}") };
    assert_eq!(order.when.as_ref().unwrap().to_string(), "POST /pay");
    assert_eq!(c.text("R"), [Effect::AboutRequests(0, AboutRequests::Resume(3))]);
    // Held ones are asked for on other screens, too, and then no more.
    c.text("1");
    let now = c.model.now_ms;
    c.say(0, News::Requests(Ok(control::RequestList::default())));
    assert_eq!(asks(&c.tick(now + 5000.0)), 0);
}

fn selected(c: &Console) -> u64 {
    c.model.selected_connection().unwrap().1.id
}

#[test]
fn connections_are_asked_for_only_while_they_are_looked_at() {
    let asks = |effects: &[Effect]| effects.iter().filter(|e| matches!(e, Effect::Connections(..))).count();
    let mut c = connections(Role::Admin, false);
    let now = c.model.now_ms;
    let effects = c.tick(now + 1000.0);
    assert_eq!(asks(&effects), 1, "once a second");
    assert_eq!(asks(&c.tick(now + 2000.0)), 0, "not while an answer is under way");
    c.answer(effects);
    assert_eq!(asks(&c.tick(now + 2400.0)), 0, "the second is not over");
    assert!(next_tick_ms(&c.model).is_some());
    let effects = c.tick(now + 3000.0);
    assert_eq!(asks(&effects), 1);
    // Frozen: nothing is asked, and what is still under way is not taken in.
    c.text(" ");
    c.agents[0].state().connections.clear();
    c.answer(effects);
    assert_eq!(c.model.connection_rows().len(), 40);
    assert_eq!(asks(&c.tick(now + 5000.0)), 0);
    c.text(" ");
    let effects = c.tick(now + 6000.0);
    c.answer(effects);
    assert_eq!((c.model.connection_rows().len(), c.model.connection_counts()), (0, (0, 0)));
    c.text("1");
    assert_eq!(asks(&c.tick(now + 9000.0)), 0, "another screen");
}

#[test]
fn the_head_line_counts_what_is_held_on_every_screen_until_nothing_is() {
    let mut c = connections(Role::Admin, false);
    c.text("1");
    assert!(c.screen(120, 36).lines().next().unwrap().contains("1 held"));
    for held in &mut c.agents[0].state().connections {
        held.state = model::ConnectionState::Open;
    }
    c.poll();
    assert!(!c.screen(120, 36).contains("held"));
    let effects = c.tick(c.model.now_ms + 1000.0);
    assert!(!effects.iter().any(|e| matches!(e, Effect::Connections(..))));
}

#[test]
fn the_selection_stays_on_its_connection_when_rows_move_or_go() {
    let mut c = connections(Role::Admin, false);
    assert_eq!(selected(&c), 101, "the oldest");
    for _ in 0..3 {
        c.key(KeyCode::Down);
    }
    assert_eq!(selected(&c), 104);
    c.agents[0].state().connections.retain(|v| v.id > 102);
    c.poll();
    assert_eq!((selected(&c), c.model.ui.connections.row), (104, 1));
    c.agents[0].state().connections.retain(|v| v.id != 104);
    c.poll();
    assert_eq!(selected(&c), 105, "the row that took its place");
    c.key(KeyCode::End);
    assert_eq!(selected(&c), 140);
    c.agents[0].state().connections.clear();
    c.poll();
    assert!(c.model.selected_connection().is_none());
    assert_eq!(possible(&c.model, Command::HoldConnection), Err("no connection is selected".into()));
}

#[test]
fn holding_and_releasing_one_by_hand() {
    use tui::update::ByHand;
    let mut c = connections(Role::Operator, false);
    assert_eq!(c.text("r"), [], "it is not held");
    let effects = c.text("i");
    assert_eq!(effects, [Effect::Connection(0, ByHand::Hold, 101)]);
    c.answer(effects);
    assert_eq!(c.model.connection_counts().1, 2);
    let screen = c.screen(80, 24);
    assert!(screen.contains("is held, for 1m at most") && screen.contains("2 held"), "{screen}");
    assert_eq!(possible(&c.model, Command::HoldConnection), Err("it is held".into()));
    let effects = c.text("r");
    assert_eq!(effects, [Effect::Connection(0, ByHand::Release, 101)]);
    c.answer(effects);
    assert_eq!(c.model.connection_counts().1, 1);
}

#[test]
fn what_cannot_be_undone_is_asked_for() {
    use control::Close;
    use tui::update::ByHand;
    for (key, how) in [("k", Close::Rst), ("c", Close::Fin)] {
        let mut c = connections(Role::Operator, false);
        assert_eq!(c.text(key), []);
        assert!(matches!(c.model.ui.popup, Some(Popup::CloseConnection { .. })));
        assert_eq!(c.text("n"), []);
        assert!(c.model.ui.popup.is_none());
        c.text(key);
        let effects = c.text("y");
        assert_eq!(effects, [Effect::Connection(0, ByHand::Close(how), 101)]);
        c.answer(effects);
        assert_eq!((selected(&c), c.model.connection_rows().len()), (102, 39));
        // One that ends while the question is open takes the question with it.
        c.text(key);
        c.agents[0].state().connections.remove(0);
        c.poll();
        assert!(c.model.ui.popup.is_none());
    }
}

#[test]
fn connections_are_not_touched_where_one_may_not() {
    for (mut c, why) in [
        (connections(Role::Viewer, false), "needs operator, you are viewer"),
        (connections(Role::Admin, true), "read-only"),
    ] {
        for key in ["i", "k", "c"] {
            assert_eq!(c.text(key), [], "{key} {why}");
            assert!(c.model.ui.popup.is_none() && c.screen(80, 24).contains(why), "{key} {why}");
        }
        c.model.select_connection(5);
        assert_eq!(c.model.selected_connection().unwrap().1.state, model::ConnectionState::Held);
        assert_eq!(c.text("r"), []);
    }
}

#[test]
fn r_releases_here_and_lifts_elsewhere() {
    use control::Caller;
    use control::service::Service;
    use futures::FutureExt;
    let mut c = connections(Role::Admin, false);
    let _ = c.agents[0].halt(Caller::inside("sre")).now_or_never();
    c.sync();
    assert_eq!(c.text("r"), []);
    assert!(c.model.ui.popup.is_none());
    assert!(c.screen(80, 24).contains("a halt is lifted on the Overview"));
    assert_eq!(possible(&c.model, Command::HoldConnection), Err("halted by sre".into()));
    c.text("1r");
    assert!(matches!(c.model.ui.popup, Some(Popup::Lift { .. })));
}

#[test]
fn the_help_does_not_promise_keys_that_do_something_else_here() {
    let mut c = connections(Role::Admin, false);
    c.text("?one row up");
    let screen = c.screen(120, 36);
    assert!(screen.contains("↑        up") && !screen.contains("↑ k"), "{screen}");
    c.key(KeyCode::Esc);
    c.text("1?one row up");
    assert!(c.screen(120, 36).contains("↑ k"));
}

#[test]
fn a_filter_asks_the_agent_and_finds_at_once() {
    let mut c = connections(Role::Admin, false);
    let effects = c.text("/krc");
    assert!(matches!(&effects[..], [Effect::Connections(0, _)]), "one at a time: {effects:?}");
    assert_eq!(c.model.connection_rows().len(), 0, "letters are typed, not done");
    c.answer(effects);
    let effects = c.ctrl('u');
    c.answer(effects);
    let effects = c.text("held");
    assert_eq!(c.model.connection_rows().len(), 1);
    // The answer to what was asked first brings up the question for what stands there now.
    c.answer(effects);
    assert_eq!(c.model.connection_counts(), (1, 1));
    let effects = c.key(KeyCode::Enter);
    c.answer(effects);
    assert_eq!(c.ctrl('y'), [Effect::Copy("murphy connections --text held".into())]);
    let effects = c.key(KeyCode::Esc);
    c.answer(effects);
    assert_eq!(c.model.connection_rows().len(), 40);
    c.key(KeyCode::Esc);
    assert_eq!(c.model.ui.focus, Focus::Targets);
}

#[test]
fn faults_on_datagrams_are_not_offered_on_streams() {
    let mut c = lone(false);
    c.text("2/duplicate");
    assert!(c.model.ui.form.target.is_none());
    let screen = c.screen(120, 36);
    assert!(screen.contains("duplicate (no udp target)"), "{screen}");
    c.agents[0].state().targets[0].about = "127.0.0.1:53 → 10.0.0.1:53 udp".into();
    c.snapshot(0);
    let screen = c.screen(120, 36);
    assert!(!screen.contains("no udp target"), "{screen}");
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
    use control::Caller;
    use control::service::Service;
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
    assert_eq!(tags, [("a", true), ("b", false), ("c", false), ("d", false)]);
    assert!(c.model.columns.at(150).is_some(), "back-filled");
    assert_eq!(c.model.bounds.len(), 3);
}

#[test]
fn faults_are_called_as_their_agents_call_them() {
    let mut c = lone(false);
    let fault = sim::fault(r#"{"target":"proxy:cart","for":"60s","inject":{"latency":{"delay":"1ms"}}}"#);
    let mut tag = |agent, id: &str| c.model.open_window(agent, id, &fault, 0.0);
    // `murphy disarm C` is then what is C on the console.
    let tags = [tag(0, "C"), tag(0, "slow-pay"), tag(0, "AB"), tag(0, "A"), tag(1, "C"), tag(0, "C")];
    assert_eq!(tags, ["C", "a", "AB", "A", "b", "C"]);
    c.model.close_window(0, "C", 1.0);
    assert_eq!(c.model.open_window(1, "C", &fault, 2.0), "b", "it keeps the one it has");
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
    let letters: Vec<char> = "adru123:/?yTg +-qhknsicyYüß漢0%".chars().collect();
    for seed in 0..16_u64 {
        let mut c = if seed % 2 == 0 { Console::shop(DARK) } else { lone(false) };
        if seed % 4 < 2 {
            sim::connections(&c.agents[0]);
            let effects = c.text("3");
            c.answer(effects);
        }
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
