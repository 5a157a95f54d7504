//! What can be broken: a kind, a name, and what stands behind the name.

mod machine;
mod proxy;

pub use machine::{CgroupSpec, ContainerSpec, FsSpec, NetnsSpec, NodeSpec, Pick, ProcessSpec};
pub use proxy::{
    Alpn, Balance, Downstream, Front, HttpVersion, KeyPair, OriginateSpec, Protocol, ProxyHeader,
    ProxyProtocol, ProxySpec, TlsSpec,
};

use crate::problem::{Problem, did_you_mean};
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
    /// See [`ContainerSpec`].
    Container(ContainerSpec),
    /// See [`NetnsSpec`].
    Netns(NetnsSpec),
    /// See [`CgroupSpec`].
    Cgroup(CgroupSpec),
}

impl TargetSpec {
    /// The kind.
    pub fn kind(&self) -> TargetKind {
        match self {
            TargetSpec::Proxy(_) => TargetKind::Proxy,
            TargetSpec::Process(_) => TargetKind::Process,
            TargetSpec::Fs(_) => TargetKind::Fs,
            TargetSpec::Node(_) => TargetKind::Node,
            TargetSpec::Container(_) => TargetKind::Container,
            TargetSpec::Netns(_) => TargetKind::Netns,
            TargetSpec::Cgroup(_) => TargetKind::Cgroup,
        }
    }
}

impl TargetSpec {
    /// What a name alone says: `process:4711`, `process:nginx`, `fs:/srv/db`, `node:self`, `node:eth0`, `container:web-1`,
    /// `netns:blue`, `netns:/run/netns/blue`, `cgroup:/system.slice/nginx.service`, `proxy:shop/db:5432` in front of a
    /// container's port.
    pub fn implied(reference: &TargetRef) -> Option<TargetSpec> {
        let name = || Some(reference.name.clone());
        Some(match reference.kind {
            TargetKind::Node if reference.name == "self" => TargetSpec::Node(NodeSpec::default()),
            TargetKind::Node => TargetSpec::Node(NodeSpec { interface: name() }),
            TargetKind::Process => {
                let pid = reference.name.parse().ok();
                let matches = pid.is_none().then(|| reference.name.clone());
                TargetSpec::Process(ProcessSpec { pid, matches, ..ProcessSpec::default() })
            }
            // A directory is its own source.
            TargetKind::Fs if reference.name.starts_with('/') => {
                TargetSpec::Fs(FsSpec { mount: reference.name.clone(), ..FsSpec::default() })
            }
            TargetKind::Container => TargetSpec::Container(ContainerSpec::named(&reference.name)),
            TargetKind::Netns if reference.name.starts_with('/') => {
                TargetSpec::Netns(NetnsSpec { path: name(), ..NetnsSpec::default() })
            }
            TargetKind::Netns => TargetSpec::Netns(NetnsSpec { name: name(), ..NetnsSpec::default() }),
            TargetKind::Cgroup if reference.name.starts_with('/') => {
                TargetSpec::Cgroup(CgroupSpec { path: reference.name.clone() })
            }
            TargetKind::Proxy => {
                let front = Front::implied(&reference.name)?;
                TargetSpec::Proxy(ProxySpec::in_front_of(front, Protocol::Tcp))
            }
            TargetKind::Fs | TargetKind::Cgroup => return None,
        })
    }
}
