//! `lost_fsync`: fsync returns and makes nothing durable.

use super::{Bend, Effect, FileFault, Need};
use crate::op::{Op, Ops};
use crate::rule::Hit;

pub(super) struct LostFsync;

impl FileFault for LostFsync {
    fn ops(&self) -> Ops {
        Ops::of(&[Op::Fsync, Op::Fsyncdir])
    }

    fn hit(&self, _hit: &Hit<'_>) -> Effect {
        Effect::Bend(Bend::LoseSync)
    }

    fn needs_tracking(&self) -> Need {
        Need::Better(
            "nothing is lost, fsync is only fast: open the target with track_unsynced to lose it by power_cut",
        )
    }
}
