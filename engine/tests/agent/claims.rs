//! One owner: of a state directory, of a target.

use crate::helper::Helper;
use crate::support::{self, Sleeper, config, injectors, pause, run, space};
use murphy_engine::{Agent, EngineError, recover};
use std::time::Duration;

pub const TESTS: &[(&str, fn())] = &[
    ("a_second_agent_on_one_state_directory_is_refused", a_second_agent_on_one_state_directory_is_refused),
    ("a_target_under_faults_is_refused_to_others", a_target_under_faults_is_refused_to_others),
    ("a_target_given_back_is_free_while_children_are_started", a_target_given_back_is_free),
];

const LEASE: Duration = Duration::from_secs(15);

fn a_second_agent_on_one_state_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Helper::start(dir.path(), &space(), LEASE);
    let (_second, why) = Helper::try_start(dir.path(), &space(), LEASE);
    assert!(
        why.contains(&format!(
            "is in use by agent of {}, process {}",
            host::privilege::user(),
            first.id().pid
        )),
        "{why}"
    );
    let refused = run(recover(dir.path(), &injectors(), false)).unwrap_err();
    assert!(matches!(refused, EngineError::InUse { .. }), "{refused}");
    // Others see so without waiting for its lock.
    assert!(murphy_engine::is_lived_in(dir.path()));
    // Of a dead agent it is free at once.
    first.kill();
    assert!(!murphy_engine::is_lived_in(dir.path()));
    let _third = Helper::start(dir.path(), &space(), LEASE);
}

fn a_target_under_faults_is_refused_to_others() {
    let (dirs, space) = ([tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()], space());
    let sleeper = Sleeper::start();
    let order = |lasts: &str| format!("arm {}", serde_json::to_string(&pause(sleeper.pid(), lasts)).unwrap());
    let mut one = Helper::start(dirs[0].path(), &space, LEASE);
    let mut two = Helper::start(dirs[1].path(), &space, LEASE);
    let node = format!("arm {}", serde_json::to_string(&support::cpu("60s")).unwrap());
    assert_eq!(one.ask(&node), "armed A");
    let why = two.ask(&node);
    assert!(
        why.contains("node:self is already under faults of process")
            && why.contains(&one.id().pid.to_string()),
        "{why}"
    );
    // Of a dead agent it is free, whoever undoes what it left.
    assert_eq!(one.ask(&order("60s")), "armed B");
    one.kill();
    support::wait(|| sleeper.state() != 'T');
    assert_eq!(two.ask(&node), "armed A");
    assert_eq!(two.ask(&order("60s")), "armed B");
    assert!(two.ask("shutdown").contains("Ok"));
    assert_ne!(sleeper.state(), 'T');
}

/// A child between fork and exec has its parent's sockets: a claim given back may look held for an instant.
fn a_target_given_back_is_free() {
    run(async {
        let (dirs, space) = ([tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()], space());
        let sleeper = Sleeper::start();
        let mut agents = Vec::new();
        for dir in &dirs {
            let mut config = config(dir.path(), injectors());
            config.claim_space.clone_from(&space);
            agents.push(Agent::start(config).await.unwrap());
        }
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let spawning = {
            let stop = stop.clone();
            std::thread::spawn(move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = std::process::Command::new("true").status();
                }
            })
        };
        for round in 0..40 {
            let agent = &agents[round % 2];
            let armed = agent
                .arm(pause(sleeper.pid(), "60s"), "t")
                .await
                .unwrap_or_else(|e| panic!("round {round}: {e}"));
            assert_eq!(sleeper.state(), 'T');
            agent.disarm(&armed.id, "t").await.unwrap();
            assert_ne!(sleeper.state(), 'T');
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        spawning.join().unwrap();
        for agent in agents {
            agent.shutdown().await.unwrap();
        }
    });
}
