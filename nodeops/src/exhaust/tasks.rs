//! Process numbers, held by threads that sleep: a thread counts like a process wherever the kernel counts.

use crate::cgroup::Cgroups;
use crate::stress::holder::Holder;
use crate::stress::{Job, Tasks};
use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The least that a thread can have.
const STACK: usize = 16 * 1024;
/// How many are started before the clock is looked at again.
const BITE: u64 = 200;
/// How many one process holds: each costs two mappings, of which there are 65530 by default.
const MOST: u64 = 30_000;

/// Threads that are held.
pub(crate) struct Nursery {
    job: Tasks,
    shared: Arc<Shared>,
    /// How many were started and not told to end.
    held: u64,
    full: bool,
    errno: i32,
}

#[derive(Default)]
struct Shared {
    /// Threads beyond this number end.
    wanted: Mutex<usize>,
    told: Condvar,
    alive: AtomicUsize,
}

/// How many tasks one child can hold.
pub(crate) fn most_tasks() -> u64 {
    MOST
}

/// How many there are and may be: of a group, or of the machine.
pub(crate) fn count(group: Option<&Cgroups>) -> Option<(u64, u64)> {
    let read = |path: &std::path::Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    if let Some(group) = group {
        let dir = group.controller("pids")?.dir().to_owned();
        return Some((read(&dir.join("pids.current"))?, read(&dir.join("pids.max"))?));
    }
    let threads = read("/proc/sys/kernel/threads-max".as_ref())?;
    let pids = read("/proc/sys/kernel/pid_max".as_ref())?;
    // proc(5), `/proc/loadavg`: the fourth field is running/all.
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    let now = text.split(' ').nth(3)?.split('/').nth(1)?.parse().ok()?;
    Some((now, threads.min(pids)))
}

impl Nursery {
    pub(crate) fn new(job: Job) -> Result<Nursery, String> {
        let Job::Tasks(job) = job else { return Err("nothing that is held here".into()) };
        Ok(Nursery { job, shared: Arc::default(), held: 0, full: false, errno: 0 })
    }

    fn want(&self, n: u64) {
        *self.shared.wanted.lock().unwrap_or_else(PoisonError::into_inner) = n as usize;
    }

    fn one_more(&mut self) -> std::io::Result<()> {
        let index = self.held as usize;
        self.want(self.held + 1);
        let shared = self.shared.clone();
        // Counted before it runs: what is reported is what was asked of the kernel and given.
        shared.alive.fetch_add(1, SeqCst);
        let started = thread::Builder::new().stack_size(STACK).spawn(move || {
            let mut wanted = shared.wanted.lock().unwrap_or_else(PoisonError::into_inner);
            while index < *wanted {
                wanted = shared.told.wait(wanted).unwrap_or_else(PoisonError::into_inner);
            }
            drop(wanted);
            shared.alive.fetch_sub(1, SeqCst);
        });
        match started {
            Ok(_) => {
                self.held += 1;
                Ok(())
            }
            Err(e) => {
                self.shared.alive.fetch_sub(1, SeqCst);
                self.want(self.held);
                Err(e)
            }
        }
    }
}

impl Holder for Nursery {
    fn step(&mut self, _elapsed: Duration) -> Duration {
        let (now, most) = count(self.job.group.as_ref()).unwrap_or((0, u64::MAX));
        let goal = self.job.wanted.goal(self.held, most.saturating_sub(now), most).min(MOST);
        if goal < self.held {
            self.held = goal;
            self.want(goal);
            self.shared.told.notify_all();
            self.full = false;
            return Duration::from_millis(200);
        }
        self.full = false;
        for _ in 0..(goal - self.held).min(BITE) {
            if let Err(e) = self.one_more() {
                self.full = true;
                self.errno = e.raw_os_error().unwrap_or(0);
                return Duration::from_millis(200);
            }
        }
        if self.held < goal { Duration::ZERO } else { Duration::from_millis(200) }
    }

    fn set(&mut self, job: Job) -> Result<(), String> {
        let Job::Tasks(job) = job else { return Err("this child holds process numbers".into()) };
        self.job = job;
        Ok(())
    }

    fn measured(&self) -> BTreeMap<String, f64> {
        let (now, most) = count(self.job.group.as_ref()).unwrap_or((0, 0));
        BTreeMap::from([
            ("held".to_owned(), self.shared.alive.load(SeqCst) as f64),
            ("left".to_owned(), most.saturating_sub(now) as f64),
            ("full".to_owned(), f64::from(u8::from(self.full))),
            ("errno".to_owned(), f64::from(self.errno)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stress::Wanted;

    #[test]
    fn threads_are_started_and_end_when_told() {
        let job = |n| Job::Tasks(Tasks { wanted: Wanted::Take(n), group: None });
        let mut nursery = Nursery::new(job(300)).unwrap();
        while nursery.step(Duration::ZERO).is_zero() {}
        assert_eq!(nursery.measured()["held"], 300.0);
        nursery.set(job(5)).unwrap();
        nursery.step(Duration::ZERO);
        let begin = std::time::Instant::now();
        while nursery.measured()["held"] != 5.0 {
            assert!(begin.elapsed() < Duration::from_secs(30));
            thread::sleep(Duration::from_millis(2));
        }
        nursery.set(job(0)).unwrap();
        nursery.step(Duration::ZERO);
    }
}
