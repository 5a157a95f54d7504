//! Units of a real systemd, stopped, restarted, and started again whoever is killed. It runs in namespaces of its own
//! (`tests/systemd/box`), so that no unit of this machine is touched.

use super::rig::{PATIENCE, unique};
use crate::ground::{
    Daemon, Finished, TempDir, eventually, foreground_in, is_root, need, program, running, signal_all,
    text_of, this_machine,
};
use model::draw::{self, Lane};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const UNIT: &str = "shop.service";

/// A systemd of its own, with one unit that runs.
struct Box {
    daemon: Daemon,
    first: u32,
    group: String,
    home: TempDir,
}

impl Box {
    fn start() -> Option<Box> {
        let tools = ["unshare", "nsenter", "systemctl"].iter().all(|name| program(name, &[]).is_some());
        let there = tools && Path::new("/lib/systemd/systemd").exists();
        let overlay = fs::read_to_string("/proc/filesystems").is_ok_and(|all| all.contains("\toverlay\n"));
        if !need("root, systemd (installed, it need not run) and overlayfs", is_root() && there && overlay) {
            return None;
        }
        let home = TempDir::new();
        let units = home.path().join("units");
        fs::create_dir(&units).unwrap();
        fs::write(units.join("box.target"), format!("[Unit]\nDefaultDependencies=no\nWants={UNIT}\n"))
            .unwrap();
        let unit = "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/sleep 100000\n";
        fs::write(units.join(UNIT), unit).unwrap();
        let group = unique("murphy-test-systemd");
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/systemd/box"));
        command.arg(home.path()).arg(&group);
        let log = home.path().join("log");
        let mut this = Box { daemon: Daemon::start(command, &log), first: 0, group, home };
        let up = eventually(PATIENCE, || {
            assert!(this.daemon.ended().is_none(), "systemd did not start: {}", text_of(&log));
            let children = format!("/proc/{0}/task/{0}/children", this.daemon.id());
            let child = fs::read_to_string(children).unwrap_or_default();
            this.first = child.trim().parse().unwrap_or(0);
            this.first != 0 && this.is_active()
        });
        assert!(up, "the unit does not run: {}", text_of(&log));
        Some(this)
    }

    /// A program in there.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first.to_string()]);
        command.args(["--mount", "--uts", "--ipc", "--net", "--cgroup", "--pid", "--", program]);
        for (key, value) in foreground_in(self.home.path()).get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        command.stdin(Stdio::null());
        command
    }

    fn systemctl(&self, args: &[&str]) -> String {
        let done: Finished = self.command("systemctl").args(args).output().unwrap().into();
        done.out.trim().to_owned()
    }

    fn is_active(&self) -> bool {
        self.systemctl(&["is-active", UNIT]) == "active"
    }

    /// The first process of the unit, as it is called in there.
    fn process(&self) -> String {
        self.systemctl(&["show", "--property=MainPID", UNIT])
    }

    fn murphy(&self, args: &[&str]) -> Finished {
        self.command(env!("CARGO_BIN_EXE_murphy")).args(args).output().unwrap().into()
    }

    /// Stops the unit until it is told to end. The name tells its process from all others.
    fn stops(&self, name: &str) -> Stopping {
        let words =
            ["arm", "node:self", "service_stop", &format!("unit={UNIT}"), "--for", "10m", "--id", name];
        let mut command = self.command(env!("CARGO_BIN_EXE_murphy"));
        let said = fs::File::create(self.said()).unwrap();
        command.args(words).stdout(said.try_clone().unwrap()).stderr(said);
        Stopping { child: command.spawn().unwrap(), name: name.to_owned() }
    }

    /// What the last one that stopped it has said.
    fn said(&self) -> PathBuf {
        self.home.path().join("said")
    }

    /// The same for messages, with what systemd says of the unit.
    fn told(&self) -> String {
        format!("{}\n{}", text_of(&self.said()), self.systemctl(&["status", "--no-pager", UNIT]))
    }

    fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }
}

impl Drop for Box {
    fn drop(&mut self) {
        self.daemon.kill();
        for base in ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup"] {
            let group = Path::new(base).join(&self.group);
            eventually(Duration::from_secs(10), || remove(&group).is_ok() || !group.exists());
        }
    }
}

/// Removes a group with those in it.
fn remove(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)?.flatten().filter(|e| e.path().is_dir()) {
        remove(&entry.path())?;
    }
    fs::remove_dir(group)
}

/// A murphy that has the unit stopped.
struct Stopping {
    child: Child,
    name: String,
}

impl Stopping {
    /// Both the program in there and the one that leads to it.
    fn signal(&self, signal: Signal) {
        signal_all(&running(&format!("--id {}", self.name)), signal);
    }
}

impl Drop for Stopping {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

#[test]
fn a_unit_is_stopped_restarted_and_started_again_whoever_is_killed() {
    let _whole = this_machine();
    let Some(place) = Box::start() else { return };
    let before = place.process();
    let done = place.murphy(&["arm", "node:self", "service_restart", &format!("unit={UNIT}")]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(place.is_active() && place.process() != before, "{done:?}");
    for (unit, why) in [("nobody.service", "knows no unit"), ("systemd-logind.service", "systemd-")] {
        let done =
            place.murphy(&["arm", "node:self", "service_stop", &format!("unit={unit}"), "--for", "9s"]);
        assert!(done.code != 0 && done.err.contains(why), "{unit}: {done:?}");
    }
    let done = place.murphy(&["arm", "node:self", "service_stop", &format!("unit={UNIT}"), "--for", "300ms"]);
    assert!(done.code == 0 && place.is_active(), "{done:?}");
    let rounds: u64 = std::env::var("MURPHY_MACHINE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    let mut table = BTreeMap::<&str, u32>::new();
    for n in 0..rounds {
        let stopping = place.stops(&unique("stop"));
        let watchdogs = || running(&format!("__watchdog --state-dir {}", place.state().display()));
        if n % 4 == 3 {
            // In the middle of whatever it does.
            std::thread::sleep(Duration::from_micros(draw::bits(7, Lane::Other(3), n) % 400_000));
            stopping.signal(Signal::SIGKILL);
        } else {
            assert!(
                eventually(PATIENCE, || !place.is_active()),
                "round {n}: it is not stopped: {}",
                place.told()
            );
            // It is on when there is a watchdog, and what is done is noted.
            assert!(
                eventually(PATIENCE, || !watchdogs().is_empty()),
                "round {n}: no watchdog: {}",
                place.told()
            );
            let dogs = watchdogs();
            match n % 4 {
                0 => {
                    stopping.signal(Signal::SIGKILL);
                    assert!(
                        eventually(PATIENCE, || place.is_active()),
                        "round {n}: the watchdog does nothing"
                    );
                    *table.entry("watchdog").or_default() += 1;
                }
                1 => {
                    signal_all(&dogs, Signal::SIGSTOP);
                    stopping.signal(Signal::SIGKILL);
                    signal_all(&dogs, Signal::SIGKILL);
                    assert!(eventually(PATIENCE, || watchdogs().is_empty()));
                    assert!(!place.is_active(), "round {n}: who has started it?");
                    *table.entry("recover").or_default() += 1;
                }
                _ => {
                    signal_all(&dogs, Signal::SIGKILL);
                    stopping.signal(Signal::SIGTERM);
                    assert!(
                        eventually(PATIENCE, || place.is_active()),
                        "round {n}: the agent does nothing: {}",
                        place.told()
                    );
                    *table.entry("agent").or_default() += 1;
                }
            }
        }
        drop(stopping);
        assert!(eventually(PATIENCE, || watchdogs().is_empty()), "round {n}: the watchdog stays");
        let done = place.murphy(&["recover"]);
        assert!(done.code == 0 && eventually(PATIENCE, || place.is_active()), "round {n}: {done:?}");
        let again = place.murphy(&["recover"]);
        assert!(again.out.contains("nothing was left behind"), "round {n}: {again:?}");
    }
    println!("service_stop, {rounds} rounds of kill -9, ended by: {table:?}");
}
