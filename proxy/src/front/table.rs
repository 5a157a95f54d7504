//! The rules that lead connections to us: a table of nf_tables that our netlink socket owns, in the container's namespace.
//! The kernel takes it away with the socket, however that comes about; nothing of this outlives the agent.
//!
//! ```text
//! pre  (nat, prerouting)   what comes from outside to the port
//! out  (nat, output)       or, outgoing: what programs inside say to that port elsewhere
//! ```
//!
//! Of each connection only its first packet is asked: connections that were open before go on as they were.

use host::netlink::NetlinkError;
use host::netlink::nft::{Batch, Compare, Family, Header, Hook, Meta, Nft, Rule, Verdict};
use model::target::Front;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// The mark of what we dial from inside: it is never led to us again. No other rule of murphy's knows it.
pub(crate) const MARK: u32 = 0x6066_7970;

/// Before what others redirect (-100), for the first that does decides.
const PRIORITY: i32 = -110;
/// The Ethernet types of the two families.
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];

/// Descriptors for the sockets of tables, lower than those of connections: the kernel ends what a killed process had open
/// from the highest one downwards, and the rules must be there while connections that they lead say goodbye.
static LOW: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());
/// How many: so many containers at once are left in good order by a murphy that is killed.
const SET_ASIDE: usize = 4;

/// Sets low descriptors aside. To be called before there are connections.
pub(crate) fn reserve() {
    for _ in 0..SET_ASIDE {
        reserve_one();
    }
}

/// Sets one aside: the kernel gives the lowest that is free. To be called when a table has gone, in whose place another comes.
pub(crate) fn reserve_one() {
    let mut low = LOW.lock().unwrap_or_else(PoisonError::into_inner);
    // A process without descriptors has other troubles.
    if low.len() < SET_ASIDE
        && let Ok(null) = std::fs::File::open("/dev/null")
    {
        low.push(null.into());
    }
}

/// The lowest of those set aside.
fn lowest() -> Option<OwnedFd> {
    let mut low = LOW.lock().unwrap_or_else(PoisonError::into_inner);
    let at = (0..low.len()).min_by_key(|at| low[*at].as_raw_fd())?;
    Some(low.swap_remove(at))
}

/// Rules that are in force as long as this lives.
#[derive(Debug)]
pub(crate) struct Table {
    nft: Nft,
    name: String,
    chain: &'static str,
}

impl Table {
    /// Leads the port's new connections to these ports of ours. To be called by a thread in the namespace.
    pub(crate) fn install(front: &Front, v4: Option<u16>, v6: Option<u16>) -> Result<Table, NetlinkError> {
        let mut nft = Nft::open()?;
        let name = name(front);
        // To touch another's table is forbidden, which would sound as if we were.
        if nft.has_table(Family::Inet, &name)? {
            return Err(NetlinkError { errno: nix::libc::EEXIST, said: String::new() });
        }
        let (chain, hook) = match front.outgoing {
            false => ("pre", Hook::Prerouting),
            true => ("out", Hook::Output),
        };
        let mut batch = Batch::new();
        let family = Family::Inet;
        batch.table(family, &name);
        batch.base_chain(family, &name, chain, "nat", &hook, PRIORITY);
        let loopback = 1_u32.to_ne_bytes();
        let side = if front.outgoing { Meta::OutIndex } else { Meta::InIndex };
        let inside = Rule::new().meta(side, Compare::Eq, &loopback).verdict(Verdict::Accept);
        batch.rule(family, &name, chain, &inside.comment("what the container says to itself"));
        let own = Rule::new().mark(u32::MAX, Compare::Eq, MARK).verdict(Verdict::Accept);
        batch.rule(family, &name, chain, &own.comment("what murphy itself dials"));
        for (kind, ours) in [(IPV4, v4), (IPV6, v6)] {
            let Some(ours) = ours else { continue };
            let rule = Rule::new()
                .meta(Meta::Protocol, Compare::Eq, &kind)
                .opens_tcp()
                .bytes(Header::Transport, 2, Compare::Eq, &front.port.to_be_bytes())
                .redirect(ours);
            batch.rule(family, &name, chain, &rule.comment("murphy: a proxy stands in front"));
        }
        nft.commit(&batch)?;
        if let Some(low) = lowest() {
            // Without it those who were led to us may wait for ever when we are killed, but nothing else is wrong.
            let _ = nft.take_place(low);
        }
        Ok(Table { nft, name, chain })
    }

    /// Leads no more connections to us. Those that were led keep their addresses as long as the table is there.
    pub(crate) fn lift(&mut self) -> Result<(), NetlinkError> {
        let mut batch = Batch::new();
        batch.flush(Family::Inet, &self.name, self.chain);
        self.nft.commit(&batch)
    }
}

/// One table for a port and a way: the kernel refuses a second one of the same name.
pub(crate) fn name(front: &Front) -> String {
    format!("murphy-front-{}-{}", if front.outgoing { "out" } else { "in" }, front.port)
}
