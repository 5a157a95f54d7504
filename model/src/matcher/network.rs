//! Networks of client addresses.

use crate::problem::Problem;
use std::fmt;
use std::net::IpAddr;

/// A network in CIDR notation; a bare address is itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Reads `10.0.0.0/8`, `::1` or `127.0.0.1`.
    pub fn parse(text: &str) -> Result<Network, Problem> {
        let error = || {
            Problem::new(format!("{text:?} is neither an address nor a network"))
                .hint("write for example 10.0.0.0/8 or 127.0.0.1")
        };
        let (address, bits) = match text.split_once('/') {
            Some((a, b)) => (a, Some(b.parse::<u8>().map_err(|_| error())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let full = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(full);
        if bits > full { Err(error()) } else { Ok(Network { address, bits }) }
    }

    /// Whether the address lies in it. IPv4 addresses written as IPv6 count as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        fn wide(ip: IpAddr) -> (u128, u8) {
            match ip.to_canonical() {
                IpAddr::V4(v) => (u128::from(v.to_bits()) << 96, 4),
                IpAddr::V6(v) => (v.to_bits(), 6),
            }
        }
        let ((net, family), (ip, other)) = (wide(self.address), wide(ip));
        family == other && (self.bits == 0 || (net ^ ip) >> (128 - u32::from(self.bits)) == 0)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}
