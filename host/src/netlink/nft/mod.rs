//! nf_tables over netlink: tables that the kernel removes with the socket that made them, base chains, rules, named
//! counters, sets whose elements end by themselves. What is written here is `linux/netfilter/nf_tables.h`; nft(8) has the
//! words for it.
//!
//! A [`Batch`] takes effect as a whole or not at all.
//!
//! ```text
//! rule    what is asked of a packet, and what becomes of it
//! batch   changes of tables, chains, sets, counters
//! held    the socket that carries them out, and owns what it made
//! ```

mod batch;
mod held;
mod rule;

pub use batch::Batch;
pub use held::{Count, Nft};
pub use rule::Rule;

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
    /// The name of the interface it came in at, 16 bytes with zeros at the end.
    InName,
    /// The name of the interface it goes out at, likewise.
    OutName,
    /// The user whose program sends it, four bytes. Only what programs here send has one.
    Owner,
    /// IPv4 (2) or IPv6 (10), one byte.
    Family,
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
            Meta::InName => 6,
            Meta::OutName => 7,
            Meta::Owner => 10,
            Meta::Family => 15,
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

/// The type of objects that are counters.
const COUNTER: u32 = 1;
/// The flag of a table that its socket owns.
const OWNER: u32 = 2;
