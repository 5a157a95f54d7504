//! Real containers in an engine of the test's own: every fault of containers, and every fault of the machine inside of one;
//! the target started anew, removed, and its engine ended in the middle of a fault.
//!
//! By hand: it downloads Debian's Docker (60 MB) once. `cargo test --test e2e machine::containers -- --ignored`

use super::rig::{PATIENCE, Rig};
use crate::ground::{Engine, eventually};
use model::target::{ContainerSpec, Pick, ProcessSpec};
use model::{Target, TargetRef, TargetSpec};
use std::fs;

/// Counts, ten times a second.
const COUNT: &str = "n=0; while :; do n=$((n+1)); echo $n > /tmp/n; echo said $n; sleep 0.1; done";
/// The same, and ends when it is asked to.
const POLITE: &str = "trap 'exit 0' TERM; n=0; while :; do n=$((n+1)); echo said $n; sleep 0.1; done";

struct Side {
    engine: Engine,
    rig: Rig,
}

impl Side {
    fn start() -> Option<Side> {
        let engine = Engine::start()?;
        Some(Side { engine, rig: Rig::start() })
    }

    fn open(&self, name: &str, spec: ContainerSpec) {
        let engine = Some(self.engine.socket().display().to_string());
        let spec = TargetSpec::Container(ContainerSpec { engine, ..spec });
        let target = Target { name: name.into(), spec };
        self.rig.agent.ask(async |c| c.open_target(&target).await).unwrap();
    }

    fn open_by_name(&self, name: &str) {
        self.open(name, ContainerSpec { name: Some(name.into()), ..ContainerSpec::default() });
    }

    fn close(&self, name: &str) {
        let target: TargetRef = format!("container:{name}").parse().unwrap();
        self.rig.agent.ask(async |c| c.close_target(&target).await).unwrap();
    }

    fn is(&self, name: &str, field: &str) -> String {
        self.engine.must(&["inspect", "-f", &format!("{{{{{field}}}}}"), name])
    }

    fn runs(&self, name: &str) -> bool {
        self.is(name, ".State.Status") == "running"
    }

    fn exec(&self, name: &str, script: &str) -> crate::ground::Finished {
        self.engine.docker(&["exec", name, "sh", "-c", script])
    }

    fn goes_on(&self, name: &str) {
        let said = || self.engine.must(&["logs", name]).lines().count();
        let before = said();
        assert!(eventually(PATIENCE, || said() > before + 2), "{name} says nothing any more");
    }
}

#[test]
#[ignore = "by hand: downloads a Docker engine"]
fn what_the_engine_is_asked_for() {
    let Some(side) = Side::start() else { return };
    let rig = &side.rig;
    side.engine.run("app", &["--label", "tier=web", "--label", "com.docker.compose.service=shop"], POLITE);
    side.engine.run("two", &["--label", "tier=web"], POLITE);
    side.open_by_name("app");
    let labelled =
        ContainerSpec { label: Some("tier=web".into()), pick: Pick::All, ..ContainerSpec::default() };
    side.open("web", labelled);
    side.open("shop", ContainerSpec { service: Some("shop".into()), ..ContainerSpec::default() });

    let id = rig.arm(&["container:web", "pause"]);
    assert!(["app", "two"].iter().all(|c| side.is(c, ".State.Paused") == "true"));
    assert_eq!(rig.number(&id, "frozen_now"), 2.0);
    let why = rig.try_arm(&["container:shop", "pause"]).unwrap_err();
    assert!(why.contains("is paused already"), "{why}");
    rig.disarm(&id);
    side.goes_on("app");
    side.goes_on("two");

    let id = rig.arm(&["container:shop", "container_stop", "timeout=5s"]);
    assert_eq!(side.is("app", ".State.Status"), "exited");
    println!("container_stop: {:?}", rig.numbers(&id));
    rig.disarm(&id);
    side.goes_on("app");
    side.close("app");
    side.open_by_name("app");

    let before = side.engine.container();
    rig.arm(&["container:app", "container_restart", "timeout=1s"]);
    assert!(side.engine.container() != before && side.runs("app"));
    rig.arm(&["container:app", "kill"]);
    assert_eq!(side.is("app", ".State.ExitCode"), "137");
    side.engine.must(&["start", "app"]);

    let limits = ".HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.HostConfig.CpuQuota";
    let (was, group) = (
        side.is("app", limits),
        rig.arm(&["container:app", "container_limits", "cpu=0.5", "memory=32MiB", "pids=9"]),
    );
    assert_eq!(side.is("app", limits), "33554432 9 50000");
    let numbers = rig.numbers(&group);
    assert!(numbers["memory_limit"] == 33_554_432.0 && numbers["pids_limit"] == 9.0, "{numbers:?}");
    rig.disarm(&group);
    println!("limits before {was:?}, afterwards {:?}", side.is("app", limits));
    side.goes_on("app");

    // Again and again, with the engine's own restarts in between.
    side.engine.run("crashing", &["--restart", "always"], COUNT);
    side.open_by_name("crashing");
    let id = rig.arm(&["container:crashing", "kill_loop", "every=300ms"]);
    rig.until(&id, "applied", |n| n >= 3.0);
    rig.disarm(&id);
    assert!(side.is("crashing", ".RestartCount").parse::<u32>().unwrap() >= 2);
}

#[test]
#[ignore = "by hand: downloads a Docker engine"]
fn faults_of_the_machine_inside_of_one() {
    let Some(side) = Side::start() else { return };
    let rig = &side.rig;
    side.engine.run("app", &["-m", "64m", "--pids-limit", "40", "--tmpfs", "/data:size=8m"], COUNT);
    side.open_by_name("app");
    let group_of = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        text.lines().find(|l| l.contains(":pids:") || l.starts_with("0::/")).map(str::to_owned)
    };
    let own = || group_of(side.engine.container());

    let id = rig.arm(&["container:app", "cpu", "load=20%", "cores=1"]);
    let numbers = rig.until(&id, "cpu_percent_now", |p| (p - 20.0).abs() < 5.0);
    println!("cpu in the container: {numbers} %");
    let inside = |comm: &str| {
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|e| e.file_name().to_string_lossy().parse::<u32>().ok());
        let named =
            |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c.trim() == comm);
        pids.filter(named).filter(|pid| group_of(*pid) == own()).count()
    };
    assert_eq!(inside("murphy-stress"), 1, "the child is not in the container's groups");
    rig.disarm(&id);

    let id = rig.arm(&["container:app", "memory", "load=50%", "reserve=4MiB"]);
    let held = rig.number(&id, "held_bytes");
    assert!((held - 32.0 * 1048576.0).abs() < 1048576.0, "{held}");
    rig.disarm(&id);
    let id = rig.arm(&["container:app", "memory", "size=200MiB", "reserve=0B"]);
    rig.until(&id, "oom_killed", |n| n == 1.0);
    rig.disarm(&id);
    assert!(side.runs("app"), "the container went instead");

    // Of its own: a shell that cannot fork in its loop ends.
    side.engine.run("full", &["--pids-limit", "40"], "sleep 1000000 & while :; do wait; done");
    side.open_by_name("full");
    let id = rig.arm(&["container:full", "pid_fill"]);
    let refused = side.exec("full", "busybox true; busybox true");
    // The shell cannot fork, or there is not even room for the shell.
    let said = format!("{}{}", refused.err, refused.out);
    let is_refused = said.contains("fork") || said.contains("unable to start container process");
    assert!(refused.code != 0 && is_refused, "a process could be started: {refused:?}");
    println!("pid_fill: {:?}", rig.numbers(&id));
    rig.disarm(&id);
    let mut last = None;
    let again = eventually(PATIENCE, || {
        let done = side.exec("full", "busybox true; busybox true");
        let right = done.code == 0;
        last = Some(done);
        right
    });
    assert!(again, "no process can be started any more: {last:?}");

    let id = rig.arm(&["container:app", "disk_fill", "path=/data", "free=0B"]);
    assert!(side.exec("app", "cat /bin/busybox > /data/x").err.contains("No space left"));
    rig.disarm(&id);
    assert_eq!(side.exec("app", "cat /bin/busybox > /data/x && busybox rm /data/x").code, 0);
    let id = rig.arm(&["container:app", "io", "path=/data", "rate=1MB/s", "size=1MiB", "direct=false"]);
    rig.until(&id, "bytes", |n| n > 1e5);
    rig.disarm(&id);
    let id = rig.arm(&["container:app", "inode_fill", "path=/data", "count=100"]);
    assert_eq!(rig.number(&id, "held"), 100.0);
    rig.disarm(&id);
    let id = rig.arm(&["container:app", "port_fill"]);
    rig.until(&id, "refused", |n| n == 1.0);
    rig.disarm(&id);

    let id = rig.arm(&["container:app", "rlimit_squeeze", "nofile=3"]);
    assert_eq!(rig.number(&id, "nofile_limit"), 3.0);
    rig.disarm(&id);
    let id = rig.arm(&["container:app", "cgroup_squeeze", "pids=5", "memory=32MiB", "cpu=0.3"]);
    let numbers = rig.numbers(&id);
    assert!(numbers["pids_limit"] == 5.0 && numbers["memory_limit"] == 33_554_432.0, "{numbers:?}");
    rig.disarm(&id);

    let words = |file: &str| side.exec("app", &format!("cat {file}")).out;
    let hosts = words("/etc/hosts");
    let id = rig.arm(&["container:app", "hosts", "names=payments"]);
    assert!(words("/etc/hosts").starts_with("192.0.2.1\tpayments\n"), "{}", words("/etc/hosts"));
    rig.disarm(&id);
    assert_eq!(words("/etc/hosts"), hosts);
    side.exec("app", "echo A=1 > /app.env");
    let id = rig.arm(&["container:app", "env_file", "path=/app.env", "set=A:2"]);
    assert_eq!(words("/app.env"), "A=2\n");
    // It is started anew in the middle: the file is still changed, and is found again by the container's id.
    side.engine.must(&["restart", "-t", "1", "app"]);
    assert_eq!(words("/app.env"), "A=2\n");
    rig.disarm(&id);
    assert_eq!(words("/app.env"), "A=1\n");

    let spec = ProcessSpec { container: None, matches: Some("no such".into()), ..ProcessSpec::default() };
    let target = Target { name: "none".into(), spec: TargetSpec::Process(spec) };
    assert!(rig.agent.ask(async |c| c.open_target(&target).await).is_err());
    // Its first process is no process 1 as seen from here.
    side.close("app");
    side.open_by_name("app");
    rig.arm(&["container:app", "oom_kill", "group=true"]);
    assert!(eventually(PATIENCE, || !side.runs("app")));
}

#[test]
#[ignore = "by hand: downloads a Docker engine"]
fn restarted_removed_and_without_its_engine() {
    let Some(mut side) = Side::start() else { return };
    for name in ["app", "gone", "late"] {
        side.engine.run(name, &[], COUNT);
        side.open_by_name(name);
    }
    let rig = &side.rig;
    let burn = rig.arm(&["container:app", "cpu", "load=5%", "cores=1"]);
    let pause = rig.arm(&["container:app", "pause"]);
    // Whoever joins what is frozen is frozen; whoever is in there already can still be ended.
    let why = rig.try_arm(&["container:app", "memory", "size=1MiB"]).unwrap_err();
    assert!(why.contains("is frozen"), "{why}");
    rig.disarm(&burn);
    rig.disarm(&pause);
    let burn = rig.arm(&["container:app", "cpu", "load=5%", "cores=1"]);
    let pause = rig.arm(&["container:app", "pause"]);
    let limit = rig.arm(&["container:app", "cgroup_squeeze", "pids=30"]);
    // Started anew in the middle: nothing of the old one is left to undo, and nothing is done to the new one.
    side.engine.must(&["unpause", "app"]);
    side.engine.must(&["restart", "-t", "1", "app"]);
    rig.until(&burn, "ended_early", |n| n == 1.0);
    for id in [&limit, &burn, &pause] {
        rig.disarm(id);
    }
    side.goes_on("app");

    // Removed in the middle: the child leaves the group that has to go.
    let burn = rig.arm(&["container:gone", "cpu", "load=5%", "cores=1"]);
    let stop = rig.arm(&["container:gone", "container_stop", "timeout=1s"]);
    side.engine.must(&["rm", "-f", "gone"]);
    rig.disarm(&stop);
    rig.disarm(&burn);
    let why = rig.try_arm(&["container:gone", "pause"]).unwrap_err();
    assert!(why.contains("no container has name"), "{why}");

    // The engine ends in the middle: what it keeps frozen is thawed past it.
    side.close("app");
    side.open_by_name("app");
    let rig = &side.rig;
    let pause = rig.arm(&["container:late", "pause"]);
    let first = side.engine.first_of("late");
    side.engine.daemon.kill();
    // It was killed along, and cannot die while it is frozen.
    rig.disarm(&pause);
    let ended = eventually(PATIENCE, || !std::path::Path::new(&format!("/proc/{first}")).exists());
    assert!(ended, "it is frozen still");
    let why = rig.try_arm(&["container:app", "pause"]).unwrap_err();
    assert!(why.contains("does not answer"), "{why}");
}
