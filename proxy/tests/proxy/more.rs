//! The faults on connections that came later, on real sockets.

use crate::bench::*;
use serde_json::json;
use std::io::ErrorKind;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MS: Duration = Duration::from_millis(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dial_can_be_late_and_disarming_dials_at_once() {
    let bench = Bench::tcp(echo().await).await;
    let mut open = bench.connect().await;
    ping(&mut open).await.unwrap();
    let armed = bench.arm("connect_delay delay=60ms").await;
    let mut took = Duration::MAX;
    for _ in 0..5 {
        took = took.min(ping(&mut open).await.unwrap());
    }
    assert!(took < 50 * MS, "an open one waits");
    let late = ping(&mut bench.connect().await).await.unwrap();
    assert!(late >= 59 * MS, "{late:?}");
    let evidence = bench.evidence(&armed);
    assert_eq!((evidence.considered, evidence.applied), (1, 1));
    assert!(evidence.measured["added_ms_mean"] >= 60.0);
    bench.disarm(&armed).await;

    let armed = bench.arm("connect_delay delay=1h").await;
    let mut client = bench.connect().await;
    until("it waits", || async { bench.evidence(&armed).applied == 1 }).await;
    bench.disarm(&armed).await;
    ping(&mut client).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_of_new_connections_is_refused_or_hangs() {
    let bench = Bench::tcp(echo().await).await;
    let mut open = bench.connect().await;
    ping(&mut open).await.unwrap();
    let armed = bench.arm_fault(json!({"share": {"nth": 2}, "inject": {"refuse": {}}})).await;
    let mut served = Vec::new();
    for _ in 0..4 {
        served.push(bench.try_once().await.is_ok());
    }
    assert_eq!(served, [true, false, true, false]);
    ping(&mut open).await.unwrap();
    assert_eq!(bench.evidence(&armed).measured["connections_refused"], 2.0);
    bench.disarm(&armed).await;

    let armed = bench.arm_fault(json!({"share": {"first": 1}, "inject": {"hang_connect": {}}})).await;
    let mut hung = bench.connect().await;
    until("it hangs", || async { bench.evidence(&armed).applied == 1 }).await;
    hung.write_all(b"x").await.unwrap();
    let mut byte = [0];
    assert!(tokio::time::timeout(30 * MS, hung.read_exact(&mut byte)).await.is_err(), "it does not hang");
    ping(&mut bench.connect().await).await.unwrap();
    bench.disarm(&armed).await;
    soon(hung.read_exact(&mut byte)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn corruption_changes_what_the_application_reads_alike_on_each_run() {
    let sent: Vec<u8> = vec![0; 300_000];
    let mut runs = Vec::new();
    for piece in [300_000, 999] {
        let bench = Bench::tcp(echo().await).await;
        let armed = bench.arm("corrupt per_mb=200 unit=bytes direction=down").await;
        let (mut read, mut write) = bench.connect().await.into_split();
        let data = sent.clone();
        let writer = tokio::spawn(async move {
            for part in data.chunks(piece) {
                write.write_all(part).await.unwrap();
            }
            write
        });
        let mut got = vec![1; sent.len()];
        soon(read.read_exact(&mut got)).await.unwrap();
        let hits = got.iter().filter(|b| **b != 0).count();
        assert!(hits > 20, "{hits}");
        assert_eq!(bench.evidence(&armed).measured["bytes_changed"], hits as f64);
        runs.push(got);
        drop(writer);
    }
    assert!(runs[0] == runs[1], "two runs with one seed differ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_is_exact_to_the_byte() {
    // It waits to be asked: a reset may otherwise come so soon that connecting itself fails.
    let service = serve(|mut stream| async move {
        let _ = stream.read_u8().await;
        while stream.write_all(&[7; 10_000]).await.is_ok() {}
    })
    .await;
    let bench = Bench::tcp(service).await;
    let armed = bench.arm("limit_data bytes=123457B direction=down").await;
    let mut client = bench.connect().await;
    client.write_all(b"?").await.unwrap();
    let (got, end) = drain(&mut client).await;
    assert_eq!((got.len(), end), (123_457, None));
    assert_eq!(bench.evidence(&armed).measured["connections_closed"], 1.0);

    // Asked first, so that the reset does not come while the client is still connecting.
    let bench = Bench::tcp(echo().await).await;
    bench.arm("limit_data bytes=1000B how=rst direction=down").await;
    let mut client = bench.connect().await;
    client.write_all(&[7; 3000]).await.unwrap();
    let (got, end) = drain(&mut client).await;
    assert_eq!((got.len(), end), (1000, Some(ErrorKind::ConnectionReset)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slices_leave_one_after_the_other() {
    let bench = Bench::tcp(echo().await).await;
    let armed = bench.arm("slice size=10B delay=4ms direction=down").await;
    let mut client = bench.connect().await;
    let begun = Instant::now();
    client.write_all(&[7; 100]).await.unwrap();
    let mut got = [0; 100];
    soon(client.read_exact(&mut got)).await.unwrap();
    assert!(begun.elapsed() >= 36 * MS, "{:?}", begun.elapsed());
    assert_eq!(bench.evidence(&armed).measured["slices"], 10.0);
    let harmless = bench.arm("slice size=0B").await;
    bench.disarm(&armed).await;
    ping(&mut client).await.unwrap();
    bench.disarm(&harmless).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_are_late_or_withheld() {
    let service = serve(|mut stream| async move {
        stream.write_all(b"bye").await.unwrap();
    })
    .await;
    let bench = Bench::tcp(service).await;
    let armed = bench.arm("slow_close delay=80ms direction=down").await;
    let begun = Instant::now();
    let mut client = bench.connect().await;
    assert_eq!(drain(&mut client).await, (b"bye".to_vec(), None));
    assert!(begun.elapsed() >= 80 * MS);
    bench.disarm(&armed).await;

    let armed = bench.arm("half_open").await;
    let mut client = bench.connect().await;
    let mut bye = [0; 3];
    soon(client.read_exact(&mut bye)).await.unwrap();
    until("the end is withheld", || async { bench.evidence(&armed).applied == 1 }).await;
    let mut byte = [0];
    assert!(tokio::time::timeout(30 * MS, client.read(&mut byte)).await.is_err());
    bench.disarm(&armed).await;
    assert_eq!(drain(&mut client).await, (vec![], None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_can_wait_for_the_first_bytes() {
    let bench = Bench::tcp(echo().await).await;
    let armed = bench.arm("cut when=0s on=data").await;
    let mut client = bench.connect().await;
    let mut byte = [0];
    assert!(tokio::time::timeout(30 * MS, client.read(&mut byte)).await.is_err(), "cut before any data");
    client.write_all(b"x").await.unwrap();
    assert_eq!(drain(&mut client).await.1, Some(ErrorKind::ConnectionReset));
    bench.disarm(&armed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blackhole_can_close_afterwards_what_it_held() {
    let bench = Bench::tcp(echo().await).await;
    let armed = bench.arm("blackhole afterwards=close").await;
    let (mut hit, mut idle) = (bench.connect().await, bench.connect().await);
    hit.write_all(b"lost").await.unwrap();
    until("it is swallowed", || async { bench.evidence(&armed).applied == 1 }).await;
    until("both are taken", || async { bench.evidence(&armed).considered == 2 }).await;
    bench.disarm(&armed).await;
    assert_eq!(drain(&mut hit).await, (vec![], None));
    ping(&mut idle).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_can_be_shared_by_all_connections() {
    let service =
        serve(|mut stream| async move { while stream.write_all(&[7; 10_000]).await.is_ok() {} }).await;
    let bench = Bench::tcp(service).await;
    bench.arm("bandwidth rate=400kB/s per=target direction=down").await;
    let begun = Instant::now();
    let read = |mut client: tokio::net::TcpStream| async move {
        let mut buffer = vec![0; 60_000];
        soon(client.read_exact(&mut buffer)).await.unwrap();
    };
    let clients = (bench.connect().await, bench.connect().await);
    tokio::join!(read(clients.0), read(clients.1));
    // 120 kB at 400 kB/s take 300 ms; the line may catch up on 20 ms.
    assert!(begun.elapsed() >= 275 * MS, "{:?}", begun.elapsed());
}
