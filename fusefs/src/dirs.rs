//! Directory streams.

use crate::attr::kind;
use crate::core::{Fs, Ticket};
use crate::faults::{Bend, Lie};
use crate::handle::Handle;
use crate::inode::{Inode, lock, stat_at};
use crate::listing::{Listing, Named};
use crate::names::Entry;
use fuser::FileType;
use model::draw;
use rustix::fs::{OFlags, RawDir, SeekFrom, seek};
use rustix::io::Errno;
use std::cell::RefCell;
use std::ffi::{CStr, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// Where names go: the reply's buffer. True when it is full.
pub(crate) type Put<'a> = &'a mut dyn FnMut(&Item<'_>) -> bool;

/// A name, as it goes into a reply.
pub(crate) struct Item<'a> {
    pub(crate) ino: u64,
    /// Where the next one begins.
    pub(crate) next: u64,
    pub(crate) kind: FileType,
    pub(crate) name: &'a CStr,
}

thread_local! {
    static BUFFER: RefCell<Vec<MaybeUninit<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Names are read from the source in pieces of this size: some thirty names, as many as a reply of a page has room for.
const PIECE: usize = 4096;

impl Fs {
    pub(crate) fn opendir(&self, ticket: &mut Ticket, id: u64) -> Result<u64, Errno> {
        let inode = self.table.get(id)?;
        let dir = self.table.path_fd(&inode)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&*dir, c".", flags, rustix::fs::Mode::empty())?;
        let handle = Handle::new(&inode, fd);
        for (rule, _, bend) in ticket.bends() {
            if let Bend::Listing(lie) = bend {
                let listing = self.false_listing(&inode, &handle.fd, lie, rule.seed)?;
                *lock(&handle.listing) = Some(listing);
                ticket.touch(&rule);
            }
        }
        Ok(self.handles.add(handle))
    }

    fn false_listing(&self, inode: &Inode, fd: &OwnedFd, lie: Lie, seed: u64) -> Result<Arc<Listing>, Errno> {
        match lie {
            Lie::Stale => {
                let known = lock(&self.frozen).get(&inode.id).cloned();
                if let Some(listing) = known {
                    return Ok(listing);
                }
                let listing = Arc::new(Listing(names(fd)?));
                Ok(lock(&self.frozen).entry(inode.id).or_insert(listing).clone())
            }
            Lie::Short(missing) => {
                let mut all = names(fd)?;
                all.retain(|one| {
                    let text = one.name.to_string_lossy();
                    let draw = draw::unit(draw::derive(seed, &text), draw::Lane::Amount, inode.id);
                    text == "." || text == ".." || draw >= missing
                });
                Ok(Arc::new(Listing(all)))
            }
        }
    }

    /// Names from `offset` on, until the reply is full.
    pub(crate) fn readdir(&self, handle: u64, offset: u64, put: Put<'_>) -> Result<(), Errno> {
        let handle = self.handles.get(handle)?;
        if let Some(listing) = handle.listing() {
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            for (i, one) in listing.0.iter().enumerate().skip(from) {
                if put(&Item { ino: one.ino, next: i as u64 + 1, kind: one.kind, name: &one.name }) {
                    break;
                }
            }
            return Ok(());
        }
        // The stream has one position, and readers of one descriptor come one after the other.
        let _turn = lock(&handle.listing);
        seek(&*handle.fd, SeekFrom::Start(offset))?;
        each_name(&handle.fd, put)
    }

    /// What the kernel is told about a name of a listing along with it; none when there is nothing to tell.
    pub(crate) fn along(&self, ticket: &mut Ticket, dir: &Arc<Inode>, name: &CStr) -> Option<Entry> {
        if name == c"." || name == c".." {
            return None;
        }
        let fd = self.table.path_fd(dir).ok()?;
        let st = stat_at(&fd, name).ok()?;
        let inode = self.table.intern(dir, name, &st);
        Some(self.entry(ticket, &inode, &st))
    }

    pub(crate) fn fsyncdir(&self, ticket: &mut Ticket, handle: u64, data_only: bool) -> Result<(), Errno> {
        let handle = self.handles.get(handle)?;
        for (rule, _, bend) in ticket.bends() {
            if let Bend::LoseSync = bend {
                ticket.touch(&rule);
                return Ok(());
            }
        }
        if data_only { rustix::fs::fdatasync(&*handle.fd) } else { rustix::fs::fsync(&*handle.fd) }
    }
}

fn each_name(fd: &OwnedFd, put: Put<'_>) -> Result<(), Errno> {
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(PIECE, MaybeUninit::uninit());
        let mut names = RawDir::new(fd, buffer);
        while let Some(entry) = names.next() {
            let entry = entry?;
            let item = Item {
                ino: entry.ino(),
                next: entry.next_entry_cookie(),
                kind: kind(entry.file_type().as_raw_mode()),
                name: entry.file_name(),
            };
            if put(&item) {
                break;
            }
        }
        Ok(())
    })
}

fn names(fd: &OwnedFd) -> Result<Vec<Named>, Errno> {
    let mut all = Vec::new();
    seek(fd, SeekFrom::Start(0))?;
    each_name(fd, &mut |item| {
        all.push(Named { ino: item.ino, kind: item.kind, name: item.name.to_owned() });
        false
    })?;
    Ok(all)
}

/// A name as the reply wants it.
pub(crate) fn os(name: &CStr) -> &OsStr {
    OsStr::from_bytes(name.to_bytes())
}
