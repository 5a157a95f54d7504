//! The kernel's calls, each through the gate to what does it, and its answer.

use crate::answer::{answer, finish, refusal, serve};
use crate::call::{Call, Caller};
use crate::core::{Fs, Gate, Ticket};
use crate::dirs::{Item, os};
use crate::inode::Inode;
use crate::meta::Set;
use crate::names::Entry;
use crate::op::Op;
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno as Refusal, FileHandle, Filesystem, FopenFlags,
    Generation, INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl,
    ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

/// What fuser calls.
pub(crate) struct Face(pub(crate) Arc<Fs>);

impl Face {
    fn call<'a>(&self, op: Op, request: &Request, inode: INodeNo) -> Call<'a> {
        Call::new(op, request, self.inode(op, inode))
    }

    /// What faults ask about; looked up only when some fault or someone who looks on might.
    fn inode(&self, op: Op, inode: INodeNo) -> Option<Arc<Inode>> {
        let asked = self.0.rules.load().concerns(op) || self.0.tail.records(std::time::Instant::now());
        asked.then(|| self.0.table.get(inode.0).ok()).flatten()
    }
}

impl Filesystem for Face {
    fn init(&mut self, _request: &Request, kernel: &mut KernelConfig) -> io::Result<()> {
        let offered = kernel.capabilities();
        // Not FUSE_ATOMIC_O_TRUNC: we would have cut a file before the kernel finds that it is being executed.
        let mut wanted = InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_DONT_MASK
            | InitFlags::FUSE_ASYNC_DIO
            | InitFlags::FUSE_CACHE_SYMLINKS
            | InitFlags::FUSE_AUTO_INVAL_DATA
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_HANDLE_KILLPRIV_V2
            | InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP
            | InitFlags::FUSE_POSIX_ACL;
        if self.0.options.writeback {
            wanted |= InitFlags::FUSE_WRITEBACK_CACHE;
        }
        if !self.0.options.passthrough.is_empty() && offered.contains(InitFlags::FUSE_PASSTHROUGH) {
            wanted |= InitFlags::FUSE_PASSTHROUGH;
            // One is the depth of a filesystem that reaches into another.
            let _ = kernel.set_max_stack_depth(1);
            self.0.passthrough.store(true, Relaxed);
        }
        // What an old kernel does not offer is done without.
        let _ = kernel.add_capabilities(wanted & offered);
        let _ = kernel.set_max_background(64);
        let _ = kernel.set_max_write(1 << 20);
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let call = self.call(Op::Lookup, request, parent).name(name);
        answer!(self, call, reply, [name], |fs, t| fs.lookup(&mut t, parent.0, name));
    }

    fn forget(&self, _request: &Request, inode: INodeNo, lookups: u64) {
        self.0.table.forget(inode.0, lookups);
    }

    fn getattr(&self, request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        let rules = self.0.rules.load();
        if rules.watches_data()
            && let Ok(file) = self.0.table.get(inode.0)
            && rules.watched(&file).0
        {
            // The kernel asks before it answers from its cache. What it has is forgotten first, so that it reads anew; by
            // another thread, for that may take as long as a read that is under way.
            let (fs, call) = (self.0.clone(), self.call(Op::Getattr, request, inode));
            match self.0.gate(&call) {
                Gate::Now(ticket) => {
                    self.0.pool.run(Box::new(move || fs.getattr_afresh(ticket, inode.0, reply)));
                }
                Gate::Later(holds, ticket) => {
                    self.0.park(holds, ticket, move |ticket| fs.getattr_afresh(ticket, inode.0, reply));
                }
            }
            return;
        }
        drop(rules);
        let call = self.call(Op::Getattr, request, inode);
        answer!(self, call, reply, [], |fs, t| fs.getattr(&mut t, inode.0));
    }

    #[allow(clippy::too_many_arguments)]
    fn setattr(
        &self,
        request: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = Set { mode, uid, gid, size, atime, mtime, handle: handle.map(|h| h.0) };
        let op = if size.is_some() { Op::Truncate } else { Op::Setattr };
        let mut call = self.call(op, request, inode);
        call.size = size;
        let caller = call.caller;
        answer!(self, call, reply, [], |fs, t| fs.setattr(&mut t, caller, inode.0, &set));
    }

    fn readlink(&self, request: &Request, inode: INodeNo, reply: ReplyData) {
        let call = self.call(Op::Readlink, request, inode);
        answer!(self, call, reply, [], |fs, t| fs.readlink(inode.0));
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let call = self.call(Op::Mknod, request, parent).name(name);
        let caller = call.caller;
        answer!(self, call, reply, [name], |fs, t| fs
            .mknod(&mut t, caller, parent.0, name, mode, umask, rdev));
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let call = self.call(Op::Mkdir, request, parent).name(name);
        let caller = call.caller;
        answer!(self, call, reply, [name], |fs, t| fs.mkdir(&mut t, caller, parent.0, name, mode, umask));
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let call = self.call(Op::Unlink, request, parent).name(name);
        answer!(self, call, reply, [name], |fs, t| fs.unlink(&mut t, parent.0, name, false));
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let call = self.call(Op::Rmdir, request, parent).name(name);
        answer!(self, call, reply, [name], |fs, t| fs.unlink(&mut t, parent.0, name, true));
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let call = self.call(Op::Symlink, request, parent).name(name);
        let caller = call.caller;
        answer!(self, call, reply, [name, target], |fs, t| fs
            .symlink(&mut t, caller, parent.0, name, target));
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let call = self.call(Op::Rename, request, parent).name(name);
        answer!(self, call, reply, [name, newname], |fs, t| {
            fs.rename(&mut t, (parent.0, name), (newparent.0, newname), flags.bits())
        });
    }

    fn link(&self, request: &Request, inode: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let call = self.call(Op::Link, request, inode);
        answer!(self, call, reply, [name], |fs, t| fs.link(&mut t, inode.0, parent.0, name));
    }

    fn open(&self, request: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let mut call = self.call(Op::Open, request, inode);
        // Whoever asks whether it is opened for writing looks at the size.
        call.size = (flags.0 & (libc::O_WRONLY | libc::O_RDWR | libc::O_TRUNC) != 0).then_some(0);
        serve!(self, call, [], |fs, t| {
            let result = match t.refused() {
                Some(errno) => Err(errno),
                None => fs.open(inode.0, flags.0),
            };
            let error = result.as_ref().err().copied();
            match result {
                Err(errno) => reply.error(refusal(errno)),
                Ok((handle, open)) => match fs.backing(&handle, |fd| reply.open_backing(fd)) {
                    None => reply.opened(FileHandle(fs.handles.add(handle)), open),
                    Some(backing) => {
                        let handle = fs.handles.add(handle.with_backing(&backing));
                        reply.opened_passthrough(FileHandle(handle), FopenFlags::empty(), &backing);
                    }
                },
            }
            fs.end(t, error);
        });
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let call = self.call(Op::Create, request, parent).name(name);
        let caller = call.caller;
        serve!(self, call, [name], |fs, t| {
            let result = match t.refused() {
                Some(errno) => Err(errno),
                None => fs.create(&mut t, caller, parent.0, name, mode, umask, flags),
            };
            let error = result.as_ref().err().copied();
            match result {
                Err(errno) => reply.error(refusal(errno)),
                Ok((inode, st, handle, open)) => {
                    let Entry { attr, ttl } = fs.entry(&mut t, &inode, &st);
                    match fs.backing(&handle, |fd| reply.open_backing(fd)) {
                        None => {
                            let handle = FileHandle(fs.handles.add(handle));
                            reply.created(&ttl, &attr, Generation(0), handle, open);
                        }
                        Some(backing) => {
                            let handle = FileHandle(fs.handles.add(handle.with_backing(&backing)));
                            let none = FopenFlags::empty();
                            reply.created_passthrough(&ttl, &attr, Generation(0), handle, none, &backing);
                        }
                    }
                }
            }
            fs.end(t, error);
        });
    }

    fn read(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let call = self.call(Op::Read, request, inode).range(offset, size.into());
        serve!(self, call, [], |fs, t| {
            if let Some(errno) = t.refused() {
                reply.error(refusal(errno));
                return fs.end(t, Some(errno));
            }
            let error = fs.read(&mut t, handle.0, offset, size, |result| match result {
                Ok(data) => {
                    reply.data(data);
                    None
                }
                Err(errno) => {
                    reply.error(refusal(errno));
                    Some(errno)
                }
            });
            fs.end(t, error);
        });
    }

    fn write(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        write: WriteFlags,
        flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut call = self.call(Op::Write, request, inode).range(offset, data.len() as u64);
        if write.contains(WriteFlags::FUSE_WRITE_CACHE) {
            // The kernel writes back by itself; who wrote is not known any more.
            call.caller = Caller::default();
        }
        let clears = write.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        let sync = flags.0 & libc::O_DSYNC != 0;
        answer!(self, call, reply, [data], |fs, t| fs.write(&mut t, handle.0, offset, data, clears, sync));
    }

    fn flush(
        &self,
        request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        let call = self.call(Op::Flush, request, inode);
        answer!(self, call, reply, [], |fs, t| Ok(()));
    }

    fn release(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let call = self.call(Op::Release, request, inode);
        answer!(self, call, reply, [], |fs, t| {
            drop(fs.handles.remove(handle.0));
            Ok(())
        });
    }

    fn fsync(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        let call = self.call(Op::Fsync, request, inode);
        answer!(self, call, reply, [], |fs, t| fs.fsync(&mut t, handle.0, data_only));
    }

    fn opendir(&self, request: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let call = self.call(Op::Opendir, request, inode);
        answer!(self, call, reply, [], |fs, t| fs.opendir(&mut t, inode.0));
    }

    fn readdir(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let call = self.call(Op::Readdir, request, inode);
        serve!(self, call, [], |fs, t| {
            let result = match t.refused() {
                Some(errno) => Err(errno),
                None => fs.readdir(handle.0, offset, &mut |item| {
                    reply.add(INodeNo(item.ino), item.next, item.kind, os(item.name))
                }),
            };
            let error = result.err();
            match error {
                None => reply.ok(),
                Some(errno) => reply.error(refusal(errno)),
            }
            fs.end(t, error);
        });
    }

    fn readdirplus(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let call = self.call(Op::Readdir, request, inode);
        serve!(self, call, [], |fs, t| {
            let result = match t.refused() {
                Some(errno) => Err(errno),
                None => fs.table.get(inode.0).and_then(|dir| {
                    fs.readdir(handle.0, offset, &mut |item| {
                        let along = fs.along(&mut t, &dir, item.name);
                        let (attr, ttl) = match &along {
                            Some(entry) => (entry.attr, entry.ttl),
                            // `.`, `..`, and what is listed though it is gone. The kernel asks again before it believes it.
                            None => (nameless(item), Duration::ZERO),
                        };
                        let full = reply.add(attr.ino, item.next, os(item.name), &ttl, &attr, Generation(0));
                        if full && along.is_some() {
                            // It did not go out with the reply, so the kernel does not know it.
                            fs.table.forget(attr.ino.0, 1);
                        }
                        full
                    })
                }),
            };
            let error = result.err();
            match error {
                None => reply.ok(),
                Some(errno) => reply.error(refusal(errno)),
            }
            fs.end(t, error);
        });
    }

    fn releasedir(
        &self,
        _request: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        drop(self.0.handles.remove(handle.0));
        reply.ok();
    }

    fn fsyncdir(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        let call = self.call(Op::Fsyncdir, request, inode);
        answer!(self, call, reply, [], |fs, t| fs.fsyncdir(&mut t, handle.0, data_only));
    }

    fn statfs(&self, request: &Request, inode: INodeNo, reply: ReplyStatfs) {
        let call = self.call(Op::Statfs, request, inode);
        answer!(self, call, reply, [], |fs, t| fs.statfs(&mut t, inode.0));
    }

    fn setxattr(
        &self,
        request: &Request,
        inode: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let call = self.call(Op::Setxattr, request, inode);
        answer!(self, call, reply, [name, value], |fs, t| fs.setxattr(inode.0, name, value, flags));
    }

    fn getxattr(&self, request: &Request, inode: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let call = self.call(Op::Getxattr, request, inode);
        answer!(self, call, reply, [name], |fs, t| fs.getxattr(inode.0, name, size));
    }

    fn listxattr(&self, request: &Request, inode: INodeNo, size: u32, reply: ReplyXattr) {
        let call = self.call(Op::Listxattr, request, inode);
        answer!(self, call, reply, [], |fs, t| fs.listxattr(inode.0, size));
    }

    fn removexattr(&self, request: &Request, inode: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let call = self.call(Op::Removexattr, request, inode);
        answer!(self, call, reply, [name], |fs, t| fs.removexattr(inode.0, name));
    }

    fn access(&self, _request: &Request, _inode: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        // The kernel checks by the attributes it was told; it asks only where it was told not to.
        reply.ok();
    }

    fn ioctl(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _data: &[u8],
        _size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Refusal::ENOTTY);
    }

    fn fallocate(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let call = self.call(Op::Fallocate, request, inode).range(offset, length);
        answer!(self, call, reply, [], |fs, t| fs.fallocate(&mut t, handle.0, offset, length, mode));
    }

    fn lseek(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let call = self.call(Op::Lseek, request, inode);
        answer!(self, call, reply, [], |fs, t| fs.lseek(handle.0, offset, whence));
    }

    fn copy_file_range(
        &self,
        request: &Request,
        _inode_in: INodeNo,
        handle_in: FileHandle,
        offset_in: u64,
        inode_out: INodeNo,
        handle_out: FileHandle,
        offset_out: u64,
        length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let call = self.call(Op::Copy, request, inode_out).range(offset_out, length);
        answer!(self, call, reply, [], |fs, t| {
            fs.copy(&mut t, (handle_in.0, offset_in), (handle_out.0, offset_out), length)
        });
    }
}

impl Fs {
    /// Answers with attributes once the kernel has forgotten what it had cached of the file.
    fn getattr_afresh(&self, mut ticket: Ticket, id: u64, reply: ReplyAttr) {
        self.forget_now(id);
        let result = match ticket.refused() {
            Some(errno) => Err(errno),
            None => self.getattr(&mut ticket, id),
        };
        finish(self, ticket, reply, result);
    }
}

/// Attributes that say nothing but the type. The number is one that no inode has: who asks for it hears that it is stale.
fn nameless(item: &Item<'_>) -> fuser::FileAttr {
    let (never, kind) = (SystemTime::UNIX_EPOCH, item.kind);
    fuser::FileAttr {
        ino: INodeNo(item.ino | (1 << 62)),
        size: 0,
        blocks: 0,
        atime: never,
        mtime: never,
        ctime: never,
        crtime: never,
        kind,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}
