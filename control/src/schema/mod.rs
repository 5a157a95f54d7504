//! JSON Schemas of the wire types, for the OpenAPI description. The faults' part is made from the catalogue.

mod requests;

use model::catalogue;
use model::value::ParamType;
use serde_json::{Map, Value, json};

/// All schemas by name.
pub fn all() -> Value {
    let mut out = Map::new();
    let mut add = |name: &str, schema: Value| {
        out.insert(name.to_owned(), schema);
    };
    let text = || json!({"type": "string"});
    let int = || json!({"type": "integer"});
    let number = || json!({"type": "number"});
    let flag = || json!({"type": "boolean"});
    let list = |of: Value| json!({"type": "array", "items": of});
    let map = |of: Value| json!({"type": "object", "additionalProperties": of});
    let span = || json!({"type": "string", "description": "A duration with its unit.", "examples": ["15s", "1h30m"]});
    let target =
        || json!({"type": "string", "description": "kind:name", "examples": ["proxy:cart", "node:self"]});
    let code: Vec<Value> =
        crate::wire::Code::ALL.iter().filter_map(|c| serde_json::to_value(c).ok()).collect();

    add(
        "Failure",
        object(&["error", "code"], json!({"error": text(), "hint": text(), "code": {"enum": code}})),
    );
    add("Done", object(&["done"], json!({"done": {"const": true}})));
    add("OpenApi", json!({"type": "object"}));
    add("Text", text());
    add(
        "Caller",
        object(
            &["name", "role"],
            json!({"name": text(), "uid": int(), "pid": int(), "role": {"enum": ["viewer", "operator", "admin"]}}),
        ),
    );
    add(
        "Status",
        object(
            &["agent", "version", "pid", "at_ms", "mono_ms", "seq", "armed", "targets", "counters", "you"],
            json!({
                "agent": text(), "version": text(), "pid": int(), "at_ms": int(), "mono_ms": number(), "seq": int(),
                "halted": object(&["by", "at_ms"], json!({"by": text(), "at_ms": int()})),
                "armed": int(), "targets": int(), "run": reference("RunState"), "lease": span(),
                "counters": object(
                    &["auto_rollbacks", "undo_failures"],
                    json!({"auto_rollbacks": int(), "undo_failures": int()}),
                ),
                "usage": object(
                    &["cpu_seconds", "resident_bytes", "descriptors"],
                    json!({"cpu_seconds": number(), "resident_bytes": int(), "descriptors": int()}),
                ),
                "you": reference("Caller"),
            }),
        ),
    );
    add(
        "Target",
        json!({
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": text(),
                "proxy": object(
                    &[],
                    json!({
                        "listen": text(),
                        "in_front_of": object(&["port"], json!({
                            "name": text(), "label": text(), "service": text(), "all": flag(), "engine": text(),
                            "port": int(), "outgoing": flag(), "reset_open": flag(),
                        })), "upstream": text(), "upstreams": {"type": "array", "items": text()},
                        "tls": {"type": "object", "description": "downstream: terminate or pass_through; certificate: {cert, key}; alpn; upstream: {sni, roots, certificate, insecure, alpn}"},
                        "balance": {"enum": ["round_robin", "least_connections", "sticky"]},
                        "protocol": {"enum": ["tcp", "http", "udp"]}, "idle_timeout": text(),
                        "proxy_protocol": {"type": "object"}, "connect_timeout": text(),
                        "keep_source": {"type": "boolean"}, "upstream_http": {"enum": ["auto", "1", "2"]}, "stubs": list(reference("Stub")),
                    }),
                ),
                "process": object(
                    &[],
                    json!({"pid": int(), "match": text(), "pick": {"description": "one, all, {count: n} or {percent: \"30%\"}"}}),
                ),
                "fs": object(
                    &["mount"],
                    json!({
                        "mount": text(), "source": text(), "pid": int(),
                        "container": {"type": "object", "description": "As in targets of kind container."}, "in_use_passes": flag(),
                        "track_unsynced": text(), "writeback": flag(),
                        "passthrough": list(text()),
                    }),
                ),
                "container": object(
                    &[],
                    json!({
                        "name": text(), "label": text(), "service": text(), "pick": {}, "engine": text(), "interface": text(),
                    }),
                ),
                "node": object(&[], json!({"interface": text()})),
                "netns": object(
                    &[],
                    json!({"name": text(), "path": text(), "pid": int(), "interface": text()}),
                ),
                "cgroup": object(&["path"], json!({"path": text()})),
            },
            "description": "A name, and one of proxy, fs, process, container, node, netns, cgroup.",
        }),
    );
    add(
        "TargetState",
        object(
            &["target", "about", "up"],
            json!({"target": target(), "about": text(), "up": flag(), "listen": text(), "http": flag()}),
        ),
    );
    add("Targets", list(reference("TargetState")));
    requests::add_all(&mut add);
    add(
        "Connections",
        object(
            &["total", "held", "connections"],
            json!({
                "total": {"type": "integer", "description": "How many there are that fit the query, also beyond its limit."},
                "held": {"type": "integer", "description": "How many are held by hand, of all that are open."},
                "connections": list(object(
                    &["id", "target", "age_ms", "bytes_up", "bytes_down", "state"],
                    json!({
                        "id": int(), "target": target(), "client": text(), "upstream": text(), "age_ms": int(),
                        "bytes_up": int(), "bytes_down": int(),
                        "state": {"enum": ["dialling", "open", "half-closed", "held", "closing"]},
                        "faults": list(object(
                            &["id", "fault", "applied"],
                            json!({"id": text(), "fault": text(), "applied": flag()}),
                        )),
                    }),
                )),
            }),
        ),
    );
    add(
        "Evidence",
        object(
            &["considered", "applied"],
            json!({"considered": int(), "applied": int(), "measured": map(number())}),
        ),
    );
    add(
        "Matcher",
        json!({
            "type": "object",
            "minProperties": 1,
            "properties": Value::Object(model::matcher::schema::properties("#/components/schemas/Matcher")),
            "additionalProperties": false,
            "description": "Several keys must all hold.",
        }),
    );
    add(
        "Share",
        json!({"oneOf": [
            {"const": "all"},
            object(&["percent"], json!({"percent": {"type": "string", "examples": ["30%"]}})),
            object(&["nth"], json!({"nth": int()})),
            object(&["first"], json!({"first": int()})),
        ]}),
    );
    add(
        "Ramp",
        json!({
            "type": "object",
            "required": ["over"],
            "properties": {"over": span()},
            "additionalProperties": {"type": "array", "minItems": 2, "maxItems": 2},
            "description": "percent, or parameters of the fault, each as [from, to].",
        }),
    );
    add("Injection", json!({"oneOf": catalogue::all().map(injection).collect::<Vec<_>>()}));
    add(
        "Fault",
        object(
            &["target", "inject"],
            json!({
                "id": text(), "target": target(), "inject": reference("Injection"), "for": span(),
                "share": reference("Share"), "per": {"type": "string", "description": "client, header.NAME or cookie.NAME"}, "when": reference("Matcher"), "ramp": reference("Ramp"), "seed": int(),
            }),
        ),
    );
    add(
        "FaultState",
        object(
            &["id", "fault", "by", "armed_at_ms", "armed_mono_ms", "evidence"],
            json!({
                "id": text(), "fault": reference("Fault"), "by": text(), "armed_at_ms": int(), "armed_mono_ms": number(),
                "left": span(), "lease": span(), "lease_left": span(), "evidence": reference("Evidence"),
                "warnings": list(text()),
            }),
        ),
    );
    add("Faults", list(reference("FaultState")));
    add(
        "Plan",
        object(
            &["fault", "acts", "warnings"],
            json!({
                "fault": reference("Fault"),
                "acts": list(object(
                    &["act", "undo", "ends_with_agent"],
                    json!({"act": text(), "undo": text(), "ends_with_agent": flag()}),
                )),
                "warnings": list(text()),
                "commands": list(text()),
            }),
        ),
    );
    add("Armed", json!({"oneOf": [reference("FaultState"), reference("Plan")]}));
    add(
        "Change",
        object(
            &[],
            json!({
                "inject": {"type": "object", "description": "Parameters by name; the others stay."},
                "share": reference("Share"),
                "when": {"oneOf": [reference("Matcher"), {"type": "null"}]},
                "ramp": {"oneOf": [reference("Ramp"), {"type": "null"}]},
                "for": span(),
            }),
        ),
    );
    add(
        "Disarmed",
        object(
            &["id", "target", "evidence"],
            json!({"id": text(), "target": target(), "evidence": reference("Evidence")}),
        ),
    );
    add(
        "Halted",
        object(&["by", "faults"], json!({"by": text(), "faults": list(text()), "failed": map(text())})),
    );
    add(
        "StartRun",
        object(
            &["yaml"],
            json!({
                "yaml": text(), "file": text(), "set": map(text()), "seed": int(), "report": text(), "confirm": text(),
            }),
        ),
    );
    add(
        "RunState",
        object(
            &["name", "seed", "by", "started_at_ms", "started_mono_ms", "stages", "phase"],
            json!({
                "name": text(), "seed": int(), "by": text(), "started_at_ms": int(), "started_mono_ms": number(),
                "stages": list(json!({"type": "array", "description": "[name, length]"})),
                "phase": {"enum": ["baseline", "stage", "cooldown", "verify", "done"]},
                "stage": {"type": "array", "description": "[name, number from 1]"},
                "steady": map(json!({"enum": ["pass", "fail", "unknown"]})),
                "verdict": {"enum": ["held", "deviated", "inconclusive", "aborted", "error"]},
                "why": text(), "report": text(),
            }),
        ),
    );
    add(
        "Catalogue",
        list(object(
            &["name", "layer", "targets", "summary", "params"],
            json!({
                "name": text(), "unavailable": text(), "layer": text(), "targets": list(text()), "summary": text(),
                "detail": text(), "counts": {"type": ["string", "null"]}, "one_shot": flag(), "irreversible": flag(),
                "ends": text(), "example": text(), "needs": list(text()), "params": list(json!({"type": "object"})),
            }),
        )),
    );
    add(
        "Checks",
        list(object(
            &["name", "ok", "found"],
            json!({"name": text(), "ok": flag(), "found": text(), "hint": text()}),
        )),
    );
    add(
        "Event",
        json!({
            "type": "object",
            "required": ["seq", "at_ms", "mono_ms", "event"],
            "properties": {"seq": int(), "at_ms": int(), "mono_ms": number(), "event": text()},
            "description": "The data of each message: seq is also its id; further fields by event.",
        }),
    );
    Value::Object(out)
}

#[allow(clippy::needless_pass_by_value, reason = "every caller makes the value on the spot")]
fn object(required: &[&str], properties: Value) -> Value {
    let mut out = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        out["required"] = json!(required);
    }
    out
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn injection(def: &model::FaultDef) -> Value {
    let mut properties = Map::new();
    for p in def.params {
        let mut schema = match p.ty {
            ParamType::Int { .. } => json!({"type": ["integer", "string"]}),
            ParamType::Float { .. } => json!({"type": ["number", "string"]}),
            ParamType::Bool => json!({"type": ["boolean", "string"]}),
            ParamType::Choice(words) => json!({"enum": words}),
            ParamType::Choices(_) | ParamType::Spans => json!({"type": ["array", "string"]}),
            ParamType::Map => json!({"type": ["object", "string"]}),
            _ => json!({"type": "string"}),
        };
        schema["description"] = json!(format!("{}: {}", p.ty.describe(), p.doc));
        schema["examples"] = json!([p.example]);
        if let Some(default) = p.default {
            schema["default"] = json!(default);
        }
        properties.insert(p.name.to_owned(), schema);
    }
    let required: Vec<&str> = def.params.iter().filter(|p| p.required).map(|p| p.name).collect();
    object(
        &[def.name],
        json!({def.name: {
            "type": ["object", "null"],
            "description": def.summary,
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        }}),
    )
}

#[cfg(test)]
mod tests;
