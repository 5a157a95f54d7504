//! What the log holds of a fault on a container.

use super::limits::Limits;
use model::Injection;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The data of an undo record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Act {
    pub(super) fault: String,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) engine: PathBuf,
    /// The first process at the time.
    pub(super) pid: host::ProcessId,
    pub(super) boot: String,
    /// When it had been started, in the engine's words.
    pub(super) started_at: String,
    /// The limits that it had.
    #[serde(default)]
    pub(super) limits: Limits,
    /// What was asked for.
    pub(super) inject: Injection,
    /// What is written in its group, where its engine has no call for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) edits: Vec<crate::group::Edit>,
}
