//! Files that the kernel reads and writes in the source by itself, because it was declared at mount time that no fault
//! will ever be wanted there.

use crate::core::Fs;
use crate::handle::Handle;
use crate::inode::lock;
use fuser::BackingId;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

impl Fs {
    /// The kernel's own hold of a file that is opened, if it is one of those. All openings of a file must be of one
    /// kind: the kernel refuses to have it cached and passed through at the same time.
    pub(crate) fn backing(
        &self,
        handle: &Handle,
        open: impl FnOnce(BorrowedFd<'_>) -> io::Result<BackingId>,
    ) -> Option<Arc<BackingId>> {
        if self.options.passthrough.is_empty() {
            return None;
        }
        let inode = &handle.inode;
        let mut backings = lock(&self.backings);
        if let Some(known) = backings.get(&inode.id).and_then(|b| b.upgrade()) {
            return Some(known);
        }
        // This opening is counted already.
        if inode.opens.load(Relaxed) > 1 || !self.is_passed_through(inode) {
            return None;
        }
        // A kernel or a source that cannot is no reason to fail: then the file is served like any other.
        let backing = Arc::new(open(handle.fd.as_fd()).ok()?);
        backings.retain(|_, b| b.strong_count() > 0);
        backings.insert(inode.id, Arc::downgrade(&backing));
        Some(backing)
    }
}
