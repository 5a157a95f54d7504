//! `read_only`: everything fails that would change something.

use super::{Effect, FileFault};
use crate::op::{CHANGES, Op, Ops};
use crate::rule::Hit;
use rustix::io::Errno;

pub(super) struct ReadOnly;

impl FileFault for ReadOnly {
    fn ops(&self) -> Ops {
        CHANGES | Ops::of(&[Op::Open])
    }

    fn hit(&self, hit: &Hit<'_>) -> Effect {
        // Opening for reading goes on; the size stands for the access that is asked for.
        if hit.call.op == Op::Open && hit.call.size.is_none() {
            return Effect::Nothing;
        }
        Effect::Fail(Errno::ROFS)
    }
}
