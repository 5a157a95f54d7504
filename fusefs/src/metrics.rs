//! Counters and histograms of one mount, by operation: sharded atomics, never reset. Whoever samples subtracts.

use crate::op::Op;
use model::Sample;
use model::histogram::{BUCKETS, Histogram, bucket};
use model::sample::Arm;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Shards, so that threads do not share cache lines.
const SHARDS: usize = 4;
const OPS: usize = Op::ALL.len();

/// What a mount counts.
pub(crate) struct Metrics {
    opened: Instant,
    shards: [Shard; SHARDS],
}

#[repr(align(128))]
struct Shard {
    read: AtomicU64,
    written: AtomicU64,
    /// By operation, untouched and touched.
    ops: [[Cell; 2]; OPS],
    added: Buckets,
}

#[derive(Default)]
struct Cell {
    count: AtomicU64,
    errors: AtomicU64,
    latency: Buckets,
}

/// A dense histogram, made when it first counts.
#[derive(Default)]
struct Buckets(OnceLock<Box<[AtomicU64]>>);

/// What came of an operation.
pub(crate) struct Outcome {
    pub(crate) op: Op,
    pub(crate) took: Duration,
    pub(crate) added: Duration,
    pub(crate) failed: bool,
    pub(crate) touched: bool,
    pub(crate) bytes: u64,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let shard = || Shard {
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            ops: std::array::from_fn(|_| Default::default()),
            added: Buckets::default(),
        };
        Metrics { opened: Instant::now(), shards: std::array::from_fn(|_| shard()) }
    }

    pub(crate) fn count(&self, outcome: &Outcome) {
        let shard = self.shard();
        let cell = &shard.ops[outcome.op as usize][usize::from(outcome.touched)];
        cell.count.fetch_add(1, Relaxed);
        if outcome.failed {
            cell.errors.fetch_add(1, Relaxed);
        }
        cell.latency.record(outcome.took);
        if !outcome.added.is_zero() {
            shard.added.record(outcome.added);
        }
        match outcome.op {
            Op::Read => shard.read.fetch_add(outcome.bytes, Relaxed),
            Op::Write => shard.written.fetch_add(outcome.bytes, Relaxed),
            _ => 0,
        };
    }

    /// Everything since the mount; `open` files are open now.
    pub(crate) fn totals(&self, open: u64) -> Sample {
        let mut sample = Sample { seconds: self.opened.elapsed().as_secs_f64(), open, ..Sample::default() };
        let mut added = vec![0_u64; BUCKETS];
        for shard in &self.shards {
            sample.bytes_down += shard.read.load(Relaxed);
            sample.bytes_up += shard.written.load(Relaxed);
            shard.added.add_to(&mut added);
        }
        sample.added = Histogram::from_dense(&added);
        for op in Op::ALL {
            let mut both = Arm::default();
            for (i, arm) in [&mut sample.untouched, &mut sample.touched].into_iter().enumerate() {
                let one = self.arm(*op, i);
                for sum in [arm, &mut both] {
                    sum.requests += one.requests;
                    sum.errors += one.errors;
                    sum.latency.merge(&one.latency);
                }
            }
            if *op == Op::Open || *op == Op::Create {
                sample.accepted += both.requests;
            }
            if both.requests > 0 {
                sample.operations.insert(op.word().to_owned(), both);
            }
        }
        sample.requests = sample.untouched.requests + sample.touched.requests;
        sample.errors = sample.untouched.errors + sample.touched.errors;
        sample.latency = sample.untouched.latency.clone();
        sample.latency.merge(&sample.touched.latency);
        sample
    }

    fn arm(&self, op: Op, touched: usize) -> Arm {
        let mut arm = Arm::default();
        let mut dense = vec![0_u64; BUCKETS];
        for shard in &self.shards {
            let cell = &shard.ops[op as usize][touched];
            arm.requests += cell.count.load(Relaxed);
            arm.errors += cell.errors.load(Relaxed);
            cell.latency.add_to(&mut dense);
        }
        arm.latency = Histogram::from_dense(&dense);
        arm
    }

    fn shard(&self) -> &Shard {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! { static MINE: usize = NEXT.fetch_add(1, Relaxed) % SHARDS; }
        &self.shards[MINE.with(|mine| *mine)]
    }
}

impl Buckets {
    fn record(&self, value: Duration) {
        let counts = self.0.get_or_init(|| (0..BUCKETS).map(|_| AtomicU64::new(0)).collect());
        counts[bucket(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX))].fetch_add(1, Relaxed);
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
    fn totals_are_by_operation_and_in_all() {
        let metrics = Metrics::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for i in 0..500_u64 {
                        metrics.count(&Outcome {
                            op: if i % 2 == 0 { Op::Read } else { Op::Fsync },
                            took: Duration::from_micros(50),
                            added: Duration::ZERO,
                            failed: i % 10 == 1,
                            touched: i % 4 == 0,
                            bytes: 8,
                        });
                    }
                });
            }
        });
        let totals = metrics.totals(0);
        assert_eq!((totals.requests, totals.errors, totals.bytes_down), (2000, 200, 8000));
        assert_eq!((totals.touched.requests, totals.operations["fsync"].requests), (500, 1000));
        assert_eq!(totals.operations["fsync"].errors, 200);
    }
}
