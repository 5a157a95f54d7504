//! The socket that carries batches out, and owns the tables that it made.

use super::{Batch, COUNTER, Family, OWNER};
use crate::netlink::attrs::{self, Attrs};
use crate::netlink::socket::{self, NetlinkError, Protocol, Socket};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

const GET_TABLE: u16 = 1;
const GET_OBJECT: u16 = 19;
const SUBSYSTEM: u16 = 10 << 8;

/// Packets and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A socket that owns tables: they are gone when it is, however that comes about.
#[derive(Debug)]
pub struct Nft {
    socket: Socket,
}

impl Nft {
    /// Opens one in the namespace of this thread.
    pub fn open() -> Result<Nft, NetlinkError> {
        let socket = Socket::open(Protocol::Netfilter)?;
        // Both as large as many rules at once need; an unprivileged process keeps the usual sizes.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size_force(&socket, 8 << 20);
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 8 << 20);
        Ok(Nft { socket })
    }

    /// Takes that descriptor in place of its own. What a process that is killed has open ends from the highest descriptor
    /// downwards, so with a low one the tables outlast connections that need them to say goodbye.
    pub fn take_place(&mut self, of: OwnedFd) -> io::Result<()> {
        self.socket.take_place(of)
    }

    /// Carries out a batch: all of it, or nothing and the first reason.
    pub fn commit(&mut self, batch: &Batch) -> Result<(), NetlinkError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(64 * batch.messages.len());
        // The two that hold a batch together name the subsystem as their resource.
        let edge = |kind, sequence| socket::message(kind, 1, sequence, &[10, 0, 0, 10]);
        bytes.extend(edge(0x10, 1));
        let last = batch.messages.len() as u32 + 1;
        for (n, (kind, flags, family, body)) in (2_u32..).zip(&batch.messages) {
            let mut whole = vec![*family, 0, 0, 0];
            whole.extend(body.bytes());
            let flags = flags | socket::REQUEST | if n == last { socket::ACK } else { 0 };
            bytes.extend(socket::message(SUBSYSTEM | kind, flags, n, &whole));
        }
        bytes.extend(edge(0x11, last + 1));
        self.socket.send_raw(&bytes)?;
        // The kernel has carried it out, and answered, before the call returned.
        let mut buffer = vec![0; 64 << 10];
        let (mut done, mut first) = (false, None);
        while let Some(n) = self.waiting(&mut buffer) {
            for message in socket::messages(&buffer[..n]).filter(|m| m.kind == 2) {
                match socket::outcome(&message) {
                    Ok(()) => done |= message.sequence == last,
                    Err(e) => {
                        // What everything else then fails with says less than the first.
                        first.get_or_insert(e);
                    }
                }
            }
        }
        match first {
            Some(e) => Err(e),
            None if done => Ok(()),
            None => Err(NetlinkError { errno: libc::EPROTO, said: "the kernel did not answer".into() }),
        }
    }

    /// What is there to be received, without waiting.
    fn waiting(&self, buffer: &mut [u8]) -> Option<usize> {
        let fd = self.socket.as_fd().as_raw_fd();
        nix::sys::socket::recv(fd, buffer, nix::sys::socket::MsgFlags::MSG_DONTWAIT).ok()
    }

    /// Whether there is a table of that name, whoever owns it.
    pub fn has_table(&mut self, family: Family, table: &str) -> Result<bool, NetlinkError> {
        let mut body = vec![family.number(), 0, 0, 0];
        body.extend(Attrs::new().text(1, table).bytes());
        match self.socket.ask(SUBSYSTEM | GET_TABLE, 0, &body, |_| {}) {
            Ok(()) => Ok(true),
            Err(e) if e.is(libc::ENOENT) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The tables of a family: their names, and whether a socket owns each, with which it ends.
    pub fn tables(&mut self, family: Family) -> Result<Vec<(String, bool)>, NetlinkError> {
        self.socket.list(SUBSYSTEM | GET_TABLE, &[family.number(), 0, 0, 0], |message| {
            let body = message.body.get(4..)?;
            // NFTA_TABLE_FLAGS, of which NFT_TABLE_F_OWNER
            let owned = attrs::find(body, 2).and_then(attrs::be32).is_some_and(|flags| flags & OWNER != 0);
            Some((attrs::find(body, 1).map(attrs::text)?, owned))
        })
    }

    /// What the counters of a table have counted, by name.
    pub fn counts(&mut self, family: Family, table: &str) -> Result<BTreeMap<String, Count>, NetlinkError> {
        let mut body = vec![family.number(), 0, 0, 0];
        body.extend(Attrs::new().text(1, table).be32(3, COUNTER).bytes());
        let all = self.socket.list(SUBSYSTEM | GET_OBJECT, &body, |message| {
            let body = message.body.get(4..)?;
            // Old kernels ignore the filter.
            if attrs::find(body, 1).map(attrs::text)? != table {
                return None;
            }
            let data = attrs::find(body, 4)?;
            let count = Count {
                bytes: attrs::find(data, 1).and_then(attrs::be64)?,
                packets: attrs::find(data, 2).and_then(attrs::be64)?,
            };
            Some((attrs::find(body, 2).map(attrs::text)?, count))
        })?;
        Ok(all.into_iter().collect())
    }
}
