//! `limit_data`: so many bytes pass, then the connection is closed.

use super::{Act, StreamFault, Ways};
use crate::armed::Meters;
use crate::chain::{Dir, Held, How, Item, Pull, Stage};
use crate::conn::Take;
use crate::knob::Dials;
use model::Problem;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

struct LimitData {
    most: u64,
    how: How,
    ways: Ways,
}

pub(super) fn read(dials: &Dials<'_>) -> Result<Act, Problem> {
    let most = dials.fixed().size("bytes").map_or(0, |s| s.0);
    let how = if dials.fixed().text("how") == Some("rst") { How::Rst } else { How::Fin };
    Ok(Act::Stream(Box::new(LimitData { most, how, ways: Ways::read(dials) })))
}

impl StreamFault for LimitData {
    fn stage(&self, take: &Arc<Take>, dir: Dir, _now: Instant) -> Option<Box<dyn Stage>> {
        self.ways.has(dir).then(|| {
            let (most, how, take) = (self.most, self.how, take.clone());
            Box::new(Limit { most, how, take, dir, held: Held::default() }) as Box<dyn Stage>
        })
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        BTreeMap::from([("connections_closed", meters.applied.load(Relaxed) as f64)])
    }
}

struct Limit {
    most: u64,
    how: How,
    /// Counts what has passed; so a change of the fault keeps the count.
    take: Arc<Take>,
    dir: Dir,
    held: Held,
}

impl Stage for Limit {
    fn push(&mut self, item: Item, at: Instant) {
        self.held.push(item, at);
    }

    fn pull(&mut self, _now: Instant) -> Pull {
        let spent = &self.take.spent[self.dir as usize];
        let left = self.most.saturating_sub(spent.load(Relaxed));
        if left == 0 {
            // A limit of nothing closes at the first byte, not before anyone has said a word.
            if self.most == 0 && self.held.is_empty() {
                return Pull::Wait(None);
            }
            self.take.apply();
            return Pull::Kill(self.how);
        }
        match self.held.pop_bytes(usize::try_from(left).unwrap_or(usize::MAX)) {
            Some((item, _)) => {
                if let Item::Data(chunk) = &item {
                    spent.fetch_add(chunk.bytes.len() as u64, Relaxed);
                }
                Pull::Item(item)
            }
            None => Pull::Wait(None),
        }
    }

    fn room(&self) -> bool {
        self.held.room()
    }

    fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn release(&mut self) -> Vec<(Item, Instant)> {
        self.held.take()
    }
}

#[cfg(test)]
mod tests {
    use crate::faults::bench::{Bench, armed, ordered};

    #[test]
    fn exact_to_the_byte_and_the_count_survives_changes() {
        let fault = armed("limit_data bytes=10B", 0);
        let mut b = Bench::new(&[&fault]);
        b.push_down(0, "01234567");
        assert_eq!(b.pull_down(0), "01234567");
        fault.adjust(&ordered("limit_data bytes=12B how=rst")).unwrap();
        b.sync(1);
        b.push_down(1, "89abcdef");
        assert_eq!(b.pull_down(1), "89ab<rst>");
        assert_eq!(fault.evidence().measured["connections_closed"], 1.0);
    }

    #[test]
    fn zero_closes_at_the_first_byte() {
        let mut b = Bench::new(&[&armed("limit_data bytes=0B", 0)]);
        assert_eq!(b.pull_down(0), "");
        b.push_down(0, "x");
        assert_eq!(b.pull_down(0), "<fin>");
    }
}
