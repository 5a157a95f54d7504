//! The tool survives its own faults: an agent in a group of its own without memory or process numbers, and one whose state
//! directory has no space left. It answers, halts and undoes.

use super::rig::{Group, PATIENCE, Sleepers, Tmpfs, state};
use crate::ground::{TempDir, eventually, murphy, murphy_in, this_machine};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// An agent in a group.
struct Caged {
    child: Child,
    dir: TempDir,
}

impl Caged {
    fn start(group: Option<&Group>, state: Option<&Path>) -> Caged {
        let dir = TempDir::new();
        let plain = murphy_in(dir.path());
        let mut command = match group {
            Some(group) => group.command(plain.get_program().to_str().unwrap()),
            None => Command::new(plain.get_program()),
        };
        for (name, value) in plain.get_envs() {
            command.env(name, value.unwrap());
        }
        if let Some(state) = state {
            command.env("MURPHY_STATE_DIR", state);
        }
        command
            .arg("agent")
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let caged = Caged { child: command.spawn().unwrap(), dir };
        assert!(eventually(PATIENCE, || caged.murphy(&["list"]).code == 0), "the agent does not answer");
        caged
    }

    fn murphy(&self, args: &[&str]) -> crate::ground::Finished {
        murphy(self.dir.path(), args)
    }

    fn arm(&self, words: &[&str]) {
        let done = self.murphy(&[&["arm"][..], words, &["--for", "10m"]].concat());
        assert_eq!(done.code, 0, "{words:?}: {done:?}");
    }

    /// That it halts now, and that everything is undone by that.
    fn halts(&mut self, sleepers: &Sleepers) {
        assert!(self.child.try_wait().unwrap().is_none(), "the agent has ended");
        assert_eq!(state(sleepers.pids()[0]), 'T');
        let begin = std::time::Instant::now();
        let done = self.murphy(&["halt"]);
        assert_eq!(done.code, 0, "{done:?}");
        assert!(eventually(PATIENCE, || state(sleepers.pids()[0]) != 'T'), "the process is still stopped");
        println!("halted and undone after {} ms", begin.elapsed().as_millis());
        let list = self.murphy(&["list"]);
        assert!(list.out.contains("nothing is armed"), "{list:?}");
        assert!(self.child.try_wait().unwrap().is_none(), "the agent has ended");
    }
}

impl Drop for Caged {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM);
        if !eventually(PATIENCE, || matches!(self.child.try_wait(), Ok(Some(_)) | Err(_))) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

#[test]
fn with_memory_at_95_percent() {
    let Some(group) = Group::make(&["memory"]) else { return };
    group.set_memory(96 << 20);
    let sleepers = Sleepers::start(1);
    let mut caged = Caged::start(Some(&group), None);
    caged.arm(&[&format!("process:{}", sleepers.pids()[0]), "pause"]);
    caged.arm(&[&group.target(), "memory", "load=95%", "mode=reach", "reserve=3MiB"]);
    let used = || {
        let bytes: f64 = group.read(&["memory.usage_in_bytes", "memory.current"]).parse().unwrap();
        bytes / f64::from(96 << 20) * 100.0
    };
    // What else the group has (caches) is given back meanwhile, and is made up for.
    assert!(eventually(PATIENCE, || used() > 93.0), "{} %", used());
    println!("{:.0} % of the group's memory are used", used());
    caged.halts(&sleepers);
}

#[test]
fn with_more_memory_asked_for_than_there_is() {
    let Some(group) = Group::make(&["memory"]) else { return };
    group.set_memory(96 << 20);
    let sleepers = Sleepers::start(1);
    let mut caged = Caged::start(Some(&group), None);
    caged.arm(&[&format!("process:{}", sleepers.pids()[0]), "pause"]);
    // The kernel kills for it: the child, not the agent.
    caged.arm(&[&group.target(), "memory", "size=400MiB", "reserve=0B"]);
    caged.halts(&sleepers);
}

#[test]
fn without_process_numbers() {
    let Some(group) = Group::make(&["pids"]) else { return };
    group.write(&["pids.max"], "200");
    let sleepers = Sleepers::start(1);
    let mut caged = Caged::start(Some(&group), None);
    caged.arm(&[&format!("process:{}", sleepers.pids()[0]), "pause"]);
    caged.arm(&[&group.target(), "pid_fill"]);
    assert_eq!(group.read(&["pids.current"]), "200");
    caged.halts(&sleepers);
}

#[test]
fn without_space_for_its_state() {
    let _one = this_machine();
    let home = TempDir::new();
    let Some(disk) = Tmpfs::mount(&home.path().join("disk"), "size=4M,nr_inodes=500") else { return };
    let sleepers = Sleepers::start(1);
    let mut caged = Caged::start(None, Some(&disk.0.join("state")));
    caged.arm(&[&format!("process:{}", sleepers.pids()[0]), "pause"]);
    caged.arm(&["node:self", "disk_fill", &format!("path={}", disk.0.display()), "free=0B"]);
    assert!(std::fs::write(disk.0.join("mine"), [0; 8192]).is_err(), "there is space left");
    // Nothing new is armed that could not be written down.
    let more = caged.murphy(&["arm", "node:self", "cpu", "load=1%", "--for", "10m"]);
    println!("another fault: {} {}", more.code, more.err.replace('\n', " "));
    caged.halts(&sleepers);
    assert!(std::fs::write(disk.0.join("mine"), [0; 8192]).is_ok(), "the disk is still full");
}
