//! What remains of a run: `journal.jsonl`, `result.json`, `report.md`, `report.html`, `junit.xml`. All but the journal
//! are pure functions of the run's record.

mod html;
mod journal;
mod junit;
mod markdown;
mod plot;

pub use html::html;
pub use journal::{Journal, JournalThread};
pub use junit::junit;
pub use markdown::markdown;

use model::experiment::Format;
use model::verdict::FaultRecord;
use model::{Experiment, RunRecord};
use std::io;
use std::path::{Path, PathBuf};

/// The file of a format.
pub fn file_name(format: Format) -> &'static str {
    match format {
        Format::Json => "result.json",
        Format::Markdown => "report.md",
        Format::Html => "report.html",
        Format::Junit => "junit.xml",
    }
}

/// Where a run's report goes: a directory of its own in the one that was asked for; else as the file says, with `{name}`
/// and `{start}` filled in; else nowhere.
pub fn directory(asked: Option<&Path>, experiment: &Experiment) -> Option<PathBuf> {
    let start = crate::clock::stamp();
    match (asked, &experiment.report.dir) {
        (Some(dir), _) => Some(dir.join(format!("{}-{start}", experiment.name))),
        (None, Some(pattern)) => {
            Some(PathBuf::from(pattern.replace("{name}", &experiment.name).replace("{start}", &start)))
        }
        (None, None) => None,
    }
}

/// Begins the journal of a run in its directory. Runs that begin in the same second would have one directory: those that
/// come later get one with a number, `cart-20261128T220102Z-2`. A directory that is not named by its time is the user's
/// own choice, and taken as it is.
pub(crate) fn begin(dir: &Path) -> io::Result<(PathBuf, Journal)> {
    let name = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    for n in 1..100 {
        let dir = if n == 1 { dir.to_owned() } else { dir.with_file_name(format!("{name}-{n}")) };
        match Journal::create(&dir) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && has_stamp(&name) => {}
            other => return other.map(|journal| (dir, journal)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Whether a name has a time in it as [`crate::clock::stamp`] writes it.
fn has_stamp(name: &str) -> bool {
    let shape = |at: &[u8]| {
        at.iter().enumerate().all(|(i, b)| match i {
            8 => *b == b'T',
            15 => *b == b'Z',
            _ => b.is_ascii_digit(),
        })
    };
    name.as_bytes().windows(16).any(shape)
}

/// Writes the files of some formats into a directory, each completely or not at all; gives their paths.
pub fn write(dir: &Path, record: &RunRecord, formats: &[Format]) -> io::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(dir)?;
    formats
        .iter()
        .map(|format| {
            let text = match format {
                Format::Json => serde_json::to_string_pretty(record)? + "\n",
                Format::Markdown => markdown(record),
                Format::Html => html(record),
                Format::Junit => junit(record),
            };
            let path = dir.join(file_name(*format));
            let fresh = dir.join(format!(".{}.new", file_name(*format)));
            let written = std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, &path));
            if written.is_err() {
                // What is there of it is of no use; that it could not be written is what is told.
                let _ = std::fs::remove_file(&fresh);
            }
            written.map(|()| path)
        })
        .collect()
}

/// A number as people read it: three digits that matter, no more.
fn number(value: f64) -> String {
    let text = match value.abs() {
        v if v >= 100.0 || v == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A number with its unit, or a dash.
fn quantity(value: Option<f64>, unit: &str) -> String {
    value.map_or_else(
        || "–".to_owned(),
        |v| format!("{}{}{unit}", number(v), if unit == "ms" { " " } else { "" }),
    )
}

/// Seconds with one decimal, or what to say instead.
fn seconds(value: Option<f64>, otherwise: &str) -> String {
    value.map_or_else(|| otherwise.to_owned(), |v| format!("{v:.1} s"))
}

/// How often a fault hit, and what of, or why it did not.
pub fn hit(fault: &FaultRecord) -> String {
    match &fault.failure {
        Some(why) => format!("failed: {why}"),
        None if fault.armed_s.is_none() => "not armed".to_owned(),
        None => {
            let counts = model::catalogue::find(&fault.fault).and_then(|def| def.counts);
            // Faults that are for proxies and for files count what there is on each.
            let counts = counts.map(|what| if fault.target.starts_with("fs:") { "operations" } else { what });
            let of = counts.map_or(String::new(), |what| format!(" {what}"));
            format!("{} of {}{of}", fault.evidence.applied, fault.evidence.considered)
        }
    }
}

/// When a fault's effect was seen, or for how long it was not.
fn effect(fault: &FaultRecord) -> String {
    if fault.armed_s.is_none() {
        return "–".to_owned();
    }
    let length = fault.armed_s.zip(fault.ended_s).map_or(0.0, |(armed, ended)| ended - armed);
    seconds(fault.time_to_effect_s, &format!("not seen in {length:.0} s"))
}

/// Characters that mean something in XML and HTML.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // XML 1.0 has no place for other control characters.
            c if c.is_control() && !matches!(c, '\n' | '\t' | '\r') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Evidence;

    #[test]
    fn runs_of_one_second_have_directories_of_their_own() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("cart-20261128T220102Z");
        let names: Vec<String> = (0..3)
            .map(|_| begin(&dir).unwrap().0.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["cart-20261128T220102Z", "cart-20261128T220102Z-2", "cart-20261128T220102Z-3"]);
        // One that the user has named is never another one.
        let chosen = home.path().join("latest");
        assert_eq!(begin(&chosen).unwrap().0, chosen);
        assert_eq!(begin(&chosen).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn what_was_hit_is_said_with_what_it_was_a_share_of() {
        let mut fault = FaultRecord {
            id: "slow".into(),
            fault: "latency".into(),
            target: "proxy:web".into(),
            what: "latency 100ms · 50%".into(),
            stage: "1".into(),
            seed: 7,
            armed_s: None,
            ended_s: None,
            ending: None,
            failure: None,
            evidence: Evidence::default(),
            time_to_effect_s: None,
            effect_in: None,
            defence_s: None,
            healing_s: None,
        };
        assert_eq!((hit(&fault), effect(&fault)), ("not armed".into(), "–".into()));
        (fault.armed_s, fault.ended_s) = (Some(1.0), Some(6.0));
        (fault.evidence.applied, fault.evidence.considered) = (1, 3);
        assert_eq!(
            (hit(&fault).as_str(), effect(&fault).as_str()),
            ("1 of 3 connections", "not seen in 5 s")
        );
        fault.target = "fs:db".into();
        assert_eq!(hit(&fault), "1 of 3 operations");
        fault.failure = Some("no room".into());
        assert_eq!(hit(&fault), "failed: no room");
    }
}
