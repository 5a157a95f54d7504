//! One fault in the agent's book, and how it shows to others.

use inject::Armed;
use model::event::Ending;
use model::units::Span;
use model::{Evidence, Fault, Matcher, TargetRef};
use model::{Injection, Ramp, Share};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// What is to be armed.
#[derive(Debug, Clone)]
pub struct ArmRequest {
    /// The fault.
    pub fault: Fault,
    /// Who orders it: a user, `run NAME`.
    pub by: String,
    /// Ends the fault unless it is renewed that often; without one it rests on the agent's own lease.
    pub lease: Option<Duration>,
}

impl ArmRequest {
    /// A fault on the agent's own lease.
    pub fn new(fault: Fault, by: impl Into<String>) -> ArmRequest {
        ArmRequest { fault, by: by.into(), lease: None }
    }

    /// The same on a lease of its own.
    pub fn lease(mut self, lease: Duration) -> ArmRequest {
        self.lease = Some(lease);
        self
    }
}

/// What is to change about a fault that is on; whatever is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Change {
    /// Its parameters, complete; the fault itself stays the same.
    pub inject: Option<Injection>,
    /// Its share.
    pub share: Option<Share>,
    /// Its matcher; an inner none takes it away.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub when: Option<Option<Matcher>>,
    /// Its ramp; an inner none takes it away.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Option<Ramp>>,
    /// How long it lasts, counted from when it was armed.
    #[serde(rename = "for")]
    pub lasts: Option<Span>,
}

/// Tells a null, which takes something away, from nothing at all.
fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    d: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(d).map(Some)
}

impl Change {
    /// New parameters.
    pub fn inject(inject: Injection) -> Change {
        Change { inject: Some(inject), ..Change::default() }
    }

    /// The fault as it will be.
    pub fn apply(&self, fault: &Fault) -> Fault {
        Fault {
            inject: self.inject.clone().unwrap_or_else(|| fault.inject.clone()),
            share: self.share.unwrap_or(fault.share),
            when: self.when.clone().unwrap_or_else(|| fault.when.clone()),
            ramp: self.ramp.clone().unwrap_or_else(|| fault.ramp.clone()),
            lasts: self.lasts.or(fault.lasts),
            ..fault.clone()
        }
    }
}

/// Where a fault is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultPhase {
    /// Being armed.
    Arming,
    /// On.
    On,
    /// Being taken back.
    Ending,
    /// Taking it back failed; it is tried again.
    Stuck,
    /// It happened, once, and is over.
    Ended,
}

/// A fault as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmedFault {
    /// Its id.
    pub id: String,
    /// What was ordered, with changes since.
    pub fault: Fault,
    /// Who ordered it.
    pub by: String,
    /// The seed of its decisions.
    pub seed: u64,
    /// Where it is in its life.
    pub phase: FaultPhase,
    /// When it was armed, in milliseconds since 1970 by the wall clock.
    pub armed_at_ms: u64,
    /// How long it has been on.
    pub elapsed_ms: u64,
    /// How long it will still be on; none for what happens once.
    pub left_ms: Option<u64>,
    /// How long its own lease still runs, when it has one.
    pub lease_left_ms: Option<u64>,
    /// What was done, in words.
    pub acts: Vec<String>,
    /// How each is undone, in words.
    pub undo: Vec<String>,
    /// What the plan warned of.
    pub warnings: Vec<String>,
    /// Parts that could not be done, and why.
    pub failures: Vec<String>,
    /// What it has done so far.
    pub evidence: Evidence,
}

impl ArmedFault {
    /// Its target.
    pub fn target(&self) -> &TargetRef {
        &self.fault.target
    }
}

/// What came of ending a fault, first try: none while it is not known.
pub(super) type Outcome = Option<Result<(), String>>;

/// A fault in the book.
#[derive(Debug)]
pub(super) struct Entry {
    pub order: u64,
    pub fault: Fault,
    pub id: String,
    pub by: String,
    pub seed: u64,
    pub phase: FaultPhase,
    /// Asked to end while it was still being armed.
    pub cancelled: Option<Ending>,
    /// Its number in the log, once it is there.
    pub n: Option<u64>,
    pub armed: Option<Armed>,
    /// The place in the log's intent of each of `armed.acts`.
    pub places: Vec<usize>,
    pub claims: Vec<String>,
    pub warnings: Vec<String>,
    pub failures: Vec<String>,
    pub armed_at: Option<Instant>,
    pub armed_at_ms: u64,
    pub ends_at: Option<Instant>,
    /// When its own lease passes.
    pub lease: Option<Instant>,
    pub shared: Arc<Shared>,
}

/// What those who wait for a fault hold without the book's lock.
#[derive(Debug)]
pub(super) struct Shared {
    /// One at a time changes a fault or takes it back: a change that is under way ends before the fault does, and
    /// none begins afterwards.
    pub turn: tokio::sync::Mutex<()>,
    pub outcome: watch::Sender<Outcome>,
    pub again: Notify,
}

impl Entry {
    pub(super) fn view(&self) -> ArmedFault {
        let now = Instant::now();
        let left = |at: Instant| at.saturating_duration_since(now).as_millis() as u64;
        let acts = self.armed.as_ref().map(|a| a.acts.as_slice()).unwrap_or_default();
        ArmedFault {
            id: self.id.clone(),
            fault: self.fault.clone(),
            by: self.by.clone(),
            seed: self.seed,
            phase: self.phase,
            armed_at_ms: self.armed_at_ms,
            elapsed_ms: self.armed_at.map_or(0, |at| now.saturating_duration_since(at).as_millis() as u64),
            left_ms: self.ends_at.map(left),
            lease_left_ms: self.lease.map(left),
            acts: acts.iter().map(|a| a.act.clone()).collect(),
            undo: acts.iter().map(|a| a.undo.clone()).collect(),
            warnings: self.warnings.clone(),
            failures: self.failures.clone(),
            evidence: Evidence::default(),
        }
    }
}
