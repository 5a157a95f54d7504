//! Who asks, and what they may do.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a caller may do. Each may do what those before it may; anyone may halt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Arms, disarms, runs experiments.
    Operator,
    /// Opens and closes targets, lifts a halt.
    Admin,
}

impl Role {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Who asks. Its text is what events and audit lines name: `sre (uid 1000)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// A user's name, a token's, or that of a certificate: `ada (certificate)`.
    pub name: String,
    /// The user id, when the kernel said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The process id, when the kernel said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// What they may do.
    pub role: Role,
}

impl Caller {
    /// Someone inside the agent's own process: `murphy demo`, a signal, a file.
    pub fn inside(name: impl Into<String>) -> Caller {
        Caller { name: name.into(), uid: None, pid: None, role: Role::Admin }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.uid {
            Some(uid) => write!(f, "{} (uid {uid})", self.name),
            None => f.write_str(&self.name),
        }
    }
}
