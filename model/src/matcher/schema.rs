//! Matchers in JSON Schema.

use super::KEYS;
use serde_json::{Map, Value as Json, json};

/// The properties of a matcher, one per key; matchers inside refer to `reference`, such as `#/$defs/matcher`.
pub fn properties(reference: &str) -> Map<String, Json> {
    let inner = || json!({"$ref": reference});
    let of = |key: &str| match key {
        "all" | "any" => json!({"type": "array", "items": inner()}),
        "not" => inner(),
        "header" | "response_header" | "query" | "cookie" => {
            json!({"type": "object", "additionalProperties": {"type": ["string", "number"]}})
        }
        "method" | "op" => {
            json!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
        }
        "status" | "pid" | "uid" | "gid" => json!({"anyOf": [{"type": "integer"}, {"type": "string"},
            {"type": "array", "items": {"type": ["integer", "string"]}}]}),
        _ => json!({"type": "string"}),
    };
    KEYS.into_iter().map(|key| (key.to_owned(), of(key))).collect()
}
