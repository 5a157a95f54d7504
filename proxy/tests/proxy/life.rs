//! Targets come and go, orders are refused, undo records are honoured.

use crate::bench::*;
use inject::{Injector, Recovered};
use model::{Target, TargetKind, TargetRef};
use murphy_proxy::ProxyInjector;
use serde_json::json;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

fn target(name: &str, listen: &str, upstream: &str, protocol: &str) -> Target {
    serde_json::from_value(json!({
        "name": name, "proxy": {"listen": listen, "upstream": upstream, "protocol": protocol},
    }))
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_come_and_go() {
    let service = echo().await.to_string();
    let proxy = ProxyInjector::new();
    let a = target("a", "127.0.0.1:0", &service, "tcp");
    let state = proxy.open(&a).await.unwrap();
    assert!(state.up && !state.http && state.about.contains(&service), "{state:?}");
    let address = state.listen.clone().unwrap();
    assert_eq!(proxy.open(&a).await.unwrap().listen, state.listen, "opening it again changes nothing");
    let other = target("a", "127.0.0.1:0", &service, "http");
    assert!(proxy.open(&other).await.unwrap_err().to_string().contains("open already"));

    let clash = target("b", &address, &service, "tcp");
    let why = proxy.open(&clash).await.unwrap_err().to_string();
    assert!(why.contains("cannot listen on") && why.contains("in use"), "{why}");
    assert_eq!(proxy.states().len(), 1);

    let mut client = TcpStream::connect(&address).await.unwrap();
    ping(&mut client).await.unwrap();
    let reference = TargetRef::new(TargetKind::Proxy, "a");
    proxy.close(&reference).await;
    assert_eq!(drain(&mut client).await, (vec![], None));
    assert!(proxy.states().is_empty() && proxy.totals().is_empty());
    let free = TcpListener::bind(&address).await.expect("the port is free again");
    drop(free);
    proxy.close(&reference).await;
    proxy.open(&target("a", &address, &service, "tcp")).await.unwrap();
    ping(&mut TcpStream::connect(&address).await.unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_targets_are_refused_with_advice() {
    let proxy = ProxyInjector::new();
    for (listen, upstream, want) in [
        ("127.0.0.1", "127.0.0.1:1", "has no port"),
        ("127.0.0.1:0", "payments", "has no port"),
        ("127.0.0.1:0", "payments:http", "is not a port"),
        ("203.0.113.7:0", "127.0.0.1:1", "cannot listen"),
    ] {
        let why = proxy.open(&target("x", listen, upstream, "tcp")).await.unwrap_err().to_string();
        assert!(why.contains("proxy:x") && why.contains(want), "{why}");
    }
    assert!(proxy.states().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_cannot_be_carried_out_are_refused() {
    let bench = Bench::tcp(echo().await).await;
    for (fault, want) in [
        (json!({"inject": {"abort": {}}}), "protocol: http"),
        (json!({"inject": {"cut": {}}, "when": {"path": "/x"}}), "cannot match on path"),
        (
            json!({"inject": {"cut": {"when": "1s"}}, "ramp": {"when": ["1s", "2s"], "over": "1s"}}),
            "cannot be ramped",
        ),
        (json!({"inject": {"cpu": {}}}), "cannot be armed"),
    ] {
        let why = bench.proxy.plan(&bench.order(fault)).await.unwrap_err().to_string();
        assert!(why.contains(want), "{why}");
    }
    let plan = bench.proxy.plan(&bench.order(json!({"inject": {"cut": {}}}))).await.unwrap();
    assert_eq!((plan.acts.len(), plan.warnings.len()), (1, 1));
    assert!(plan.acts[0].ends_with_agent && plan.acts[0].injector == "proxy");
    assert_eq!(bench.totals().open, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undoing_is_idempotent_and_knows_strangers() {
    let bench = Bench::tcp(echo().await).await;
    let armed = bench.arm("latency delay=1s").await;
    let elsewhere = ProxyInjector::new();
    assert!(matches!(elsewhere.recover(&armed.acts[0]).await, Recovered::Gone(_)));
    assert_eq!(bench.proxy.recover(&armed.acts[0]).await, Recovered::Undone);
    assert!(matches!(bench.proxy.recover(&armed.acts[0]).await, Recovered::Gone(_)));
    let mut garbled = armed.acts[0].clone();
    garbled.data = json!("x");
    assert!(matches!(bench.proxy.recover(&garbled).await, Recovered::Failed(_)));
    // The record as it comes back from the log.
    let armed = bench.arm("latency delay=1s").await;
    let text = serde_json::to_string(&armed.acts[0]).unwrap();
    let read = serde_json::from_str(&text).unwrap();
    assert_eq!(bench.proxy.recover(&read).await, Recovered::Undone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_a_target_takes_its_faults_along() {
    let bench = Bench::tcp(echo().await).await;
    let mut client = bench.connect().await;
    let armed = bench.arm("latency delay=1h").await;
    tokio::io::AsyncWriteExt::write_all(&mut client, b"x").await.unwrap();
    // Accepted, that is; what only the kernel has taken is reset by it when the listener closes.
    until("it is held", || async { bench.totals().bytes_up == 1 }).await;
    let begun = std::time::Instant::now();
    bench.proxy.close(&TargetRef::new(TargetKind::Proxy, "it")).await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(matches!(bench.proxy.recover(&armed.acts[0]).await, Recovered::Gone(_)));
    assert_eq!(drain(&mut client).await.1, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_idle_connections_see_many_changes_and_stay_whole() {
    let bench = Bench::tcp(echo().await).await;
    let mut clients = Vec::new();
    for _ in 0..200 {
        clients.push(bench.connect().await);
    }
    for round in 0..100 {
        let armed = bench.arm(["latency delay=1h", "bandwidth rate=0B/s", "blackhole"][round % 3]).await;
        bench.disarm(&armed).await;
    }
    for client in &mut clients {
        ping(client).await.unwrap();
    }
    assert_eq!(bench.totals().open, 200);
    clients.clear();
    until("all are gone", || async { bench.totals().open == 0 }).await;
}
