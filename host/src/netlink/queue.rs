//! NFQUEUE: netfilter keeps packets until a program says what becomes of them. `linux/netfilter/nfnetlink_queue.h`.

use super::attrs::{self, Attrs};
use super::socket::{self, NetlinkError, Protocol, Socket};
use crate::sys;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// NF_DROP and NF_ACCEPT.
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
/// How many bytes of verdicts that are not urgent are gathered.
const GATHERED: usize = 2 << 10;

const SUBSYSTEM: u16 = 3 << 8;
const PACKET: u16 = 0;
const VERDICT: u16 = 1;
const CONFIG: u16 = 2;

/// The program does not answer in time: let it go on.
const FAIL_OPEN: u32 = 1;
/// Packets come as large as they are in here, without checksums.
const LARGE: u32 = 4;
/// How many packets may wait.
const MOST: u32 = 1_000_000;
/// How much of a packet is shown when only its headers matter: IPv6 with extensions and TCP.
const HEADERS: u32 = 160;

/// A queue that is ours. With its end all that waits in it vanishes, and what the rules then lead to it goes on.
#[derive(Debug)]
pub struct Queue {
    socket: Socket,
    number: u16,
}

/// A packet that waits.
#[derive(Debug, Clone, Copy)]
pub struct Waiting<'a> {
    /// What the kernel calls it.
    pub id: u32,
    /// The interface it came in at.
    pub interface: u32,
    /// When it came by the wall clock, since 1970, as far as that is known.
    pub came: Option<Duration>,
    /// How long it is.
    pub length: usize,
    /// Its bytes from the IP header on, as many as are shown.
    pub bytes: &'a [u8],
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Queue {
    /// Takes a queue that nobody has, in the namespace of this thread.
    pub fn open() -> Result<Queue, NetlinkError> {
        let socket = Socket::open(Protocol::Netfilter)?;
        // A burst must not make the kernel drop what it wants to tell us.
        let _ = sys::set_option(&socket, libc::SOL_NETLINK, libc::NETLINK_NO_ENOBUFS, 1);
        // While any socket asks for it, the kernel notes of every packet when it came. Without it they are as if just come.
        let _ = sys::set_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1);
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 32 << 20);
        let mut queue = Queue { socket, number: 0 };
        let mut last = NetlinkError { errno: libc::EBUSY, said: String::new() };
        for number in 27_700..27_764 {
            queue.number = number;
            // NFQNL_CFG_CMD_BIND
            match queue.configure(&Attrs::new().raw(1, &[1, 0, 0, 0])) {
                Ok(()) => {
                    queue.configure(&Attrs::new().be32(3, MOST))?;
                    queue.show(false)?;
                    return Ok(queue);
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// Its number, for rules.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Whether packets come whole and as they are on the wire, or just their headers and as large as the kernel has them.
    pub fn show(&self, whole: bool) -> Result<(), NetlinkError> {
        let (range, flags) = if whole { (0xffff_u32, FAIL_OPEN) } else { (HEADERS, FAIL_OPEN | LARGE) };
        let mut params = range.to_be_bytes().to_vec();
        params.push(2);
        self.tell(&Attrs::new().raw(2, &params))?;
        self.tell(&Attrs::new().be32(5, flags).be32(4, FAIL_OPEN | LARGE))
    }

    /// Configures without an answer: what would be read while waiting for one are packets.
    fn tell(&self, attrs: &Attrs) -> Result<(), NetlinkError> {
        let mut body = vec![0, 0];
        body.extend(self.number.to_be_bytes());
        body.extend(attrs.bytes());
        self.socket.send_raw(&socket::message(SUBSYSTEM | CONFIG, socket::REQUEST, 0, &body))
    }

    fn configure(&mut self, attrs: &Attrs) -> Result<(), NetlinkError> {
        let mut body = vec![0, 0];
        body.extend(self.number.to_be_bytes());
        body.extend(attrs.bytes());
        self.socket.request(SUBSYSTEM | CONFIG, 0, &body)
    }

    /// Takes what waits, without waiting itself; how many messages there were.
    pub fn receive(&self, buffer: &mut [u8], mut each: impl FnMut(Waiting<'_>)) -> io::Result<usize> {
        let fd = self.socket.as_fd().as_raw_fd();
        let n = nix::sys::socket::recv(fd, buffer, nix::sys::socket::MsgFlags::MSG_DONTWAIT)?;
        let mut count = 0;
        for message in socket::messages(&buffer[..n]).filter(|m| m.kind == SUBSYSTEM | PACKET) {
            if let Some(packet) = parse(message.body) {
                count += 1;
                each(packet);
            }
        }
        Ok(count)
    }

    /// Says what becomes of packets. To drop some is not urgent: that waits for some more, or for one that goes on.
    pub fn decide(&self, verdicts: &mut Verdicts) -> Result<(), NetlinkError> {
        if verdicts.urgent || verdicts.bytes.len() > GATHERED {
            let sent = self.socket.send_raw(&verdicts.bytes);
            verdicts.bytes.clear();
            verdicts.urgent = false;
            sent?;
        }
        Ok(())
    }

    /// An empty list of verdicts for this queue.
    pub fn verdicts(&self) -> Verdicts {
        Verdicts { number: self.number, bytes: Vec::new(), urgent: false }
    }
}

/// What becomes of packets, several at once.
#[derive(Debug)]
pub struct Verdicts {
    number: u16,
    bytes: Vec<u8>,
    /// Some of these packets go on.
    urgent: bool,
}

impl Verdicts {
    /// It goes on.
    pub fn accept(&mut self, id: u32) {
        self.push(id, ACCEPT, None);
    }

    /// It vanishes.
    pub fn drop(&mut self, id: u32) {
        self.push(id, DROP, None);
    }

    /// It goes on with other bytes.
    pub fn replace(&mut self, id: u32, bytes: &[u8]) {
        self.push(id, ACCEPT, Some(bytes));
    }

    /// Whether it is time to hand them over.
    pub fn is_full(&self) -> bool {
        self.bytes.len() > 48 << 10
    }

    fn push(&mut self, id: u32, verdict: u32, bytes: Option<&[u8]>) {
        self.urgent |= verdict != DROP;
        let from = self.bytes.len();
        // struct nlmsghdr, whose length is put in below; struct nfgenmsg; struct nfqnl_msg_verdict_hdr in its attribute.
        self.bytes.extend([0; 4]);
        self.bytes.extend((SUBSYSTEM | VERDICT).to_ne_bytes());
        self.bytes.extend(socket::REQUEST.to_ne_bytes());
        self.bytes.extend([0; 10]);
        self.bytes.extend(self.number.to_be_bytes());
        self.bytes.extend(12_u16.to_ne_bytes());
        self.bytes.extend(2_u16.to_ne_bytes());
        self.bytes.extend(verdict.to_be_bytes());
        self.bytes.extend(id.to_be_bytes());
        if let Some(bytes) = bytes {
            self.bytes.extend(Attrs::new().raw(10, bytes).bytes());
        }
        let length = (self.bytes.len() - from) as u32;
        self.bytes[from..from + 4].copy_from_slice(&length.to_ne_bytes());
    }
}

/// struct nfqnl_msg_packet_timestamp: seconds and microseconds.
fn stamp(value: &[u8]) -> Option<Duration> {
    let (seconds, micros) = (attrs::be64(value)?, attrs::be64(value.get(8..)?)?);
    Duration::from_secs(seconds).checked_add(Duration::from_micros(micros))
}

fn parse(body: &[u8]) -> Option<Waiting<'_>> {
    let rest = body.get(4..)?;
    let (mut id, mut interface, mut whole, mut bytes) = (None, 0, None, &[][..]);
    let mut came = None;
    for (kind, value) in attrs::read(rest) {
        match kind {
            1 => id = attrs::be32(value),
            4 => came = stamp(value),
            5 => interface = attrs::be32(value).unwrap_or(0),
            10 => bytes = value,
            13 => whole = attrs::be32(value),
            _ => {}
        }
    }
    let length = whole.map_or(bytes.len(), |n| n as usize);
    Some(Waiting { id: id?, interface, came, length, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_messages_as_they_are_elsewhere() {
        let mut verdicts = Verdicts { number: 7, bytes: Vec::new(), urgent: false };
        let body = |word: u32, id: u32, bytes: Option<&[u8]>| {
            let mut body = vec![0, 0, 0, 7];
            let attrs = Attrs::new().raw(2, &[word.to_be_bytes(), id.to_be_bytes()].concat());
            body.extend(bytes.map_or(attrs.clone(), |bytes| attrs.raw(10, bytes)).bytes());
            socket::message(SUBSYSTEM | VERDICT, socket::REQUEST, 0, &body)
        };
        verdicts.drop(3);
        assert!(verdicts.bytes == body(0, 3, None) && !verdicts.urgent);
        verdicts.replace(4, b"abc");
        verdicts.accept(5);
        let all = [body(0, 3, None), body(1, 4, Some(b"abc")), body(1, 5, None)].concat();
        assert!(verdicts.bytes == all && verdicts.urgent);
    }
}
