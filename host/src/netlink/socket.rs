//! A netlink socket: one request, its answer.

use super::attrs;
use crate::sys;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Whom a socket talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes, traffic control: rtnetlink(7).
    Route,
    /// Everything of netfilter.
    Netfilter,
    /// Sockets of programs: sock_diag(7).
    Sockets,
}

/// What the kernel did not do, and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetlinkError {
    /// The error's number, as in errno(3).
    pub errno: i32,
    /// The kernel's own words, where it has some.
    pub said: String,
}

impl fmt::Display for NetlinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = io::Error::from_raw_os_error(self.errno).to_string();
        let text = text.split(" (os error").next().unwrap_or_default().to_owned();
        match self.said.is_empty() {
            true => f.write_str(&text),
            false => write!(f, "{text} ({})", self.said),
        }
    }
}

impl std::error::Error for NetlinkError {}

impl NetlinkError {
    /// Whether it is that one of errno(3).
    pub fn is(&self, errno: i32) -> bool {
        self.errno == errno
    }
}

impl From<io::Error> for NetlinkError {
    fn from(e: io::Error) -> NetlinkError {
        NetlinkError { errno: e.raw_os_error().unwrap_or(libc::EIO), said: String::new() }
    }
}

impl From<nix::Error> for NetlinkError {
    fn from(e: nix::Error) -> NetlinkError {
        NetlinkError { errno: e as i32, said: String::new() }
    }
}

/// How long the kernel may take to answer; it answers at once or never.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) const REQUEST: u16 = 1;
pub(super) const ACK: u16 = 4;
pub(super) const DUMP: u16 = 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const INTERRUPTED: u16 = 0x10;

/// A netlink socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// One message as it came.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Its type.
    pub kind: u16,
    /// Its flags.
    pub flags: u16,
    /// The request that it answers.
    pub sequence: u32,
    /// What follows the header.
    pub body: &'a [u8],
}

impl Socket {
    /// Opens one in the namespace of this thread.
    pub fn open(protocol: Protocol) -> Result<Socket, NetlinkError> {
        let which = match protocol {
            Protocol::Route => SockProtocol::NetlinkRoute,
            Protocol::Netfilter => SockProtocol::NetlinkNetFilter,
            Protocol::Sockets => SockProtocol::NetlinkSockDiag,
        };
        let fd =
            nix::sys::socket::socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, which)?;
        nix::sys::socket::bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        rustix::net::sockopt::set_socket_timeout(&fd, rustix::net::sockopt::Timeout::Recv, Some(PATIENCE))
            .map_err(io::Error::from)?;
        // Errors come with the kernel's words and without a copy of the request. Old kernels have neither: no matter.
        let _ = sys::set_option(&fd, libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1);
        let _ = sys::set_option(&fd, libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1);
        Ok(Socket { fd, sequence: 1 })
    }

    /// Asks for something to be done, and waits until it is.
    pub fn request(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<(), NetlinkError> {
        let sequence = self.send(kind, flags | REQUEST | ACK, body)?;
        self.answers(sequence, |_| {})
    }

    /// Asks for one thing, which comes as a message, or for a list of things (`DUMP`).
    pub fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
        mut each: impl FnMut(Message<'_>),
    ) -> Result<(), NetlinkError> {
        let sequence = self.send(kind, flags | REQUEST | ACK, body)?;
        self.answers(sequence, &mut each)
    }

    /// Asks for a list. One that changed while it was being told is asked for again.
    pub fn list<T>(
        &mut self,
        kind: u16,
        body: &[u8],
        mut one: impl FnMut(Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        let mut tries = 0;
        loop {
            let sequence = self.send(kind, REQUEST | DUMP, body)?;
            let (mut all, mut changed) = (Vec::new(), false);
            self.answers(sequence, |message| {
                changed |= message.flags & INTERRUPTED != 0;
                all.extend(one(message));
            })?;
            tries += 1;
            if !changed || tries == 8 {
                return Ok(all);
            }
        }
    }

    /// Takes that descriptor in place of its own.
    pub(super) fn take_place(&mut self, mut of: OwnedFd) -> io::Result<()> {
        rustix::io::dup3(&self.fd, &mut of, rustix::io::DupFlags::CLOEXEC)?;
        self.fd = of;
        Ok(())
    }

    /// Sends bytes that are whole messages already.
    pub fn send_raw(&self, bytes: &[u8]) -> Result<(), NetlinkError> {
        nix::sys::socket::send(self.fd.as_raw_fd(), bytes, MsgFlags::empty())?;
        Ok(())
    }

    /// Takes what comes, as it comes; none when nothing does.
    pub fn receive<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], NetlinkError> {
        loop {
            match nix::sys::socket::recv(self.fd.as_raw_fd(), buffer, MsgFlags::empty()) {
                Ok(n) => return Ok(&buffer[..n]),
                Err(nix::Error::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn send(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<u32, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        self.send_raw(&message(kind, flags, self.sequence, body))?;
        Ok(self.sequence)
    }

    fn answers(&self, sequence: u32, mut each: impl FnMut(Message<'_>)) -> Result<(), NetlinkError> {
        let mut buffer = vec![0; 256 << 10];
        loop {
            let bytes = self.receive(&mut buffer)?;
            let mut last = false;
            for message in messages(bytes).filter(|m| m.sequence == sequence) {
                match message.kind {
                    ERROR => {
                        outcome(&message)?;
                        last = true;
                    }
                    DONE => {
                        // The end of a list may carry an error too.
                        let code =
                            message.body.get(..4).and_then(|b| Some(i32::from_ne_bytes(b.try_into().ok()?)));
                        if let Some(code @ ..0) = code {
                            return Err(NetlinkError { errno: -code, said: String::new() });
                        }
                        last = true;
                    }
                    _ => each(message),
                }
            }
            if last {
                return Ok(());
            }
        }
    }
}

/// A whole message.
pub fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 + body.len());
    bytes.extend((16 + body.len() as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(body);
    bytes
}

/// The messages of one datagram.
pub fn messages(bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let head = rest.get(..16)?;
        let length = u32::from_ne_bytes(head[0..4].try_into().ok()?) as usize;
        let body = rest.get(16..length)?;
        let found = Message {
            kind: u16::from_ne_bytes([head[4], head[5]]),
            flags: u16::from_ne_bytes([head[6], head[7]]),
            sequence: u32::from_ne_bytes(head[8..12].try_into().ok()?),
            body,
        };
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(found)
    })
}

/// What a message of type error says: nothing wrong, or what.
pub(super) fn outcome(message: &Message<'_>) -> Result<(), NetlinkError> {
    let code = message.body.get(..4).and_then(|b| Some(i32::from_ne_bytes(b.try_into().ok()?)));
    let errno = match code {
        Some(0) => return Ok(()),
        Some(code) => -code,
        None => libc::EPROTO,
    };
    // NLM_F_CAPPED (0x100): only the request's header follows; NLM_F_ACK_TLVS (0x200): attributes come after it.
    let mut said = String::new();
    if message.flags & 0x200 != 0 {
        let request = message.body.get(4..8).and_then(attrs::ne32).unwrap_or(16) as usize;
        let skip = 4 + if message.flags & 0x100 != 0 { 16 } else { request.next_multiple_of(4) };
        said = message
            .body
            .get(skip..)
            .and_then(|tail| attrs::find(tail, 1))
            .map(attrs::text)
            .unwrap_or_default();
    }
    Err(NetlinkError { errno, said })
}
