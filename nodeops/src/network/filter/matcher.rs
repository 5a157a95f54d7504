//! A filter whose names are resolved, asked of packets.

use super::terms::{Net, Ports};
use super::{Carries, Exempt, Filter, Version, Way};
use crate::network::packet::{ICMP, ICMP6, Packet, TCP, UDP};
use std::net::IpAddr;

/// Which packets, with names resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matcher {
    pub(super) peers: Option<Vec<Net>>,
    pub(super) except: Vec<Net>,
    pub(super) filter: Filter,
}

impl Matcher {
    /// Whether it hits that packet.
    pub fn hits(&self, packet: &Packet, way: Way) -> bool {
        let f = &self.filter;
        let six = packet.from.is_ipv6();
        let carries = match f.carries {
            Carries::Any => true,
            Carries::Tcp => packet.protocol == TCP,
            Carries::Udp => packet.protocol == UDP,
            Carries::Icmp => packet.protocol == if six { ICMP6 } else { ICMP },
        };
        let version = match f.version {
            Version::Any => true,
            Version::Four => !six,
            Version::Six => six,
        };
        if packet.neighbour || !carries || !version || f.exempt.iter().any(|e| e.covers(packet, way)) {
            return false;
        }
        let of = |nets: &[Net]| match way {
            Way::Out => nets.iter().any(|n| n.contains(packet.to)),
            Way::In => nets.iter().any(|n| n.contains(packet.from)),
            Way::Either => nets.iter().any(|n| n.contains(packet.to) || n.contains(packet.from)),
        };
        if of(&self.except) || self.peers.as_deref().is_some_and(|peers| !of(peers)) {
            return false;
        }
        let port = |ports: &[Ports], source: bool, destination: bool| {
            let has = |port| ports.iter().any(|p| p.has(port));
            packet.ports.is_some_and(|(from, to)| source && has(from) || destination && has(to))
        };
        let (remote_is_source, remote_is_destination) = (way != Way::Out, way != Way::In);
        !port(&f.except_ports, true, true)
            && (f.ports.is_empty() || port(&f.ports, true, true))
            && (f.remote_ports.is_empty() || port(&f.remote_ports, remote_is_source, remote_is_destination))
            && (f.local_ports.is_empty() || port(&f.local_ports, remote_is_destination, remote_is_source))
    }

    /// Whether no packet can fulfil it: all its names are unknown.
    pub fn is_void(&self) -> bool {
        self.peers.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether surely no packet fulfils both.
    pub fn is_apart_from(&self, other: &Matcher) -> bool {
        let (a, b) = (&self.filter, &other.filter);
        let carries = a.carries != b.carries && a.carries != Carries::Any && b.carries != Carries::Any;
        let version = a.version != b.version && a.version != Version::Any && b.version != Version::Any;
        let nets = match (&self.peers, &other.peers) {
            (Some(a), Some(b)) => {
                !a.iter().any(|x| b.iter().any(|y| x.contains(y.address) || y.contains(x.address)))
            }
            _ => false,
        };
        let ranges = |a: &[Ports], b: &[Ports]| {
            !a.is_empty() && !b.is_empty() && !a.iter().any(|x| b.iter().any(|y| x.0 <= y.1 && y.0 <= x.1))
        };
        carries
            || version
            || nets
            || ranges(&a.remote_ports, &b.remote_ports)
            || ranges(&a.local_ports, &b.local_ports)
    }
}

impl Exempt {
    fn covers(&self, packet: &Packet, way: Way) -> bool {
        let Some((from, to)) = packet.ports.filter(|_| packet.protocol == TCP) else { return false };
        let is = |local: u16, remote: (IpAddr, u16)| {
            local == self.local_port
                && self.peer.is_none_or(|(ip, port)| ip == remote.0 && port.is_none_or(|p| p == remote.1))
        };
        (way != Way::In && is(from, (packet.to, to))) || (way != Way::Out && is(to, (packet.from, from)))
    }
}
