//! The same faults in containers of Podman, whose API has no call for limits, and whose names have a search list behind them.
//!
//! By hand, on Debian 12: it downloads Docker's client and Podman (90 MB) once.
//! `cargo test --test e2e machine::podman -- --ignored`

use super::rig::{PATIENCE, Rig};
use crate::ground::{Engine, eventually};
use model::target::{ContainerSpec, Front, FsSpec, Protocol, ProxySpec};
use model::{Target, TargetSpec};

/// Asks again and again where `db` is.
const ASKS: &str =
    "while :; do busybox nslookup db > /tmp/new 2>&1; busybox mv /tmp/new /tmp/said; sleep 0.2; done";
const LIMITS: &str = "cd /sys/fs/cgroup; cat pids/pids.max memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us 2> /dev/null \
                      || cat pids.max memory.max cpu.max";

#[test]
#[ignore = "by hand: downloads Podman"]
fn faults_of_its_containers() {
    let Some(engine) = Engine::podman() else { return };
    engine.must(&["network", "create", "shop"]);
    let parent = engine.parent();
    for (name, script) in [("web", ASKS), ("db", "sleep 1000000")] {
        let options =
            ["--network", "shop", "--cgroup-parent", &parent, "--tmpfs", "/vol:size=8m", "-m", "64m"];
        engine.must(&[&["run", "-d", "--name", name][..], &options, &["box", "sh", "-c", script]].concat());
    }
    let rig = Rig::start();
    let socket = || Some(engine.socket().display().to_string());
    let web = || ContainerSpec { name: Some("web".into()), engine: socket(), ..ContainerSpec::default() };
    let front = Front { name: Some("db".into()), port: 80, engine: socket(), ..Front::default() };
    let dir = FsSpec { mount: "/vol".into(), container: Some(Box::new(web())), ..FsSpec::default() };
    for (name, spec) in [
        ("web", TargetSpec::Container(web())),
        ("db", TargetSpec::Proxy(ProxySpec::in_front_of(front, Protocol::Tcp))),
        ("vol", TargetSpec::Fs(dir)),
    ] {
        let target = Target { name: name.into(), spec };
        rig.agent.ask(async |c| c.open_target(&target).await).unwrap();
    }
    let exec = |script: &str| engine.docker(&["exec", "web", "sh", "-c", script]);
    let says = |what: &str| {
        let mut last = String::new();
        let said = eventually(PATIENCE, || {
            last = exec("cat /tmp/said").out;
            last.contains(what)
        });
        assert!(said, "{last}");
    };

    says("Name:\tdb.");
    let id = rig.arm(&["container:web", "dns", "names=db"]);
    says("NXDOMAIN");
    assert!(rig.number(&id, "applied") > 0.0);
    rig.disarm(&id);
    says("Name:\tdb.");

    let before = exec(LIMITS).out;
    let id = rig.arm(&["container:web", "container_limits", "cpu=0.5", "memory=32MiB", "pids=30"]);
    let now = exec(LIMITS).out;
    assert!(now.starts_with("30\n33554432\n50000"), "{now}");
    assert_eq!(rig.number(&id, "pids_limit"), 30.0);
    rig.disarm(&id);
    assert_eq!(exec(LIMITS).out, before);
    // Started anew in the middle: limits end with the group.
    let id = rig.arm(&["container:web", "container_limits", "pids=30"]);
    engine.must(&["restart", "-t", "1", "web"]);
    assert_eq!(exec(LIMITS).out, before);
    rig.disarm(&id);

    let up =
        || rig.agent.ask(async |c| c.targets().await).unwrap().iter().any(|t| t.target.name == "vol" && t.up);
    assert!(eventually(PATIENCE, up), "the directory is not served in the new container");
    let id = rig.arm(&["fs:vol", "io_error", "errno=ENOSPC", "ops=write"]);
    assert!(exec("echo x > /vol/x").err.contains("No space"), "{:?}", exec("echo x > /vol/x"));
    rig.disarm(&id);
    assert_eq!(exec("echo x > /vol/x && cat /vol/x").out, "x\n");

    for words in [
        "pause",
        "container_stop timeout=1s",
        "cpu load=5% cores=1",
        "clock offset=1h",
        "net_delay delay=5ms",
    ] {
        let words: Vec<&str> = std::iter::once("container:web").chain(words.split(' ')).collect();
        let id = rig.arm(&words);
        rig.disarm(&id);
        says("Name:\tdb.");
    }
    let id = rig.arm(&["proxy:db", "latency", "delay=10ms"]);
    rig.disarm(&id);
    let state = engine.must(&["inspect", "-f", "{{.State.Status}} {{.State.Paused}}", "web"]);
    assert_eq!(state, "running false");
}
