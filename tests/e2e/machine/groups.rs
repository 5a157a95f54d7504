//! Control groups: their limits narrowed live and written back, frozen and killed as a whole.

use super::rig::{Group, PATIENCE, Probe, Rig, Sleepers, state};
use crate::ground::eventually;

#[test]
fn limits_of_a_group_are_narrowed_and_written_back() {
    let Some(group) = Group::make(&["pids", "memory", "cpu"]) else { return };
    group.write(&["pids.max"], "500");
    group.set_memory(512 << 20);
    let Some(mut probe) = Probe::start_as(group.command("python3")) else { return };
    let rig = Rig::start();
    let (cpu, memory) = (["cpu.cfs_quota_us", "cpu.max"], ["memory.limit_in_bytes", "memory.max"]);
    let before = (group.read(&cpu), group.read(&memory), group.read(&["pids.max"]));
    let words = ["cgroup_squeeze", "cpu=0.2", "memory=64MiB", "pids=3"];
    let id = rig.arm(&[&[group.target().as_str()][..], &words].concat());
    assert_eq!((group.read(&memory).as_str(), group.read(&["pids.max"]).as_str()), ("67108864", "3"));
    assert!(group.read(&cpu).starts_with("20000"));
    assert_eq!(probe.does("[child() for _ in range(2)] and 1"), "ok 1");
    assert_eq!(probe.does("fork()"), "EAGAIN");
    // Half a second of work takes more than a second at a fifth of a core.
    let spent = "(lambda t, w: [t() - w for _ in iter(lambda: t() - w < 0.3, False)] and 1)(__import__('time').process_time, __import__('time').process_time())";
    assert_eq!(probe.does(spent), "ok 1");
    let numbers = rig.numbers(&id);
    assert!(numbers["throttled_periods"] > 0.0 && numbers["cores_limit"] == 0.2, "{numbers:?}");
    assert!(numbers["pids_now"] == 3.0 && numbers["memory_limit"] == 67_108_864.0, "{numbers:?}");
    let live = serde_json::from_value(serde_json::json!({"inject": {"pids": 4}})).unwrap();
    rig.agent.ask(async |c| c.adjust(&id, &live).await).unwrap();
    assert_eq!(probe.does("fork()"), "ok None");
    // A second one would write back what the first has set.
    let why = rig.try_arm(&[&group.target(), "cgroup_squeeze", "pids=2"]).unwrap_err();
    assert!(why.contains("is changed by the fault f1 already"), "{why}");
    rig.disarm(&id);
    assert_eq!((group.read(&cpu), group.read(&memory), group.read(&["pids.max"])), before);
    assert_eq!(probe.does("fork()"), "ok None");
}

#[test]
fn what_goes_over_a_narrowed_limit_is_killed_and_counted() {
    let Some(group) = Group::make(&["memory"]) else { return };
    let Some(mut probe) = Probe::start_as(group.command("python3")) else { return };
    let rig = Rig::start();
    let id = rig.arm(&[&group.target(), "cgroup_squeeze", "memory=32MiB"]);
    let took = "os.fork() or [kept.append(bytearray(1 << 20)) for _ in range(200)]";
    assert!(probe.does(took).starts_with("ok"));
    rig.until(&id, "oom_kills", |n| n >= 1.0);
    rig.disarm(&id);
}

#[test]
fn someone_elses_later_limit_is_left() {
    let Some(group) = Group::make(&["pids"]) else { return };
    let rig = Rig::start();
    let id = rig.arm(&[&group.target(), "cgroup_squeeze", "pids=20"]);
    group.write(&["pids.max"], "77");
    rig.disarm(&id);
    assert_eq!(group.read(&["pids.max"]), "77");
    // A group that goes away takes its limits along.
    let id = rig.arm(&[&group.target(), "cgroup_squeeze", "pids=20"]);
    drop(group);
    rig.disarm(&id);
}

#[test]
fn a_group_is_frozen_and_killed_as_a_whole() {
    let Some(group) = Group::make(&["freezer"]) else { return };
    let mut sleepers = Sleepers::start(3);
    sleepers.pids().iter().for_each(|pid| group.take(*pid));
    let rig = Rig::start();
    let id = rig.arm(&[&group.target(), "pause"]);
    assert_eq!(rig.number(&id, "frozen_now"), 1.0);
    // Frozen is not stopped: nobody gets SIGCHLD.
    assert!(sleepers.pids().into_iter().all(|pid| state(pid) != 'T'));
    let why = rig.try_arm(&[&group.target(), "pause"]).unwrap_err();
    assert!(why.contains("frozen already"), "{why}");
    rig.disarm(&id);
    rig.arm(&[&group.target(), "kill"]);
    assert!(eventually(PATIENCE, || sleepers.running() == 0));
    let why = rig.try_arm(&["cgroup:/", "pause"]).unwrap_err();
    assert!(why.contains("root group"), "{why}");
}

/// Two agents that mean the same group by other words: one of them has it.
#[test]
fn a_group_is_one_whatever_it_is_called() {
    let Some(group) = Group::make(&["pids"]) else { return };
    let rig = Rig::start();
    let id = rig.arm(&[&group.target(), "pid_fill", "count=3"]);
    let other = Rig::start();
    let dir = group.file(&["pids.max"]);
    let dir = format!("cgroup:{}", dir.parent().unwrap().display());
    let why = other.try_arm(&[&dir, "pid_fill", "count=3"]).unwrap_err();
    assert!(why.contains("is already under faults of process"), "{why}");
    rig.disarm(&id);
    other.arm(&[&dir, "pid_fill", "count=3"]);
}
