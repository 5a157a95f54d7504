//! What runs on this machine anyway: processes, containers, directories, namespaces, control groups, the machine itself.

use crate::units::{Percent, Size};
use serde::{Deserialize, Serialize};

/// Processes, found once when the target is resolved.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessSpec {
    /// One process by its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Processes whose command line contains this text.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    /// Processes whose command line this regular expression fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// Processes of this program: the name in `/proc/PID/comm`, at most 15 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Processes of this user, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Processes in this control group and those below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Processes in the container of this name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Which of those found.
    #[serde(default)]
    pub pick: Pick,
}

impl ProcessSpec {
    /// What it finds processes by, in words; empty when it says nothing.
    pub fn words(&self) -> Vec<String> {
        let parts = [
            ("command line", &self.matches),
            ("regex", &self.regex),
            ("name", &self.name),
            ("user", &self.user),
            ("cgroup", &self.cgroup),
            ("container", &self.container),
        ];
        let given = parts.iter().filter_map(|(what, value)| {
            let value = value.as_deref().filter(|v| !v.is_empty())?;
            Some(format!("{what} {value:?}"))
        });
        self.pid.map(|pid| format!("number {pid}")).into_iter().chain(given).collect()
    }
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
    /// Mounts in this container, where `mount` and `source` are paths as it sees them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Box<ContainerSpec>>,
    /// In a container: mounts although files are open there, which go past it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_use_passes: bool,
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
pub struct NodeSpec {
    /// For faults of the network: the interface; all but the loopback one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

/// Containers of a Docker or podman engine on this machine, found once when the target is resolved. Exactly one of `name`,
/// `label` and `service` is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerSpec {
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
    /// Which of those found.
    #[serde(default)]
    pub pick: Pick,
    /// The engine's socket; when absent `DOCKER_HOST`, or the first usual place where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// For faults of the network: the interface inside; all but the loopback one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

impl ContainerSpec {
    /// What a word alone says: `web-1` is a container, `shop/web` a service of a compose project.
    pub fn named(word: &str) -> ContainerSpec {
        let name = Some(word.to_owned());
        match word.contains('/') {
            true => ContainerSpec { service: name, ..ContainerSpec::default() },
            false => ContainerSpec { name, ..ContainerSpec::default() },
        }
    }
}

/// A network namespace of this machine. Exactly one of `name`, `path` and `pid` is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetnsSpec {
    /// As `ip netns` names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A file that holds one: `/run/netns/blue`, `/proc/4711/ns/net`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// That of this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The interface; all but the loopback one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

/// A control group with everything below it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CgroupSpec {
    /// Its path from the root of the hierarchy: `/system.slice/nginx.service`.
    pub path: String,
}

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
