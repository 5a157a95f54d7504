//! What can be broken: a kind, a name, and what stands behind the name.

use crate::problem::{Problem, did_you_mean};
use crate::stub::Stub;
use crate::units::{Percent, Size, Span};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The kinds of targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// A listener of ours in front of a service.
    Proxy,
    /// A directory served through our filesystem.
    Fs,
    /// One or several processes.
    Process,
    /// One or several containers.
    Container,
    /// This machine.
    Node,
    /// A network namespace.
    Netns,
    /// A control group.
    Cgroup,
}

impl TargetKind {
    /// All kinds, in the order they are shown.
    pub const ALL: [TargetKind; 7] = [
        TargetKind::Proxy,
        TargetKind::Fs,
        TargetKind::Process,
        TargetKind::Container,
        TargetKind::Node,
        TargetKind::Netns,
        TargetKind::Cgroup,
    ];

    /// The word for it in files and commands.
    pub fn word(self) -> &'static str {
        match self {
            TargetKind::Proxy => "proxy",
            TargetKind::Fs => "fs",
            TargetKind::Process => "process",
            TargetKind::Container => "container",
            TargetKind::Node => "node",
            TargetKind::Netns => "netns",
            TargetKind::Cgroup => "cgroup",
        }
    }
}

impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A target by kind and name, as people type it: `proxy:cart`, `process:4711`, `node:self`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetRef {
    /// Its kind.
    pub kind: TargetKind,
    /// Its name: chosen by the user, or a pid, path or container id, by kind.
    pub name: String,
}

impl TargetRef {
    /// A reference of that kind and name.
    pub fn new(kind: TargetKind, name: impl Into<String>) -> TargetRef {
        TargetRef { kind, name: name.into() }
    }
}

impl FromStr for TargetRef {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let known = || TargetKind::ALL.iter().map(|k| k.word());
        let Some((kind, name)) = text.split_once(':') else {
            return Err(Problem::new(format!("{text:?} is not a target: it has no kind"))
                .hint(format!("write kind:name, for example proxy:{text}")));
        };
        let Some(kind) = TargetKind::ALL.into_iter().find(|k| k.word() == kind) else {
            let hint = match did_you_mean(kind, known()) {
                Some(near) => format!("did you mean {near}:{name}?"),
                None => format!("the kinds are {}", known().collect::<Vec<_>>().join(", ")),
            };
            return Err(Problem::new(format!("{kind:?} is not a kind of target")).hint(hint));
        };
        if name.is_empty() {
            return Err(Problem::new(format!("{text:?} has no name")).hint(format!("write {kind}:name")));
        }
        Ok(TargetRef::new(kind, name))
    }
}

impl fmt::Display for TargetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}", self.kind, self.name))
    }
}

impl Serialize for TargetRef {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TargetRef {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A target with what stands behind its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// The name, unique per kind.
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub spec: TargetSpec,
}

impl Target {
    /// Kind and name.
    pub fn reference(&self) -> TargetRef {
        TargetRef::new(self.spec.kind(), self.name.clone())
    }
}

/// What stands behind a target's name, by kind: `{"proxy": {"listen": "127.0.0.1:1", "upstream": "127.0.0.1:2"}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetSpec {
    /// See [`ProxySpec`].
    Proxy(ProxySpec),
    /// See [`ProcessSpec`].
    Process(ProcessSpec),
    /// See [`FsSpec`].
    Fs(FsSpec),
    /// This machine.
    Node(NodeSpec),
}

impl TargetSpec {
    /// The kind.
    pub fn kind(&self) -> TargetKind {
        match self {
            TargetSpec::Proxy(_) => TargetKind::Proxy,
            TargetSpec::Process(_) => TargetKind::Process,
            TargetSpec::Fs(_) => TargetKind::Fs,
            TargetSpec::Node(_) => TargetKind::Node,
        }
    }
}

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
    /// a free one.
    pub listen: String,
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

/// Processes, found once when the target is resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessSpec {
    /// One process by its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Processes whose command line contains this text.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    /// Which of those found.
    #[serde(default)]
    pub pick: Pick,
}

/// A directory that is served through our filesystem.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FsSpec {
    /// Where it is mounted: an absolute path of a directory that exists.
    pub mount: String,
    /// The directory whose files are served; the mount point itself, as it is underneath, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Mounts in the mount namespace of this process, where `mount` and `source` are paths as the process sees them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Keeps a log of what was not synced yet, of at most so many bytes, so that it can be lost: `power_cut` and what goes
    /// with it. Costs memory and a read before each write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub track_unsynced: Option<Size>,
    /// Lets the kernel collect writes before they come here: faster, and a write that fails is told by fsync.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub writeback: bool,
    /// Files, by globs of their path below the mount, which the kernel reads and writes in the source itself: at full
    /// speed, and never hit by a fault on reading or writing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passthrough: Vec<String>,
}

/// This machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {}

/// Which of the things found are meant. Random picks are drawn from the experiment's seed.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pick {
    /// Exactly one must be found; more are an error.
    #[default]
    One,
    /// All of them.
    All,
    /// So many, at random.
    Count(u32),
    /// Such a share, at random, at least one.
    Percent(Percent),
}
