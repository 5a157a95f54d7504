//! `hang`: operations wait until they are released.

use super::{Effect, FileFault};
use crate::op::{Op, Ops};
use crate::rule::Hit;
use inject::knob::Dials;

pub(super) struct Hang {
    ops: Ops,
}

impl Hang {
    pub(super) fn read(dials: &Dials<'_>) -> Hang {
        Hang { ops: super::ops(dials, Ops::of(&[Op::Read, Op::Write, Op::Fsync])) }
    }
}

impl FileFault for Hang {
    fn ops(&self) -> Ops {
        self.ops
    }

    fn hit(&self, _hit: &Hit<'_>) -> Effect {
        Effect::Hang
    }
}
