//! A child of a dead agent that cannot die: `murphy doctor` names it, and `--fix` has it die.

use super::rig::{Group, PATIENCE, state};
use crate::ground::{Agent, eventually, kill_both, murphy, one_fixes, running};
use std::fs;

#[test]
fn a_child_in_a_frozen_group_is_found_and_taken_out() {
    let Some(group) = Group::make(&["freezer", "pids"]) else { return };
    let _one = one_fixes();
    let mut agent = Agent::start(&[]);
    let pid = agent.ask(async |c| c.status().await).unwrap().agent.pid;
    let armed = agent.murphy(&["arm", &group.target(), "pid_fill", "count=5", "--for", "10m"]);
    assert_eq!(armed.code, 0, "{armed:?}");
    let child = running(&format!("__stress --parent {pid}"))[0];
    let named = format!("the child process {child} of an agent that is dead");
    let home = agent.dir.path().to_owned();
    let doctor = |args: &[&str]| murphy(&home, &[&["doctor"], args].concat()).out;
    assert!(!doctor(&[]).contains(&named));
    // Frozen by someone else.
    let file = group.file(&["freezer.state", "cgroup.freeze"]);
    fs::write(&file, if file.ends_with("freezer.state") { "FROZEN" } else { "1" }).unwrap();
    kill_both(&home, || agent.kill());
    fs::remove_dir_all(home.join("state")).unwrap();
    let dead = || matches!(state(child as u32), '?' | 'Z' | 'X');
    if file.ends_with("freezer.state") {
        assert!(!dead() && doctor(&[]).contains(&named), "{}", doctor(&[]));
        let said = doctor(&["--fix"]);
        assert!(said.contains(&format!("✔ {named}")), "{said}");
    }
    // In version 2 the kernel has it die by itself.
    assert!(eventually(PATIENCE, dead), "{}", state(child as u32));
    assert!(!doctor(&[]).contains(&named));
}
