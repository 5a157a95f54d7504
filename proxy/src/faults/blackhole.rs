//! `blackhole`: bytes vanish while the connection stays open.

use super::{Act, StreamFault, Ways};
use crate::armed::Meters;
use crate::chain::{Dir, Held, How, Item, Pull, Stage};
use crate::conn::Take;
use crate::knob::{Dials, moment};
use model::Problem;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

struct Blackhole {
    close_after: Option<Duration>,
    closes_afterwards: bool,
    ways: Ways,
}

pub(super) fn read(dials: &Dials<'_>) -> Result<Act, Problem> {
    let close_after = dials.fixed().span("close_after");
    let closes_afterwards = dials.fixed().text("afterwards") == Some("close");
    Ok(Act::Stream(Box::new(Blackhole { close_after, closes_afterwards, ways: Ways::read(dials) })))
}

impl StreamFault for Blackhole {
    fn stage(&self, take: &Arc<Take>, dir: Dir, now: Instant) -> Option<Box<dyn Stage>> {
        self.ways.has(dir).then(|| {
            let close_at = self.close_after.and_then(|after| moment(take.since(now), after));
            Box::new(Hole { take: take.clone(), close_at, end: Held::default() }) as Box<dyn Stage>
        })
    }

    fn afterwards(&self) -> Option<How> {
        self.closes_afterwards.then_some(How::Fin)
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        BTreeMap::from([("bytes_swallowed", meters.bytes.load(Relaxed) as f64)])
    }
}

struct Hole {
    take: Arc<Take>,
    close_at: Option<Instant>,
    /// The end of the stream: nobody hears of it before the fault is over.
    end: Held,
}

impl Stage for Hole {
    fn push(&mut self, item: Item, at: Instant) {
        self.take.apply();
        match item {
            Item::Data(chunk) => {
                self.take.fault.meters.bytes.fetch_add(chunk.bytes.len() as u64, Relaxed);
            }
            end => self.end.push(end, at),
        }
    }

    fn pull(&mut self, _now: Instant) -> Pull {
        Pull::Wait(None)
    }

    fn room(&self) -> bool {
        true
    }

    fn is_empty(&self) -> bool {
        self.end.is_empty()
    }

    fn release(&mut self) -> Vec<(Item, Instant)> {
        self.end.take()
    }

    fn deadline(&self) -> Option<(Instant, How)> {
        self.close_at.map(|at| (at, How::Fin))
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
    fn what_is_swallowed_is_gone_and_the_end_comes_afterwards() {
        let fault = armed("blackhole direction=down", 0);
        let mut b = Bench::new(&[&fault]);
        b.push_down(0, "lost");
        assert_eq!(b.pull_down(5), "");
        b.end_down(6, How::Fin);
        assert_eq!(b.pull_down(1000), "");
        fault.switch_off();
        b.conn.withdraw(&fault);
        b.sync(1001);
        assert_eq!(b.pull_down(1001), ".");
        assert_eq!(fault.evidence().measured["bytes_swallowed"], 4.0);
        assert_eq!(fault.evidence().applied, 1);
    }

    #[test]
    fn what_lost_something_can_be_closed_afterwards() {
        let fault = armed("blackhole afterwards=close direction=down", 0);
        let (mut hit, idle) = (Bench::new(&[&fault]), Bench::new(&[&fault]));
        hit.push_down(0, "lost");
        fault.switch_off();
        assert!(hit.conn.withdraw(&fault) && idle.conn.withdraw(&fault));
        assert_eq!((hit.conn.killed(), idle.conn.killed()), (Some(How::Fin), None));
    }

    #[test]
    fn closes_on_time_also_while_data_trickles() {
        let fault = armed("blackhole close_after=100ms", 0);
        let mut b = Bench::new(&[&fault]);
        for ms in (0..100).step_by(10) {
            b.push_down(ms, "x");
            b.pull_down(ms);
            let now = b.at(ms);
            assert_eq!(b.down.strike(now), None);
        }
        let now = b.at(100);
        assert_eq!(b.down.strike(now), Some(How::Fin));
    }
}
