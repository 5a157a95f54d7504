//! `slice`: the stream leaves in small pieces, with a pause after each.

use super::{Act, StreamFault, Ways};
use crate::armed::Meters;
use crate::chain::{Dir, Held, Item, Pull, Stage};
use crate::conn::Take;
use crate::knob::{Dials, Knob};
use model::{Problem, draw};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

#[derive(Clone, Copy)]
struct Slice {
    size: Knob,
    variation: Knob,
    delay: Knob,
    ways: Ways,
}

pub(super) fn read(dials: &Dials<'_>) -> Result<Act, Problem> {
    let knob = |name| dials.knob(name).map(|k| k.unwrap_or(Knob::fixed(0.0)));
    Ok(Act::Stream(Box::new(Slice {
        size: knob("size")?,
        variation: knob("variation")?,
        delay: knob("delay")?,
        ways: Ways::read(dials),
    })))
}

impl StreamFault for Slice {
    fn stage(&self, take: &Arc<Take>, dir: Dir, _now: Instant) -> Option<Box<dyn Stage>> {
        self.ways.has(dir).then(|| {
            let (fault, take, held) = (*self, take.clone(), Held::default());
            Box::new(Slicer { fault, take, dir, held, next: None }) as Box<dyn Stage>
        })
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        BTreeMap::from([("slices", meters.hits.load(Relaxed) as f64)])
    }
}

struct Slicer {
    fault: Slice,
    take: Arc<Take>,
    dir: Dir,
    held: Held,
    /// When the next piece may leave.
    next: Option<Instant>,
}

impl Slicer {
    /// How large the next piece is; none when the stream is left whole.
    fn size(&self, elapsed: Duration) -> Option<usize> {
        let size = self.fault.size.at(elapsed);
        if size < 1.0 {
            return None;
        }
        let variation = self.fault.variation.at(elapsed);
        let n = self.take.chunks[self.dir as usize].fetch_add(1, Relaxed);
        let u = draw::unit(self.take.seed(self.dir), draw::Lane::Amount, n);
        // Whole sizes from size - variation to size + variation, each as likely.
        let size = (size - variation).floor() + (u * (2.0 * variation.floor() + 1.0)).floor();
        Some(size.max(1.0) as usize)
    }
}

impl Stage for Slicer {
    fn push(&mut self, item: Item, at: Instant) {
        self.held.push(item, at);
    }

    fn pull(&mut self, now: Instant) -> Pull {
        match (self.held.front(), self.next) {
            (None, _) => return Pull::Wait(None),
            (Some(_), Some(next)) if next > now => return Pull::Wait(Some(next)),
            (Some((Item::Data(_), _)), _) => {}
            (Some((Item::End(_), _)), _) => {
                return self.held.pop().map_or(Pull::Wait(None), |(item, _)| Pull::Item(item));
            }
        }
        let elapsed = self.take.fault.elapsed(now);
        let Some(size) = self.size(elapsed) else {
            return self.held.pop().map_or(Pull::Wait(None), |(item, _)| Pull::Item(item));
        };
        self.take.apply();
        self.take.fault.meters.hits.fetch_add(1, Relaxed);
        let delay = Duration::try_from_secs_f64(self.fault.delay.at(elapsed)).unwrap_or_default();
        // Counted from when it was due and not from when we woke, as far as that is not long ago.
        let base = match self.next {
            Some(next) if now.saturating_duration_since(next) < Duration::from_millis(20) => next,
            _ => now,
        };
        self.next = (!delay.is_zero()).then(|| base.checked_add(delay)).flatten();
        self.held.pop_bytes(size).map_or(Pull::Wait(None), |(item, _)| Pull::Item(item))
    }

    fn room(&self) -> bool {
        self.held.bytes() < 256 * 1024
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
    use crate::chain::How;
    use crate::faults::bench::{Bench, armed};

    #[test]
    fn pieces_of_that_size_one_after_the_other() {
        let fault = armed("slice size=3B delay=10ms", 0);
        let mut b = Bench::new(&[&fault]);
        b.push_down(0, "0123456789");
        b.end_down(0, How::Fin);
        for (ms, want) in [(0, "012"), (9, ""), (10, "345"), (20, "678"), (30, "9"), (39, ""), (40, ".")] {
            assert_eq!(b.pull_down(ms), want, "at {ms}");
        }
        assert_eq!(fault.evidence().measured["slices"], 4.0);
    }

    #[test]
    fn zeros_and_large_variations_are_harmless() {
        for words in ["slice size=0B", "slice size=0B variation=0B delay=1h", "slice size=0B variation=5B"] {
            let mut b = Bench::new(&[&armed(words, 0)]);
            b.push_down(0, "0123456789");
            assert_eq!(b.pull_down(0), "0123456789", "{words}");
        }
        let mut b = Bench::new(&[&armed("slice size=1B variation=100B", 0)]);
        let data = vec![7; 10_000];
        b.push_down_bytes(0, &data);
        assert_eq!(b.pull_down_bytes(0), data);
    }

    #[test]
    fn sizes_vary_as_was_said() {
        let mut b = Bench::new(&[&armed("slice size=10B variation=4B delay=1ms", 0)]);
        b.push_down_bytes(0, &vec![7; 10_000]);
        let mut seen = [0; 20];
        for ms in 0..900 {
            seen[b.pull_down_bytes(ms).len()] += 1;
        }
        assert!((6..=14).all(|n| seen[n] > 50), "{seen:?}");
        assert!((0..6).chain(15..20).all(|n| seen[n] == 0), "{seen:?}");
    }
}
