//! A fault in one namespace, complete: which packets, at which interfaces, and what becomes of them.

use super::emulated::Tally;
use super::filter::{Filter, Matcher, Way};
use super::shape::Shape;
use host::netlink::route::{Link, LinkKind};
use std::sync::Arc;
use std::time::Instant;

/// What is done, and who does it.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// This program holds packets.
    Emulated(Arc<Shape>),
    /// The kernel's netem or tbf does.
    Native(Arc<Shape>),
    /// nf_tables loses that share.
    Loss(f64),
    /// nf_tables drops them all; `reject` tells the sender.
    Cut {
        /// The sender is told.
        reject: bool,
    },
    /// nf_tables leads queries for names to that port.
    Redirect(u16),
}

/// A fault in a namespace.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// The fault's id.
    pub id: String,
    /// Its number, unique in this process.
    pub number: u64,
    /// The interfaces.
    pub links: Vec<Link>,
    /// Packets that leave are meant.
    pub out: bool,
    /// Packets that come in are meant.
    pub into: bool,
    /// Which packets.
    pub filter: Filter,
    /// The same with names resolved.
    pub matcher: Arc<Matcher>,
    /// What is done.
    pub what: What,
    /// What its draws begin from.
    pub seed: u64,
    /// When it was armed.
    pub armed: Instant,
    /// The process whose files say how names resolve there.
    pub pid: Option<u32>,
    /// What it did.
    pub tally: Arc<Tally>,
}

impl Part {
    /// The ways on which packets are met at an interface. On the loopback each packet is met once.
    pub(crate) fn ways(&self, link: &Link) -> Vec<Way> {
        if link.frames == LinkKind::Loopback {
            return vec![Way::Either];
        }
        [(self.out, Way::Out), (self.into, Way::In)]
            .into_iter()
            .filter(|(on, _)| *on)
            .map(|(_, way)| way)
            .collect()
    }

    /// All of them, by interface.
    pub(crate) fn spots(&self) -> Vec<(&Link, Way)> {
        self.links.iter().flat_map(|link| self.ways(link).into_iter().map(move |way| (link, way))).collect()
    }

    /// The counter of packets that its filter hits.
    pub(crate) fn seen(&self) -> String {
        format!("f{}_seen", self.number)
    }

    /// The counter of those that it did something to.
    pub(crate) fn hit(&self) -> String {
        format!("f{}_hit", self.number)
    }
}
