//! The JSON Schema of experiment files, for editors; made from the catalogue.

use super::ProcessStat;
use crate::catalogue::{self, ParamDef};
use crate::value::ParamType;
use serde_json::{Map, Value as J, json};

/// The schema, draft 2020-12.
pub fn schema() -> J {
    let closed = |props: J, required: &[&str]| json!({"type": "object", "additionalProperties": false, "properties": props, "required": required});
    let span = json!({"type": "string", "pattern": "^(\\+?([0-9.]+ ?(ns|us|µs|ms|s|m|h|d) ?)+|.*\\$\\{.*)$", "examples": ["500ms", "30s", "1h30m"]});
    let percent = json!({"type": "string", "pattern": "^([0-9.]+ ?%|.*\\$\\{.*)$", "examples": ["30%"]});
    let rate = json!({"type": "string", "examples": ["50/s"]});
    let text = json!({"type": "string"});
    let word = |words: &[&str]| json!({"enum": words});
    let positive = json!({"type": "integer", "minimum": 1});
    let probe = |extra: J| {
        let mut props = json!({"every": span, "timeout": span});
        merge(&mut props, extra);
        closed(props, &[])
    };
    let stats = json!({"target": text, "latency": {"type": "string", "examples": ["p50", "p99"]}, "errors": {}, "success": {}, "rate": {}});
    let source = json!({
        "type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false,
        "properties": {
            "proxy": closed(stats, &["target"]),
            "load": {"type": "object", "minProperties": 1, "maxProperties": 1},
            "http": probe(json!({"url": text, "roots": text, "insecure": {"type": "boolean"}, "status": {}, "contains": text, "json": {"type": "string", "examples": ["$.ok == true"]}})),
            "tcp": probe(json!({"address": text})),
            "command": probe(json!({"run": {"type": "array", "items": text, "minItems": 1}, "parse": word(&["number", "exit"])})),
            "process": closed(json!({"target": text, "stat": word(&ProcessStat::WORDS.map(|(word, _)| word)), "every": span}), &["target", "stat"]),
            "prometheus": probe(json!({"url": text, "roots": text, "insecure": {"type": "boolean"}, "query": text, "max_age": span})),
        }
    });
    let metric = closed(
        json!({
            "from": source,
            "expect": {"anyOf": [text, closed(json!({"increasing": {"const": true}}), &["increasing"])]},
            "min_samples": positive,
            "allow": closed(json!({"breaches": {"type": "string", "examples": ["2 of 12"]}}), &["breaches"]),
            "severity": word(&["gate", "inform"]),
        }),
        &["from", "expect"],
    );
    let fault = closed(
        json!({
            "id": text, "target": text, "at": span, "after": text, "for": span, "percent": percent, "nth": positive, "first": positive, "per": {"type": "string", "pattern": "^(client|(header|cookie)\\..+)$"},
            "when": {"$ref": "#/$defs/matcher"}, "ramp": {"type": "object", "required": ["over"]}, "seed": {"type": "integer", "minimum": 0},
            "inject": {"$ref": "#/$defs/inject"}, "every": span, "times": positive,
        }),
        &["target", "inject"],
    );
    let stage = closed(
        json!({"name": text, "for": span, "require": word(&["steady"]), "otherwise": word(&["skip", "abort", "continue"]), "faults": {"type": "array", "items": fault}}),
        &[],
    );
    let load = closed(
        json!({
            "http": closed(json!({"url": text, "roots": text, "insecure": {"type": "boolean"}, "method": text, "headers": {"type": "object"}, "body": text, "timeout": span}), &["url"]),
            "rate": rate,
            "stages": {"type": "array", "items": closed(json!({"for": span, "rate": {"anyOf": [rate, closed(json!({"from": rate, "to": rate, "shape": word(&["linear"])}), &["from", "to"])]}}), &["rate"])},
        }),
        &["http"],
    );
    let guard = json!({"anyOf": [closed(json!({"metric": text, "is": text, "for": span}), &["metric", "is"]), closed(json!({"node": closed(json!({"cpu": text, "memory": text}), &[]), "for": span}), &["node"]), closed(json!({"file": text}), &["file"])]});
    let mut top = closed(
        json!({
            "murphy": {"const": 1, "description": "The version of the format."},
            "name": text, "description": text, "hypothesis": text, "owner": text,
            "tags": {"type": "array", "items": text},
            "seed": {"type": "integer", "minimum": 0, "description": "Every random choice is drawn from it."},
            "vars": {"type": "object", "description": "Used as ${name}; overridden with --set name=value."},
            "targets": {"type": "object", "minProperties": 1, "additionalProperties": {"$ref": "#/$defs/target"}},
            "steady_state": closed(json!({"window": span, "baseline": span, "cooldown": span, "no_data": word(&["pass", "fail", "unknown"]), "metrics": {"type": "object", "additionalProperties": metric}}), &[]),
            "load": {"type": "object", "additionalProperties": load},
            "stages": {"type": "array", "minItems": 1, "items": stage},
            "safety": closed(json!({
                "confirm": word(&["none", "prompt", "typed"]),
                "blast_radius": closed(json!({"max_targets_at_once": positive, "max_percent": percent, "allow_commands": {"type": "array", "items": text}}), &[]),
                "max_duration": span, "lease": span,
                "abort_if": {"type": "array", "items": guard},
                "on_unknown": closed(json!({"after": span, "then": word(&["abort", "continue"])}), &[]),
                "on_interrupt": word(&["recover"]),
                "verify_recovery": closed(json!({"within": span}), &[]),
            }), &[]),
            "report": closed(json!({"dir": text, "formats": {"type": "array", "items": word(&["json", "markdown", "html", "junit"])}}), &[]),
        }),
        &["murphy", "targets", "stages"],
    );
    let pick = json!({"anyOf": [word(&["one", "all"]), closed(json!({"count": positive}), &["count"]), closed(json!({"percent": percent}), &["percent"])]});
    let key_pair = closed(json!({"cert": text, "key": text}), &["cert", "key"]);
    let alpn = json!({"type": "array", "minItems": 1, "items": word(&["h2", "http/1.1"])});
    let tls = closed(
        json!({
            "downstream": word(&["terminate", "pass_through"]),
            "certificate": key_pair,
            "alpn": alpn,
            "upstream": closed(json!({"sni": text, "roots": text, "certificate": key_pair, "insecure": {}, "alpn": alpn}), &[]),
        }),
        &[],
    );
    let stub = closed(
        json!({"when": {"$ref": "#/$defs/matcher"}, "status": {"type": "integer", "minimum": 200, "maximum": 599}, "headers": {"type": "object"}, "body": text, "delay": span}),
        &[],
    );
    let port = json!({"type": "integer", "minimum": 1, "maximum": 65535});
    let proxy = closed(
        json!({
            "listen": {"type": "string", "examples": ["127.0.0.1:8001", "127.0.0.1:7000-7009", "unix:/run/shop.sock"]},
            "in_front_of": closed(
                json!({
                    "name": text, "label": text, "or_service": {"type": "boolean"}, "compose": text, "service": {"type": "string", "examples": ["shop/db"]}, "all": {"type": "boolean"},
                    "engine": text, "port": port, "outgoing": {"type": "boolean"}, "reset_open": {"type": "boolean"},
                }),
                &["port"],
            ),
            "upstream": {"type": "string", "examples": ["127.0.0.1:8000", "unix:/run/db.sock", "original"]},
            "upstreams": {"type": "array", "items": text, "minItems": 1},
            "stubs": {"type": "array", "minItems": 1, "items": stub},
            "balance": word(&["round_robin", "least_connections", "sticky"]),
            "protocol": word(&["tcp", "http", "udp"]),
            "idle_timeout": span,
            "proxy_protocol": closed(json!({"in": {}, "out": word(&["v1", "v2"])}), &[]),
            "connect_timeout": span,
            "keep_source": {},
            "tls": tls,
            "upstream_http": {"enum": ["auto", "1", "2", 1, 2]},
        }),
        &[],
    );
    let container = closed(
        json!({"name": text, "label": text, "or_service": {"type": "boolean"}, "compose": text, "service": text, "pick": pick, "engine": text, "interface": text}),
        &[],
    );
    let defs = json!({
        "target": {
            "type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false,
            "properties": {
                "proxy": proxy,
                "fs": closed(
                    json!({
                        "mount": text, "source": text, "pid": positive, "container": container, "in_use_passes": {"type": "boolean"}, "track_unsynced": {"type": ["string", "integer"]},
                        "writeback": {"type": "boolean"}, "passthrough": {"type": "array", "items": text},
                    }),
                    &["mount"],
                ),
                "process": closed(json!({"pid": positive, "match": text, "pick": pick}), &[]),
                "container": container,
                "node": {"oneOf": [{"const": "self"}, closed(json!({"interface": text}), &[])]},
                "netns": closed(json!({"name": text, "path": text, "pid": positive, "interface": text}), &[]),
                "cgroup": {"type": "string", "examples": ["/system.slice/nginx.service"]},
            }
        },
        "matcher": closed(J::Object(crate::matcher::schema::properties("#/$defs/matcher")), &[]),
        "inject": injections(),
    });
    merge(
        &mut top,
        json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "murphy experiment", "$defs": defs}),
    );
    top
}

/// One property per fault of the catalogue; exactly one is given.
fn injections() -> J {
    let mut props = Map::new();
    for def in catalogue::all() {
        let params: Map<String, J> = def.params.iter().map(|p| (p.name.to_owned(), param(p))).collect();
        let required: Vec<&str> = def.params.iter().filter(|p| p.required).map(|p| p.name).collect();
        let mut entry = json!({"type": ["object", "null"], "description": def.summary, "additionalProperties": false, "properties": params});
        if !required.is_empty() {
            entry["type"] = json!("object");
            entry["required"] = json!(required);
        }
        props.insert(def.name.to_owned(), entry);
    }
    json!({"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false, "properties": props})
}

fn param(p: &ParamDef) -> J {
    let mut out = match p.ty {
        ParamType::Int { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
        ParamType::Float { min, max } => json!({"type": "number", "minimum": min, "maximum": max}),
        ParamType::Bool => json!({"type": "boolean"}),
        ParamType::Choice(words) => json!({"enum": words}),
        ParamType::Choices(words) => {
            json!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"enum": words}}]})
        }
        ParamType::Map => json!({"type": "object"}),
        ParamType::Spans => json!({"anyOf": [{"type": "string"}, {"type": "array"}]}),
        _ => json!({"type": "string"}),
    };
    if matches!(p.ty, ParamType::Int { .. } | ParamType::Float { .. }) {
        out = json!({"anyOf": [out, {"type": "string", "pattern": "\\$\\{"}]});
    }
    out["description"] = json!(format!("{}: {}", p.doc, p.ty.describe()));
    out["examples"] = json!([p.example]);
    if let Some(default) = p.default {
        out["default"] = json!(default);
    }
    out
}

fn merge(into: &mut J, more: J) {
    if let (J::Object(into), J::Object(more)) = (into, more) {
        into.extend(more);
    }
}
