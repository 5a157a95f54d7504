//! rtnetlink(7): interfaces, what belongs to them, and how their packets are queued.

mod link;
mod queueing;
mod saved;

pub use link::{Link, LinkKind};
pub use queueing::{Netem, OURS, Qdisc, QdiscStats, Slot, loss, share32};
pub use saved::Saved;

use super::socket::{NetlinkError, Protocol, Socket};

/// A socket for links, addresses, routes and traffic control.
#[derive(Debug)]
pub struct Route {
    socket: Socket,
}

impl Route {
    /// Opens one in the namespace of this thread.
    pub fn open() -> Result<Route, NetlinkError> {
        Ok(Route { socket: Socket::open(Protocol::Route)? })
    }
}

const CREATE: u16 = 0x400;
const EXCLUSIVE: u16 = 0x200;
