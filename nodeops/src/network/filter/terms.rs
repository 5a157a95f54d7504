//! What filters are made of: networks, names and ports, as people write them.

use model::Problem;
use std::fmt;
use std::net::IpAddr;

/// A network in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Net {
    pub(super) address: IpAddr,
    pub(super) bits: u8,
}

impl Net {
    /// Just that address.
    pub fn host(address: IpAddr) -> Net {
        Net { address, bits: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// Reads `10.0.0.0/8` or an address.
    pub fn parse(text: &str) -> Option<Net> {
        let (address, bits) = match text.split_once('/') {
            Some((a, b)) => (a, Some(b.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let full = Net::host(address).bits;
        let bits = bits.unwrap_or(full);
        (bits <= full).then_some(Net { address, bits })
    }

    /// Whether an address lies in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let same = |a: u128, b: u128, width: u32| {
            let shift = width - u32::from(self.bits);
            self.bits == 0 || (a ^ b) >> shift == 0
        };
        match (self.address, ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }

    /// Whether all of it is this machine's loopback.
    pub fn is_loopback(&self) -> bool {
        self.address.is_loopback() && self.bits >= if self.address.is_ipv4() { 8 } else { 128 }
    }

    /// The address.
    pub fn address(&self) -> IpAddr {
        self.address
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bits == Net::host(self.address).bits {
            true => write!(f, "{}", self.address),
            false => write!(f, "{}/{}", self.address, self.bits),
        }
    }
}

/// The other side, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// An address or a network.
    Net(Net),
    /// A name, which stands for what it resolves to at the moment.
    Name(String),
}

/// Ports from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports(pub u16, pub u16);

impl Ports {
    pub(super) fn has(self, port: u16) -> bool {
        self.0 <= port && port <= self.1
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == self.1 { write!(f, "{}", self.0) } else { write!(f, "{}-{}", self.0, self.1) }
    }
}

/// Reads `80,443,8000-8099`.
pub fn ports(name: &str, text: &str) -> Result<Vec<Ports>, Problem> {
    let one = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (from.trim().parse::<u16>().ok()?, to.trim().parse::<u16>().ok()?);
        (from > 0 && from <= to).then_some(Ports(from, to))
    };
    let bad = |part: &str| {
        Problem::new(format!("{name}: {part:?} is neither a port nor a range of ports"))
            .hint("write for example 80,443,8000-8099")
    };
    text.split(',').map(str::trim).map(|part| one(part).ok_or_else(|| bad(part))).collect()
}

/// Reads addresses, networks and names.
pub fn peers(name: &str, text: &str) -> Result<Vec<Peer>, Problem> {
    let one = |part: &str| {
        if let Some(net) = Net::parse(part) {
            return Ok(Peer::Net(net));
        }
        let named = part.len() <= 253
            && part.split('.').all(|label| {
                let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                !label.is_empty() && label.len() <= 63 && label.chars().all(fine)
            })
            // 10.0.0.300 is a mistake, not a name.
            && !part.split('.').all(|label| label.bytes().all(|b| b.is_ascii_digit()));
        match named {
            true => Ok(Peer::Name(part.to_ascii_lowercase())),
            false => {
                Err(Problem::new(format!("{name}: {part:?} is neither an address, a network nor a name"))
                    .hint("write for example 10.0.0.7, 10.0.0.0/8, fd00::/8 or db.internal"))
            }
        }
    };
    text.split(',').map(str::trim).map(one).collect()
}
