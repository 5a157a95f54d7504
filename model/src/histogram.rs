//! Log-linear histogram of durations: constant relative error, fixed memory, cheap to merge and to subtract.
//!
//! Values are nanoseconds up to 2^40 (18 minutes); each power of two is split in 32, so a bucket is at most
//! 3.2 % wide. The layout is HdrHistogram's; the data planes count in the same buckets with atomics.

use serde::{Deserialize, Serialize};

const SPLIT: u32 = 5;

/// How many buckets the layout has.
pub const BUCKETS: usize = ((40 - SPLIT as usize) + 1) << SPLIT;

/// The bucket of a value in nanoseconds.
#[inline]
pub fn bucket(nanos: u64) -> usize {
    let v = nanos.min((1 << 40) - 1);
    if v < (1 << SPLIT) {
        return v as usize;
    }
    let e = 63 - v.leading_zeros() - SPLIT;
    (((e + 1) << SPLIT) as usize) + ((v >> e) as usize & ((1 << SPLIT) - 1))
}

/// The middle of a bucket, in nanoseconds.
pub fn middle(bucket: usize) -> u64 {
    if bucket < (1 << SPLIT) {
        return bucket as u64;
    }
    let e = (bucket >> SPLIT) - 1;
    let low = (((1 << SPLIT) + (bucket & ((1 << SPLIT) - 1))) as u64) << e;
    low + (1_u64 << e) / 2
}

/// Counts per bucket, sparse: only buckets that hold something are kept, in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram {
    counts: Vec<(u16, u64)>,
}

impl Histogram {
    /// From counts by bucket, as the data planes hold them.
    pub fn from_dense(counts: &[u64]) -> Histogram {
        let counts =
            counts.iter().enumerate().filter(|(_, n)| **n > 0).map(|(i, n)| (i as u16, *n)).collect();
        Histogram { counts }
    }

    /// Adds one value, in nanoseconds.
    pub fn record(&mut self, nanos: u64) {
        let bucket = bucket(nanos) as u16;
        match self.counts.binary_search_by_key(&bucket, |(b, _)| *b) {
            Ok(i) => self.counts[i].1 += 1,
            Err(i) => self.counts.insert(i, (bucket, 1)),
        }
    }

    /// Adds all of another histogram.
    pub fn merge(&mut self, other: &Histogram) {
        for (bucket, n) in &other.counts {
            match self.counts.binary_search_by_key(bucket, |(b, _)| *b) {
                Ok(i) => self.counts[i].1 += n,
                Err(i) => self.counts.insert(i, (*bucket, *n)),
            }
        }
    }

    /// What came on top of an earlier reading of the same counters.
    pub fn since(&self, earlier: &Histogram) -> Histogram {
        let before = |bucket: u16| {
            earlier.counts.binary_search_by_key(&bucket, |(b, _)| *b).map_or(0, |i| earlier.counts[i].1)
        };
        let counts = self
            .counts
            .iter()
            .map(|(b, n)| (*b, n.saturating_sub(before(*b))))
            .filter(|(_, n)| *n > 0)
            .collect();
        Histogram { counts }
    }

    /// How many values it holds.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|(_, n)| n).sum()
    }

    /// How many are in buckets up to that of `nanos`: those not larger, to a bucket's width.
    pub fn at_most(&self, nanos: u64) -> u64 {
        let last = bucket(nanos) as u16;
        self.counts.iter().take_while(|(b, _)| *b <= last).map(|(_, n)| n).sum()
    }

    /// The sum in nanoseconds, each value taken as the middle of its bucket.
    pub fn sum(&self) -> u64 {
        let sum =
            |all: u64, (b, n): &(u16, u64)| all.saturating_add(middle(usize::from(*b)).saturating_mul(*n));
        self.counts.iter().fold(0, sum)
    }

    /// The value in nanoseconds below which the share `q` (0.0..=1.0) lies; none when it is empty.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = ((total as f64 * q).ceil() as u64).clamp(1, total);
        let mut seen = 0;
        for (bucket, n) in &self.counts {
            seen += n;
            if seen >= rank {
                return Some(middle(*bucket as usize));
            }
        }
        None
    }

    /// The quantile in milliseconds.
    pub fn quantile_ms(&self, q: f64) -> Option<f64> {
        self.quantile(q).map(|n| n as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sums_and_counts_are_as_exact_as_buckets() {
        let mut h = Histogram::default();
        [1_000_000, 2_000_000, 40_000_000].into_iter().for_each(|ns| h.record(ns));
        assert_eq!((h.at_most(999_000), h.at_most(2_000_000), h.at_most(u64::MAX)), (0, 2, 3));
        assert!(h.sum().abs_diff(43_000_000) < 43_000_000 / 32, "{}", h.sum());
    }

    #[test]
    fn quantiles_within_the_width_of_a_bucket() {
        let mut h = Histogram::default();
        (1..=1000_u64).for_each(|i| h.record(i * 1_000_000));
        for (q, want) in [(0.5, 500.0), (0.99, 990.0)] {
            let got = h.quantile_ms(q).unwrap();
            assert!((got / want - 1.0).abs() < 0.032, "{q}: {got}");
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    proptest! {
        #[test]
        fn bucket_and_middle_agree(v in 0_u64..(1 << 40)) {
            let m = middle(bucket(v));
            prop_assert_eq!(bucket(m), bucket(v));
            prop_assert!(m.abs_diff(v) as f64 <= v as f64 * 0.032 + 1.0);
        }

        #[test]
        fn since_undoes_merge(a in proptest::collection::vec(0_u64..1 << 40, 0..50), b in proptest::collection::vec(0_u64..1 << 40, 0..50)) {
            let of = |v: &[u64]| { let mut h = Histogram::default(); v.iter().for_each(|x| h.record(*x)); h };
            let mut sum = of(&a);
            sum.merge(&of(&b));
            prop_assert_eq!(sum.since(&of(&a)), of(&b));
        }
    }
}
