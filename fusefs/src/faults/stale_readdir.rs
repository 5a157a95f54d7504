//! `stale_readdir`: listings are old or incomplete.

use super::{Bend, Effect, FileFault};
use crate::op::{Op, Ops};
use crate::rule::Hit;
use inject::knob::Dials;

/// How a listing is not true.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Lie {
    /// As it was when it was first listed.
    Stale,
    /// Each name is left out with this probability.
    Short(f64),
}

pub(super) struct StaleReaddir {
    lie: Lie,
}

impl StaleReaddir {
    pub(super) fn read(dials: &Dials<'_>) -> StaleReaddir {
        let missing = dials.fixed().percent("missing").map_or(0.3, |p| p.fraction());
        let lie = if dials.fixed().text("how") == Some("short") { Lie::Short(missing) } else { Lie::Stale };
        StaleReaddir { lie }
    }
}

impl FileFault for StaleReaddir {
    fn ops(&self) -> Ops {
        Ops::of(&[Op::Opendir])
    }

    fn hit(&self, _hit: &Hit<'_>) -> Effect {
        Effect::Bend(Bend::Listing(self.lie))
    }
}
