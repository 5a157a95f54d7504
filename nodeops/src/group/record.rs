//! What the log holds of a fault on a group.

use super::squeeze::Edit;
use crate::cgroup::Cgroups;
use host::ProcessId;
use inject::UndoRecord;
use serde::{Deserialize, Serialize};

/// The data of an undo record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Act {
    pub(super) fault: String,
    pub(super) boot: String,
    #[serde(default)]
    pub(super) groups: Cgroups,
    #[serde(default)]
    pub(super) edits: Vec<Edit>,
    #[serde(default)]
    pub(super) process: Option<ProcessId>,
}

impl Act {
    pub(super) fn new(fault: &str) -> Act {
        Act {
            fault: fault.to_owned(),
            boot: host::clock::boot_id().to_owned(),
            groups: Cgroups::default(),
            edits: Vec::new(),
            process: None,
        }
    }
}

pub(super) fn record(act: &Act, words: String, undo: String, ends_with_agent: bool) -> UndoRecord {
    UndoRecord {
        injector: "group".into(),
        act: words,
        undo,
        data: serde_json::to_value(act).unwrap_or_default(),
        ends_with_agent,
    }
}

pub(super) fn read(act: &UndoRecord) -> Option<Act> {
    serde_json::from_value(act.data.clone()).ok()
}

pub(super) fn key(edit: &Edit) -> String {
    let place = [edit.device.as_deref(), edit.field.as_deref()].into_iter().flatten();
    place.fold(format!("file {}", edit.file.display()), |text, part| format!("{text} {part}"))
}
