//! `kill -9` at random moments of a run with pause, cpu and proxy faults: nothing stays stopped, burning or claimed.
//!
//! `MURPHY_CRASH_ROUNDS` sets how many rounds; 20 without it.

use crate::ground::{TempDir, eventually, free_port, murphy, murphy_in, need};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A process to pause: a sleep with a name of its own, so that no other is meant.
struct Victim {
    child: Child,
    marker: String,
}

impl Victim {
    fn start(round: usize) -> Victim {
        let marker = format!("86400.{}{round:03}", std::process::id());
        Victim { child: Command::new("sleep").arg(&marker).spawn().unwrap(), marker }
    }

    fn state(&self) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('?')
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Pids of processes whose command line has all these words. The state directory's path makes them ours.
fn running(words: &[&str]) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if words.iter().all(|w| line.contains(w)) {
            found.push(pid);
        }
    }
    found
}

/// Children of a process that burn.
fn burning(of: i32) -> Vec<i32> {
    let mut found = running(&["__stress"]);
    found.retain(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit_once(") ").map_or(vec![], |(_, rest)| rest.split(' ').collect());
        fields.get(1).and_then(|p| p.parse::<i32>().ok()) == Some(of)
    });
    found
}

fn rounds(default: usize) -> usize {
    std::env::var("MURPHY_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

struct Round {
    dir: TempDir,
    victim: Victim,
    child: Child,
    burners: Vec<i32>,
}

impl Round {
    /// Starts a run with all three kinds of faults and lets it go on for a while.
    fn start(round: usize, wait: Duration) -> Round {
        let (dir, victim) = (TempDir::new(), Victim::start(round));
        let (listen, upstream) = (free_port(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let file = dir.file(
            "t.yaml",
            &format!(
                "murphy: 1\ntargets:\n  web: {{proxy: {{listen: '127.0.0.1:{listen}', upstream: '{}'}}}}\n  worker: {{process: {{match: '{}'}}}}\n  me: {{node: self}}\n\
                 steady_state: {{window: 1s, baseline: 0s, cooldown: 1s}}\n\
                 stages:\n  - faults:\n      - {{target: web, for: 60s, inject: {{latency: {{delay: 5s}}}}}}\n      - {{target: worker, for: 60s, inject: {{pause: }}}}\n      - {{target: me, for: 60s, inject: {{cpu: {{load: 10%, cores: 1}}}}}}\n",
                upstream.local_addr().unwrap(),
                victim.marker
            ),
        );
        let child = murphy_in(dir.path())
            .args(["run", file.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(wait);
        let burners = burning(i32::try_from(child.id()).unwrap());
        Round { dir, victim, child, burners }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What is still wrong.
    fn left(&self) -> Option<String> {
        let state = self.victim.state();
        if matches!(state, 'T' | 't' | '?') {
            return Some(format!("the paused process is in state {state}"));
        }
        let alive = |pid: &&i32| {
            std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok()
                && running(&["__stress"]).contains(*pid)
        };
        if let Some(pid) = self.burners.iter().find(alive) {
            return Some(format!("{pid} still burns"));
        }
        None
    }
}

/// The moment of the kill: spread over the start-up and the armed time, the same on every run of the test.
fn moment(round: usize) -> Duration {
    Duration::from_millis(model::draw::bits(11, model::draw::Lane::Other(1), round as u64) % 700)
}

#[test]
fn killed_at_any_moment_it_leaves_nothing() {
    let _one = crate::ground::this_machine();
    let mut reached = 0;
    for n in 0..rounds(20) {
        let mut round = Round::start(n, moment(n));
        reached += usize::from(round.victim.state() == 'T');
        round.kill();
        let clean = eventually(Duration::from_secs(20), || round.left().is_none());
        assert!(clean, "round {n}: {:?}", round.left());
        let words = [round.dir.path().to_str().unwrap(), "__watchdog"];
        assert!(
            eventually(Duration::from_secs(20), || running(&words).is_empty()),
            "round {n}: the watchdog stays"
        );
    }
    assert!(reached > 0, "no round got as far as pausing");
}

#[test]
fn killed_with_its_watchdog_recover_cleans_up() {
    let _one = crate::ground::this_machine();
    if !need("/proc", std::path::Path::new("/proc/self/stat").exists()) {
        return;
    }
    let mut reached = 0;
    for n in 0..rounds(20).div_ceil(4) {
        let mut round = Round::start(1000 + n, Duration::from_millis(300) + moment(n));
        for pid in running(&[round.dir.path().to_str().unwrap(), "__watchdog"]) {
            // It may be gone already.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        round.kill();
        reached += usize::from(round.victim.state() == 'T');
        let done = murphy(round.dir.path(), &["recover"]);
        assert_eq!(done.code, 0, "round {n}: {done:?}");
        assert!(
            eventually(Duration::from_secs(20), || round.left().is_none()),
            "round {n}: {:?}",
            round.left()
        );
        let again = murphy(round.dir.path(), &["recover"]);
        assert!(again.out.contains("nothing was left behind"), "round {n}: {again:?}");
    }
    assert!(reached > 0, "no round got as far as pausing");
}
