//! A container for each fault, so that what is changed says which fault it is; and one that gets many at once.

use super::seen::{Seen, differs};
use crate::ground::{Agent, Engine, murphy_in};
use model::target::{ContainerSpec, Front, FsSpec, Protocol, ProxySpec};
use model::{Target, TargetSpec};
use std::fs;
use std::path::Path;
use std::process::Stdio;

/// Waits; counts what it is sent; takes its time to end; has files that are changed.
const SCRIPT: &str = "
[ -e /srv ] || { busybox mkdir /srv; for f in mode owner moved gone text replaced cut env; do echo A=1 > /srv/$f; done; }
trap 'sleep 0.7; exit 0' TERM
n=0; trap 'n=$((n+1)); echo $n > /tmp/n' USR1
sleep 1000000 & while :; do wait; done";

/// The container that gets many.
pub const ALL: &str = "all";
/// What starts anew in the middle: its network and its processes are others then.
pub const ANEW: [&str; 3] = ["stop", "restart", "crash"];

/// A fault with its words, and what is seen of it.
pub struct Case {
    pub name: &'static str,
    pub container: &'static str,
    pub words: Vec<String>,
    /// What is changed of the container; anything when empty.
    part: &'static str,
}

impl Case {
    /// Whether it shows between two looks. What shows otherwise or not at all never does.
    pub fn is_on(&self, before: &Seen, now: &Seen) -> bool {
        !self.part.starts_with('-')
            && differs(before, now).iter().any(|key| {
                let key = key.strip_prefix(self.container).unwrap_or_default();
                key.strip_prefix(' ').is_some_and(|part| part.starts_with(self.part))
            })
    }

    /// Whether looking twice at the containers tells that it is on.
    pub fn shows(&self) -> bool {
        !self.part.starts_with('-')
    }
}

/// Name, container, what shows, words. A name alone is the fault's; no container: of that name, too.
const CASES: &str = "
    pause                 | pause  |          | pause
    container_stop        | stop   |          | container_stop timeout=3s
    container_restart     | restart| -        | container_restart timeout=1s
    container_limits      | limits |          | container_limits cpu=0.5 memory=32MiB pids=20
    kill_loop             | loop   | -        | kill_loop every=100ms signal=SIGUSR1
    kill_loop (SIGKILL)   | crash  | -        | kill_loop every=3s
    cpu                   | cpu    |          | cpu load=2% cores=1
    memory                | memory |          | memory size=4MiB
    io                    | io     |          | io path=/data rate=100KB/s size=64KiB block=4KiB direct=false
    disk_fill             | disk   |          | disk_fill path=/data size=2MiB
    inode_fill            | inode  |          | inode_fill path=/data count=100
    pid_fill              | pid    |          | pid_fill count=5
    port_fill             | port   |          | port_fill leave=20000
    fd_fill               | fd     |          | fd_fill
    rlimit_squeeze        | rlimit |          | rlimit_squeeze nofile=16
    cgroup_squeeze        | group  |          | cgroup_squeeze pids=20 memory=32MiB cpu=0.5
    clock                 | clock  |          | clock offset=1h
    hosts                 | files  | hosts    | hosts names=localhost
    env_file              | files  | srv/env  | env_file path=/srv/env set=A:2
    file_chmod            | files  | srv/mode | file_chmod path=/srv/mode mode=0000
    file_chown            | files  | srv/owner| file_chown path=/srv/owner user=65534
    file_move             | files  | srv/moved| file_move path=/srv/moved to=/srv/elsewhere
    file_delete           | files  | srv/gone | file_delete path=/srv/gone
    file_append           | files  | srv/text | file_append path=/srv/text text=more
    file_replace          | files  | srv/repl | file_replace path=/srv/replaced text=other
    file_truncate         | files  | srv/cut  | file_truncate path=/srv/cut size=1B
    net_delay             | delay  |          | net_delay delay=20ms jitter=5ms direction=both
    net_loss              | loss   |          | net_loss chance=50% direction=both
    net_duplicate         | dup    |          | net_duplicate chance=50%
    net_corrupt           | corrupt|          | net_corrupt chance=10%
    net_reorder           | reorder|          | net_reorder chance=10%
    net_rate              | rate   |          | net_rate rate=1Mbit/s
    net_slot              | slot   |          | net_slot every=10ms
    partition             | part   |          | partition port=9
    dns                   | dns    |          | dns names=x.invalid answer=nxdomain upstream=127.0.0.1
    port_occupy           | occupy |          | port_occupy port=9999
    interface_down        | down   |          | interface_down interface=eth0
";

/// Those that go together on one container, in what order they like; the last freezes it.
const TOGETHER: &str = "
    cpu load=2% cores=1
    memory size=4MiB
    io path=/data rate=100KB/s size=64KiB block=4KiB direct=false
    disk_fill path=/data size=2MiB
    inode_fill path=/data count=100
    pid_fill count=5
    port_fill leave=28000
    rlimit_squeeze nofile=64
    cgroup_squeeze pids=30 memory=48MiB cpu=0.5
    clock offset=1h
    hosts names=localhost
    env_file path=/srv/env set=A:2
    file_chmod path=/srv/mode mode=0000
    file_move path=/srv/moved to=/srv/elsewhere
    file_delete path=/srv/gone
    file_append path=/srv/text text=more
    file_replace path=/srv/replaced text=other
    net_delay delay=20ms direction=both
    net_loss chance=5%
    net_rate rate=1Mbit/s
    partition port=9
    dns names=x.invalid answer=nxdomain upstream=127.0.0.1
    port_occupy port=9999
";

/// The containers, running.
pub struct Fleet {
    pub engine: Engine,
    pub cases: Vec<Case>,
}

impl Fleet {
    pub fn start() -> Option<Fleet> {
        let engine = Engine::with_networks()?;
        let mut cases: Vec<Case> =
            CASES.lines().map(str::trim).filter(|line| !line.is_empty()).map(case).collect();
        let words = |line: &str| line.split(' ').map(str::to_owned).collect();
        cases.push(Case {
            name: "latency (proxy)",
            container: "front",
            words: words("proxy:front latency delay=10ms"),
            part: "",
        });
        cases.push(Case {
            name: "io_error (fs)",
            container: "dir",
            words: words("fs:dir io_error errno=EIO ops=write"),
            part: "",
        });
        if crate::ground::program("stress-ng", &[]).is_some() {
            let mut stress = words("container:stress stress_ng");
            stress.push("args=--cpu 1 --cpu-load 1 --timeout 6000s".into());
            cases.push(Case { name: "stress_ng", container: "stress", words: stress, part: "" });
        }
        cases.push(Case {
            name: "pause (process)",
            container: "stopped",
            words: words("process: pause"),
            part: "",
        });
        let mut fleet = Fleet { engine, cases };
        for name in fleet.names() {
            let anew = if name == "crash" { "always" } else { "no" };
            let options = ["--tmpfs", "/data:size=8m", "--tmpfs", "/vol:size=8m", "-m", "64m"];
            let rest = ["--pids-limit", "40", "--restart", anew, "box", "sh", "-c", SCRIPT];
            fleet.engine.must(&[&["run", "-d", "--name", name][..], &options, &rest].concat());
        }
        let stopped = super::seen::processes(&fleet.engine, "stopped", "sleep");
        for case in &mut fleet.cases {
            if case.words[0] == "process:" {
                case.words[0] = format!("process:{}", stopped[0]);
            }
        }
        Some(fleet)
    }

    /// The names of all of them.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<&str> = self.cases.iter().map(|c| c.container).chain([ALL]).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Tells an agent of them.
    pub fn open(&self, agent: &Agent) {
        let engine = || Some(self.engine.socket().display().to_string());
        let container = |name: &str| ContainerSpec {
            name: Some(name.into()),
            engine: engine(),
            ..ContainerSpec::default()
        };
        let mut targets: Vec<(String, TargetSpec)> = self
            .names()
            .into_iter()
            .map(|name| (name.to_owned(), TargetSpec::Container(container(name))))
            .collect();
        for (target, name) in [("front", "front"), ("allfront", ALL)] {
            let front = Front { name: Some(name.into()), port: 80, engine: engine(), ..Front::default() };
            let spec = ProxySpec::in_front_of(front, Protocol::Tcp);
            targets.push((target.into(), TargetSpec::Proxy(spec)));
        }
        for (target, name) in [("dir", "dir"), ("alldir", ALL)] {
            let spec = FsSpec {
                mount: "/vol".into(),
                container: Some(Box::new(container(name))),
                ..FsSpec::default()
            };
            targets.push((target.into(), TargetSpec::Fs(spec)));
        }
        for (name, spec) in targets {
            let target = Target { name, spec };
            agent.ask(async |c| c.open_target(&target).await).unwrap();
        }
    }

    /// What all together are, in one container.
    pub fn together() -> Vec<Vec<String>> {
        let lines = TOGETHER.lines().map(str::trim).filter(|line| !line.is_empty());
        let words = |line: String| line.split(' ').map(str::to_owned).collect();
        let mut all: Vec<Vec<String>> = lines.map(|l| words(format!("container:{ALL} {l}"))).collect();
        all.push(words("proxy:allfront latency delay=10ms".into()));
        all.push(words("fs:alldir io_error errno=EIO ops=write".into()));
        all
    }

    /// Whether what is sent again and again still is.
    pub fn is_sent(&self) -> bool {
        let first = super::seen::processes(&self.engine, "loop", "sh");
        let file = format!("/proc/{}/root/tmp/n", first[0]);
        let read = || fs::read_to_string(&file).unwrap_or_default();
        let before = read();
        std::thread::sleep(std::time::Duration::from_millis(700));
        read() != before
    }
}

fn case(line: &'static str) -> Case {
    let parts: Vec<&'static str> = line.split('|').map(str::trim).collect();
    let words = format!("container:{} {}", parts[1], parts[3]);
    let words = words.split(' ').map(str::to_owned).collect();
    Case { name: parts[0], container: parts[1], part: parts[2], words }
}

/// `murphy arm` with these words against an agent's socket; whether that worked, and what was said.
pub fn arm(dir: &Path, words: &[String]) -> Result<(), String> {
    let mut command = murphy_in(dir);
    command.arg("arm").args(words).stdin(Stdio::null());
    if words[1] != "container_restart" {
        command.args(["--for", "10m"]);
    }
    let done = command.arg("--socket").arg(dir.join("agent.sock")).output().unwrap();
    let said = || String::from_utf8_lossy(&done.stderr).into_owned();
    if done.status.success() { Ok(()) } else { Err(said()) }
}
