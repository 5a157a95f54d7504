//! Windows of the steady state: each is judged by itself, then all of them together.

use super::tick::{Tick, reading};
use model::event::WindowResult;
use model::experiment::{Expect, Metric, NoData};
use model::verdict::{MetricRecord, WindowRecord};

/// When a window lies, seen from the faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Before the first fault.
    Before,
    /// While faults are on, and between them.
    During,
    /// After the last recovery.
    After,
}

impl Phase {
    /// Its word in the record.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Before => "before",
            Phase::During => "during",
            Phase::After => "after",
        }
    }
}

/// Judges one window of a metric. `previous` is the value of the window before, for metrics that must grow.
pub fn judge(
    metric: &Metric,
    ticks: &[Tick],
    phase: Phase,
    previous: Option<f64>,
    no_data: NoData,
) -> WindowRecord {
    let read = reading(&metric.name, &metric.from, ticks);
    let enough = read.samples >= metric.min_samples;
    let result = match (read.value, &metric.expect) {
        (Some(value), Expect::Bound { op, value: bound }) if enough => pass(op.holds(value, *bound)),
        (Some(value), Expect::Increasing) if enough => match previous {
            Some(before) => pass(value > before),
            None => WindowResult::Unknown,
        },
        _ => match no_data {
            NoData::Pass => WindowResult::Pass,
            NoData::Fail => WindowResult::Fail,
            NoData::Unknown => WindowResult::Unknown,
        },
    };
    WindowRecord {
        start_s: ticks.first().map_or(0.0, |t| t.start),
        end_s: ticks.last().map_or(0.0, |t| t.end),
        phase: phase.word().to_owned(),
        value: read.value,
        samples: read.samples,
        result,
    }
}

fn pass(holds: bool) -> WindowResult {
    if holds { WindowResult::Pass } else { WindowResult::Fail }
}

/// Judges a metric over all its windows: those during the faults may breach as often as is allowed; the last one after
/// them must be good again; a metric that was bad before the first fault tells nothing.
pub fn summarise(metric: &Metric, windows: Vec<WindowRecord>) -> MetricRecord {
    let of = |phase: Phase| windows.iter().filter(move |w| w.phase == phase.word());
    let failed = |phase: Phase| of(phase).filter(|w| w.result == WindowResult::Fail).count() as u64;
    let known = |phase: Phase| of(phase).filter(|w| w.result != WindowResult::Unknown).count() as u64;
    let breaches = breaches(metric, of(Phase::During).map(|w| w.result));
    let allowed = metric.allow.map_or(0, |a| a.breaches);
    let last_after = of(Phase::After).rfind(|w| w.result != WindowResult::Unknown).map(|w| w.result);
    let unit = metric.from.unit();
    let expectation = metric.expect.describe(unit);
    let (result, why) = if breaches > allowed {
        let within = metric
            .allow
            .map_or(String::new(), |a| format!(" of the latest {}, {} allowed", a.of, a.breaches));
        (WindowResult::Fail, format!("{breaches} windows{within} broke {expectation} while faults were on"))
    } else if last_after == Some(WindowResult::Fail) {
        (WindowResult::Fail, format!("{expectation} did not hold again after the last fault was gone"))
    } else if failed(Phase::Before) > 0 {
        (WindowResult::Unknown, format!("{expectation} did not even hold before the first fault"))
    } else if known(Phase::During) == 0 && of(Phase::During).count() > 0 {
        (WindowResult::Unknown, "there was too little data while faults were on".to_owned())
    } else if known(Phase::After) == 0 && of(Phase::After).count() > 0 {
        (WindowResult::Unknown, "there was too little data after the last fault was gone".to_owned())
    } else if windows.is_empty() {
        (WindowResult::Unknown, "the run was too short for a window".to_owned())
    } else {
        let forgiven = if breaches > 0 { format!(", {breaches} breaches allowed") } else { String::new() };
        (WindowResult::Pass, format!("{expectation} held{forgiven}"))
    };
    let values = |phase: Phase| of(phase).filter_map(|w| w.value).collect::<Vec<_>>();
    MetricRecord {
        name: metric.name.clone(),
        source: metric.from.describe(),
        expect: expectation,
        bound: match metric.expect {
            Expect::Bound { value, .. } => Some(value),
            Expect::Increasing => None,
        },
        unit: unit.to_owned(),
        gate: metric.severity == model::experiment::Severity::Gate,
        result,
        why,
        baseline: median(values(Phase::Before)),
        worst: worst(metric, values(Phase::During)),
        after: median(values(Phase::After)),
        windows,
    }
}

/// The most breaches within the allowed span of windows; without an allowance, all of them.
fn breaches(metric: &Metric, during: impl Iterator<Item = WindowResult>) -> u64 {
    let bad: Vec<u64> = during.map(|r| u64::from(r == WindowResult::Fail)).collect();
    match metric.allow {
        None => bad.iter().sum(),
        Some(allow) => {
            let width = (allow.of as usize).min(bad.len()).max(1);
            bad.windows(width).map(|w| w.iter().sum()).max().unwrap_or(0)
        }
    }
}

fn worst(metric: &Metric, values: Vec<f64>) -> Option<f64> {
    use model::experiment::Compare;
    let low_is_bad = matches!(
        metric.expect,
        Expect::Bound { op: Compare::More | Compare::AtLeast | Compare::Equal, .. } | Expect::Increasing
    );
    values.into_iter().reduce(|a, b| if (a < b) == low_is_bad { a } else { b })
}

/// The median; of an even number, the mean of the middle two.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[n / 2]),
        n => Some(f64::midpoint(values[n / 2 - 1], values[n / 2])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::experiment::{Allow, Compare, Severity, Source, Stat};

    fn metric(allow: Option<Allow>) -> Metric {
        Metric {
            name: "p99".into(),
            from: Source::Proxy { target: "web".into(), stat: Stat::Latency(0.99) },
            expect: Expect::Bound { op: Compare::Less, value: 100.0 },
            min_samples: 1,
            allow,
            severity: Severity::Gate,
        }
    }

    fn windows(text: &str) -> Vec<WindowRecord> {
        text.chars()
            .enumerate()
            .map(|(i, c)| WindowRecord {
                start_s: i as f64,
                end_s: i as f64 + 1.0,
                phase: match c {
                    'b' | 'B' => Phase::Before,
                    'd' | 'D' | '?' => Phase::During,
                    // `!` is a window after the faults without data.
                    _ => Phase::After,
                }
                .word()
                .to_owned(),
                value: (!"?!".contains(c)).then_some(if c.is_uppercase() { 200.0 } else { 50.0 }),
                samples: 10,
                result: match c {
                    '?' | '!' => WindowResult::Unknown,
                    c if c.is_uppercase() => WindowResult::Fail,
                    _ => WindowResult::Pass,
                },
            })
            .collect()
    }

    #[test]
    fn small_letters_pass_capitals_fail() {
        let result = |allow, text: &str| summarise(&metric(allow), windows(text)).result;
        let two_of_four = Some(Allow { breaches: 2, of: 4 });
        assert_eq!(result(None, "bbdddaa"), WindowResult::Pass);
        assert_eq!(result(None, "bbdDdaa"), WindowResult::Fail);
        assert_eq!(result(two_of_four, "bbDDddDDaa"), WindowResult::Pass);
        assert_eq!(result(two_of_four, "bbDDdDddaa"), WindowResult::Fail);
        assert_eq!(result(None, "bbddaA"), WindowResult::Fail, "not recovered");
        assert_eq!(result(None, "bbddAa"), WindowResult::Pass, "recovered in time");
        assert_eq!(result(None, "bBddaa"), WindowResult::Unknown, "not steady to begin with");
        assert_eq!(result(None, "bb??aa"), WindowResult::Unknown, "no data is not success");
        assert_eq!(result(None, "bbdd!!"), WindowResult::Unknown, "nor is a service that nobody sees again");
        assert_eq!(summarise(&metric(None), windows("bbdDdaa")).worst, Some(200.0));
    }
}
