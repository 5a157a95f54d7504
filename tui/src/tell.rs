//! Events in words: one short word for the column, one line for the reader.

use model::event::{Ending, GuardState, Level, WindowResult};
use model::{Event, EventKind, Evidence};

/// How much a line matters, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Good to know.
    Plain,
    /// Something is on, on purpose.
    Armed,
    /// Good news.
    Good,
    /// Look at it.
    Warn,
    /// Something failed.
    Bad,
}

/// An event in words.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// One word of at most eight letters.
    pub word: &'static str,
    /// The rest of the line.
    pub text: String,
    /// How much it matters.
    pub weight: Weight,
}

/// The event in words; none for measurements, which are drawn and not told.
pub fn tell(event: &Event) -> Option<Told> {
    use Weight::{Armed, Bad, Good, Plain, Warn};
    let (word, weight, text) = match &event.kind {
        EventKind::Samples { .. } | EventKind::Evidence { .. } => return None,
        EventKind::TargetOpened { target, about } => ("target", Plain, format!("{target} opened: {about}")),
        EventKind::TargetClosed { target } => ("target", Plain, format!("{target} closed")),
        EventKind::Armed { id, fault, by } => {
            let lasts = fault.lasts.map(|l| format!(" for {l}")).unwrap_or_default();
            let what = model::titled(id, " ", &fault.describe());
            ("arm", Armed, format!("{what} on {}{lasts}  by {by}", fault.target))
        }
        EventKind::Adjusted { id, fault, by } => {
            let what = model::titled(id, " ", &fault.describe());
            ("adjust", Armed, format!("{what} on {}  by {by}", fault.target))
        }
        EventKind::ArmFailed { id, target, why } => ("refused", Bad, format!("{id} on {target}: {why}")),
        EventKind::Recovered { id, target, why, evidence } => {
            let good = if did_nothing(evidence) { Warn } else { Good };
            ("recover", good, format!("{id} on {target}: {}; {}", ending(*why), did(evidence)))
        }
        EventKind::RecoverFailed { id, why } => ("STUCK", Bad, format!("{id} was not taken back: {why}")),
        EventKind::Halted { by, faults } if faults.is_empty() => {
            ("HALT", Bad, format!("by {by}; nothing was on"))
        }
        EventKind::Halted { by, faults } => {
            ("HALT", Bad, format!("by {by}; takes back {}", faults.join(", ")))
        }
        EventKind::HaltLifted { by } => ("lift", Good, format!("the halt is lifted by {by}")),
        EventKind::RunStarted { name, seed, stages, .. } => {
            let names: Vec<String> = stages.iter().map(|(n, l)| format!("{n} {l}")).collect();
            ("run", Plain, format!("{name} seed {seed}: {}", names.join(", ")))
        }
        EventKind::Phase { phase, stage, lasts } => {
            let lasts = lasts.map(|l| format!(" for {l}")).unwrap_or_default();
            match stage {
                Some((name, n)) => ("stage", Plain, format!("{n} {name}{lasts}")),
                None => ("phase", Plain, format!("{phase}{lasts}")),
            }
        }
        EventKind::Window { metric, value, result } => {
            let value = value.map_or_else(|| "no data".to_owned(), number);
            match result {
                WindowResult::Pass => ("window", Plain, format!("{metric} {value} within its bound")),
                WindowResult::Fail => ("window", Warn, format!("{metric} {value} OUT of its bound")),
                WindowResult::Unknown => ("window", Warn, format!("{metric} {value}: unknown")),
            }
        }
        EventKind::Guard { guard, state } => match state {
            GuardState::Pending => ("BREACH", Warn, format!("{guard}; its grace runs")),
            GuardState::Cleared => ("cleared", Good, format!("{guard} holds no longer")),
            GuardState::Tripped => ("ABORT", Bad, format!("{guard}; everything is taken back")),
        },
        EventKind::RunEnded { name, verdict, why, report } => {
            let weight = if verdict == "held" { Good } else { Bad };
            let report = report.as_ref().map(|r| format!("; report {r}")).unwrap_or_default();
            ("verdict", weight, format!("{name} {}: {why}{report}", verdict.to_uppercase()))
        }
        EventKind::Note { level, text } => match level {
            Level::Info => ("note", Plain, text.clone()),
            Level::Warn => ("warning", Warn, text.clone()),
            Level::Error => ("error", Bad, text.clone()),
        },
    };
    // One line is one line, whatever a service or a shell put into a text.
    let text = text.replace(['\n', '\r', '\t', '\u{1b}'], " ");
    Some(Told { word, text, weight })
}

/// Why a fault ended.
pub fn ending(why: Ending) -> &'static str {
    match why {
        Ending::Elapsed => "its time was up",
        Ending::Disarmed => "disarmed",
        Ending::Halted => "halted",
        Ending::LeaseExpired => "its lease ran out",
        Ending::Guard => "a guard ended the run",
        Ending::Shutdown => "the run or the agent ended",
        Ending::Once => "it happened once",
        Ending::Recovered => "found after a crash",
    }
}

/// What a fault measurably did.
pub fn did(evidence: &Evidence) -> String {
    if did_nothing(evidence) {
        return format!("it did NOTHING (considered {})", evidence.considered);
    }
    let mut text = match (evidence.applied, evidence.considered) {
        (0, _) => String::new(),
        (a, c) => format!("applied {a} of {c}"),
    };
    for (name, value) in &evidence.measured {
        let gap = if text.is_empty() { "" } else { ", " };
        text.push_str(&format!("{gap}{} {}", name.replace('_', " "), number(*value)));
    }
    text
}

fn did_nothing(evidence: &Evidence) -> bool {
    evidence.applied == 0 && evidence.measured.values().all(|v| *v == 0.0)
}

/// A number as short as it can be read: three digits or so.
pub fn number(value: f64) -> String {
    let size = value.abs();
    let text = match size {
        _ if !value.is_finite() => return "?".to_owned(),
        _ if size >= 1e10 => format!("{:.0}G", value / 1e9),
        _ if size >= 1e7 => format!("{:.0}M", value / 1e6),
        _ if size >= 1e5 => format!("{:.0}k", value / 1e3),
        _ if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        _ if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
