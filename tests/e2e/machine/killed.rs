//! `kill -9` of the agent, the watchdog or both, at any moment, with every fault on that leaves something: nothing is left.
//!
//! `MURPHY_MACHINE_ROUNDS` sets how many rounds; 4 without it. A table at the end says what ended what.

use super::rig::{Group, PATIENCE, Sleepers, Tmpfs, state};
use crate::ground::{Agent, eventually, murphy, murphy_in, need, running, signal_all, text_of, this_machine};
use crate::network::hosts::Host;
use model::draw::{self, Lane};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

const TEXT: &str = "A=1\n127.0.0.1 localhost db\n";

/// Everything that faults can be on.
struct Ground {
    // The first to go: who is frozen in it cannot die.
    group: Group,
    /// Another one, which is not frozen.
    crowd: Group,
    sleepers: Sleepers,
    disk: Tmpfs,
    /// Whose ports are taken.
    ports: Host,
    /// In the command line of what is killed again and again, and of nothing else.
    prey: String,
    /// The first of it, for a target must be there.
    _first: Prey,
    etc: PathBuf,
    limits: String,
    pids: String,
    memory: String,
    room: (u64, u64),
}

const FILES: [&str; 9] = ["cut", "env", "gone", "hosts", "mode", "moved", "owner", "replaced", "text"];

/// As long as nothing happens, when nothing is to happen: many times what is between two rounds.
const MOMENT: Duration = Duration::from_millis(1500);

/// A sleeper of a certain length.
struct Prey(std::process::Child);

impl Prey {
    fn start(seconds: &str) -> Prey {
        Prey(std::process::Command::new("sleep").arg(seconds).spawn().unwrap())
    }
}

impl Drop for Prey {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const MEMORY: [&str; 2] = ["memory.limit_in_bytes", "memory.max"];

impl Ground {
    fn make(dir: &Path) -> Option<Ground> {
        let group = Group::make(&["pids", "memory", "freezer"])?;
        let crowd = Group::make(&["pids"])?;
        let disk = Tmpfs::mount(&dir.join("disk"), "size=16M,nr_inodes=2000")?;
        let sleepers = Sleepers::start(2);
        let etc = dir.join("etc");
        fs::create_dir(&etc).unwrap();
        for name in FILES {
            fs::write(etc.join(name), TEXT).unwrap();
        }
        group.write(&["pids.max"], "300");
        group.set_memory(256 << 20);
        // One is in the group that is frozen, the other is stopped and limited.
        group.take(sleepers.pids()[1]);
        let limits = fs::read_to_string(format!("/proc/{}/limits", sleepers.pids()[0])).unwrap();
        let (pids, memory) = (group.read(&["pids.max"]), group.read(&MEMORY));
        let ports = Host::start();
        // What sleep takes as a number, as long as what stress-ng does, and nobody else has.
        let prey = format!(
            "77{}.5",
            dir.to_string_lossy().bytes().fold(1_u32, |n, b| n * 31 % 99_991 + u32::from(b))
        );
        let first = Prey::start(&prey);
        let mut ground = Ground {
            sleepers,
            group,
            crowd,
            disk,
            ports,
            prey,
            _first: first,
            etc,
            limits,
            pids,
            memory,
            room: (0, 0),
        };
        ground.room = ground.room();
        Some(ground)
    }

    fn room(&self) -> (u64, u64) {
        let at = rustix::fs::statvfs(&self.disk.0).unwrap();
        (at.f_bfree, at.f_ffree)
    }

    /// Targets that are more than a name.
    fn open(&self, agent: &Agent) {
        let net = format!("/proc/{}/ns/net", self.ports.pid());
        for target in [
            serde_json::json!({"name": "ports", "netns": {"path": net}}),
            serde_json::json!({"name": "prey", "process": {"regex": self.prey_line(), "pick": "all"}}),
        ] {
            let target: model::Target = serde_json::from_value(target).unwrap();
            agent.ask(async |c| c.open_target(&target).await).unwrap();
        }
    }

    fn prey_line(&self) -> String {
        format!("sleep {}", self.prey)
    }

    /// Whether what is to be killed again and again is, within a time.
    fn kills(&self, within: Duration) -> bool {
        let mut prey = Prey::start(&self.prey);
        eventually(within, || prey.0.try_wait().unwrap().is_some())
    }

    fn stress_ng(&self) -> String {
        format!("--timeout {}s", self.prey.replace('.', ""))
    }

    fn faults(&self) -> Vec<Vec<String>> {
        let victim = format!("process:{}", self.sleepers.pids()[0]);
        let (group, crowd) = (self.group.target(), self.crowd.target());
        let disk = format!("path={}", self.disk.0.display());
        let file = |name: &str| format!("path={}", self.etc.join(name).display());
        let etc = format!("path={}", self.etc.display());
        let to = format!("to={}", self.etc.join("elsewhere").display());
        let lines: Vec<Vec<&str>> = vec![
            vec![&victim, "pause"],
            vec![&victim, "rlimit_squeeze", "nofile=16"],
            vec![&group, "cgroup_squeeze", "pids=200", "memory=128MiB"],
            vec!["node:self", "cpu", "load=2%", "cores=1"],
            vec!["node:self", "memory", "size=8MiB"],
            vec!["node:self", "disk_fill", &disk, "size=4MiB"],
            vec!["node:self", "inode_fill", &disk, "count=500"],
            vec![&crowd, "pid_fill", "count=50"],
            vec!["node:self", "fd_fill", "count=500"],
            vec!["netns:ports", "port_fill", "leave=28000"],
            vec!["node:self", "io", &etc, "rate=100KB/s", "size=64KiB", "block=4KiB", "direct=false"],
            vec!["process:prey", "kill_loop", "every=100ms"],
        ];
        let mut all: Vec<Vec<String>> =
            lines.into_iter().map(|l| l.into_iter().map(str::to_owned).collect()).collect();
        for (fault, name, more) in [
            ("file_chmod", "mode", "mode=0000"),
            ("file_delete", "gone", ""),
            ("file_move", "moved", to.as_str()),
            ("file_append", "text", "text=more"),
            ("hosts", "hosts", "names=db"),
            ("env_file", "env", "set=A:2"),
            ("file_chown", "owner", "user=65534"),
            ("file_replace", "replaced", "text=other"),
            ("file_truncate", "cut", "size=3B"),
        ] {
            let line = ["node:self".to_owned(), fault.to_owned(), file(name), more.to_owned()];
            all.push(line.into_iter().filter(|w| !w.is_empty()).collect());
        }
        if has_stress_ng() {
            let args = format!("args=--cpu 1 --cpu-load 1 {}", self.stress_ng());
            all.push(vec!["node:self".into(), "stress_ng".into(), args]);
        }
        // Last: who joins a frozen group is frozen.
        all.push(vec![group, "pause".into()]);
        all
    }

    /// What is on still, by the names of faults.
    fn on(&self, children: &BTreeMap<&'static str, i32>) -> Vec<&'static str> {
        let (free, inodes) = self.room();
        let changed = |name: &str| text_of(&self.etc.join(name)) != TEXT;
        let there = |name: &str| children.get(name).is_some_and(|pid| is_stressor(*pid));
        let frozen = self.group.file(&["freezer.state", "cgroup.events"]);
        let frozen = text_of(&frozen);
        let checks: Vec<(&'static str, bool)> = vec![
            ("pause", state(self.sleepers.pids()[0]) == 'T'),
            ("rlimit_squeeze", {
                let now = fs::read_to_string(format!("/proc/{}/limits", self.sleepers.pids()[0]));
                now.unwrap() != self.limits
            }),
            (
                "cgroup_squeeze",
                self.group.read(&["pids.max"]) != self.pids || self.group.read(&MEMORY) != self.memory,
            ),
            ("cpu", there("cpu")),
            ("memory", there("memory")),
            ("disk_fill", free + 512 < self.room.0),
            ("inode_fill", inodes + 400 < self.room.1),
            ("pid_fill", there("pid_fill")),
            ("fd_fill", there("fd_fill")),
            ("port_fill", there("port_fill")),
            ("io", there("io")),
            ("stress_ng", !running(&self.stress_ng()).is_empty()),
            ("file_chmod", fs::metadata(self.etc.join("mode")).is_ok_and(|m| m.mode() & 0o777 == 0)),
            ("file_delete", changed("gone")),
            ("file_move", changed("moved")),
            ("file_append", changed("text")),
            ("hosts", changed("hosts")),
            ("env_file", changed("env")),
            ("file_chown", fs::metadata(self.etc.join("owner")).is_ok_and(|m| m.uid() == 65534)),
            ("file_replace", changed("replaced")),
            ("file_truncate", changed("cut")),
            ("pause (group)", frozen.trim() == "FROZEN" || frozen.contains("frozen 1")),
        ];
        checks.into_iter().filter_map(|(name, on)| on.then_some(name)).collect()
    }

    /// What is left that should not be.
    fn left(&self, agent: u32) -> Vec<String> {
        let mut left: Vec<String> = self.on(&BTreeMap::new()).into_iter().map(str::to_owned).collect();
        left.extend(stressors(agent).into_iter().map(|pid| format!("the child {pid}")));
        let mut names: Vec<String> =
            fs::read_dir(&self.etc).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        if names != FILES {
            left.push(format!("{names:?}"));
        }
        if fs::read_dir(&self.disk.0).unwrap().count() > 0 {
            left.push("files on the disk".into());
        }
        if self.room() != self.room {
            left.push(format!("room {:?} instead of {:?}", self.room(), self.room));
        }
        left
    }
}

fn has_stress_ng() -> bool {
    need("stress-ng", crate::ground::program("stress-ng", &[]).is_some())
}

/// Children that an agent has started, also when it is dead.
fn stressors(agent: u32) -> Vec<i32> {
    let line = format!("__stress --parent {agent}");
    running(&line).into_iter().filter(|pid| is_stressor(*pid)).collect()
}

fn is_stressor(pid: i32) -> bool {
    !matches!(state(pid as u32), '?' | 'Z' | 'X')
        && text_of(Path::new(&format!("/proc/{pid}/cmdline"))).contains("__stress")
}

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Killed {
    Agent,
    Watchdog,
    Both,
}

/// Arms one after the other; the children that came with each.
fn arm_all(agent: &Agent, pid: u32, faults: &[Vec<String>]) -> BTreeMap<&'static str, i32> {
    let mut children = BTreeMap::new();
    let mut known = vec![];
    for words in faults {
        let mut args: Vec<&str> = vec!["arm"];
        args.extend(words.iter().map(String::as_str));
        args.extend(["--for", "10m"]);
        let mut done = agent.murphy(&args);
        // Another run on this machine may have faults on it for a while.
        eventually(PATIENCE, || {
            let held = done.err.contains("end those first");
            if held {
                done = agent.murphy(&args);
            }
            !held
        });
        assert_eq!(done.code, 0, "{words:?}: {done:?}");
        let now = stressors(pid);
        if let Some(new) = now.iter().find(|pid| !known.contains(*pid)) {
            let def = model::catalogue::find(&words[1]).unwrap();
            children.insert(def.name, *new);
        }
        known = now;
    }
    children
}

#[test]
fn at_any_moment_nothing_is_left() {
    let _one = this_machine();
    let rounds = std::env::var("MURPHY_MACHINE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    // By fault: how often it ended with the agent, by the watchdog, by recover.
    let mut table: BTreeMap<&'static str, [u32; 3]> = BTreeMap::new();
    let mut armed_then = [0_u32; 2];
    for n in 0..rounds {
        let mut agent = Agent::start(&[]);
        let dir = agent.dir.path().to_owned();
        let Some(ground) = Ground::make(&dir) else { return };
        let pid = agent.ask(async |c| c.status().await).unwrap().agent.pid;
        ground.open(&agent);
        let faults = ground.faults();
        let who = [Killed::Agent, Killed::Both, Killed::Agent, Killed::Watchdog][n as usize % 4];
        let watchdogs = || running(&format!("__watchdog --state-dir {}", dir.display()));
        let all_on = n % 4 < 2 || who == Killed::Watchdog;
        let mut children = BTreeMap::new();
        if all_on {
            children = arm_all(&agent, pid, &faults);
            let on = ground.on(&children);
            // All but the one that is seen by what it kills.
            assert_eq!(on.len() + 1, faults.len(), "round {n}: on are {on:?}");
            assert!(ground.kills(PATIENCE), "round {n}: nothing is killed");
        } else {
            // While it arms, in the middle of whatever it does.
            let home = dir.clone();
            let lines = faults.clone();
            let arming = std::thread::spawn(move || {
                for words in lines {
                    let mut command = murphy_in(&home);
                    command
                        .arg("arm")
                        .args(&words)
                        .args(["--for", "10m"])
                        .stdout(Stdio::null())
                        .stderr(Stdio::null());
                    let done = command.arg("--socket").arg(home.join("agent.sock")).status().unwrap();
                    if !done.success() {
                        return;
                    }
                }
            });
            std::thread::sleep(Duration::from_micros(draw::bits(7, Lane::Other(2), n) % 1_200_000));
            agent.kill();
            arming.join().unwrap();
        }
        armed_then[usize::from(!all_on)] += 1;
        match who {
            Killed::Watchdog => {
                signal_all(&watchdogs(), Signal::SIGKILL);
                // The agent goes on, and ends in order.
                signal_all(&[pid as i32], Signal::SIGTERM);
                assert!(eventually(PATIENCE, || matches!(state(pid), '?' | 'Z')), "the agent does not end");
            }
            Killed::Agent | Killed::Both if all_on => {
                let dogs = watchdogs();
                assert!(!dogs.is_empty(), "there is no watchdog");
                // Held, so that what ends by itself can be told from what the watchdog ends.
                signal_all(&dogs, Signal::SIGSTOP);
                agent.kill();
                // The last of a process's threads gives back what it held, a moment after its first has ended.
                let held = |on: Vec<&str>| on.iter().any(|n| children.contains_key(n) || *n == "stress_ng");
                eventually(Duration::from_secs(10), || !held(ground.on(&children)));
                let mut still = ground.on(&children);
                still.extend(ground.kills(MOMENT).then_some("kill_loop"));
                let column = if who == Killed::Both { 2 } else { 1 };
                for words in &faults {
                    let name = model::catalogue::find(&words[1]).unwrap().name;
                    let name = if name == "pause" && words[0].starts_with("cgroup") {
                        "pause (group)"
                    } else {
                        name
                    };
                    let by = if still.contains(&name) { column } else { 0 };
                    table.entry(name).or_default()[by] += 1;
                }
                signal_all(&dogs, if who == Killed::Both { Signal::SIGKILL } else { Signal::SIGCONT });
            }
            _ => {}
        }
        if who == Killed::Both {
            assert!(eventually(PATIENCE, || watchdogs().is_empty()));
            let done = murphy(&dir, &["recover"]);
            assert_eq!(done.code, 0, "round {n}: {done:?}");
        }
        let clean = eventually(PATIENCE, || ground.left(pid).is_empty());
        assert!(clean, "round {n}, {who:?} killed: {:?}", ground.left(pid));
        assert!(!ground.kills(MOMENT), "round {n}, {who:?} killed: it is killed on");
        assert!(eventually(PATIENCE, || watchdogs().is_empty()), "round {n}: the watchdog stays");
        let again = murphy(&dir, &["recover"]);
        assert!(again.out.contains("nothing was left behind"), "round {n}: {again:?}");
    }
    if need("rounds", rounds > 0) {
        println!(
            "{rounds} rounds: {} with all faults on, {} in the middle of arming",
            armed_then[0], armed_then[1]
        );
        println!("{:<16} {:>24} {:>10} {:>8}", "fault", "with the agent", "watchdog", "recover");
        for (name, [kernel, watchdog, recover]) in table {
            println!("{name:<16} {kernel:>24} {watchdog:>10} {recover:>8}");
        }
    }
}
