//! Answers that a proxy gives in a service's place.

use crate::matcher::Matcher;
use crate::problem::Problem;
use crate::units::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One answer, and to which requests it is given. Of several that match, the first is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stub {
    /// Which requests; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Matcher>,
    /// The status, 200 to 599; 200 when absent.
    #[serde(default = "ok", skip_serializing_if = "is_ok")]
    pub status: u16,
    /// Headers, but those that frame the message.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The body; empty when absent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// How long the answer takes; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
}

/// An upstream that is stubs alone, as it is opened over the API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StubServer {
    /// The target's name: `proxy:NAME`.
    pub name: String,
    /// Where to listen: `127.0.0.1:8080`; port 0 takes a free one.
    pub listen: String,
    /// The answers. A request that none is for gets 404.
    pub stubs: Vec<Stub>,
}

fn ok() -> u16 {
    200
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_ok(status: &u16) -> bool {
    *status == 200
}

impl Stub {
    /// What is impossible about it.
    pub fn problem(&self) -> Option<Problem> {
        if !(200..600).contains(&self.status) {
            return Some(
                Problem::new(format!("a stub cannot answer with status {}", self.status))
                    .hint("write 200 to 599"),
            );
        }
        let word = self.when.as_ref()?.needs_response()?;
        Some(
            Problem::new(format!("a stub cannot match on {word}"))
                .hint("it answers before there is any response"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ones_read_and_wrong_ones_are_refused() {
        let stub: Stub = serde_json::from_str(r#"{"when": {"path": "/a*"}, "delay": "20ms"}"#).unwrap();
        assert_eq!((stub.status, stub.problem()), (200, None));
        assert_eq!(serde_json::to_value(&stub).unwrap().as_object().unwrap().len(), 2);
        let stub: Stub = serde_json::from_str(r#"{"status": 99}"#).unwrap();
        assert!(stub.problem().unwrap().to_string().contains("200 to 599"));
        let stub: Stub = serde_json::from_str(r#"{"when": {"status": 500}}"#).unwrap();
        assert!(stub.problem().unwrap().to_string().contains("cannot match on status"));
    }
}
