//! Crashes: whatever is killed, nothing stays stopped or burning.

use crate::helper::Helper;
use crate::support::{self, Sleeper, cpu, injectors, pause, run, space, wait};
use host::process::{self, ProcessSignal};
use murphy_engine::recover;
use std::fs;
use std::path::Path;
use std::time::Duration;

pub const TESTS: &[(&str, fn())] = &[
    ("killed_at_random_nothing_stays", killed_at_random_nothing_stays),
    ("killed_with_its_watchdog_recover_undoes_it", killed_with_its_watchdog),
    ("a_hanging_agent_loses_its_faults", a_hanging_agent_loses_its_faults),
    ("a_killed_agents_socket_is_removed", a_killed_agents_socket_is_removed),
];

/// How many rounds: `MURPHY_KILL_ROUNDS`, or enough for every day.
fn rounds(usual: u64) -> u64 {
    std::env::var("MURPHY_KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// A number below `n`, drawn from the round; the seed can be set to repeat a failure.
fn draw(round: u64, n: u64) -> u64 {
    let seed = std::env::var("MURPHY_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(7);
    model::draw::bits(seed, model::draw::Lane::Amount, round) % n
}

fn orders(sleepers: &[Sleeper]) -> Vec<String> {
    let mut faults: Vec<_> = sleepers.iter().map(|s| pause(s.pid(), "600s")).collect();
    faults.insert(1, cpu("600s"));
    faults.iter().map(|f| format!("arm {}", serde_json::to_string(f).unwrap())).collect()
}

/// Orders everything and kills at a random moment, from before the first intent to after the last answer; every third
/// time after the last answer for certain.
fn arm_for_a_while(helper: &mut Helper, sleepers: &[Sleeper], round: u64) {
    for order in orders(sleepers) {
        if round % 3 == 2 {
            let answer = helper.ask(&order);
            assert!(answer.starts_with("armed"), "{answer}");
        } else {
            helper.tell(&order);
        }
    }
    let most = if round % 3 == 2 { 10_000 } else { 120_000 };
    std::thread::sleep(Duration::from_micros(draw(round, most)));
}

/// Stressors of an agent, by their command line.
fn burning(agent: u32) -> Vec<u32> {
    let mark = format!("__stress --parent {agent}");
    process::list()
        .into_iter()
        .filter(|p| p.command.contains(&mark) && p.id.alive())
        .map(|p| p.id.pid)
        .collect()
}

fn watchdogs(dir: &Path) -> Vec<u32> {
    let mark = format!("--state-dir {}", dir.display());
    process::list()
        .into_iter()
        .filter(|p| p.command.contains(&mark) && p.id.alive())
        .map(|p| p.id.pid)
        .collect()
}

fn killed_at_random_nothing_stays() {
    let sleepers = [Sleeper::start(), Sleeper::start()];
    let mut worst = Duration::ZERO;
    for round in 0..rounds(15) {
        let dir = tempfile::tempdir().unwrap();
        let mut helper = Helper::start(dir.path(), &space(), Duration::from_secs(15));
        let agent = helper.id().pid;
        arm_for_a_while(&mut helper, &sleepers, round);
        helper.kill();
        let began = std::time::Instant::now();
        wait(|| watchdogs(dir.path()).is_empty());
        worst = worst.max(began.elapsed());
        for sleeper in &sleepers {
            assert_ne!(sleeper.state(), 'T', "round {round}: left stopped");
        }
        // Killed by the kernel when their parent ends; gone once they are reaped or dead.
        wait(|| burning(agent).is_empty());
        let log = fs::read(dir.path().join("undo.jsonl")).unwrap_or_default();
        assert!(log.is_empty(), "round {round}: {}", String::from_utf8_lossy(&log));
    }
    println!("worst clean-up {worst:?}");
}

fn killed_with_its_watchdog() {
    let sleepers = [Sleeper::start(), Sleeper::start()];
    for round in 0..rounds(15).div_ceil(3) {
        let dir = tempfile::tempdir().unwrap();
        let mut helper = Helper::start(dir.path(), &space(), Duration::from_secs(15));
        let agent = helper.id().pid;
        arm_for_a_while(&mut helper, &sleepers, round);
        // Stopped first, or it would start another watchdog in between.
        helper.signal(ProcessSignal::STOP);
        wait(|| helper.id().stat().unwrap().state == 'T');
        support::kill(helper.watchdog);
        helper.kill();
        let report = run(recover(dir.path(), &injectors(), false)).unwrap();
        assert!(report.is_clean(), "{report:?}");
        for sleeper in &sleepers {
            assert_ne!(sleeper.state(), 'T', "round {round}: left stopped: {report:?}");
        }
        wait(|| burning(agent).is_empty());
        assert!(run(recover(dir.path(), &injectors(), false)).unwrap().acts.is_empty());
    }
}

fn a_hanging_agent_loses_its_faults() {
    let dir = tempfile::tempdir().unwrap();
    let sleepers = [Sleeper::start(), Sleeper::start()];
    let mut helper = Helper::start(dir.path(), &space(), Duration::from_millis(1500));
    let agent = helper.id().pid;
    for order in orders(&sleepers) {
        let answer = helper.ask(&order);
        assert!(answer.starts_with("armed"), "{answer}");
    }
    helper.signal(ProcessSignal::STOP);
    wait(|| sleepers.iter().all(|s| s.state() != 'T'));
    wait(|| burning(agent).is_empty());
    // When it goes on, it knows.
    helper.signal(ProcessSignal::CONT);
    wait(|| helper.ask("list") == "list 0");
    let events = helper.ask("events");
    assert_eq!(events.matches("LeaseExpired").count(), 3, "{events}");
    // And it works as before.
    let answer = helper.ask(&orders(&sleepers)[0]);
    assert!(answer.starts_with("armed"), "{answer}");
    assert!(helper.ask("shutdown").contains("Ok"));
    wait(|| watchdogs(dir.path()).is_empty());
    assert_ne!(sleepers[0].state(), 'T');
}

fn a_killed_agents_socket_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut helper = Helper::start(dir.path(), &space(), Duration::from_secs(15));
    let socket = dir.path().join("socket");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    helper.kill();
    wait(|| watchdogs(dir.path()).is_empty());
    assert!(!socket.exists() && !dir.path().join("lease").exists());
}
