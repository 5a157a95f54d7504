//! Operations on files, as the live view shows them.

use crate::target::TargetRef;
use serde::{Deserialize, Serialize};

/// One operation on a file that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileOperation {
    /// Its number; grows from one to the next.
    pub seq: u64,
    /// When it began, in milliseconds since 1970.
    pub at_ms: u64,
    /// The target through which it came.
    pub target: TargetRef,
    /// The process; zero for what the kernel does by itself.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its command, as in `ps -o comm`; empty when it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// The operation: `read`, `fsync`.
    pub op: String,
    /// The path below the mount.
    pub path: String,
    /// Bytes that were read or written.
    #[serde(default)]
    pub bytes: u64,
    /// How long it took, in microseconds.
    pub micros: u64,
    /// The error that the program got, by its name; none when it went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The faults that did something to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}
