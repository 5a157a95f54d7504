use model::Problem;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a call was refused or failed: the one shape of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What was attempted and why it failed.
    pub error: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Which kind of failure.
    pub code: Code,
}

/// The kinds of failures, each with its HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// 400: the request does not read.
    BadRequest,
    /// 401: a token or a certificate is needed, or is not known.
    Unauthorized,
    /// 403: not with this role, or not from there.
    Forbidden,
    /// 404: there is no such thing.
    NotFound,
    /// 405: the route takes other methods.
    MethodNotAllowed,
    /// 408: the body did not come in time.
    Timeout,
    /// 409: it does not fit what is there now.
    Conflict,
    /// 409: everything is halted.
    Halted,
    /// 409: another agent or run holds the target.
    Held,
    /// 413: the body is too large.
    TooLarge,
    /// 415: the body is not declared as JSON.
    UnsupportedMediaType,
    /// 422: it reads, but cannot be done.
    Impossible,
    /// 500: something failed in the agent.
    Internal,
    /// 503: too many connections, or the agent is ending.
    Unavailable,
}

impl Code {
    /// All codes.
    pub const ALL: [Code; 14] = [
        Code::BadRequest,
        Code::Unauthorized,
        Code::Forbidden,
        Code::NotFound,
        Code::MethodNotAllowed,
        Code::Timeout,
        Code::Conflict,
        Code::Halted,
        Code::Held,
        Code::TooLarge,
        Code::UnsupportedMediaType,
        Code::Impossible,
        Code::Internal,
        Code::Unavailable,
    ];

    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Code::BadRequest => 400,
            Code::Unauthorized => 401,
            Code::Forbidden => 403,
            Code::NotFound => 404,
            Code::MethodNotAllowed => 405,
            Code::Timeout => 408,
            Code::Conflict | Code::Halted | Code::Held => 409,
            Code::TooLarge => 413,
            Code::UnsupportedMediaType => 415,
            Code::Impossible => 422,
            Code::Internal => 500,
            Code::Unavailable => 503,
        }
    }
}

impl Failure {
    /// A failure without advice.
    pub fn new(code: Code, error: impl Into<String>) -> Failure {
        Failure { error: error.into(), hint: None, code }
    }

    /// The failure with advice.
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// A problem of the model as a failure of that kind.
    pub fn of(code: Code, problem: &Problem) -> Failure {
        Failure { error: problem.what.clone(), hint: problem.hint.clone(), code }
    }

    /// Nothing goes by that id.
    pub fn no_fault(id: &str) -> Failure {
        Failure::new(Code::NotFound, format!("no fault {id:?} is armed"))
            .hint("murphy list shows those that are")
    }

    /// This agent has no proxies, or does not show what passes them.
    pub fn no_connections() -> Failure {
        Failure::new(Code::Impossible, "this agent has no connections to show")
            .hint("connections are those through proxies: murphy agent --proxy NAME=LISTEN,UPSTREAM")
    }

    /// This agent has no proxies that speak HTTP, or does not show what passes them.
    pub fn no_requests() -> Failure {
        Failure::new(Code::Impossible, "this agent has no requests to show")
            .hint("requests are those through proxies with protocol: http")
    }

    /// No request of that number is known.
    pub fn no_request(id: u64) -> Failure {
        Failure::new(Code::NotFound, format!("no request with the number {id} is held"))
            .hint("its lease may be over; murphy requests --state held shows those that are")
    }

    /// No open connection has that number.
    pub fn no_connection(id: u64) -> Failure {
        Failure::new(Code::NotFound, format!("no open connection has the number {id}"))
            .hint("it may have ended; murphy connections shows those that are open")
    }

    /// Everything is halted.
    pub fn halted(by: &str) -> Failure {
        Failure::new(Code::Halted, format!("everything is halted by {by}: nothing can be armed"))
            .hint("when it is safe again, lift the halt: murphy halt --lift")
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}
