//! Space, inodes, descriptors, process numbers and ports run out, and are there again.

use super::rig::{Group, PATIENCE, Probe, Rig, Tmpfs};
use crate::ground::{eventually, is_root, need};
use nix::errno::Errno;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What an ordinary write of so many bytes comes to.
fn write(dir: &Path, bytes: usize) -> Result<(), i32> {
    let file = dir.join("mine");
    let done = fs::write(&file, vec![b'x'; bytes]).map_err(|e| e.raw_os_error().unwrap_or(0));
    let _ = fs::remove_file(&file);
    done
}

#[test]
fn a_disk_is_full_and_has_room_again() {
    let rig = Rig::start();
    let dir = rig.agent.dir.path().join("disk");
    let Some(_mounted) = Tmpfs::mount(&dir, "size=32M") else { return };
    let path = format!("path={}", dir.display());
    let id = rig.arm(&["node:self", "disk_fill", &path, "free=0B"]);
    assert_eq!(write(&dir, 65536), Err(Errno::ENOSPC as i32));
    let numbers = rig.numbers(&id);
    assert!(numbers["free_bytes"] < 65536.0 && numbers["used_percent"] > 99.5, "{numbers:?}");
    // What others free is taken too.
    fs::write(dir.join("theirs"), "").unwrap();
    rig.disarm(&id);
    assert_eq!(write(&dir, 16 << 20), Ok(()));
    for (ask, low, high) in [("size=8MiB", 8.0, 8.1), ("used=50%", 15.9, 16.1), ("leave=25%", 23.9, 24.1)] {
        let id = rig.arm(&["node:self", "disk_fill", &path, ask]);
        let held = rig.number(&id, "held_bytes") / f64::from(1 << 20);
        assert!(held >= low && held <= high, "{ask}: {held} MiB");
        rig.disarm(&id);
    }
    // No names were made, and none are left.
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    for (fault, size, instead) in
        [("disk_fill", "size=900TiB", "free=0B"), ("memory", "size=900TiB", "load=100%")]
    {
        let mut words = vec!["node:self", fault, size];
        words.extend((fault == "disk_fill").then_some(&*path));
        let why = rig.try_arm(&words).unwrap_err();
        assert!(why.contains("more than") && why.contains(instead), "{why}");
    }
    let why = rig.try_arm(&["node:self", "disk_fill", &path, "size=1MiB", "used=50%"]).unwrap_err();
    assert!(why.contains("one of size, used, leave and free"), "{why}");
}

#[test]
fn inodes_run_out_while_there_is_space() {
    let rig = Rig::start();
    let dir = rig.agent.dir.path().join("disk");
    let Some(_mounted) = Tmpfs::mount(&dir, "size=32M,nr_inodes=3000") else { return };
    let path = format!("path={}", dir.display());
    fs::write(dir.join("old"), "x").unwrap();
    let id = rig.arm(&["node:self", "inode_fill", &path]);
    assert_eq!(write(&dir, 1), Err(Errno::ENOSPC as i32));
    fs::write(dir.join("old"), vec![b'y'; 1 << 20]).unwrap();
    let numbers = rig.numbers(&id);
    assert!(numbers["left"] == 0.0 && numbers["held"] > 2900.0, "{numbers:?}");
    rig.disarm(&id);
    assert_eq!(write(&dir, 1), Ok(()));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
}

#[test]
fn files_are_held_open() {
    let rig = Rig::start();
    let used = || {
        let text = fs::read_to_string("/proc/sys/fs/file-nr").unwrap();
        text.split_whitespace().next().unwrap().parse::<f64>().unwrap()
    };
    let id = rig.arm(&["node:self", "fd_fill", "count=3000"]);
    assert_eq!(rig.number(&id, "held"), 3000.0);
    assert!(used() >= 3000.0);
    rig.disarm(&id);
    if let Err(why) = rig.try_arm(&["node:self", "fd_fill"]) {
        assert!(why.contains("fs.file-max is"), "{why}");
    }
}

#[test]
fn no_process_can_be_started_in_the_group() {
    let Some(group) = Group::make(&["pids"]) else { return };
    group.write(&["pids.max"], "60");
    let Some(mut probe) = Probe::start_as(group.command("python3")) else { return };
    let rig = Rig::start();
    let id = rig.arm(&[&group.target(), "pid_fill"]);
    assert_eq!(probe.does("fork()"), "EAGAIN");
    assert_eq!(probe.does("threading.Thread(target=print).start()"), "EAGAIN");
    assert!(rig.number(&id, "left") == 0.0 && rig.number(&id, "held") > 40.0);
    rig.disarm(&id);
    assert!(eventually(PATIENCE, || probe.does("fork()") == "ok None"));
    let id = rig.arm(&[&group.target(), "pid_fill", "leave=3"]);
    assert_eq!(probe.does("fork()"), "ok None");
    assert_eq!(rig.number(&id, "left"), 3.0);
    rig.disarm(&id);
    // Without a limit it would be the machine's.
    group.write(&["pids.max"], "max");
    let why = rig.try_arm(&[&group.target(), "pid_fill"]).unwrap_err();
    assert!(why.contains("pids.max is not set"), "{why}");
    let id = rig.arm(&[&group.target(), "pid_fill", "count=200"]);
    assert_eq!(rig.number(&id, "held"), 200.0);
    rig.disarm(&id);
}

#[test]
fn a_network_namespace_has_no_ports_left() {
    if !need("root, for a network namespace", is_root()) {
        return;
    }
    let mut unshare = Command::new("unshare");
    let up = "ip link set lo up 2>/dev/null; echo '40000 41000' > /proc/sys/net/ipv4/ip_local_port_range; exec \"$@\"";
    unshare.args(["--net", "sh", "-c", up, "sh", "python3"]);
    let Some(mut probe) = Probe::start_as(unshare) else { return };
    let rig = Rig::start();
    let target = model::Target {
        name: "ns".into(),
        spec: model::TargetSpec::Netns(model::target::NetnsSpec {
            pid: Some(probe.pid()),
            ..Default::default()
        }),
    };
    rig.agent.ask(async |c| c.open_target(&target).await).unwrap();
    let bind = "socket.socket().bind(('127.0.0.1', 0)) or 1";
    assert_eq!(probe.does(bind), "ok 1");
    let id = rig.arm(&["netns:ns", "port_fill"]);
    let refused = eventually(PATIENCE, || probe.does(bind) == "EADDRINUSE");
    assert!(refused, "{:?}", rig.numbers(&id));
    assert!(rig.number(&id, "held") > 900.0 && rig.until(&id, "refused", |n| n == 1.0) == 1.0);
    rig.disarm(&id);
    assert_eq!(probe.does(bind), "ok 1");
}
