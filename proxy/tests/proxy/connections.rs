//! The view of open connections, and what can be done to one by hand.

use crate::bench::*;
use model::{ConnectionState, ConnectionView};
use murphy_proxy::{Close, HOLD_LEASE};
use std::io::ErrorKind;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MS: Duration = Duration::from_millis(1);

fn only(bench: &Bench) -> ConnectionView {
    let mut all = bench.proxy.connections();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_seen_with_its_bytes_state_and_faults() {
    let bench = Bench::tcp(echo().await).await;
    assert!(bench.proxy.connections().is_empty());
    let armed = bench.arm("connect_delay delay=1h").await;
    let mut client = bench.connect().await;
    until("it is there", || async { bench.proxy.connections().len() == 1 }).await;
    let view = only(&bench);
    assert_eq!(view.state, ConnectionState::Dialling);
    assert_eq!(view.client.as_deref(), Some(&*client.local_addr().unwrap().to_string()));
    assert_eq!(view.faults[0].fault, "connect_delay");
    bench.disarm(&armed).await;
    ping(&mut client).await.unwrap();
    let armed = bench.arm("latency delay=1ms").await;
    ping(&mut client).await.unwrap();
    let view = only(&bench);
    assert_eq!((view.bytes_up, view.bytes_down, view.state), (2, 2, ConnectionState::Open));
    assert!(view.faults.len() == 1 && view.faults[0].id == armed.order.id && view.faults[0].applied);
    assert!(view.upstream.is_some());
    bench.disarm(&armed).await;
    bench.arm("half_open direction=down").await;
    client.shutdown().await.unwrap();
    until("it is half closed", || async { only(&bench).state == ConnectionState::HalfClosed }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_can_be_held_and_released_or_waits_for_its_lease() {
    for bench in [Bench::tcp(echo().await).await, Bench::http(crate::http::service().await.0).await] {
        let (ask, answer): (&[u8], _) = match bench.proxy_is_http() {
            true => (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", 12),
            false => (b"question-and", 12),
        };
        let mut client = bench.connect().await;
        let exchange = async |client: &mut tokio::net::TcpStream, within: Duration| {
            let mut buffer = vec![0; answer];
            tokio::time::timeout(within, client.read_exact(&mut buffer)).await.map(|r| r.unwrap())
        };
        client.write_all(ask).await.unwrap();
        exchange(&mut client, PATIENCE).await.unwrap();
        rest(&mut client).await;
        let id = only(&bench).id;
        assert!(bench.proxy.hold_connection(id, HOLD_LEASE));
        assert_eq!(only(&bench).state, ConnectionState::Held);
        client.write_all(ask).await.unwrap();
        assert!(exchange(&mut client, 60 * MS).await.is_err(), "it is not held");
        assert!(bench.proxy.release_connection(id) && !bench.proxy.release_connection(id));
        exchange(&mut client, PATIENCE).await.unwrap();
        rest(&mut client).await;

        let begun = Instant::now();
        assert!(bench.proxy.hold_connection(id, 120 * MS));
        client.write_all(ask).await.unwrap();
        exchange(&mut client, PATIENCE).await.unwrap();
        assert!(begun.elapsed() >= 119 * MS);
        assert_eq!(only(&bench).state, ConnectionState::Open);
        assert!(!bench.proxy.hold_connection(id + 1_000_000, HOLD_LEASE));
    }
}

/// Reads whatever else an answer has.
async fn rest(client: &mut tokio::net::TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(Ok(n)) = tokio::time::timeout(30 * MS, client.read(&mut buffer)).await {
        assert!(n > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_can_be_closed_also_while_it_is_held() {
    let bench = Bench::tcp(echo().await).await;
    for (how, want) in [(Close::Fin, None), (Close::Rst, Some(ErrorKind::ConnectionReset))] {
        let mut client = bench.connect().await;
        ping(&mut client).await.unwrap();
        let id = only(&bench).id;
        bench.proxy.hold_connection(id, HOLD_LEASE);
        assert!(bench.proxy.close_connection(id, how));
        assert_eq!(drain(&mut client).await, (vec![], want));
        until("it is gone", || async { bench.proxy.connections().is_empty() }).await;
        assert!(!bench.proxy.close_connection(id, how));
    }
}
