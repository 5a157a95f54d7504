//! What a packet says about itself: addresses, protocol, ports; and its checksum made right again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// TCP, as IP numbers it.
pub(crate) const TCP: u8 = 6;
/// UDP.
pub(crate) const UDP: u8 = 17;
/// ICMP of IPv4.
pub(crate) const ICMP: u8 = 1;
/// ICMP of IPv6.
pub(crate) const ICMP6: u8 = 58;

/// The facts that filters ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// From where.
    pub from: IpAddr,
    /// To where.
    pub to: IpAddr,
    /// What it carries, past all extension headers.
    pub protocol: u8,
    /// Source and destination port; none for other protocols, later fragments, and what is cut off before them.
    pub ports: Option<(u16, u16)>,
    /// Neighbour discovery, which must always pass.
    pub neighbour: bool,
    /// Where the transport header begins.
    pub transport: usize,
}

/// Reads a packet from its IP header on. None for what is no IP, and for what is too short to say.
pub fn parse(bytes: &[u8]) -> Option<Packet> {
    match bytes.first()? >> 4 {
        4 => parse_four(bytes),
        6 => parse_six(bytes),
        _ => None,
    }
}

fn parse_four(bytes: &[u8]) -> Option<Packet> {
    let head = bytes.get(..20)?;
    let transport = usize::from(head[0] & 15) * 4;
    if transport < 20 {
        return None;
    }
    let later = u16::from_be_bytes([head[6], head[7]]) & 0x1fff != 0;
    let four = |at: usize| IpAddr::V4(Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3]));
    let protocol = head[9];
    let ports = ports(bytes, protocol, transport, later);
    Some(Packet { from: four(12), to: four(16), protocol, ports, neighbour: false, transport })
}

fn parse_six(bytes: &[u8]) -> Option<Packet> {
    let head = bytes.get(..40)?;
    let six = |at: usize| -> Option<IpAddr> {
        Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(head.get(at..at + 16)?).ok()?)))
    };
    let (mut protocol, mut transport, mut later) = (head[6], 40, false);
    // Hop-by-hop, routing, fragment, authentication, destination options, mobility. A chain longer than this is no packet
    // that anyone sends.
    for _ in 0..8 {
        let ext = match protocol {
            0 | 43 | 44 | 51 | 60 | 135 => bytes.get(transport..transport + 8),
            _ => break,
        };
        // Cut off: what it carries is unknown.
        let ext = ext?;
        if protocol == 44 {
            later = u16::from_be_bytes([ext[2], ext[3]]) & 0xfff8 != 0;
        }
        transport += match protocol {
            44 => 8,
            51 => (usize::from(ext[1]) + 2) * 4,
            _ => (usize::from(ext[1]) + 1) * 8,
        };
        protocol = ext[0];
        if later {
            break;
        }
    }
    let neighbour =
        protocol == ICMP6 && !later && bytes.get(transport).is_some_and(|kind| (133..=137).contains(kind));
    let ports = ports(bytes, protocol, transport, later);
    Some(Packet { from: six(8)?, to: six(24)?, protocol, ports, neighbour, transport })
}

fn ports(bytes: &[u8], protocol: u8, transport: usize, later: bool) -> Option<(u16, u16)> {
    if later || (protocol != TCP && protocol != UDP) {
        return None;
    }
    let p = bytes.get(transport..transport + 4)?;
    Some((u16::from_be_bytes([p[0], p[1]]), u16::from_be_bytes([p[2], p[3]])))
}

/// Where the IP header begins in a frame, and after which tags; none for what is no IP.
pub fn ip_in_frame(frame: &[u8]) -> Option<usize> {
    let mut at = 12;
    // Up to two VLAN tags.
    for _ in 0..3 {
        match u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]) {
            0x0800 | 0x86dd => return Some(at + 2),
            0x8100 | 0x88a8 => at += 4,
            _ => return None,
        }
    }
    None
}

/// The transport header's checksum made right, after bytes were changed. Whether there was one.
pub fn repair(bytes: &mut [u8]) -> bool {
    let Some(packet) = parse(bytes) else { return false };
    let at = match packet.protocol {
        TCP => packet.transport + 16,
        UDP => packet.transport + 6,
        _ => return false,
    };
    let end = match bytes[0] >> 4 {
        4 => usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
        _ => 40 + usize::from(u16::from_be_bytes([bytes[4], bytes[5]])),
    };
    let end = end.min(bytes.len());
    let length = end.saturating_sub(packet.transport);
    if packet.ports.is_none() || at + 2 > end {
        return false;
    }
    let unused = packet.protocol == UDP && packet.from.is_ipv4() && bytes[at..at + 2] == [0, 0];
    if unused {
        return true;
    }
    bytes[at..at + 2].fill(0);
    let addresses = match bytes[0] >> 4 {
        4 => 12..20,
        _ => 8..40,
    };
    let sum = add(&bytes[addresses], u64::from(packet.protocol) + length as u64);
    let sum = !fold(add(&bytes[packet.transport..end], sum));
    let sum = if sum == 0 && packet.protocol == UDP { 0xffff } else { sum };
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    true
}

fn add(bytes: &[u8], sum: u64) -> u64 {
    let words = bytes.chunks(2).map(|w| u64::from(w[0]) << 8 | u64::from(w.get(1).copied().unwrap_or(0)));
    words.fold(sum, |sum, word| sum + word)
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A packet with an empty payload of 8 bytes, correct but for its checksums.
    pub(crate) fn build(from: IpAddr, to: IpAddr, protocol: u8, ports: (u16, u16)) -> Vec<u8> {
        let mut transport = vec![0; if protocol == TCP { 28 } else { 16 }];
        transport[..2].copy_from_slice(&ports.0.to_be_bytes());
        transport[2..4].copy_from_slice(&ports.1.to_be_bytes());
        match protocol {
            TCP => transport[12] = 5 << 4,
            _ => transport[4..6].copy_from_slice(&16_u16.to_be_bytes()),
        }
        let mut out = Vec::new();
        match (from, to) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                out.extend([0x45, 0]);
                out.extend((20 + transport.len() as u16).to_be_bytes());
                out.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
                out.extend(a.octets());
                out.extend(b.octets());
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                out.extend([0x60, 0, 0, 0]);
                out.extend((transport.len() as u16).to_be_bytes());
                out.extend([protocol, 64]);
                out.extend(a.octets());
                out.extend(b.octets());
            }
            _ => panic!("two families"),
        }
        out.extend(transport);
        out
    }

    #[test]
    fn both_versions_are_read() {
        let four = build("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap(), TCP, (7, 80));
        let packet = parse(&four).unwrap();
        assert_eq!((packet.protocol, packet.ports, packet.transport), (TCP, Some((7, 80)), 20));
        let six = build("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap(), UDP, (7, 53));
        assert_eq!(parse(&six).unwrap().ports, Some((7, 53)));
        let mut later = four.clone();
        later[7] = 1;
        assert_eq!(parse(&later).unwrap().ports, None);
        // A header of options before UDP.
        let mut options = six.clone();
        options[6] = 60;
        options.splice(40..40, [UDP, 0, 0, 0, 0, 0, 0, 0]);
        let packet = parse(&options).unwrap();
        assert_eq!((packet.protocol, packet.ports, packet.transport), (UDP, Some((7, 53)), 48));
        let mut solicit = six;
        solicit[6] = ICMP6;
        solicit[40] = 135;
        assert!(parse(&solicit).unwrap().neighbour);
        let frame = [vec![0; 12], vec![0x81, 0, 0, 5, 8, 0], four].concat();
        assert_eq!(ip_in_frame(&frame), Some(18));
        assert_eq!(ip_in_frame(&[&[0; 12][..], &[8, 6]].concat()), None);
    }

    #[test]
    fn a_checksum_is_what_others_compute() {
        // From RFC 1071's arithmetic by hand: addresses, protocol, length and ports all summed.
        let mut bytes = build("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap(), UDP, (1000, 53));
        bytes[26..28].copy_from_slice(&[1, 1]);
        assert!(repair(&mut bytes));
        let mut sum = add(&bytes[12..20], 17 + 16);
        sum = add(&bytes[20..], sum);
        assert_eq!(fold(sum), 0xffff);
        let before = bytes.clone();
        bytes[30] ^= 4;
        assert!(repair(&mut bytes) && bytes[26..28] != before[26..28]);
    }

    proptest! {
        #[test]
        fn nothing_that_comes_in_hurts(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            parse(&bytes);
            ip_in_frame(&bytes);
            repair(&mut bytes);
        }
    }
}
