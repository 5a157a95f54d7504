//! Whether a datagram is hit: the parameters `chance` and `correlation`.

use super::spread::Walk;
use crate::chain::Dir;
use crate::conn::Take;
use crate::knob::{Dials, Knob};
use model::{Problem, draw};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// As ordered.
#[derive(Debug, Clone)]
pub(super) struct Chance {
    chance: Knob,
    walk: Walk,
}

impl Chance {
    pub(super) fn read(dials: &Dials<'_>) -> Result<Chance, Problem> {
        let chance = dials.knob("chance")?.unwrap_or(Knob::fixed(0.0));
        Ok(Chance { chance, walk: Walk::read(dials) })
    }

    /// Whether the next datagram of that client and direction is hit.
    pub(super) fn hits(&mut self, take: &Take, dir: Dir, now: Instant) -> bool {
        let n = take.chunks[dir as usize].fetch_add(1, Relaxed);
        let u = self.walk.step(draw::unit(take.seed(dir), draw::Lane::Share, n));
        let hit = u < self.chance.at(take.fault.elapsed(now));
        if hit {
            take.apply();
            take.fault.meters.hits.fetch_add(1, Relaxed);
        }
        hit
    }
}
