//! What toxics do to bytes, and what kills or hangs the original.

use super::{Server, connect, echo, ping, serve};
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

#[test]
fn latency_adds_up_on_open_connections_and_goes_with_its_toxic() {
    let server = Server::start(&[]);
    let port = server.proxy("p", echo());
    let mut client = connect(port);
    ping(&mut client);
    server.toxic("p", &json!({"type": "latency", "stream": "upstream", "attributes": {"latency": 60}}));
    server.toxic("p", &json!({"type": "latency", "attributes": {"latency": 40, "jitter": 0}}));
    assert!(ping(&mut client) >= Duration::from_millis(100));
    server.ok("PATCH", "/proxies/p/toxics/latency_downstream", &json!({"attributes": {"latency": 160}}));
    assert!(ping(&mut client) >= Duration::from_millis(220));
    // What is held is let go at once, however long it was to be held.
    server.ok(
        "PATCH",
        "/proxies/p/toxics/latency_upstream",
        &json!({"attributes": {"latency": i64::MAX, "jitter": 5}}),
    );
    client.write_all(b"held").unwrap();
    let begin = Instant::now();
    server.ok("DELETE", "/proxies/p/toxics/latency_upstream", &Value::Null);
    server.ok("DELETE", "/proxies/p/toxics/latency_downstream", &Value::Null);
    let mut back = [0; 4];
    client.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"held");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    // More jitter than latency is legal.
    server.toxic("p", &json!({"type": "latency", "attributes": {"latency": 1, "jitter": 20}}));
    for _ in 0..10 {
        ping(&mut client);
    }
}

#[test]
fn a_timeout_swallows_and_closes() {
    let server = Server::start(&[]);
    let port = server.proxy("p", echo());
    let mut client = connect(port);
    server.toxic("p", &json!({"type": "timeout", "attributes": {"timeout": 100}}));
    // Closed on time, also while data trickles.
    let mut writer = client.try_clone().unwrap();
    let begin = Instant::now();
    let trickle = std::thread::spawn(move || {
        while writer.write_all(b"x").is_ok() && begin.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let mut all = Vec::new();
    let _ = client.read_to_end(&mut all);
    assert_eq!(all, b"");
    assert!(begin.elapsed() < Duration::from_secs(15));
    drop(client);
    trickle.join().unwrap();

    // One without an end holds what it has until it is removed, and that closes what it held.
    server.ok("POST", "/proxies/p/toxics/timeout_downstream", &json!({"attributes": {"timeout": 0}}));
    let mut held = connect(port);
    held.write_all(b"lost").unwrap();
    held.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(matches!(
        held.read(&mut [0; 4]).unwrap_err().kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut
    ));
    server.ok("DELETE", "/proxies/p/toxics/timeout_downstream", &Value::Null);
    held.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert!(matches!(held.read(&mut [0; 4]), Ok(0) | Err(_)), "the connection is closed");
    ping(&mut connect(port));
}

#[test]
fn a_reset_reaches_open_connections_and_its_removal_does_not_wait() {
    let server = Server::start(&[]);
    let port = server.proxy("p", echo());
    let mut client = connect(port);
    ping(&mut client);
    server.toxic("p", &json!({"type": "reset_peer"}));
    let _ = client.write_all(b"ping");
    assert_eq!(client.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    server.ok(
        "POST",
        "/proxies/p/toxics/reset_peer_downstream",
        &json!({"attributes": {"timeout": 3_600_000}}),
    );
    let mut client = connect(port);
    ping(&mut client);
    let begin = Instant::now();
    server.ok("DELETE", "/proxies/p/toxics/reset_peer_downstream", &Value::Null);
    assert!(begin.elapsed() < Duration::from_secs(10));
    ping(&mut client);
}

#[test]
fn limits_slices_and_late_ends() {
    let server = Server::start(&[]);
    let port = server.proxy("p", echo());
    server.toxic("p", &json!({"type": "limit_data", "attributes": {"bytes": 10}}));
    let mut client = connect(port);
    client.write_all(&[b'x'; 100]).unwrap();
    let mut all = Vec::new();
    let _ = client.read_to_end(&mut all);
    assert_eq!(all.len(), 10);
    server.ok("DELETE", "/proxies/p/toxics/limit_data_downstream", &Value::Null);

    server.toxic(
        "p",
        &json!({"type": "slicer", "attributes": {"average_size": 64, "size_variation": 32, "delay": 10}}),
    );
    let mut client = connect(port);
    let sent: Vec<u8> = (0..4096_u32).map(|n| n as u8).collect();
    client.write_all(&sent).unwrap();
    let mut back = vec![0; sent.len()];
    client.read_exact(&mut back).unwrap();
    assert_eq!(back, sent);
    server.ok("DELETE", "/proxies/p/toxics/slicer_downstream", &Value::Null);

    // The service closes at once; the client hears of it late.
    let brief = server.proxy("brief", serve(|mut stream| drop(stream.write_all(b"bye"))));
    server.toxic("brief", &json!({"type": "slow_close", "attributes": {"delay": 300}}));
    let begin = Instant::now();
    let mut all = Vec::new();
    connect(brief).read_to_end(&mut all).unwrap();
    assert_eq!(all, b"bye");
    assert!(begin.elapsed() >= Duration::from_millis(300), "{:?}", begin.elapsed());
}

#[test]
fn half_a_connection_is_enough_for_an_answer() {
    let server = Server::start(&[]);
    let counting = serve(|mut stream| {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        let _ = write!(stream, "{}", all.len());
    });
    let port = server.proxy("p", counting);
    let mut client = connect(port);
    client.write_all(b"seven b").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "7");
}

#[test]
fn what_kills_the_original() {
    let server = Server::start(&[]);
    let port = server.proxy("p", echo());
    // A slicer of zeros; a bandwidth of zero and less stalls; numbers at both ends of their range.
    server.toxic("p", &json!({"type": "slicer"}));
    ping(&mut connect(port));
    for rate in [0, -500, i64::MIN] {
        server.toxic("p", &json!({"type": "bandwidth", "attributes": {"rate": rate}}));
        let mut client = connect(port);
        client.write_all(b"ping").unwrap();
        client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert!(matches!(
            client.read(&mut [0; 4]).unwrap_err().kind(),
            ErrorKind::WouldBlock | ErrorKind::TimedOut
        ));
        server.ok("DELETE", "/proxies/p/toxics/bandwidth_downstream", &Value::Null);
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut back = [0; 4];
        client.read_exact(&mut back).unwrap();
    }
    server.ok("DELETE", "/proxies/p/toxics/slicer_downstream", &Value::Null);
    let kinds: [(&str, &[&str]); 7] = [
        ("latency", &["latency", "jitter"]),
        ("bandwidth", &["rate"]),
        ("slow_close", &["delay"]),
        ("timeout", &["timeout"]),
        ("reset_peer", &["timeout"]),
        ("slicer", &["average_size", "size_variation", "delay"]),
        ("limit_data", &["bytes"]),
    ];
    for (kind, names) in kinds {
        for n in [i64::MIN, -1, i64::MAX] {
            let attributes: Value = names
                .iter()
                .map(|name| ((*name).to_owned(), json!(n)))
                .collect::<serde_json::Map<_, _>>()
                .into();
            let toxic = server.toxic(
                "p",
                &json!({"name": "t", "type": kind, "attributes": attributes, "stream": "upstream"}),
            );
            assert_eq!(toxic["attributes"], attributes);
            let _ = connect(port).write_all(b"some data");
            server.ok("DELETE", "/proxies/p/toxics/t", &Value::Null);
        }
    }
    let too_large = r#"{"type":"latency","attributes":{"latency":99999999999999999999}}"#;
    assert_eq!(server.call("POST", "/proxies/p/toxics", too_large).status, 400);
    assert_eq!(server.call("POST", "/proxies/p/toxics", r#"{"type":"noop","toxicity":1e400}"#).status, 400);

    // Bodies that are deep, long, broken off, or never end.
    for deep in ["[".repeat(200_000), r#"{"a":"#.repeat(100_000)] {
        server.call("POST", "/proxies", &deep).says(400, "bad request body: exceeded max depth");
        assert_eq!(server.call("POST", "/populate", &deep).status, 400);
    }
    assert_eq!(
        server.call("POST", "/proxies", &format!("{{\"name\":\"{}", "x".repeat(1_000_000))).status,
        400
    );
    assert!(matches!(server.call("POST", "/proxies", &" ".repeat(17 << 20)).status, 400 | 413));
    let mut slow = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    slow.write_all(b"POST /proxies HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{").unwrap();
    let mut gone = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    gone.write_all(b"POST /proxies HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{").unwrap();
    drop(gone);
    let mut garbage = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    garbage.write_all(b"\x16\x03\x01\x02\0\x01\0\r\n\r\n").unwrap();
    drop(garbage);
    ping(&mut connect(port));
    server.call("GET", "/version", "").body.contains("2.12.0").then_some(()).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
}

#[test]
fn the_same_seed_hits_the_same_connections() {
    let upstream = echo();
    let pattern = |seed: &str| {
        let server = Server::start(&["-seed", seed]);
        let port = server.proxy("p", upstream);
        server.toxic("p", &json!({"type": "limit_data", "toxicity": 0.5, "attributes": {"bytes": 0}}));
        let hits: Vec<bool> = (0..24)
            .map(|i| {
                if i == 12 {
                    // An edit does not draw again, nor does another toxic.
                    server.ok(
                        "PATCH",
                        "/proxies/p/toxics/limit_data_downstream",
                        &json!({"attributes": {"bytes": 1}}),
                    );
                    server.toxic("p", &json!({"type": "noop"}));
                }
                let mut client = connect(port);
                let _ = client.write_all(b"ping");
                let mut back = [0; 4];
                client.read_exact(&mut back).is_err()
            })
            .collect();
        hits
    };
    let (one, again, other) = (pattern("1"), pattern("1"), pattern("2"));
    assert_eq!(one, again);
    assert_ne!(one, other);
    assert!(one.contains(&true) && one.contains(&false));
}
