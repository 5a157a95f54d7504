//! What goes over the wire, as JSON: made from the model's types, shared by server and client.

mod failure;

pub use failure::{Code, Failure};

use crate::caller::{Caller, Role};
use model::catalogue;
use model::event::WindowResult;
use model::{Evidence, Fault, Injection, Matcher, Problem, Ramp, Share, TargetRef, units::Span};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// What an agent is and does now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// The name it goes by: its host, unless configured.
    pub agent: String,
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Wall-clock time now, milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// Its monotonic clock now, milliseconds since its start.
    pub mono_ms: f64,
    /// The number of its newest event.
    pub seq: u64,
    /// Who halted everything, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted: Option<HaltState>,
    /// How many faults are on.
    pub armed: usize,
    /// How many targets are open.
    pub targets: usize,
    /// The run that is going on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunState>,
    /// The lease of faults that were armed without one of their own: how long they outlive the agent at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Span>,
    /// Counters since its start.
    #[serde(default)]
    pub counters: Counters,
    /// What it takes of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// What an agent itself takes of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time since its start, in seconds.
    pub cpu_seconds: f64,
    /// Memory that it has, in bytes.
    pub resident_bytes: u64,
    /// Open descriptors.
    pub descriptors: usize,
}

/// What an agent counts since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Runs that a guard ended.
    pub auto_rollbacks: u64,
    /// Faults that could not be taken back, or not be seen to be.
    pub undo_failures: u64,
}

/// An agent's status, and who it takes the caller for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The agent.
    #[serde(flatten)]
    pub agent: AgentStatus,
    /// Who asked, and what they may do.
    pub you: Caller,
}

impl Status {
    /// What the caller may do.
    pub fn role(&self) -> Role {
        self.you.role
    }
}

/// A halt that holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HaltState {
    /// Who.
    pub by: String,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
}

/// A fault that is on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultState {
    /// Its id.
    pub id: String,
    /// What was ordered, as it is now.
    pub fault: Fault,
    /// Who ordered it.
    pub by: String,
    /// When it was on, milliseconds since 1970.
    pub armed_at_ms: u64,
    /// When it was on, on the agent's monotonic clock.
    pub armed_mono_ms: f64,
    /// How long it has left; absent when it only waits to be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Span>,
    /// The lease it was armed with, when it has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Span>,
    /// How long that lease still runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_left: Option<Span>,
    /// What it did so far.
    #[serde(default)]
    pub evidence: Evidence,
    /// What a person should know about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What arming would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanView {
    /// The fault, with every choice made that was left open.
    pub fault: Fault,
    /// The acts, in order.
    pub acts: Vec<ActView>,
    /// What a person should know before saying yes.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Commands of well-known tools that would do the same by hand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
}

/// One act of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActView {
    /// In words: `stop process 4711 (nginx)`.
    pub act: String,
    /// Its undo in words.
    pub undo: String,
    /// It ends by itself with the agent's process.
    pub ends_with_agent: bool,
}

/// A fault that was taken back by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Disarmed {
    /// Its id.
    pub id: String,
    /// What it was on.
    pub target: TargetRef,
    /// What it had done.
    pub evidence: Evidence,
}

/// What a halt did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Halted {
    /// Who halted.
    pub by: String,
    /// The faults that were taken back.
    pub faults: Vec<String>,
    /// Faults that could not be taken back, each with why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failed: BTreeMap<String, String>,
}

/// A change to a fault that is on. What is absent stays; `null` takes a matcher or a ramp away.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Parameters to change, by name; the others stay.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inject: BTreeMap<String, serde_json::Value>,
    /// The new share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// The new matcher.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub when: Option<Option<Matcher>>,
    /// The new ramp, which begins now.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub ramp: Option<Option<Ramp>>,
    /// How long it lasts from now on.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Span>,
}

/// A field that is there, also when it is null.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(d).map(Some)
}

impl Change {
    /// The fault as it becomes; refused when a parameter does not exist, does not read, or the whole is impossible.
    pub fn apply(&self, fault: &Fault) -> Result<Fault, Failure> {
        let def = fault.inject.def();
        let mut next = fault.clone();
        if !self.inject.is_empty() {
            let mut params = fault.inject.params().clone();
            for (name, json) in &self.inject {
                let Some(param) = def.param(name) else {
                    // Made anew so that the model says what it takes instead.
                    params.insert(name.clone(), model::Value::Bool(true));
                    continue;
                };
                if json.is_null() {
                    params.remove(name);
                    continue;
                }
                let value = param
                    .ty
                    .from_json(json)
                    .map_err(|e| Failure::new(Code::BadRequest, format!("{} {name}: {e}", def.name)))?;
                params.insert(name.clone(), value);
            }
            next.inject = Injection::new(def, params).map_err(|p| Failure::of(Code::BadRequest, &p))?;
        }
        if let Some(share) = self.share {
            next.share = share;
        }
        if let Some(when) = &self.when {
            next.when.clone_from(when);
        }
        if let Some(ramp) = &self.ramp {
            next.ramp.clone_from(ramp);
        }
        if let Some(lasts) = self.lasts {
            next.lasts = Some(lasts);
        }
        possible(&next)?;
        Ok(next)
    }
}

/// Refuses what the model knows to be impossible, all of it at once.
pub fn possible(fault: &Fault) -> Result<(), Failure> {
    let problems = fault.problems();
    let Some(first) = problems.first() else { return Ok(()) };
    if problems.len() == 1 {
        return Err(Failure::of(Code::Impossible, first));
    }
    let all: Vec<String> = problems.iter().map(Problem::to_string).collect();
    Err(Failure::new(Code::Impossible, all.join("\n")))
}

/// An experiment to start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartRun {
    /// The experiment file's text.
    pub yaml: String,
    /// What to call the text in messages: its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Variables to set over the file's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// A seed in place of the file's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The directory for the report, in place of the file's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
    /// The experiment's name, typed by a person, where the file asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

/// A run, going on or over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// The experiment's name.
    pub name: String,
    /// Its seed.
    pub seed: u64,
    /// Who started it.
    pub by: String,
    /// When, milliseconds since 1970.
    pub started_at_ms: u64,
    /// When, on the agent's monotonic clock.
    pub started_mono_ms: f64,
    /// Its stages with their lengths.
    pub stages: Vec<(String, Span)>,
    /// `baseline`, `stage`, `cooldown`, `verify`, `done`.
    pub phase: String,
    /// The stage's name and number from 1, in phase `stage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<(String, usize)>,
    /// How its metrics were last judged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub steady: BTreeMap<String, WindowResult>,
    /// How it ended: `held`, `deviated`, `inconclusive`, `aborted`, `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// Why it ended so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Where its report lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
}

/// A fault of the catalogue, and whether it can be armed here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CatalogueEntry {
    /// Its name.
    pub name: String,
    /// Why it cannot be armed here: `no CAP_SYS_TIME`; absent when it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
    /// The rest of its row: layer, targets, summary, detail, parameters.
    #[serde(flatten)]
    pub row: serde_json::Map<String, serde_json::Value>,
}

impl CatalogueEntry {
    /// The whole catalogue, everything available.
    pub fn all() -> Vec<CatalogueEntry> {
        let entry = |def: &model::FaultDef| {
            let mut row = match serde_json::to_value(def) {
                Ok(serde_json::Value::Object(map)) => map,
                _ => serde_json::Map::new(),
            };
            row.remove("name");
            CatalogueEntry { name: def.name.to_owned(), unavailable: None, row }
        };
        catalogue::all().map(entry).collect()
    }
}

/// One thing this machine can or cannot do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at: `cgroup v2`.
    pub name: String,
    /// Whether it is there.
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// What it is needed for, and what to do when it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn latency() -> Fault {
        serde_json::from_value(json!({"target": "proxy:cart", "for": "60s", "inject": {"latency": {"delay": "120ms"}}, "when": {"client": "10.0.0.0/8"}}))
            .unwrap()
    }

    fn change(json: serde_json::Value) -> Change {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        let next = change(json!({"inject": {"jitter": "10ms"}, "when": null, "share": {"percent": "30%"}}))
            .apply(&latency())
            .unwrap();
        assert_eq!(next.describe(), "latency 120ms±10ms · 30%");
        assert_eq!(next.lasts, Some(Span::secs(60)));
        let same = change(json!({})).apply(&latency()).unwrap();
        assert_eq!(same, latency());
        let text = serde_json::to_string(&change(json!({"when": null}))).unwrap();
        assert_eq!(text, r#"{"when":null}"#);
    }

    #[test]
    fn an_impossible_change_says_why() {
        let why = |json| change(json).apply(&latency()).unwrap_err();
        assert!(why(json!({"inject": {"dealy": "1s"}})).to_string().contains("did you mean delay?"));
        assert!(why(json!({"inject": {"delay": "1"}})).to_string().contains("the unit is missing"));
        assert!(why(json!({"inject": {"delay": null}})).to_string().contains("latency needs delay"));
        assert_eq!(why(json!({"for": "0s"})).code, Code::Impossible);
    }
}
