//! The injectors against real processes. This binary is also the stressor that they start.

mod support;

use inject::{Injector, Recovered};
use libtest_mimic::{Arguments, Failed, Trial};
use murphy_nodeops::{NodeInjector, ProcessInjector, stress};
use std::process::ExitCode;
use std::time::Duration;
use support::{NoLog, Sleeper, Waits, block_on, fault, node, order, process_target};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|verb| verb == stress::VERB) {
        return stress::child_main(&args[2..]);
    }
    let trial = |name: &str, test: fn()| {
        Trial::test(name, move || {
            test();
            Ok::<(), Failed>(())
        })
    };
    let tests = vec![
        trial("pause_stops_and_continues_the_very_process", pause_stops_and_continues_the_very_process),
        trial(
            "a_process_stopped_by_someone_else_is_left_stopped",
            a_process_stopped_by_someone_else_is_left_stopped,
        ),
        trial("undo_finds_the_dead_and_other_boots_gone", undo_finds_the_dead_and_other_boots_gone),
        trial("kill_counts_only_the_signalled", kill_counts_only_the_signalled),
        trial("several_are_found_by_their_command_line", several_are_found_by_their_command_line),
        trial("cpu_burns_what_is_asked_and_follows_changes", cpu_burns_what_is_asked_and_follows_changes),
        trial("cpu_ends_with_its_parents_pipe_and_by_anyone", cpu_ends_by_anyone),
        trial("reach_burns_less_when_others_burn", reach_burns_less_when_others_burn),
        trial("an_oom_kill_is_an_outcome", a_child_killed_is_an_outcome),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

fn pause_stops_and_continues_the_very_process() {
    let sleeper = Sleeper::start();
    let injector = ProcessInjector::new();
    let target = process_target("sleeper", sleeper.pid());
    let state = block_on(injector.open(&target)).unwrap();
    assert!(state.up && state.about.contains("sleep"), "{state:?}");
    let order = order("A", fault("process:sleeper", "pause", &[], "10s"), &target);
    let plan = block_on(injector.plan(&order)).unwrap();
    assert_eq!(sleeper.state(), 'S', "planning touches nothing");
    assert_eq!(injector.claims(&plan), [format!("process {}", sleeper.id())]);
    assert!(block_on(injector.inject(&plan, &NoLog::new()))[0].is_ok());
    assert_eq!(sleeper.state(), 'T');
    let armed = support::armed(&plan);
    let evidence = injector.evidence(&armed);
    assert_eq!((evidence.considered, evidence.applied, evidence.measured["stopped_now"]), (1, 1, 1.0));
    // In another process after a crash there is nothing but the record.
    assert_eq!(block_on(ProcessInjector::new().recover(&armed.acts[0])), Recovered::Undone);
    assert_ne!(sleeper.state(), 'T');
    assert_eq!(block_on(injector.recover(&armed.acts[0])), Recovered::Undone, "again changes nothing");
}

fn a_process_stopped_by_someone_else_is_left_stopped() {
    let sleeper = Sleeper::start();
    let injector = ProcessInjector::new();
    let target = process_target("sleeper", sleeper.pid());
    let order = order("A", fault("process:sleeper", "pause", &[], "10s"), &target);
    let plan = block_on(injector.plan(&order)).unwrap();
    sleeper.stop();
    let why = block_on(injector.inject(&plan, &NoLog::new()))[0].clone().unwrap_err().to_string();
    assert!(why.contains("stopped by someone else meanwhile; it was left stopped"), "{why}");
    assert_eq!(sleeper.state(), 'T');
    let why = block_on(injector.plan(&order)).unwrap_err().to_string();
    assert!(why.contains("is stopped already"), "{why}");
}

fn undo_finds_the_dead_and_other_boots_gone() {
    let sleeper = Sleeper::start();
    let injector = ProcessInjector::new();
    let target = process_target("sleeper", sleeper.pid());
    let plan =
        block_on(injector.plan(&order("A", fault("process:sleeper", "pause", &[], "10s"), &target))).unwrap();
    let mut record = plan.acts[0].clone();
    record.data["process"]["start"] = 1.into();
    assert!(
        matches!(block_on(injector.recover(&record)), Recovered::Gone(_)),
        "another start, another process"
    );
    record.data["boot"] = "another".into();
    assert!(matches!(block_on(injector.recover(&record)), Recovered::Gone(why) if why.contains("anew")));
    record.data = "nonsense".into();
    assert!(
        matches!(block_on(injector.recover(&record)), Recovered::Failed(why) if why.contains("does not read"))
    );
    drop(sleeper);
    assert!(matches!(block_on(injector.recover(&plan.acts[0])), Recovered::Gone(_)));
}

fn kill_counts_only_the_signalled() {
    let (one, two) = (Sleeper::start(), Sleeper::start());
    let injector = ProcessInjector::new();
    let target = process_target("sleeper", one.pid());
    let kill = |n: &str| order(n, fault("process:sleeper", "kill", &[], ""), &target);
    let plan = block_on(injector.plan(&kill("A"))).unwrap();
    assert!(block_on(injector.inject(&plan, &NoLog::new()))[0].is_ok());
    let evidence = injector.evidence(&support::armed(&plan));
    assert_eq!((evidence.applied, evidence.measured["ended"]), (1, 1.0));
    let why = block_on(injector.inject(&plan, &NoLog::new()))[0].clone().unwrap_err().to_string();
    assert!(why.contains("dead already") || why.contains("is gone"), "{why}");
    let why = block_on(injector.plan(&kill("B"))).unwrap_err().to_string();
    assert!(why.contains("there is no process"), "{why}");
    assert_eq!(two.state(), 'S');
}

fn several_are_found_by_their_command_line() {
    // Orphans, since children of ours are never found; by a number that nobody else sleeps for.
    let mark = format!("7{:07}.25", std::process::id());
    let orphans: Vec<_> = (0..4).map(|_| support::Orphan::start(&mark)).collect();
    let injector = ProcessInjector::new();
    let mut target = process_target("workers", 0);
    let mut pick = |pick: serde_json::Value| {
        target.spec =
            serde_json::from_value(serde_json::json!({"process": {"match": mark, "pick": pick}})).unwrap();
        order("A", fault("process:workers", "pause", &[], "10s"), &target)
    };
    let why = block_on(injector.plan(&pick("one".into()))).unwrap_err().to_string();
    assert!(
        why.contains("but 4 fit: ") && orphans.iter().all(|o| why.contains(&o.id().pid.to_string())),
        "{why}"
    );
    let all = block_on(injector.plan(&pick("all".into()))).unwrap();
    assert_eq!(all.acts.len(), 4);
    let half = pick(serde_json::json!({"percent": "50%"}));
    let acts = |seed| block_on(injector.plan(&inject::Order { seed, ..half.clone() })).unwrap().acts;
    assert_eq!((acts(1).len(), acts(1) == acts(1)), (2, true));
    assert!(block_on(injector.inject(&all, &NoLog::new())).iter().all(Result::is_ok));
    assert!(orphans.iter().all(|o| o.id().stat().unwrap().state == 'T'));
    for act in all.acts.iter().rev() {
        assert_eq!(block_on(injector.recover(act)), Recovered::Undone);
    }
}

fn cpu_burns_what_is_asked_and_follows_changes() {
    let injector = NodeInjector::new();
    let ask = |load: &str| fault("node:self", "cpu", &[("load", load), ("cores", "1")], "60s");
    // On a machine that others keep busy less may be had than was asked: measured again then.
    let mut tries = Vec::new();
    for _ in 0..5 {
        let plan = block_on(injector.plan(&order("A", ask("30%"), &node()))).unwrap();
        let log = NoLog::new();
        assert!(block_on(injector.inject(&plan, &log))[0].is_ok());
        let armed = log.armed(&plan);
        let id = support::process_of(&armed.acts[0]);
        assert_eq!(
            std::fs::read_to_string(format!("/proc/{}/oom_score_adj", id.pid)).unwrap().trim(),
            "1000"
        );
        std::thread::sleep(Duration::from_millis(1200));
        let first = injector.evidence(&armed).measured["cpu_percent"];
        block_on(injector.adjust(&armed, &ask("60%"))).unwrap();
        let (before, then) = (support::cpu_ms(id), std::time::Instant::now());
        std::thread::sleep(Duration::from_millis(1200));
        let second = (support::cpu_ms(id) - before) / then.elapsed().as_secs_f64() / 10.0;
        assert_eq!(block_on(injector.recover(&armed.acts[0])), Recovered::Undone);
        assert!(!id.alive());
        let evidence = injector.evidence(&armed);
        assert_eq!((evidence.considered, evidence.applied), (1, 1), "{evidence:?}");
        assert!(matches!(block_on(injector.recover(&armed.acts[0])), Recovered::Gone(_)));
        injector.forget(&armed);
        tries.push((first, second));
        if (25.0..36.0).contains(&first) && (50.0..72.0).contains(&second) {
            return;
        }
    }
    // The kernel was too busy to tell; more than asked is possible only to make up for a second that was not had.
    assert!(
        tries.iter().all(|(a, b)| *a > 0.0 && *a < 36.0 && *b > 0.0),
        "nothing like 30 and 60: {tries:?}"
    );
}

fn cpu_ends_by_anyone() {
    let injector = NodeInjector::new();
    let plan =
        block_on(injector.plan(&order("A", fault("node:self", "cpu", &[("load", "5%")], "60s"), &node())))
            .unwrap();
    let log = NoLog::new();
    assert!(block_on(injector.inject(&plan, &log))[0].is_ok());
    let armed = log.armed(&plan);
    let id = support::process_of(&armed.acts[0]);
    assert!(id.alive());
    // As a watchdog would, knowing only the record.
    assert_eq!(block_on(NodeInjector::new().recover(&armed.acts[0])), Recovered::Undone);
    assert!(!id.alive());
    assert!(matches!(block_on(injector.recover(&armed.acts[0])), Recovered::Gone(_)));
    // The record before the child was known: nothing had begun.
    assert!(matches!(block_on(injector.recover(&plan.acts[0])), Recovered::Gone(_)));
    // Refusals.
    let why = |pairs: &[(&str, &str)]| {
        let f = fault("node:self", "cpu", pairs, "60s");
        block_on(injector.plan(&order("B", f, &node()))).map(|p| p.warnings)
    };
    assert!(why(&[("cores", "4000")]).unwrap()[0].contains("4000 cores are asked for"));
    let log = NoLog::failing();
    let failed = block_on(injector.inject(&plan, &log));
    assert!(failed[0].is_err(), "what cannot be journalled is not begun");
    let child = support::process_of(&log.armed(&plan).acts[0]);
    assert!(child.waits_to_be_gone(), "a child was left behind its gate");
}

fn reach_burns_less_when_others_burn() {
    let injector = NodeInjector::new();
    let all = std::thread::available_parallelism().unwrap().get() as f64 * 100.0;
    let asked = |id: &str, mode: &str, load: &str| {
        let plan = block_on(injector.plan(&order(
            id,
            fault("node:self", "cpu", &[("load", load), ("mode", mode)], "60s"),
            &node(),
        )))
        .unwrap();
        let log = NoLog::new();
        assert!(block_on(injector.inject(&plan, &log))[0].is_ok());
        log.armed(&plan)
    };
    // Others burn 40 % of all; to reach 50 % no more than a little over 10 % is missing, whatever else runs here.
    let add = asked("A", "add", "40%");
    let reach = asked("B", "reach", "50%");
    let mut last = f64::MAX;
    let fell = support::within(Duration::from_secs(60), || {
        std::thread::sleep(Duration::from_millis(600));
        last = injector.evidence(&reach).measured["cpu_percent_now"];
        last < all * 0.30
    });
    let got = injector.evidence(&add).measured["cpu_percent_now"];
    for armed in [&reach, &add] {
        assert_eq!(block_on(injector.recover(&armed.acts[0])), Recovered::Undone);
    }
    // On a machine so busy that the others got next to nothing the comparison says nothing.
    assert!(fell || got < all * 0.25, "{last:.0}% of {all:.0}% burned on top of {got:.0}%");
}

fn a_child_killed_is_an_outcome() {
    let injector = NodeInjector::new();
    let f = fault("node:self", "cpu", &[("load", "5%"), ("cores", "0.5")], "60s");
    let plan = block_on(injector.plan(&order("A", f.clone(), &node()))).unwrap();
    let log = NoLog::new();
    assert!(block_on(injector.inject(&plan, &log))[0].is_ok());
    let armed = log.armed(&plan);
    let held = support::process_of(&armed.acts[0]).open().unwrap();
    held.signal(host::process::ProcessSignal::KILL).unwrap();
    assert!(held.wait_exit(Duration::from_secs(20)));
    assert_eq!(injector.evidence(&armed).measured["ended_early"], 1.0);
    assert!(block_on(injector.adjust(&armed, &f)).is_err());
    assert!(matches!(block_on(injector.recover(&armed.acts[0])), Recovered::Gone(_)));
}
