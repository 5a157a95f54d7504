//! A concurrent control: of the requests that match a fault, those that its share gave it against those that it spared, at
//! the same time. What else changes meanwhile changes both.

use crate::metrics::Buckets;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Both arms.
#[derive(Default)]
pub(crate) struct Compared {
    /// Spared, and hit.
    arms: [Arm; 2],
}

#[derive(Default)]
struct Arm {
    requests: AtomicU64,
    failed: AtomicU64,
    latency: Buckets,
}

impl Compared {
    /// Counts a request that matched; without a latency it was never answered.
    pub(crate) fn count(&self, taken: bool, latency: Option<Duration>, failed: bool) {
        let arm = &self.arms[usize::from(taken)];
        arm.requests.fetch_add(1, Relaxed);
        if failed {
            arm.failed.fetch_add(1, Relaxed);
        }
        if let Some(latency) = latency {
            arm.latency.record(latency);
        }
    }

    /// Medians, 99th percentiles and failures of both arms; nothing while one of them is empty.
    pub(crate) fn measured(&self) -> BTreeMap<String, f64> {
        let mut out = BTreeMap::new();
        if self.arms.iter().any(|arm| arm.requests.load(Relaxed) == 0) {
            return out;
        }
        for (arm, name) in self.arms.iter().zip(["spared", "hit"]) {
            let requests = arm.requests.load(Relaxed);
            let failed = arm.failed.load(Relaxed) as f64 * 100.0 / requests as f64;
            let latency = arm.latency.histogram();
            out.insert(format!("{name}_requests"), requests as f64);
            out.insert(format!("{name}_failed_percent"), failed);
            for (q, word) in [(0.5, "p50"), (0.99, "p99")] {
                if let Some(ms) = latency.quantile_ms(q) {
                    out.insert(format!("{name}_{word}_ms"), ms);
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_arms_are_told_once_both_have_come() {
        let compared = Compared::default();
        for i in 0..100 {
            compared.count(true, Some(Duration::from_millis(50)), i % 4 == 0);
        }
        assert!(compared.measured().is_empty());
        compared.count(false, Some(Duration::from_millis(10)), false);
        let got = compared.measured();
        assert_eq!((got["hit_failed_percent"], got["spared_failed_percent"]), (25.0, 0.0));
        assert!(
            (got["hit_p50_ms"] - 50.0).abs() < 2.0 && (got["spared_p99_ms"] - 10.0).abs() < 0.5,
            "{got:?}"
        );
    }
}
