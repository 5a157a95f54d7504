//! Files' data: opening, reading, writing, making durable.

use crate::call::Caller;
use crate::core::{Failure, Fs, Ticket};
use crate::faults::{Bend, Model};
use crate::handle::Handle;
use crate::inode::{Inode, c_name, lock, stat_fd};
use crate::sys::{As, KeepSetId, set_umask, stand_alone};
use fuser::FopenFlags;
use rustix::fs::{FallocateFlags, Mode, OFlags, Statx};
use rustix::io::{Errno, pread, pwrite};
use std::cell::RefCell;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

thread_local! {
    /// Where data is read to before it goes to the kernel.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Fs {
    /// The flags with which the source is opened for a program that opens with those.
    fn source_flags(&self, flags: i32) -> OFlags {
        let mut flags = OFlags::from_bits_retain(flags as u32);
        flags -= OFlags::CREATE
            | OFlags::TRUNC
            | OFlags::EXCL
            | OFlags::NOCTTY
            | OFlags::DIRECT
            | OFlags::NOFOLLOW
            | OFlags::APPEND;
        // The kernel reads what it completes to whole pages, and the log what is replaced.
        if (self.options.writeback || self.unsynced.is_some()) && flags.contains(OFlags::WRONLY) {
            flags = (flags - OFlags::WRONLY) | OFlags::RDWR;
        }
        flags
    }

    /// How the kernel is to treat what is opened.
    fn open_flags(&self, inode: &Inode) -> FopenFlags {
        let rules = self.rules.load();
        if rules.watches_data() && rules.watched(inode).0 {
            return FopenFlags::FOPEN_DIRECT_IO;
        }
        FopenFlags::FOPEN_KEEP_CACHE
    }

    fn handle(&self, inode: &Arc<Inode>, fd: OwnedFd, flags: i32) -> Handle {
        let mut handle = Handle::new(inode, fd);
        handle.sync = flags & libc::O_DSYNC != 0;
        if self.has_failures.load(Relaxed) {
            let seen = lock(&self.failures).get(&inode.id).map_or(0, |f| f.seq);
            handle.reported.store(seen, Relaxed);
        }
        handle
    }

    /// Whether the kernel is to read and write that file itself.
    pub(crate) fn is_passed_through(&self, inode: &Inode) -> bool {
        if self.options.passthrough.is_empty() || !self.passthrough.load(Relaxed) {
            return false;
        }
        let path = inode.path(None);
        self.options.passthrough.iter().any(|glob| model::matcher::glob(glob, &path))
    }

    pub(crate) fn open(&self, id: u64, flags: i32) -> Result<(Handle, FopenFlags), Errno> {
        let inode = self.table.get(id)?;
        let fd = self.table.open(&inode, self.source_flags(flags))?;
        let open = self.open_flags(&inode);
        Ok((self.handle(&inode, fd, flags), open))
    }

    #[allow(clippy::too_many_arguments)]
    pub(crate) fn create(
        &self,
        ticket: &mut Ticket,
        caller: Caller,
        parent: u64,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
    ) -> Result<(Arc<Inode>, Statx, Handle, FopenFlags), Errno> {
        let parent = self.table.get(parent)?;
        let name = c_name(name)?;
        let dir = self.table.path_fd(&parent)?;
        let budget = self.take_inode(ticket)?;
        stand_alone()?;
        set_umask(umask);
        let excl = OFlags::from_bits_retain((flags & libc::O_EXCL) as u32);
        let wanted = self.source_flags(flags) | OFlags::CREATE | excl | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = {
            let _as = As::user(caller.uid, caller.gid);
            rustix::fs::openat(&*dir, &*name, wanted, Mode::from_raw_mode(mode & 0o7777))
        };
        let fd = made.inspect_err(|_| {
            if let Some((budget, _)) = &budget {
                budget.give_inode();
            }
        })?;
        if let Some((_, rule)) = budget {
            rule.meters.hits.fetch_add(1, Relaxed);
        }
        let st = stat_fd(&fd)?;
        let inode = self.table.intern(&parent, &name, &st);
        self.trim_if_needed();
        let open = self.open_flags(&inode);
        let handle = self.handle(&inode, fd, flags);
        Ok((inode, st, handle, open))
    }

    /// Reads, and gives what was read to `take`.
    pub(crate) fn read<T>(
        &self,
        ticket: &mut Ticket,
        handle: u64,
        offset: u64,
        size: u32,
        take: impl FnOnce(Result<&[u8], Errno>) -> T,
    ) -> T {
        let bends = ticket.bends();
        BUFFER.with_borrow_mut(|buffer| {
            let size = size as usize;
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            let read = self.handles.get(handle).and_then(|h| {
                let mut done = 0;
                // A short read would be taken for the end of the file.
                while done < size {
                    match pread(&*h.fd, &mut buffer[done..size], offset + done as u64) {
                        Ok(0) => break,
                        Ok(n) => done += n,
                        Err(e) if done == 0 => return Err(e),
                        Err(_) => break,
                    }
                }
                Ok(done)
            });
            let Ok(mut length) = read else { return take(Err(read.err().unwrap_or(Errno::IO))) };
            for (rule, _, bend) in bends {
                match bend {
                    Bend::Short(keep) if length > 1 => {
                        let short = ((length as f64 * keep) as usize).clamp(1, length);
                        if short < length {
                            rule.meters.add_bytes((length - short) as u64);
                            length = short;
                            ticket.touch(&rule);
                        }
                    }
                    Bend::Corrupt(how) => {
                        let elapsed = rule.elapsed(std::time::Instant::now());
                        let n = how.spoil(&mut buffer[..length], offset, rule.seed, elapsed);
                        if n > 0 {
                            rule.meters.hits.fetch_add(n, Relaxed);
                            ticket.touch(&rule);
                        }
                    }
                    _ => {}
                }
            }
            ticket.bytes = length as u64;
            take(Ok(&buffer[..length]))
        })
    }

    /// Writes; says how much the program is told.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn write(
        &self,
        ticket: &mut Ticket,
        handle: u64,
        offset: u64,
        data: &[u8],
        clears_set_id: bool,
        sync: bool,
    ) -> Result<u32, Errno> {
        let handle = self.handles.get(handle)?;
        let told = data.len();
        let mut plan = WritePlan { data: std::borrow::Cow::Borrowed(data), told, after: None, stale: false };
        for (rule, n, bend) in ticket.bends() {
            self.bend_write(ticket, &mut plan, &handle, offset, &rule, n, bend)?;
        }
        // Whoever may keep set-user-id is the superuser; only then is it worth the calls.
        let keep = (!clears_set_id && has_set_id(&handle.inode)).then(KeepSetId::yes);
        let put = || put_all(&handle.fd, &plan.data, offset);
        let n = match &self.unsynced {
            None => put()?,
            Some(log) => {
                let length = plan.data.len() as u64;
                log.write(&handle.inode, &handle.fd, offset, length, put, |n| *n as u64)?
            }
        };
        drop(keep);
        handle.inode.writes.fetch_add(1, Relaxed);
        if sync || handle.sync {
            self.make_durable(&handle, true)?;
        }
        if plan.stale {
            self.forget_pages(handle.inode.id, offset, told as u64);
        }
        if let Some(errno) = plan.after {
            return Err(errno);
        }
        // What fell short by itself is told as it is.
        let told = if n < plan.data.len() { n } else { plan.told };
        ticket.bytes = told as u64;
        Ok(told as u32)
    }

    #[allow(clippy::too_many_arguments)]
    fn bend_write(
        &self,
        ticket: &mut Ticket,
        plan: &mut WritePlan<'_>,
        handle: &Handle,
        offset: u64,
        rule: &Arc<crate::rule::Rule>,
        _n: u64,
        bend: Bend,
    ) -> Result<(), Errno> {
        let length = plan.data.len();
        match bend {
            Bend::Budget(budget) => {
                let size = stat_fd(&handle.fd)?.stx_size;
                let grows = (offset + length as u64).saturating_sub(size.max(offset));
                let got = budget.take(grows);
                if got < grows {
                    ticket.touch(rule);
                    rule.meters.add_bytes(grows - got);
                    let fits = length - (grows - got) as usize;
                    if fits == 0 {
                        budget.give(got);
                        return Err(budget.errno);
                    }
                    plan.cut(fits);
                    plan.told = fits;
                }
            }
            Bend::Short(keep) if length > 1 => {
                let fits = ((length as f64 * keep) as usize).clamp(1, length);
                if fits < length {
                    ticket.touch(rule);
                    rule.meters.add_bytes((length - fits) as u64);
                    plan.cut(fits);
                    plan.told = fits;
                }
            }
            Bend::Tear { keep, sector, told } => {
                // Sectors are those of the file, not of the write.
                let end = offset + (length as f64 * keep) as u64;
                let fits = (end / sector * sector).saturating_sub(offset) as usize;
                if fits < length {
                    ticket.touch(rule);
                    rule.meters.add_bytes((length - fits) as u64);
                    plan.cut(fits);
                    plan.after = told;
                    plan.stale = true;
                }
            }
            Bend::Corrupt(how) => {
                let elapsed = rule.elapsed(std::time::Instant::now());
                let n = how.spoil(plan.data.to_mut(), offset, rule.seed, elapsed);
                if n > 0 {
                    rule.meters.hits.fetch_add(n, Relaxed);
                    ticket.touch(rule);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// fsync and fdatasync.
    pub(crate) fn fsync(&self, ticket: &mut Ticket, handle: u64, data_only: bool) -> Result<(), Errno> {
        let handle = self.handles.get(handle)?;
        for (rule, _, bend) in ticket.bends() {
            match bend {
                Bend::LoseSync => {
                    ticket.touch(&rule);
                    return Ok(());
                }
                Bend::FailSync(model, errno) => {
                    if let Some(lost) = self.fail_write_back(&handle.inode, model, errno) {
                        ticket.touch(&rule);
                        rule.meters.hits.fetch_add(lost, Relaxed);
                    }
                }
                _ => {}
            }
        }
        if self.has_failures.load(Relaxed) {
            let failure = lock(&self.failures).get(&handle.inode.id).copied();
            if let Some(failure) = failure.filter(|f| f.seq > handle.reported.load(Relaxed)) {
                // Each descriptor is told once.
                handle.reported.store(failure.seq, Relaxed);
                return Err(failure.errno);
            }
        }
        self.make_durable(&handle, data_only)
    }

    fn make_durable(&self, handle: &Handle, data_only: bool) -> Result<(), Errno> {
        let mark = self.unsynced.as_ref().map(|log| (log, log.mark()));
        if data_only {
            rustix::fs::fdatasync(&*handle.fd)?;
        } else {
            rustix::fs::fsync(&*handle.fd)?;
        }
        mark.map_or(Ok(()), |(log, mark)| log.synced(&handle.inode, mark))
    }

    /// Writing back a file fails, unless nothing was written since it last did. How many writes are dropped.
    fn fail_write_back(&self, inode: &Arc<Inode>, model: Model, errno: Errno) -> Option<u64> {
        let writes = inode.writes.load(Relaxed);
        let mut failures = lock(&self.failures);
        if failures.get(&inode.id).is_some_and(|f| f.writes == writes) {
            return None;
        }
        let seq = self.failure_count.fetch_add(1, Relaxed) + 1;
        failures.insert(inode.id, Failure { seq, writes, errno });
        self.has_failures.store(true, Relaxed);
        drop(failures);
        let log = self.unsynced.as_ref();
        Some(match model {
            Model::Shown => log.map_or(0, |log| log.doom(inode)),
            Model::Reverted => log.map_or(0, |log| {
                let lost = log.revert(inode);
                self.forget_pages(inode.id, 0, 0);
                lost.writes
            }),
        })
    }

    pub(crate) fn fallocate(
        &self,
        ticket: &mut Ticket,
        handle: u64,
        offset: u64,
        length: u64,
        mode: i32,
    ) -> Result<(), Errno> {
        let handle = self.handles.get(handle)?;
        let flags = FallocateFlags::from_bits_retain(mode as u32);
        for (rule, _, bend) in ticket.bends() {
            if let Bend::Budget(budget) = bend
                && !flags.contains(FallocateFlags::PUNCH_HOLE)
            {
                let grows = (offset + length).saturating_sub(stat_fd(&handle.fd)?.stx_size);
                let got = budget.take(grows);
                if got < grows {
                    budget.give(got);
                    ticket.touch(&rule);
                    return Err(budget.errno);
                }
            }
        }
        handle.inode.writes.fetch_add(1, Relaxed);
        let act = || rustix::fs::fallocate(&*handle.fd, flags, offset, length);
        match &self.unsynced {
            None => act(),
            Some(log) => log.write(&handle.inode, &handle.fd, offset, length, act, |()| length),
        }
    }

    pub(crate) fn copy(
        &self,
        ticket: &mut Ticket,
        from: (u64, u64),
        to: (u64, u64),
        length: u64,
    ) -> Result<u32, Errno> {
        let (source, target) = (self.handles.get(from.0)?, self.handles.get(to.0)?);
        // The answer has 32 bits.
        let length = length.min(1 << 30);
        for (rule, _, bend) in ticket.bends() {
            if let Bend::Budget(budget) = bend {
                let grows = (to.1 + length).saturating_sub(stat_fd(&target.fd)?.stx_size.max(to.1));
                let got = budget.take(grows);
                if got < grows {
                    budget.give(got);
                    ticket.touch(&rule);
                    return Err(budget.errno);
                }
            }
        }
        target.inode.writes.fetch_add(1, Relaxed);
        let act = || {
            let (mut a, mut b) = (from.1, to.1);
            let most = usize::try_from(length).unwrap_or(usize::MAX);
            rustix::fs::copy_file_range(&*source.fd, Some(&mut a), &*target.fd, Some(&mut b), most)
        };
        let n = match &self.unsynced {
            None => act()?,
            Some(log) => log.write(&target.inode, &target.fd, to.1, length, act, |n| *n as u64)?,
        };
        ticket.bytes = n as u64;
        Ok(n as u32)
    }

    pub(crate) fn lseek(&self, handle: u64, offset: i64, whence: i32) -> Result<i64, Errno> {
        let handle = self.handles.get(handle)?;
        let offset = u64::try_from(offset).map_err(|_| Errno::NXIO)?;
        let to = match whence {
            libc::SEEK_DATA => rustix::fs::SeekFrom::Data(offset),
            libc::SEEK_HOLE => rustix::fs::SeekFrom::Hole(offset),
            _ => return Err(Errno::INVAL),
        };
        Ok(rustix::fs::seek(&*handle.fd, to)?.cast_signed())
    }
}

/// What a write does in the end.
struct WritePlan<'a> {
    data: std::borrow::Cow<'a, [u8]>,
    /// How many bytes the program is told were written.
    told: usize,
    /// The error it is told though something was written.
    after: Option<Errno>,
    /// What the kernel has cached of it is not true.
    stale: bool,
}

impl WritePlan<'_> {
    fn cut(&mut self, length: usize) {
        match &mut self.data {
            std::borrow::Cow::Borrowed(data) => *data = &data[..length.min(data.len())],
            std::borrow::Cow::Owned(data) => data.truncate(length),
        }
    }
}

/// Whether writing to it could clear a bit that someone relies on.
pub(crate) fn has_set_id(inode: &Inode) -> bool {
    inode.mode() & (libc::S_ISUID | libc::S_ISGID) != 0
}

fn put_all(fd: &OwnedFd, data: &[u8], offset: u64) -> Result<usize, Errno> {
    let mut done = 0;
    while done < data.len() {
        match pwrite(fd, &data[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if done == 0 => return Err(e),
            Err(_) => break,
        }
    }
    Ok(done)
}
