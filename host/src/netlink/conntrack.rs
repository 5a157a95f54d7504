//! Connections that netfilter tracks: listed, and forgotten one by one. `linux/netfilter/nfnetlink_conntrack.h`.

use super::attrs::{self, Attrs};
use super::socket::{NetlinkError, Protocol, Socket};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = 1;
const DELETE: u16 = 2;

/// A connection that is tracked, as its first packet went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracked {
    /// From where.
    pub from: IpAddr,
    /// To where.
    pub to: IpAddr,
    /// The transport protocol.
    pub protocol: u8,
    /// The ports, where the protocol has them.
    pub ports: Option<(u16, u16)>,
    family: u8,
    identity: Attrs,
}

/// A socket for tracked connections.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
}

impl Conntrack {
    /// Opens one in the namespace of this thread.
    pub fn open() -> Result<Conntrack, NetlinkError> {
        Ok(Conntrack { socket: Socket::open(Protocol::Netfilter)? })
    }

    /// All that are tracked.
    pub fn list(&mut self) -> Result<Vec<Tracked>, NetlinkError> {
        self.socket.list(SUBSYSTEM | GET, &[0; 4], |message| parse(message.body))
    }

    /// Forgets one; whether it was still there.
    pub fn forget(&mut self, tracked: &Tracked) -> Result<bool, NetlinkError> {
        let mut body = vec![tracked.family, 0, 0, 0];
        body.extend(tracked.identity.bytes());
        match self.socket.request(SUBSYSTEM | DELETE, 0, &body) {
            Ok(()) => Ok(true),
            Err(e) if e.is(libc::ENOENT) => Ok(false),
            Err(e) => Err(e),
        }
    }
}

fn parse(body: &[u8]) -> Option<Tracked> {
    let family = *body.first()?;
    let rest = body.get(4..)?;
    let tuple = attrs::find(rest, 1)?;
    let ip = attrs::find(tuple, 1)?;
    let proto = attrs::find(tuple, 2)?;
    let address = |four, six| match (attrs::find(ip, four), attrs::find(ip, six)) {
        (Some(v), _) => Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(v).ok()?))),
        (_, Some(v)) => Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(v).ok()?))),
        _ => None,
    };
    let port = |kind| Some(u16::from_be_bytes(attrs::find(proto, kind)?.try_into().ok()?));
    let mut identity = Attrs::new().raw(1 | 0x8000, tuple);
    // Its number and its zone: two connections may have the same addresses one after the other, or in different zones.
    for kind in [12, 18] {
        if let Some(value) = attrs::find(rest, kind) {
            identity = identity.raw(kind, value);
        }
    }
    Some(Tracked {
        from: address(1, 3)?,
        to: address(2, 4)?,
        protocol: *attrs::find(proto, 1)?.first()?,
        ports: port(2).zip(port(3)),
        family,
        identity,
    })
}
