//! How exact stress is, as `/proc` counts it from outside, beside stress-ng.
//!
//! `cargo build --release && cargo run --release -p murphy-benches --bin stress [cpu|memory|ramp|io]`
#![forbid(unsafe_code)]

use murphy_benches::agent::Agent;
use murphy_benches::contestant::murphy_binary;
use murphy_benches::process::{family, pressure};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const WARM: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(10);

fn main() -> io::Result<()> {
    let only = std::env::args().nth(1);
    let asked = |part: &str| only.as_ref().is_none_or(|only| only == part);
    let agent = Agent::start(&[])?;
    if asked("cpu") {
        cpu(&agent)?;
    }
    if asked("memory") {
        memory(&agent)?;
    }
    if asked("ramp") {
        ramp()?;
    }
    if asked("io") {
        disk(&agent)?;
    }
    Ok(())
}

/// Another program that is killed when it is dropped, with what it has started.
struct Other(Child);

impl Other {
    fn start(program: &str, args: &[&str]) -> io::Result<Other> {
        let mut command = Command::new(program);
        Ok(Other(
            command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?,
        ))
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        for pid in family(self.0.id()).into_iter().rev() {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status();
        }
        let _ = self.0.wait();
    }
}

/// Nanoseconds on a processor of all threads, of a process and its descendants.
fn on_cpu(pid: u32) -> f64 {
    let mut sum = 0.0;
    for pid in family(pid) {
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            sum += text.split(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
        }
    }
    sum / 1e9
}

/// Percent of one core over some seconds.
fn percent(pid: u32) -> f64 {
    sleep(WARM);
    let (before, begin) = (on_cpu(pid), Instant::now());
    sleep(LONG);
    (on_cpu(pid) - before) / begin.elapsed().as_secs_f64() * 100.0
}

fn calm() -> String {
    pressure().map_or("?".into(), |p| format!("{p:.1} %"))
}

/// The child of the agent that stresses.
fn child(parent: u32) -> io::Result<u32> {
    let named = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c.trim() == "murphy-stress")
    };
    family(parent).into_iter().find(named).ok_or_else(|| io::Error::other("no child stresses"))
}

fn cpu(agent: &Agent) -> io::Result<()> {
    println!("percent of one core over {} s; the pressure was read before\n", LONG.as_secs());
    println!("| asked | with | murphy | stress-ng | pressure |\n|---|---|---|---|---|");
    for (asked, cores, load, others) in
        [(20, "1", "20", 0), (160, "2", "80", 0), (20, "1", "20", 2), (60, "1", "60", 2)]
    {
        sleep(LONG);
        let before = calm();
        let burners: Vec<Other> = (0..others)
            .map(|_| Other::start("sh", &["-c", "while :; do :; done"]))
            .collect::<io::Result<_>>()?;
        let id = agent.arm_on("node:self", &["cpu", &format!("load={load}%"), &format!("cores={cores}")])?;
        let ours = percent(child(agent.pid())?);
        agent.disarm(&id)?;
        let theirs = match Other::start("stress-ng", &["--cpu", cores, "--cpu-load", load, "-t", "60s"]) {
            Ok(ng) => format!("{:.2}", percent(ng.0.id())),
            Err(_) => "not installed".into(),
        };
        drop(burners);
        let with = if others == 0 { "nothing else" } else { "two others that burn" };
        println!("| {asked} % | {with} | {ours:.2} | {theirs} | {before} |");
    }
    Ok(())
}

fn resident(pid: u32) -> f64 {
    let one = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let kib = text.lines().find_map(|l| l.strip_prefix("RssAnon:"));
        kib.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0)
    };
    family(pid).into_iter().map(one).sum::<f64>() / 1024.0
}

/// Resident MiB, ten times a second: least and most.
fn range(pid: u32) -> (f64, f64) {
    sleep(WARM);
    let (mut least, mut most) = (f64::MAX, 0.0_f64);
    let until = Instant::now() + LONG;
    while Instant::now() < until {
        let now = resident(pid);
        (least, most) = (least.min(now), most.max(now));
        sleep(Duration::from_millis(100));
    }
    (least, most)
}

fn memory(agent: &Agent) -> io::Result<()> {
    println!("\n| memory | least MiB | most MiB |\n|---|---|---|");
    let id = agent.arm_on("node:self", &["memory", "size=512MiB"])?;
    let (least, most) = range(child(agent.pid())?);
    agent.disarm(&id)?;
    println!("| murphy, 512 MiB | {least:.1} | {most:.1} |");
    if let Ok(ng) = Other::start("stress-ng", &["--vm", "1", "--vm-bytes", "512M", "-t", "60s"]) {
        let (least, most) = range(ng.0.id());
        println!("| stress-ng --vm 1 --vm-bytes 512M | {least:.1} | {most:.1} |");
    }
    Ok(())
}

/// On the way from 64 to 512 MiB in ten seconds.
fn ramp() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("ramp.yaml");
    fs::write(
        &file,
        "murphy: 1\ntargets: {me: {node: self}}\nsteady_state: {window: 1s, baseline: 0s, cooldown: 0s}\nstages:\n  - \
         faults:\n      - {target: me, for: 13s, inject: {memory: {size: 64MiB}}, ramp: {size: [64MiB, 512MiB], over: 10s}}\n",
    )?;
    let mut run = Command::new(murphy_binary()?);
    run.env("MURPHY_STATE_DIR", dir.path().join("state")).current_dir(dir.path()).arg("run").arg(&file);
    let run = Other(run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let found = Instant::now();
    let pid = loop {
        match child(run.0.id()) {
            // With what the program itself takes: not while it still fills what the ramp begins with.
            Ok(pid) if resident(pid) >= 65.0 => break pid,
            _ if found.elapsed() > Duration::from_secs(20) => {
                return Err(io::Error::other("the ramp does not begin"));
            }
            _ => sleep(Duration::from_millis(1)),
        }
    };
    let begin = Instant::now();
    let mut seen = Vec::new();
    while begin.elapsed() < LONG - Duration::from_secs(1) {
        seen.push((begin.elapsed().as_secs_f64(), resident(pid)));
        sleep(Duration::from_millis(100));
    }
    // When it began is not seen from outside: it is never ahead of its ramp, so the moment that is furthest says when.
    let ahead = seen.iter().map(|(t, mib)| (mib - 64.0) / 44.8 - t).fold(f64::MIN, f64::max);
    let mut off: Vec<(f64, f64, f64)> = seen
        .iter()
        .map(|(t, mib)| {
            let wanted = (64.0 + 44.8 * (t + ahead)).min(512.0);
            ((mib - wanted).abs() / wanted * 100.0, wanted, *mib)
        })
        .collect();
    // The first one may be while what the ramp begins with is still written.
    let (first, wanted, mib) = off.remove(0);
    off.sort_by(|a, b| a.0.total_cmp(&b.0));
    let ((middle, ..), (most, ..)) = (off[off.len() / 2], off[off.len() - 1]);
    println!(
        "\na ramp from 64 to 512 MiB in 10 s, at {} moments: {middle:.2} % off in the middle, {most:.2} % at most; at the \
         first {first:.2} % ({mib:.1} instead of {wanted:.1} MiB); pressure {}",
        off.len(),
        calm()
    );
    Ok(())
}

/// A directory on a disk, where what a run that is killed leaves is in nobody's way.
fn beside_program() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().map(Path::to_owned).unwrap_or_default())
}

fn disk(agent: &Agent) -> io::Result<()> {
    println!("\n| asked | written by /proc/PID/io | off | pressure |\n|---|---|---|---|");
    let dir = tempfile::Builder::new().prefix("bench").tempdir_in(beside_program()?)?;
    let path = format!("path={}", dir.path().display());
    for (words, rate) in [("rate=5MB/s", 5e6), ("rate=20MB/s", 20e6)] {
        let before = calm();
        let id = agent.arm_on("node:self", &["io", &path, words])?;
        let pid = child(agent.pid())?;
        let written = || {
            let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
            text.lines().find_map(|l| l.strip_prefix("write_bytes: ")?.parse::<f64>().ok()).unwrap_or(0.0)
        };
        sleep(WARM);
        let (first, begin) = (written(), Instant::now());
        sleep(LONG);
        let got = (written() - first) / begin.elapsed().as_secs_f64();
        agent.disarm(&id)?;
        println!(
            "| {:.0} MB/s | {:.3} MB/s | {:+.2} % | {before} |",
            rate / 1e6,
            got / 1e6,
            (got / rate - 1.0) * 100.0
        );
    }
    Ok(())
}
