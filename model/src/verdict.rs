//! What came of a run: the stable schema of `result.json`.

use crate::event::{Ending, WindowResult};
use crate::sample::Evidence;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The verdict over a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// What was expected held.
    Held,
    /// It did not.
    Deviated,
    /// The faults had no measurable footprint, or there was too little data.
    Inconclusive,
    /// A guard or a person ended the run.
    Aborted,
    /// Something failed, or an undo could not be verified.
    Error,
}

impl Verdict {
    /// The exit code of `murphy run`. (2 is a command line or a file that is wrong.)
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Held => 0,
            Verdict::Deviated => 1,
            Verdict::Inconclusive => 3,
            Verdict::Aborted => 4,
            Verdict::Error => 5,
        }
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Held => "held",
            Verdict::Deviated => "deviated",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Aborted => "aborted",
            Verdict::Error => "error",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A whole run. Times called `_s` are seconds since the run began, on the monotonic clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Version of this schema: 1.
    pub schema: u32,
    /// The program's version.
    pub version: String,
    /// The experiment's name.
    pub name: String,
    /// What it is about.
    pub description: Option<String>,
    /// What was expected.
    pub hypothesis: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// The seed of every random choice.
    pub seed: u64,
    /// Digest of the first 1000 decisions of each fault; the same for the same file and seed.
    pub decisions_digest: String,
    /// Wall-clock begin, RFC 3339.
    pub started: String,
    /// Length in seconds.
    pub seconds: f64,
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in a sentence.
    pub why: String,
    /// When each phase took place.
    pub phases: Vec<PhaseRecord>,
    /// What each fault did.
    pub faults: Vec<FaultRecord>,
    /// How each metric fared.
    pub metrics: Vec<MetricRecord>,
    /// What each guard did.
    pub guards: Vec<GuardRecord>,
    /// Second by second, for plots.
    pub series: Vec<Series>,
    /// Undos that failed.
    pub undo_failures: u64,
    /// Resolution of the times, in seconds: samples come this often.
    pub resolution_s: f64,
}

/// A stretch of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseRecord {
    /// `baseline`, a stage's name, `cooldown`.
    pub name: String,
    /// Begin.
    pub start_s: f64,
    /// End.
    pub end_s: f64,
    /// It was left out because the steady state did not hold.
    pub skipped: bool,
}

/// A fault of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultRecord {
    /// Its id.
    pub id: String,
    /// Its name in the catalogue.
    pub fault: String,
    /// On what: `proxy:payments`.
    pub target: String,
    /// In a few words.
    pub what: String,
    /// The stage it was in.
    pub stage: String,
    /// The seed of its decisions.
    pub seed: u64,
    /// When its last target acknowledged; none when it was never armed.
    pub armed_s: Option<f64>,
    /// When its removal was verified.
    pub ended_s: Option<f64>,
    /// Why it ended.
    pub ending: Option<Ending>,
    /// Why it could not be armed or undone.
    pub failure: Option<String>,
    /// What it did.
    pub evidence: Evidence,
    /// First of two consecutive seconds outside the baseline band after arming, in seconds after it; none: never seen.
    pub time_to_effect_s: Option<f64>,
    /// The metric that showed it first.
    pub effect_in: Option<String>,
    /// Recovery while the fault was on, in seconds from effect to two seconds inside the band: the defence.
    pub defence_s: Option<f64>,
    /// Recovery after its verified removal, in seconds to two seconds inside the band: the self-healing.
    pub healing_s: Option<f64>,
}

/// A metric of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricRecord {
    /// Its name.
    pub name: String,
    /// Where the number came from.
    pub source: String,
    /// What was expected of it.
    pub expect: String,
    /// The bound as a number, for drawing.
    pub bound: Option<f64>,
    /// Its unit.
    pub unit: String,
    /// Whether it decided.
    pub gate: bool,
    /// How it was judged in all.
    pub result: WindowResult,
    /// Why, in a sentence.
    pub why: String,
    /// Median over the windows before the first fault.
    pub baseline: Option<f64>,
    /// The worst window while faults were on.
    pub worst: Option<f64>,
    /// Median over the windows after the last recovery.
    pub after: Option<f64>,
    /// All windows.
    pub windows: Vec<WindowRecord>,
}

/// One judged window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowRecord {
    /// Begin.
    pub start_s: f64,
    /// End.
    pub end_s: f64,
    /// `before`, `during` or `after` the faults.
    pub phase: String,
    /// The value, when there was one.
    pub value: Option<f64>,
    /// How many samples it rests on.
    pub samples: u64,
    /// How it was judged.
    pub result: WindowResult,
}

/// A guard of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuardRecord {
    /// In words.
    pub guard: String,
    /// It ended the run.
    pub tripped: bool,
    /// For how long its condition held at most, in seconds.
    pub longest_s: f64,
}

/// A target or a load, second by second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// `proxy:payments`, `load:users`.
    pub name: String,
    /// One point a second.
    pub points: Vec<Point>,
}

/// One second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Its end.
    pub t: f64,
    /// Requests per second.
    pub rate: f64,
    /// Failed share in percent; none without requests.
    pub errors: Option<f64>,
    /// Median latency in milliseconds.
    pub p50: Option<f64>,
    /// 99th percentile in milliseconds.
    pub p99: Option<f64>,
}
