//! What an interface loses when it is switched off, and how it gets it back: routes through it, and its IPv6 addresses.
//! Kept as the kernel told it, so that whatever is special about a route is there again.

use super::{CREATE, Link, Route};
use crate::netlink::attrs;
use crate::netlink::socket::NetlinkError;
use serde::{Deserialize, Serialize};

/// What an interface had, as messages of rtnetlink in hexadecimal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    addresses: Vec<String>,
    routes: Vec<String>,
}

impl Saved {
    /// How many addresses and routes.
    pub fn len(&self) -> usize {
        self.addresses.len() + self.routes.len()
    }

    /// Whether there was nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// RTPROT_KERNEL: such routes come and go with addresses, by themselves.
const BY_KERNEL: u8 = 2;

impl Route {
    /// What the interface would lose.
    pub fn save(&mut self, link: &Link) -> Result<Saved, NetlinkError> {
        let index = link.index;
        let addresses = self.socket.list(22, &[0; 8], |message| {
            let body = message.body;
            let six = i32::from(*body.first()?) == libc::AF_INET6;
            // Those of the link (scope 253) come back by themselves.
            let global = *body.get(3)? < 253;
            (six && global && attrs::ne32(body.get(4..8)?)? == index).then(|| hex(body))
        })?;
        let mut routes = self.socket.list(26, &[0; 12], |message| {
            let body = message.body;
            let (table, proto, kind) = (*body.get(4)?, *body.get(5)?, *body.get(7)?);
            let rest = body.get(12..)?;
            let hops = attrs::find(rest, 9).into_iter().flat_map(next_hops);
            let mut out = attrs::find(rest, 4).and_then(attrs::ne32).into_iter().chain(hops);
            // Table 255 is the kernel's own, type 1 is unicast.
            let ours = out.any(|i| i == index) && table != 255 && proto != BY_KERNEL && kind == 1;
            let gateway = attrs::find(rest, 5).is_some() || attrs::find(rest, 9).is_some();
            ours.then(|| (gateway, hex(body)))
        })?;
        // A gateway is reached by a route that must be there before.
        routes.sort_by_key(|(gateway, _)| *gateway);
        Ok(Saved { addresses, routes: routes.into_iter().map(|(_, body)| body).collect() })
    }

    /// Gives it back. What is there already is left; the first that could not be given back, if any.
    pub fn restore(&mut self, saved: &Saved) -> Result<(), NetlinkError> {
        let mut first = None;
        let bodies = saved.addresses.iter().map(|b| (20, b)).chain(saved.routes.iter().map(|b| (24, b)));
        for (kind, text) in bodies {
            let Some(mut body) = bytes(text) else { continue };
            if kind == 24
                && let Some(flags) = body.get_mut(8)
            {
                // What the kernel says about its state may not be said to it: dead, offloaded, link down.
                *flags &= !(1 | 8 | 16);
            }
            match self.socket.request(kind, CREATE, &body) {
                Err(e) if !e.is(libc::EEXIST) => {
                    first.get_or_insert(e);
                }
                _ => {}
            }
        }
        first.map_or(Ok(()), Err)
    }
}

/// The interfaces of a route with several next hops (struct rtnexthop).
fn next_hops(mut rest: &[u8]) -> Vec<u32> {
    let mut out = Vec::new();
    while let Some(head) = rest.get(..8) {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        out.extend(attrs::ne32(&head[4..8]));
        match rest.get(length.max(8).next_multiple_of(4)..) {
            Some(next) => rest = next,
            None => break,
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes();
    let pair = |p: &[u8]| u8::from_str_radix(std::str::from_utf8(p).ok()?, 16).ok();
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(pair).collect::<Option<_>>())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_their_text_are_the_same() {
        assert_eq!(bytes(&hex(&[0, 255, 16])), Some(vec![0, 255, 16]));
        assert_eq!(bytes("0g"), None);
        assert_eq!(bytes("012"), None);
        assert_eq!(next_hops(&[8, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0]), [7, 9]);
    }
}
