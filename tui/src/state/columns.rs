//! The plots' columns: whole seconds of the selected targets, added up once and kept.

use super::series::{Bucket, Series};
use std::collections::VecDeque;

/// The most columns a plot can have.
const WIDEST: i64 = 400;

/// Seconds per column, by zoom.
pub const ZOOMS: [i64; 5] = [1, 2, 5, 10, 30];

/// One column.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Point {
    /// Median latency, milliseconds.
    pub p50: Option<f64>,
    /// 90th percentile, milliseconds.
    pub p90: Option<f64>,
    /// 95th percentile, milliseconds.
    pub p95: Option<f64>,
    /// 99th percentile, milliseconds.
    pub p99: Option<f64>,
    /// Failed requests, percent.
    pub errors: Option<f64>,
    /// Requests per second.
    pub rate: f64,
}

/// The columns of one selection at one zoom.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// Seconds per column.
    pub zoom: i64,
    first: i64,
    points: VecDeque<Option<Point>>,
}

impl Columns {
    /// All columns anew, after the selection or the zoom changed.
    pub fn rebuild(&mut self, series: &[&Series], zoom: i64) {
        self.zoom = zoom.max(1);
        self.points.clear();
        let Some(last) = series.iter().filter_map(|s| s.last()).max() else { return };
        let oldest = series.iter().filter_map(|s| s.first()).min().unwrap_or(last);
        let last = last.div_euclid(self.zoom);
        self.first = oldest.div_euclid(self.zoom).max(last - WIDEST + 1);
        for column in self.first..=last {
            self.points.push_back(self.add_up(series, column));
        }
    }

    /// Only the newest columns, after a second was added: targets' ticks arrive one after the other.
    pub fn advance(&mut self, series: &[&Series]) {
        let Some(last) = series.iter().filter_map(|s| s.last()).max() else { return };
        let last = last.div_euclid(self.zoom.max(1));
        if self.points.is_empty() || last - self.first >= 2 * WIDEST {
            return self.rebuild(series, self.zoom);
        }
        let known = self.first + self.points.len() as i64;
        // A second may still be added to by a tick that comes late.
        for column in (known - 2).max(self.first)..=last {
            let point = self.add_up(series, column);
            match usize::try_from(column - self.first).ok().and_then(|i| self.points.get_mut(i)) {
                Some(there) => *there = point,
                None => self.points.push_back(point),
            }
        }
        while self.points.len() as i64 > WIDEST {
            self.points.pop_front();
            self.first += 1;
        }
    }

    /// A column.
    pub fn at(&self, column: i64) -> Option<Point> {
        usize::try_from(column - self.first).ok().and_then(|i| self.points.get(i)).copied().flatten()
    }

    /// The newest column that holds anything.
    pub fn last(&self) -> Option<i64> {
        (!self.points.is_empty()).then(|| self.first + self.points.len() as i64 - 1)
    }

    /// Whether there is nothing at all.
    pub fn is_empty(&self) -> bool {
        self.points.iter().all(Option::is_none)
    }

    fn add_up(&self, series: &[&Series], column: i64) -> Option<Point> {
        let mut total: Option<Bucket> = None;
        for second in column * self.zoom..(column + 1) * self.zoom {
            let mut at_once: Option<Bucket> = None;
            for bucket in series.iter().filter_map(|s| s.at(second)) {
                match &mut at_once {
                    Some(sum) => sum.beside(bucket),
                    None => at_once = Some(bucket.clone()),
                }
            }
            match (&mut total, at_once) {
                (Some(sum), Some(bucket)) => sum.after(&bucket),
                (None, some) => total = some,
                (Some(_), None) => {}
            }
        }
        total.map(|b| Point {
            p50: b.latency.quantile_ms(0.5),
            p90: b.latency.quantile_ms(0.90),
            p95: b.latency.quantile_ms(0.95),
            p99: b.latency.quantile_ms(0.99),
            errors: b.error_percent(),
            rate: b.rate(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Sample;

    fn sample(requests: u64, ms: u64) -> Sample {
        let mut s = Sample { seconds: 1.0, requests, ..Sample::default() };
        (0..requests).for_each(|_| s.latency.record(ms * 1_000_000));
        s
    }

    #[test]
    fn targets_are_merged_beside_and_seconds_one_after_the_other() {
        let (mut a, mut b) = (Series::default(), Series::default());
        for second in 10..20 {
            a.push(second, &sample(100, 10));
            b.push(second, &sample(100, 100));
        }
        let mut columns = Columns::default();
        columns.rebuild(&[&a, &b], 5);
        let point = columns.at(2).unwrap();
        assert_eq!(point.rate, 200.0);
        assert!(point.p50.unwrap() < 11.0 && point.p99.unwrap() > 95.0, "{point:?}");
        assert_eq!((columns.last(), columns.at(1), columns.at(4)), (Some(3), None, None));
        a.push(20, &sample(50, 10));
        columns.advance(&[&a, &b]);
        assert_eq!(columns.at(4).unwrap().rate, 50.0);
    }

    #[test]
    fn advancing_comes_to_the_same_as_building_anew() {
        let mut a = Series::default();
        let mut step = Columns::default();
        step.rebuild(&[&a], 2);
        for second in 0..1500 {
            a.push(second, &sample(second as u64 % 7, 10));
            step.advance(&[&a]);
        }
        let mut whole = Columns::default();
        whole.rebuild(&[&a], 2);
        assert_eq!(step.last(), whole.last());
        for column in 0..750 {
            assert_eq!(step.at(column), whole.at(column), "{column}");
        }
    }
}
