//! Reading a log that someone else wrote, or was writing when it died.

use super::record::{FILE, Record, VERSION};
use inject::UndoRecord;
use model::TargetRef;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A line of a log that does not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

/// What a log holds.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Faults with something left to undo, oldest first.
    pub live: Vec<Live>,
    /// Lines that do not read, other than a last one that was being written.
    pub damage: Vec<Damage>,
    /// The next free number.
    pub next: u64,
    /// How long the whole lines are, when a last one was being written.
    pub torn: Option<u64>,
}

/// A fault that has something left to undo.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub n: u64,
    pub id: String,
    pub target: TargetRef,
    pub by: String,
    pub fault: String,
    pub ends_ms: Option<u64>,
    /// What is left, with each act's place in the intent, in the order in which it was done.
    pub acts: Vec<(usize, UndoRecord)>,
}

/// Reads the log of a state directory; an absent one holds nothing.
pub(crate) fn read(state_dir: &Path) -> io::Result<Contents> {
    let path = state_dir.join(FILE);
    let bytes = match fs::read(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Contents::default()),
        other => other?,
    };
    let mut contents = Contents::default();
    let mut faults: BTreeMap<u64, Live> = BTreeMap::new();
    let mut length = 0;
    for (i, line) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
        let Some(whole) = line.strip_suffix(b"\n") else {
            // The writer died in the middle of it. A record is on disk before its act is begun: it never was.
            contents.torn = Some(length);
            break;
        };
        length += line.len() as u64;
        let why = match Record::parse(whole) {
            Ok(Record::Head { version, .. }) if version > VERSION => {
                format!("it was written by a newer murphy (format {version}, this one knows {VERSION})")
            }
            Ok(record) => match apply(&mut faults, record) {
                Ok(()) => continue,
                Err(why) => why,
            },
            Err(e) => e.to_string(),
        };
        contents.damage.push(Damage { file: path.clone(), line: i + 1, why });
    }
    contents.next = faults.keys().next_back().map_or(0, |n| n + 1);
    contents.live = faults.into_values().filter(|f| !f.acts.is_empty()).collect();
    Ok(contents)
}

fn apply(faults: &mut BTreeMap<u64, Live>, record: Record) -> Result<(), String> {
    let unknown = |n: u64| format!("it speaks of fault number {n}, which no line before it began");
    match record {
        Record::Head { .. } => {}
        Record::Intent { n, id, target, by, fault, ends_ms, acts } => {
            let acts = acts.into_iter().enumerate().collect();
            faults.insert(n, Live { n, id, target, by, fault, ends_ms, acts });
        }
        Record::Effect { n, act, data } => {
            let fault = faults.get_mut(&n).ok_or_else(|| unknown(n))?;
            if let Some((_, record)) = fault.acts.iter_mut().find(|(i, _)| *i == act) {
                record.data = data;
            }
        }
        Record::Ends { n, ends_ms } => {
            faults.get_mut(&n).ok_or_else(|| unknown(n))?.ends_ms = Some(ends_ms);
        }
        Record::Undone { n, act } => {
            // Two may undo at the same time, and the log may have been cleared between: nothing is left either way.
            if let Some(fault) = faults.get_mut(&n) {
                fault.acts.retain(|(i, _)| *i != act);
            }
        }
    }
    Ok(())
}
