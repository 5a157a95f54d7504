//! Attributes, extended attributes and the filesystem's size.

use crate::attr::attr;
use crate::call::Caller;
use crate::core::{Fs, Ticket};
use crate::data::has_set_id;
use crate::faults::Bend;
use crate::inode::{Inode, c_name, proc_path, stat_fd};
use crate::names::{Entry, show};
use crate::sys::KeepSetId;
use fuser::TimeOrNow;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, StatVfs, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

/// What setattr sets.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Set {
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) atime: Option<TimeOrNow>,
    pub(crate) mtime: Option<TimeOrNow>,
    pub(crate) handle: Option<u64>,
}

impl Fs {
    pub(crate) fn getattr(&self, ticket: &mut Ticket, id: u64) -> Result<Entry, Errno> {
        let inode = self.table.get(id)?;
        let st = self.table.stat(&inode)?;
        inode.saw_mode(u32::from(st.stx_mode));
        let mut attr = attr(&st, id);
        show(ticket, &mut attr);
        Ok(Entry { attr, ttl: self.ttl(&inode) })
    }

    pub(crate) fn setattr(
        &self,
        ticket: &mut Ticket,
        caller: Caller,
        id: u64,
        set: &Set,
    ) -> Result<Entry, Errno> {
        let inode = self.table.get(id)?;
        let opened = set.handle.and_then(|h| self.handles.get(h).ok());
        let fd = match &opened {
            Some(handle) => handle.fd.clone(),
            None => self.table.path_fd(&inode)?,
        };
        if let Some(mode) = set.mode {
            // The kernel has checked by the caller's groups whether set-group-id may be set.
            let _keep = KeepSetId::yes();
            let mode = Mode::from_raw_mode(mode & 0o7777);
            rustix::fs::chmodat(rustix::fs::CWD, proc_path(&fd), mode, AtFlags::empty())?;
        }
        if set.uid.is_some() || set.gid.is_some() {
            let (uid, gid) = (set.uid.map(Uid::from_raw), set.gid.map(Gid::from_raw));
            rustix::fs::chownat(&*fd, c"", uid, gid, AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if let Some(size) = set.size {
            self.truncate(ticket, caller, &inode, opened.map(|h| h.fd.clone()), size)?;
        }
        if set.atime.is_some() || set.mtime.is_some() {
            let times = Timestamps { last_access: time(set.atime), last_modification: time(set.mtime) };
            if inode.mode() & libc::S_IFMT == libc::S_IFLNK {
                let (parent, name) = inode.place().ok_or(Errno::STALE)?;
                let dir = self.table.path_fd(&parent)?;
                rustix::fs::utimensat(&*dir, &*name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
            } else {
                rustix::fs::utimensat(rustix::fs::CWD, proc_path(&fd), &times, AtFlags::empty())?;
            }
        }
        let st = stat_fd(&fd)?;
        inode.saw_mode(u32::from(st.stx_mode));
        let mut attr = attr(&st, id);
        show(ticket, &mut attr);
        Ok(Entry { attr, ttl: self.ttl(&inode) })
    }

    fn truncate(
        &self,
        ticket: &mut Ticket,
        caller: Caller,
        inode: &Arc<Inode>,
        opened: Option<Arc<OwnedFd>>,
        size: u64,
    ) -> Result<(), Errno> {
        // A descriptor that was opened for reading cannot cut, although the caller may by name.
        let fd = match opened {
            Some(fd) if self.unsynced.is_none() && writable(&fd) => fd,
            _ => Arc::new(self.table.open(inode, OFlags::RDWR | OFlags::NONBLOCK)?),
        };
        let bends = ticket.bends();
        if !bends.is_empty() {
            let before = stat_fd(&fd)?.stx_size;
            for (rule, _, bend) in bends {
                let Bend::Budget(budget) = bend else { continue };
                if size < before {
                    budget.give(before - size);
                    continue;
                }
                // A longer file is a hole and takes nothing yet on a real disk; here it does, so that it is accounted.
                let got = budget.take(size - before);
                if got < size - before {
                    budget.give(got);
                    ticket.touch(&rule);
                    return Err(budget.errno);
                }
            }
        }
        let _keep = (caller.uid == 0 && has_set_id(inode)).then(KeepSetId::yes);
        inode.writes.fetch_add(1, Relaxed);
        match &self.unsynced {
            None => rustix::fs::ftruncate(&*fd, size),
            Some(log) => log.resize(inode, &fd, size, || rustix::fs::ftruncate(&*fd, size)),
        }
    }

    /// Does something with an inode's extended attributes by a path that leads to it. Symbolic links are reached by their
    /// own name, for the path by descriptor follows them.
    fn with_xattrs<T>(
        &self,
        id: u64,
        act: impl FnOnce(&std::ffi::CStr) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let inode = self.table.get(id)?;
        if inode.mode() & libc::S_IFMT == libc::S_IFLNK {
            // Only trusted and security attributes exist on links, and nobody here relies on them.
            return Err(Errno::OPNOTSUPP);
        }
        let fd = self.table.path_fd(&inode)?;
        act(&proc_path(&fd))
    }

    pub(crate) fn setxattr(&self, id: u64, name: &OsStr, value: &[u8], flags: i32) -> Result<(), Errno> {
        let name = c_name(name)?;
        let flags = XattrFlags::from_bits_retain(flags as u32);
        self.with_xattrs(id, |path| rustix::fs::setxattr(path, &*name, value, flags))
    }

    /// The value, or its length when `size` is zero.
    pub(crate) fn getxattr(&self, id: u64, name: &OsStr, size: u32) -> Result<Xattr, Errno> {
        let name = c_name(name)?;
        self.with_xattrs(id, |path| {
            sized(size, |buffer| match buffer {
                Some(buffer) => rustix::fs::getxattr(path, &*name, buffer),
                None => rustix::fs::getxattr_query(path, &*name),
            })
        })
    }

    pub(crate) fn listxattr(&self, id: u64, size: u32) -> Result<Xattr, Errno> {
        self.with_xattrs(id, |path| {
            sized(size, |buffer| match buffer {
                Some(buffer) => rustix::fs::listxattr(path, buffer),
                None => rustix::fs::listxattr_query(path),
            })
        })
    }

    pub(crate) fn removexattr(&self, id: u64, name: &OsStr) -> Result<(), Errno> {
        let name = c_name(name)?;
        self.with_xattrs(id, |path| rustix::fs::removexattr(path, &*name))
    }

    pub(crate) fn statfs(&self, ticket: &mut Ticket, id: u64) -> Result<StatVfs, Errno> {
        let inode = self.table.get(id).or_else(|_| self.table.get(crate::inode::ROOT))?;
        let fd = self.table.path_fd(&inode)?;
        let mut st = rustix::fs::fstatvfs(&*fd)?;
        for (rule, _, bend) in ticket.bends() {
            if let Bend::Budget(budget) = bend {
                let (bytes, inodes) = budget.left();
                let blocks = bytes / st.f_frsize.max(1);
                st.f_bfree = st.f_bfree.min(blocks);
                st.f_bavail = st.f_bavail.min(blocks);
                if let Some(inodes) = inodes {
                    st.f_ffree = st.f_ffree.min(inodes);
                    st.f_favail = st.f_favail.min(inodes);
                }
                ticket.touch(&rule);
            }
        }
        Ok(st)
    }
}

/// An answer about extended attributes.
pub(crate) enum Xattr {
    Size(u32),
    Data(Vec<u8>),
}

fn sized(size: u32, ask: impl FnOnce(Option<&mut [u8]>) -> Result<usize, Errno>) -> Result<Xattr, Errno> {
    if size == 0 {
        return Ok(Xattr::Size(u32::try_from(ask(None)?).unwrap_or(u32::MAX)));
    }
    let mut data = vec![0; size as usize];
    let n = ask(Some(&mut data))?;
    data.truncate(n);
    Ok(Xattr::Data(data))
}

fn writable(fd: &OwnedFd) -> bool {
    let flags = rustix::fs::fcntl_getfl(fd).unwrap_or(OFlags::empty());
    flags.intersects(OFlags::WRONLY | OFlags::RDWR) && !flags.contains(OFlags::PATH)
}

fn time(time: Option<TimeOrNow>) -> Timespec {
    let nanos = |n: i64| Timespec { tv_sec: 0, tv_nsec: n as _ };
    match time {
        None => nanos(rustix::fs::UTIME_OMIT),
        Some(TimeOrNow::Now) => nanos(rustix::fs::UTIME_NOW),
        Some(TimeOrNow::SpecificTime(t)) => spec(t),
    }
}

fn spec(t: SystemTime) -> Timespec {
    match t.duration_since(UNIX_EPOCH) {
        Ok(d) => Timespec { tv_sec: d.as_secs().cast_signed(), tv_nsec: i64::from(d.subsec_nanos()) as _ },
        Err(e) => {
            let d = e.duration();
            let (mut secs, mut nanos) = (-d.as_secs().cast_signed(), i64::from(d.subsec_nanos()));
            if nanos > 0 {
                secs -= 1;
                nanos = 1_000_000_000 - nanos;
            }
            Timespec { tv_sec: secs, tv_nsec: nanos as _ }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_before_1970_have_positive_nanoseconds() {
        let t = spec(UNIX_EPOCH - Duration::from_millis(1500));
        assert_eq!((t.tv_sec, t.tv_nsec), (-2, 500_000_000));
        let t = spec(UNIX_EPOCH - Duration::from_secs(3));
        assert_eq!((t.tv_sec, t.tv_nsec), (-3, 0));
    }
}
