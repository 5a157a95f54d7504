//! Memory that is taken page by page and kept.

use super::holder::Holder;
use super::{Job, MemoryJob};
use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// The smallest page of all machines: on some with larger ones each of them is written to several times.
const PAGE: usize = 4096;
/// What is asked of the allocator at a time. It gives pieces of more than 32 MiB back to the kernel the moment they are
/// dropped (mallopt(3), M_MMAP_THRESHOLD), and their pages come into being only as they are written.
const CHUNK: usize = 64 * 1024 * 1024;
/// How much is taken between two looks at what is left.
const BITE: usize = 4 * 1024 * 1024;
/// How far the reserve may be broken before something is given back: what is available moves all the time.
const SLACK: u64 = 1024 * 1024;
/// How long one step may take.
const STEP: Duration = Duration::from_millis(30);

/// Memory that is held.
pub(super) struct Hoard {
    job: MemoryJob,
    chunks: Vec<Vec<u8>>,
    noise: u64,
    baseline: u64,
    /// Pieces that went back to the kernel.
    #[cfg(test)]
    given_back: usize,
    asked: u64,
    /// What could not be had for the sake of the reserve.
    short: u64,
    locked: bool,
    touched: Instant,
}

impl Hoard {
    pub(super) fn new(job: MemoryJob) -> Hoard {
        // Huge pages would come in pieces of 2 MiB, and take more than what is asked.
        let _ = nix::sys::prctl::set_thp_disable(true);
        let mut hoard = Hoard {
            job,
            chunks: Vec::new(),
            noise: 0x9E37_79B9_7F4A_7C15,
            baseline: resident(),
            #[cfg(test)]
            given_back: 0,
            asked: 0,
            short: 0,
            locked: false,
            touched: Instant::now(),
        };
        hoard.lock_pages();
        hoard
    }

    /// As they are written, pages are locked: nothing else of the process grows by that.
    fn lock_pages(&mut self) {
        use rustix::mm::{MlockAllFlags, mlockall};
        let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
        self.locked = self.job.resident && mlockall(flags).is_ok();
    }

    fn held(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    fn wanted(&self, elapsed: Duration, there: &There) -> u64 {
        let amount = self.job.amount.at(elapsed);
        let bytes = if self.job.share { amount * there.total as f64 } else { amount };
        let bytes = bytes.max(0.0) as u64;
        if !self.job.reach {
            return bytes;
        }
        let others = there.used.saturating_sub(self.held() as u64);
        bytes.saturating_sub(others)
    }

    fn grow(&mut self, by: usize) -> bool {
        let room = self.chunks.last().map_or(0, |c| c.capacity() - c.len());
        if room < PAGE {
            let mut chunk = Vec::new();
            if chunk.try_reserve_exact(CHUNK).is_err() {
                return false;
            }
            self.chunks.push(chunk);
        }
        let Some(chunk) = self.chunks.last_mut() else { return false };
        let pages = (by.min(chunk.capacity() - chunk.len())).div_ceil(PAGE).max(1);
        for _ in 0..pages {
            if chunk.capacity() - chunk.len() < PAGE {
                break;
            }
            let mut page = [0_u8; PAGE];
            for word in page.chunks_exact_mut(8) {
                // xorshift64*: noise, so that nothing merges or compresses it.
                self.noise ^= self.noise >> 12;
                self.noise ^= self.noise << 25;
                self.noise ^= self.noise >> 27;
                word.copy_from_slice(&self.noise.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
            }
            chunk.extend_from_slice(&page);
        }
        true
    }

    fn shrink(&mut self, to: usize) {
        let mut left = self.held();
        while left > to {
            let Some(last) = self.chunks.pop() else { return };
            #[cfg(test)]
            {
                self.given_back += 1;
            }
            left -= last.len();
            let keep = to.saturating_sub(left);
            // Only a whole piece goes back to the kernel: the rest of it is written anew.
            drop(last);
            if keep >= PAGE {
                let before = self.held();
                while self.held() - before < keep {
                    let missing = keep - (self.held() - before);
                    if !self.grow(missing) {
                        return;
                    }
                }
                return;
            }
        }
    }

    fn touch(&mut self) {
        for chunk in &mut self.chunks {
            for page in chunk.chunks_mut(PAGE) {
                page[0] = page[0].wrapping_add(1);
            }
            black_box(&chunk);
        }
    }
}

impl Holder for Hoard {
    fn step(&mut self, elapsed: Duration) -> Duration {
        let began = Instant::now();
        loop {
            let there = There::look(&self.job);
            let wanted = self.wanted(elapsed, &there);
            self.asked = wanted;
            let held = self.held() as u64;
            // What may be held at most so that the reserve is left. Without one nothing is spared.
            let most = match self.job.reserve {
                0 => u64::MAX,
                reserve => (held + there.available).saturating_sub(reserve),
            };
            let goal = wanted.min(most);
            self.short = wanted - goal;
            // What is held are whole pages: the last of them is not given back, or a ramp would write a piece anew each time.
            let slack = if self.short > 0 { SLACK } else { PAGE as u64 };
            if goal + slack < held {
                self.shrink(goal as usize);
            } else if goal >= held + PAGE as u64 {
                let by = (goal - held).min(BITE as u64) as usize;
                if !self.grow(by) {
                    self.short = wanted - held;
                    return Duration::from_millis(200);
                }
                if began.elapsed() < STEP {
                    continue;
                }
                return Duration::ZERO;
            }
            break;
        }
        if self.job.resident && !self.locked && self.touched.elapsed() > Duration::from_secs(1) {
            self.touch();
            self.touched = Instant::now();
        }
        if self.job.amount.rests(elapsed) { Duration::from_millis(100) } else { Duration::from_millis(10) }
    }

    fn set(&mut self, job: Job) -> Result<(), String> {
        let Job::Memory(job) = job else { return Err("this child holds memory".into()) };
        self.job = job;
        if self.job.resident && !self.locked {
            self.lock_pages();
        }
        Ok(())
    }

    fn measured(&self) -> BTreeMap<String, f64> {
        BTreeMap::from([
            ("held_bytes".to_owned(), self.held() as f64),
            ("resident_bytes".to_owned(), resident().saturating_sub(self.baseline) as f64),
            ("asked_bytes".to_owned(), self.asked as f64),
            ("short_bytes".to_owned(), self.short as f64),
            ("locked".to_owned(), f64::from(u8::from(self.locked))),
        ])
    }
}

/// How much there is where the child is, and how much of it could be had.
#[derive(Debug, Clone, Copy, PartialEq)]
struct There {
    total: u64,
    /// What is used, but for what goes when memory is short.
    used: u64,
    available: u64,
}

impl There {
    fn look(job: &MemoryJob) -> There {
        let machine = machine();
        let group = job.group.as_ref().and_then(|g| Some((g.memory()?, g.reclaimable())));
        match group {
            Some((memory, reclaimable)) if memory.limit < machine.total => {
                let used = memory.used.saturating_sub(reclaimable);
                let left = memory.limit.saturating_sub(used);
                There { total: memory.limit, used, available: left.min(machine.available) }
            }
            _ => machine,
        }
    }
}

/// How much memory the machine has.
pub(crate) fn memory_of_machine() -> Option<u64> {
    Some(machine().total).filter(|total| *total > 0)
}

/// proc(5), `/proc/meminfo`.
fn machine() -> There {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    };
    let total = field("MemTotal:").unwrap_or(0);
    let available = field("MemAvailable:").or_else(|| field("MemFree:")).unwrap_or(0);
    There { total, used: total.saturating_sub(available), available }
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let field = |n: usize| text.split(' ').nth(n).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    // Without pages of files: those of the program come as it runs, and are nothing that is taken.
    let pages = field(1).saturating_sub(field(2));
    pages * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stress::Moving;

    fn job(bytes: u64) -> MemoryJob {
        MemoryJob {
            amount: Moving::fixed(bytes as f64),
            share: false,
            reach: false,
            reserve: 0,
            resident: false,
            group: None,
        }
    }

    #[test]
    fn a_ramp_takes_and_never_gives_back() {
        let mut hoard = Hoard::new(job(0));
        let mut before = 0;
        for bytes in (1..400_u64).map(|n| n * 10_007) {
            hoard.set(Job::Memory(job(bytes))).unwrap();
            while hoard.step(Duration::ZERO).is_zero() {}
            let (held, bytes) = (hoard.held(), bytes as usize);
            assert!(held >= before && held.abs_diff(bytes) <= PAGE, "{bytes}: {held} after {before}");
            assert_eq!(hoard.given_back, 0);
            before = held;
        }
    }

    #[test]
    fn what_is_asked_is_held_and_given_back() {
        let mut hoard = Hoard::new(job(10 * 1024 * 1024));
        while hoard.step(Duration::ZERO).is_zero() {}
        assert_eq!(hoard.held(), 10 * 1024 * 1024);
        // How much of that is resident is asked of a child: this process has other tests in it, which take and give back.
        hoard.set(Job::Memory(job(3 * 1024 * 1024))).unwrap();
        while hoard.step(Duration::ZERO).is_zero() {}
        assert_eq!(hoard.held(), 3 * 1024 * 1024);
        // Nothing is taken that would not leave the reserve.
        hoard.set(Job::Memory(MemoryJob { reserve: 1 << 60, ..job(1 << 30) })).unwrap();
        while hoard.step(Duration::ZERO).is_zero() {}
        assert_eq!(hoard.held(), 0);
        assert_eq!(hoard.measured()["short_bytes"], f64::from(1 << 30));
    }
}
