//! nf_tables over netlink: tables that the kernel removes with the socket that made them, base chains, rules, named
//! counters. What is written here is `linux/netfilter/nf_tables.h`; nft(8) has the words for it.
//!
//! A [`Batch`] takes effect as a whole or not at all.

use super::attrs::{self, Attrs};
use super::socket::{self, NetlinkError, Protocol, Socket};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};

/// The family of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    /// What comes in and goes out at one interface, whatever it is.
    Netdev,
}

impl Family {
    fn number(self) -> u8 {
        match self {
            Family::Inet => 1,
            Family::Netdev => 5,
        }
    }

    /// Its word in nft(8).
    pub fn word(self) -> &'static str {
        match self {
            Family::Inet => "inet",
            Family::Netdev => "netdev",
        }
    }
}

/// Where a base chain sees packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// Everything that came in, before it is routed.
    Prerouting,
    /// What is for this machine.
    Input,
    /// What only passes through.
    Forward,
    /// What programs here send.
    Output,
    /// What came in at that interface, before anyone else sees it.
    Ingress(String),
    /// What is about to leave at that interface, before it is queued. Linux 5.16.
    Egress(String),
}

impl Hook {
    fn number(&self) -> u32 {
        match self {
            Hook::Prerouting | Hook::Ingress(_) => 0,
            Hook::Input | Hook::Egress(_) => 1,
            Hook::Forward => 2,
            Hook::Output => 3,
        }
    }

    fn device(&self) -> Option<&str> {
        match self {
            Hook::Ingress(device) | Hook::Egress(device) => Some(device),
            _ => None,
        }
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It vanishes.
    Drop,
    /// This chain is done with it.
    Accept,
    /// The caller goes on.
    Return,
    /// That chain looks at it, then this one goes on.
    Jump(&'a str),
    /// That chain looks at it, then the caller of this one goes on.
    Goto(&'a str),
}

/// How two values compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// At most.
    Le,
    /// At least.
    Ge,
}

/// What is looked at of a packet besides its bytes: `NFT_META_…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meta {
    /// The Ethernet type, two bytes in network order.
    Protocol,
    /// The mark, four bytes.
    Mark,
    /// The index of the interface it came in at, four bytes.
    InIndex,
    /// The index of the interface it goes out at, four bytes.
    OutIndex,
    /// The transport protocol, one byte.
    Transport,
}

impl Meta {
    fn number(self) -> u32 {
        match self {
            Meta::Protocol => 1,
            Meta::Mark => 3,
            Meta::InIndex => 4,
            Meta::OutIndex => 5,
            Meta::Transport => 16,
        }
    }
}

/// Which header bytes are counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// IP.
    Network,
    /// TCP, UDP, ICMP.
    Transport,
}

/// How packets are given to a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueBy {
    /// nf_tables' own expression.
    Native,
    /// The target of iptables inside nf_tables, for kernels without the expression.
    Compat,
}

/// A rule that is being written: it goes on as long as what it asks holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    expressions: Attrs,
    comment: String,
}

/// The register that everything here goes through.
const REGISTER: u32 = 1;

impl Rule {
    /// A rule that everything fulfils.
    pub fn new() -> Rule {
        Rule::default()
    }

    fn then(mut self, name: &str, data: &Attrs) -> Rule {
        let one = Attrs::new().text(1, name).nest(2, data);
        self.expressions = self.expressions.nest(1, &one);
        self
    }

    /// What `nft list` shows beside it.
    pub fn comment(mut self, text: &str) -> Rule {
        self.comment = text.chars().take(120).collect();
        self
    }

    fn load_meta(self, key: Meta) -> Rule {
        self.then("meta", &Attrs::new().be32(2, key.number()).be32(1, REGISTER))
    }

    fn load_bytes(self, header: Header, offset: u32, length: u32) -> Rule {
        let base = match header {
            Header::Network => 1,
            Header::Transport => 2,
        };
        let data = Attrs::new().be32(1, REGISTER).be32(2, base).be32(3, offset).be32(4, length);
        self.then("payload", &data)
    }

    fn compare(self, how: Compare, value: &[u8]) -> Rule {
        let how = match how {
            Compare::Eq => 0,
            Compare::Ne => 1,
            Compare::Lt => 2,
            Compare::Le => 3,
            Compare::Ge => 5,
        };
        let data = Attrs::new().be32(1, REGISTER).be32(2, how).nest(3, &Attrs::new().raw(1, value));
        self.then("cmp", &data)
    }

    /// register = register & mask ^ flip
    fn bits(self, mask: &[u8], flip: &[u8]) -> Rule {
        let length = mask.len() as u32;
        let data = Attrs::new()
            .be32(1, REGISTER)
            .be32(2, REGISTER)
            .be32(3, length)
            .nest(4, &Attrs::new().raw(1, mask))
            .nest(5, &Attrs::new().raw(1, flip));
        self.then("bitwise", &data)
    }

    /// Goes on when that is so of the packet.
    pub fn meta(self, key: Meta, how: Compare, value: &[u8]) -> Rule {
        self.load_meta(key).compare(how, value)
    }

    /// Goes on when the mark, under the mask, is that.
    pub fn mark(self, mask: u32, how: Compare, value: u32) -> Rule {
        self.load_meta(Meta::Mark).bits(&mask.to_ne_bytes(), &[0; 4]).compare(how, &value.to_ne_bytes())
    }

    /// Sets the bits of the mark that the mask has, and leaves the others.
    pub fn set_mark(self, mask: u32, value: u32) -> Rule {
        self.load_meta(Meta::Mark)
            .bits(&(!mask).to_ne_bytes(), &(value & mask).to_ne_bytes())
            .then("meta", &Attrs::new().be32(2, Meta::Mark.number()).be32(3, REGISTER))
    }

    /// Goes on when bytes of a header are so.
    pub fn bytes(self, header: Header, offset: u32, how: Compare, value: &[u8]) -> Rule {
        self.load_bytes(header, offset, value.len() as u32).compare(how, value)
    }

    /// Goes on when bytes of a header are so under a mask.
    pub fn masked(self, header: Header, offset: u32, mask: &[u8], how: Compare, value: &[u8]) -> Rule {
        self.load_bytes(header, offset, mask.len() as u32)
            .bits(mask, &vec![0; mask.len()])
            .compare(how, value)
    }

    /// Goes on for so many of 2³² packets, at random.
    pub fn chance(self, share: u32) -> Rule {
        let swap = Attrs::new().be32(1, REGISTER).be32(2, REGISTER).be32(3, 1).be32(4, 4).be32(5, 4);
        // A modulus of 2³²-1 is the largest there is.
        self.then("numgen", &Attrs::new().be32(1, REGISTER).be32(2, u32::MAX).be32(3, 1))
            .then("byteorder", &swap)
            .compare(Compare::Lt, &share.to_be_bytes())
    }

    /// Counts in a counter with a name.
    pub fn count(self, counter: &str) -> Rule {
        self.then("objref", &Attrs::new().be32(1, COUNTER).text(2, counter))
    }

    /// Decides.
    pub fn verdict(self, verdict: Verdict<'_>) -> Rule {
        let (code, chain) = match verdict {
            Verdict::Drop => (0_i32, None),
            Verdict::Accept => (1, None),
            Verdict::Jump(chain) => (-3, Some(chain)),
            Verdict::Goto(chain) => (-4, Some(chain)),
            Verdict::Return => (-5, None),
        };
        let mut inner = Attrs::new().be32(1, code as u32);
        if let Some(chain) = chain {
            inner = inner.text(2, chain);
        }
        self.then("immediate", &Attrs::new().be32(1, 0).nest(2, &Attrs::new().nest(2, &inner)))
    }

    fn immediate(self, value: &[u8]) -> Rule {
        self.then("immediate", &Attrs::new().be32(1, REGISTER).nest(2, &Attrs::new().raw(1, value)))
    }

    /// Sends it out at another interface instead.
    pub fn forward(self, interface: u32) -> Rule {
        self.immediate(&interface.to_ne_bytes()).then("fwd", &Attrs::new().be32(1, REGISTER))
    }

    /// Lets a program decide; without one it goes on.
    pub fn queue(self, by: QueueBy, number: u16) -> Rule {
        match by {
            QueueBy::Native => {
                let one = 1_u16.to_be_bytes();
                self.then("queue", &Attrs::new().raw(1, &number.to_be_bytes()).raw(2, &one).raw(3, &one))
            }
            QueueBy::Compat => {
                // struct xt_NFQ_info_v3: number, how many queues, flags (1: bypass); aligned to eight bytes.
                let mut info = [0; 8];
                info[..2].copy_from_slice(&number.to_ne_bytes());
                info[2..4].copy_from_slice(&1_u16.to_ne_bytes());
                info[4..6].copy_from_slice(&1_u16.to_ne_bytes());
                self.then("target", &Attrs::new().text(1, "NFQUEUE").be32(2, 3).raw(3, &info))
            }
        }
    }

    /// Refuses it: TCP with a reset, else with ICMP.
    pub fn reject(self, with_reset: bool) -> Rule {
        // ICMPX (2) picks the message of either family; code 1 is "port unreachable".
        let (kind, code) = if with_reset { (1, 0) } else { (2, 1) };
        self.then("reject", &Attrs::new().be32(1, kind).raw(2, &[code]))
    }

    /// Goes on for the first packet of a TCP connection alone. What changes addresses must ask for that: where the kernel
    /// did not track connections before, each of their packets looks like a first one, and they would be reset.
    pub fn opens_tcp(self) -> Rule {
        // Of the flags (offset 13) FIN, SYN, RST and ACK, only SYN.
        self.meta(Meta::Transport, Compare::Eq, &[6]).masked(
            Header::Transport,
            13,
            &[0x17],
            Compare::Eq,
            &[0x02],
        )
    }

    /// Leads it to a port of this machine instead.
    pub fn redirect(self, port: u16) -> Rule {
        self.immediate(&port.to_be_bytes()).then("redir", &Attrs::new().be32(1, REGISTER))
    }
}

/// The type of objects that are counters.
const COUNTER: u32 = 1;

const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DEL_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const DEL_CHAIN: u16 = 5;
const NEW_RULE: u16 = 6;
const DEL_RULE: u16 = 8;
const NEW_OBJECT: u16 = 18;
const GET_OBJECT: u16 = 19;
const DEL_OBJECT: u16 = 20;
const CREATE: u16 = 0x400;
const EXCLUSIVE: u16 = 0x200;
const APPEND: u16 = 0x800;
const SUBSYSTEM: u16 = 10 << 8;

/// Changes that take effect together.
#[derive(Debug)]
pub struct Batch {
    messages: Vec<(u16, u16, u8, Attrs)>,
}

impl Default for Batch {
    fn default() -> Batch {
        Batch::new()
    }
}

impl Batch {
    /// No change yet.
    pub fn new() -> Batch {
        Batch { messages: Vec::new() }
    }

    /// Whether it would change nothing.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    fn push(&mut self, kind: u16, flags: u16, family: Family, body: Attrs) {
        self.messages.push((kind, flags, family.number(), body));
    }

    /// Makes a table that is this socket's own, and is gone with it (`flags owner`). Linux 5.12.
    pub fn table(&mut self, family: Family, table: &str) {
        self.push(NEW_TABLE, CREATE | EXCLUSIVE, family, Attrs::new().text(1, table).be32(2, 2));
    }

    /// Removes a table with everything in it.
    pub fn remove_table(&mut self, family: Family, table: &str) {
        self.push(DEL_TABLE, 0, family, Attrs::new().text(1, table));
    }

    /// Makes a chain that sees packets at a hook. `kind` is `filter` or `nat`; what reaches its end goes on.
    pub fn base_chain(
        &mut self,
        family: Family,
        table: &str,
        chain: &str,
        kind: &str,
        hook: &Hook,
        priority: i32,
    ) {
        let mut at = Attrs::new().be32(1, hook.number()).be32(2, priority as u32);
        if let Some(device) = hook.device() {
            at = at.text(3, device);
        }
        let body = Attrs::new().text(1, table).text(3, chain).nest(4, &at).be32(5, 1).text(7, kind);
        self.push(NEW_CHAIN, CREATE | EXCLUSIVE, family, body);
    }

    /// Makes a chain that others lead to.
    pub fn chain(&mut self, family: Family, table: &str, chain: &str) {
        self.push(NEW_CHAIN, CREATE | EXCLUSIVE, family, Attrs::new().text(1, table).text(3, chain));
    }

    /// Removes a chain; nothing may lead to it.
    pub fn remove_chain(&mut self, family: Family, table: &str, chain: &str) {
        self.push(DEL_CHAIN, 0, family, Attrs::new().text(1, table).text(3, chain));
    }

    /// Empties a chain.
    pub fn flush(&mut self, family: Family, table: &str, chain: &str) {
        self.push(DEL_RULE, 0, family, Attrs::new().text(1, table).text(2, chain));
    }

    /// Puts a rule at the end of a chain.
    pub fn rule(&mut self, family: Family, table: &str, chain: &str, rule: &Rule) {
        let mut body = Attrs::new().text(1, table).text(2, chain).nest(4, &rule.expressions);
        if !rule.comment.is_empty() {
            let text = rule.comment.as_bytes();
            // The way nft(8) keeps comments: type 0, length, text with its zero.
            let mut data = vec![0, text.len() as u8 + 1];
            data.extend(text);
            data.push(0);
            body = body.raw(7, &data);
        }
        self.push(NEW_RULE, CREATE | APPEND, family, body);
    }

    /// Makes a counter.
    pub fn counter(&mut self, family: Family, table: &str, counter: &str) {
        let zero = Attrs::new().be64(1, 0).be64(2, 0);
        let body = Attrs::new().text(1, table).text(2, counter).be32(3, COUNTER).nest(4, &zero);
        self.push(NEW_OBJECT, CREATE | EXCLUSIVE, family, body);
    }

    /// Removes a counter; no rule may use it.
    pub fn remove_counter(&mut self, family: Family, table: &str, counter: &str) {
        let body = Attrs::new().text(1, table).text(2, counter).be32(3, COUNTER);
        self.push(DEL_OBJECT, 0, family, body);
    }
}

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
