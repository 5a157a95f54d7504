//! `kill -9` of the agent, its watchdog or both while clocks are changed: nothing is left, after `recover` where both died.
//!
//! `MURPHY_CRASH_ROUNDS` sets how many rounds; 9 without it.

use super::tellers::{self, Program, Teller, skew_ms, vdso};
use crate::ground::{TempDir, eventually, is_root, murphy, murphy_in, need, one_fixes};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::{Child, Stdio};
use std::time::Duration;

/// `murphy arm` in the foreground, which is its own agent.
struct Foreground(Child);

impl Foreground {
    fn arm(dir: &TempDir, target: u32, words: &[&str]) -> Foreground {
        let mut command = murphy_in(dir.path());
        command
            .env_remove("MURPHY_SOCKET")
            .args(["arm", &format!("process:{target}"), "clock"])
            .args(words)
            .args(["--for", "60s"]);
        Foreground(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The watchdog of a state directory, by its command line.
fn watchdogs(dir: &TempDir) -> Vec<i32> {
    let path = dir.path().display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains("watchdog") && line.contains(&path) {
            found.push(pid);
        }
    }
    found
}

fn shoot(pid: i32) {
    // It may have ended by itself meanwhile.
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
}

fn round(c: &mut Program, n: usize, pristine: &[u8]) -> &'static str {
    let dir = TempDir::new();
    let mut agent = Foreground::arm(&dir, c.pid(), &["offset=5s"]);
    let pid = agent.0.id();
    let watched = eventually(Duration::from_secs(30), || !watchdogs(&dir).is_empty());
    assert!(watched, "round {n}: no watchdog");
    let dog = watchdogs(&dir)[0];
    // From before it is on to well after.
    std::thread::sleep(Duration::from_millis([0, 3, 7, 15, 30, 60, 120, 250][n % 8] + n as u64 % 5));
    let agent_pid = i32::try_from(pid).unwrap();
    let ended = match n % 3 {
        0 => {
            shoot(agent_pid);
            "the watchdog"
        }
        1 => {
            shoot(dog);
            // Its agent goes on, and undoes at its end.
            kill(Pid::from_raw(agent_pid), Signal::SIGTERM).unwrap();
            "the agent"
        }
        _ => {
            shoot(dog);
            shoot(agent_pid);
            "recover"
        }
    };
    agent.0.wait().unwrap();
    if ended == "recover" {
        let out = murphy(dir.path(), &["recover"]);
        assert_eq!(out.code, 0, "round {n}: {out:?}");
    }
    let right = eventually(Duration::from_secs(20), || vdso(c.pid()) == pristine);
    assert!(right, "round {n}: {ended} left a changed clock");
    assert!(skew_ms(c).abs() < 50.0 && c.lives(), "round {n}");
    let gone = eventually(Duration::from_secs(20), || watchdogs(&dir).is_empty());
    assert!(gone, "round {n}: a watchdog is left");
    ended
}

#[test]
fn nothing_is_left_of_a_changed_clock_whoever_is_killed() {
    if !need("root, to change other programs' clocks", is_root()) {
        return;
    }
    let _one = one_fixes();
    let Some(mut c) = tellers::c(false) else { return };
    let pristine = vdso(c.pid());
    let rounds = std::env::var("MURPHY_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(9);
    let mut ended = std::collections::BTreeMap::<&str, usize>::new();
    for n in 0..rounds {
        *ended.entry(round(&mut c, n, &pristine)).or_default() += 1;
    }
    eprintln!("{rounds} rounds, ended by: {ended:?}");
}

/// Without anyone: the deadline in the changed clock itself.
#[test]
fn a_changed_clock_is_right_again_when_nobody_lives() {
    if !need("root, to change other programs' clocks", is_root()) {
        return;
    }
    let _one = one_fixes();
    let Some(mut c) = tellers::c(false) else { return };
    let pristine = vdso(c.pid());
    let dir = TempDir::new();
    let mut agent = Foreground::arm(&dir, c.pid(), &["offset=1h"]);
    assert!(eventually(Duration::from_secs(30), || skew_ms(&mut c) > 1_000.0), "it is not on");
    for dog in watchdogs(&dir) {
        shoot(dog);
    }
    agent.0.kill().unwrap();
    agent.0.wait().unwrap();
    assert!(eventually(Duration::from_secs(40), || skew_ms(&mut c).abs() < 50.0), "it stays wrong");
    // Inert, but there still: doctor finds it without a log, and removes it.
    assert!(vdso(c.pid()) != pristine);
    std::fs::remove_dir_all(dir.path().join("state")).unwrap();
    let out = murphy(dir.path(), &["doctor", "--fix"]);
    assert!(vdso(c.pid()) == pristine, "{out:?}");
}
