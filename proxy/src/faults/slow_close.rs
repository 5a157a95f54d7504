//! `slow_close` and `half_open`: the end of one side comes to the other late, or not as long as the fault is on.

use super::{Act, StreamFault, Ways};
use crate::armed::Meters;
use crate::chain::{Dir, Held, Item, Pull, Stage};
use crate::conn::Take;
use crate::knob::{Dials, Knob, moment};
use model::Problem;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

struct LateEnd {
    /// None: not at all.
    delay: Option<Knob>,
    ways: Ways,
}

pub(super) fn read_slow_close(dials: &Dials<'_>) -> Result<Act, Problem> {
    let delay = Some(dials.knob("delay")?.unwrap_or(Knob::fixed(0.0)));
    Ok(Act::Stream(Box::new(LateEnd { delay, ways: Ways::read(dials) })))
}

pub(super) fn read_half_open(dials: &Dials<'_>) -> Result<Act, Problem> {
    Ok(Act::Stream(Box::new(LateEnd { delay: None, ways: Ways::read(dials) })))
}

impl StreamFault for LateEnd {
    fn stage(&self, take: &Arc<Take>, dir: Dir, _now: Instant) -> Option<Box<dyn Stage>> {
        self.ways.has(dir).then(|| {
            Box::new(Keeper { delay: self.delay, take: take.clone(), dir, held: Held::default() })
                as Box<dyn Stage>
        })
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        match self.delay {
            Some(_) => meters.lateness(),
            None => BTreeMap::from([("ends_withheld", meters.hits.load(Relaxed) as f64)]),
        }
    }
}

struct Keeper {
    delay: Option<Knob>,
    take: Arc<Take>,
    dir: Dir,
    held: Held,
}

impl Stage for Keeper {
    fn push(&mut self, item: Item, at: Instant) {
        if let Item::End(_) = item
            && self.take.chunks[self.dir as usize].swap(1, Relaxed) == 0
        {
            self.take.apply();
            self.take.fault.meters.hits.fetch_add(1, Relaxed);
        }
        self.held.push(item, at);
    }

    fn pull(&mut self, now: Instant) -> Pull {
        if let Some((Item::End(_), came)) = self.held.front() {
            let Some(delay) = self.delay else { return Pull::Wait(None) };
            let delay = Duration::try_from_secs_f64(delay.at(self.take.fault.elapsed(*came))).ok();
            let due = delay.and_then(|delay| moment(*came, delay));
            if due.is_none_or(|due| due > now) {
                return Pull::Wait(due);
            }
            self.take.fault.meters.add_late(now.saturating_duration_since(*came));
        }
        self.held.pop().map_or(Pull::Wait(None), |(item, _)| Pull::Item(item))
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
    use crate::chain::How;
    use crate::faults::bench::{Bench, armed};

    #[test]
    fn bytes_pass_and_the_end_is_late() {
        let mut b = Bench::new(&[&armed("slow_close delay=50ms direction=down", 0)]);
        b.push_down(0, "x");
        b.end_down(5, How::Fin);
        assert_eq!(b.pull_down(6), "x");
        assert_eq!(b.pull_down(54), "");
        assert_eq!(b.pull_down(55), ".");
        assert!(!b.up.has_stages());
    }

    #[test]
    fn an_end_is_withheld_until_the_fault_is_over() {
        let fault = armed("half_open", 0);
        let mut b = Bench::new(&[&fault]);
        b.end_down(0, How::Rst);
        assert_eq!(b.pull_down(1_000_000), "");
        fault.switch_off();
        b.conn.withdraw(&fault);
        b.sync(1_000_001);
        assert_eq!(b.pull_down(1_000_001), "!");
        assert_eq!(fault.evidence().measured["ends_withheld"], 1.0);
    }
}
