//! `latency`: operations are done late.

use super::{Effect, FileFault};
use crate::op::Ops;
use crate::rule::Hit;
use inject::knob::Dials;
use inject::spread::{Spread, Walk};
use model::{Problem, draw};
use std::sync::{Mutex, PoisonError};

pub(super) struct Latency {
    ops: Ops,
    spread: Spread,
    /// One walk for all, so that a slow disk is slow for everyone at the same time.
    walk: Mutex<Walk>,
    correlated: bool,
}

impl Latency {
    pub(super) fn read(dials: &Dials<'_>) -> Result<Latency, Problem> {
        let correlated = dials.fixed().percent("correlation").is_some_and(|p| p.fraction() > 0.0);
        let walk = Mutex::new(Walk::read(dials));
        Ok(Latency { ops: super::ops(dials, Ops::all()), spread: Spread::read(dials)?, walk, correlated })
    }
}

impl FileFault for Latency {
    fn ops(&self) -> Ops {
        self.ops
    }

    fn hit(&self, hit: &Hit<'_>) -> Effect {
        let mut u = draw::unit(hit.rule.seed, draw::Lane::Amount, hit.n);
        if self.correlated {
            u = self.walk.lock().unwrap_or_else(PoisonError::into_inner).step(u);
        }
        Effect::Wait(self.spread.quantile(u, hit.rule.elapsed(hit.now)))
    }
}
