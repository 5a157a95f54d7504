//! What was measured: one second of one target, and what one fault did.

use crate::histogram::Histogram;
use crate::target::TargetRef;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one target did during one tick (a second, as a rule). All counts are of that tick alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// How long the tick really was, in seconds.
    pub seconds: f64,
    /// Requests that ended (layer 7), or connections that ended (layer 4).
    pub requests: u64,
    /// Of those, ones that failed: status 500 and above, no answer, or an end that the service did not mean.
    pub errors: u64,
    /// What clients sent in place of requests and was refused before it was one: it counts as no request.
    #[serde(default)]
    pub refused: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open at the end of the tick.
    pub open: u64,
    /// Bytes from clients to the service.
    pub bytes_up: u64,
    /// Bytes from the service to clients.
    pub bytes_down: u64,
    /// Latency that clients saw (layer 7: request to end of response head; layer 4: first byte up to first byte down).
    pub latency: Histogram,
    /// The part of it that the faults added.
    pub added: Histogram,
    /// The same counts for what no fault touched, the concurrent control: requests, errors and latency.
    pub untouched: Arm,
    /// The same counts for what a fault touched.
    pub touched: Arm,
    /// The same counts by operation, of targets that are directories.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub operations: BTreeMap<String, Arm>,
}

/// One arm of a comparison at the same time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// Requests that ended.
    pub requests: u64,
    /// Of those, failed.
    pub errors: u64,
    /// Latency that clients saw.
    pub latency: Histogram,
}

impl Sample {
    /// Requests per second.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.requests as f64 / self.seconds } else { 0.0 }
    }

    /// Failed share of the requests, 0.0..=1.0; none when there were none.
    pub fn error_share(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.errors as f64 / self.requests as f64)
    }

    /// What came on top of an earlier reading of the same counters, over `seconds`.
    pub fn since(&self, earlier: &Sample, seconds: f64) -> Sample {
        let arm = |now: &Arm, before: &Arm| Arm {
            requests: now.requests.saturating_sub(before.requests),
            errors: now.errors.saturating_sub(before.errors),
            latency: now.latency.since(&before.latency),
        };
        Sample {
            seconds,
            requests: self.requests.saturating_sub(earlier.requests),
            errors: self.errors.saturating_sub(earlier.errors),
            refused: self.refused.saturating_sub(earlier.refused),
            accepted: self.accepted.saturating_sub(earlier.accepted),
            open: self.open,
            bytes_up: self.bytes_up.saturating_sub(earlier.bytes_up),
            bytes_down: self.bytes_down.saturating_sub(earlier.bytes_down),
            latency: self.latency.since(&earlier.latency),
            added: self.added.since(&earlier.added),
            untouched: arm(&self.untouched, &earlier.untouched),
            touched: arm(&self.touched, &earlier.touched),
            operations: self
                .operations
                .iter()
                .map(|(op, now)| {
                    let before = earlier.operations.get(op);
                    (op.clone(), before.map_or_else(|| now.clone(), |before| arm(now, before)))
                })
                .filter(|(_, arm)| arm.requests > 0)
                .collect(),
        }
    }

    /// Adds a later tick to this one.
    pub fn merge(&mut self, later: &Sample) {
        self.seconds += later.seconds;
        self.requests += later.requests;
        self.errors += later.errors;
        self.refused += later.refused;
        self.accepted += later.accepted;
        self.open = later.open;
        self.bytes_up += later.bytes_up;
        self.bytes_down += later.bytes_down;
        self.latency.merge(&later.latency);
        self.added.merge(&later.added);
        for (mine, theirs) in [(&mut self.untouched, &later.untouched), (&mut self.touched, &later.touched)] {
            mine.requests += theirs.requests;
            mine.errors += theirs.errors;
            mine.latency.merge(&theirs.latency);
        }
        for (op, theirs) in &later.operations {
            let mine = self.operations.entry(op.clone()).or_default();
            mine.requests += theirs.requests;
            mine.errors += theirs.errors;
            mine.latency.merge(&theirs.latency);
        }
    }
}

/// Samples of all targets of one tick.
pub type Samples = BTreeMap<String, Sample>;

/// What an armed fault measurably did, in all since it was armed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// How often it was considered: connections, requests or operations that matched.
    pub considered: u64,
    /// How often it applied.
    pub applied: u64,
    /// What it did, as numbers with their names and units: `added_ms_mean`, `bytes_swallowed`, `cpu_percent`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measured: BTreeMap<String, f64>,
}

/// One target as it is now, for lists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetState {
    /// Kind and name.
    pub target: TargetRef,
    /// In a few words: `127.0.0.1:15432 → payments:8080 http`.
    pub about: String,
    /// Whether it works: listening, running.
    pub up: bool,
    /// The address it really listens on, for proxies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Layer 7 is understood.
    #[serde(default)]
    pub http: bool,
}
