//! Processes: selections, signals, loops, limits.

use super::rig::{Group, PATIENCE, Probe, Rig, Sleepers, state, unique};
use crate::ground::{eventually, is_root, murphy_in, need};
use model::target::{Pick, ProcessSpec};
use model::units::Percent;
use model::{Target, TargetSpec};

fn open(rig: &Rig, name: &str, spec: ProcessSpec) {
    let target = Target { name: name.into(), spec: TargetSpec::Process(spec) };
    rig.agent.ask(async |c| c.open_target(&target).await).unwrap();
}

fn stopped(sleepers: &Sleepers) -> usize {
    sleepers.pids().into_iter().filter(|pid| state(*pid) == 'T').count()
}

#[test]
fn selections_are_by_command_line_regex_name_and_user() {
    let rig = Rig::start();
    let sleepers = Sleepers::start(4);
    let mark = &sleepers.mark;
    let all = |spec: ProcessSpec| ProcessSpec { pick: Pick::All, ..spec };
    let regex = format!("^sleep {}$", mark.replace('.', r"\."));
    open(&rig, "a", all(ProcessSpec { matches: Some(mark.clone()), ..ProcessSpec::default() }));
    open(&rig, "b", all(ProcessSpec { regex: Some(regex.clone()), ..ProcessSpec::default() }));
    open(
        &rig,
        "c",
        all(ProcessSpec {
            name: Some("sleep".into()),
            user: Some(nix::unistd::geteuid().to_string()),
            regex: Some(regex.clone()),
            ..ProcessSpec::default()
        }),
    );
    for name in ["process:a", "process:b", "process:c"] {
        let id = rig.arm(&[name, "pause"]);
        assert_eq!(stopped(&sleepers), 4, "{name}");
        assert_eq!(rig.number(&id, "stopped_now"), 4.0);
        rig.disarm(&id);
        assert_eq!(stopped(&sleepers), 0, "{name}");
    }
    let half = Pick::Percent(Percent::new(50.0).unwrap());
    for (name, pick, n) in [("d", Pick::Count(3), 3), ("e", half, 2)] {
        open(&rig, name, ProcessSpec { regex: Some(regex.clone()), pick, ..ProcessSpec::default() });
        let id = rig.arm(&[&format!("process:{name}"), "pause"]);
        assert_eq!(stopped(&sleepers), n, "{name}");
        rig.disarm(&id);
        assert_eq!(stopped(&sleepers), 0, "{name}");
    }
    let spec = ProcessSpec {
        name: Some("sleep".into()),
        user: Some("nobody-here".into()),
        ..ProcessSpec::default()
    };
    let target = Target { name: "f".into(), spec: TargetSpec::Process(spec) };
    let why = rig.agent.ask(async |c| c.open_target(&target).await).unwrap_err().to_string();
    assert!(why.contains("there is no user"), "{why}");
}

#[test]
fn who_asks_is_never_meant() {
    use std::process::Command;
    let rig = Rig::start();
    // As `sudo murphy arm process:worker …`: the text that is looked for is in the command lines of both.
    let (text, murphy) = (unique("nobody-else-has-this"), murphy_in(rig.agent.dir.path()));
    let through = |target: String| -> crate::ground::Finished {
        let mut shell = Command::new("sh");
        shell.args(["-c", r#""$0" "$@"; exit $?"#]).arg(murphy.get_program());
        shell.args(["arm", &target, "pause", "--for", "5s"]);
        shell.envs(murphy.get_envs().filter_map(|(k, v)| Some((k, v?))));
        shell.output().unwrap().into()
    };
    let done = through(format!("process:{text}"));
    assert_ne!(done.code, 0, "someone was stopped: {done:?}");
    assert!(done.err.contains("nor who started them"), "{done:?}");
    // Who really has it is found beside them.
    let sleepers = Sleepers::start(1);
    let done = through(format!("process:{}", sleepers.mark));
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(stopped(&sleepers), 1);
}

#[test]
fn a_group_is_a_selection_too() {
    let Some(group) = Group::make(&["pids"]) else { return };
    let rig = Rig::start();
    let sleepers = Sleepers::start(3);
    sleepers.pids().iter().take(2).for_each(|pid| group.take(*pid));
    let spec = ProcessSpec { cgroup: Some(group.path.clone()), pick: Pick::All, ..ProcessSpec::default() };
    open(&rig, "g", spec);
    let id = rig.arm(&["process:g", "pause"]);
    assert_eq!(stopped(&sleepers), 2);
    rig.disarm(&id);
    assert_eq!(stopped(&sleepers), 0);
}

#[test]
fn any_signal_once_or_again_and_again() {
    let rig = Rig::start();
    let Some(mut probe) = Probe::start() else { return };
    assert_eq!(probe.does("__import__('signal').signal(12, lambda *a: kept.append('usr2')) and 0"), "ok 0");
    rig.arm(&[&probe.target(), "kill", "signal=SIGUSR2"]);
    assert!(eventually(PATIENCE, || probe.does("kept.count('usr2')") == "ok 1"));
    rig.arm(&[&probe.target(), "kill"]);
    assert!(eventually(PATIENCE, || probe.is_gone()));

    let mut sleepers = Sleepers::start(3);
    let matches = Some(sleepers.mark.clone());
    open(&rig, "loop", ProcessSpec { matches, pick: Pick::Count(1), ..ProcessSpec::default() });
    let id = rig.arm(&["process:loop", "kill_loop", "every=100ms"]);
    // Those that come back are hit again, until nobody is left, which is no failure.
    assert!(eventually(PATIENCE, || sleepers.running() == 0));
    sleepers.more();
    assert!(eventually(PATIENCE, || sleepers.running() == 0));
    rig.until(&id, "empty_rounds", |n| n > 0.0);
    let last = rig.disarm(&id);
    assert_eq!(last["applied"], 4.0, "{last:?}");
    sleepers.more();
    std::thread::sleep(std::time::Duration::from_millis(400));
    assert_eq!(sleepers.running(), 1, "it is killed although the loop has ended");
}

#[test]
fn the_worst_is_killed_as_by_the_kernel() {
    let rig = Rig::start();
    let mut sleepers = Sleepers::start(3);
    let victim = sleepers.pids()[1];
    std::fs::write(format!("/proc/{victim}/oom_score_adj"), "900").unwrap();
    let matches = Some(sleepers.mark.clone());
    open(&rig, "oom", ProcessSpec { matches, pick: Pick::All, ..ProcessSpec::default() });
    rig.arm(&["process:oom", "oom_kill"]);
    assert!(eventually(PATIENCE, || sleepers.running() == 2));
    assert!(matches!(state(victim), 'Z' | '?'), "another one was killed");
}

#[test]
fn limits_of_a_running_process() {
    let rig = Rig::start();
    let Some(mut probe) = Probe::start() else { return };
    let before = probe.limits();
    let target = probe.target();
    let cases = [
        ("nofile=3", "os.open('/dev/null', 0)", "EMFILE"),
        ("address_space=1MiB", "kept.append(mmap.mmap(-1, 64 << 20)) or 1", "ENOMEM"),
        ("file_size=1KiB", "os.write(kept[0], b'x' * 4096) or os.write(kept[0], b'x')", "EFBIG"),
    ];
    // SIGXFSZ would end it: Python ignores it by itself.
    let file = rig.agent.dir.path().join("big");
    assert_eq!(
        probe.does(&format!("kept.append(os.open({:?}, os.O_CREAT | os.O_WRONLY)) or 1", file)),
        "ok 1"
    );
    for (limit, tries, errno) in cases {
        let id = rig.arm(&[&target, "rlimit_squeeze", limit]);
        let mut said = probe.does(tries);
        if said.starts_with("ok") {
            said = probe.does(tries);
        }
        assert_eq!(said, errno, "{limit}");
        let numbers = rig.numbers(&id);
        assert!(numbers["applied"] == 1.0, "{limit}: {numbers:?}");
        let last = rig.disarm(&id);
        assert!(last["applied"] == 1.0, "{limit}: {last:?}");
        assert!(probe.does(tries).starts_with("ok"), "{limit} stays");
        assert_eq!(probe.limits(), before, "{limit}");
    }
    if need("another user than root", is_root()) {
        let why = rig.try_arm(&[&target, "rlimit_squeeze", "nofile=9999999999"]).unwrap_err();
        assert!(why.contains("nofile"), "{why}");
    }
}

/// After a change the record no longer says what a child has inherited.
#[test]
fn children_of_a_changed_limit_are_restored_by_the_watchdog_too() {
    let mut rig = Rig::start();
    let Some(mut probe) = Probe::start() else { return };
    let before = probe.limits();
    let id = rig.arm(&[&probe.target(), "rlimit_squeeze", "nofile=64"]);
    let change = serde_json::from_value(serde_json::json!({"inject": {"nofile": 32}})).unwrap();
    rig.agent.ask(async |client| client.adjust(&id, &change).await).unwrap();
    let child: u32 = probe.does("child()").strip_prefix("ok ").unwrap().parse().unwrap();
    let of_child = || std::fs::read_to_string(format!("/proc/{child}/limits")).unwrap();
    assert!(of_child() != before && of_child() == probe.limits());
    rig.agent.kill();
    let restored = eventually(PATIENCE, || probe.limits() == before && of_child() == before);
    let seen = of_child();
    let killed = nix::sys::signal::kill(nix::unistd::Pid::from_raw(child as i32), nix::sys::signal::SIGKILL);
    assert!(restored && killed.is_ok(), "{seen}");
}

#[test]
fn descriptors_of_a_process_run_out_and_children_are_restored_too() {
    let rig = Rig::start();
    let Some(mut probe) = Probe::start() else { return };
    let before = probe.limits();
    let id = rig.arm(&[&probe.target(), "fd_fill", "leave=2"]);
    assert_eq!(probe.does("[kept.append(os.open('/dev/null', 0)) for _ in range(2)] and 1"), "ok 1");
    assert_eq!(probe.does("os.open('/dev/null', 0)"), "EMFILE");
    assert_eq!(probe.does("socket.socket()"), "EMFILE");
    assert_eq!(rig.number(&id, "errno"), f64::from(nix::errno::Errno::EMFILE as i32));
    let child: u32 = probe.does("child()").strip_prefix("ok ").unwrap().parse().unwrap();
    rig.disarm(&id);
    assert!(probe.does("os.open('/dev/null', 0)").starts_with("ok"));
    assert_eq!(probe.limits(), before);
    assert_eq!(std::fs::read_to_string(format!("/proc/{child}/limits")).unwrap(), before, "its child");
    let killed = nix::sys::signal::kill(nix::unistd::Pid::from_raw(child as i32), nix::sys::signal::SIGKILL);
    assert!(killed.is_ok());
}
