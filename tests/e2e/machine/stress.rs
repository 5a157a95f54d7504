//! Processor, memory and disk, with live changes.

use super::rig::{Group, PATIENCE, Rig};
use crate::ground::{eventually, need, program};
use control::wire::Change;

const MIB: f64 = 1024.0 * 1024.0;

fn change(rig: &Rig, id: &str, name: &str, value: &str) {
    let change: Change = serde_json::from_value(serde_json::json!({"inject": {name: value}})).unwrap();
    rig.agent.ask(async |c| c.adjust(id, &change).await).unwrap();
}

fn near(value: f64, wanted: f64, by: f64) -> bool {
    (value - wanted).abs() <= by * wanted
}

#[test]
fn a_processor_is_burned_in_the_group_that_is_meant() {
    let rig = Rig::start();
    let id = rig.arm(&["node:self", "cpu", "load=20%", "cores=1", "cpus=0"]);
    rig.until(&id, "cpu_percent_now", |p| near(p, 20.0, 0.25));
    change(&rig, &id, "load", "40%");
    rig.until(&id, "cpu_percent_now", |p| near(p, 40.0, 0.25));
    assert!(rig.disarm(&id)["applied"] == 1.0);
    let why = rig.try_arm(&["node:self", "cpu", "cpus=4000"]).unwrap_err();
    assert!(why.contains("there is no processor 4000"), "{why}");

    let Some(group) = Group::make(&["pids", "cpu"]) else { return };
    let id = rig.arm(&[&group.target(), "cpu", "load=10%", "cores=1"]);
    assert_eq!(group.processes().len(), 1, "it burns elsewhere");
    rig.until(&id, "cpu_percent_now", |p| p > 1.0);
    rig.disarm(&id);
    assert!(eventually(PATIENCE, || group.processes().is_empty()));
}

#[test]
fn memory_is_taken_followed_and_given_back() {
    let rig = Rig::start();
    let id = rig.arm(&["node:self", "memory", "size=64MiB"]);
    rig.until(&id, "resident_bytes", |b| near(b, 64.0 * MIB, 0.05));
    change(&rig, &id, "size", "32MiB");
    rig.until(&id, "resident_bytes", |b| near(b, 32.0 * MIB, 0.08));
    let child = child_of(&rig);
    let score = std::fs::read_to_string(format!("/proc/{child}/oom_score_adj")).unwrap();
    assert_eq!(score.trim(), "1000");
    rig.disarm(&id);
    assert!(eventually(PATIENCE, || !std::path::Path::new(&format!("/proc/{child}")).exists()));
    // What would not leave the reserve is not taken.
    let id = rig.arm(&["node:self", "memory", "size=32MiB", "reserve=4000GiB"]);
    assert!(rig.number(&id, "held_bytes") == 0.0 && rig.number(&id, "short_bytes") == 32.0 * MIB);
    rig.disarm(&id);
}

/// The only child of the agent that stresses.
fn child_of(rig: &Rig) -> u32 {
    let status = rig.agent.ask(async |c| c.status().await).unwrap();
    let agent = status.agent.pid;
    let text = std::fs::read_dir(format!("/proc/{agent}/task"))
        .unwrap()
        .flatten()
        .map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default());
    let all: Vec<u32> =
        text.flat_map(|t| t.split_whitespace().map(|p| p.parse().unwrap()).collect::<Vec<_>>()).collect();
    let named = |pid: &&u32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .is_ok_and(|c| ["murphy-stress", "stress-ng"].contains(&c.trim()))
    };
    *all.iter().find(named).unwrap()
}

#[test]
fn a_kill_for_want_of_memory_is_what_happened() {
    let Some(group) = Group::make(&["memory"]) else { return };
    group.set_memory(48 << 20);
    let rig = Rig::start();
    // Without a reserve it goes over the limit, and the kernel takes the one with the worst score: ours.
    let id = rig.arm(&[&group.target(), "memory", "size=200MiB", "reserve=0B"]);
    rig.until(&id, "ended_early", |n| n == 1.0);
    let numbers = rig.numbers(&id);
    assert_eq!(numbers.get("oom_killed"), Some(&1.0), "{numbers:?}");
    let last = rig.disarm(&id);
    assert_eq!(last.get("oom_killed"), Some(&1.0), "{last:?}");
    // Which is said before.
    let words = ["arm", "node:self", "memory", "size=1GiB", "--for", "9s", "--dry-run"];
    let plan = |more: &[&str]| rig.agent.murphy(&[&words, more].concat());
    assert!(plan(&["reserve=0B"]).out.contains("the kernel kills"), "{:?}", plan(&["reserve=0B"]));
    assert!(!plan(&[]).out.contains("the kernel kills"));
    // With one it stops in time.
    let id = rig.arm(&[&group.target(), "memory", "load=95%", "reserve=16MiB"]);
    let held = rig.number(&id, "held_bytes");
    assert!(held > 8.0 * MIB && held < 40.0 * MIB, "{held}");
    assert!(rig.number(&id, "ended_early") == 0.0);
    rig.disarm(&id);
}

#[test]
fn a_disk_is_written_at_a_rate() {
    let rig = Rig::start();
    let path = format!("path={}", rig.agent.dir.path().display());
    let id = rig.arm(&["node:self", "io", &path, "rate=2MB/s", "size=4MiB", "block=16KiB", "direct=false"]);
    rig.until(&id, "bytes_per_second_now", |r| near(r, 2e6, 0.25));
    change(&rig, &id, "rate", "4MB/s");
    rig.until(&id, "bytes_per_second_now", |r| near(r, 4e6, 0.25));
    let last = rig.disarm(&id);
    assert!(last["bytes"] > 1e6 && last["errors"] == 0.0, "{last:?}");
    let left = std::fs::read_dir(rig.agent.dir.path()).unwrap().flatten();
    assert!(!left.into_iter().any(|e| e.file_name().to_string_lossy().starts_with(".murphy")));
}

#[test]
fn stress_ng_is_passed_through_where_it_is() {
    let rig = Rig::start();
    let tried = rig.try_arm(&["node:self", "stress_ng", "args=--matrix 1 --cpu-load 10"]);
    if program("stress-ng", &[]).is_none() {
        let why = tried.unwrap_err();
        assert!(why.contains("stress-ng is not installed") && why.contains("apt-get install"), "{why}");
        need("stress-ng", false);
        return;
    }
    let id = tried.unwrap();
    let child = child_of(&rig);
    rig.until(&id, "cpu_percent", |p| p > 0.0);
    rig.disarm(&id);
    assert!(eventually(PATIENCE, || !std::path::Path::new(&format!("/proc/{child}")).exists()));
}
