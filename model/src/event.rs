//! What happened, in order: the stream that consoles, reports and journals read, and nothing else.

use crate::fault::Fault;
use crate::sample::{Evidence, Sample};
use crate::target::TargetRef;
use crate::units::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One event. `seq` grows by one; `at_ms` is wall-clock time in milliseconds since 1970; `mono_ms` is the agent's
/// monotonic clock since its start, and the one to subtract.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number, from 1.
    pub seq: u64,
    /// Wall-clock time, milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// Monotonic time since the agent's start, milliseconds.
    pub mono_ms: f64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// A target was opened or found.
    TargetOpened {
        /// Which.
        target: TargetRef,
        /// In a few words.
        about: String,
    },
    /// A target was closed.
    TargetClosed {
        /// Which.
        target: TargetRef,
    },
    /// A fault is on; acknowledged by what it acts on.
    Armed {
        /// Its id.
        id: String,
        /// What was ordered.
        fault: Fault,
        /// Who ordered it: a user, `run NAME`.
        by: String,
    },
    /// A fault's parameters were changed.
    Adjusted {
        /// Its id.
        id: String,
        /// As it is now.
        fault: Fault,
        /// Who changed it.
        by: String,
    },
    /// Arming failed; what had been done is undone.
    ArmFailed {
        /// The id it would have had.
        id: String,
        /// On what.
        target: TargetRef,
        /// Why, as a sentence.
        why: String,
    },
    /// A fault was taken back and that was verified.
    Recovered {
        /// Its id.
        id: String,
        /// On what.
        target: TargetRef,
        /// Why it ended.
        why: Ending,
        /// What it had done.
        evidence: Evidence,
    },
    /// Taking a fault back failed or could not be verified.
    RecoverFailed {
        /// Its id.
        id: String,
        /// Why, as a sentence.
        why: String,
    },
    /// Everything was halted.
    Halted {
        /// Who: a user, `file /run/murphy/STOP`, `signal`.
        by: String,
        /// The faults that were on.
        faults: Vec<String>,
    },
    /// The halt was lifted.
    HaltLifted {
        /// Who.
        by: String,
    },
    /// One tick of measurements, by target (`proxy:cart`).
    Samples {
        /// The targets' samples.
        targets: BTreeMap<String, Sample>,
    },
    /// What the armed faults have done so far, by fault id, once a tick.
    Evidence {
        /// By fault id.
        faults: BTreeMap<String, Evidence>,
    },
    /// A run began.
    RunStarted {
        /// The experiment's name.
        name: String,
        /// Its seed.
        seed: u64,
        /// Its stages with their lengths.
        stages: Vec<(String, Span)>,
        /// The bounds of its metrics, for drawing: metric name → (`proxy:cart latency p99`, `< 800ms`).
        bounds: BTreeMap<String, (String, String)>,
    },
    /// A run entered a phase.
    Phase {
        /// `baseline`, `stage`, `cooldown`, `verify`, `done`.
        phase: String,
        /// The stage's name and number from 1, in phase `stage`.
        stage: Option<(String, usize)>,
        /// How long it lasts, when known.
        lasts: Option<Span>,
    },
    /// A metric's window was judged.
    Window {
        /// The metric.
        metric: String,
        /// The value, when there was one.
        value: Option<f64>,
        /// How it was judged.
        result: WindowResult,
    },
    /// A guard's condition began to hold, or ceased to.
    Guard {
        /// The guard in words.
        guard: String,
        /// What it did.
        state: GuardState,
    },
    /// A run ended.
    RunEnded {
        /// The experiment's name.
        name: String,
        /// `held`, `deviated`, `inconclusive`, `aborted`, `error`.
        verdict: String,
        /// Why, in a sentence.
        why: String,
        /// Where the report lies.
        report: Option<String>,
    },
    /// Something worth a line.
    Note {
        /// `info`, `warn`, `error`.
        level: Level,
        /// The line.
        text: String,
    },
}

/// How much a note matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Good to know.
    Info,
    /// Look at it.
    Warn,
    /// Something failed.
    Error,
}

/// Why a fault ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Its time was up.
    Elapsed,
    /// Someone disarmed it.
    Disarmed,
    /// Everything was halted.
    Halted,
    /// Its lease was not renewed.
    LeaseExpired,
    /// A guard ended the run.
    Guard,
    /// The run or the agent ended.
    Shutdown,
    /// It happened once and is over.
    Once,
    /// It was found in the undo log of an agent that is gone.
    Recovered,
}

/// How a window was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowResult {
    /// Within the bound.
    Pass,
    /// Outside the bound.
    Fail,
    /// Too little data.
    Unknown,
}

/// What a guard did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuardState {
    /// Its condition holds, its grace runs.
    Pending,
    /// Its condition ceased to hold.
    Cleared,
    /// It ended the run.
    Tripped,
}
