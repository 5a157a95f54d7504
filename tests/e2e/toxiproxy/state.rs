//! The door beside murphy's own: one state, files and flags, ends.

use super::{Server, address_of, connect, echo, own, ping};
use crate::ground::{TempDir, eventually};
use serde_json::{Value, json};
use std::time::Duration;

#[test]
fn a_configuration_file_and_flags_of_the_original() {
    let dir = TempDir::new();
    let upstream = echo();
    let config = json!([
        {"name": "web", "listen": own(), "upstream": format!("127.0.0.1:{upstream}"), "enabled": true,
         "toxics": [{"type": "latency", "stream": "upstream", "attributes": {"latency": 50}}]},
        {"name": "off", "listen": own(), "upstream": "x:1", "enabled": false},
    ]);
    let file = dir.file("toxiproxy.json", &config.to_string());
    let args = [
        "toxiproxy",
        "-host=localhost",
        "-port",
        "0",
        "-config",
        file.to_str().unwrap(),
        "-proxy-metrics",
        "-runtime-metrics=true",
        "-seed",
        "-1",
    ];
    let server = Server::run(dir, &args);
    let all = server.ok("GET", "/proxies", &Value::Null);
    assert_eq!((&all["web"]["enabled"], &all["off"]["enabled"]), (&json!(true), &json!(false)));
    assert_eq!(all["web"]["toxics"][0]["name"], "latency_upstream");
    let mut client = connect(address_of(&all["web"]));
    assert!(ping(&mut client) >= Duration::from_millis(50));

    // Counted while the connection is open, also across a stop.
    let line = format!(
        "toxiproxy_proxy_sent_bytes_total{{direction=\"upstream\",listener=\"{}\",proxy=\"web\",upstream=\"127.0.0.1:{upstream}\"}} 4\n",
        all["web"]["listen"].as_str().unwrap()
    );
    let metrics = || server.call("POST", "/metrics", "");
    assert!(eventually(Duration::from_secs(10), || metrics().body.contains(&line)), "{}", metrics().body);
    assert!(metrics().body.contains("toxiproxy_proxy_received_bytes_total{direction=\"downstream\""));
    assert!(metrics().body.contains("process_resident_memory_bytes"));
    assert!(metrics().header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    server.ok("PATCH", "/proxies/web", &json!({"enabled": false}));
    assert!(metrics().body.contains(&line), "{}", metrics().body);

    // Whatever is wrong with a file, the server is there.
    let dir = TempDir::new();
    let broken = dir.file("broken.json", "{");
    let server = Server::run(dir, &["toxiproxy", "--port", "0", "--config", broken.to_str().unwrap()]);
    server.call("GET", "/proxies", "").is(200, "{}");
}

#[test]
fn one_state_for_door_and_console() {
    let server = Server::start(&[]);
    let port = server.proxy("p", echo());
    let mut client = connect(port);
    server.toxic("p", &json!({"type": "latency", "attributes": {"latency": 20}}));
    server.toxic("p", &json!({"type": "bandwidth", "name": "slow", "attributes": {"rate": 1000}}));
    server.toxic("p", &json!({"type": "noop"}));
    let list = server.list();
    assert_eq!(list["faults"].as_array().unwrap().len(), 2, "{list}");
    // Disarmed there, gone here.
    let done = server.murphy(&["disarm", "slow"]);
    assert_eq!(done.code, 0, "{done:?}");
    server.call("GET", "/proxies/p/toxics/slow", "").says(404, "toxic not found");
    // Armed there, here.
    let armed = server.murphy(&[
        "arm",
        "proxy:p",
        "latency",
        "delay=30ms",
        "direction=up",
        "--id",
        "theirs",
        "--percent",
        "50%",
        "--for",
        "60s",
    ]);
    assert_eq!(armed.code, 0, "{armed:?}");
    server.call("GET", "/proxies/p/toxics/theirs", "").is(
        200,
        r#"{"attributes":{"latency":30,"jitter":0},"name":"theirs","type":"latency","stream":"upstream","toxicity":0.5}"#,
    );
    server.ok("PATCH", "/proxies/p/toxics/theirs", &json!({"attributes": {"latency": 10}, "toxicity": 1}));
    assert!(server.list().to_string().contains("10ms"));
    server.call("DELETE", "/proxies/p/toxics/theirs", "").is_empty(204);

    // A halt takes everything, also what waits in a stopped proxy.
    server.proxy("waiting", 9);
    server.toxic("waiting", &json!({"type": "latency"}));
    server.ok("PATCH", "/proxies/waiting", &json!({"enabled": false}));
    assert_eq!(server.murphy(&["halt"]).code, 0);
    for proxy in ["p", "waiting"] {
        let gone = || server.call("GET", &format!("/proxies/{proxy}/toxics"), "").body == "[]";
        assert!(eventually(Duration::from_secs(10), gone), "{proxy}");
    }
    ping(&mut client);
    let refused = server.call("POST", "/proxies/p/toxics", r#"{"type":"latency"}"#);
    assert_eq!(refused.status, 500);
    assert!(refused.body.contains("halted") && refused.body.contains("murphy halt --lift"), "{refused:?}");
    assert_eq!(server.murphy(&["halt", "--lift"]).code, 0);
    server.toxic("p", &json!({"type": "latency"}));
}

#[test]
fn an_agent_with_the_same_door() {
    let dir = TempDir::new();
    let upstream = echo();
    let proxy = format!("web=127.0.0.1:0,127.0.0.1:{upstream}");
    let server = Server::run(dir, &["agent", "--toxiproxy", "127.0.0.1:0", "--proxy", &proxy]);
    let web = server.ok("GET", "/proxies/web", &Value::Null);
    assert_eq!((&web["enabled"], &web["upstream"]), (&json!(true), &json!(format!("127.0.0.1:{upstream}"))));
    server
        .call("POST", "/proxies", r#"{"name":"web","listen":"127.0.0.1:0","upstream":"x:1"}"#)
        .says(409, "proxy already exists");
    server.toxic("web", &json!({"type": "latency", "attributes": {"latency": 50}}));
    assert!(ping(&mut connect(address_of(&web))) >= Duration::from_millis(50));
    // A door that is wide open says so; one that cannot be opened says why.
    let taken = server.murphy(&["toxiproxy", "--port", &server.port.to_string()]);
    assert_eq!(taken.code, 5, "{taken:?}");
    assert!(taken.err.contains("end it, or choose another port"), "{taken:?}");
    let endless = server.murphy(&["toxiproxy", "--max-for", "8d"]);
    assert_eq!(endless.code, 2, "{endless:?}");
}

#[test]
fn toxics_end_when_they_are_told_to() {
    let server = Server::start(&["--max-for", "300ms"]);
    server.proxy("p", 9);
    server.toxic("p", &json!({"type": "latency"}));
    assert!(eventually(Duration::from_secs(20), || server.call("GET", "/proxies/p/toxics", "").body == "[]"));
}
