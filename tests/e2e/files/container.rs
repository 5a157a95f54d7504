//! A volume of a running container, in an engine of the test's own: murphy's filesystem over it in the container's mount
//! namespace, or over the volume's directory so that it is propagated; faults, a restart in the middle, a clean end.
//!
//! By hand: it downloads Debian's Docker (60 MB) once. `cargo test --test e2e files::container -- --ignored`

use crate::ground::{Agent, Engine, eventually, text_of};
use model::target::FsSpec;
use model::{Target, TargetRef, TargetSpec};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// What the container does: writes a line to its volume again and again, and tells of each.
const WORK: &str = "n=0; while :; do n=$((n+1)); if echo $n >> /data/log; then echo wrote $n; else echo failed $n; fi; sleep 0.05; done 2>&1";

/// Whether a process sees one of murphy's mounts in that place.
fn sees_mount(pid: u32, place: &str) -> bool {
    let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    table.lines().any(|l| l.split(' ').nth(4) == Some(place) && l.contains(" - fuse.murphy "))
}

/// An agent that serves a directory of a process.
struct Side(Agent);

impl Side {
    fn open(&self, mount: &str, pid: u32) {
        let spec = FsSpec { mount: mount.into(), pid: Some(pid), ..FsSpec::default() };
        let target = Target { name: "d".into(), spec: TargetSpec::Fs(spec) };
        self.0.ask(async |c| c.open_target(&target).await).unwrap();
        assert!(sees_mount(pid, mount));
    }

    fn close(&self) {
        let target: TargetRef = "fs:d".parse().unwrap();
        self.0.ask(async |c| c.close_target(&target).await).unwrap();
    }

    /// How often a fault was applied so far.
    fn applied(&self, id: &str) -> u64 {
        let faults = self.0.ask(async |c| c.faults().await).unwrap();
        faults.iter().find(|f| f.id == id).map_or(0, |f| f.evidence.applied)
    }

    fn is_up(&self) -> bool {
        self.0.ask(async |c| c.targets().await).unwrap().iter().any(|t| t.target.name == "d" && t.up)
    }
}

#[test]
#[ignore = "by hand: downloads a Docker engine"]
fn over_a_volume_in_the_container_through_a_restart() {
    let Some(engine) = Engine::start() else { return };
    engine.run("app", &["-v", "vol:/data"], WORK);
    engine.says("wrote");
    let side = Side(Agent::start(&[]));
    let first = engine.container();
    side.open("/data", first);
    engine.says("wrote");

    let id = side.0.arm("fs:d io_error ops=write errno=EIO");
    engine.says("failed");
    println!("EIO: {}", engine.logs().lines().rev().find(|l| l.contains("error")).unwrap_or_default());
    side.0.disarm(&id);
    engine.says("wrote");
    let id = side.0.arm("fs:d disk_full free=0B");
    engine.says("failed");
    println!("df in the container: {}", engine.must(&["exec", "app", "df", "/data"]).replace('\n', " / "));
    assert!(engine.must(&["exec", "app", "df", "/data"]).contains("100% /data"));

    // It is restarted with the fault on. The mount ends with its namespace; the volume is what it was.
    let written = engine.must(&["exec", "app", "cat", "/data/log"]);
    engine.must(&["restart", "-t", "1", "app"]);
    engine.says("wrote");
    assert!(engine.must(&["exec", "app", "cat", "/data/log"]).starts_with(&written));
    assert!(eventually(PATIENCE, || !side.is_up()), "the target says that it is up");
    let second = engine.container();
    assert!(second != first && !sees_mount(second, "/data"));

    // The same target again, in the new namespace.
    side.0.disarm(&id);
    side.open("/data", second);
    let id = side.0.arm("fs:d latency delay=2s when.op=write");
    let hit = eventually(PATIENCE, || side.applied(&id) > 0);
    assert!(hit, "the fault is not on");
    side.0.disarm(&id);

    // What hangs keeps the container from ending, until it is released.
    let id = side.0.arm("fs:d hang ops=write");
    assert!(eventually(PATIENCE, || side.applied(&id) > 0), "it does not hang");
    let mut restart = engine.command(&["restart", "-t", "1", "app"]).stdout(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert!(restart.try_wait().unwrap().is_none(), "it was restarted although it hangs");
    side.0.disarm(&id);
    assert!(restart.wait().unwrap().success());
    engine.says("wrote");

    let third = engine.container();
    side.open("/data", third);
    engine.says("wrote");
    side.close();
    assert!(!sees_mount(third, "/data"), "the mount is still there");
    engine.says("wrote");
    side.open("/data", third);
    // The agent ends, and the container goes on.
    drop(side);
    assert!(!sees_mount(third, "/data"), "the mount is still there");
    let failed = engine.logs().matches("failed").count();
    engine.says("wrote");
    assert_eq!(engine.logs().matches("failed").count(), failed);
}

#[test]
#[ignore = "by hand: downloads a Docker engine"]
fn propagated_into_a_container_it_outlasts_a_restart() {
    let Some(engine) = Engine::start() else { return };
    let volume = engine.home.path().join("volume");
    fs::create_dir(&volume).unwrap();
    let volume = volume.to_str().unwrap();
    engine.run("app", &["-v", &format!("{volume}:/data:rslave")], WORK);
    engine.says("wrote");
    let side = Side(Agent::start(&[]));
    side.open(volume, engine.pid());
    assert!(sees_mount(engine.container(), "/data"), "it is not propagated");
    let id = side.0.arm("fs:d io_error ops=write errno=ENOSPC");
    engine.says("failed");
    engine.must(&["restart", "-t", "1", "app"]);
    assert!(side.is_up() && sees_mount(engine.container(), "/data"));
    engine.says("failed");
    side.0.disarm(&id);
    engine.says("wrote");
    drop(side);
    assert!(!sees_mount(engine.pid(), volume), "the mount is still there");
    assert!(!sees_mount(engine.container(), "/data"), "a copy of the mount is still there");
    engine.says("wrote");

    // The agent is killed, and the container has a copy of the mount from its start: it is not left with a dead one.
    let mut side = Side(Agent::start(&[]));
    side.open(volume, engine.pid());
    engine.must(&["restart", "-t", "1", "app"]);
    engine.says("wrote");
    side.0.kill();
    let gone = eventually(PATIENCE, || {
        !sees_mount(engine.container(), "/data") && !sees_mount(engine.pid(), volume)
    });
    assert!(gone, "a dead mount is left");
    engine.says("wrote");
    let log = engine.must(&["exec", "app", "cat", "/data/log"]);
    assert!(text_of(&Path::new(volume).join("log")).starts_with(&log), "the container writes somewhere else");
    assert!(!text_of(&Path::new(volume).join("log")).is_empty());
}
