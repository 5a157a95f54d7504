//! The last operations, for whoever looks on: everything while someone does, and always what a fault touched.

use crate::inode::lock;
use model::{FileOperation, TargetRef};
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How many are kept.
const KEPT: usize = 4096;
/// How long a look keeps the recording on.
const LOOK: Duration = Duration::from_secs(10);

/// The last operations of one mount.
pub(crate) struct Tail {
    target: TargetRef,
    began: Instant,
    /// Until when everything is recorded, in nanoseconds since it began.
    until: AtomicU64,
    last: Mutex<(u64, VecDeque<FileOperation>)>,
}

impl Tail {
    pub(crate) fn new(target: TargetRef) -> Tail {
        Tail { target, began: Instant::now(), until: AtomicU64::new(0), last: Mutex::default() }
    }

    /// Whether everything is recorded now.
    #[inline]
    pub(crate) fn records(&self, now: Instant) -> bool {
        let until = self.until.load(Relaxed);
        until != 0 && now.saturating_duration_since(self.began) < Duration::from_nanos(until)
    }

    /// Records one; its number and target are filled in.
    pub(crate) fn push(&self, mut operation: FileOperation) {
        operation.target = self.target.clone();
        let mut last = lock(&self.last);
        last.0 += 1;
        operation.seq = last.0;
        if last.1.len() >= KEPT {
            last.1.pop_front();
        }
        last.1.push_back(operation);
    }

    /// Those after that number, oldest first. Everything is recorded for a while after.
    pub(crate) fn after(&self, seq: u64) -> Vec<FileOperation> {
        let until = self.began.elapsed() + LOOK;
        self.until.store(u64::try_from(until.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        lock(&self.last).1.iter().filter(|o| o.seq > seq).cloned().collect()
    }
}
