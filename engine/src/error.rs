//! Why the engine did not do what it was asked.

use host::Holder;
use model::{Problem, TargetRef};
use std::io;
use std::path::PathBuf;

/// Why the engine did not do what it was asked; nothing is left half done.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The order makes no sense or cannot be carried out; nothing was touched.
    #[error("{0}")]
    Refused(Problem),
    /// Everything is halted.
    #[error("everything was halted by {by}; lift it with `murphy halt --lift`")]
    Halted {
        /// Who.
        by: String,
    },
    /// No fault has that id.
    #[error("no fault {id:?} is on; {}", if known.is_empty() { "none is".to_owned() } else { format!("on are {}", known.join(", ")) })]
    UnknownFault {
        /// The id.
        id: String,
        /// The ids of those that are on.
        known: Vec<String>,
    },
    /// Another fault has that id.
    #[error("a fault {0:?} is on already; choose another id or disarm it first")]
    DuplicateId(String),
    /// The fault is on its way in or out.
    #[error("{id} is {phase} and cannot be changed; {hint}")]
    NotOn {
        /// The id.
        id: String,
        /// What it is doing.
        phase: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// Another agent has faults on the same thing.
    #[error(
        "{target} is already under faults of {holder}; end those first (`murphy list`), or choose another target"
    )]
    Owned {
        /// What was wanted.
        target: TargetRef,
        /// Whose it is: `process 4711 (murphy, user root)`.
        holder: String,
    },
    /// The undo log cannot be written, so nothing was begun.
    #[error("nothing was armed, for its undo cannot be written to {path}: {source}; {hint}")]
    Log {
        /// The log.
        path: PathBuf,
        /// Why.
        source: io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// No part of it could be done; what had been begun is undone.
    #[error("arming {id} failed: {why}")]
    ArmFailed {
        /// The id it would have had.
        id: String,
        /// Why, one sentence a part.
        why: String,
    },
    /// A change could not be made; the fault is on as it was.
    #[error("changing {id} failed: {problem}")]
    AdjustFailed {
        /// The id.
        id: String,
        /// Why.
        problem: Problem,
    },
    /// It could not be taken back, or not be seen to be gone. It is tried again and again.
    #[error("taking {id} back failed: {why}; it is tried again until it is gone")]
    RecoverFailed {
        /// The id.
        id: String,
        /// Why.
        why: String,
    },
    /// Another process works with that state directory.
    #[error("{dir} is in use by {}; stop it first, or use another directory (MURPHY_STATE_DIR)", holder.as_ref().map_or_else(|| "another process".to_owned(), Holder::to_string))]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// Who.
        holder: Option<Holder>,
    },
    /// The state directory cannot be used.
    #[error("{0}")]
    StateDir(String),
    /// The watchdog does not come up; without it nothing may be armed.
    #[error("the watchdog does not start: {0}; without it a crash could leave faults behind")]
    Watchdog(String),
    /// The agent is ending.
    #[error("the agent is shutting down; start another")]
    ShuttingDown,
}

impl EngineError {
    /// A refusal with advice.
    pub(crate) fn refused(what: impl Into<String>, hint: impl Into<String>) -> EngineError {
        EngineError::Refused(Problem::new(what).hint(hint))
    }

    /// A log that cannot be written.
    pub(crate) fn log(path: PathBuf, source: io::Error) -> EngineError {
        let hint = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "make room there, or use another directory (MURPHY_STATE_DIR)"
            }
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                "use a directory that can be written (MURPHY_STATE_DIR)"
            }
            _ => "look at the disk, or use another directory (MURPHY_STATE_DIR)",
        };
        EngineError::Log { path, source, hint }
    }
}
