//! The kernel's caches: what it is told to forget, and when.
//!
//! Forgetting a page waits for a read of it that is under way. So nothing that serves the kernel or a caller of ours does
//! it: it is done by threads of its own, and ranges that a fault holds are left out; they are not cached.

use crate::core::Fs;
use crate::inode::{Inode, lock};
use fuser::INodeNo;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Release};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The most inodes that are kept without asking the kernel to forget some: some 60 MB.
pub(crate) const MOST_INODES: usize = 200_000;

/// How long arming a fault waits for the caches to be empty.
const PATIENCE: Duration = Duration::from_secs(5);

impl Fs {
    /// Has the kernel forget the attributes and all pages of an inode, but those that are just held.
    pub(crate) fn forget_now(&self, id: u64) {
        let Some(notifier) = self.notifier.get() else { return };
        let held = lock(&self.held).get(&id).cloned().unwrap_or_default();
        for (from, to) in gaps(held, rustix::param::page_size() as u64) {
            let length = if to == u64::MAX { 0 } else { (to - from).cast_signed() };
            // What the kernel does not know it need not forget.
            let _ = notifier.inval_inode(INodeNo(id), from.cast_signed(), length);
        }
    }

    /// The same for a range (the whole for a length of zero), later and by another thread.
    pub(crate) fn forget_pages(&self, id: u64, offset: u64, length: u64) {
        let Some(notifier) = self.notifier.get().cloned() else { return };
        self.pool.run(Box::new(move || {
            let _ = notifier.inval_inode(INodeNo(id), offset.cast_signed(), length.cast_signed());
        }));
    }

    /// Has the kernel forget everything that one of those is true of, and waits until it has, as long as that is soon.
    pub(crate) fn forget_all(self: &Arc<Fs>, which: impl Fn(&Inode) -> bool) -> bool {
        let list: Vec<Arc<Inode>> = self.table.all().into_iter().filter(|i| which(i)).collect();
        if list.is_empty() {
            return true;
        }
        let (tell, told) = mpsc::channel();
        let parts = list.len().div_ceil(4).max(1);
        for part in list.chunks(parts) {
            let (fs, part, tell) = (self.clone(), part.to_vec(), tell.clone());
            self.pool.run(Box::new(move || {
                part.iter().for_each(|inode| fs.forget_now(inode.id));
                let _ = tell.send(());
            }));
        }
        drop(tell);
        let until = Instant::now() + PATIENCE;
        loop {
            match told.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(()) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return true,
                Err(mpsc::RecvTimeoutError::Timeout) => return false,
            }
        }
    }

    /// Asks the kernel to forget files that nobody uses, when there are too many. It answers by forgetting its lookups.
    pub(crate) fn trim_if_needed(&self) {
        if self.table.len() <= MOST_INODES || self.trimming.swap(true, AcqRel) {
            return;
        }
        let Some(notifier) = self.notifier.get().cloned() else {
            self.trimming.store(false, Release);
            return;
        };
        let idle = self.table.idle(MOST_INODES / 8);
        let done = self.trimming.clone();
        self.pool.run(Box::new(move || {
            for inode in idle {
                if let Some((parent, name)) = inode.place() {
                    let _ = notifier.inval_entry(INodeNo(parent.id), crate::dirs::os(&name));
                }
            }
            done.store(false, Release);
        }));
    }
}

/// What lies between ranges, as whole pages of that size outside of them: from and to, with the maximum for the end.
fn gaps(mut held: Vec<(u64, u64)>, page: u64) -> Vec<(u64, u64)> {
    held.sort_unstable();
    let (mut out, mut from) = (Vec::new(), 0);
    for (offset, length) in held {
        let (start, end) = (offset / page * page, (offset + length).div_ceil(page) * page);
        if start > from {
            out.push((from, start));
        }
        from = from.max(end);
    }
    out.push((from, u64::MAX));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_pages_are_left_out() {
        assert_eq!(gaps(vec![], 4096), [(0, u64::MAX)]);
        assert_eq!(gaps(vec![(0, 4096)], 4096), [(4096, u64::MAX)]);
        let held = vec![(100_000, 10), (4096, 1), (4096, 8192)];
        assert_eq!(gaps(held.clone(), 4096), [(0, 4096), (12_288, 98_304), (102_400, u64::MAX)]);
        // A large page is held by whatever is in it.
        assert_eq!(gaps(held, 16_384), [(16_384, 98_304), (114_688, u64::MAX)]);
    }
}
