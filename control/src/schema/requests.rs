//! The shapes of requests, holds, talkers and stubs.

use super::{object, reference};
use serde_json::{Value, json};

/// Adds them by name.
pub(super) fn add_all(add: &mut impl FnMut(&str, Value)) {
    add("Stub", stub());
    add(
        "StubServer",
        object(
            &["name", "listen", "stubs"],
            json!({"name": text(), "listen": text(), "stubs": list(reference("Stub"))}),
        ),
    );
    add(
        "HoldOrder",
        object(&["target"], json!({"target": target(), "when": reference("Matcher"), "lease": span()})),
    );
    add(
        "Hold",
        object(
            &["id", "target", "left", "requests"],
            json!({"id": int(), "target": target(), "when": reference("Matcher"), "left": span(), "requests": int()}),
        ),
    );
    add(
        "Talkers",
        list(object(
            &["key", "requests", "per_second", "errors", "bytes_down", "at_most_over"],
            json!({"key": text(), "requests": int(), "per_second": number(), "errors": int(), "bytes_down": int(), "at_most_over": int()}),
        )),
    );
    add("Requests", requests());
    add("Operations", operations());
}

fn stub() -> Value {
    object(
        &[],
        json!({"when": reference("Matcher"), "status": int(), "headers": {"type": "object"}, "body": text(), "delay": span()}),
    )
}

fn operations() -> Value {
    object(
        &["total", "operations", "kinds"],
        json!({
            "total": {"type": "integer", "description": "How many fit the query, also beyond its limit."},
            "operations": list(object(
                &["seq", "at_ms", "target", "pid", "uid", "op", "path", "bytes", "micros"],
                json!({
                    "seq": int(), "at_ms": int(), "target": target(), "pid": int(), "uid": int(), "command": text(),
                    "op": text(), "path": {"type": "string", "description": "Below the mount."}, "bytes": int(),
                    "micros": int(), "error": {"type": "string", "description": "As in errno(3): EIO."},
                    "faults": list(text()),
                }),
            )),
            "kinds": list(object(
                &["target", "op", "count", "errors"],
                json!({"target": target(), "op": text(), "count": int(), "errors": int(), "p50_us": number(), "p99_us": number()}),
            )),
        }),
    )
}

fn requests() -> Value {
    object(
        &["total", "held", "requests"],
        json!({
            "total": {"type": "integer", "description": "How many there are that fit the query, also beyond its limit."},
            "held": {"type": "integer", "description": "How many are held by hand, of all."},
            "holds": list(reference("Hold")),
            "requests": list(object(
                &["id", "target", "connection", "at_ms", "method", "path", "http", "state", "total_ms", "injected_ms", "bytes_up", "bytes_down"],
                json!({
                    "id": int(), "target": target(), "connection": int(), "client": text(), "at_ms": int(), "method": text(),
                    "path": {"type": "string", "description": "Without the query."}, "host": text(), "http": text(),
                    "state": {"enum": model::RequestState::ALL.map(model::RequestState::word)},
                    "status": int(), "total_ms": number(), "injected_ms": number(), "upstream_ms": number(),
                    "bytes_up": int(), "bytes_down": int(), "error": text(),
                    "trace": {"type": "string", "description": "Its traceparent header."},
                    "faults": list(object(
                        &["id", "fault", "ordinal", "taken", "applied"],
                        json!({
                            "id": text(), "fault": text(), "ordinal": int(),
                            "draw": {"type": "number", "description": "0 to 1; below the share the request has the fault."},
                            "taken": flag(), "applied": flag(),
                        }),
                    )),
                }),
            )),
        }),
    )
}

fn text() -> Value {
    json!({"type": "string"})
}

fn int() -> Value {
    json!({"type": "integer"})
}

fn number() -> Value {
    json!({"type": "number"})
}

fn flag() -> Value {
    json!({"type": "boolean"})
}

#[allow(clippy::needless_pass_by_value, reason = "every caller makes the value on the spot")]
fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

fn span() -> Value {
    json!({"type": "string", "examples": ["60s"]})
}

fn target() -> Value {
    json!({"type": "string", "examples": ["proxy:web"]})
}
