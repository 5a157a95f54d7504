//! `cut`: ends connections after a time or a number of bytes, by FIN or RST.

use super::{Act, StreamFault};
use crate::armed::Meters;
use crate::chain::{Dir, Held, How, Item, Pull, Stage};
use crate::conn::Take;
use crate::knob::{Dials, moment};
use model::{Problem, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

struct Cut {
    when: When,
    how: How,
}

enum When {
    After(Duration),
    Bytes(u64),
}

pub(super) fn read(dials: &Dials<'_>) -> Result<Act, Problem> {
    let when = match dials.fixed().get("when") {
        Some(Value::Size(size)) => When::Bytes(size.0),
        Some(Value::Span(span)) => When::After(span.0),
        _ => When::After(Duration::ZERO),
    };
    let how = if dials.fixed().text("how") == Some("fin") { How::Fin } else { How::Rst };
    Ok(Act::Stream(Box::new(Cut { when, how })))
}

impl StreamFault for Cut {
    fn stage(&self, take: &Arc<Take>, _dir: Dir, now: Instant) -> Option<Box<dyn Stage>> {
        let (at, most) = match self.when {
            When::After(after) => (moment(take.since(now), after), None),
            When::Bytes(most) => (None, Some(most)),
        };
        Some(Box::new(Knife { take: take.clone(), how: self.how, at, most, held: Held::default() }))
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        BTreeMap::from([("connections_cut", meters.applied.load(Relaxed) as f64)])
    }
}

struct Knife {
    take: Arc<Take>,
    how: How,
    at: Option<Instant>,
    /// Bytes in both directions, counted in the take, which the other direction's stage shares.
    most: Option<u64>,
    held: Held,
}

impl Stage for Knife {
    fn push(&mut self, item: Item, at: Instant) {
        self.held.push(item, at);
    }

    fn pull(&mut self, _now: Instant) -> Pull {
        let left = match self.most {
            None => usize::MAX,
            Some(most) => {
                let left = most.saturating_sub(self.take.spent.load(Relaxed));
                if left == 0 {
                    self.take.apply();
                    return Pull::Kill(self.how);
                }
                usize::try_from(left).unwrap_or(usize::MAX)
            }
        };
        match self.held.pop_bytes(left) {
            Some((item, _)) => {
                if let Item::Data(chunk) = &item {
                    self.take.spent.fetch_add(chunk.bytes.len() as u64, Relaxed);
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

    fn deadline(&self) -> Option<(Instant, How)> {
        self.at.map(|at| (at, self.how))
    }

    fn strike(&mut self) {
        self.take.apply();
    }
}

#[cfg(test)]
mod tests {
    use crate::chain::How;
    use crate::faults::bench::{Bench, armed};

    #[test]
    fn bytes_before_the_cut_pass_and_none_after() {
        let mut b = Bench::new(&[&armed("cut when=10B", 0)]);
        b.push_down(0, "01234567");
        assert_eq!(b.pull_down(0), "01234567");
        b.push_down(1, "89abcdef");
        assert_eq!(b.pull_down(1), "89<rst>");
        let fault = armed("cut when=10B how=fin", 0);
        let mut b = Bench::new(&[&fault]);
        b.push_down(0, "0123456789");
        assert_eq!(b.pull_down(0), "0123456789<fin>");
        assert_eq!(fault.evidence().applied, 1);
    }

    #[test]
    fn time_counts_from_when_it_was_taken() {
        let fault = armed("cut when=50ms", 0);
        let mut b = Bench::new(&[&fault]);
        let (before, then) = (b.at(49), b.at(50));
        assert_eq!(b.down.strike(before), None);
        b.sync(30);
        assert_eq!(b.down.strike(then), Some(How::Rst));
        assert_eq!(fault.evidence().applied, 1);
    }
}
