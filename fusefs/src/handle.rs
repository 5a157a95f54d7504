//! What is open: files and directory streams, by the numbers under which the kernel names them.

use crate::inode::{Inode, lock, read};
use crate::listing::Listing;
use fuser::BackingId;
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// One open file or directory.
pub(crate) struct Handle {
    pub(crate) inode: Arc<Inode>,
    pub(crate) fd: Arc<OwnedFd>,
    /// Whether it was opened to be written synchronously.
    pub(crate) sync: bool,
    /// Up to which failed write-back this descriptor has reported.
    pub(crate) reported: AtomicU64,
    /// For directories: a listing that is not the true one, and the lock of the stream's position.
    pub(crate) listing: Mutex<Option<Arc<Listing>>>,
    /// The kernel reads and writes the source itself as long as this lives.
    pub(crate) backing: Option<Arc<BackingId>>,
}

impl Handle {
    pub(crate) fn new(inode: &Arc<Inode>, fd: OwnedFd) -> Handle {
        let fd = Arc::new(fd);
        inode.opened(&fd);
        Handle {
            inode: inode.clone(),
            fd,
            sync: false,
            reported: AtomicU64::new(0),
            listing: Mutex::default(),
            backing: None,
        }
    }

    /// The same, read and written by the kernel itself.
    pub(crate) fn with_backing(mut self, backing: &Arc<BackingId>) -> Handle {
        self.backing = Some(backing.clone());
        self
    }

    /// The false listing, if it has one.
    pub(crate) fn listing(&self) -> Option<Arc<Listing>> {
        lock(&self.listing).clone()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inode.opens.fetch_sub(1, Relaxed);
    }
}

const SHARDS: usize = 8;

/// All that is open.
#[derive(Default)]
pub(crate) struct Handles {
    shards: [RwLock<HashMap<u64, Arc<Handle>>>; SHARDS],
    next: AtomicU64,
}

impl Handles {
    /// The number under which it is open.
    pub(crate) fn add(&self, handle: Handle) -> u64 {
        let id = self.next.fetch_add(1, Relaxed) + 1;
        let mut shard = self.shard(id).write().unwrap_or_else(PoisonError::into_inner);
        shard.insert(id, Arc::new(handle));
        id
    }

    pub(crate) fn get(&self, id: u64) -> Result<Arc<Handle>, Errno> {
        read(self.shard(id)).get(&id).cloned().ok_or(Errno::BADF)
    }

    pub(crate) fn remove(&self, id: u64) -> Option<Arc<Handle>> {
        self.shard(id).write().unwrap_or_else(PoisonError::into_inner).remove(&id)
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|s| read(s).len()).sum()
    }

    fn shard(&self, id: u64) -> &RwLock<HashMap<u64, Arc<Handle>>> {
        &self.shards[id as usize % SHARDS]
    }
}
