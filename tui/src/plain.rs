//! Events as an append-only text: for `murphy watch --plain`, `demo --headless`, screen readers and logs.

use crate::tell::{number, tell};
use model::{Event, EventKind, Sample};

/// One line for an event, without a line break: time of day in UTC, seconds since the agent's start, a word, and the
/// rest. None for what says nothing by itself.
///
/// ```text
/// 21:46:12.345Z    12.3s  arm       f1 latency 120ms±40ms · 30% on proxy:cart for 60s  by sre (uid 1000)
/// 21:46:13.001Z    13.0s  sample    proxy:cart 412/s  errors 0%  p50 18ms  p99 60.2ms
/// ```
pub fn line(event: &Event) -> Option<String> {
    let (word, text) = match &event.kind {
        EventKind::Samples { targets } => {
            let parts: Vec<String> = targets.iter().map(|(name, s)| sample(name, s)).collect();
            if parts.is_empty() {
                return None;
            }
            ("sample", parts.join("  |  "))
        }
        _ => {
            let told = tell(event)?;
            (told.word, told.text)
        }
    };
    Some(format!("{} {:>7.1}s  {word:<8}  {text}", clock(event.at_ms), event.mono_ms / 1e3))
}

fn sample(name: &str, s: &Sample) -> String {
    let ms = |q| s.latency.quantile_ms(q).map_or_else(|| "-".to_owned(), |v| format!("{}ms", number(v)));
    let errors = s.error_share().map_or_else(|| "-".to_owned(), |e| format!("{}%", number(e * 100.0)));
    format!("{name} {}/s  errors {errors}  p50 {}  p99 {}", number(s.rate()), ms(0.5), ms(0.99))
}

fn clock(at_ms: u64) -> String {
    let day = at_ms % 86_400_000;
    let (h, m, s) = (day / 3_600_000, day / 60_000 % 60, day / 1000 % 60);
    format!("{h:02}:{m:02}:{s:02}.{:03}Z", day % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::event::{Ending, Level};
    use model::{Evidence, Fault};
    use std::collections::BTreeMap;

    fn event(kind: EventKind) -> Event {
        Event { seq: 1, at_ms: 1_764_366_372_345, mono_ms: 12_345.0, kind }
    }

    #[test]
    fn one_line_an_event_in_stable_columns() {
        let fault: Fault = serde_json::from_str(
            r#"{"target": "proxy:cart", "for": "60s", "inject": {"latency": {"delay": "120ms", "jitter": "40ms"}}, "share": {"percent": "30%"}}"#,
        )
        .unwrap();
        let mut s = Sample { seconds: 1.0, requests: 412, errors: 4, ..Sample::default() };
        (0..100).for_each(|i| s.latency.record(18_000_000 + i * 1000));
        let lines: Vec<String> = [
            EventKind::Armed { id: "f1".into(), fault: fault.clone(), by: "sre (uid 1000)".into() },
            EventKind::Samples { targets: BTreeMap::from([("proxy:cart".to_owned(), s)]) },
            EventKind::Recovered {
                id: "f1".into(),
                target: fault.target,
                why: Ending::Elapsed,
                evidence: Evidence::default(),
            },
            EventKind::Note { level: Level::Warn, text: "two\nlines".into() },
        ]
        .into_iter()
        .filter_map(|kind| line(&event(kind)))
        .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        21:46:12.345Z    12.3s  arm       f1 latency 120ms±40ms · 30% on proxy:cart for 1m  by sre (uid 1000)
        21:46:12.345Z    12.3s  sample    proxy:cart 412/s  errors 0.97%  p50 18.1ms  p99 18.1ms
        21:46:12.345Z    12.3s  recover   f1 on proxy:cart: its time was up; it did NOTHING (considered 0)
        21:46:12.345Z    12.3s  warning   two lines
        ");
        assert_eq!(line(&event(EventKind::Samples { targets: BTreeMap::new() })), None);
    }
}
