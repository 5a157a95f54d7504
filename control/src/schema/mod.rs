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
                "ends": text(), "needs": list(text()), "params": list(json!({"type": "object"})),
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
mod tests {
    use super::*;
    use crate::service::{Caller, Role};
    use crate::wire::{
        ActView, AgentStatus, CatalogueEntry, Change, Check, Counters, Disarmed, Failure, FaultState,
        HaltState, Halted, PlanView, RunState, StartRun, Status, Usage,
    };
    use model::units::Span;
    use model::{Evidence, Fault};

    /// What of a value the schema does not allow.
    fn check(value: &Value, schema: &Value, all: &Value, at: &str, wrong: &mut Vec<String>) {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.trim_start_matches("#/components/schemas/");
            return check(value, &all[name], all, &format!("{at}({name})"), wrong);
        }
        if let Some(list) = schema["oneOf"].as_array() {
            let fits = |s: &&Value| {
                let mut inner = Vec::new();
                check(value, s, all, at, &mut inner);
                inner.is_empty()
            };
            if list.iter().filter(fits).count() != 1 {
                wrong.push(format!("{at}: {value} fits not exactly one of its schemas"));
            }
            return;
        }
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(n) if n.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let is = |t: &str| t == kind || (t, kind) == ("number", "integer");
        let typed = match &schema["type"] {
            Value::String(t) => is(t),
            Value::Array(list) => list.iter().filter_map(Value::as_str).any(is),
            _ => true,
        };
        let listed = schema["enum"].as_array().is_none_or(|list| list.contains(value));
        let same = schema.get("const").is_none_or(|c| c == value);
        if !typed || !listed || !same {
            wrong.push(format!("{at}: {value} is not {schema}"));
        }
        if let Some(object) = value.as_object() {
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !object.contains_key(name) {
                    wrong.push(format!("{at}: {name} is missing"));
                }
            }
            for (name, inner) in object {
                match (&schema["properties"][name], &schema["additionalProperties"]) {
                    (Value::Null, Value::Bool(false)) => wrong.push(format!("{at}: {name} is not described")),
                    (Value::Null, other) => check(inner, other, all, &format!("{at}.{name}"), wrong),
                    (known, _) => check(inner, known, all, &format!("{at}.{name}"), wrong),
                }
            }
        }
        for inner in value.as_array().into_iter().flatten() {
            check(inner, &schema["items"], all, &format!("{at}[]"), wrong);
        }
    }

    fn fault() -> Fault {
        serde_json::from_value(json!({
            "id": "a", "target": "proxy:cart", "for": "60s", "seed": 7, "share": {"percent": "30%"},
            "inject": {"abort": {"headers": {"retry-after": "1"}, "body": "busy"}},
            "when": {"method": "POST", "any": [{"path": "/a*"}, {"not": {"header": {"x": "*"}}}]},
            "ramp": {"percent": ["1%", "50%"], "over": "10s"},
        }))
        .unwrap()
    }

    fn run() -> RunState {
        RunState {
            name: "a".into(),
            seed: 1,
            by: "sre".into(),
            started_at_ms: 1,
            started_mono_ms: 1.5,
            stages: vec![("slow".into(), Span::secs(60))],
            phase: "stage".into(),
            stage: Some(("slow".into(), 1)),
            steady: [("p99".to_owned(), model::event::WindowResult::Fail)].into(),
            verdict: Some("held".into()),
            why: Some("why".into()),
            report: Some("runs/a".into()),
        }
    }

    #[test]
    fn what_is_sent_is_what_is_described() {
        let caller = Caller { name: "sre".into(), uid: Some(1), pid: Some(2), role: Role::Operator };
        let state = FaultState {
            id: "a".into(),
            fault: fault(),
            by: "sre".into(),
            armed_at_ms: 1,
            armed_mono_ms: 1.5,
            left: Some(Span::secs(1)),
            lease: Some(Span::secs(1)),
            lease_left: Some(Span::secs(1)),
            evidence: Evidence { considered: 1, applied: 1, measured: [("a".to_owned(), 1.5)].into() },
            warnings: vec!["w".into()],
        };
        let status = AgentStatus {
            agent: "edge-1".into(),
            version: "1".into(),
            pid: 1,
            at_ms: 1,
            mono_ms: 1.5,
            seq: 1,
            halted: Some(HaltState { by: "sre".into(), at_ms: 1 }),
            armed: 1,
            targets: 1,
            run: Some(run()),
            lease: Some(Span::secs(15)),
            counters: Counters::default(),
            usage: Some(Usage { cpu_seconds: 1.5, resident_bytes: 1, descriptors: 1 }),
        };
        let act = ActView { act: "a".into(), undo: "u".into(), ends_with_agent: true };
        let plan = PlanView {
            fault: fault(),
            acts: vec![act],
            warnings: vec!["w".into()],
            commands: vec!["c".into()],
        };
        let disarmed = Disarmed { id: "a".into(), target: fault().target, evidence: Evidence::default() };
        let halted =
            Halted { by: "a".into(), faults: vec!["a".into()], failed: [("a".into(), "b".into())].into() };
        let start = StartRun {
            yaml: "a".into(),
            file: Some("a".into()),
            set: [("a".into(), "b".into())].into(),
            seed: Some(1),
            report: Some("a".into()),
            confirm: Some("a".into()),
        };
        let change: Change = serde_json::from_value(
            json!({"inject": {"status": 500}, "share": "all", "when": null, "ramp": null, "for": "1s"}),
        )
        .unwrap();
        let check_row = Check { name: "a".into(), ok: true, found: "b".into(), hint: Some("c".into()) };
        let target = model::sample::TargetState {
            target: fault().target,
            about: "a".into(),
            up: true,
            listen: Some("a".into()),
            http: true,
        };
        let connection = model::ConnectionView {
            id: 1,
            target: fault().target,
            client: Some("a:1".into()),
            upstream: Some("b:2".into()),
            age_ms: 1,
            bytes_up: 1,
            bytes_down: 1,
            state: model::ConnectionState::HalfClosed,
            faults: vec![model::ConnectionFault { id: "a".into(), fault: "latency".into(), applied: true }],
        };
        let connections = crate::ConnectionList { total: 1, held: 1, connections: vec![connection] };
        let when: model::Matcher = serde_json::from_value(json!({"path": "/a*"})).unwrap();
        let hold = crate::HoldView {
            id: 1,
            target: fault().target,
            when: Some(when.clone()),
            left: Span::secs(60),
            requests: 1,
        };
        let order =
            crate::HoldOrder { target: fault().target, when: Some(when.clone()), lease: Some(Span::secs(1)) };
        let request = model::RequestView {
            id: 1,
            target: fault().target,
            connection: 1,
            client: Some("a:1".into()),
            at_ms: 1,
            method: "GET".into(),
            path: "/a".into(),
            host: Some("a".into()),
            http: "2".into(),
            state: model::RequestState::Held,
            status: Some(200),
            total_ms: 1.0,
            injected_ms: 1.0,
            upstream_ms: Some(1.0),
            bytes_up: 1,
            bytes_down: 1,
            trace: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            error: Some("a".into()),
            faults: vec![model::RequestFault {
                id: "a".into(),
                fault: "abort".into(),
                ordinal: 1,
                draw: Some(0.5),
                taken: true,
                applied: true,
            }],
        };
        let requests = crate::RequestList { total: 1, held: 1, requests: vec![request], holds: vec![hold] };
        let operation = model::FileOperation {
            seq: 1,
            at_ms: 1,
            target: "fs:/a".parse().unwrap(),
            pid: 1,
            uid: 1,
            command: "a".into(),
            op: "fsync".into(),
            path: "/a".into(),
            bytes: 1,
            micros: 1,
            error: Some("EIO".into()),
            faults: vec!["a".into()],
        };
        let kind = crate::OperationRow {
            target: "fs:/a".parse().unwrap(),
            op: "fsync".into(),
            count: 1,
            errors: 1,
            p50_us: Some(1.0),
            p99_us: Some(1.0),
        };
        let operations = crate::OperationList { total: 1, operations: vec![operation], kinds: vec![kind] };
        let talker = model::Talker {
            key: "a".into(),
            requests: 1,
            per_second: 1.0,
            errors: 1,
            bytes_down: 1,
            at_most_over: 1,
        };
        let stub = model::Stub {
            when: Some(when),
            status: 201,
            headers: [("a".to_owned(), "b".to_owned())].into(),
            body: "a".into(),
            delay: Some(Span::secs(1)),
        };
        let stubs = model::StubServer { name: "a".into(), listen: "a:1".into(), stubs: vec![stub] };
        let proxy =
            json!({"name": "cart", "proxy": {"listen": "a:1", "upstream": "b:2", "protocol": "http"}});
        let proxy: model::Target = serde_json::from_value(proxy).unwrap();
        let of = |v: &dyn erased::Ser| v.json();
        let all = all();
        let mut wrong = Vec::new();
        for (name, value) in [
            ("Status", of(&Status { agent: status, you: caller })),
            ("Faults", of(&vec![state])),
            ("Plan", of(&plan)),
            ("Armed", of(&plan)),
            ("Disarmed", of(&disarmed)),
            ("Halted", of(&halted)),
            ("StartRun", of(&start)),
            ("RunState", of(&run())),
            ("Change", of(&change)),
            ("Checks", of(&vec![check_row])),
            ("Targets", of(&vec![target])),
            ("Connections", of(&connections)),
            ("Requests", of(&requests)),
            ("Operations", of(&operations)),
            ("Talkers", of(&vec![talker])),
            ("HoldOrder", of(&order)),
            ("StubServer", of(&stubs)),
            ("Target", of(&proxy)),
            ("Fault", of(&fault())),
            ("Catalogue", of(&CatalogueEntry::all())),
            ("Failure", of(&Failure::no_fault("a"))),
        ] {
            assert!(all[name].is_object(), "{name}");
            check(&value, &all[name], &all, name, &mut wrong);
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    mod erased {
        /// Anything that serialises, behind a reference.
        pub trait Ser {
            fn json(&self) -> serde_json::Value;
        }
        impl<T: serde::Serialize> Ser for T {
            fn json(&self) -> serde_json::Value {
                serde_json::to_value(self).unwrap()
            }
        }
    }
}
