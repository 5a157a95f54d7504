//! `fsync_error`: fsync fails once, the data is dropped, and the next fsync succeeds.

use super::{Bend, Effect, FileFault, Need};
use crate::op::{Op, Ops};
use crate::rule::Hit;
use inject::knob::Dials;
use model::Problem;
use rustix::io::Errno;

/// What a filesystem does with pages whose writing failed (Rebello et al., Can Applications Recover from fsync Failures?,
/// USENIX ATC 2020).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Model {
    /// ext4 and XFS: marked clean, and shown as they were written until they are dropped.
    Shown,
    /// btrfs: what is on disk is shown at once.
    Reverted,
}

pub(super) struct FsyncError {
    model: Model,
    errno: Errno,
}

impl FsyncError {
    pub(super) fn read(dials: &Dials<'_>) -> Result<FsyncError, Problem> {
        let model = if dials.fixed().text("model") == Some("btrfs") { Model::Reverted } else { Model::Shown };
        Ok(FsyncError { model, errno: super::errno_of(dials, "errno")? })
    }
}

impl FileFault for FsyncError {
    fn ops(&self) -> Ops {
        Ops::of(&[Op::Fsync])
    }

    fn hit(&self, _hit: &Hit<'_>) -> Effect {
        Effect::Bend(Bend::FailSync(self.model, self.errno))
    }

    fn needs_tracking(&self) -> Need {
        Need::Better("the data is not dropped: open the target with track_unsynced for that")
    }
}
