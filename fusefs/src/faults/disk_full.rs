//! `disk_full`: space is limited, and statfs agrees.

use super::{Bend, Effect, FileFault};
use crate::call::Call;
use crate::op::{Op, Ops};
use crate::rule::{Hit, Rule};
use inject::knob::Dials;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

pub(super) struct DiskFull {
    free: u64,
    inodes: Option<i64>,
    errno: Errno,
}

/// What is left of the space.
pub(crate) struct Budget {
    bytes: AtomicI64,
    /// Files that can still be made; less than zero is no limit.
    inodes: Option<AtomicI64>,
    pub(crate) errno: Errno,
}

impl DiskFull {
    pub(super) fn read(dials: &Dials<'_>) -> DiskFull {
        let fixed = dials.fixed();
        let errno = if fixed.text("errno") == Some("EDQUOT") { Errno::DQUOT } else { Errno::NOSPC };
        DiskFull { free: fixed.size("free").map_or(0, |s| s.0), inodes: fixed.int("inodes"), errno }
    }
}

impl Budget {
    fn new(fault: &DiskFull) -> Budget {
        Budget {
            bytes: AtomicI64::new(i64::try_from(fault.free).unwrap_or(i64::MAX)),
            inodes: fault.inodes.map(AtomicI64::new),
            errno: fault.errno,
        }
    }

    /// Takes so many bytes, or as many as there are: how many.
    pub(crate) fn take(&self, bytes: u64) -> u64 {
        let want = i64::try_from(bytes).unwrap_or(i64::MAX);
        let mut left = self.bytes.load(Relaxed);
        loop {
            let got = want.min(left.max(0));
            match self.bytes.compare_exchange_weak(left, left - got, Relaxed, Relaxed) {
                Ok(_) => return got.unsigned_abs(),
                Err(now) => left = now,
            }
        }
    }

    /// Gives bytes back.
    pub(crate) fn give(&self, bytes: u64) {
        self.bytes.fetch_add(i64::try_from(bytes).unwrap_or(0), Relaxed);
    }

    /// Takes room for one file, if there is any.
    pub(crate) fn take_inode(&self) -> bool {
        match &self.inodes {
            None => true,
            Some(left) => left.fetch_update(Relaxed, Relaxed, |n| (n > 0).then(|| n - 1)).is_ok(),
        }
    }

    /// Gives room for one file back.
    pub(crate) fn give_inode(&self) {
        if let Some(left) = &self.inodes {
            left.fetch_add(1, Relaxed);
        }
    }

    /// What is free: bytes, and files if they are limited.
    pub(crate) fn left(&self) -> (u64, Option<u64>) {
        let positive = |n: i64| u64::try_from(n).unwrap_or(0);
        (positive(self.bytes.load(Relaxed)), self.inodes.as_ref().map(|n| positive(n.load(Relaxed))))
    }
}

const TAKES: Ops = Ops::of(&[Op::Write, Op::Fallocate, Op::Copy, Op::Truncate]);
const MAKES: Ops = Ops::of(&[Op::Create, Op::Mkdir, Op::Mknod, Op::Symlink]);
const GIVES: Ops = Ops::of(&[Op::Unlink, Op::Rmdir, Op::Rename, Op::Open, Op::Statfs]);

impl FileFault for DiskFull {
    fn ops(&self) -> Ops {
        TAKES | MAKES | GIVES
    }

    fn counts(&self, call: &Call<'_>) -> bool {
        (TAKES | MAKES).has(call.op)
    }

    fn hit(&self, hit: &Hit<'_>) -> Effect {
        let budget = hit.rule.state.budget.get_or_init(|| Arc::new(Budget::new(self)));
        Effect::Bend(Bend::Budget(budget.clone()))
    }

    fn measured(&self, rule: &Rule) -> BTreeMap<&'static str, f64> {
        let free = rule.state.budget.get().map_or(self.free, |b| b.left().0);
        BTreeMap::from([("bytes_free", free as f64)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is() {
        let budget = Budget::new(&DiskFull { free: 10, inodes: Some(1), errno: Errno::NOSPC });
        assert_eq!((budget.take(6), budget.take(6), budget.take(6)), (6, 4, 0));
        budget.give(3);
        assert_eq!(budget.left(), (3, Some(1)));
        assert!(budget.take_inode() && !budget.take_inode());
        budget.give_inode();
        assert!(budget.take_inode());
    }
}
