//! What one target did, in whole seconds.

use model::{Histogram, Sample};
use std::collections::VecDeque;

/// Half an hour.
const KEPT: usize = 1800;

/// One second of one target, or of several added up.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bucket {
    /// How long it really was.
    pub seconds: f64,
    /// Requests that ended.
    pub requests: u64,
    /// Of those, failed.
    pub errors: u64,
    /// Latency that clients saw.
    pub latency: Histogram,
}

impl Bucket {
    /// Adds what another target did in the same time.
    pub fn beside(&mut self, other: &Bucket) {
        self.seconds = self.seconds.max(other.seconds);
        self.requests += other.requests;
        self.errors += other.errors;
        self.latency.merge(&other.latency);
    }

    /// Adds what came after.
    pub fn after(&mut self, later: &Bucket) {
        self.seconds += later.seconds;
        self.requests += later.requests;
        self.errors += later.errors;
        self.latency.merge(&later.latency);
    }

    /// Requests per second.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.requests as f64 / self.seconds } else { 0.0 }
    }

    /// Failed percent of the requests; none when there were none.
    pub fn error_percent(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.errors as f64 * 100.0 / self.requests as f64)
    }
}

impl From<&Sample> for Bucket {
    fn from(s: &Sample) -> Bucket {
        Bucket { seconds: s.seconds, requests: s.requests, errors: s.errors, latency: s.latency.clone() }
    }
}

/// Seconds in a row, numbered on the console's clock; what is missing is a gap.
#[derive(Debug, Clone, Default)]
pub struct Series {
    first: i64,
    buckets: VecDeque<Option<Bucket>>,
    /// Connections open at the end of the newest second.
    pub open: u64,
}

impl Series {
    /// Adds a second. One that comes twice (ticks drift against each other) is added to what is there.
    pub fn push(&mut self, second: i64, sample: &Sample) {
        self.open = sample.open;
        if self.buckets.is_empty() {
            self.first = second;
        }
        let index = second - self.first;
        if index < 0 || index - self.buckets.len() as i64 > KEPT as i64 {
            if index > 0 {
                *self =
                    Series { open: self.open, first: second, buckets: VecDeque::from([Some(sample.into())]) };
            }
            return;
        }
        let index = index as usize;
        while self.buckets.len() <= index {
            self.buckets.push_back(None);
        }
        match &mut self.buckets[index] {
            Some(there) => there.after(&sample.into()),
            empty => *empty = Some(sample.into()),
        }
        while self.buckets.len() > KEPT {
            self.buckets.pop_front();
            self.first += 1;
        }
    }

    /// A second.
    pub fn at(&self, second: i64) -> Option<&Bucket> {
        usize::try_from(second - self.first).ok().and_then(|i| self.buckets.get(i)).and_then(Option::as_ref)
    }

    /// The newest second's number.
    pub fn last(&self) -> Option<i64> {
        (!self.buckets.is_empty()).then(|| self.first + self.buckets.len() as i64 - 1)
    }

    /// The oldest second's number.
    pub fn first(&self) -> Option<i64> {
        (!self.buckets.is_empty()).then_some(self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(requests: u64) -> Sample {
        Sample { seconds: 1.0, requests, ..Sample::default() }
    }

    #[test]
    fn gaps_twins_and_forgetting() {
        let mut s = Series::default();
        s.push(100, &sample(5));
        s.push(102, &sample(7));
        s.push(102, &sample(1));
        s.push(99, &sample(9));
        assert_eq!(s.at(100).unwrap().requests, 5);
        assert_eq!(s.at(101), None);
        assert_eq!((s.at(102).unwrap().requests, s.at(102).unwrap().rate()), (8, 4.0));
        assert_eq!((s.at(99), s.at(103), s.last()), (None, None, Some(102)));
        s.push(102 + KEPT as i64, &sample(1));
        assert_eq!((s.at(102), s.first()), (None, Some(103)));
        s.push(1_000_000, &sample(2));
        assert_eq!(s.first(), Some(1_000_000));
    }
}
