//! One second of a run: what was seen of targets, loads and probes, and the numbers that metrics make of it.

use model::Sample;
use model::experiment::{Source, Stat};
use std::collections::BTreeMap;

/// What one tick saw.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tick {
    /// Its begin, in seconds since the run began.
    pub start: f64,
    /// Its end.
    pub end: f64,
    /// Proxies by target name.
    pub proxies: BTreeMap<String, Sample>,
    /// Loads by name.
    pub loads: BTreeMap<String, Sample>,
    /// Probes by metric name.
    pub probes: BTreeMap<String, Probed>,
    /// How busy this machine's processors were, in percent.
    pub cpu: Option<f64>,
    /// How much of its memory is taken, in percent.
    pub memory: Option<f64>,
}

/// What a probe said during a tick.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Probed {
    /// How many answers there were.
    pub count: u64,
    /// Their sum; for probes that succeed or fail, how many succeeded.
    pub sum: f64,
    /// The last one.
    pub last: Option<f64>,
}

/// A number with what it rests on; without a value there was nothing to measure.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reading {
    /// The number, in the unit of its source.
    pub value: Option<f64>,
    /// How many requests or probes it rests on.
    pub samples: u64,
}

/// What a metric reads over some ticks. `numeric` probes read their last number, others the share that succeeded.
pub fn reading(name: &str, from: &Source, ticks: &[Tick]) -> Reading {
    let merged = |of: &dyn Fn(&Tick) -> Option<&Sample>| {
        ticks.iter().filter_map(of).fold(None, |sum: Option<Sample>, sample| match sum {
            None => Some(sample.clone()),
            Some(mut sum) => {
                sum.merge(sample);
                Some(sum)
            }
        })
    };
    match from {
        Source::Proxy { target, stat } => sample_reading(*stat, merged(&|t| t.proxies.get(target))),
        Source::Load { load, stat } => sample_reading(*stat, merged(&|t| t.loads.get(load))),
        probe if probe.is_number() => {
            let all = ticks.iter().filter_map(|t| t.probes.get(name));
            let samples = all.clone().map(|p| p.count).sum();
            Reading { value: all.filter_map(|p| p.last).next_back(), samples }
        }
        Source::Http(_)
        | Source::Tcp(_)
        | Source::Command(_)
        | Source::Process(_)
        | Source::Prometheus(_) => {
            let (count, sum) = ticks
                .iter()
                .filter_map(|t| t.probes.get(name))
                .fold((0, 0.0), |(count, sum), p| (count + p.count, sum + p.sum));
            Reading { value: (count > 0).then(|| sum / count as f64), samples: count }
        }
    }
}

/// The number that a sample gives for a statistic.
pub fn sample_reading(stat: Stat, sample: Option<Sample>) -> Reading {
    let Some(sample) = sample else { return Reading::default() };
    let value = match stat {
        Stat::Latency(q) => sample.latency.quantile_ms(q),
        Stat::Errors => sample.error_share().map(|e| e * 100.0),
        Stat::Success => sample.error_share().map(|e| (1.0 - e) * 100.0),
        Stat::Rate => (sample.seconds > 0.0).then(|| sample.rate()),
    };
    // A rate of nothing is a number; a latency of nothing is not.
    let samples = if stat == Stat::Rate { sample.requests.max(1) } else { sample.requests };
    Reading { value, samples }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Histogram;

    fn tick(requests: u64, errors: u64, ms: u64) -> Tick {
        let mut latency = Histogram::default();
        (0..requests).for_each(|_| latency.record(ms * 1_000_000));
        let sample = Sample { seconds: 1.0, requests, errors, latency, ..Sample::default() };
        Tick { proxies: BTreeMap::from([("web".to_owned(), sample)]), ..Tick::default() }
    }

    #[test]
    fn windows_merge_before_they_are_measured() {
        let ticks = [tick(99, 0, 10), tick(1, 1, 1000)];
        let read = |stat| reading("m", &Source::Proxy { target: "web".into(), stat }, &ticks);
        assert_eq!(read(Stat::Errors).value, Some(1.0));
        assert_eq!(read(Stat::Rate).value, Some(50.0));
        assert!(read(Stat::Latency(0.5)).value.unwrap() < 11.0);
        assert!(read(Stat::Latency(0.999)).value.unwrap() > 950.0);
        assert_eq!(read(Stat::Success).samples, 100);
    }

    #[test]
    fn no_data_is_no_value() {
        let ticks = [tick(0, 0, 0)];
        let read = |stat| reading("m", &Source::Proxy { target: "web".into(), stat }, &ticks).value;
        assert_eq!(read(Stat::Latency(0.5)), None);
        assert_eq!(read(Stat::Success), None);
        assert_eq!(read(Stat::Rate), Some(0.0));
        assert_eq!(
            reading("m", &Source::Proxy { target: "none".into(), stat: Stat::Rate }, &ticks).value,
            None
        );
    }
}
