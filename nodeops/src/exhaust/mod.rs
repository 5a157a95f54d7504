//! Using things up: what the child of ours takes and holds. All of it is freed by the kernel when the child ends, in
//! whatever way, but for files with names, which the undo log knows of.

mod descriptors;
mod disk;
mod inodes;
mod ports;
mod tasks;

pub(crate) use descriptors::{Descriptors, capacity, system};
pub(crate) use disk::Filler;
pub(crate) use inodes::{Seeds, remove};
pub(crate) use ports::{Harbour, range};
pub(crate) use tasks::{Nursery, count, most_tasks};

use crate::stress::Wanted;

impl Wanted {
    /// How much should be held of something of which so much is free now, so much in all, while so much is held already.
    pub(crate) fn goal(self, held: u64, free: u64, total: u64) -> u64 {
        match self {
            Wanted::Take(n) => n,
            Wanted::Leave(n) => (held + free).saturating_sub(n),
            Wanted::LeaveShare(part) => (held + free).saturating_sub((total as f64 * part).round() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_follow_what_others_do() {
        assert_eq!(Wanted::Take(7).goal(3, 0, 100), 7);
        assert_eq!(Wanted::Leave(10).goal(40, 20, 100), 50);
        // Others freed 30 since: they are taken too.
        assert_eq!(Wanted::Leave(10).goal(40, 50, 100), 80);
        assert_eq!(Wanted::LeaveShare(0.05).goal(0, 60, 100), 55);
        assert_eq!(Wanted::Leave(100).goal(40, 20, 100), 0);
    }
}
