//! The catalogue: every fault as data.
//!
//! The YAML reader, `murphy faults`, the JSON Schema, the console's arming form and `docs/faults.md` are made from
//! these tables, so they cannot disagree. A new fault is a row here and a file in the room that injects it.

mod clock;
mod connections;
mod files;
mod machine;
mod network;
mod node;
pub mod requests;
mod tls;
mod websockets;

pub use tls::misfit as tls_misfit;

pub use files::{ERRORS, FILE_OPERATIONS};

use crate::problem::did_you_mean;
use crate::target::TargetKind;
use crate::value::{ParamType, Value};
use serde::{Serialize, Serializer};

/// A fault as the catalogue knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultDef {
    /// Its one name.
    pub name: &'static str,
    /// The layer it acts on; also the heading under which it is listed.
    pub layer: Layer,
    /// The kinds of targets it can be armed on.
    pub targets: &'static [TargetKind],
    /// Its parameters.
    pub params: &'static [ParamDef],
    /// The optional ones that an example needs, or is better with.
    pub shown: &'static [&'static str],
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// What a user should know: exact meaning, order of effects, traps.
    pub detail: &'static str,
    /// What its share (`percent`, `nth`, `first`) counts: `connections`, `requests`; none when it hits the whole target.
    pub counts: Option<&'static str>,
    /// It happens once and has no length of its own (kill).
    pub one_shot: bool,
    /// It cannot be undone, only reported.
    pub irreversible: bool,
    /// What ends it when agent and watchdog are both gone.
    pub ends: &'static str,
    /// The privileges it needs, as capabilities or other words; empty when any user may.
    pub needs: &'static [&'static str],
}

impl FaultDef {
    /// A command line that arms it, as a shell takes it: on a target of the first of its kinds, with the examples of its
    /// parameters.
    pub fn example(&self) -> String {
        let target = match self.targets[0] {
            TargetKind::Node => "node:self",
            TargetKind::Process => "process:4711",
            TargetKind::Fs => "fs:/srv/db",
            TargetKind::Cgroup => "cgroup:/system.slice/nginx.service",
            TargetKind::Container => "container:web-1",
            TargetKind::Netns => "netns:blue",
            TargetKind::Proxy => "proxy:web",
        };
        let mut line = format!("murphy arm {target} {}", self.name);
        for p in self.params.iter().filter(|p| p.required || self.shown.contains(&p.name)) {
            line.push_str(&format!(" {}={}", p.name, quoted(p.example)));
        }
        if !self.one_shot {
            line.push_str(" --for 60s");
        }
        line
    }
}

/// A value as a shell takes it for one word.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,%+@=".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// The layer a fault acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// Byte streams and datagrams through a proxy.
    Connections,
    /// HTTP requests through a proxy.
    Requests,
    /// TLS with the clients of a proxy.
    Tls,
    /// Files in a directory that is served through our filesystem.
    Files,
    /// Packets of a machine, a container or a network namespace.
    Network,
    /// Processes and the machine's resources.
    Node,
}

impl Layer {
    /// All layers in the order they are listed.
    pub const ALL: [Layer; 6] =
        [Layer::Connections, Layer::Requests, Layer::Tls, Layer::Files, Layer::Network, Layer::Node];

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Layer::Connections => "Connections",
            Layer::Requests => "Requests",
            Layer::Tls => "TLS",
            Layer::Files => "Files",
            Layer::Network => "Network",
            Layer::Node => "Node and processes",
        }
    }
}

/// A parameter of a fault.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamDef {
    /// Its name.
    pub name: &'static str,
    /// What it must be.
    pub ty: ParamType,
    /// What it is when not given; none and not required means absent.
    pub default: Option<&'static str>,
    /// Whether it must be given.
    pub required: bool,
    /// A value to show in examples and to begin with in a form.
    pub example: &'static str,
    /// What it means, with its unit.
    pub doc: &'static str,
}

impl ParamDef {
    /// The default as a value.
    pub fn default_value(&self) -> Option<Value> {
        self.default.and_then(|text| self.ty.parse(text).ok())
    }
}

/// All faults, by layer and then in the order in which those of one layer act.
pub fn all() -> impl Iterator<Item = &'static FaultDef> {
    let proxy =
        connections::FAULTS.iter().chain(requests::FAULTS).chain(websockets::FAULTS).chain(tls::FAULTS);
    let here = node::FAULTS.iter().chain(network::FAULTS).chain(machine::FAULTS).chain(clock::FAULTS);
    proxy.chain(files::FAULTS).chain(here)
}

/// The fault of that name.
pub fn find(name: &str) -> Option<&'static FaultDef> {
    all().find(|def| def.name == name)
}

/// The name nearest to one that does not exist.
pub fn nearest(name: &str) -> Option<&'static str> {
    did_you_mean(name, all().map(|def| def.name))
}

impl FaultDef {
    /// The parameter of that name.
    pub fn param(&self, name: &str) -> Option<&'static ParamDef> {
        self.params.iter().find(|p| p.name == name)
    }

    /// Whether it can be armed on targets of that kind.
    pub fn fits(&self, kind: TargetKind) -> bool {
        self.targets.contains(&kind)
    }

    /// Whether it is for datagrams alone: bytes of a stream cannot be lost, doubled or swapped on their way through a proxy.
    pub fn is_for_datagrams(&self) -> bool {
        self.layer == Layer::Connections && ["drop", "duplicate", "reorder"].contains(&self.name)
    }
}

impl Serialize for FaultDef {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        serde_json::json!({
            "name": self.name,
            "layer": self.layer,
            "targets": self.targets,
            "summary": self.summary,
            "detail": self.detail,
            "counts": self.counts,
            "one_shot": self.one_shot,
            "irreversible": self.irreversible,
            "ends": self.ends,
            "needs": self.needs,
            "example": self.example(),
            "params": self.params.iter().map(|p| serde_json::json!({
                "name": p.name,
                "type": p.ty.describe(),
                "default": p.default,
                "required": p.required,
                "example": p.example,
                "doc": p.doc,
            })).collect::<Vec<_>>(),
        })
        .serialize(s)
    }
}

/// Rows begin from these, so that a table names only what is special about a fault.
const PROXY: FaultDef = FaultDef {
    name: "",
    layer: Layer::Connections,
    targets: &[TargetKind::Proxy],
    params: &[],
    shown: &[],
    summary: "",
    detail: "",
    counts: Some("connections"),
    one_shot: false,
    irreversible: false,
    ends: "the proxy is part of the agent: the fault ends with it",
    needs: &[],
};

/// An optional parameter without a default.
const fn optional(name: &'static str, ty: ParamType, example: &'static str, doc: &'static str) -> ParamDef {
    ParamDef { name, ty, default: None, required: false, example, doc }
}

/// A parameter that must be given.
const fn required(name: &'static str, ty: ParamType, example: &'static str, doc: &'static str) -> ParamDef {
    ParamDef { name, ty, default: None, required: true, example, doc }
}

/// A parameter with a default.
const fn with_default(
    name: &'static str,
    ty: ParamType,
    default: &'static str,
    doc: &'static str,
) -> ParamDef {
    ParamDef { name, ty, default: Some(default), required: false, example: default, doc }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_every_text_reads() {
        let mut seen = HashSet::new();
        for def in all() {
            assert!(seen.insert(def.name), "{} twice", def.name);
            assert!(
                !def.summary.is_empty() && !def.detail.is_empty() && !def.ends.is_empty(),
                "{}",
                def.name
            );
            assert!(!def.targets.is_empty(), "{}", def.name);
            for name in def.shown {
                let found = def.params.iter().find(|p| p.name == *name);
                assert!(found.is_some_and(|p| !p.required), "{} has no optional {name}", def.name);
            }
            for p in def.params {
                if let Some(text) = p.default {
                    assert!(p.ty.parse(text).is_ok(), "{} {}: default {text}", def.name, p.name);
                }
                assert!(p.ty.parse(p.example).is_ok(), "{} {}: example {}", def.name, p.name, p.example);
            }
        }
    }

    #[test]
    fn examples_are_words_of_a_shell() {
        let of = |name: &str| find(name).unwrap().example();
        assert_eq!(of("latency"), "murphy arm proxy:web latency delay=120ms --for 60s");
        assert_eq!(of("patch"), r#"murphy arm proxy:web patch json='{"price": null}' --for 60s"#);
        assert_eq!(of("stress_ng"), "murphy arm node:self stress_ng args='--matrix 1' --for 60s");
        assert_eq!(of("kill"), "murphy arm process:4711 kill");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
