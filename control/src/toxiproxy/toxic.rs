//! Toxics, and the faults they stand for. One row a kind.

use super::json::{float, quote};
use model::catalogue::{self, FaultDef};
use model::units::{ByteRate, Percent, Size, Span};
use model::{Injection, Share, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// A kind of toxic.
pub(super) struct Kind {
    /// Its name.
    pub name: &'static str,
    /// Its attributes, whole numbers all, in the order in which they are shown.
    pub attributes: &'static [&'static str],
    /// The name of its type in errors.
    pub go: &'static str,
    /// The fault it stands for; none for the one that does nothing.
    fault: Option<&'static str>,
    /// The fault's parameters.
    write: fn(&[i64]) -> Vec<(&'static str, Value)>,
    /// The attributes of such a fault, as near as they come.
    read: fn(&Injection) -> Option<Vec<i64>>,
    /// Whether it acts on one direction; otherwise on the connection as a whole.
    directed: bool,
}

/// The longest time an attribute means; what is longer means for ever.
const LONGEST: i64 = 30 * 86_400_000;

/// The largest number of bytes that the model's sizes hold.
const LARGEST: i64 = 9_000_000_000_000_000_000;

static KINDS: [Kind; 8] = [
    Kind {
        name: "latency",
        attributes: &["latency", "jitter"],
        go: "LatencyToxic",
        fault: Some("latency"),
        write: |v| vec![("delay", millis(v[0])), ("jitter", millis(v[1]))],
        read: |i| Some(vec![in_millis(i.span("delay"))?, in_millis(i.span("jitter"))?]),
        directed: true,
    },
    Kind {
        name: "bandwidth",
        attributes: &["rate"],
        go: "BandwidthToxic",
        fault: Some("bandwidth"),
        // Not above zero stalls; so does the fault at zero.
        write: |v| vec![("rate", Value::ByteRate(ByteRate::bytes_per_second(v[0].max(0) as f64 * 1000.0)))],
        read: |i| Some(vec![(i.byte_rate("rate")?.value() / 1000.0).round() as i64]),
        directed: true,
    },
    Kind {
        name: "slow_close",
        attributes: &["delay"],
        go: "SlowCloseToxic",
        fault: Some("slow_close"),
        write: |v| vec![("delay", millis(v[0]))],
        read: |i| Some(vec![in_millis(i.span("delay"))?]),
        directed: true,
    },
    Kind {
        name: "timeout",
        attributes: &["timeout"],
        go: "TimeoutToxic",
        fault: Some("blackhole"),
        write: |v| {
            let mut params = vec![("afterwards", word("close"))];
            if v[0] > 0 {
                params.push(("close_after", millis(v[0])));
            }
            params
        },
        read: |i| Some(vec![in_millis(Some(i.span("close_after").unwrap_or_default()))?]),
        directed: true,
    },
    Kind {
        name: "reset_peer",
        attributes: &["timeout"],
        go: "ResetToxic",
        fault: Some("cut"),
        write: |v| vec![("when", millis(v[0])), ("on", word("data")), ("how", word("rst"))],
        read: |i| Some(vec![in_millis(i.span("when"))?]),
        directed: false,
    },
    Kind {
        name: "slicer",
        attributes: &["average_size", "size_variation", "delay"],
        go: "SlicerToxic",
        fault: Some("slice"),
        write: |v| {
            let micros = v[2].clamp(0, LONGEST * 1000) as u64;
            vec![
                ("size", size(v[0])),
                ("variation", size(v[1])),
                ("delay", Value::Span(Span(Duration::from_micros(micros)))),
            ]
        },
        read: |i| {
            let delay = i64::try_from(i.span("delay")?.as_micros()).ok()?;
            Some(vec![in_bytes(i.size("size"))?, in_bytes(i.size("variation"))?, delay])
        },
        directed: true,
    },
    Kind {
        name: "limit_data",
        attributes: &["bytes"],
        go: "LimitDataToxic",
        fault: Some("limit_data"),
        write: |v| vec![("bytes", size(v[0]))],
        read: |i| Some(vec![in_bytes(i.size("bytes"))?]),
        directed: true,
    },
    Kind {
        name: "noop",
        attributes: &[],
        go: "NoopToxic",
        fault: None,
        write: |_| Vec::new(),
        read: |_| None,
        directed: false,
    },
];

/// The kind of that name.
pub(super) fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// Whether a stream goes up; none when there is no such stream.
pub(super) fn goes_up(stream: &str) -> Option<bool> {
    if stream.eq_ignore_ascii_case("upstream") {
        Some(true)
    } else {
        stream.eq_ignore_ascii_case("downstream").then_some(false)
    }
}

impl Kind {
    /// The fault that a toxic of this kind stands for; none when it does nothing.
    pub fn injection(&self, values: &[i64], up: bool) -> Result<Option<Injection>, String> {
        let Some(name) = self.fault else { return Ok(None) };
        let def: &FaultDef = catalogue::find(name).ok_or_else(|| format!("there is no fault {name} here"))?;
        let mut params: BTreeMap<String, Value> =
            (self.write)(values).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        if self.directed {
            params.insert("direction".to_owned(), word(if up { "up" } else { "down" }));
        }
        Injection::new(def, params).map(Some).map_err(|problem| problem.to_string())
    }
}

/// A fault as a toxic: its kind, its attributes and whether it goes up. None when no toxic says the same.
pub(super) fn read(injection: &Injection) -> Option<(&'static Kind, Vec<i64>, bool)> {
    let kind = KINDS.iter().find(|kind| kind.fault == Some(injection.name()))?;
    let values = (kind.read)(injection)?;
    let up = injection.text("direction") == Some("up");
    let same = kind.injection(&values, up).ok().flatten()?;
    // A blackhole that leaves connections alone afterwards is told from one that does not by nothing else.
    (same == *injection).then_some((kind, values, up))
}

/// The share of connections that a toxicity means; outside 0 to 1 it means none or all.
pub(super) fn share(toxicity: f32) -> Share {
    if toxicity >= 1.0 {
        return Share::All;
    }
    // By way of its text: 0.1 is to mean 10 % and not 10.000000149 %.
    let exact: f64 = float(toxicity).parse().unwrap_or(0.0);
    Share::Percent(Percent::new((exact * 100.0).clamp(0.0, 100.0)).unwrap_or_default())
}

/// The toxicity that a share is; none for shares that are counted.
pub(super) fn toxicity(share: Share) -> Option<f32> {
    match share {
        Share::All => Some(1.0),
        Share::Percent(p) => Some(p.fraction() as f32),
        Share::Nth(_) | Share::First(_) => None,
    }
}

/// A toxic as it is shown.
pub(super) fn show(name: &str, kind: &Kind, values: &[i64], stream: &str, toxicity: f32) -> String {
    let attributes: Vec<String> =
        kind.attributes.iter().zip(values).map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
    format!(
        r#"{{"attributes":{{{}}},"name":{},"type":{},"stream":{},"toxicity":{}}}"#,
        attributes.join(","),
        quote(name),
        quote(kind.name),
        quote(stream),
        float(toxicity)
    )
}

fn millis(n: i64) -> Value {
    Value::Span(Span::millis(n.clamp(0, LONGEST) as u64))
}

fn in_millis(span: Option<Duration>) -> Option<i64> {
    i64::try_from(span?.as_millis()).ok()
}

fn size(n: i64) -> Value {
    Value::Size(Size(n.clamp(0, LARGEST) as u64))
}

fn in_bytes(size: Option<Size>) -> Option<i64> {
    i64::try_from(size?.0).ok()
}

fn word(word: &str) -> Value {
    Value::Text(word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_a_fault_with_any_numbers() {
        let extremes = [i64::MIN, -1, 0, 1, 1500, i64::MAX];
        for kind in &KINDS {
            for a in extremes {
                for b in extremes {
                    let values: Vec<i64> = [a, b, a].into_iter().take(kind.attributes.len()).collect();
                    let injection = kind.injection(&values, true).unwrap();
                    assert_eq!(injection.is_none(), kind.name == "noop");
                }
            }
        }
    }

    #[test]
    fn faults_that_say_the_same_are_toxics() {
        for kind in KINDS.iter().filter(|k| k.fault.is_some()) {
            let values: Vec<i64> = [120, 40, 7].into_iter().take(kind.attributes.len()).collect();
            let injection = kind.injection(&values, kind.directed).unwrap().unwrap();
            let (found, read, up) = read(&injection).unwrap();
            assert_eq!((found.name, read, up), (kind.name, values, kind.directed));
        }
        for (name, pairs) in [
            ("latency", vec![("delay", "5ms")]),
            ("cut", vec![("how", "fin")]),
            ("bandwidth", vec![("rate", "1500B/s"), ("direction", "up")]),
        ] {
            let injection = Injection::from_pairs(name, pairs).unwrap();
            assert!(read(&injection).is_none(), "{name}");
        }
    }

    #[test]
    fn toxicity_is_a_share() {
        assert_eq!(share(1.0), Share::All);
        assert_eq!(share(7.0), Share::All);
        assert_eq!(share(-1.0), Share::Percent(Percent::default()));
        assert_eq!(share(0.1), Share::Percent(Percent::new(10.0).unwrap()));
        assert_eq!(toxicity(share(0.3)), Some(0.3));
    }

    #[test]
    fn shown_in_the_order_of_the_original() {
        let kind = kind("latency").unwrap();
        assert_eq!(
            show("a", kind, &[1, 2], "UPSTREAM", 0.1),
            r#"{"attributes":{"latency":1,"jitter":2},"name":"a","type":"latency","stream":"UPSTREAM","toxicity":0.1}"#
        );
    }
}
