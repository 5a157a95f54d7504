//! What programs do about errors, in the words they have for it.

use crate::ground::Served;
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
fn measure(program: &mut dyn Program) {
    let name = program.name();
    for fault in FAULTS {
        program.prepare();
        let quick = timed(|| (0..6).for_each(|n| program.write(n).unwrap()));
        let before = program.said().len();
        let id = program.served().arm(fault);
        let mut told = 6;
        let mut errors = Vec::new();
        let slow = timed(|| {
            for n in 6..12 {
                match program.write(n) {
                    Ok(()) => told += 1,
                    Err(e) => errors.push(e),
                }
            }
        });
        // What it has to say may come a little later.
        std::thread::sleep(Duration::from_millis(1500));
        let alive = program.alive();
        let (applied, _) = program.served().agent.disarm(&id);
        let goes_on = program.write(100);
        let there = program.count();
        println!("## {name} · {fault}: applied {applied}; 6 writes {quick:?}, with it {slow:?}");
        println!(
            "   acknowledged {told} of 12, alive {alive}; after disarm: write {goes_on:?}, there {there:?}"
        );
        errors.dedup();
        errors.iter().for_each(|e| println!("   client: {}", e.trim()));
        let said = program.said();
        let said = said.get(before..).unwrap_or_default();
        said.lines().take(25).for_each(|line| println!("   log: {line}"));
        program.restart();
        println!("   after a restart: write {:?}, there {:?}", program.write(101), program.count());
    }
    for lie in [false, true] {
        program.prepare();
        (0..5).for_each(|n| program.write(n).unwrap());
        let id = lie.then(|| program.served().arm("lost_fsync"));
        let done: Vec<_> = (5..20).map(|n| program.write(n)).collect();
        let told = 5 + done.iter().filter(|d| d.is_ok()).count();
        let arm = program.served().arm("power_cut lose=all");
        program.kill();
        crate::ground::eventually(Duration::from_secs(20), || {
            crate::ground::processes_in(&program.served().dir()).is_empty()
        });
        program.served().agent.disarm(&arm);
        if let Some(id) = &id {
            program.served().agent.disarm(id);
        }
        let before = program.said().len();
        let back = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| program.restart()));
        let there = if back.is_ok() { program.count() } else { Err("does not start".into()) };
        println!("## {name} · power_cut, lying {lie}: acknowledged {told}, there {there:?}");
        if there.is_err() {
            let said = program.said();
            said.get(before..).unwrap_or_default().lines().for_each(|line| println!("   log: {line}"));
        }
    }
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
            if let Some(mut program) = <$program>::new() {
                measure(&mut program);
            }
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
