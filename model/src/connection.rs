//! One open connection as it is now, for lists.

use crate::target::TargetRef;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An open connection through a proxy, or a client of a proxy for datagrams.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConnectionView {
    /// Its number, unique in the agent.
    pub id: u64,
    /// The target it goes through.
    pub target: TargetRef,
    /// The client's address; none for unix sockets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The service it goes to; none while that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// How long it has been open, in milliseconds.
    pub age_ms: u64,
    /// Bytes from the client.
    pub bytes_up: u64,
    /// Bytes to the client.
    pub bytes_down: u64,
    /// What it is doing.
    pub state: ConnectionState,
    /// The faults that have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<ConnectionFault>,
}

/// A fault that has a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConnectionFault {
    /// Its id.
    pub id: String,
    /// The fault's name in the catalogue.
    pub fault: String,
    /// Whether it has done something to the connection.
    pub applied: bool,
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectionState {
    /// The service is being connected to, or that is held up.
    Dialling,
    /// Bytes pass both ways.
    Open,
    /// One side has ended.
    HalfClosed,
    /// Held by hand: nothing passes.
    Held,
    /// It is ending.
    Closing,
}

impl ConnectionState {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            ConnectionState::Dialling => "dialling",
            ConnectionState::Open => "open",
            ConnectionState::HalfClosed => "half-closed",
            ConnectionState::Held => "held",
            ConnectionState::Closing => "closing",
        }
    }
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
