//! `short_read` and `short_write`: less than was asked for.

use super::{Bend, Effect, FileFault};
use crate::op::{Op, Ops};
use crate::rule::Hit;
use inject::knob::Dials;

pub(super) struct Short {
    op: Op,
    keep: f64,
}

impl Short {
    pub(super) fn read(dials: &Dials<'_>, op: Op) -> Short {
        Short { op, keep: dials.fixed().percent("keep").map_or(0.5, |p| p.fraction()) }
    }
}

impl FileFault for Short {
    fn ops(&self) -> Ops {
        Ops::of(&[self.op])
    }

    fn hit(&self, _hit: &Hit<'_>) -> Effect {
        Effect::Bend(Bend::Short(self.keep))
    }
}
