//! Finding every process whose clock is changed.

use super::image::{HEAD, Head, Image};
use super::memory::Memory;
use super::patch::{self, Seen};
use host::ProcessId;
use host::process;

/// A process whose clock is changed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Changed {
    pub id: ProcessId,
    pub comm: String,
    /// By whom; none for what an undo that was cut off left.
    pub head: Option<Head>,
}

/// All of them that we may look into. Of each process only a few bytes are read, unless they are ours.
pub(super) fn all() -> Vec<Changed> {
    let Ok(image) = Image::own() else { return Vec::new() };
    let one = |pid: u32| {
        let base = Image::base(pid).ok()??;
        let stat = process::stat(pid).ok()?;
        let memory = Memory::open_to_read(stat.id).ok()?;
        let room = memory.read(base + image.room.start as u64, HEAD).ok()?;
        if room == image.bytes[image.room.start..image.room.start + HEAD] {
            return None;
        }
        // What is there may be another image's.
        match (Head::read(&room), patch::look(stat.id).ok()?) {
            (Some(head), Seen::Changed(..)) => {
                Some(Changed { id: stat.id, comm: stat.comm, head: Some(head) })
            }
            (None, Seen::Remains) => Some(Changed { id: stat.id, comm: stat.comm, head: None }),
            _ => None,
        }
    };
    process::list().into_iter().filter_map(|p| one(p.id.pid)).collect()
}

/// Those that an act changed, itself or by being forked from one that it changed.
pub(super) fn of(tag: u64) -> Vec<Changed> {
    all().into_iter().filter(|c| c.head.is_some_and(|h| h.tag == tag)).collect()
}
