//! `io_error`: operations fail.

use super::{Effect, FileFault};
use crate::op::Ops;
use crate::rule::Hit;
use inject::knob::Dials;
use model::Problem;
use rustix::io::Errno;

pub(super) struct IoError {
    ops: Ops,
    errno: Errno,
}

impl IoError {
    pub(super) fn read(dials: &Dials<'_>) -> Result<IoError, Problem> {
        Ok(IoError { ops: super::ops(dials, Ops::NONE), errno: super::errno_of(dials, "errno")? })
    }
}

impl FileFault for IoError {
    fn ops(&self) -> Ops {
        self.ops
    }

    fn hit(&self, _hit: &Hit<'_>) -> Effect {
        Effect::Fail(self.errno)
    }
}
