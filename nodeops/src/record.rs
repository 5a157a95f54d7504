//! What undo records of this room hold: a process of a certain boot, and what was done to it.

use host::ProcessId;
use inject::{Recovered, UndoRecord};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The data of an undo record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Act {
    /// The fault that did it.
    pub fault: String,
    /// The process acted on, or the child that acts; none until it is known.
    pub process: Option<ProcessId>,
    /// What it is called.
    pub comm: String,
    /// The boot in which that pid means anything.
    pub boot: String,
    /// A name that may be left in a directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leftover: Option<Leftover>,
    /// What it takes hold of, where that is no process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<String>,
}

/// Something with a name of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leftover {
    pub root: PathBuf,
    pub path: PathBuf,
    pub name: String,
}

impl Act {
    pub(crate) fn new(fault: &str, process: Option<ProcessId>, comm: &str) -> Act {
        Act {
            fault: fault.to_owned(),
            process,
            comm: comm.to_owned(),
            boot: host::clock::boot_id().to_owned(),
            leftover: None,
            claims: Vec::new(),
        }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    pub(crate) fn read(record: &UndoRecord) -> Option<Act> {
        serde_json::from_value(record.data.clone()).ok()
    }

    /// The process to undo something on; or the outcome, when there is none any more.
    pub(crate) fn find(record: &UndoRecord) -> Result<(Act, ProcessId), Recovered> {
        let act = Act::read(record).ok_or_else(|| {
            Recovered::Failed(format!(
                "the record of {:?} does not read: {}; look at the process by hand",
                record.act, record.data
            ))
        })?;
        if act.boot != host::clock::boot_id() {
            return Err(Recovered::Gone("the machine was started anew since".into()));
        }
        match act.process {
            Some(id) => Ok((act, id)),
            None => Err(Recovered::Gone("it had not begun".into())),
        }
    }
}

/// A part of a file's name that no other fault has, of whichever agent: the fault's id and this process.
pub(crate) fn tag(id: &str) -> String {
    let safe: String = id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(32).collect();
    format!("{safe}-{}", std::process::id())
}
