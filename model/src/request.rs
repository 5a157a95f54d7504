//! One HTTP request as it is now, for lists; and who asks for what most.

use crate::target::TargetRef;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A request through a proxy: under way, or one of the last that were.
///
/// Bodies, cookies, queries and headers are not in it: nothing private is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestView {
    /// Its number, unique in the agent.
    pub id: u64,
    /// The target it goes through.
    pub target: TargetRef,
    /// The number of its connection.
    pub connection: u64,
    /// The client's address; none for unix sockets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// When its head had come, in milliseconds since 1970.
    pub at_ms: u64,
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// The host that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The client's version of HTTP: `1.0`, `1.1` or `2`.
    pub http: String,
    /// What it is doing.
    pub state: RequestState,
    /// The status of the response that the client gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Milliseconds from its head to the last byte of its response, or until now.
    pub total_ms: f64,
    /// The part of it that faults and holding by hand made.
    pub injected_ms: f64,
    /// Milliseconds from when the service got it to when the service's response began; none when it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_ms: Option<f64>,
    /// Bytes of its body so far.
    pub bytes_up: u64,
    /// Bytes of its response's body so far.
    pub bytes_down: u64,
    /// The trace that it belongs to, as its `traceparent` says (W3C Trace Context).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Why the service gave no response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The faults that looked at it and matched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<RequestFault>,
}

/// A fault that a request matched, and what was decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestFault {
    /// Its id.
    pub id: String,
    /// The fault's name in the catalogue.
    pub fault: String,
    /// The request's number among those that matched, from 0.
    pub ordinal: u64,
    /// The number that was drawn for it, 0.0..1.0: below the share it has the fault. None when the share is not a percentage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draw: Option<f64>,
    /// Whether it has the fault; otherwise it is one of those that it is compared with.
    pub taken: bool,
    /// Whether the fault has done something to it.
    pub applied: bool,
}

/// What a request is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequestState {
    /// Held by hand before the service gets it.
    Held,
    /// Held by a fault, or waiting for the service.
    Waiting,
    /// Its response is on the way.
    Answering,
    /// It is over.
    Done,
    /// It is over without a whole response.
    Broken,
}

impl RequestState {
    /// All states.
    pub const ALL: [RequestState; 5] = [
        RequestState::Held,
        RequestState::Waiting,
        RequestState::Answering,
        RequestState::Done,
        RequestState::Broken,
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            RequestState::Held => "held",
            RequestState::Waiting => "waiting",
            RequestState::Answering => "answering",
            RequestState::Done => "done",
            RequestState::Broken => "broken",
        }
    }
}

impl fmt::Display for RequestState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// One of those who ask most, or one of the routes that are asked for most.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Talker {
    /// The client's address, or the route: a method and a path whose numbers and ids are `*`.
    pub key: String,
    /// Requests in the window.
    pub requests: u64,
    /// The same per second.
    pub per_second: f64,
    /// Of them, those that failed.
    pub errors: u64,
    /// Bytes of their responses' bodies.
    pub bytes_down: u64,
    /// By how many requests may be too many: that is what bounded memory costs.
    pub at_most_over: u64,
}
