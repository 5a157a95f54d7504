//! The log's records and their lines.

use host::ProcessId;
use inject::UndoRecord;
use model::TargetRef;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The log's name in the state directory.
pub(crate) const FILE: &str = "undo.jsonl";
/// The version of the format. Records hold acts and their undo, no faults of a catalogue that may change.
pub(crate) const VERSION: u32 = 1;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub(crate) enum Record {
    /// Whose records follow.
    Head {
        /// The format's version.
        version: u32,
        /// The boot in which pids mean something.
        boot: String,
        /// The agent.
        agent: ProcessId,
    },
    /// A fault is about to be armed.
    Intent {
        /// Its number in this log.
        n: u64,
        /// Its id.
        id: String,
        /// On what.
        target: TargetRef,
        /// Who ordered it.
        by: String,
        /// The fault in a few words.
        fault: String,
        /// When it is to be gone at the latest, in milliseconds on the boot clock; none for what happens once.
        ends_ms: Option<u64>,
        /// What will be done, each with its undo.
        acts: Vec<UndoRecord>,
    },
    /// Something became known while acting.
    Effect {
        /// The fault.
        n: u64,
        /// The act's place in the intent.
        act: usize,
        /// Its data from now on.
        data: serde_json::Value,
    },
    /// A fault ends at another time than was written.
    Ends {
        /// The fault.
        n: u64,
        /// As in the intent.
        ends_ms: u64,
    },
    /// An act is undone, or was never done.
    Undone {
        /// The fault.
        n: u64,
        /// The act's place in the intent.
        act: usize,
    },
}

/// Why a line is no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineError {
    #[error("it has no checksum")]
    NoSum,
    #[error("its checksum does not fit what it says")]
    Sum,
    #[error("it says nothing that is known here: {0}")]
    Unknown(String),
}

impl Record {
    /// `{"sum":"8 hex digits","rec":{…}}` and a newline. The sum is over the text of the record as it stands there.
    pub(crate) fn line(&self) -> Vec<u8> {
        // Records are maps with string keys: they always have a JSON text.
        let text = serde_json::to_string(self).unwrap_or_default();
        format!("{{\"sum\":\"{}\",\"rec\":{text}}}\n", sum(text.as_bytes())).into_bytes()
    }

    /// Reads a line without its newline.
    pub(crate) fn parse(line: &[u8]) -> Result<Record, LineError> {
        let rest = line.strip_prefix(b"{\"sum\":\"").ok_or(LineError::NoSum)?;
        let (claimed, rest) = rest.split_at_checked(8).ok_or(LineError::NoSum)?;
        let text =
            rest.strip_prefix(b"\",\"rec\":").and_then(|r| r.strip_suffix(b"}")).ok_or(LineError::NoSum)?;
        if sum(text).as_bytes() != claimed {
            return Err(LineError::Sum);
        }
        serde_json::from_slice(text).map_err(|e| LineError::Unknown(e.to_string()))
    }
}

fn sum(text: &[u8]) -> String {
    Sha256::digest(text).iter().take(4).map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_back_and_damage_is_seen() {
        let record = Record::Effect { n: 7, act: 0, data: serde_json::json!({"child": "ä\n\"}"}) };
        let line = record.line();
        assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
        let line = &line[..line.len() - 1];
        assert_eq!(Record::parse(line).unwrap(), record);
        for i in 0..line.len() {
            let mut bad = line.to_vec();
            bad[i] ^= 1;
            assert!(Record::parse(&bad).is_err(), "byte {i}");
            assert!(Record::parse(&line[..i]).is_err(), "cut at {i}");
        }
        // It is JSON for whoever else reads it.
        assert_eq!(serde_json::from_slice::<serde_json::Value>(line).unwrap()["rec"]["n"], 7);
    }
}
