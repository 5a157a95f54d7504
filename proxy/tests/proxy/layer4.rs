//! Faults on connections.

use crate::bench::*;
use std::io::ErrorKind;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MS: Duration = Duration::from_millis(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latency_acts_on_open_connections_and_is_what_was_asked_for() {
    let bench = Bench::tcp(echo().await).await;
    let mut client = bench.connect().await;
    ping(&mut client).await.unwrap();
    let armed = bench.arm("latency delay=20ms direction=down").await;
    let client = tokio::sync::Mutex::new(client);
    let median = best_median(11, 22 * MS, || async {
        let took = ping(&mut *client.lock().await).await.unwrap();
        assert!(took >= 20 * MS, "{took:?} is too early");
        took
    })
    .await;
    assert!(median < 24 * MS, "the median is {median:?}");
    let evidence = bench.evidence(&armed);
    assert_eq!((evidence.considered, evidence.applied), (1, 1));
    assert!(evidence.measured["added_ms_mean"] >= 20.0);
    let totals = bench.totals();
    assert!(totals.touched.latency.quantile_ms(0.5).unwrap() >= 19.5);
    assert!(totals.added.quantile_ms(0.5).unwrap() >= 19.5);
    assert_eq!(totals.untouched.latency.count(), 1);
    bench.disarm(&armed).await;
    assert!(best_of(5, || async { ping(&mut bench.connect().await).await.unwrap() }).await < 15 * MS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_directions_add_up() {
    let bench = Bench::tcp(echo().await).await;
    bench.arm("latency delay=15ms").await;
    bench.arm("latency delay=10ms direction=up").await;
    let mut client = bench.connect().await;
    assert!(ping(&mut client).await.unwrap() >= 40 * MS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disarming_a_long_latency_releases_at_once_what_it_holds() {
    let bench = Bench::tcp(echo().await).await;
    let mut client = bench.connect().await;
    let armed = bench.arm("latency delay=1h").await;
    client.write_all(b"held").await.unwrap();
    let mut buffer = [0; 4];
    let early = tokio::time::timeout(30 * MS, client.read_exact(&mut buffer)).await;
    assert!(early.is_err(), "nothing is held");
    let begun = Instant::now();
    bench.disarm(&armed).await;
    soon(client.read_exact(&mut buffer)).await.unwrap();
    assert_eq!(&buffer, b"held");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_messages_are_each_late_and_not_one_after_another() {
    let bench = Bench::tcp(echo().await).await;
    bench.arm("latency delay=100ms direction=down").await;
    let mut late = Vec::new();
    for _ in 0..5 {
        let (mut read, mut write) = bench.connect().await.into_split();
        let begun = Instant::now();
        let sender = tokio::spawn(async move {
            let mut sent = Vec::new();
            for _ in 0..50 {
                sent.push(begun.elapsed());
                write.write_all(b"m").await.unwrap();
                tokio::time::sleep(5 * MS).await;
            }
            (sent, write)
        });
        let mut came = Vec::new();
        let mut byte = [0; 64];
        while came.len() < 50 {
            let n = soon(read.read(&mut byte)).await.unwrap();
            came.extend(std::iter::repeat_n(begun.elapsed(), n));
        }
        let (sent, _write) = sender.await.unwrap();
        late = came.iter().zip(&sent).map(|(came, sent)| came.saturating_sub(*sent)).collect();
        late.sort();
        assert!(late[0] >= 100 * MS, "{:?} is too early", late[0]);
        if late[25] < 115 * MS {
            return;
        }
    }
    panic!("the median message was {:?} late", late[25]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_resets_connections_that_were_open_before() {
    let bench = Bench::tcp(echo().await).await;
    let mut idle = bench.connect().await;
    let mut used = bench.connect().await;
    ping(&mut used).await.unwrap();
    until("both are open", || async { bench.totals().open == 2 }).await;
    let armed = bench.arm("cut").await;
    for client in [&mut idle, &mut used] {
        assert_eq!(drain(client).await, (vec![], Some(ErrorKind::ConnectionReset)));
    }
    until("both are gone", || async { bench.totals().open == 0 }).await;
    let evidence = bench.evidence(&armed);
    assert_eq!((evidence.considered, evidence.applied), (2, 2));
    assert_eq!(evidence.measured["connections_cut"], 2.0);
    let totals = bench.totals();
    assert_eq!((totals.requests, totals.errors, totals.touched.errors), (2, 2, 2));
    bench.disarm(&armed).await;
    ping(&mut bench.connect().await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_comes_quickly() {
    let bench = Bench::tcp(echo().await).await;
    let took = best_of(5, || async {
        let mut client = bench.connect().await;
        ping(&mut client).await.unwrap();
        let begun = Instant::now();
        let armed = bench.arm("cut").await;
        drain(&mut client).await;
        let took = begun.elapsed();
        bench.disarm(&armed).await;
        took
    })
    .await;
    assert!(took < 50 * MS, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_after_bytes_lets_those_pass() {
    let bench = Bench::tcp(echo().await).await;
    let mut client = bench.connect().await;
    bench.arm("cut when=1000B how=rst").await;
    client.write_all(&[7; 600]).await.unwrap();
    let (got, end) = drain(&mut client).await;
    assert_eq!((got.len(), end), (400, Some(ErrorKind::ConnectionReset)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fin_is_an_orderly_end_for_both_sides() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let service = serve(move |mut stream| {
        let tell = tell.clone();
        async move {
            let _ = tell.send(drain(&mut stream).await);
        }
    })
    .await;
    let bench = Bench::tcp(service).await;
    let mut client = bench.connect().await;
    client.write_all(b"hello").await.unwrap();
    until("the bytes have passed", || async { bench.totals().bytes_up == 5 }).await;
    bench.arm("cut how=fin").await;
    assert_eq!(drain(&mut client).await, (vec![], None));
    assert_eq!(soon(told.recv()).await, Some((b"hello".to_vec(), None)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_after_a_time_comes_while_data_flows() {
    let bench = Bench::tcp(echo().await).await;
    let mut client = bench.connect().await;
    let begun = Instant::now();
    bench.arm("cut when=80ms").await;
    let error = loop {
        if let Err(error) = ping(&mut client).await {
            break error;
        }
    };
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    assert!(begun.elapsed() >= 80 * MS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_comes_also_while_the_client_reads_nothing() {
    let service =
        serve(|mut stream| async move { while stream.write_all(&[0; 65_536]).await.is_ok() {} }).await;
    let bench = Bench::tcp(service).await;
    let mut client = bench.connect().await;
    let mut before = 0;
    until("both sides are stuck", || {
        let now = bench.totals().bytes_down;
        let stuck = now > 0 && now == std::mem::replace(&mut before, now);
        async move {
            tokio::time::sleep(20 * MS).await;
            stuck
        }
    })
    .await;
    bench.arm("cut when=10ms").await;
    until("it is cut", || async { bench.totals().open == 0 }).await;
    assert_eq!(drain(&mut client).await.1, Some(ErrorKind::ConnectionReset));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blackhole_swallows_and_what_comes_afterwards_passes() {
    let bench = Bench::tcp(echo().await).await;
    let mut client = bench.connect().await;
    let armed = bench.arm("blackhole direction=up").await;
    client.write_all(b"lost").await.unwrap();
    until("it is swallowed", || async { bench.evidence(&armed).measured["bytes_swallowed"] == 4.0 }).await;
    bench.disarm(&armed).await;
    client.write_all(b"found").await.unwrap();
    let mut buffer = [0; 5];
    soon(client.read_exact(&mut buffer)).await.unwrap();
    assert_eq!(&buffer, b"found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blackhole_closes_on_time_though_data_trickles() {
    let bench = Bench::tcp(echo().await).await;
    let client = bench.connect().await;
    let (mut read, mut write) = client.into_split();
    bench.arm("blackhole close_after=100ms").await;
    let begun = Instant::now();
    let trickle = tokio::spawn(async move {
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(5 * MS).await;
        }
    });
    let mut byte = [0];
    let end = soon(read.read(&mut byte)).await;
    assert!(matches!(end, Ok(0)), "{end:?}");
    assert!(begun.elapsed() >= 99 * MS && begun.elapsed() < PATIENCE / 2);
    soon(trickle).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bandwidth_is_exact_enough() {
    let bench = Bench::tcp(echo().await).await;
    bench.arm("bandwidth rate=1MB/s direction=down").await;
    let took = best_of(5, || async {
        let mut client = bench.connect().await;
        let begun = Instant::now();
        client.write_all(&vec![1; 200_000]).await.unwrap();
        client.shutdown().await.unwrap();
        let (got, end) = drain(&mut client).await;
        assert_eq!((got.len(), end), (200_000, None));
        let took = begun.elapsed();
        assert!(took >= 199 * MS, "{took:?} is too fast");
        took
    })
    .await;
    assert!(took < 260 * MS, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_upload_feels_back_pressure_and_goes_on_afterwards() {
    let bench = Bench::tcp(echo().await).await;
    let armed = bench.arm("bandwidth rate=0B/s direction=up").await;
    let (mut read, mut write) = bench.connect().await.into_split();
    const SIZE: usize = 32 * 1024 * 1024;
    let sender = tokio::spawn(async move {
        write.write_all(&vec![9; SIZE]).await.unwrap();
        write.shutdown().await.unwrap();
        write
    });
    tokio::time::sleep(200 * MS).await;
    assert!(!sender.is_finished());
    assert!(bench.totals().bytes_up < 1024 * 1024, "the proxy holds {}", bench.totals().bytes_up);
    bench.disarm(&armed).await;
    let mut got = Vec::new();
    soon(read.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got.len(), SIZE);
    soon(sender).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_of_connections_is_the_same_on_every_run() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let bench = Bench::tcp(echo().await).await;
        bench.arm_fault(serde_json::json!({"share": {"percent": "40%"}, "inject": {"cut": {}}})).await;
        let mut hit = Vec::new();
        for _ in 0..60 {
            hit.push(bench.try_once().await.is_err());
        }
        runs.push(hit);
    }
    assert_eq!(runs[0], runs[1]);
    let share = model::Share::Percent("40%".parse().unwrap());
    let want: Vec<bool> = (0..60).map(|n| share.takes(7, n)).collect();
    assert_eq!(runs[0], want);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_third_and_the_first_two() {
    for (share, want) in [
        (serde_json::json!({"nth": 3}), [false, false, true, false, false, true]),
        (serde_json::json!({"first": 2}), [true, true, false, false, false, false]),
    ] {
        let bench = Bench::tcp(echo().await).await;
        bench.arm_fault(serde_json::json!({"share": share, "inject": {"cut": {}}})).await;
        let mut hit = Vec::new();
        for _ in 0..6 {
            hit.push(bench.try_once().await.is_err());
        }
        assert_eq!(hit, want);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_can_be_told_apart() {
    let bench = Bench::tcp(echo().await).await;
    let spared = serde_json::json!({"when": {"not": {"client": "127.0.0.0/8"}}, "inject": {"cut": {}}});
    let armed = bench.arm_fault(spared).await;
    ping(&mut bench.connect().await).await.unwrap();
    assert_eq!(bench.evidence(&armed).considered, 0);
    bench.arm_fault(serde_json::json!({"when": {"client": "127.0.0.1"}, "inject": {"cut": {}}})).await;
    assert!(bench.try_once().await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ramped_share_takes_connections_that_are_open() {
    let bench = Bench::tcp(echo().await).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = bench.connect().await;
        ping(&mut client).await.unwrap();
        clients.push(client);
    }
    let armed = bench
        .arm_fault(serde_json::json!({
            "inject": {"cut": {}},
            "ramp": {"percent": ["0%", "100%"], "over": "300ms"},
        }))
        .await;
    let begun = Instant::now();
    for client in &mut clients {
        assert_eq!(drain(client).await.1, Some(ErrorKind::ConnectionReset));
    }
    assert!(begun.elapsed() >= 150 * MS, "all at once: {:?}", begun.elapsed());
    assert_eq!(bench.evidence(&armed).applied, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ramped_latency_grows() {
    let bench = Bench::tcp(echo().await).await;
    let mut client = bench.connect().await;
    bench
        .arm_fault(serde_json::json!({
            "inject": {"latency": {"delay": "0ms", "direction": "up"}},
            "ramp": {"delay": ["0ms", "60ms"], "over": "300ms"},
        }))
        .await;
    tokio::time::sleep(310 * MS).await;
    let late = ping(&mut client).await.unwrap();
    assert!(late >= 60 * MS, "{late:?}");
    assert!(best_of(5, || ping_on(&bench)).await < 90 * MS);
}

async fn ping_on(bench: &Bench) -> Duration {
    ping(&mut bench.connect().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_adjusted_counts_at_once() {
    let bench = Bench::tcp(echo().await).await;
    let mut client = bench.connect().await;
    let armed = bench.arm("latency delay=1h direction=down").await;
    client.write_all(b"x").await.unwrap();
    let mut changed = armed.order.fault.clone();
    changed.inject = injection("latency delay=30ms direction=down");
    use inject::Injector;
    bench.proxy.adjust(&armed, &changed).await.unwrap();
    let mut byte = [0];
    soon(client.read_exact(&mut byte)).await.unwrap();
    assert!(ping(&mut client).await.unwrap() >= 30 * MS);
    bench.disarm(&armed).await;
    let why = bench.proxy.adjust(&armed, &changed).await.unwrap_err();
    assert!(why.to_string().contains("not on any more"), "{why}");
    assert!(best_of(5, || ping_on(&bench)).await < 25 * MS, "adjusting brought it back");
}
