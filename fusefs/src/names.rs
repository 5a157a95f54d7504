//! Names: looking them up, making, changing and removing them.

use crate::attr::{attr, undevice};
use crate::call::Caller;
use crate::core::{Fs, Ticket};
use crate::faults::{Bend, Budget};
use crate::inode::{Inode, c_name, proc_path, stat_at};
use crate::rule::Rule;
use crate::sys::{As, set_umask, stand_alone};
use fuser::FileAttr;
use rustix::fs::{AtFlags, FileType, Mode, RenameFlags, Statx};
use rustix::io::Errno;
use std::ffi::{CStr, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What the kernel is told about a name: attributes, and how long it may believe both.
pub(crate) struct Entry {
    pub(crate) attr: FileAttr,
    pub(crate) ttl: Duration,
}

/// Room that was taken for a file, and the fault that counts it.
pub(crate) type Room = (Arc<Budget>, Arc<Rule>);

impl Fs {
    pub(crate) fn lookup(&self, ticket: &mut Ticket, parent: u64, name: &OsStr) -> Result<Entry, Errno> {
        let parent = self.table.get(parent)?;
        let name = c_name(name)?;
        let dir = self.table.path_fd(&parent)?;
        let st = stat_at(&dir, &name)?;
        let inode = self.table.intern(&parent, &name, &st);
        self.trim_if_needed();
        Ok(self.entry(ticket, &inode, &st))
    }

    /// What the kernel is told about an inode that was just looked up.
    pub(crate) fn entry(&self, ticket: &mut Ticket, inode: &Arc<Inode>, st: &Statx) -> Entry {
        let mut attr = attr(st, inode.id);
        show(ticket, &mut attr);
        Entry { attr, ttl: self.ttl(inode) }
    }

    /// Makes something under a name, as the caller would have.
    fn make(
        &self,
        ticket: &mut Ticket,
        caller: Caller,
        parent: u64,
        name: &OsStr,
        umask: u32,
        act: impl FnOnce(&OwnedFd, &CStr) -> Result<(), Errno>,
    ) -> Result<Entry, Errno> {
        let parent = self.table.get(parent)?;
        let name = c_name(name)?;
        let dir = self.table.path_fd(&parent)?;
        let budget = self.take_inode(ticket)?;
        stand_alone()?;
        set_umask(umask);
        let made = {
            let _as = As::user(caller.uid, caller.gid);
            act(&dir, &name)
        };
        if let (Err(_), Some((budget, _))) = (&made, &budget) {
            budget.give_inode();
        }
        made?;
        let st = stat_at(&dir, &name)?;
        let inode = self.table.intern(&parent, &name, &st);
        self.trim_if_needed();
        Ok(self.entry(ticket, &inode, &st))
    }

    /// Takes room for a file where that is limited.
    pub(crate) fn take_inode(&self, ticket: &mut Ticket) -> Result<Option<Room>, Errno> {
        let mut found = None;
        for (rule, _, bend) in ticket.bends() {
            if let Bend::Budget(budget) = bend {
                if !budget.take_inode() {
                    ticket.touch(&rule);
                    return Err(budget.errno);
                }
                found = Some((budget, rule));
            }
        }
        Ok(found)
    }

    #[allow(clippy::too_many_arguments)]
    pub(crate) fn mknod(
        &self,
        ticket: &mut Ticket,
        caller: Caller,
        parent: u64,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
    ) -> Result<Entry, Errno> {
        self.make(ticket, caller, parent, name, umask, |dir, name| {
            let kind = FileType::from_raw_mode(mode);
            rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(mode & 0o7777), undevice(rdev))
        })
    }

    pub(crate) fn mkdir(
        &self,
        ticket: &mut Ticket,
        caller: Caller,
        parent: u64,
        name: &OsStr,
        mode: u32,
        umask: u32,
    ) -> Result<Entry, Errno> {
        self.make(ticket, caller, parent, name, umask, |dir, name| {
            rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(mode & 0o7777))
        })
    }

    pub(crate) fn symlink(
        &self,
        ticket: &mut Ticket,
        caller: Caller,
        parent: u64,
        name: &OsStr,
        target: &Path,
    ) -> Result<Entry, Errno> {
        self.make(ticket, caller, parent, name, 0, |dir, name| {
            rustix::fs::symlinkat(target.as_os_str().as_bytes(), dir, name)
        })
    }

    pub(crate) fn link(
        &self,
        ticket: &mut Ticket,
        id: u64,
        parent: u64,
        name: &OsStr,
    ) -> Result<Entry, Errno> {
        let inode = self.table.get(id)?;
        let parent = self.table.get(parent)?;
        let name = c_name(name)?;
        let dir = self.table.path_fd(&parent)?;
        let fd = self.table.path_fd(&inode)?;
        let linked = rustix::fs::linkat(&*fd, c"", &*dir, &*name, AtFlags::EMPTY_PATH);
        if let Err(Errno::NOENT | Errno::PERM) = linked {
            // Kernels before 6.10 want more rights for a link by descriptor than by this path.
            rustix::fs::linkat(rustix::fs::CWD, proc_path(&fd), &*dir, &*name, AtFlags::SYMLINK_FOLLOW)?;
        } else {
            linked?;
        }
        let st = stat_at(&dir, &name)?;
        let inode = self.table.intern(&parent, &name, &st);
        Ok(self.entry(ticket, &inode, &st))
    }

    pub(crate) fn unlink(
        &self,
        ticket: &mut Ticket,
        parent: u64,
        name: &OsStr,
        dir: bool,
    ) -> Result<(), Errno> {
        let parent = self.table.get(parent)?;
        let name = c_name(name)?;
        let fd = self.table.path_fd(&parent)?;
        let _renaming = self.table.renaming();
        let victim = self.table.pin(&fd, &name);
        rustix::fs::unlinkat(&*fd, &*name, if dir { AtFlags::REMOVEDIR } else { AtFlags::empty() })?;
        if let Some((inode, st)) = victim {
            self.lost_a_name(ticket, &inode, &st, dir);
        }
        Ok(())
    }

    /// A name of an inode was removed.
    fn lost_a_name(&self, ticket: &mut Ticket, inode: &Arc<Inode>, st: &Statx, dir: bool) {
        if dir || st.stx_nlink <= 1 {
            self.table.gone(inode);
            for (_, _, bend) in ticket.bends() {
                if let Bend::Budget(budget) = bend {
                    budget.give(st.stx_size);
                    budget.give_inode();
                }
            }
        }
    }

    pub(crate) fn rename(
        &self,
        ticket: &mut Ticket,
        from: (u64, &OsStr),
        to: (u64, &OsStr),
        flags: u32,
    ) -> Result<(), Errno> {
        let (old_parent, new_parent) = (self.table.get(from.0)?, self.table.get(to.0)?);
        let (old, new) = (c_name(from.1)?, c_name(to.1)?);
        let (old_dir, new_dir) = (self.table.path_fd(&old_parent)?, self.table.path_fd(&new_parent)?);
        let flags = RenameFlags::from_bits_retain(flags);
        let _renaming = self.table.renaming();
        let moved = stat_at(&old_dir, &old).ok().and_then(|st| self.table.known(&st));
        let victim = self.table.pin(&new_dir, &new);
        rustix::fs::renameat_with(&*old_dir, &*old, &*new_dir, &*new, flags)?;
        let same = matches!((&moved, &victim), (Some(a), Some((b, _))) if a.id == b.id);
        if let Some(inode) = moved {
            inode.moved(&new_parent, &new);
        }
        match victim {
            Some((inode, _)) if flags.contains(RenameFlags::EXCHANGE) => inode.moved(&old_parent, &old),
            Some((inode, st)) if !same => self.lost_a_name(ticket, &inode, &st, inode.is_dir()),
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn readlink(&self, id: u64) -> Result<Vec<u8>, Errno> {
        let inode = self.table.get(id)?;
        let fd = self.table.path_fd(&inode)?;
        Ok(rustix::fs::readlinkat(&*fd, c"", Vec::new())?.into_bytes())
    }
}

/// Shows attributes as faults want them.
pub(crate) fn show(ticket: &mut Ticket, attr: &mut FileAttr) {
    for (rule, _, bend) in ticket.bends() {
        if let Bend::Attributes(how) = bend {
            how.apply(attr);
            ticket.touch(&rule);
        }
    }
}
