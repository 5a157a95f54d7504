//! Why a call was refused: a status and a text, which clients show as `HTTP <status>: <text>`.

use super::json::quote;
use crate::wire::Failure;

/// A call that was refused or failed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refused {
    pub status: u16,
    pub text: String,
}

impl Refused {
    fn new(status: u16, text: impl Into<String>) -> Refused {
        Refused { status, text: text.into() }
    }

    /// The body does not read.
    pub fn body(why: impl AsRef<str>) -> Refused {
        Refused::new(400, format!("bad request body: {}", why.as_ref()))
    }

    /// Something is missing: `name`, `upstream at proxy 2`.
    pub fn missing(what: impl AsRef<str>) -> Refused {
        Refused::new(400, format!("missing required field: {}", what.as_ref()))
    }

    pub fn stream() -> Refused {
        Refused::new(400, "stream was invalid, can be either upstream or downstream")
    }

    pub fn kind() -> Refused {
        Refused::new(400, "invalid toxic type")
    }

    pub fn no_proxy() -> Refused {
        Refused::new(404, "proxy not found")
    }

    pub fn no_toxic() -> Refused {
        Refused::new(404, "toxic not found")
    }

    pub fn proxy_exists() -> Refused {
        Refused::new(409, "proxy already exists")
    }

    pub fn toxic_exists() -> Refused {
        Refused::new(409, "toxic already exists")
    }

    /// Anything else that went wrong.
    pub fn failed(text: impl Into<String>) -> Refused {
        Refused::new(500, text)
    }

    /// The same for the item with that number, from 0, of a list.
    pub fn at(mut self, item: usize) -> Refused {
        self.text.push_str(&format!(" at proxy {}", item + 1));
        self
    }

    /// Both as they stand in a body, without the braces.
    pub fn fields(&self) -> String {
        format!(r#""error":{},"status":{}"#, quote(&self.text), self.status)
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Refused {
        Refused::failed(failure.to_string())
    }
}
