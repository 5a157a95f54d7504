//! The undo log when the disk does its worst.

use crate::helper::Helper;
use crate::mock::Mock;
use crate::support::{Sleeper, config, injectors, latency, pause, proxy, run, skip, space, wait};
use murphy_engine::{Agent, EngineError, recover};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

pub const TESTS: &[(&str, fn())] = &[
    ("a_damaged_log_is_named_moved_aside_and_the_rest_undone", a_damaged_log_is_named),
    ("a_torn_last_line_is_no_damage", a_torn_last_line_is_no_damage),
    ("what_the_start_cannot_undo_is_tried_again", what_the_start_cannot_undo_is_tried_again),
    ("a_full_disk_refuses_arming_and_lets_everything_end", a_full_disk),
    ("bad_state_directories_are_refused", bad_state_directories_are_refused),
];

fn a_damaged_log_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (Sleeper::start(), Sleeper::start());
    stopped_agent(dir.path(), &[&one, &two]);
    let log = dir.path().join("undo.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|l| l.contains("\"id\":\"A\"")).unwrap();
    let mut damaged: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
    damaged[at] = damaged[at].replacen("SIGSTOP", "SIGxTOP", 1);
    fs::write(&log, damaged.join("\n") + "\n").unwrap();
    let doctor = murphy_engine::doctor(dir.path(), &injectors());
    assert!(
        doctor.logs[0].what.contains("1 acts are left to undo") && doctor.logs[0].what.contains("damaged"),
        "{:?}",
        doctor.logs
    );
    let report = run(recover(dir.path(), &injectors(), false)).unwrap();
    assert_ne!(two.state(), 'T', "what reads is undone");
    assert_eq!(one.state(), 'T', "what does not read cannot be");
    assert!(!report.is_clean());
    let problem = &report.problems()[0];
    assert!(
        problem.contains(&format!("{} line {} is damaged: its checksum", log.display(), at + 1)),
        "{problem}"
    );
    let moved = report.moved_to.unwrap();
    assert!(fs::read_to_string(&moved).unwrap().starts_with(&damaged.join("\n")), "kept as it was");
    assert!(problem.contains(&moved.display().to_string()), "{problem}");
    let doctor = murphy_engine::doctor(dir.path(), &injectors());
    assert!(doctor.logs.iter().any(|l| l.file == moved), "{:?}", doctor.logs);
    // An agent starts on it, and says so as loudly.
    fs::rename(&moved, &log).unwrap();
    run(async {
        let agent = Agent::start(config(dir.path(), injectors())).await.unwrap();
        assert_eq!(agent.found().damage.len(), 1);
        assert_eq!(agent.undo_failures(), 1);
        let mut sub = agent.subscribe(Some(1));
        crate::support::until(&mut sub, |e| {
            e["event"] == "note"
                && e["level"] == "error"
                && e["text"].as_str().unwrap().contains("is damaged")
        })
        .await;
        agent.shutdown().await.unwrap();
    });
    assert!(run(recover(dir.path(), &injectors(), false)).unwrap().is_clean());
}

/// The helper's watchdog is killed first, and started anew by the agent unless that is stopped: so it is.
fn stopped_agent(dir: &Path, sleepers: &[&Sleeper]) {
    let mut helper = Helper::start(dir, &space(), Duration::from_secs(60));
    for sleeper in sleepers {
        let answer =
            helper.ask(&format!("arm {}", serde_json::to_string(&pause(sleeper.pid(), "600s")).unwrap()));
        assert!(answer.starts_with("armed"), "{answer}");
    }
    helper.signal(host::process::ProcessSignal::STOP);
    wait(|| helper.id().stat().unwrap().state == 'T');
    crate::support::kill(helper.watchdog);
    helper.kill();
    assert!(sleepers.iter().all(|s| s.state() == 'T'));
}

fn a_torn_last_line_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let sleeper = Sleeper::start();
    stopped_agent(dir.path(), &[&sleeper]);
    let log = dir.path().join("undo.jsonl");
    let mut bytes = fs::read(&log).unwrap();
    bytes.extend(b"{\"sum\":\"0123");
    fs::write(&log, bytes).unwrap();
    let report = run(recover(dir.path(), &injectors(), false)).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.acts.len(), report.acts[0].outcome.as_str()), (1, "undone"));
    assert_ne!(sleeper.state(), 'T');
    assert_eq!(fs::metadata(&log).unwrap().len(), 0);
    assert!(run(recover(dir.path(), &injectors(), false)).unwrap().acts.is_empty(), "again changes nothing");
}

fn what_the_start_cannot_undo_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let sleeper = Sleeper::start();
    stopped_agent(dir.path(), &[&sleeper]);
    run(async {
        // Nobody here knows processes, so the first start cannot undo it; nothing is forgotten.
        let mock = Mock::new();
        let agent = Agent::start(config(dir.path(), vec![mock.clone()])).await.unwrap();
        assert_eq!(agent.undo_failures(), 1);
        agent.open(proxy("cart")).await.unwrap();
        agent.arm(latency("cart", "60s"), "t").await.unwrap();
        agent.shutdown().await.unwrap();
        let report = recover(dir.path(), &[mock], false).await.unwrap();
        assert!(report.problems()[0].contains("nobody here can undo what \"process\" did"), "{report:?}");
        let agent = Agent::start(config(dir.path(), injectors())).await.unwrap();
        assert_eq!((agent.found().acts.len(), agent.undo_failures()), (1, 0));
        assert_eq!(crate::support::story(&agent), ["recovered A"]);
        agent.shutdown().await.unwrap();
    });
    assert_ne!(sleeper.state(), 'T');
}

/// A small filesystem of its own; unmounted when dropped.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn new(size: &str) -> Option<Tmpfs> {
        let dir = tempfile::tempdir().unwrap();
        let made = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "murphy-test"])
            .arg(dir.path())
            .output()
            .is_ok_and(|o| o.status.success());
        made.then(|| Tmpfs(dir))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn a_full_disk() {
    let Some(disk) = Tmpfs::new("512k") else {
        return skip("mounting a small tmpfs needs root");
    };
    let dir = disk.0.path().join("state");
    let fill = || {
        let mut file = fs::File::create(disk.0.path().join("full")).unwrap();
        let end = std::iter::repeat_with(|| file.write_all(&[1; 4096])).find_map(Result::err).unwrap();
        assert_eq!(end.kind(), std::io::ErrorKind::StorageFull);
    };
    run(async {
        let mock = Mock::new();
        let agent = Agent::start(config(&dir, vec![mock.clone()])).await.unwrap();
        agent.open(proxy("cart")).await.unwrap();
        mock.acts.store(20, SeqCst);
        agent.arm(latency("cart", "60s"), "t").await.unwrap();
        fill();
        mock.acts.store(400, SeqCst);
        let why = agent.arm(latency("cart", "60s"), "t").await.unwrap_err();
        assert!(matches!(why, EngineError::Log { .. }), "{why}");
        let text = why.to_string();
        assert!(text.contains("nothing was armed") && text.contains("make room there"), "{text}");
        assert!(mock.is_on("A") && !mock.is_on("B") && agent.faults().len() == 1);
        let report = agent.halt("t").await;
        assert!(report.failed.is_empty() && !mock.is_on("A"), "{report:?}");
        assert!(murphy_engine::halted_offline(&dir).is_some(), "a halt holds on a full disk too");
        assert!(agent.lift("t").await.unwrap());
        // With room again it goes on.
        fs::remove_file(disk.0.path().join("full")).unwrap();
        mock.acts.store(1, SeqCst);
        agent.arm(latency("cart", "60s"), "t").await.unwrap();
        agent.shutdown().await.unwrap();
    });
    // A crash on a disk that is full.
    let sleeper = Sleeper::start();
    stopped_agent(&dir, &[&sleeper]);
    fill();
    let report = run(recover(&dir, &injectors(), false)).unwrap();
    assert!(report.is_clean() && report.acts.len() == 1, "{report:?}");
    assert_ne!(sleeper.state(), 'T');
    assert!(run(recover(&dir, &injectors(), false)).unwrap().acts.is_empty());
}

fn bad_state_directories_are_refused() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let why = Agent::start(config(&file, injectors())).await.unwrap_err().to_string();
        assert!(why.contains("is not a directory"), "{why}");
        let why = Agent::start(config(&file.join("below"), injectors())).await.unwrap_err().to_string();
        assert!(why.contains("MURPHY_STATE_DIR"), "{why}");
        assert!(recover(&dir.path().join("none"), &injectors(), false).await.unwrap().acts.is_empty());
        // A log of a newer version is not misread.
        let state = dir.path().join("state");
        host::dirs::private(&state, 0o700).unwrap();
        fs::write(state.join("undo.jsonl"), "not a record at all\n").unwrap();
        let report = recover(&state, &injectors(), false).await.unwrap();
        assert!(report.problems()[0].contains("line 1 is damaged: it has no checksum"), "{report:?}");
    });
}
