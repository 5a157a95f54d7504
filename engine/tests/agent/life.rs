//! The life of faults in one agent.

use crate::mock::Mock;
use crate::support::{Sleeper, injectors};
use crate::support::{config, cpu, fault, latency, pause, proxy, run, story, until, wait, within};
use host::ProcessId;
use model::event::Ending;
use model::{Injection, Share};
use murphy_engine::{Agent, ArmRequest, Change, EngineError, FaultPhase, Item, Possible, WatchdogCommand};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

pub const TESTS: &[(&str, fn())] = &[
    ("a_fault_is_armed_shown_and_ends_by_itself", a_fault_is_armed_shown_and_ends_by_itself),
    ("real_faults_from_plan_to_verified_end", real_faults_from_plan_to_verified_end),
    ("what_cannot_be_is_refused", what_cannot_be_is_refused),
    ("what_was_refused_uses_no_letter_up", what_was_refused_uses_no_letter_up),
    ("targets_opened_in_passing_go_when_they_are_gone", targets_opened_in_passing_go),
    ("parts_that_failed_leave_the_others_on", parts_that_failed_leave_the_others_on),
    ("an_injector_that_breaks_off_is_undone", an_injector_that_breaks_off_is_undone),
    ("a_failed_undo_is_told_and_tried_again", a_failed_undo_is_told_and_tried_again),
    ("a_change_never_brings_back_what_is_disarmed", a_change_never_brings_back_what_is_disarmed),
    ("changes_are_checked_and_told", changes_are_checked_and_told),
    ("halt_beats_arming_and_survives_a_restart", halt_beats_arming_and_survives_a_restart),
    ("everything_ends_newest_first", everything_ends_newest_first),
    ("a_lease_of_its_own_ends_a_fault", a_lease_of_its_own_ends_a_fault),
    ("the_log_has_the_true_end_of_what_was_slow_to_arm", the_log_has_the_true_end),
    ("nothing_is_measured_unless_someone_wants_it", nothing_is_measured_unless_someone_wants_it),
    ("the_watchdog_is_started_anew_and_leaves_with_the_agent", the_watchdog_is_started_anew),
    ("the_doctor_says_what_is_missing", the_doctor_says_what_is_missing),
    ("an_idle_agent_sleeps", an_idle_agent_sleeps),
];

async fn mocked(dir: &std::path::Path) -> (Agent, Arc<Mock>) {
    let mock = Mock::new();
    let agent = Agent::start(config(dir, vec![mock.clone()])).await.unwrap();
    agent.open(proxy("cart")).await.unwrap();
    (agent, mock)
}

fn log_is_empty(agent: &Agent) -> bool {
    std::fs::metadata(agent.state_dir().join("undo.jsonl")).unwrap().len() == 0
}

fn a_fault_is_armed_shown_and_ends_by_itself() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (agent, mock) = mocked(dir.path()).await;
        let plan = agent.plan(latency("cart", "60s")).await.unwrap();
        assert_eq!((plan.order.id.as_str(), plan.acts.len()), ("A", 1));
        assert!(agent.faults().is_empty() && log_is_empty(&agent));
        let before = Instant::now();
        let armed = agent.arm(latency("cart", "300ms"), "anna").await.unwrap();
        assert!(mock.is_on("A") && !log_is_empty(&agent));
        assert_eq!((armed.id.as_str(), armed.phase, armed.by.as_str()), ("A", FaultPhase::On, "anna"));
        assert_eq!((armed.evidence.applied, armed.undo.as_slice()), (2, &["undo 0".to_owned()][..]));
        let list = agent.faults();
        assert!(list.len() == 1 && list[0].left_ms.unwrap() <= 300, "{list:?}");
        let mut sub = agent.subscribe(Some(1));
        let ended = until(&mut sub, |e| e["event"] == "recovered").await;
        assert!(before.elapsed() >= Duration::from_millis(300));
        assert_eq!((&ended["why"], &ended["evidence"]["applied"]), (&json!("elapsed"), &json!(2)));
        assert!(!mock.is_on("A") && agent.faults().is_empty());
        wait(|| log_is_empty(&agent));
        assert_eq!(story(&agent), ["target_opened", "armed A", "recovered A"]);
        let next = agent.arm(latency("cart", "60s"), "anna").await.unwrap();
        assert_eq!(next.id, "B", "ids are not used again");
        agent.shutdown().await.unwrap();
        assert!(!mock.is_on("B"));
        assert!(matches!(agent.arm(latency("cart", "1s"), "x").await, Err(EngineError::ShuttingDown)));
    });
}

fn real_faults_from_plan_to_verified_end() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let agent = Agent::start(config(dir.path(), injectors())).await.unwrap();
        let (one, two) = (Sleeper::start(), Sleeper::start());
        let paused = agent.arm(pause(one.pid(), "60s"), "t").await.unwrap();
        assert_eq!(one.state(), 'T');
        let burning = agent.arm(cpu("60s"), "t").await.unwrap();
        assert!(burning.acts[0].starts_with("burn 5% of a core"), "{:?}", burning.acts);
        let mut kill = pause(two.pid(), "60s");
        kill.inject = Injection::from_pairs("kill", []).unwrap();
        kill.lasts = None;
        let killed = agent.arm(kill, "t").await.unwrap();
        assert_eq!((killed.phase, killed.evidence.applied), (FaultPhase::Ended, 1));
        assert_eq!(two.state(), 'Z', "killed, and its parent, this test, has not reaped it");
        assert_eq!(agent.faults().iter().map(|f| f.id.as_str()).collect::<Vec<_>>(), ["A", "B"]);
        let why = agent.arm(pause(one.pid(), "60s"), "t").await.unwrap_err().to_string();
        assert!(why.contains("stopped already"), "{why}");
        let mut sub = agent.subscribe(Some(1));
        wait(|| agent.faults().iter().find(|f| f.id == burning.id).unwrap().evidence.applied == 1);
        agent.disarm(&burning.id, "t").await.unwrap();
        agent.disarm(&paused.id, "t").await.unwrap();
        assert_ne!(one.state(), 'T');
        let ended = until(&mut sub, |e| e["event"] == "recovered" && e["id"] == burning.id).await;
        assert!(ended["evidence"]["measured"]["cpu_percent"].as_f64().unwrap() > 0.0, "{ended}");
        assert!(matches!(agent.disarm("A", "t").await, Err(EngineError::UnknownFault { .. })));
        agent.shutdown().await.unwrap();
    });
}

fn what_cannot_be_is_refused() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (agent, _mock) = mocked(dir.path()).await;
        let why = async |f| agent.arm(f, "t").await.unwrap_err().to_string();
        let text = why(latency("card", "1s")).await;
        assert!(text.contains("no target proxy:card is open; did you mean proxy:cart?"), "{text}");
        let endless = fault(json!({"target": "proxy:cart", "inject": {"latency": {"delay": "1ms"}}}));
        assert!(why(endless).await.contains("has no end"));
        let text = why(pause(1, "1s")).await;
        assert!(
            text.contains("nothing here injects into targets of kind process; there are proxy"),
            "{text}"
        );
        let mut named = latency("cart", "60s");
        named.id = Some("a b".into());
        assert!(why(named.clone()).await.contains("no spaces"));
        named.id = Some("slow".into());
        agent.arm(named.clone(), "t").await.unwrap();
        let text = why(named).await;
        assert!(text.contains("\"slow\" is on already"), "{text}");
        let text = agent.disarm("slwo", "t").await.unwrap_err().to_string();
        assert!(text.contains("on are slow"), "{text}");
        // A closed target takes its faults along.
        agent.close(&"proxy:cart".parse().unwrap()).await.unwrap();
        assert!(agent.faults().is_empty());
        agent.shutdown().await.unwrap();
    });
}

fn what_was_refused_uses_no_letter_up() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (agent, mock) = mocked(dir.path()).await;
        for _ in 0..3 {
            agent.arm(latency("card", "1s"), "t").await.unwrap_err();
        }
        assert_eq!(agent.arm(latency("cart", "60s"), "t").await.unwrap().id, "A");
        // One that was begun has been in the log and the events: its letter is not given again.
        mock.act_fails.lock().unwrap().insert(0);
        agent.arm(latency("cart", "60s"), "t").await.unwrap_err();
        mock.act_fails.lock().unwrap().clear();
        assert_eq!(agent.arm(latency("cart", "60s"), "t").await.unwrap().id, "C");
        agent.shutdown().await.unwrap();
    });
}

fn targets_opened_in_passing_go() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let agent = Agent::start(config(dir.path(), injectors())).await.unwrap();
        let (stays, goes) = (Sleeper::start(), Sleeper::start());
        let open = || agent.targets().iter().map(|t| t.target.to_string()).collect::<Vec<_>>();
        let [living, gone] = [stays.pid(), goes.pid()].map(|pid| format!("process:{pid}"));
        agent.plan(pause(stays.pid(), "60s")).await.unwrap();
        assert!(open().is_empty(), "a plan opens nothing: {:?}", open());
        let one = agent.arm(pause(stays.pid(), "60s"), "t").await.unwrap();
        let two = agent.arm(pause(goes.pid(), "60s"), "t").await.unwrap();
        assert!(open().contains(&living) && open().contains(&gone), "{:?}", open());
        agent.disarm(&one.id, "t").await.unwrap();
        assert!(open().contains(&living), "what is there can be armed again: {:?}", open());
        let target = serde_json::from_value(json!({"name": "mine", "process": {"pid": goes.pid()}})).unwrap();
        agent.open(target).await.unwrap();
        drop(goes);
        agent.disarm(&two.id, "t").await.unwrap();
        assert_eq!(
            open(),
            [living.as_str(), "process:mine"],
            "what someone asked for stays, also without its process"
        );
        agent.shutdown().await.unwrap();
    });
}

fn parts_that_failed_leave_the_others_on() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (agent, mock) = mocked(dir.path()).await;
        mock.acts.store(3, SeqCst);
        mock.act_fails.lock().unwrap().insert(1);
        let armed = agent.arm(latency("cart", "60s"), "t").await.unwrap();
        assert_eq!(armed.acts, ["do 0", "do 2"]);
        assert_eq!(armed.failures, ["do 1: act 1 failed"]);
        agent.disarm("A", "t").await.unwrap();
        assert_eq!(*mock.undone.lock().unwrap(), ["A2", "A0"], "newest first, and only what was done");
        mock.act_fails.lock().unwrap().extend([0, 2]);
        let why = agent.arm(latency("cart", "60s"), "t").await.unwrap_err();
        assert!(
            matches!(&why, EngineError::ArmFailed { id, why } if id == "B" && why.contains("act 2 failed")),
            "{why}"
        );
        assert!(agent.faults().is_empty() && log_is_empty(&agent));
        assert_eq!(story(&agent), ["target_opened", "armed A", "recovered A", "arm_failed B"]);
        agent.shutdown().await.unwrap();
    });
}

fn an_injector_that_breaks_off_is_undone() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (agent, mock) = mocked(dir.path()).await;
        mock.panics.store(1, SeqCst);
        let why = agent.arm(latency("cart", "60s"), "t").await.unwrap_err().to_string();
        assert!(why.contains("please report this"), "{why}");
        assert!(!mock.is_on("A"), "what it had done by then is undone");
        assert!(agent.faults().is_empty() && log_is_empty(&agent));
        mock.panics.store(0, SeqCst);
        agent.arm(latency("cart", "60s"), "t").await.unwrap();
        agent.shutdown().await.unwrap();
    });
}

fn a_failed_undo_is_told_and_tried_again() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (agent, mock) = mocked(dir.path()).await;
        agent.arm(latency("cart", "60s"), "t").await.unwrap();
        mock.undo_fails.store(usize::MAX, SeqCst);
        let why = agent.disarm("A", "t").await.unwrap_err().to_string();
        assert!(why.contains("taking A back failed: undo 0: the thing is stuck"), "{why}");
        assert_eq!(agent.undo_failures(), 1);
        assert_eq!(agent.faults()[0].phase, FaultPhase::Stuck);
        assert!(agent.disarm("A", "t").await.is_err(), "asked again it is tried again");
        let report = agent.halt("t").await;
        assert_eq!((report.faults.as_slice(), report.failed.len()), (&["A".to_owned()][..], 1));
        mock.undo_fails.store(0, SeqCst);
        let mut sub = agent.subscribe(Some(1));
        until(&mut sub, |e| e["event"] == "recovered" && e["why"] == "disarmed").await;
        assert!(!mock.is_on("A") && agent.faults().is_empty());
        assert_eq!(agent.undo_failures(), 1, "one problem, counted once");
        agent.shutdown().await.unwrap();
    });
}

/// A change under way when the fault is disarmed ends first; one that comes later is refused. Never the other way.
fn a_change_never_brings_back_what_is_disarmed() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (agent, mock) = mocked(dir.path()).await;
        let change = Change::inject(Injection::from_pairs("latency", [("delay", "20ms")]).unwrap());
        for round in 0..60 {
            let id = agent.arm(latency("cart", "60s"), "t").await.unwrap().id;
            mock.slow_ms.store(round % 3, SeqCst);
            let changes: Vec<_> = (0..4)
                .map(|_| {
                    let (agent, change, id) = (agent.clone(), change.clone(), id.clone());
                    tokio::spawn(async move { agent.adjust(&id, change, "t").await.map(|_| ()) })
                })
                .collect();
            if round % 2 == 0 {
                tokio::time::sleep(Duration::from_micros(500 * (round / 10))).await;
            }
            agent.disarm(&id, "t").await.unwrap();
            assert!(!mock.is_on(&id), "round {round}");
            for change in changes {
                match change.await.unwrap() {
                    Ok(()) | Err(EngineError::NotOn { .. } | EngineError::UnknownFault { .. }) => {}
                    Err(e) => panic!("{e}"),
                }
            }
            assert!(!mock.is_on(&id), "round {round}: a change brought it back");
            mock.slow_ms.store(0, SeqCst);
        }
        let mut order = std::collections::BTreeMap::new();
        for line in story(&agent) {
            let (what, id) = line.split_once(' ').unwrap_or((&line, ""));
            let last = order.insert(id.to_owned(), what.to_owned());
            assert_ne!(last.as_deref(), Some("recovered"), "{line} after its end");
        }
        agent.shutdown().await.unwrap();
    });
}

fn changes_are_checked_and_told() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (agent, mock) = mocked(dir.path()).await;
        agent.arm(latency("cart", "60s"), "t").await.unwrap();
        let change = |json| serde_json::from_value::<Change>(json).unwrap();
        let adjusted = agent
            .adjust("A", change(json!({"share": {"percent": "30%"}, "for": "200s"})), "ben")
            .await
            .unwrap();
        assert!(matches!(adjusted.fault.share, Share::Percent(_)));
        assert!(adjusted.left_ms.unwrap() > 60_000);
        assert_eq!(mock.adjusted.load(SeqCst), 1);
        let why = async |c| agent.adjust("A", c, "ben").await.unwrap_err().to_string();
        let text = why(change(json!({"inject": {"bandwidth": {"rate": "1MB/s"}}}))).await;
        assert!(text.contains("is latency, and cannot become bandwidth"), "{text}");
        assert!(why(change(json!({"for": "0s"}))).await.contains("cannot last 0s"));
        agent.adjust("A", change(json!({"when": {"client": "10.0.0.0/8"}})), "ben").await.unwrap();
        let cleared = agent.adjust("A", change(json!({"when": null})), "ben").await.unwrap();
        assert_eq!(cleared.fault.when, None);
        // A shorter length ends it, also one that is over already.
        agent.adjust("A", change(json!({"for": "1ms"})), "ben").await.unwrap();
        let mut sub = agent.subscribe(Some(1));
        until(&mut sub, |e| e["event"] == "recovered" && e["why"] == "elapsed").await;
        agent.shutdown().await.unwrap();
    });
}

fn halt_beats_arming_and_survives_a_restart() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (agent, mock) = mocked(dir.path()).await;
        agent.arm(latency("cart", "60s"), "t").await.unwrap();
        mock.slow_ms.store(300, SeqCst);
        let arming = {
            let agent = agent.clone();
            tokio::spawn(async move { agent.arm(latency("cart", "60s"), "t").await })
        };
        wait(|| agent.faults().len() == 2);
        let report = agent.halt("anna").await;
        assert_eq!((report.by.as_str(), report.already, report.failed.len()), ("anna", false, 0));
        assert_eq!(report.faults, ["B", "A"]);
        assert!(matches!(arming.await.unwrap(), Err(EngineError::Halted { .. })));
        assert!(mock.on.lock().unwrap().is_empty(), "what was being armed is off too");
        let again = agent.halt("ben").await;
        assert_eq!((again.by.as_str(), again.already), ("anna", true));
        let why = agent.arm(latency("cart", "60s"), "t").await.unwrap_err().to_string();
        assert!(why.contains("halted by anna; lift it with `murphy halt --lift`"), "{why}");
        agent.shutdown().await.unwrap();

        let (agent, _mock) = mocked(dir.path()).await;
        assert_eq!(agent.halted().unwrap().by, "anna");
        assert!(matches!(agent.arm(latency("cart", "60s"), "t").await, Err(EngineError::Halted { .. })));
        assert!(agent.lift("ben").await.unwrap());
        assert!(!agent.lift("ben").await.unwrap());
        agent.arm(latency("cart", "60s"), "t").await.unwrap();
        agent.shutdown().await.unwrap();
        let (agent, _mock) = mocked(dir.path()).await;
        assert_eq!(agent.halted(), None);
        agent.shutdown().await.unwrap();
    });
}

fn everything_ends_newest_first() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (agent, mock) = mocked(dir.path()).await;
        for _ in 0..5 {
            agent.arm(latency("cart", "60s"), "t").await.unwrap();
        }
        agent.disarm_because("C", "run x", Ending::Guard).await.unwrap();
        assert_eq!(agent.halt("t").await.faults, ["E", "D", "B", "A"]);
        assert_eq!(*mock.undone.lock().unwrap(), ["C0", "E0", "D0", "B0", "A0"]);
        agent.shutdown().await.unwrap();
    });
}

fn a_lease_of_its_own_ends_a_fault() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (agent, _mock) = mocked(dir.path()).await;
        let lease = Duration::from_secs(5);
        let request = ArmRequest::new(latency("cart", "600s"), "client").lease(lease);
        let armed = agent.arm_request(request).await.unwrap();
        assert!(armed.lease_left_ms.unwrap() <= 5000);
        agent.renew("A", Duration::from_secs(500)).unwrap();
        assert!(agent.faults()[0].lease_left_ms.unwrap() > 5000);
        agent.renew("A", Duration::from_millis(50)).unwrap();
        let mut sub = agent.subscribe(Some(1));
        until(&mut sub, |e| e["event"] == "recovered" && e["why"] == "lease_expired").await;
        assert!(agent.renew("A", lease).is_err());
        // One without a lease of its own does not get one.
        agent.arm(latency("cart", "600s"), "t").await.unwrap();
        agent.renew("B", Duration::ZERO).unwrap();
        assert_eq!(agent.faults()[0].lease_left_ms, None);
        agent.shutdown().await.unwrap();
    });
}

fn nothing_is_measured_unless_someone_wants_it() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (agent, mock) = mocked(dir.path()).await;
        agent.arm(latency("cart", "600s"), "t").await.unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(mock.measured.load(SeqCst), 0);
        let mut sub = agent.subscribe(None);
        let sample = until(&mut sub, |e| e["event"] == "samples").await;
        assert_eq!(sample["targets"]["proxy:cart"]["requests"], 10, "what came on top since the last tick");
        let evidence = until(&mut sub, |e| e["event"] == "evidence").await;
        assert_eq!(evidence["faults"]["A"]["applied"], 2);
        drop(sub);
        // The tick that is under way may still come.
        let calm = || {
            let before = mock.measured.load(SeqCst);
            std::thread::sleep(Duration::from_millis(1300));
            mock.measured.load(SeqCst) == before
        };
        assert!(within(Duration::from_secs(30), calm));
        let guard = agent.sampling();
        wait(|| agent.subscribe(Some(1)).try_next().is_some_and(|i| matches!(i, Item::Event(_))));
        let before = mock.measured.load(SeqCst);
        wait(|| mock.measured.load(SeqCst) > before + 1);
        drop(guard);
        agent.shutdown().await.unwrap();
    });
}

fn the_log_has_the_true_end() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (agent, mock) = mocked(dir.path()).await;
        mock.slow_ms.store(1500, SeqCst);
        agent.arm(latency("cart", "60s"), "t").await.unwrap();
        let left = agent.faults()[0].left_ms.unwrap();
        let now = host::clock::boottime().as_millis() as u64;
        let log = std::fs::read_to_string(agent.state_dir().join("undo.jsonl")).unwrap();
        let end =
            |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["rec"]["ends_ms"].as_u64();
        let ends = log.lines().filter_map(end).next_back().unwrap_or_else(|| panic!("{log}"));
        // The watchdog goes by what the log says, and would have been a second early.
        assert!(ends.abs_diff(now + left) < 500, "{ends} {now} {left} {log}");
        agent.shutdown().await.unwrap();
    });
}

fn the_watchdog_is_started_anew() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let start =
            |dir: &std::path::Path| config(dir, injectors()).watchdog(WatchdogCommand::this_program());
        let agent = Agent::start(start(dir.path())).await.unwrap();
        let first = ProcessId::of(agent.watchdog_pid().unwrap()).unwrap();
        let stat = |pid: u32| host::process::stat(pid).unwrap();
        wait(|| stat(first.pid).comm == "murphy-watchdog");
        // In a session of its own: what ends a terminal or a group passes it by; and politely asked it stays.
        assert_eq!(
            rustix::process::getsid(rustix::process::Pid::from_raw(first.pid as i32))
                .unwrap()
                .as_raw_nonzero()
                .get() as u32,
            first.pid
        );
        first.open().unwrap().signal(host::process::ProcessSignal::TERM).unwrap();
        first.open().unwrap().signal(host::process::ProcessSignal::INT).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(first.alive());
        let why = agent.arm(pause(first.pid, "1s"), "t").await.unwrap_err().to_string();
        assert!(why.contains("a part of murphy"), "{why}");
        crate::support::kill(first.pid);
        wait(|| agent.watchdog_pid().is_some_and(|pid| pid != first.pid));
        let second = ProcessId::of(agent.watchdog_pid().unwrap()).unwrap();
        let began = Instant::now();
        agent.shutdown().await.unwrap();
        assert!(!second.alive(), "it outlived an agent that ended in order");
        assert!(began.elapsed() < Duration::from_secs(30));

        let missing = WatchdogCommand { program: "/nowhere/murphy".into(), args: vec![] };
        let why = Agent::start(config(dir.path(), vec![]).watchdog(missing)).await.unwrap_err().to_string();
        assert!(why.contains("the watchdog does not start: /nowhere/murphy: No such file"), "{why}");
        let wrong = WatchdogCommand { program: "true".into(), args: vec![] };
        let why = Agent::start(config(dir.path(), vec![]).watchdog(wrong)).await.unwrap_err().to_string();
        assert!(why.contains("true ended"), "{why}");
    });
}

fn the_doctor_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let doctor = murphy_engine::doctor(dir.path(), &injectors());
    let check = |name: &str| doctor.faults.iter().find(|f| f.name == name).unwrap();
    assert_eq!(check("latency").possible, Possible::No);
    assert!(check("latency").missing[0].contains("nothing here injects it"));
    for (fault, cap) in [("cpu", "CAP_SYS_NICE"), ("pause", "CAP_KILL"), ("kill", "CAP_KILL")] {
        let has = host::Capabilities::mine().has(cap);
        let found = check(fault);
        assert_eq!(found.possible, if has { Possible::Yes } else { Possible::Partly }, "{found:?}");
        assert_eq!(found.missing.len(), usize::from(!has), "{found:?}");
    }
    assert!(doctor.logs.is_empty() && doctor.halted.is_none());
    assert!(serde_json::to_string(&doctor).is_ok());
}

/// No run, nothing armed, nobody watching: then nothing ticks.
fn an_idle_agent_sleeps() {
    let dir = tempfile::tempdir().unwrap();
    let helper = crate::helper::Helper::start(dir.path(), &crate::support::space(), Duration::from_secs(15));
    let wakeups = |pid: u32| -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        tasks
            .filter_map(|t| std::fs::read_to_string(t.ok()?.path().join("status")).ok())
            .filter_map(|s| {
                s.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:")?.trim().parse::<u64>().ok())
            })
            .sum()
    };
    for pid in [helper.id().pid, helper.watchdog] {
        let calm = || {
            let before = wakeups(pid);
            std::thread::sleep(Duration::from_millis(1500));
            wakeups(pid) == before
        };
        assert!(within(Duration::from_secs(30), calm), "process {pid} keeps waking up");
    }
}
