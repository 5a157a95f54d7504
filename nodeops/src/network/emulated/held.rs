//! Packets that wait for their time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Things in the order of their times; those of one time in the order they came.
#[derive(Debug)]
pub(super) struct Held<T> {
    heap: BinaryHeap<Entry<T>>,
    next: u64,
    /// How many bytes wait.
    pub bytes: usize,
}

#[derive(Debug)]
struct Entry<T> {
    key: Reverse<(u64, u64)>,
    by: u64,
    size: usize,
    thing: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

/// Something whose time has come.
#[derive(Debug, PartialEq)]
pub(super) struct Due<T> {
    /// When that was.
    pub at: u64,
    /// The faults that held it.
    pub by: u64,
    /// What.
    pub thing: T,
}

impl<T> Held<T> {
    pub(super) fn new() -> Held<T> {
        Held { heap: BinaryHeap::new(), next: 0, bytes: 0 }
    }

    /// Holds something of that size until then, for the sake of these faults.
    pub(super) fn push(&mut self, at: u64, by: u64, size: usize, thing: T) {
        self.bytes += size;
        self.heap.push(Entry { key: Reverse((at, self.next)), by, size, thing });
        self.next += 1;
    }

    /// When the first is due.
    pub(super) fn next(&self) -> Option<u64> {
        self.heap.peek().map(|entry| entry.key.0.0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// The first, when it is due by then.
    pub(super) fn pop(&mut self, by: u64) -> Option<Due<T>> {
        if self.next()? > by {
            return None;
        }
        let entry = self.heap.pop()?;
        self.bytes -= entry.size;
        Some(Due { at: entry.key.0.0, by: entry.by, thing: entry.thing })
    }

    /// Makes everything due that one of these faults holds.
    pub(super) fn release(&mut self, gone: u64) {
        if gone == 0 || self.heap.is_empty() {
            return;
        }
        let entries = std::mem::take(&mut self.heap).into_vec();
        self.heap = entries
            .into_iter()
            .map(|mut entry| {
                if entry.by & gone != 0 {
                    entry.key.0.0 = 0;
                }
                entry
            })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_and_let_go_with_their_fault() {
        let mut held = Held::new();
        for (at, by, name) in [(30, 1, "c"), (10, 1, "a"), (10, 2, "b"), (99, 2, "d"), (98, 2, "e")] {
            held.push(at, by, 10, name);
        }
        assert_eq!(held.pop(9), None);
        assert_eq!(held.pop(10).unwrap().thing, "a");
        assert_eq!(held.pop(10).unwrap().thing, "b");
        held.release(2);
        let left: Vec<_> = std::iter::from_fn(|| held.pop(40)).map(|d| d.thing).collect();
        // What is let go keeps its order of arrival.
        assert_eq!(left, ["d", "e", "c"]);
        assert_eq!((held.bytes, held.is_empty()), (0, true));
    }
}
