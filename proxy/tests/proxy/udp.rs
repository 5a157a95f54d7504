//! Datagrams.

use crate::bench::*;
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;

const MS: Duration = Duration::from_millis(1);

/// A service that sends back what it gets.
async fn mirror() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        while let Ok((n, from)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&buffer[..n], from).await;
        }
    });
    address
}

async fn udp(idle: &str) -> Bench {
    let upstream = mirror().await.to_string();
    Bench::with(
        json!({"listen": "127.0.0.1:0", "upstream": upstream, "protocol": "udp", "idle_timeout": idle}),
    )
    .await
}

async fn client(bench: &Bench) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(bench.address).await.unwrap();
    socket
}

async fn ask(socket: &UdpSocket, text: &[u8]) -> Option<Vec<u8>> {
    socket.send(text).await.unwrap();
    hear(socket, Duration::from_secs(5)).await
}

async fn hear(socket: &UdpSocket, within: Duration) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 65_536];
    let n = tokio::time::timeout(within, socket.recv(&mut buffer)).await.ok()?.unwrap();
    buffer.truncate(n);
    Some(buffer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_client_has_its_answers_until_it_is_silent() {
    let bench = udp("300ms").await;
    let (a, b) = (client(&bench).await, client(&bench).await);
    assert_eq!(ask(&a, b"one").await.unwrap(), b"one");
    assert_eq!(ask(&b, &[7; 60_000]).await.unwrap(), [7; 60_000]);
    assert_eq!(ask(&a, b"").await.unwrap(), b"");
    let totals = bench.totals();
    assert_eq!((totals.accepted, totals.bytes_up, totals.bytes_down), (2, 60_003, 60_003));
    assert!(totals.latency.count() >= 2);
    until("both are forgotten", || async { bench.totals().open == 0 }).await;
    assert_eq!(ask(&a, b"again").await.unwrap(), b"again");
    assert_eq!((bench.totals().accepted, bench.totals().errors), (3, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datagrams_are_late_lost_and_doubled() {
    let bench = udp("60s").await;
    let a = client(&bench).await;
    assert!(ask(&a, b"x").await.is_some());
    let armed = bench.arm("latency delay=60ms direction=down").await;
    let begun = Instant::now();
    assert!(ask(&a, b"x").await.is_some());
    assert!(begun.elapsed() >= 60 * MS);
    bench.disarm(&armed).await;

    let armed = bench.arm("drop chance=100% direction=up").await;
    a.send(b"gone").await.unwrap();
    until("it is dropped", || async { bench.evidence(&armed).measured["datagrams_dropped"] == 1.0 }).await;
    bench.disarm(&armed).await;
    assert_eq!(ask(&a, b"here").await.unwrap(), b"here");

    let armed = bench.arm("duplicate chance=100% direction=down").await;
    assert_eq!(ask(&a, b"twice").await.unwrap(), b"twice");
    assert_eq!(hear(&a, Duration::from_secs(5)).await.unwrap(), b"twice");
    bench.disarm(&armed).await;

    let armed = bench.arm("blackhole").await;
    a.send(b"gone").await.unwrap();
    until("it is swallowed", || async { bench.evidence(&armed).applied == 1 }).await;
    bench.disarm(&armed).await;
    assert_eq!(ask(&a, b"here").await.unwrap(), b"here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datagrams_overtake_and_a_rate_holds_them_whole() {
    let bench = udp("60s").await;
    let a = client(&bench).await;
    let armed = bench.arm("reorder chance=100% hold=100ms direction=down").await;
    assert_eq!(ask(&a, b"held").await.unwrap(), b"held");
    assert_eq!(bench.evidence(&armed).measured["datagrams_reordered"], 1.0);
    bench.disarm(&armed).await;
    let armed = bench.arm("bandwidth rate=20kB/s direction=down").await;
    let begun = Instant::now();
    for _ in 0..3 {
        a.send(&[7; 1000]).await.unwrap();
    }
    for _ in 0..3 {
        assert_eq!(hear(&a, Duration::from_secs(5)).await.unwrap().len(), 1000);
    }
    assert!(begun.elapsed() >= 125 * MS, "{:?}", begun.elapsed());
    bench.disarm(&armed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_streams_are_refused_for_datagrams_and_the_other_way_round() {
    use inject::Injector;
    let bench = udp("60s").await;
    let why = bench.proxy.plan(&bench.order(json!({"inject": {"cut": {}}}))).await.unwrap_err().to_string();
    assert!(why.contains("protocol: tcp"), "{why}");
    let bench = Bench::tcp(echo().await).await;
    let order = bench.order(json!({"inject": {"drop": {"chance": "5%"}}}));
    let why = bench.proxy.plan(&order).await.unwrap_err().to_string();
    assert!(why.contains("protocol: udp"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_not_there_is_silence() {
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let bench =
        Bench::with(json!({"listen": "127.0.0.1:0", "upstream": nobody.to_string(), "protocol": "udp"}))
            .await;
    let a = client(&bench).await;
    a.send(b"x").await.unwrap();
    a.send(b"y").await.unwrap();
    until("both have come", || async { bench.totals().bytes_up == 2 }).await;
    assert!(hear(&a, 50 * MS).await.is_none());
    bench.close().await;
}
