//! Messages of the domain name system (RFC 1035): a query read, an answer written, an answer read for its addresses.

use std::net::IpAddr;

/// The question of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Its id, which the answer repeats.
    pub id: u16,
    /// Recursion is wanted.
    pub recursion: bool,
    /// The name, in lower case and without the dot at its end.
    pub name: String,
    /// The type that is asked for: 1 is A, 28 is AAAA.
    pub kind: u16,
    /// The question as it came, to be repeated.
    question: Vec<u8>,
}

/// An address of IPv4.
pub const A: u16 = 1;
/// An address of IPv6.
pub const AAAA: u16 = 28;
/// No error.
pub const OK: u8 = 0;
/// The server failed.
pub const SERVFAIL: u8 = 2;
/// There is no such name.
pub const NXDOMAIN: u8 = 3;
/// The server does not want to.
pub const REFUSED: u8 = 5;

const HEADER: usize = 12;
const INTERNET: u16 = 1;

/// Reads a query. None for what is none, and for what asks for more or less than one thing.
pub fn query(bytes: &[u8]) -> Option<Query> {
    let head = bytes.get(..HEADER)?;
    let response = head[2] & 0x80 != 0;
    // Opcode 0 is a query.
    if response || head[2] & 0x78 != 0 || head[4..6] != [0, 1] {
        return None;
    }
    let (name, end) = name(bytes, HEADER)?;
    let rest = bytes.get(end..end + 4)?;
    if u16::from_be_bytes([rest[2], rest[3]]) != INTERNET {
        return None;
    }
    Some(Query {
        id: u16::from_be_bytes([head[0], head[1]]),
        recursion: head[2] & 1 != 0,
        name,
        kind: u16::from_be_bytes([rest[0], rest[1]]),
        question: bytes[HEADER..end + 4].to_vec(),
    })
}

impl Query {
    /// A query of ours for addresses.
    pub fn ask(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
        let mut out = id.to_be_bytes().to_vec();
        out.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        for label in name.trim_end_matches('.').split('.') {
            if label.is_empty() || label.len() > 63 {
                return None;
            }
            out.push(label.len() as u8);
            out.extend(label.bytes());
        }
        out.push(0);
        out.extend(kind.to_be_bytes());
        out.extend(INTERNET.to_be_bytes());
        (out.len() <= HEADER + 259).then_some(out)
    }

    /// An answer without records; `truncated` makes the asker come again by TCP.
    pub fn reply(&self, code: u8, truncated: bool) -> Vec<u8> {
        self.head(code, truncated, 0)
    }

    /// An answer with those of the addresses that were asked for.
    pub fn addresses(&self, all: &[IpAddr], ttl: u32) -> Vec<u8> {
        let fits: Vec<&IpAddr> = all
            .iter()
            .filter(|ip| (self.kind == A && ip.is_ipv4()) || (self.kind == AAAA && ip.is_ipv6()))
            .collect();
        let mut out = self.head(OK, false, fits.len() as u16);
        for ip in fits {
            // The name is the one at offset 12.
            out.extend([0xc0, HEADER as u8]);
            out.extend(self.kind.to_be_bytes());
            out.extend(INTERNET.to_be_bytes());
            out.extend(ttl.to_be_bytes());
            match ip {
                IpAddr::V4(ip) => {
                    out.extend([0, 4]);
                    out.extend(ip.octets());
                }
                IpAddr::V6(ip) => {
                    out.extend([0, 16]);
                    out.extend(ip.octets());
                }
            }
        }
        out
    }

    fn head(&self, code: u8, truncated: bool, answers: u16) -> Vec<u8> {
        let mut out = self.id.to_be_bytes().to_vec();
        out.push(0x80 | if truncated { 2 } else { 0 } | u8::from(self.recursion));
        // Recursion is available.
        out.push(0x80 | code);
        out.extend([0, 1]);
        out.extend(answers.to_be_bytes());
        out.extend([0, 0, 0, 0]);
        out.extend(&self.question);
        out
    }
}

/// The addresses in an answer to the query with that id; none when it is none, or not an answer without error.
pub fn answer(bytes: &[u8], id: u16) -> Option<Vec<IpAddr>> {
    let head = bytes.get(..HEADER)?;
    let count = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    if count(0) != id || head[2] & 0x80 == 0 || head[3] & 15 != OK {
        return None;
    }
    let mut at = HEADER;
    for _ in 0..count(4) {
        at = name(bytes, at)?.1 + 4;
    }
    let mut out = Vec::new();
    for _ in 0..count(6) {
        at = name(bytes, at)?.1;
        let record = bytes.get(at..at + 10)?;
        let length = usize::from(u16::from_be_bytes([record[8], record[9]]));
        let data = bytes.get(at + 10..at + 10 + length)?;
        match (u16::from_be_bytes([record[0], record[1]]), data.len()) {
            (A, 4) => out.push(<[u8; 4]>::try_from(data).ok()?.into()),
            (AAAA, 16) => out.push(<[u8; 16]>::try_from(data).ok()?.into()),
            _ => {}
        }
        at += 10 + length;
    }
    Some(out)
}

/// The name at an offset, and where what follows begins. Pointers lead backwards only, so that there is an end.
fn name(bytes: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut text, mut at, mut end) = (String::new(), start, None);
    let mut least = start;
    loop {
        let length = usize::from(*bytes.get(at)?);
        match length {
            0 => break,
            1..64 => {
                let label = bytes.get(at + 1..at + 1 + length)?;
                if !text.is_empty() {
                    text.push('.');
                }
                text.extend(label.iter().map(|b| char::from(b.to_ascii_lowercase())));
                if text.len() > 1024 {
                    return None;
                }
                at += 1 + length;
            }
            192.. => {
                let to = (length & 63) << 8 | usize::from(*bytes.get(at + 1)?);
                end.get_or_insert(at + 2);
                // No name is in the header; and what a query's only name would point to there, is other in the answer.
                if to >= least || to < HEADER {
                    return None;
                }
                (least, at) = (to, to);
            }
            _ => return None,
        }
    }
    Some((text, end.unwrap_or(at + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_question_is_read_and_answered() {
        let bytes = Query::ask(7, "Db.Example.org", A).unwrap();
        let query = query(&bytes).unwrap();
        assert_eq!((query.id, query.name.as_str(), query.kind), (7, "db.example.org", A));
        let both: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let reply = query.addresses(&both, 5);
        assert_eq!(answer(&reply, 7).unwrap(), [both[0]]);
        assert_eq!(answer(&reply, 8), None);
        let none = query.reply(NXDOMAIN, false);
        assert_eq!((answer(&none, 7), none[3] & 15), (None, NXDOMAIN));
        assert_eq!(query.reply(OK, true)[2] & 2, 2);
        assert_eq!(super::query(&reply), None);
        assert!(Query::ask(1, "a..b", A).is_none());
    }

    #[test]
    fn a_name_that_points_at_itself_is_no_name() {
        let mut bytes = Query::ask(7, "a", A).unwrap();
        bytes.splice(12..15, [0xc0, 12]);
        assert_eq!(query(&bytes), None);
        // Nor one that points into the header, where the answer has something else.
        bytes[13] = 1;
        assert_eq!(query(&bytes), None);
    }

    proptest! {
        #[test]
        fn nothing_that_comes_in_hurts(bytes in prop::collection::vec(any::<u8>(), 0..300), id: u16) {
            query(&bytes);
            answer(&bytes, id);
        }
    }
}
