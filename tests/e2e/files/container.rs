//! A volume of a running container, in an engine of the test's own: murphy's filesystem over it in the container's mount
//! namespace, or over the volume's directory so that it is propagated; faults, a restart in the middle, a clean end.
//!
//! By hand: it downloads Debian's Docker (60 MB) once. `cargo test --test e2e files::container -- --ignored`

use crate::ground::{Agent, Daemon, Finished, TempDir, can_serve, eventually, need, program, text_of};
use model::target::FsSpec;
use model::{Target, TargetRef, TargetSpec};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// What the container does: writes a line to its volume again and again, and tells of each.
const WORK: &str = "n=0; while :; do n=$((n+1)); if echo $n >> /data/log; then echo wrote $n; else echo failed $n; fi; sleep 0.05; done 2>&1";

/// An engine; when it is dropped, all of its containers are gone.
struct Engine {
    daemon: Daemon,
    cgroup: String,
    packages: PathBuf,
    home: TempDir,
}

impl Engine {
    fn start() -> Option<Engine> {
        if !can_serve() || !need("apt-get and dpkg", program("apt-get", &[]).is_some()) {
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/docker/engine");
        let packages = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docker");
        let fetched = Command::new(&script).arg("fetch").arg(&packages).output().unwrap();
        assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
        let home = TempDir::new();
        let cgroup = format!("murphy-test-{}", home.path().file_name().unwrap().to_string_lossy());
        let mut run = Command::new(&script);
        run.arg("run").arg(&packages).arg(home.path()).arg(format!("/{cgroup}"));
        let daemon = Daemon::start(run, &home.path().join("log"));
        let mut engine = Engine { daemon, cgroup, packages, home };
        let up = eventually(PATIENCE, || {
            assert!(engine.daemon.ended().is_none(), "{}", text_of(&engine.home.path().join("log")));
            engine.docker(&["version"]).code == 0
        });
        assert!(up, "{}", text_of(&engine.home.path().join("log")));
        let mut image =
            Command::new(&script).arg("image").arg(&engine.packages).stdout(Stdio::piped()).spawn().unwrap();
        let root = image.stdout.take().unwrap();
        let imported = engine.command(&["import", "-", "box"]).stdin(root).output().unwrap();
        assert!(imported.status.success() && image.wait().unwrap().success(), "{imported:?}");
        Some(engine)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.packages.join("root/usr/bin/docker"));
        command.arg("-H").arg(format!("unix://{}/docker.sock", self.home.path().display())).args(args);
        command.stdin(Stdio::null());
        command
    }

    fn docker(&self, args: &[&str]) -> Finished {
        self.command(args).output().unwrap().into()
    }

    fn must(&self, args: &[&str]) -> String {
        let done = self.docker(args);
        assert_eq!(done.code, 0, "docker {args:?}: {done:?}");
        done.out.trim().to_owned()
    }

    /// Starts the container that works on that volume.
    fn run(&self, volume: &str) {
        self.must(&[
            "run",
            "-d",
            "--name",
            "app",
            "--network",
            "none",
            "-v",
            volume,
            "box",
            "sh",
            "-c",
            WORK,
        ]);
    }

    /// The first process of the engine, as this process sees it.
    fn pid(&self) -> u32 {
        let children = format!("/proc/{0}/task/{0}/children", self.daemon.id());
        fs::read_to_string(children).unwrap().trim().parse().unwrap()
    }

    /// The first process of the container, likewise.
    fn container(&self) -> u32 {
        let inner = self.must(&["inspect", "-f", "{{.State.Pid}}", "app"]);
        let numbers = format!("\t{inner}\t1");
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let mut pids = pids.filter_map(|e| e.file_name().to_string_lossy().parse::<u32>().ok());
        let is = |pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let mine = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            mine.contains(&self.cgroup)
                && status.lines().any(|l| l.starts_with("NSpid:") && l.ends_with(&numbers))
        };
        pids.find(is).unwrap_or_else(|| panic!("{inner} is not found"))
    }

    fn logs(&self) -> String {
        self.must(&["logs", "app"])
    }

    /// Waits until the container has said that again.
    fn says(&self, what: &str) {
        let before = self.logs().matches(what).count();
        let said = eventually(PATIENCE, || self.logs().matches(what).count() > before + 2);
        assert!(said, "it does not say {what:?} any more:\n{}", self.logs());
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.daemon.kill();
        // Groups outlive what was in them.
        let roots = fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.path().join(&self.cgroup));
        for root in roots.chain([Path::new("/sys/fs/cgroup").join(&self.cgroup)]) {
            eventually(Duration::from_secs(5), || {
                let groups = fs::read_dir(&root).into_iter().flatten().flatten();
                groups.filter(|e| e.path().is_dir()).for_each(|e| drop(fs::remove_dir(e.path())));
                fs::remove_dir(&root).is_ok() || !root.exists()
            });
        }
    }
}

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
    engine.run("vol:/data");
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
    engine.run(&format!("{volume}:/data:rslave"));
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
