//! The PROXY protocol (haproxy.org/download/2.9/doc/proxy-protocol.txt): a header before the first byte that says who the
//! client is. Version 1 is a line of text of at most 107 bytes, version 2 is binary.

use model::target::ProxyHeader;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const LONGEST_LINE: usize = 107;

/// What a header said: the client, or nothing when it does not know or spoke for itself.
pub(crate) type Client = Option<SocketAddr>;

/// What is wrong with a header.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Malformed {
    /// Neither version.
    #[error("the connection does not begin with a header of the PROXY protocol")]
    NoHeader,
    /// A line that is not as it should be.
    #[error("the header of PROXY protocol version 1 is malformed")]
    Line,
    /// Bytes that are not as they should be.
    #[error("the header of PROXY protocol version 2 is malformed")]
    Binary,
}

impl From<Malformed> for io::Error {
    fn from(e: Malformed) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, e)
    }
}

/// Reads a header and not a byte more.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Client> {
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    if head == SIGNATURE {
        let mut fixed = [0; 4];
        stream.read_exact(&mut fixed).await?;
        let mut rest = vec![0; usize::from(u16::from_be_bytes([fixed[2], fixed[3]]))];
        stream.read_exact(&mut rest).await?;
        return Ok(binary(fixed[0], fixed[1], &rest)?);
    }
    if !head.starts_with(b"PROXY ") {
        return Err(Malformed::NoHeader.into());
    }
    let mut text = head.to_vec();
    while !text.ends_with(b"\r\n") {
        if text.len() == LONGEST_LINE {
            return Err(Malformed::Line.into());
        }
        text.push(stream.read_u8().await?);
    }
    Ok(line(&text[..text.len() - 2])?)
}

/// A line of version 1, without its end.
fn line(text: &[u8]) -> Result<Client, Malformed> {
    let text = std::str::from_utf8(text).map_err(|_| Malformed::Line)?;
    let mut words = text.split(' ');
    if words.next() != Some("PROXY") {
        return Err(Malformed::Line);
    }
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(None);
    }
    let words: Vec<&str> = words.collect();
    let [source, destination, port, to_port] = words[..] else { return Err(Malformed::Line) };
    let (source, destination): (IpAddr, IpAddr) =
        (source.parse().map_err(|_| Malformed::Line)?, destination.parse().map_err(|_| Malformed::Line)?);
    let (port, _): (u16, u16) =
        (port.parse().map_err(|_| Malformed::Line)?, to_port.parse().map_err(|_| Malformed::Line)?);
    let v4 = match family {
        Some("TCP4") => true,
        Some("TCP6") => false,
        _ => return Err(Malformed::Line),
    };
    if source.is_ipv4() != v4 || destination.is_ipv4() != v4 {
        return Err(Malformed::Line);
    }
    Ok(Some(SocketAddr::new(source, port)))
}

/// What follows the signature in version 2.
fn binary(version: u8, family: u8, rest: &[u8]) -> Result<Client, Malformed> {
    let array = |from: usize, len: usize| rest.get(from..from + len).ok_or(Malformed::Binary);
    let port = |from: usize| array(from, 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
    match (version, family >> 4) {
        // A health check of a proxy before us: it speaks for itself.
        (0x20, _) => Ok(None),
        (0x21, 1) => {
            let ip = <[u8; 4]>::try_from(array(0, 4)?).map_err(|_| Malformed::Binary)?;
            array(0, 12)?;
            Ok(Some(SocketAddr::new(Ipv4Addr::from(ip).into(), port(8)?)))
        }
        (0x21, 2) => {
            let ip = <[u8; 16]>::try_from(array(0, 16)?).map_err(|_| Malformed::Binary)?;
            array(0, 36)?;
            Ok(Some(SocketAddr::new(Ipv6Addr::from(ip).into(), port(32)?)))
        }
        (0x21, 0 | 3) => Ok(None),
        _ => Err(Malformed::Binary),
    }
}

/// The header for a client that came to that address of ours.
pub(crate) fn write(version: ProxyHeader, client: Client, ours: Client) -> Vec<u8> {
    let pair = client.zip(ours).and_then(|(client, ours)| same_family(client, ours));
    match (version, pair) {
        (ProxyHeader::V1, None) => b"PROXY UNKNOWN\r\n".to_vec(),
        (ProxyHeader::V1, Some((from, to))) => {
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            format!("PROXY {family} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port()).into_bytes()
        }
        (ProxyHeader::V2, pair) => {
            let mut body = Vec::new();
            let family = match pair {
                None => 0,
                Some((from, to)) => {
                    for ip in [from.ip(), to.ip()] {
                        match ip {
                            IpAddr::V4(ip) => body.extend(ip.octets()),
                            IpAddr::V6(ip) => body.extend(ip.octets()),
                        }
                    }
                    body.extend(from.port().to_be_bytes());
                    body.extend(to.port().to_be_bytes());
                    if from.is_ipv4() { 0x11 } else { 0x21 }
                }
            };
            let mut all = SIGNATURE.to_vec();
            all.extend([0x21, family]);
            all.extend((body.len() as u16).to_be_bytes());
            all.extend(body);
            all
        }
    }
}

/// Both as IPv4 or both as IPv6: a header has one family for both.
fn same_family(a: SocketAddr, b: SocketAddr) -> Option<(SocketAddr, SocketAddr)> {
    let plain = |s: SocketAddr| SocketAddr::new(s.ip().to_canonical(), s.port());
    let mapped = |s: SocketAddr| match s.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), s.port()),
        IpAddr::V6(_) => s,
    };
    let (a, b) = (plain(a), plain(b));
    Some(if a.is_ipv4() == b.is_ipv4() { (a, b) } else { (mapped(a), mapped(b)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(mut bytes: &[u8]) -> (io::Result<Client>, usize) {
        let all = bytes.len();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let got = runtime.block_on(read(&mut bytes));
        (got, all - bytes.len())
    }

    fn address() -> impl Strategy<Value = SocketAddr> {
        let v4 = any::<([u8; 4], u16)>().prop_map(|(ip, port)| SocketAddr::new(ip.into(), port));
        let v6 = any::<([u8; 16], u16)>()
            .prop_map(|(ip, port)| SocketAddr::new(IpAddr::from(ip).to_canonical(), port));
        prop_oneof![v4, v6]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_bytes_make_it_panic(
            begin in proptest::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", &SIGNATURE, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00"]),
            rest in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = [begin, &rest].concat();
            let (_, used) = parse(&bytes);
            prop_assert!(used <= bytes.len());
        }

        #[test]
        fn what_is_written_reads_back(from in address(), to in address(), v1 in any::<bool>(), rest in any::<[u8; 3]>()) {
            let version = if v1 { ProxyHeader::V1 } else { ProxyHeader::V2 };
            let header = write(version, Some(from), Some(to));
            let len = header.len();
            let (got, used) = parse(&[header, rest.to_vec()].concat());
            let got = got.unwrap().unwrap();
            prop_assert_eq!((got.ip().to_canonical(), got.port(), used), (from.ip(), from.port(), len));
        }
    }

    #[test]
    fn headers_of_others_are_understood() {
        let ok = |bytes: &[u8]| parse(bytes).0.unwrap();
        assert_eq!(
            ok(b"PROXY TCP4 10.1.2.3 10.0.0.1 4711 80\r\nGET"),
            Some("10.1.2.3:4711".parse().unwrap())
        );
        assert_eq!(ok(b"PROXY TCP6 ::1 ::2 4711 80\r\n"), Some("[::1]:4711".parse().unwrap()));
        assert_eq!(ok(b"PROXY UNKNOWN anything at all\r\n"), None);
        let local = [&SIGNATURE[..], &[0x20, 0, 0, 2, 9, 9]].concat();
        assert_eq!(ok(&local), None);
        for bad in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY TCP4 ::1 ::2 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n",
        ] {
            assert_eq!(parse(bad).0.unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        assert!(parse(&[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat()).0.is_err());
    }
}
