//! Proxies and toxics as they stand in the book.

use super::address;
use super::body::{self, ToxicBody};
use super::json::quote;
use super::refused::Refused;
use super::toxic::{self, Kind};
use model::target::ProxySpec;
use model::{Fault, Injection, Share, Target, TargetSpec};
use std::collections::BTreeMap;
use std::time::Instant;

#[derive(Default)]
pub(super) struct Pages {
    pub proxies: BTreeMap<String, Proxy>,
    /// How many toxics were made so far: each has a seed of its own.
    pub made: u64,
}

/// A proxy.
pub(super) struct Proxy {
    /// The address it really has once it was started; before, as it was sent.
    pub listen: String,
    /// As it was sent.
    pub upstream: String,
    pub enabled: bool,
    /// Made through this door: it stays in the book when its target is closed elsewhere.
    pub mine: bool,
    /// The target as it was opened last.
    pub target: Option<Target>,
    pub toxics: Vec<Toxic>,
    /// Bytes up and down of the times before it was stopped.
    pub earlier: (u64, u64),
}

pub(super) struct Toxic {
    pub name: String,
    pub kind: &'static Kind,
    pub stream: String,
    pub up: bool,
    pub toxicity: f32,
    pub values: Vec<i64>,
    pub seed: u64,
    /// Made through this door: it has no end of its own, and comes back with its proxy.
    pub mine: bool,
    /// The fault that it is; none while its proxy is stopped, or when it does nothing.
    pub fault: Option<Armed>,
}

pub(super) struct Armed {
    pub id: String,
    pub inject: Injection,
    pub share: Share,
    pub since: Instant,
}

impl Proxy {
    pub fn new(listen: String, upstream: String) -> Proxy {
        Proxy {
            listen,
            upstream,
            enabled: false,
            mine: true,
            target: None,
            toxics: Vec::new(),
            earlier: (0, 0),
        }
    }

    /// The target that it is when it listens there; what else it was opened with before stays.
    pub fn target_at(&self, name: &str, listen: &str) -> Target {
        let mut spec = match &self.target {
            Some(Target { spec: TargetSpec::Proxy(before), .. }) => before.clone(),
            _ => ProxySpec::default(),
        };
        listen.clone_into(&mut spec.listen);
        if services(&spec) != self.upstream || self.upstream.is_empty() {
            spec.upstreams.clear();
            spec.upstream = address::dialable(&self.upstream);
        }
        Target { name: name.to_owned(), spec: TargetSpec::Proxy(spec) }
    }

    /// It is stopped: its own toxics wait, those of others have ended.
    pub fn rest(&mut self) {
        self.enabled = false;
        self.toxics.retain(|t| t.mine);
        self.toxics.iter_mut().for_each(|t| t.fault = None);
    }

    /// Compares its toxics with the faults that are armed on it.
    pub fn compare(&mut self, faults: &[&Fault]) {
        let find = |id: &str| faults.iter().find(|f| f.id.as_deref() == Some(id));
        self.toxics.retain_mut(|toxic| {
            let Some(armed) = &mut toxic.fault else { return toxic.kind.name == "noop" };
            let Some(fault) = find(&armed.id) else { return false };
            if fault.inject != armed.inject || fault.share != armed.share {
                // Changed elsewhere. What a toxic cannot say stays unsaid.
                (armed.inject, armed.share) = (fault.inject.clone(), fault.share);
                if let Some((kind, values, _)) = toxic::read(&fault.inject)
                    && kind.name == toxic.kind.name
                {
                    toxic.values = values;
                }
                toxic.toxicity = toxic::toxicity(fault.share).unwrap_or(toxic.toxicity);
            }
            true
        });
        for fault in faults {
            let Some(id) = &fault.id else { continue };
            let known = |t: &Toxic| t.name == *id || t.fault.as_ref().is_some_and(|armed| armed.id == *id);
            if fault.when.is_some() || fault.ramp.is_some() || self.toxics.iter().any(known) {
                continue;
            }
            let Some((kind, values, up)) = toxic::read(&fault.inject) else { continue };
            let Some(toxicity) = toxic::toxicity(fault.share) else { continue };
            let armed = Armed {
                id: id.clone(),
                inject: fault.inject.clone(),
                share: fault.share,
                since: Instant::now(),
            };
            let stream = if up { "upstream" } else { "downstream" }.to_owned();
            let seed = fault.seed.unwrap_or_default();
            self.toxics.push(Toxic {
                name: id.clone(),
                kind,
                stream,
                up,
                toxicity,
                values,
                seed,
                mine: false,
                fault: Some(armed),
            });
        }
    }

    pub fn show(&self, name: &str) -> String {
        format!(
            r#"{{"name":{},"listen":{},"upstream":{},"enabled":{},"toxics":{}}}"#,
            quote(name),
            quote(&self.listen),
            quote(&self.upstream),
            self.enabled,
            self.show_toxics()
        )
    }

    /// Those that go up first, then those that go down, each in the order in which they were made.
    pub fn show_toxics(&self) -> String {
        let (up, down): (Vec<&Toxic>, Vec<&Toxic>) = self.toxics.iter().partition(|t| t.up);
        let all: Vec<String> = up.into_iter().chain(down).map(Toxic::show).collect();
        format!("[{}]", all.join(","))
    }
}

impl Toxic {
    /// What is wrong with a toxic before its attributes are looked at; else its kind, its direction, its name.
    pub fn check(body: &ToxicBody) -> Result<(&'static Kind, bool, String), Refused> {
        let up = toxic::goes_up(&body.stream).ok_or_else(Refused::stream)?;
        let kind = toxic::kind(&body.kind).ok_or_else(Refused::kind)?;
        let name =
            if body.name.is_empty() { format!("{}_{}", body.kind, body.stream) } else { body.name.clone() };
        Ok((kind, up, name))
    }

    pub fn make(body: ToxicBody, kind: &'static Kind, up: bool, name: String) -> Result<Toxic, Refused> {
        let mut values = vec![0; kind.attributes.len()];
        if let Some(json) = &body.attributes {
            body::attributes(json, kind, &mut values).map_err(Refused::body)?;
        }
        let ToxicBody { stream, toxicity, .. } = body;
        Ok(Toxic { name, kind, stream, up, toxicity, values, seed: 0, mine: true, fault: None })
    }

    pub fn read(body: ToxicBody) -> Result<Toxic, Refused> {
        let (kind, up, name) = Toxic::check(&body)?;
        Toxic::make(body, kind, up, name)
    }

    pub fn show(&self) -> String {
        toxic::show(&self.name, self.kind, &self.values, &self.stream, self.toxicity)
    }
}

/// Where a proxy leads.
pub(super) fn services(spec: &ProxySpec) -> String {
    spec.services().join(",")
}
