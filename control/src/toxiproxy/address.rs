//! Addresses as Go reads them, and what it says when one cannot be listened on.

use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage, sockopt};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// How long a name may take to look up.
const LOOKUP: Duration = Duration::from_secs(5);

/// Where the stand-in for an upstream that is no address is: nothing can listen there.
const NOWHERE: &str = "127.0.0.1:0";

/// An address to listen on, resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listen {
    pub address: SocketAddr,
    /// No host was given: all interfaces.
    anywhere: bool,
}

/// Splits `host:port`, `[host]:port`; the error is Go's.
fn split(text: &str) -> Result<(&str, &str), String> {
    let error = |what: &str| format!("address {text}: {what}");
    let Some(colon) = text.rfind(':') else { return Err(error("missing port in address")) };
    if let Some(rest) = text.strip_prefix('[') {
        let Some(end) = rest.find(']') else { return Err(error("missing ']' in address")) };
        let after = &rest[end + 1..];
        return match after.strip_prefix(':') {
            Some(port) if !port.contains(':') => Ok((&rest[..end], port)),
            Some(_) => Err(error("too many colons in address")),
            None => Err(error("missing port in address")),
        };
    }
    let (host, port) = (&text[..colon], &text[colon + 1..]);
    if host.contains(':') {
        return Err(error("too many colons in address"));
    }
    match host.find(['[', ']']) {
        Some(at) => Err(error(&format!("unexpected '{}' in address", &host[at..=at]))),
        None => Ok((host, port)),
    }
}

fn port(text: &str) -> Result<u16, String> {
    match text.parse::<i64>() {
        _ if text.is_empty() => Ok(0),
        Ok(n) => u16::try_from(n).map_err(|_| format!("address {text}: invalid port")),
        Err(_) => Err(format!("lookup tcp/{text}: unknown port")),
    }
}

/// Resolves an address to listen on. An empty one is any port on all interfaces.
pub(super) async fn resolve(text: &str) -> Result<Listen, String> {
    let (host, given) = if text.is_empty() { ("", "") } else { split(text)? };
    let port = port(given)?;
    let at = |ip: IpAddr| Listen { address: SocketAddr::new(ip, port), anywhere: false };
    if host.is_empty() {
        return Ok(Listen { anywhere: true, ..at(Ipv6Addr::UNSPECIFIED.into()) });
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(at(ip));
    }
    let found = tokio::time::timeout(LOOKUP, tokio::net::lookup_host((host, port))).await;
    let found: Vec<SocketAddr> = match found {
        Err(_) => return Err(format!("lookup {host}: i/o timeout")),
        Ok(Err(_)) => Vec::new(),
        Ok(Ok(found)) => found.collect(),
    };
    let first = found.iter().find(|a| a.is_ipv4()).or(found.first());
    first.map(|a| at(a.ip())).ok_or_else(|| format!("lookup {host}: no such host"))
}

impl Listen {
    /// Tries whether it can be listened on, without listening. Gives the address to ask for; the error is Go's.
    pub fn probe(self) -> Result<SocketAddr, String> {
        match bind(self.address) {
            Ok(()) => Ok(self.address),
            // A machine without IPv6.
            Err(nix::Error::EAFNOSUPPORT | nix::Error::EADDRNOTAVAIL) if self.anywhere => {
                let four = SocketAddr::from(([0, 0, 0, 0], self.address.port()));
                bind(four).map(|()| four).map_err(|e| self.refused(e))
            }
            Err(e) => Err(self.refused(e)),
        }
    }

    fn refused(self, e: nix::Error) -> String {
        let place = match self.anywhere {
            true => format!(":{}", self.address.port()),
            false => self.address.to_string(),
        };
        format!("listen tcp {place}: bind: {}", e.desc().to_lowercase())
    }
}

fn bind(address: SocketAddr) -> nix::Result<()> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // As the proxy does it: what is left of closed connections is not in the way.
    socket::setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(address))
}

/// An upstream as a proxy takes it. What is no address is allowed, and connections to it fail.
pub(super) fn dialable(upstream: &str) -> String {
    if upstream.starts_with("unix:/") {
        return upstream.to_owned();
    }
    match split(upstream).and_then(|(host, given)| Ok((host, port(given)?))) {
        Ok(("", port)) => format!("localhost:{port}"),
        Ok((host, port)) if host.contains(':') => format!("[{host}]:{port}"),
        Ok((host, port)) => format!("{host}:{port}"),
        Err(_) => NOWHERE.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn resolved(text: &str) -> Result<String, String> {
        resolve(text).await.map(|listen| listen.address.to_string())
    }

    #[tokio::test]
    async fn addresses_in_the_words_of_go() {
        for (text, expected) in [
            ("127.0.0.1:80", Ok("127.0.0.1:80")),
            ("localhost:0", Ok("127.0.0.1:0")),
            ("", Ok("[::]:0")),
            (":3306", Ok("[::]:3306")),
            ("[::1]:80", Ok("[::1]:80")),
            ("bad", Err("address bad: missing port in address")),
            ("[::1]", Err("address [::1]: missing port in address")),
            ("::1:80", Err("address ::1:80: too many colons in address")),
            ("[::1:80", Err("address [::1:80: missing ']' in address")),
            ("a:99999", Err("address 99999: invalid port")),
            ("a:b", Err("lookup tcp/b: unknown port")),
        ] {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(resolved(text).await, expected, "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_port_in_use() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let listen = resolve(&address.to_string()).await.unwrap();
        assert_eq!(listen.probe(), Err(format!("listen tcp {address}: bind: address already in use")));
        let elsewhere = resolve("192.0.2.1:80").await.unwrap();
        assert_eq!(
            elsewhere.probe(),
            Err("listen tcp 192.0.2.1:80: bind: cannot assign requested address".to_owned())
        );
        drop(taken);
        assert_eq!(listen.probe(), Ok(address));
    }

    #[test]
    fn upstreams() {
        for (given, taken) in [
            ("localhost:80", "localhost:80"),
            (":80", "localhost:80"),
            ("[::1]:80", "[::1]:80"),
            ("", NOWHERE),
            ("nonsense", NOWHERE),
            ("a:99999", NOWHERE),
            ("unix:/run/db.sock", "unix:/run/db.sock"),
        ] {
            assert_eq!(dialable(given), taken);
        }
    }
}
