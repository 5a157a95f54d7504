//! Which ports of a pod lead through murphy, as people write it: `8080`, `web=8080/http`, `db=5432`, `api=443/tls`.

use model::Problem;
use model::target::{Downstream, Protocol, ProxySpec, TlsSpec};
use std::fmt;
use std::str::FromStr;

/// The port of the control API, where one is asked for.
pub const CONTROL: u16 = 15090;
/// Where heartbeats are sent: nobody listens there, the kernel's rules see them.
pub const BEAT: u16 = 15099;
/// The first port that murphy listens on for redirected connections.
pub const FIRST: u16 = 15100;
/// The first port that leads past murphy to a port that the kubelet probes.
pub const PROBES: u16 = 15300;
/// The user that the proxy runs as: what it sends is not redirected.
pub const USER: u32 = 2102;
/// So many ports may be named in each direction.
const MOST: usize = 90;

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Speaks {
    /// Bytes.
    #[default]
    Tcp,
    /// HTTP/1.1 or HTTP/2.
    Http,
    /// TLS, which passes through: only its handshake is looked at.
    Tls,
}

/// One port that leads through murphy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The proxy's name; none: `in-8080`, `out-5432`.
    pub name: Option<String>,
    /// The port that connections are for.
    pub port: u16,
    /// What is spoken.
    pub speaks: Speaks,
}

impl FromStr for Way {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Way, Problem> {
        let wrong = |why: &str| {
            Problem::new(format!("{text:?} is not a port to redirect: {why}"))
                .hint("write 8080, web=8080/http or db=5432; what is spoken is tcp, http or tls")
        };
        let (name, rest) = match text.trim().split_once('=') {
            Some((name, rest)) => (Some(name), rest),
            None => (None, text.trim()),
        };
        let (port, speaks) = match rest.split_once('/') {
            None | Some((_, "tcp")) => (rest.trim_end_matches("/tcp"), Speaks::Tcp),
            Some((port, "http")) => (port, Speaks::Http),
            Some((port, "tls")) => (port, Speaks::Tls),
            Some((_, other)) => return Err(wrong(&format!("nobody speaks {other:?} here"))),
        };
        let port = port
            .parse()
            .ok()
            .filter(|p| *p > 0)
            .ok_or_else(|| wrong("the port is a number from 1 to 65535"))?;
        if let Some(name) = name {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || name.len() > 40 || !name.chars().all(fits) {
                return Err(wrong("a name has lower-case letters, digits and dashes, at most 40"));
            }
        }
        Ok(Way { name: name.map(str::to_owned), port, speaks })
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}=")?;
        }
        let speaks = match self.speaks {
            Speaks::Tcp => "",
            Speaks::Http => "/http",
            Speaks::Tls => "/tls",
        };
        write!(f, "{}{speaks}", self.port)
    }
}

/// All ports of a pod that lead through murphy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ways {
    /// Those that the pod is reached at.
    pub inbound: Vec<Way>,
    /// Those of others that the pod reaches.
    pub outbound: Vec<Way>,
}

/// A proxy for one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxied<'a> {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub listen: u16,
    /// What for.
    pub way: &'a Way,
}

impl Ways {
    /// Checks that they can be told apart and do not meet murphy's own ports.
    pub fn new(inbound: Vec<Way>, outbound: Vec<Way>) -> Result<Ways, Problem> {
        let ways = Ways { inbound, outbound };
        for (list, word) in [(&ways.inbound, "inbound"), (&ways.outbound, "outbound")] {
            if list.len() > MOST {
                return Err(Problem::new(format!("{} {word} ports are named", list.len()))
                    .hint(format!("at most {MOST} can be redirected")));
            }
            for (n, way) in list.iter().enumerate() {
                if list[..n].iter().any(|other| other.port == way.port) {
                    return Err(
                        Problem::new(format!("{word} port {} is named twice", way.port)).hint("name it once")
                    );
                }
                if word == "inbound" && (CONTROL..PROBES + 100).contains(&way.port) {
                    return Err(Problem::new(format!(
                        "port {} is among murphy's own, {CONTROL} to {}",
                        way.port,
                        PROBES + 99
                    ))
                    .hint("have the application listen on another port"));
                }
            }
        }
        let mut names: Vec<String> = ways.proxied().map(|p| p.name).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => {
                Err(Problem::new(format!("two ports are named {}", pair[0])).hint("give each its own name"))
            }
            None => Ok(ways),
        }
    }

    /// Whether none is named.
    pub fn is_empty(&self) -> bool {
        self.inbound.is_empty() && self.outbound.is_empty()
    }

    /// The proxies for the inbound ports.
    pub fn proxied_in(&self) -> impl Iterator<Item = Proxied<'_>> {
        proxied(&self.inbound, "in", FIRST)
    }

    /// The proxies for the outbound ports.
    pub fn proxied_out(&self) -> impl Iterator<Item = Proxied<'_>> {
        proxied(&self.outbound, "out", FIRST + MOST as u16)
    }

    /// All proxies, the same on every call: what redirects and what listens agree without a word.
    pub fn proxied(&self) -> impl Iterator<Item = Proxied<'_>> {
        self.proxied_in().chain(self.proxied_out())
    }
}

fn proxied<'a>(list: &'a [Way], word: &'a str, first: u16) -> impl Iterator<Item = Proxied<'a>> {
    list.iter().zip(first..).map(move |(way, listen)| {
        let name = way.name.clone().unwrap_or_else(|| format!("{word}-{}", way.port));
        Proxied { name, listen, way }
    })
}

impl Proxied<'_> {
    /// The proxy, listening on all addresses of that family or both (`[::]`, `0.0.0.0`): connections that are redirected as
    /// they come in go to the address of the interface, those on their way out to loopback. Direct ones are refused.
    pub fn spec(&self, any: &str) -> ProxySpec {
        let protocol = if self.way.speaks == Speaks::Http { Protocol::Http } else { Protocol::Tcp };
        let sealed = || Box::new(TlsSpec { downstream: Some(Downstream::PassThrough), ..TlsSpec::default() });
        let tls = (self.way.speaks == Speaks::Tls).then(sealed);
        ProxySpec { protocol, tls, ..ProxySpec::new(format!("{any}:{}", self.listen), "original") }
    }
}

/// Reads a list: `web=8080/http,9000`.
pub fn read_list(text: &str) -> Result<Vec<Way>, Problem> {
    text.split([',', ' ']).filter(|part| !part.is_empty()).map(str::parse).collect()
}

/// Writes a list.
pub fn write_list(ways: &[Way]) -> String {
    ways.iter().map(Way::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ways(inbound: &str, outbound: &str) -> Result<Ways, Problem> {
        Ways::new(read_list(inbound)?, read_list(outbound)?)
    }

    #[test]
    fn lists_read_print_and_name_proxies() {
        let text = "web=8080/http,9000,tls=8443/tls";
        assert_eq!(write_list(&read_list(text).unwrap()), text);
        assert_eq!(read_list("80/tcp").unwrap()[0].to_string(), "80");
        let ways = ways(text, "db=5432").unwrap();
        let all: Vec<_> = ways.proxied().map(|p| (p.name.clone(), p.listen)).collect();
        let want = [("web", 15100), ("in-9000", 15101), ("tls", 15102), ("db", 15190)];
        assert_eq!(all, want.map(|(name, port)| (name.to_owned(), port)));
        let spec = ways.proxied().next().unwrap().spec("[::]");
        assert_eq!((spec.listen.as_str(), spec.upstream.as_str()), ("[::]:15100", "original"));
        assert_eq!(spec.protocol, Protocol::Http);
    }

    #[test]
    fn mistakes_are_told() {
        for (inbound, outbound, want) in [
            ("0", "", "from 1 to 65535"),
            ("a=b=1", "", "number"),
            ("80/quic", "", "quic"),
            ("Web=80", "", "lower-case"),
            ("80,80", "", "twice"),
            ("15100", "", "murphy's own"),
            ("a=80", "a=81", "two ports are named a"),
        ] {
            let why = ways(inbound, outbound).unwrap_err().to_string();
            assert!(why.contains(want), "{inbound} {outbound}: {why}");
        }
    }
}
