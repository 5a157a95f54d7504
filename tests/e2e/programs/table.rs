//! What programs do about errors, in the words they have for it.

use crate::ground::{Served, eventually, processes_in};
use std::time::{Duration, Instant};

/// A program that writes things down durably, one after the other.
pub(super) trait Program {
    fn name(&self) -> &'static str;
    fn served(&self) -> &Served;
    /// Begins with nothing written.
    fn prepare(&mut self);
    /// Writes the n-th thing; it is committed when this returns.
    fn write(&mut self, n: u64) -> Result<(), String>;
    /// How many are there.
    fn count(&mut self) -> Result<u64, String>;
    /// All that it has said to its log.
    fn said(&self) -> String;
    fn alive(&mut self) -> bool;
    fn kill(&mut self);
    /// Starts it again, as someone does who finds it dead or stuck.
    fn restart(&mut self);
}

/// Errors, as an agent is asked for them.
const FAULTS: &[&str] = &[
    "io_error ops=fsync errno=EIO",
    "fsync_error first=1",
    "disk_full free=0B",
    "latency delay=100ms when.op=write",
];

/// What it does with each fault, as text.
fn measure<P: Program>(start: impl Fn() -> Option<P>) {
    let Some(mut program) = start() else { return };
    FAULTS.iter().for_each(|fault| with_fault(&mut program, fault));
    drop(program);
    for lie in [false, true] {
        // What earlier faults have lost must not be blamed on the power.
        let Some(mut program) = start() else { return };
        cut(&mut program, lie);
    }
}

fn with_fault(program: &mut impl Program, fault: &str) {
    program.prepare();
    let quick = timed(|| (0..6).for_each(|n| program.write(n).unwrap()));
    let before = program.said().len();
    let id = program.served().arm(fault);
    let mut told = 0;
    let mut errors = Vec::new();
    let slow = timed(|| {
        for n in 6..12 {
            match program.write(n) {
                Ok(()) => told += 1,
                Err(e) => errors.push(e),
            }
            if errors.len() > 2 {
                break;
            }
        }
    });
    // What it has to say may come a little later.
    std::thread::sleep(Duration::from_millis(1500));
    let alive = program.alive();
    let (applied, _) = program.served().agent.disarm(&id);
    let by_itself = alive && eventually(Duration::from_secs(15), || program.write(100).is_ok());
    let (name, there) = (program.name(), program.count());
    println!("## {name} · {fault}: applied {applied}; 6 writes {quick:?}, then {slow:?}");
    println!(
        "   6 and {told} of 6 acknowledged, alive {alive}; goes on by itself {by_itself}, there {there:?}"
    );
    errors.dedup();
    errors.iter().for_each(|e| println!("   client: {}", e.trim()));
    tell_log(&program.said(), before);
    program.restart();
    println!("   after a restart: write {:?}, there {:?}", program.write(101), program.count());
}

fn cut(program: &mut impl Program, lie: bool) {
    program.prepare();
    (0..5).for_each(|n| program.write(n).unwrap());
    let id = lie.then(|| program.served().arm("lost_fsync"));
    let told = 5 + (5..20).filter(|n| program.write(*n).is_ok()).count();
    let before = program.said().len();
    let cut = program.served().arm("power_cut lose=all");
    program.kill();
    let dir = program.served().dir();
    assert!(eventually(Duration::from_secs(20), || processes_in(&dir).is_empty()));
    program.served().agent.disarm(&cut);
    if let Some(id) = &id {
        program.served().agent.disarm(id);
    }
    let back = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| program.restart()));
    let there = if back.is_ok() { program.count() } else { Err("it does not start".into()) };
    println!("## {} · power_cut, lying {lie}: {told} of 20 acknowledged, there {there:?}", program.name());
    if there.is_err() {
        tell_log(&program.said(), before);
    }
}

/// What the log has since then, without what is said again and again.
fn tell_log(said: &str, since: usize) {
    let lines = said.get(since..).unwrap_or_default().lines();
    let lines = lines.filter(|l| !l.contains("is starting up") && !l.contains("could not fsync file"));
    lines.take(20).for_each(|line| println!("   log: {line}"));
}

fn timed(act: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    act();
    begin.elapsed()
}

macro_rules! measured {
    ($($test:ident: $program:ty),*) => {$(
        #[test]
        #[ignore = "prints what the table in docs/files-programs.md is made of; takes a minute"]
        fn $test() {
            measure(<$program>::new);
        }
    )*};
}

measured!(
    postgres: super::postgres::Cluster,
    sqlite_with_a_journal: super::sqlite::Journal,
    sqlite_with_a_wal: super::sqlite::Wal,
    redis: super::redis::Aof,
    etcd: super::etcd::Etcd,
    git: super::git::Repository,
    cargo: super::cargo::Crate
);
