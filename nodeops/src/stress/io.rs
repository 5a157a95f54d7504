//! Reading and writing at a rate.

use super::IoJob;
use crate::inroot;
use crate::shared::lock;
use rustix::fs::OFlags;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What O_DIRECT asks of buffers, offsets and lengths everywhere.
const ALIGN: usize = 4096;
/// How much that could not be moved in time is made up for.
const CARRY: Duration = Duration::from_secs(1);

/// Threads that read and write.
pub(super) struct Mover {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    now: Mutex<(IoJob, Instant)>,
    /// Grows with each change, so that threads look.
    changes: AtomicU64,
    bytes: AtomicU64,
    operations: AtomicU64,
    errors: AtomicU64,
    errno: AtomicU64,
    since: Mutex<Rates>,
}

#[derive(Debug)]
struct Rates {
    /// Since the last change: when, and how much there was then.
    begin: (Instant, u64),
    /// Lately, with what came of it.
    recent: (Instant, u64, f64),
}

impl Mover {
    /// Prepares a file for each worker, and begins.
    pub(super) fn start(job: IoJob) -> Result<Mover, String> {
        let files = (0..job.workers).map(|n| prepare(&job, n)).collect::<Result<Vec<_>, _>>()?;
        let now = Instant::now();
        let shared = Arc::new(Shared {
            now: Mutex::new((job, now)),
            changes: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            operations: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            errno: AtomicU64::new(0),
            since: Mutex::new(Rates { begin: (now, 0), recent: (now, 0, 0.0) }),
        });
        for (n, file) in files.into_iter().enumerate() {
            let shared = shared.clone();
            thread::Builder::new()
                .name("murphy-io".into())
                .stack_size(128 * 1024)
                .spawn(move || shared.work(&file, n as u64))
                .map_err(|e| format!("a thread could not be started: {e}"))?;
        }
        Ok(Mover { shared })
    }

    /// Another rate or block; files stay what they are.
    pub(super) fn set(&self, job: IoJob) -> Result<(), String> {
        let mut now = lock(&self.shared.now);
        let same = |a: &IoJob, b: &IoJob| {
            (&a.place, a.size, a.workers, a.direct) == (&b.place, b.size, b.workers, b.direct)
        };
        if !same(&now.0, &job) {
            return Err("path, size, workers and direct cannot be changed while it is on".into());
        }
        *now = (job, Instant::now());
        lock(&self.shared.since).begin = (Instant::now(), self.shared.bytes.load(Relaxed));
        self.shared.changes.fetch_add(1, Relaxed);
        Ok(())
    }

    pub(super) fn measured(&self) -> BTreeMap<String, f64> {
        let shared = &self.shared;
        let (bytes, now) = (shared.bytes.load(Relaxed), Instant::now());
        let (mean, lately) = {
            let mut rates = lock(&shared.since);
            let (then, before, _) = rates.recent;
            if now - then >= Duration::from_secs(1) {
                let rate = (bytes - before) as f64 / (now - then).as_secs_f64();
                rates.recent = (now, bytes, rate);
            }
            let (then, before) = rates.begin;
            ((bytes - before) as f64 / (now - then).as_secs_f64().max(1e-3), rates.recent.2)
        };
        let (job, told) = lock(&shared.now).clone();
        let mut out = BTreeMap::from([
            ("bytes".to_owned(), bytes as f64),
            ("operations".to_owned(), shared.operations.load(Relaxed) as f64),
            ("bytes_per_second".to_owned(), mean),
            ("bytes_per_second_now".to_owned(), lately),
            ("errors".to_owned(), shared.errors.load(Relaxed) as f64),
            ("errno".to_owned(), shared.errno.load(Relaxed) as f64),
        ]);
        if let Some(rate) = job.rate {
            out.insert("asked_bytes_per_second".into(), rate.at(told.elapsed()));
        }
        out
    }
}

impl Shared {
    fn work(&self, file: &File, worker: u64) {
        let mut random = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(worker + 1);
        let mut at = 0_u64;
        let (mut owed, mut last) = (0.0_f64, Instant::now());
        let mut turn = false;
        let mut seen = u64::MAX;
        let (mut job, mut told) = lock(&self.now).clone();
        let mut buffer = Aligned::new(job.block as usize);
        loop {
            let changes = self.changes.load(Relaxed);
            if changes != seen {
                seen = changes;
                (job, told) = lock(&self.now).clone();
                buffer = Aligned::new(job.block as usize);
                random = fill(buffer.bytes(), random);
            }
            let block = job.block as f64;
            if let Some(rate) = &job.rate {
                let rate = rate.at(told.elapsed()) / job.workers as f64;
                let now = Instant::now();
                // At least a block may be owed, or slow rates with large blocks would never get there.
                let most = (rate * CARRY.as_secs_f64()).max(block);
                owed = (owed + rate * (now - last).as_secs_f64()).min(most);
                last = now;
                if owed < block {
                    // Not for long at a time: the rate may be changed meanwhile.
                    let wait = if rate > 0.0 { (block - owed) / rate } else { 0.05 };
                    thread::sleep(Duration::from_secs_f64(wait.clamp(5e-5, 0.05)));
                    continue;
                }
            } else {
                last = Instant::now();
            }
            let blocks = (job.size / job.block).max(1);
            let offset = if job.random {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random % blocks
            } else {
                at = (at + 1) % blocks;
                at
            } * job.block;
            let write = job.write && (!job.read || turn);
            turn = !turn;
            let done = if write {
                file.write_at(buffer.bytes(), offset)
            } else {
                file.read_at(buffer.bytes(), offset)
            };
            owed -= block;
            match done {
                Ok(n) => {
                    self.bytes.fetch_add(n as u64, Relaxed);
                    self.operations.fetch_add(1, Relaxed);
                }
                Err(e) => {
                    self.errors.fetch_add(1, Relaxed);
                    self.errno.store(e.raw_os_error().unwrap_or(0) as u64, Relaxed);
                    thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
}

/// A file without a name, written once where it will be read.
fn prepare(job: &IoJob, worker: usize) -> Result<File, String> {
    let shown = job.place.path.display();
    let dir = inroot::directory(&job.place.root, &job.place.path).map_err(|e| format!("{shown}: {e}"))?;
    let flags = if job.direct { OFlags::DIRECT } else { OFlags::empty() };
    let file = inroot::nameless(&dir, flags, &format!(".murphy-io-{}-{worker}", std::process::id()))
        .map_err(|e| {
            let direct = job.direct && e.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error());
            let hint = if direct { "; this filesystem has no O_DIRECT: use direct=false" } else { "" };
            format!("a file in {shown}: {e}{hint}")
        })?;
    let mut buffer = Aligned::new((1 << 20).min(job.size as usize).next_multiple_of(ALIGN));
    fill(buffer.bytes(), worker as u64 + 1);
    let mut at = 0;
    // Written also when it is only written later: the first writes into holes are slower than those that follow.
    while at < job.size {
        let n =
            file.write_at(buffer.bytes(), at).map_err(|e| format!("writing {} in {shown}: {e}", size(at)))?;
        at += n as u64;
    }
    file.sync_data().map_err(|e| format!("syncing a file in {shown}: {e}"))?;
    Ok(file)
}

fn size(bytes: u64) -> String {
    model::units::Size(bytes).to_string()
}

/// Noise, so that nothing compresses; the state to go on with.
fn fill(bytes: &mut [u8], mut state: u64) -> u64 {
    state |= 1;
    for word in bytes.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
    state
}

/// A buffer at an address that O_DIRECT takes.
struct Aligned {
    memory: Vec<u8>,
    begin: usize,
    length: usize,
}

impl Aligned {
    fn new(length: usize) -> Aligned {
        let memory = vec![0; length + ALIGN];
        let begin = memory.as_ptr().align_offset(ALIGN);
        Aligned { memory, begin, length }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.begin..self.begin + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned() {
        for length in [4096, 65536] {
            let mut buffer = Aligned::new(length);
            assert_eq!((buffer.bytes().as_ptr() as usize % ALIGN, buffer.bytes().len()), (0, length));
        }
    }
}
