//! Interfaces.

use super::{CREATE, EXCLUSIVE, Route};
use crate::netlink::attrs::{self, Attrs};
use crate::netlink::socket::NetlinkError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its index in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What it is made of, as `ip -d link` says: `veth`, `ifb`; empty for hardware.
    pub kind: String,
    /// A text that someone gave it (`ip link set alias`).
    pub alias: String,
    /// Its address on the link; empty where there is none.
    pub address: Vec<u8>,
    /// What its frames are like.
    pub frames: LinkKind,
    /// Whether it is switched on (IFF_UP).
    pub up: bool,
    /// The largest packet.
    pub mtu: u32,
    /// How many packets a qdisc may hold by default.
    pub queue: u32,
}

/// What frames look like on an interface: `ARPHRD_…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    /// Ethernet.
    Ethernet,
    /// The loopback, whose frames look like Ethernet.
    Loopback,
    /// Anything else, with its number: a tunnel, mostly, of bare IP packets.
    Other(u16),
}

const NEW: u16 = 16;
const DELETE: u16 = 17;
const GET: u16 = 18;
const UP: u32 = 1;

/// struct ifinfomsg
fn head(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body.extend(change.to_ne_bytes());
    body
}

impl Route {
    /// All interfaces of the namespace.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        self.socket.list(GET, &head(0, 0, 0), |message| parse(message.body))
    }

    /// The interface of that name.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        Ok(self.links()?.into_iter().find(|link| link.name == name))
    }

    /// Makes an intermediate functional block: what leaves through it goes on where it came from.
    pub fn add_ifb(&mut self, name: &str) -> Result<(), NetlinkError> {
        let mut body = head(0, 0, 0);
        let attrs = Attrs::new().text(3, name).ne32(13, 1000).nest(18, &Attrs::new().text(1, "ifb"));
        body.extend(attrs.bytes());
        self.socket.request(NEW, CREATE | EXCLUSIVE, &body)
    }

    /// Gives it an alias.
    pub fn set_alias(&mut self, index: u32, alias: &str) -> Result<(), NetlinkError> {
        let mut body = head(index, 0, 0);
        body.extend(Attrs::new().raw(20, alias.as_bytes()).bytes());
        self.socket.request(NEW, 0, &body)
    }

    /// No addresses by itself (IPv6), room for that many packets, and packets as long as can be.
    pub fn set_quiet(&mut self, index: u32, queue: u32) -> Result<(), NetlinkError> {
        let mut body = head(index, 0, 0);
        // IFLA_AF_SPEC / AF_INET6 / IFLA_INET6_ADDR_GEN_MODE = none
        let none = Attrs::new().nest(libc::AF_INET6 as u16, &Attrs::new().raw(8, &[1]));
        // Without IPv6 there is nothing to keep quiet.
        let mut with = body.clone();
        with.extend(Attrs::new().nest(26, &none).bytes());
        let _ = self.socket.request(NEW, 0, &with);
        body.extend(Attrs::new().ne32(13, queue).ne32(4, 65_521).bytes());
        self.socket.request(NEW, 0, &body)
    }

    /// How many packets a qdisc may hold by default.
    pub fn set_queue(&mut self, index: u32, packets: u32) -> Result<(), NetlinkError> {
        let mut body = head(index, 0, 0);
        body.extend(Attrs::new().ne32(13, packets).bytes());
        self.socket.request(NEW, 0, &body)
    }

    /// Switches it on or off.
    pub fn set_up(&mut self, index: u32, up: bool) -> Result<(), NetlinkError> {
        self.socket.request(NEW, 0, &head(index, if up { UP } else { 0 }, UP))
    }

    /// Removes it.
    pub fn remove_link(&mut self, index: u32) -> Result<(), NetlinkError> {
        self.socket.request(DELETE, 0, &head(index, 0, 0))
    }

    /// The addresses of all interfaces, with the index of the one that has them.
    pub fn addresses(&mut self) -> Result<Vec<(u32, IpAddr)>, NetlinkError> {
        self.socket.list(22, &[0; 8], |message| {
            let index = attrs::ne32(message.body.get(4..8)?)?;
            let rest = message.body.get(8..)?;
            // IFA_LOCAL (2) where it differs from IFA_ADDRESS (1), the other end of a point-to-point link.
            let value = attrs::find(rest, 2).or_else(|| attrs::find(rest, 1))?;
            let ip = match value.len() {
                4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?)),
                16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?)),
                _ => return None,
            };
            Some((index, ip))
        })
    }
}

fn parse(body: &[u8]) -> Option<Link> {
    let frames = match u16::from_ne_bytes(body.get(2..4)?.try_into().ok()?) {
        1 => LinkKind::Ethernet,
        772 => LinkKind::Loopback,
        other => LinkKind::Other(other),
    };
    let index = attrs::ne32(body.get(4..8)?)?;
    let flags = attrs::ne32(body.get(8..12)?)?;
    let rest = body.get(16..)?;
    let text = |kind| attrs::find(rest, kind).map(attrs::text).unwrap_or_default();
    let kind = attrs::find(rest, 18).and_then(|info| attrs::find(info, 1)).map(attrs::text);
    Some(Link {
        index,
        name: text(3),
        kind: kind.unwrap_or_default(),
        alias: text(20),
        address: attrs::find(rest, 1).unwrap_or_default().to_vec(),
        frames,
        up: flags & UP != 0,
        mtu: attrs::find(rest, 4).and_then(attrs::ne32).unwrap_or(1500),
        queue: attrs::find(rest, 13).and_then(attrs::ne32).unwrap_or(1000),
    })
}
