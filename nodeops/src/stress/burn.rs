//! One burning thread: a closed loop on its own processor time.
//!
//! Each period a thread owes a share of it in processor time, and pays until the debt or the period is over. What it
//! could not pay because others had the core is carried over, at most for a second.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The loop's period. Shorter ones cost more in system calls and follow changes no better.
const PERIOD: Duration = Duration::from_millis(20);
/// How much debt is carried over at most.
const CARRY: Duration = Duration::from_secs(1);

/// What all burning threads share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Cores to keep busy in all, as the bits of an f64.
    total: AtomicU64,
    /// Threads beyond this number end.
    threads: AtomicU64,
    /// The niceness all should have, and whether anyone should look at it.
    nice: AtomicU64,
    /// The processors to stay on, and how often they were changed.
    cpus: Mutex<Vec<usize>>,
    moved: AtomicU64,
}

impl Shared {
    pub(super) fn set_total(&self, cores: f64) {
        self.total.store(cores.to_bits(), Relaxed);
    }

    pub(super) fn set_threads(&self, n: usize) {
        self.threads.store(n as u64, Relaxed);
    }

    /// Stays on these processors from now on; on all when there are none. Refused when they do not exist.
    pub(super) fn set_cpus(&self, cpus: &[usize]) -> Result<(), String> {
        let mut own = self.cpus.lock().unwrap_or_else(PoisonError::into_inner);
        if own.as_slice() == cpus {
            return Ok(());
        }
        // On this thread first, which burns nothing, but is refused what the others would be refused.
        stay_on(cpus).map_err(|e| {
            format!("processors {cpus:?} were refused: {e}; see /proc/cpuinfo and the cpuset")
        })?;
        own.clear();
        own.extend_from_slice(cpus);
        self.moved.fetch_add(1, Relaxed);
        Ok(())
    }

    pub(super) fn set_nice(&self, nice: i32) {
        self.nice.store((nice + 20) as u64, Relaxed);
    }

    /// The share of one core that thread `index` burns: whole cores first, the rest on the last thread. Spread evenly
    /// when there are more threads than cores asked for would leave each far from its limit, and others' load is then
    /// shared fairly.
    fn share(&self, index: usize) -> Option<f64> {
        let threads = self.threads.load(Relaxed) as usize;
        if index >= threads {
            return None;
        }
        Some((f64::from_bits(self.total.load(Relaxed)) / threads as f64).clamp(0.0, 1.0))
    }
}

/// Burns until it is told to end.
pub(super) fn thread(index: usize, shared: &Shared) {
    let mut nice = u64::MAX;
    let mut moved = 0;
    let mut owed = 0.0_f64;
    let (mut used, mut last) = (cpu(), Instant::now());
    while let Some(share) = shared.share(index) {
        let wanted = shared.nice.load(Relaxed);
        if wanted != nice {
            // The first thread has tried it and reported; a refusal here changes nothing.
            let _ = rustix::process::setpriority_process(None, wanted as i32 - 20);
            nice = wanted;
        }
        let changes = shared.moved.load(Relaxed);
        if changes != moved {
            let _ = stay_on(&shared.cpus.lock().unwrap_or_else(PoisonError::into_inner));
            moved = changes;
        }
        let now = Instant::now();
        owed = (owed + share * (now - last).as_secs_f64()).min(CARRY.as_secs_f64());
        last = now;
        let end = now + PERIOD;
        // One period ahead is burned now, so that a steady load is steady within each period.
        let ahead = share * PERIOD.as_secs_f64();
        loop {
            let spent = cpu();
            owed -= spent.saturating_sub(used).as_secs_f64();
            used = spent;
            if owed + ahead <= 0.0 || Instant::now() >= end {
                break;
            }
            burn(4000);
        }
        let now = Instant::now();
        if now < end {
            std::thread::sleep(end - now);
        }
    }
}

/// Keeps the calling thread on these processors, or lets it go to all.
fn stay_on(cpus: &[usize]) -> rustix::io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    if cpus.is_empty() {
        (0..rustix::thread::CpuSet::MAX_CPU).for_each(|n| set.set(n));
    } else if cpus.iter().any(|n| *n >= rustix::thread::CpuSet::MAX_CPU) {
        return Err(rustix::io::Errno::INVAL);
    } else {
        cpus.iter().for_each(|n| set.set(*n));
    }
    rustix::thread::sched_setaffinity(None, &set)
}

fn cpu() -> Duration {
    host::clock::thread_cpu()
}

#[inline(never)]
fn burn(n: u64) {
    let mut x = 1.000_001_f64;
    for i in 0..n {
        x = x.mul_add(1.000_000_1, (i & 7) as f64 * 1e-9);
    }
    black_box(x);
}
