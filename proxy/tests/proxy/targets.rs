//! Where proxies listen and lead to.

use crate::bench::*;
use inject::Injector;
use model::Target;
use murphy_proxy::ProxyInjector;
use serde_json::json;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

const MS: Duration = Duration::from_millis(1);

/// A service that says its name to everyone who comes.
async fn named(name: &'static str) -> SocketAddr {
    serve(move |mut stream| async move {
        let _ = stream.write_all(name.as_bytes()).await;
        let mut byte = [0];
        while matches!(stream.read(&mut byte).await, Ok(n) if n > 0) {}
    })
    .await
}

/// Who answers.
async fn who(stream: &mut TcpStream) -> String {
    let mut name = [0];
    soon(stream.read_exact(&mut name)).await.unwrap();
    String::from_utf8_lossy(&name).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_means_refused_and_open_connections_go_on() {
    let bench = Bench::tcp(echo().await).await;
    let mut open = bench.connect().await;
    ping(&mut open).await.unwrap();
    for _ in 0..3 {
        let armed = bench.arm("refuse").await;
        for _ in 0..3 {
            let refused = TcpStream::connect(bench.address).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        }
        // The port is not lost to somebody else meanwhile.
        assert!(TcpListener::bind(bench.address).await.is_err());
        ping(&mut open).await.unwrap();
        assert_eq!(bench.evidence(&armed).measured["listeners_shut"], 1.0);
        assert_eq!(bench.evidence(&armed).applied, 1);
        bench.disarm(&armed).await;
        ping(&mut bench.connect().await).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_means_that_nobody_answers_and_ends_with_the_fault() {
    let bench = Bench::tcp(echo().await).await;
    let mut open = bench.connect().await;
    ping(&mut open).await.unwrap();
    let accepted = bench.totals().accepted;
    let armed = bench.arm("hang_connect").await;
    let address = bench.address;
    let hung = tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        ping(&mut stream).await.unwrap();
    });
    tokio::time::sleep(100 * MS).await;
    assert!(!hung.is_finished());
    ping(&mut open).await.unwrap();
    bench.disarm(&armed).await;
    // The client's kernel knocks again within a second or so.
    soon(hung).await.unwrap();
    ping(&mut bench.connect().await).await.unwrap();
    until("ours were not served", || async { bench.totals().accepted == accepted + 2 }).await;
    let refused = bench.arm("refuse").await;
    let hanging = bench.arm("hang_connect").await;
    assert!(TcpStream::connect(bench.address).await.is_err(), "refusing comes first");
    bench.disarm(&refused).await;
    bench.disarm(&hanging).await;
    ping(&mut bench.connect().await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unix_sockets_are_listened_on_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.sock");
    let listen = format!("unix:{}", path.display());
    let bench = Bench::with(json!({"listen": listen, "upstream": echo().await.to_string()})).await;
    assert_eq!(bench.proxy.states()[0].listen.as_deref(), Some(&*listen));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    soon(stream.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"hello");
    let armed = bench.arm("refuse").await;
    let mut refused = UnixStream::connect(&path).await.unwrap();
    let mut byte = [0];
    assert_eq!(soon(refused.read(&mut byte)).await.unwrap_or(0), 0);
    assert_eq!(bench.evidence(&armed).measured["connections_refused"], 1.0);
    bench.close().await;
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_replicas_is_slow() {
    let services = [named("a").await, named("b").await, named("c").await].map(|s| s.to_string());
    let bench = Bench::with(json!({"listen": "127.0.0.1:0", "upstreams": services})).await;
    let armed = bench
        .arm_fault(json!({"when": {"member": services[1]}, "inject": {"latency": {"delay": "150ms", "direction": "down"}}}))
        .await;
    let mut took: HashMap<String, Duration> = HashMap::new();
    for _ in 0..9 {
        let begun = std::time::Instant::now();
        let name = who(&mut bench.connect().await).await;
        let best = took.entry(name).or_insert(Duration::MAX);
        *best = begun.elapsed().min(*best);
    }
    assert!(took["b"] >= 150 * MS && took["a"] < 140 * MS && took["c"] < 140 * MS, "{took:?}");
    let evidence = bench.evidence(&armed);
    assert_eq!((evidence.considered, evidence.applied), (3, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sticky_clients_stay_and_the_least_busy_is_next() {
    let services = [named("a").await, named("b").await, named("c").await].map(|s| s.to_string());
    let bench =
        Bench::with(json!({"listen": "127.0.0.1:0", "upstreams": services, "balance": "sticky"})).await;
    let first = who(&mut bench.connect().await).await;
    for _ in 0..5 {
        assert_eq!(who(&mut bench.connect().await).await, first);
    }
    let bench =
        Bench::with(json!({"listen": "127.0.0.1:0", "upstreams": services, "balance": "least_connections"}))
            .await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = bench.connect().await;
        held.push((who(&mut stream).await, stream));
    }
    let gone = held.remove(1).0;
    until("it is closed", || async { bench.totals().open == 2 }).await;
    assert_eq!(who(&mut bench.connect().await).await, gone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_of_ports_lead_to_ranges_of_ports() {
    // Two free ports next to each other, for the services and for us.
    let pair = || async {
        loop {
            let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = first.local_addr().unwrap().port();
            if port < u16::MAX
                && let Ok(second) = TcpListener::bind(("127.0.0.1", port + 1)).await
            {
                return (port, first, second);
            }
        }
    };
    let (upstream, first, second) = pair().await;
    for (listener, name) in [(first, b"a"), (second, b"b")] {
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(name).await.unwrap();
            }
        });
    }
    for _ in 0..20 {
        let (port, first, second) = pair().await;
        drop((first, second));
        let target: Target = serde_json::from_value(json!({"name": "r", "proxy": {
            "listen": format!("127.0.0.1:{port}-{}", port + 1),
            "upstream": format!("127.0.0.1:{upstream}-{}", upstream + 1),
        }}))
        .unwrap();
        let proxy = ProxyInjector::new();
        // Someone else may have taken one of them meanwhile.
        if proxy.open(&target).await.is_err() {
            continue;
        }
        for (port, name) in [(port, "a"), (port + 1, "b")] {
            assert_eq!(who(&mut TcpStream::connect(("127.0.0.1", port)).await.unwrap()).await, name);
        }
        return;
    }
    panic!("no two ports were free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proxy_protocol_says_who_the_client_is() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let service = {
        let heard = heard.clone();
        serve(move |mut stream| {
            let heard = heard.clone();
            async move {
                let mut all = Vec::new();
                let _ = stream.read_to_end(&mut all).await;
                heard.lock().unwrap().push(all);
            }
        })
        .await
    };
    let bench = Bench::with(json!({
        "listen": "127.0.0.1:0", "upstream": service.to_string(), "proxy_protocol": {"in": true, "out": "v1"},
    }))
    .await;
    bench.arm_fault(json!({"when": {"client": "10.9.0.0/16"}, "inject": {"cut": {}}})).await;
    let mut stream = bench.connect().await;
    stream.write_all(b"PROXY TCP4 10.1.2.3 10.0.0.1 4711 80\r\nhello").await.unwrap();
    stream.shutdown().await.unwrap();
    until("it has come", || async { !heard.lock().unwrap().is_empty() }).await;
    let want = format!("PROXY TCP4 10.1.2.3 127.0.0.1 4711 {}\r\nhello", bench.address.port());
    assert_eq!(String::from_utf8_lossy(&heard.lock().unwrap()[0]), want);

    let mut stream = bench.connect().await;
    stream.write_all(b"PROXY TCP4 10.9.2.3 10.0.0.1 4711 80\r\nhello").await.unwrap();
    assert_eq!(drain(&mut stream).await.1, Some(ErrorKind::ConnectionReset), "the client is not matched");
    let mut stream = bench.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(drain(&mut stream).await.1, Some(ErrorKind::ConnectionReset), "served without a header");

    let bench = Bench::with(json!({
        "listen": "127.0.0.1:0", "upstream": service.to_string(), "proxy_protocol": {"out": "v2"},
    }))
    .await;
    heard.lock().unwrap().clear();
    let mut stream = bench.connect().await;
    stream.write_all(b"x").await.unwrap();
    let port = stream.local_addr().unwrap().port();
    stream.shutdown().await.unwrap();
    until("it has come", || async { !heard.lock().unwrap().is_empty() }).await;
    let got = heard.lock().unwrap()[0].clone();
    assert!(got.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c") && got.ends_with(b"x"), "{got:?}");
    assert_eq!(got[24..26], port.to_be_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_not_redirected_goes_nowhere() {
    let bench = Bench::with(json!({"listen": "127.0.0.1:0", "upstream": "original"})).await;
    let end = match TcpStream::connect(bench.address).await {
        Ok(mut client) => drain(&mut client).await.1,
        Err(e) => Some(e.kind()),
    };
    assert_eq!(end, Some(ErrorKind::ConnectionReset));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_go_together_is_refused() {
    let proxy = ProxyInjector::new();
    for (spec, want) in [
        (json!({"listen": "unix:/tmp/x.sock", "upstream": "127.0.0.1:1", "protocol": "udp"}), "unix"),
        (json!({"listen": "127.0.0.1:0", "upstream": "original", "protocol": "udp"}), "datagrams"),
        (json!({"listen": "127.0.0.1:0", "upstream": "127.0.0.1:1-3"}), "3 ports"),
        (
            json!({"listen": "127.0.0.1:0", "upstream": "127.0.0.1:1", "protocol": "http", "proxy_protocol": {"out": "v1"}}),
            "share",
        ),
        (json!({"listen": "unix:/nowhere/at/all.sock", "upstream": "127.0.0.1:1"}), "directory"),
    ] {
        let target: Target = serde_json::from_value(json!({"name": "x", "proxy": spec})).unwrap();
        let why = proxy.open(&target).await.unwrap_err().to_string();
        assert!(why.contains(want), "{why}");
    }
}
