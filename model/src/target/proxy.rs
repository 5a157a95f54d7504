//! A proxy: where it listens, where the service is, and what is spoken on either side.

use super::machine::{ContainerSpec, Pick};
use crate::problem::Problem;
use crate::stub::Stub;
use crate::units::Span;
use serde::{Deserialize, Serialize};

/// What a proxy understands of the bytes that pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Bytes only: faults on connections.
    #[default]
    Tcp,
    /// HTTP/1.1 and HTTP/2: faults on requests too.
    Http,
    /// Datagrams: a client is what sends from one address, until it has been silent for a while.
    Udp,
}

impl Protocol {
    /// The word for it in files and commands.
    pub fn word(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Http => "http",
            Protocol::Udp => "udp",
        }
    }
}

/// A listener in front of a service, or of several that do the same.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxySpec {
    /// Where to listen: `127.0.0.1:15432`, a range of ports `127.0.0.1:7000-7009`, or `unix:/run/shop.sock`; port 0 takes
    /// a free one. Empty with `in_front_of`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub listen: String,
    /// The containers in front of which it stands, in their own network namespaces; nobody has to be told another address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_front_of: Option<Box<Front>>,
    /// Where the service is: `host:port`, a range of ports as long as that of `listen`, `unix:/run/db.sock`, or `original`:
    /// where a redirected connection was going. Empty when `upstreams` are given.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub upstream: String,
    /// Where several services are that do the same; each client gets one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<String>,
    /// With `http`: answers that are given in the service's place. Without `upstream` every request gets one of them, or 404.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stubs: Vec<Stub>,
    /// How one of several is chosen.
    #[serde(default, skip_serializing_if = "Balance::is_default")]
    pub balance: Balance,
    /// What is spoken.
    #[serde(default)]
    pub protocol: Protocol,
    /// With `udp`: how long a client is silent before it is forgotten; 60 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Span>,
    /// Whether connections begin with a header of the PROXY protocol, which names the client.
    #[serde(default, skip_serializing_if = "ProxyProtocol::is_off")]
    pub proxy_protocol: ProxyProtocol,
    /// How long the service has to answer when it is dialled; 10 s when absent. Then the client's connection is reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Span>,
    /// Whether the service sees the client's own address instead of ours. Needs CAP_NET_ADMIN, and routes that bring the
    /// service's answers back to us.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_source: bool,
    /// TLS with clients, with the service, or both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Box<TlsSpec>>,
    /// With `http`: the version that is spoken with the service.
    #[serde(default, skip_serializing_if = "HttpVersion::is_default")]
    pub upstream_http: HttpVersion,
}

/// Containers, and the port in front of which a proxy stands there. Exactly one of `name`, `label` and `service` is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Front {
    /// One container by its name or the beginning of its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Containers with this label: `key` or `key=value`; with all of them, separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Where no container has the label: those of the compose service that is named as a label's value.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub or_service: bool,
    /// Containers of this service of a compose project: `web`, or `shop/web` with the project's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// All of those found, not just the only one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// The engine's socket; when absent the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// The port: that of the containers that others come to, or with `outgoing` that of others that they go to.
    pub port: u16,
    /// What the containers say to that port of others, and not what others say to that port of theirs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outgoing: bool,
    /// Connections that are open already are reset, so that they are made anew through the proxy; else they go past it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reset_open: bool,
}

impl Front {
    /// The containers that are meant.
    pub fn containers(&self) -> ContainerSpec {
        ContainerSpec {
            name: self.name.clone(),
            label: self.label.clone(),
            or_service: self.or_service,
            service: self.service.clone(),
            pick: if self.all { Pick::All } else { Pick::One },
            engine: self.engine.clone(),
            interface: None,
        }
    }

    /// What a name alone says: `shop-db-1:5432` is a container, `shop/db:5432` a service of a compose project.
    pub fn implied(name: &str) -> Option<Front> {
        let (who, port) = name.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port > 0)?;
        let fine = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if who.is_empty() || !who.chars().all(fine) {
            return None;
        }
        let who_is = Some(who.to_owned());
        Some(match who.contains('/') {
            true => Front { service: who_is, port, ..Front::default() },
            false => Front { name: who_is, port, ..Front::default() },
        })
    }

    /// In words: `service shop/db, port 5432`.
    pub fn words(&self) -> String {
        let parts = [("container", &self.name), ("label", &self.label), ("service", &self.service)];
        let who = parts.iter().find_map(|(what, value)| Some(format!("{what} {}", value.as_deref()?)));
        let way = if self.outgoing { "what it says to port" } else { "port" };
        format!("{}, {way} {}", who.unwrap_or_default(), self.port)
    }
}

/// The version of HTTP that is spoken with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum HttpVersion {
    /// The client's.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// HTTP/1.1.
    #[serde(rename = "1")]
    Http1,
    /// HTTP/2, also where TLS does not negotiate it (prior knowledge).
    #[serde(rename = "2")]
    Http2,
}

impl HttpVersion {
    /// All versions with their words.
    pub const WORDS: [(&str, HttpVersion); 3] =
        [("auto", HttpVersion::Auto), ("1", HttpVersion::Http1), ("2", HttpVersion::Http2)];

    fn is_default(&self) -> bool {
        *self == HttpVersion::default()
    }
}

/// TLS on the two sides of a proxy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSpec {
    /// What becomes of the clients' TLS; none: clients speak plainly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downstream: Option<Downstream>,
    /// What is shown to clients; made for each name by murphy's CA when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<KeyPair>,
    /// What clients may choose by ALPN, the best first. When empty: both with `protocol: http`, else nothing is chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<Alpn>,
    /// TLS with the service; none: the service is spoken to plainly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<OriginateSpec>,
}

/// What becomes of the clients' TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Downstream {
    /// It ends here.
    Terminate,
    /// Its bytes go on to the service; only the handshake's records are looked at.
    PassThrough,
}

impl Downstream {
    /// All ways with their words.
    pub const WORDS: [(&str, Downstream); 2] =
        [("terminate", Downstream::Terminate), ("pass_through", Downstream::PassThrough)];
}

/// A certificate with its chain and its private key, in PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPair {
    /// The file of the certificate and its chain.
    pub cert: String,
    /// The file of the private key.
    pub key: String,
}

/// A protocol above TLS, as ALPN names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Alpn {
    /// HTTP/2.
    #[serde(rename = "h2")]
    H2,
    /// HTTP/1.1.
    #[serde(rename = "http/1.1")]
    Http1,
}

impl Alpn {
    /// All with their words, the best first.
    pub const WORDS: [(&str, Alpn); 2] = [("h2", Alpn::H2), ("http/1.1", Alpn::Http1)];

    /// Its name on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Alpn::H2 => "h2",
            Alpn::Http1 => "http/1.1",
        }
    }
}

/// How TLS with the service is made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OriginateSpec {
    /// The name that is asked for and checked; the upstream's host when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// A PEM file with the roots that are trusted; the system's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots: Option<String>,
    /// The certificate that is shown to the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<KeyPair>,
    /// The service's certificate is not checked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
    /// What is offered to the service by ALPN; what the request needs when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<Alpn>,
}

impl ProxySpec {
    /// From one address to another, bytes only.
    pub fn new(listen: impl Into<String>, upstream: impl Into<String>) -> ProxySpec {
        ProxySpec { listen: listen.into(), upstream: upstream.into(), ..ProxySpec::default() }
    }

    /// In front of containers.
    pub fn in_front_of(front: Front, protocol: Protocol) -> ProxySpec {
        let (upstream, in_front_of) = ("original".to_owned(), Some(Box::new(front)));
        ProxySpec { in_front_of, upstream, protocol, ..ProxySpec::default() }
    }

    /// What about standing in front of containers cannot be.
    pub fn front_problem(&self) -> Option<Problem> {
        let front = self.in_front_of.as_ref()?;
        let refuse = |what: &str, hint: &str| Some(Problem::new(format!("in_front_of: {what}")).hint(hint));
        if [&front.name, &front.label, &front.service].iter().filter(|one| one.is_some()).count() != 1 {
            return refuse("it needs one of name, label and service", "write for example service: shop/db");
        }
        if front.port == 0 {
            return refuse("port 0 is none", "write the port that clients connect to");
        }
        if !self.listen.is_empty() || !self.upstreams.is_empty() || self.upstream != "original" {
            return refuse(
                "where it listens and leads to is said by the container and the port",
                "leave listen, upstream and upstreams out",
            );
        }
        if self.protocol == Protocol::Udp {
            return refuse("it takes connections, not datagrams", "use protocol: tcp or http");
        }
        if self.keep_source {
            return refuse(
                "the service's answers to its clients' own addresses would pass it by",
                "leave keep_source out, or use proxy_protocol",
            );
        }
        if self.proxy_protocol.inbound {
            return refuse("clients do not know of it and send no header", "leave proxy_protocol.in out");
        }
        None
    }

    /// Where it listens and where to, in words.
    pub fn ends(&self) -> String {
        match &self.in_front_of {
            Some(front) => format!("in front of {}", front.words()),
            None => format!("{} → {}", self.listen, self.services().join(", ")),
        }
    }

    /// Whether it leads nowhere and answers everything itself.
    pub fn is_stub(&self) -> bool {
        self.upstream.is_empty() && self.upstreams.is_empty() && !self.stubs.is_empty()
    }

    /// All services it leads to.
    pub fn services(&self) -> Vec<&str> {
        if self.upstreams.is_empty() {
            return if self.is_stub() { vec![] } else { vec![&self.upstream] };
        }
        self.upstreams.iter().map(String::as_str).collect()
    }

    /// What becomes of the clients' TLS.
    pub fn downstream_tls(&self) -> Option<Downstream> {
        self.tls.as_ref()?.downstream
    }

    /// What about its TLS cannot be.
    pub fn tls_problem(&self) -> Option<Problem> {
        let tls = self.tls.as_ref()?;
        let refuse = |what: &str, hint: &str| Some(Problem::new(format!("tls: {what}")).hint(hint));
        let passes = tls.downstream == Some(Downstream::PassThrough);
        if self.protocol == Protocol::Udp {
            return refuse(
                "it is for connections, not datagrams",
                "leave it out, or use protocol: tcp or http",
            );
        }
        if tls.downstream != Some(Downstream::Terminate)
            && (tls.certificate.is_some() || !tls.alpn.is_empty())
        {
            return refuse(
                "certificate and alpn are for clients whose TLS ends here",
                "write downstream: terminate, or leave them out",
            );
        }
        if passes && tls.upstream.is_some() {
            return refuse(
                "what passes through is encrypted already",
                "write downstream: terminate, or leave upstream out",
            );
        }
        if passes && self.protocol == Protocol::Http {
            return refuse(
                "no request can be read in TLS that passes through",
                "write downstream: terminate, or protocol: tcp",
            );
        }
        if tls.upstream.as_ref().is_some_and(|up| up.insecure && up.roots.is_some()) {
            return refuse("with insecure nothing is checked, also not against roots", "keep one of them");
        }
        if tls.downstream.is_none() && tls.upstream.is_none() {
            return refuse("it says nothing", "write downstream: terminate or pass_through, or upstream: {}");
        }
        None
    }

    /// What is spoken on either side, in words: `tls → http`, `http over tls (not verified)`.
    pub fn speaks(&self) -> String {
        let mut words = self.protocol.word().to_owned();
        let Some(tls) = &self.tls else { return words };
        match tls.downstream {
            Some(Downstream::Terminate) => words.push_str(" tls"),
            Some(Downstream::PassThrough) => words.push_str(" tls passes through"),
            None => {}
        }
        match &tls.upstream {
            Some(up) if up.insecure => words.push_str(", tls to the service NOT VERIFIED (insecure)"),
            Some(_) => words.push_str(", tls to the service"),
            None => {}
        }
        words
    }
}

/// How one of several services is chosen for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The one with the fewest open connections.
    LeastConnections,
    /// The same for the same client address, also when others are added or removed (consistent hashing).
    Sticky,
}

impl Balance {
    /// All ways with their words.
    pub const WORDS: [(&str, Balance); 3] = [
        ("round_robin", Balance::RoundRobin),
        ("least_connections", Balance::LeastConnections),
        ("sticky", Balance::Sticky),
    ];

    fn is_default(&self) -> bool {
        *self == Balance::default()
    }
}

/// The PROXY protocol (haproxy.org, proxy-protocol.txt) on either side of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyProtocol {
    /// Clients begin with a header, of either version. Ones that do not are not served.
    #[serde(default, rename = "in")]
    pub inbound: bool,
    /// The service is told who the client is.
    #[serde(default, rename = "out", skip_serializing_if = "Option::is_none")]
    pub outbound: Option<ProxyHeader>,
}

impl ProxyProtocol {
    fn is_off(&self) -> bool {
        *self == ProxyProtocol::default()
    }
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyHeader {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}
