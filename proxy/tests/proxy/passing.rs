//! What passes when nothing is armed, and what the ends of connections become.

use crate::bench::*;
use proptest::prelude::*;
use std::io::ErrorKind;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn pattern(len: usize, salt: u8) -> Vec<u8> {
    (0..len).map(|i| (i as u8).wrapping_mul(31).wrapping_add((i >> 8) as u8).wrapping_add(salt)).collect()
}

/// Writes in pieces of these sizes, then ends.
async fn write_in(stream: &mut (impl AsyncWriteExt + Unpin), data: &[u8], sizes: &[usize]) {
    let mut rest = data;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        stream.write_all(piece).await.unwrap();
        rest = after;
    }
    stream.shutdown().await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes in are bytes out in both directions at once, whatever the pieces, and each direction ends by itself. The
    /// same with faults that may only change when things come.
    #[test]
    fn bytes_in_are_bytes_out(
        up in 0_usize..400_000,
        down in 0_usize..400_000,
        sizes in proptest::collection::vec(1_usize..70_000, 1..6),
        faults in proptest::sample::select(vec![
            vec![],
            vec!["latency delay=2ms jitter=3ms"],
            vec!["bandwidth rate=20MB/s"],
            vec!["latency delay=1ms direction=up", "bandwidth rate=30MB/s direction=down", "cut when=1h"],
        ]),
        half_close_first in any::<bool>(),
    ) {
        runtime().block_on(async {
            let (sizes2, want_up, want_down) = (sizes.clone(), pattern(up, 1), pattern(down, 2));
            let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
            let down_data = want_down.clone();
            let service = serve(move |stream| {
                let (tell, data, sizes) = (tell.clone(), down_data.clone(), sizes2.clone());
                async move {
                    let (mut read, mut write) = stream.into_split();
                    let mut got = Vec::new();
                    if half_close_first {
                        // Answers only once the client has ended: without half-close it never could.
                        read.read_to_end(&mut got).await.unwrap();
                        write_in(&mut write, &data, &sizes).await;
                    } else {
                        let reading = read.read_to_end(&mut got);
                        let (read, ()) = tokio::join!(reading, write_in(&mut write, &data, &sizes));
                        read.unwrap();
                    }
                    tell.send(got).unwrap();
                }
            })
            .await;
            let bench = Bench::tcp(service).await;
            for fault in &faults {
                bench.arm(fault).await;
            }
            let (mut read, mut write) = bench.connect().await.into_split();
            let mut got = Vec::new();
            let reading = read.read_to_end(&mut got);
            soon(async { tokio::join!(reading, write_in(&mut write, &want_up, &sizes)).0.unwrap() }).await;
            let got_up = soon(told.recv()).await.unwrap();
            assert!(got == want_down, "down: {} of {}", got.len(), want_down.len());
            assert!(got_up == want_up, "up: {} of {}", got_up.len(), want_up.len());
            until("it is closed", || async { bench.totals().open == 0 }).await;
            let totals = bench.totals();
            assert_eq!((totals.bytes_up, totals.bytes_down), (up as u64, down as u64));
            assert_eq!((totals.requests, totals.errors), (1, 0));
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arming_and_disarming_under_traffic_loses_no_byte() {
    let bench = Bench::tcp(echo().await).await;
    let (mut read, mut write) = bench.connect().await.into_split();
    const SIZE: usize = 24 * 1024 * 1024;
    let sender = tokio::spawn(async move {
        let data = pattern(SIZE, 5);
        write_in(&mut write, &data, &[1, 70_000, 333, 9000]).await;
    });
    let reader = tokio::spawn(async move {
        let mut got = Vec::new();
        read.read_to_end(&mut got).await.unwrap();
        got
    });
    let mut round = 0;
    while !reader.is_finished() && round < 2000 {
        let fault =
            ["latency delay=3ms jitter=3ms", "bandwidth rate=50MB/s", "latency delay=1ms direction=up"];
        let first = bench.arm(fault[round % 3]).await;
        let second = bench.arm(fault[(round + 1) % 3]).await;
        tokio::time::sleep(Duration::from_micros(300 * (round as u64 % 7))).await;
        bench.disarm(&first).await;
        bench.disarm(&second).await;
        round += 1;
    }
    soon(sender).await.unwrap();
    let got = soon(reader).await.unwrap();
    assert!(got == pattern(SIZE, 5), "{} of {SIZE} after {round} rounds", got.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_not_there_means_a_reset_and_an_error() {
    let bench = Bench::tcp(nobody().await).await;
    // The reset may come while the client is still connecting.
    let end = match TcpStream::connect(bench.address).await {
        Ok(mut client) => drain(&mut client).await.1,
        Err(e) => Some(e.kind()),
    };
    assert_eq!(end, Some(ErrorKind::ConnectionReset));
    until("it is counted", || async { bench.totals().errors == 1 }).await;
    assert_eq!(bench.totals().untouched.errors, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_is_passed_on_after_what_was_sent_before_it() {
    for fault in [None, Some("latency delay=50ms direction=down"), Some("bandwidth rate=100kB/s")] {
        let service = serve(|mut stream| async move {
            let mut question = [0; 3];
            stream.read_exact(&mut question).await.unwrap();
            stream.write_all(b"last words").await.unwrap();
            // Long enough for the words to have left this side.
            tokio::time::sleep(Duration::from_millis(20)).await;
            reset(&stream);
        })
        .await;
        let bench = Bench::tcp(service).await;
        if let Some(fault) = fault {
            bench.arm(fault).await;
        }
        let mut client = bench.connect().await;
        client.write_all(b"any").await.unwrap();
        assert_eq!(
            drain(&mut client).await,
            (b"last words".to_vec(), Some(ErrorKind::ConnectionReset)),
            "{fault:?}"
        );
        until("it is counted", || async { bench.totals().errors == 1 }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_resets_resets_the_service() {
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
    client.write_all(b"bye").await.unwrap();
    until("the bytes have passed", || async { bench.totals().bytes_up == 3 }).await;
    reset(&client);
    drop(client);
    assert_eq!(soon(told.recv()).await, Some((b"bye".to_vec(), Some(ErrorKind::ConnectionReset))));
    until("it is counted", || async { bench.totals().requests == 1 }).await;
    assert_eq!(bench.totals().errors, 0);
}

/// Has it end with a reset when it is dropped.
fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_looked_up_and_unix_sockets_are_dialled() {
    let service = echo().await;
    let bench = Bench::open(&format!("localhost:{}", service.port()), "tcp").await;
    ping(&mut bench.connect().await).await.unwrap();

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut byte = [0];
            while stream.read_exact(&mut byte).await.is_ok() {
                stream.write_all(&byte).await.unwrap();
            }
        }
    });
    let bench = Bench::open(&format!("unix:{}", path.display()), "tcp").await;
    ping(&mut bench.connect().await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepting_does_not_wait_for_a_dial() {
    // A full backlog: dials hang.
    let stuck = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    stuck.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    stuck.listen(0).unwrap();
    let address = stuck.local_addr().unwrap().as_socket().unwrap();
    let bench = Bench::tcp(address).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(bench.connect().await);
    }
    until("all are accepted", || async { bench.totals().accepted == 8 }).await;
    // Connections that are still being dialled can be cut, too.
    bench.arm("cut").await;
    for client in &mut clients {
        assert_eq!(drain(client).await.1, Some(ErrorKind::ConnectionReset));
    }
}
