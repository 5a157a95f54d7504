use crate::endpoint::{Endpoint, Place};
use crate::wire::{Code, Failure};
use std::io;
use std::time::Duration;

/// Why a call did not come to anything. Each kind has its own text, with what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ClientError {
    /// There is no socket at that path.
    #[error(
        "no agent at {endpoint}: the socket does not exist; start one with murphy agent --socket {path}, or say where yours is with --socket"
    )]
    NoSocket {
        /// The agent's address.
        endpoint: String,
        /// The socket's path.
        path: String,
    },
    /// Nobody listens.
    #[error(
        "no agent at {endpoint}: nothing listens there (the agent ended, or it is another address); start one with murphy agent"
    )]
    Refused {
        /// The agent's address.
        endpoint: String,
    },
    /// We may not open the socket.
    #[error(
        "you may not open {endpoint}: join the group that owns the socket (ls -l shows it), or run as its owner or root"
    )]
    Permission {
        /// The agent's address.
        endpoint: String,
    },
    /// The host cannot be found or reached.
    #[error("cannot reach {endpoint}: {why}; check the name, the network and the port")]
    Unreachable {
        /// The agent's address.
        endpoint: String,
        /// What the system said.
        why: String,
    },
    /// TLS with it does not come about: who answers is not believed, or does not believe us.
    #[error("{what}; {hint}")]
    Tls {
        /// What is wrong, and with whose certificate.
        what: String,
        /// What to do.
        hint: String,
        /// The same in a few words.
        brief: &'static str,
    },
    /// Something answers that is no agent.
    #[error("what answers at {endpoint} is not a murphy agent: {why}; check the address")]
    NotAnAgent {
        /// The agent's address.
        endpoint: String,
        /// What it did.
        why: String,
    },
    /// The agent went away during the call.
    #[error(
        "the agent at {endpoint} went away during the call: {why}; whether the call took effect is not known: look with murphy list"
    )]
    Lost {
        /// The agent's address.
        endpoint: String,
        /// What happened.
        why: String,
    },
    /// No answer in time.
    #[error(
        "the agent at {endpoint} did not answer within {patience:?}; it is overloaded or stopped (murphy recover takes back what it left)"
    )]
    Slow {
        /// The agent's address.
        endpoint: String,
        /// How long was waited.
        patience: Duration,
    },
    /// The answer is of another shape.
    #[error(
        "the agent at {endpoint} answers in a way this murphy does not know ({why}); use the same version on both sides"
    )]
    NotUnderstood {
        /// The agent's address.
        endpoint: String,
        /// What did not fit.
        why: String,
    },
    /// The agent refused, or failed, and said why.
    #[error("{0}")]
    Failure(Failure),
}

impl ClientError {
    /// The agent's own answer, when there was one.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            ClientError::Failure(failure) => Some(failure),
            _ => None,
        }
    }

    /// The kind of the agent's own answer.
    pub fn code(&self) -> Option<Code> {
        self.failure().map(|f| f.code)
    }

    /// Whether no agent was reached at all.
    pub fn unreachable(&self) -> bool {
        matches!(
            self,
            ClientError::NoSocket { .. }
                | ClientError::Refused { .. }
                | ClientError::Permission { .. }
                | ClientError::Unreachable { .. }
                | ClientError::Tls { .. }
                | ClientError::NotAnAgent { .. }
        )
    }

    /// In a few words, for a line that has no room for advice.
    pub fn brief(&self) -> String {
        match self {
            ClientError::NoSocket { .. } => "no socket".into(),
            ClientError::Refused { .. } => "nothing listens".into(),
            ClientError::Permission { .. } => "not permitted".into(),
            ClientError::Unreachable { .. } => "unreachable".into(),
            ClientError::Tls { brief, .. } => (*brief).into(),
            ClientError::NotAnAgent { .. } => "not an agent".into(),
            ClientError::Lost { .. } => "went away".into(),
            ClientError::Slow { .. } => "does not answer".into(),
            ClientError::NotUnderstood { .. } => "another version".into(),
            ClientError::Failure(failure) => failure.error.clone(),
        }
    }

    /// From a connection that did not come about.
    pub(super) fn connecting(endpoint: &Endpoint, e: &io::Error) -> ClientError {
        let name = endpoint.to_string();
        match (e.kind(), &endpoint.place) {
            (io::ErrorKind::NotFound, Place::Unix(path)) => {
                ClientError::NoSocket { endpoint: name, path: path.display().to_string() }
            }
            (io::ErrorKind::PermissionDenied, Place::Unix(_)) => ClientError::Permission { endpoint: name },
            (io::ErrorKind::ConnectionRefused, _) => ClientError::Refused { endpoint: name },
            _ => ClientError::Unreachable { endpoint: name, why: e.to_string() },
        }
    }
}
