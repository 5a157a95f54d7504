//! Answers to the kernel's calls: what a call that went through the gate gives back, now or later.

use crate::core::{Fs, Ticket};
use crate::meta::Xattr;
use crate::names::Entry;
use fuser::{
    Errno as Refusal, FileHandle, FopenFlags, Generation, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry,
    ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr,
};
use rustix::fs::StatVfs;
use rustix::io::Errno;

/// An answer of one kind.
pub(crate) trait Answer<T> {
    fn give(self, value: T);
    fn refuse(self, errno: Refusal);
}

macro_rules! answers {
    ($($reply:ident($value:ty) = |$me:ident, $v:ident| $give:expr;)*) => {$(
        impl Answer<$value> for $reply {
            fn give(self, $v: $value) {
                let $me = self;
                $give
            }
            fn refuse(self, errno: Refusal) {
                self.error(errno);
            }
        }
    )*};
}

answers! {
    ReplyEmpty(()) = |me, _v| me.ok();
    ReplyEntry(Entry) = |me, v| me.entry(&v.ttl, &v.attr, Generation(0));
    ReplyAttr(Entry) = |me, v| me.attr(&v.ttl, &v.attr);
    ReplyData(Vec<u8>) = |me, v| me.data(&v);
    ReplyWrite(u32) = |me, v| me.written(v);
    ReplyLseek(i64) = |me, v| me.offset(v);
    ReplyStatfs(StatVfs) = |me, v| me.statfs(v.f_blocks, v.f_bfree, v.f_bavail, v.f_files, v.f_ffree,
        v.f_bsize as u32, v.f_namemax as u32, v.f_frsize as u32);
    ReplyXattr(Xattr) = |me, v| match v {
        Xattr::Size(n) => me.size(n),
        Xattr::Data(data) => me.data(&data),
    };
    ReplyOpen(u64) = |me, v| me.opened(FileHandle(v), FopenFlags::empty());
}

/// As the kernel takes it.
pub(crate) fn refusal(errno: Errno) -> Refusal {
    Refusal::from_i32(errno.raw_os_error())
}

/// Takes a call through the gate and does it, now or when what holds it lets go. What the body borrows of the request is
/// named, so that it can be kept when it has to wait.
macro_rules! serve {
    ($self:ident, $call:expr, [$($keep:ident),*], |$fs:ident, $ticket:ident| $body:expr) => {{
        match $self.0.gate(&$call) {
            #[allow(unused_mut)]
            crate::core::Gate::Now(mut $ticket) => {
                let $fs = &$self.0;
                $body
            }
            crate::core::Gate::Later(holds, ticket) => {
                let kept = $self.0.clone();
                $(let $keep = $keep.to_owned();)*
                $self.0.park(holds, ticket, move |mut $ticket: crate::core::Ticket| {
                    $(let $keep = &*$keep;)*
                    let $fs = &kept;
                    $body
                });
            }
        }
    }};
}

/// The same for what answers with one value.
macro_rules! answer {
    ($self:ident, $call:expr, $reply:ident, [$($keep:ident),*], |$fs:ident, $ticket:ident| $body:expr) => {
        crate::answer::serve!($self, $call, [$($keep),*], |$fs, $ticket| {
            let result = match $ticket.refused() {
                Some(errno) => Err(errno),
                None => $body,
            };
            crate::answer::finish($fs, $ticket, $reply, result);
        })
    };
}

/// Answers, then counts: the program goes on first.
pub(crate) fn finish<T>(fs: &Fs, ticket: Ticket, reply: impl Answer<T>, result: Result<T, Errno>) {
    let error = result.as_ref().err().copied();
    match result {
        Ok(value) => reply.give(value),
        Err(errno) => reply.refuse(refusal(errno)),
    }
    fs.end(ticket, error);
}

pub(crate) use {answer, serve};
