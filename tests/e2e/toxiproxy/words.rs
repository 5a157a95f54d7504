//! Routes, status codes, headers, bodies and error texts, word for word.

use super::{Answer, Server, address_of, echo, own};
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};

#[test]
fn paths_methods_and_browsers() {
    let server = Server::start(&[]);
    let version = server.call("GET", "/version", "");
    assert_eq!((version.status, version.body.as_str()), (200, "{\"version\": \"2.12.0\"}\n"));
    assert_eq!(version.header("content-type"), Some("application/json;charset=utf-8"));
    assert_eq!(version.header("x-toxiproxy-request-id").map(str::len), Some(20));
    server.call("GET", "/proxies", "").is(200, "{}");

    for path in ["/", "/nothing", "/proxies/", "/proxies/a/b", "/test", "/metrics", "/proxies/a%2Fb/c"] {
        let lost = server.call("GET", path, "");
        assert_eq!((lost.status, lost.body.as_str()), (404, "404 page not found\n"), "{path}");
        assert_eq!(lost.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(lost.header("x-toxiproxy-request-id"), None);
    }
    for (method, path) in [
        ("PUT", "/proxies"),
        ("DELETE", "/proxies"),
        ("OPTIONS", "/proxies"),
        ("GET", "/reset"),
        ("GET", "/populate"),
        ("POST", "/version"),
        ("PUT", "/proxies/a"),
        ("DELETE", "/proxies/a/toxics"),
        ("PUT", "/proxies/a/toxics/b"),
    ] {
        let wrong = server.call(method, path, "");
        wrong.is_empty(405);
        assert_eq!((wrong.header("allow"), wrong.header("x-toxiproxy-request-id")), (None, None));
    }
    server.call("HEAD", "/proxies", "").is_empty(405);
    let moved = server.call("GET", "//proxies", "");
    assert_eq!((moved.status, moved.header("location")), (301, Some("/proxies")));

    let browser = "user-agent: Mozilla/5.0 (X11; Linux x86_64)\r\n";
    let refused = server.send("GET", "/proxies", browser, "");
    assert_eq!((refused.status, refused.body.as_str()), (403, "User agent not allowed\n"));
    assert_eq!(refused.header("content-type"), Some("text/plain; charset=utf-8"));
    let refused =
        server.send("POST", "/proxies", browser, r#"{"name":"a","listen":"127.0.0.1:0","upstream":"x:1"}"#);
    assert_eq!(refused.status, 403);
    server.call("GET", "/proxies", "").is(200, "{}");
    assert_eq!(server.send("GET", "/nothing", browser, "").status, 404);
    assert_eq!(server.send("GET", "/proxies", "user-agent: NotMozilla/5.0\r\n", "").status, 200);
}

#[test]
fn proxies() {
    let server = Server::start(&[]);
    for (body, error) in [
        ("", "bad request body: EOF"),
        ("  ", "bad request body: EOF"),
        ("{", "bad request body: unexpected EOF"),
        ("hello", "bad request body: invalid character 'h' looking for beginning of value"),
        (r#"{"name":}"#, "bad request body: invalid character '}' looking for beginning of value"),
        ("[]", "bad request body: json: cannot unmarshal array into Go value of type toxiproxy.Proxy"),
        (
            r#"{"name":5}"#,
            "bad request body: json: cannot unmarshal number into Go struct field Proxy.name of type string",
        ),
        (
            r#"{"enabled":"yes"}"#,
            "bad request body: json: cannot unmarshal string into Go struct field Proxy.enabled of type bool",
        ),
        ("{}", "missing required field: name"),
        ("null", "missing required field: name"),
        (r#"{"upstream":"x:1"}"#, "missing required field: name"),
        (r#"{"name":"a"}"#, "missing required field: upstream"),
        (r#"{"name":"a","upstream":""}"#, "missing required field: upstream"),
    ] {
        server.call("POST", "/proxies", body).says(400, error);
    }
    server.call("GET", "/proxies/a", "").says(404, "proxy not found");
    server.call("PATCH", "/proxies/a", "{").says(404, "proxy not found");
    server.call("DELETE", "/proxies/a", "").says(404, "proxy not found");

    let made = server.call(
        "POST",
        "/proxies",
        &format!(
            r#"{{"NAME":"a","listen":"{}","upstream":"localhost:7","toxics":[{{"type":"latency"}}],"more":1}} trailing"#,
            own()
        ),
    );
    let taken = address_of(&serde_json::from_str(&made.body).unwrap());
    let a =
        format!(r#"{{"name":"a","listen":"{taken}","upstream":"localhost:7","enabled":true,"toxics":[]}}"#);
    made.is(201, &a);
    server.call("GET", "/proxies/a", "").is(200, &a);
    server.call("GET", "/proxies", "").is(200, &format!(r#"{{"a":{a}}}"#));

    // A clash of names comes before the port is tried, and a port that is taken leaves nothing behind.
    let clash = json!({"name": "a", "listen": taken, "upstream": "x:1"}).to_string();
    server.call("POST", "/proxies", &clash).says(409, "proxy already exists");
    let conflict = json!({"name": "b", "listen": taken, "upstream": "x:1"}).to_string();
    let in_use = format!("listen tcp {taken}: bind: address already in use");
    server.call("POST", "/proxies", &conflict).says(500, &in_use);
    server.call("GET", "/proxies/b", "").says(404, "proxy not found");
    server
        .call("POST", "/proxies", r#"{"name":"b","listen":"bad","upstream":"x:1"}"#)
        .says(500, "listen tcp: address bad: missing port in address");

    let named =
        server.ok("POST", "/proxies", &json!({"name": "l", "listen": "localhost:0", "upstream": "x:1"}));
    assert!(named["listen"].as_str().unwrap().starts_with("127.0.0.1:"), "{named}");
    let open = server.ok("PATCH", "/proxies/l", &json!({"listen": ""}));
    let anywhere = open["listen"].as_str().unwrap();
    assert!(anywhere.starts_with("[::]:") || anywhere.starts_with("0.0.0.0:"), "{open}");
    server.call("DELETE", "/proxies/l", "").is_empty(204);

    // Never started: the words stay as they were sent.
    let off = server.call(
        "POST",
        "/proxies",
        r#"{"name":"b c","listen":"localhost:0","upstream":"nonsense","enabled":false}"#,
    );
    let b = r#"{"name":"b c","listen":"localhost:0","upstream":"nonsense","enabled":false,"toxics":[]}"#;
    off.is(201, b);
    server.call("GET", "/proxies/b%20c", "").is(200, b);
    server
        .call("PATCH", "/proxies/b%20c", r#"{"listen":"bad"}"#)
        .says(500, "address bad: missing port in address");

    // Absent fields stay, the name cannot change, the port is let go and taken again.
    let update = |body: &str| server.call("POST", "/proxies/a", body);
    update("null").is(200, &a);
    update(r#"{"name":"z","enabled":null}"#).is(200, &a);
    update(r#"{"enabled":false}"#).is(200, &a.replace("true", "false"));
    assert_eq!(TcpStream::connect(taken).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    update(r#"{"enabled":false,"upstream":""}"#)
        .is(200, &a.replace("true", "false").replace("localhost:7", ""));
    server
        .call("PATCH", "/proxies/a", r#"{"enabled":true,"upstream":"localhost:8"}"#)
        .is(200, &a.replace("localhost:7", "localhost:8"));
    TcpStream::connect(taken).unwrap();

    // A port that cannot be had stops the proxy, with the new one in the book.
    let holder = TcpListener::bind(own()).unwrap();
    let other = holder.local_addr().unwrap();
    update(&json!({"listen": other.to_string()}).to_string())
        .says(500, &format!("listen tcp {other}: bind: address already in use"));
    let stopped: Value = server.ok("GET", "/proxies/a", &Value::Null);
    assert_eq!((&stopped["listen"], &stopped["enabled"]), (&json!(other.to_string()), &json!(false)));
    drop(holder);
    server.call("POST", "/reset", "not json").is_empty(204);
    let started: Value = server.ok("GET", "/proxies/a", &Value::Null);
    assert_eq!((&started["listen"], &started["enabled"]), (&json!(other.to_string()), &json!(true)));

    server.call("DELETE", "/proxies/a", "").is_empty(204);
    server.call("DELETE", "/proxies/a", "").says(404, "proxy not found");
    assert_eq!(TcpStream::connect(other).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let names = server.ok("GET", "/proxies", &Value::Null);
    assert_eq!(names.as_object().unwrap().keys().collect::<Vec<_>>(), ["b c"]);
}

#[test]
fn toxics() {
    let server = Server::start(&[]);
    server.call("GET", "/proxies/p/toxics", "").says(404, "proxy not found");
    server.call("POST", "/proxies/p/toxics", "{").says(404, "proxy not found");
    server.call("GET", "/proxies/p/toxics/t", "").says(404, "proxy not found");
    server.proxy("p", echo());
    let add = |body: &str| server.call("POST", "/proxies/p/toxics", body);
    server.call("GET", "/proxies/p/toxics", "").is(200, "[]");
    server.call("GET", "/proxies/p/toxics/t", "").says(404, "toxic not found");
    server.call("PATCH", "/proxies/p/toxics/t", "{").says(404, "toxic not found");
    server.call("DELETE", "/proxies/p/toxics/t", "").says(404, "toxic not found");

    // One mistake hides the next: JSON, stream, type, name, attributes.
    let stream = "stream was invalid, can be either upstream or downstream";
    for (body, status, error) in [
        ("", 400, "bad request body: EOF"),
        (r#"{"stream":"sideways","type":"none"}"#, 400, stream),
        (r#"{"stream":"","type":"latency"}"#, 400, stream),
        ("{}", 400, "invalid toxic type"),
        (r#"{"type":"Latency"}"#, 400, "invalid toxic type"),
        (
            r#"{"type":"latency","attributes":{"latency":1.5}}"#,
            400,
            "bad request body: json: cannot unmarshal number 1.5 into Go struct field .attributes.latency of type int64",
        ),
        (
            r#"{"type":"latency","attributes":{"jitter":"5"}}"#,
            400,
            "bad request body: json: cannot unmarshal string into Go struct field .attributes.jitter of type int64",
        ),
        (
            r#"{"type":"latency","toxicity":"much"}"#,
            400,
            "bad request body: json: cannot unmarshal string into Go struct field ToxicWrapper.toxicity of type float32",
        ),
    ] {
        add(body).says(status, error);
    }
    server.call("GET", "/proxies/p/toxics", "").is(200, "[]");

    let show = |attributes: &str, name: &str, kind: &str, stream: &str, toxicity: &str| {
        format!(
            r#"{{"attributes":{{{attributes}}},"name":"{name}","type":"{kind}","stream":"{stream}","toxicity":{toxicity}}}"#
        )
    };
    let mut all = Vec::new();
    for (kind, attributes) in [
        ("latency", r#""latency":0,"jitter":0"#),
        ("bandwidth", r#""rate":0"#),
        ("slow_close", r#""delay":0"#),
        ("timeout", r#""timeout":0"#),
        ("reset_peer", r#""timeout":0"#),
        ("slicer", r#""average_size":0,"size_variation":0,"delay":0"#),
        ("limit_data", r#""bytes":0"#),
        ("noop", ""),
    ] {
        let shown = show(attributes, &format!("{kind}_downstream"), kind, "downstream", "1");
        add(&json!({"type": kind}).to_string()).is(200, &shown);
        all.push(shown);
    }
    add(r#"{"type":"noop","name":"latency_downstream","attributes":{"latency":"x"}}"#)
        .says(409, "toxic already exists");
    // The stream as it was sent, also in the name; numbers as they are, in any range.
    let up = show(r#""latency":-5,"jitter":100"#, "latency_UPSTREAM", "latency", "UPSTREAM", "0.1");
    add(r#"{"type":"latency","stream":"UPSTREAM","toxicity":0.1,"attributes":{"LATENCY":-5,"jitter":100,"odd":"x"}}"#)
        .is(200, &up);
    let odd = show(r#""latency":0,"jitter":0"#, "a b", "latency", "upstream", "7");
    add(r#"{"type":"latency","stream":"upstream","name":"a b","toxicity":7,"attributes":null}"#)
        .is(200, &odd);
    // Upstream first, each in the order in which they came.
    let list = format!(
        "[{}]",
        [&up, &odd].into_iter().chain(&all).map(String::as_str).collect::<Vec<_>>().join(",")
    );
    server.call("GET", "/proxies/p/toxics", "").is(200, &list);
    assert!(server.call("GET", "/proxies/p", "").body.ends_with(&format!("\"toxics\":{list}}}")));
    server.call("GET", "/proxies/p/toxics/a%20b", "").is(200, &odd);

    let edit = |body: &str| server.call("PATCH", "/proxies/p/toxics/latency_UPSTREAM", body);
    let changed = up.replace("\"latency\":-5", "\"latency\":30").replace("0.1", "-1");
    edit(r#"{"name":"z","type":"noop","stream":"downstream","toxicity":-1,"attributes":{"latency":30}}"#)
        .is(200, &changed);
    // A change that is refused changes nothing.
    edit(r#"{"toxicity":0.5,"attributes":{"latency":77,"jitter":"x"}}"#).says(
        400,
        "bad request body: json: cannot unmarshal string into Go struct field .attributes.jitter of type int64",
    );
    edit(r#"{"attributes":{"latency":77},"toxicity":"x"}"#).says(
        400,
        "bad request body: json: cannot unmarshal string into Go struct field .toxicity of type float32",
    );
    edit("").says(400, "bad request body: EOF");
    edit("null").is(200, &changed);
    edit(r#"{"attributes":{}}"#).is(200, &changed);

    server.call("DELETE", "/proxies/p/toxics/a%20b", "").is_empty(204);
    server.call("DELETE", "/proxies/p/toxics/a%20b", "").says(404, "toxic not found");
    // Toxics outlive every change of their proxy but its end.
    let rest = list.replace(&format!("{odd},"), "").replace(&up, &changed);
    for body in [r#"{"enabled":false}"#, r#"{"enabled":true}"#, r#"{"upstream":"127.0.0.1:9"}"#] {
        assert!(
            server.call("PATCH", "/proxies/p", body).body.ends_with(&format!("\"toxics\":{rest}}}")),
            "{body}"
        );
    }
    server.call("POST", "/reset", "").is_empty(204);
    server.call("GET", "/proxies/p/toxics", "").is(200, "[]");
    assert_eq!(server.list()["faults"], json!([]));
}

#[test]
fn populate() {
    let server = Server::start(&[]);
    let populate = |body: &Value| server.call("POST", "/populate", &body.to_string());
    for nothing in ["[]", "null"] {
        server.call("POST", "/populate", nothing).is(201, r#"{"proxies":null}"#);
    }
    let refused = |answer: &Answer, status: u16, error: &str, proxies: &str| {
        answer.is(status, &format!(r#"{{"error":{},"status":{status},"proxies":{proxies}}}"#, json!(error)));
    };
    refused(&server.call("POST", "/populate", ""), 400, "bad request body: EOF", "null");
    let object = server.call("POST", "/populate", "{}");
    assert_eq!(object.status, 400);
    assert!(
        object.body.contains("bad request body: json: cannot unmarshal object into Go value of type"),
        "{object:?}"
    );
    let good = json!({"name": "a", "listen": own(), "upstream": "x:1"});
    refused(
        &populate(&json!([good, {"upstream": "x:1"}])),
        400,
        "missing required field: name at proxy 2",
        "null",
    );
    refused(
        &populate(&json!([{"name": "x"}, good])),
        400,
        "missing required field: upstream at proxy 1",
        "null",
    );
    server.call("GET", "/proxies", "").is(200, "{}");

    let toxic = json!({"type": "latency", "attributes": {"latency": 5}});
    let made = populate(&json!([
        {"name": "a", "listen": own(), "upstream": "x:1", "toxics": [toxic]},
        {"name": "b", "listen": own(), "upstream": "x:2", "enabled": false, "toxics": [toxic]},
    ]));
    assert_eq!(made.status, 201);
    let made: Value = serde_json::from_str(&made.body).unwrap();
    let (a, b) = (&made["proxies"][0], &made["proxies"][1]);
    assert_eq!((a["enabled"].as_bool(), b["enabled"].as_bool()), (Some(true), Some(false)));
    for proxy in [a, b] {
        assert_eq!(proxy["toxics"][0]["name"], "latency_downstream");
        assert_eq!(proxy["toxics"][0]["attributes"]["latency"], 5);
    }

    // Known and the same: what is there stays, and `enabled` is not looked at; named toxics are made to be there.
    let same = json!({"name": "a", "listen": a["listen"], "upstream": "x:1", "enabled": false, "toxics": []});
    populate(&json!([same]))
        .is(201, &format!(r#"{{"proxies":[{}]}}"#, server.call("GET", "/proxies/a", "").body));
    let more = json!({"name": "a", "listen": a["listen"], "upstream": "x:1", "toxics": [
        {"type": "latency", "attributes": {"latency": 9}}, {"type": "noop", "stream": "upstream"}]});
    let more: Value = serde_json::from_str(&populate(&json!([more])).body).unwrap();
    let names: Vec<_> = more["proxies"][0]["toxics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["noop_upstream", "latency_downstream"]);
    assert_eq!(more["proxies"][0]["toxics"][1]["attributes"]["latency"], 9);
    // Known and different: a new one.
    let other = json!({"name": "a", "listen": a["listen"], "upstream": "x:9"});
    let other: Value = serde_json::from_str(&populate(&json!([other])).body).unwrap();
    assert_eq!(
        (&other["proxies"][0]["upstream"], &other["proxies"][0]["toxics"]),
        (&json!("x:9"), &json!([]))
    );

    // The first failure ends it; what was done is told.
    let failed = populate(&json!([
        {"name": "c", "listen": own(), "upstream": "x:1"},
        {"name": "d", "listen": a["listen"], "upstream": "x:1"},
        {"name": "e", "listen": own(), "upstream": "x:1"},
    ]));
    let c = server.call("GET", "/proxies/c", "").body;
    let error = format!("listen tcp {}: bind: address already in use", a["listen"].as_str().unwrap());
    refused(&failed, 500, &error, &format!("[{c}]"));
    server.call("GET", "/proxies/e", "").says(404, "proxy not found");
    // A toxic that makes no sense is told before anything is done.
    let senseless = populate(&json!([
        {"name": "f", "listen": own(), "upstream": "x:1"},
        {"name": "g", "listen": own(), "upstream": "x:1", "toxics": [{"type": "sloth"}]},
    ]));
    refused(&senseless, 400, "invalid toxic type at proxy 2", "null");
    server.call("GET", "/proxies/f", "").says(404, "proxy not found");
}
