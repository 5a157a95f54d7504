//! `latency`: each chunk is late, counted from its own arrival.

use super::spread::Walk;
use super::{Act, Spread, StreamFault, Ways};
use crate::armed::Meters;
use crate::chain::{Dir, HOLD, Item, Pull, Stage};
use crate::conn::Take;
use crate::knob::Dials;
use model::{Problem, draw};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

struct Latency {
    spread: Spread,
    walk: Walk,
    ways: Ways,
}

pub(super) fn read(dials: &Dials<'_>) -> Result<Act, Problem> {
    Ok(Act::Stream(Box::new(Latency {
        spread: Spread::read(dials)?,
        walk: Walk::read(dials),
        ways: Ways::read(dials),
    })))
}

impl StreamFault for Latency {
    fn stage(&self, take: &Arc<Take>, dir: Dir, _now: Instant) -> Option<Box<dyn Stage>> {
        self.ways.has(dir).then(|| {
            Box::new(Late {
                spread: self.spread.clone(),
                walk: self.walk.clone(),
                take: take.clone(),
                dir,
                seed: take.seed(dir),
                held: VecDeque::new(),
                bytes: 0,
            }) as Box<dyn Stage>
        })
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        meters.lateness()
    }
}

struct Late {
    spread: Spread,
    walk: Walk,
    take: Arc<Take>,
    dir: Dir,
    /// Of this connection and direction; the chunk's number is the ordinal.
    seed: u64,
    /// In the order in which they are due.
    held: VecDeque<Waiting>,
    bytes: usize,
}

struct Waiting {
    due: Instant,
    item: Item,
    came: Instant,
}

impl Stage for Late {
    fn push(&mut self, item: Item, at: Instant) {
        let n = self.take.chunks[self.dir as usize].fetch_add(1, Relaxed);
        let u = self.walk.step(draw::unit(self.seed, draw::Lane::Amount, n));
        let delay = self.spread.quantile(u, self.take.fault.elapsed(at));
        let mut due = at.checked_add(delay).unwrap_or(at);
        self.bytes += item.len();
        // Counted when it is held and not when it goes on: who looks meanwhile sees that something is.
        if due > at
            && let Item::Data(_) = item
        {
            self.take.apply();
        }
        if self.take.datagrams {
            let place = self.held.partition_point(|w| w.due <= due);
            self.held.insert(place, Waiting { due, item, came: at });
            return;
        }
        // Order within a connection is kept: a chunk also waits for the one before it.
        if let Some(last) = self.held.back() {
            due = due.max(last.due);
        }
        self.held.push_back(Waiting { due, item, came: at });
    }

    fn pull(&mut self, now: Instant) -> Pull {
        match self.held.front() {
            None => return Pull::Wait(None),
            Some(first) if first.due > now => return Pull::Wait(Some(first.due)),
            Some(_) => {}
        }
        let Some(Waiting { item, came, .. }) = self.held.pop_front() else { return Pull::Wait(None) };
        self.bytes -= item.len();
        if let Item::Data(_) = item {
            self.take.fault.meters.add_late(now.saturating_duration_since(came));
        }
        Pull::Item(item)
    }

    fn room(&self) -> bool {
        self.bytes < HOLD && self.held.len() < HOLD / 64
    }

    fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn release(&mut self) -> Vec<(Item, Instant)> {
        self.bytes = 0;
        let mut all: Vec<_> = self.held.drain(..).map(|w| (w.item, w.came)).collect();
        all.sort_by_key(|(_, came)| *came);
        all
    }
}

#[cfg(test)]
mod tests {
    use crate::chain::How;
    use crate::faults::bench::{Bench, armed};

    #[test]
    fn pipelined_and_in_order() {
        let mut b = Bench::new(&[&armed("latency delay=100ms direction=down", 0)]);
        for i in 0..50 {
            b.push_down(i * 5, "m");
        }
        b.end_down(245, How::Fin);
        assert_eq!(b.pull_down(99), "");
        assert_eq!(b.pull_down(100), "m");
        assert_eq!(b.pull_down(124), "mmmm");
        assert_eq!(b.pull_down(344).len(), 44);
        assert_eq!(b.pull_down(345), "m.");
        assert!(!b.up.has_stages());
    }

    #[test]
    fn a_reset_by_the_service_does_not_overtake_what_it_sent() {
        let mut b = Bench::new(&[&armed("latency delay=100ms jitter=300ms", 0)]);
        b.push_down(0, "last words");
        b.end_down(1, How::Rst);
        let mut out = String::new();
        (0..500).for_each(|ms| out += &b.pull_down(ms));
        assert_eq!(out, "last words!");
    }

    #[test]
    fn disarming_releases_and_changing_counts_from_arrival() {
        let fault = armed("latency delay=10s", 0);
        let mut b = Bench::new(&[&fault]);
        b.push_down(0, "a");
        b.push_down(10, "b");
        let mut shorter: model::Fault =
            serde_json::from_str(r#"{"target":"proxy:a","for":"60s","inject":{"latency":{"delay":"20ms"}}}"#)
                .unwrap();
        fault.adjust(&shorter).unwrap();
        b.sync(15);
        assert_eq!(b.pull_down(15), "");
        assert_eq!(b.pull_down(20), "a");
        shorter.lasts = None;
        fault.switch_off();
        b.conn.withdraw(&fault);
        b.sync(21);
        assert_eq!(b.pull_down(21), "b");
        assert!(b.down.is_bypassed());
    }

    #[test]
    fn datagrams_overtake_each_other() {
        let mut b = Bench::datagrams(&[&armed("latency delay=50ms jitter=50ms", 0)]);
        let mut want = Vec::new();
        for (i, letter) in ["a", "b", "c", "d", "e", "f", "g", "h"].into_iter().enumerate() {
            b.push_down(i as u64, letter);
            want.push(letter);
        }
        let mut out = String::new();
        (0..120).for_each(|ms| out += &b.pull_down(ms));
        assert_ne!(out, want.concat());
        let mut sorted: Vec<_> = out.split("").filter(|s| !s.is_empty()).collect();
        sorted.sort_unstable();
        assert_eq!(sorted, want);
    }

    #[test]
    fn the_same_seed_delays_the_same_chunks_alike() {
        let run = || {
            let mut b = Bench::new(&[&armed("latency delay=50ms jitter=50ms", 0)]);
            b.push_down(0, "x");
            (0..200).find(|ms| !b.pull_down(*ms).is_empty()).unwrap()
        };
        assert_eq!(run(), run());
    }
}
