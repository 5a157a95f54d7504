//! `throttle`: so many bytes and so many operations per second.

use super::{Effect, FileFault};
use crate::inode::lock;
use crate::op::{Op, Ops};
use crate::rule::Hit;
use inject::knob::{Dials, Knob};
use model::Problem;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

pub(super) struct Throttle {
    ops: Ops,
    rate: Option<Knob>,
    iops: Option<Knob>,
    per_file: bool,
}

/// When the line is free again, by file or for all (zero): for bytes, and for operations.
#[derive(Default)]
pub(crate) struct Buckets(Mutex<HashMap<u64, [Option<Instant>; 2]>>);

/// With nothing passing at all, an operation waits until the fault is over or changed.
const STALLED: Duration = Duration::from_secs(86_400);

impl Throttle {
    pub(super) fn read(dials: &Dials<'_>) -> Result<Throttle, Problem> {
        let (rate, iops) = (dials.knob("rate")?, dials.knob("iops")?);
        if rate.is_none() && iops.is_none() {
            return Err(Problem::new("throttle limits nothing")
                .hint("give it a rate (rate=10MB/s), a number of operations (iops=100/s), or both"));
        }
        let per_file = dials.fixed().text("per") == Some("file");
        Ok(Throttle { ops: super::ops(dials, Ops::of(&[Op::Read, Op::Write])), rate, iops, per_file })
    }
}

impl Buckets {
    /// How long something that takes so long waits until it is through.
    fn take(&self, key: u64, lane: usize, cost: Duration, now: Instant) -> Duration {
        let mut free = lock(&self.0);
        let at = &mut free.entry(key).or_default()[lane];
        let start = at.map_or(now, |at| at.max(now));
        let end = start.checked_add(cost).unwrap_or(start);
        *at = Some(end);
        end.saturating_duration_since(now)
    }
}

impl FileFault for Throttle {
    fn ops(&self) -> Ops {
        self.ops
    }

    fn hit(&self, hit: &Hit<'_>) -> Effect {
        let elapsed = hit.rule.elapsed(hit.now);
        let key = if self.per_file { hit.call.inode.as_ref().map_or(0, |i| i.id) } else { 0 };
        let cost = |knob: &Option<Knob>, amount: f64| {
            let rate = knob.as_ref()?.at(elapsed);
            Some(if rate > 0.0 {
                Duration::try_from_secs_f64(amount / rate).unwrap_or(STALLED)
            } else {
                STALLED
            })
        };
        let buckets = &hit.rule.state.buckets;
        let bytes = cost(&self.rate, hit.call.size.unwrap_or(0) as f64);
        let turn = cost(&self.iops, 1.0);
        let wait = [bytes, turn]
            .into_iter()
            .enumerate()
            .filter_map(|(lane, cost)| Some(buckets.take(key, lane, cost?, hit.now)))
            .max();
        wait.map_or(Effect::Nothing, Effect::Wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_at_once_leaves_one_after_the_other() {
        let (buckets, now) = (Buckets::default(), Instant::now());
        let ms = Duration::from_millis;
        assert_eq!(buckets.take(0, 0, ms(10), now), ms(10));
        assert_eq!(buckets.take(0, 0, ms(10), now), ms(20));
        assert_eq!(buckets.take(0, 1, ms(5), now), ms(5));
        assert_eq!(buckets.take(7, 0, ms(10), now), ms(10));
        assert_eq!(buckets.take(0, 0, ms(10), now + ms(100)), ms(10));
    }
}
