use super::*;
use crate::caller::{Caller, Role};
use crate::wire::{
    ActView, AgentStatus, CatalogueEntry, Change, Check, Counters, Disarmed, Failure, FaultState, HaltState,
    Halted, PlanView, RunState, StartRun, Status, Usage,
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
    let plan =
        PlanView { fault: fault(), acts: vec![act], warnings: vec!["w".into()], commands: vec!["c".into()] };
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
    let proxy = json!({"name": "cart", "proxy": {"listen": "a:1", "upstream": "b:2", "protocol": "http"}});
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
