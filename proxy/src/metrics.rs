//! Counters and histograms of one target: sharded atomics, never reset. Whoever samples subtracts.

use model::Sample;
use model::histogram::{BUCKETS, Histogram, bucket};
use model::sample::Arm;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Shards, so that workers do not share cache lines; a power of two.
const SHARDS: usize = 4;

/// What a target counts.
pub(crate) struct Metrics {
    opened: Instant,
    shards: [Shard; SHARDS],
}

#[derive(Default)]
#[repr(align(128))]
struct Shard {
    accepted: AtomicU64,
    refused: AtomicU64,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    arms: [ArmShard; 2],
    added: Buckets,
}

#[derive(Default)]
struct ArmShard {
    requests: AtomicU64,
    errors: AtomicU64,
    latency: Buckets,
}

/// A dense histogram, made when it first counts: most targets never use all of theirs.
#[derive(Default)]
pub(crate) struct Buckets(OnceLock<Box<[AtomicU64]>>);

/// What came of one request, but for its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// When its first byte came.
    pub(crate) started: Instant,
    /// The part of its latency that faults made.
    pub(crate) added: Duration,
    /// Whether it failed.
    pub(crate) failed: bool,
    /// Whether a fault did something to it.
    pub(crate) touched: bool,
}

impl Metrics {
    /// All zero.
    pub(crate) fn new() -> Metrics {
        Metrics { opened: Instant::now(), shards: Default::default() }
    }

    /// Counts a connection.
    pub(crate) fn accepted(&self) {
        self.shard().accepted.fetch_add(1, Relaxed);
    }

    /// Counts what was refused before it was a request.
    pub(crate) fn refused(&self) {
        self.shard().refused.fetch_add(1, Relaxed);
    }

    /// Counts bytes from a client.
    pub(crate) fn bytes_up(&self, n: usize) {
        self.shard().bytes_up.fetch_add(n as u64, Relaxed);
    }

    /// Counts bytes to a client.
    pub(crate) fn bytes_down(&self, n: usize) {
        self.shard().bytes_down.fetch_add(n as u64, Relaxed);
    }

    /// Counts a request with its latency, if it was answered.
    pub(crate) fn request(&self, outcome: &Outcome, ended: Option<Instant>) {
        self.ended(outcome.failed, outcome.touched);
        if let Some(ended) = ended {
            self.latency(ended.saturating_duration_since(outcome.started), outcome.added, outcome.touched);
        }
    }

    /// Counts a request or a connection that ended.
    pub(crate) fn ended(&self, failed: bool, touched: bool) {
        let arm = &self.shard().arms[usize::from(touched)];
        arm.requests.fetch_add(1, Relaxed);
        if failed {
            arm.errors.fetch_add(1, Relaxed);
        }
    }

    /// Counts a latency that a client saw, and the part of it that faults made.
    pub(crate) fn latency(&self, latency: Duration, added: Duration, touched: bool) {
        let shard = self.shard();
        shard.arms[usize::from(touched)].latency.record(latency);
        if !added.is_zero() {
            shard.added.record(added);
        }
    }

    /// Everything since the target was opened.
    pub(crate) fn totals(&self, open: u64) -> Sample {
        let sum = |f: &dyn Fn(&Shard) -> &AtomicU64| self.shards.iter().map(|s| f(s).load(Relaxed)).sum();
        let merged = |f: &dyn Fn(&Shard) -> &Buckets| {
            let mut dense = vec![0_u64; BUCKETS];
            self.shards.iter().for_each(|s| f(s).add_to(&mut dense));
            Histogram::from_dense(&dense)
        };
        let arm = |i: usize| Arm {
            requests: sum(&|s| &s.arms[i].requests),
            errors: sum(&|s| &s.arms[i].errors),
            latency: merged(&|s| &s.arms[i].latency),
        };
        let (untouched, touched) = (arm(0), arm(1));
        let mut latency = untouched.latency.clone();
        latency.merge(&touched.latency);
        Sample {
            seconds: self.opened.elapsed().as_secs_f64(),
            requests: untouched.requests + touched.requests,
            errors: untouched.errors + touched.errors,
            refused: sum(&|s| &s.refused),
            accepted: sum(&|s| &s.accepted),
            open,
            bytes_up: sum(&|s| &s.bytes_up),
            bytes_down: sum(&|s| &s.bytes_down),
            latency,
            added: merged(&|s| &s.added),
            untouched,
            touched,
            ..Sample::default()
        }
    }

    fn shard(&self) -> &Shard {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! { static MINE: usize = NEXT.fetch_add(1, Relaxed) % SHARDS; }
        &self.shards[MINE.with(|mine| *mine)]
    }
}

impl Buckets {
    pub(crate) fn record(&self, value: Duration) {
        let counts = self.0.get_or_init(|| (0..BUCKETS).map(|_| AtomicU64::new(0)).collect());
        counts[bucket(value.as_nanos() as u64)].fetch_add(1, Relaxed);
    }

    /// What was recorded so far.
    pub(crate) fn histogram(&self) -> Histogram {
        let mut dense = vec![0_u64; BUCKETS];
        self.add_to(&mut dense);
        Histogram::from_dense(&dense)
    }

    fn add_to(&self, dense: &mut [u64]) {
        if let Some(counts) = self.0.get() {
            dense.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n.load(Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_the_sum_of_what_all_threads_counted() {
        let metrics = Metrics::new();
        let started = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for i in 0..1000_u64 {
                        let touched = i % 4 == 0;
                        let added = if touched { Duration::from_millis(5) } else { Duration::ZERO };
                        let outcome = Outcome { started, added, failed: i % 10 == 0, touched };
                        metrics.request(&outcome, Some(started + Duration::from_millis(10)));
                    }
                });
            }
        });
        let totals = metrics.totals(3);
        assert_eq!((totals.requests, totals.errors, totals.open), (6000, 600, 3));
        assert_eq!((totals.touched.requests, totals.untouched.requests), (1500, 4500));
        assert_eq!((totals.latency.count(), totals.added.count()), (6000, 1500));
        let p50 = totals.latency.quantile_ms(0.5).unwrap();
        assert!((p50 - 10.0).abs() < 0.4, "{p50}");
    }
}
