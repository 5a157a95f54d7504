//! Bytes as they are on the wire: what passes unchanged, and what is refused because two could understand it differently.

use crate::bench::*;
use proptest::prelude::*;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A service that notes everything it gets, and answers each connection with these bytes once it got a head; then it
/// ends, unless it is to stay.
pub async fn script(answer: Vec<u8>, stays: bool) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let noted = Arc::new(Mutex::new(Vec::new()));
    let notes = noted.clone();
    let address = serve(move |mut stream| {
        let (notes, answer) = (notes.clone(), answer.clone());
        async move {
            let mut buffer = vec![0; 64 * 1024];
            let mut answered = false;
            while let Ok(n) = stream.read(&mut buffer).await {
                if n == 0 {
                    return;
                }
                let whole = {
                    let mut notes = notes.lock().unwrap();
                    notes.extend_from_slice(&buffer[..n]);
                    notes.windows(4).any(|w| w == b"\r\n\r\n")
                };
                if whole && !answered {
                    answered = true;
                    let _ = stream.write_all(&answer).await;
                    if !stays {
                        let _ = stream.shutdown().await;
                    }
                }
            }
        }
    })
    .await;
    (address, noted)
}

/// Sends bytes on a new connection and reads until it ends, or until nothing comes for a while.
async fn talk(bench: &Bench, bytes: &[u8]) -> Vec<u8> {
    let mut stream = bench.connect().await;
    stream.write_all(bytes).await.unwrap();
    read_all(&mut stream, b"").await
}

/// Reads until the connection ends or these bytes have come last.
async fn read_all(stream: &mut TcpStream, last: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(n) = soon(stream.read(&mut buffer)).await {
        all.extend_from_slice(&buffer[..n]);
        if n == 0 || (!last.is_empty() && all.ends_with(last)) {
            break;
        }
    }
    all
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_two_could_read_differently_are_refused() {
    let (service, noted) = script(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(), true).await;
    let bench = Bench::http(service).await;
    let post = |fields: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}");
    let inner = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let both = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n";
    for (what, bytes, status) in [
        ("CL.TE", post(both, &format!("0\r\n\r\n{inner}")), 400),
        (
            "TE.CL",
            post(
                "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
                &format!("26\r\n{inner}\r\n0\r\n\r\n"),
            ),
            400,
        ),
        ("TE.TE", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", "0\r\n\r\n"), 400),
        ("TE with a vertical tab", post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"), 400),
        ("TE in quotes", post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"), 400),
        ("TE with a space before its colon", post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), 400),
        ("TE folded", post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"), 400),
        ("a folded field before it", post("X: y\r\n\tTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400),
        ("TE behind a bare line feed", post("X: y\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400),
        ("TE behind a bare carriage return", post("X: y\rTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400),
        ("TE identity", post("Transfer-Encoding: identity\r\nContent-Length: 0\r\n", ""), 400),
        ("TE chunked, identity", post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), 400),
        ("TE gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 501),
        ("a null in a value", post("X: a\0b\r\n", ""), 400),
        ("two lengths", post("Content-Length: 0\r\nContent-Length: 5\r\n", "hello"), 400),
        ("two lengths in one", post("Content-Length: 0, 5\r\n", "hello"), 400),
        ("a length with a sign", post("Content-Length: +5\r\n", "hello"), 400),
        ("a hexadecimal length", post("Content-Length: 0x5\r\n", "hello"), 400),
        ("a length that overflows", post("Content-Length: 18446744073709551621\r\n", "hello"), 400),
        ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into(), 400),
        ("no host", "GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("a bare line feed", "GET / HTTP/1.1\nHost: a\n\n".into(), 400),
        ("a space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n".into(), 400),
        ("an unknown version", "GET / HTTP/3.0\r\nHost: a\r\n\r\n".into(), 505),
        ("HTTP/0.9", "GET /\r\n\r\n".into(), 400),
        (
            "TE with HTTP/1.0",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            400,
        ),
        ("too many fields", format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(300)), 431),
        ("a head too large", format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "y".repeat(70_000)), 431),
        ("TLS", "\u{16}\u{3}\u{1}\u{0}\u{5}\u{1}\r\n".into(), 400),
    ] {
        let answer = text(&talk(&bench, bytes.as_bytes()).await);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
        assert!(
            answer.contains("x-murphy-error: ") && answer.contains("Connection: close"),
            "{what}: {answer}"
        );
        let noted = std::mem::take(&mut *noted.lock().unwrap());
        assert!(noted.is_empty(), "{what} reached the service: {}", text(&noted));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_two_could_read_differently_break_off() {
    for (what, body) in [
        ("a size that overflows", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ("the largest size", "ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ("a size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("a size with a sign", "-1\r\nhello\r\n0\r\n\r\n"),
        ("no size", "\r\nhello\r\n0\r\n\r\n"),
        ("a size with a bare line feed", "5\nhello\r\n0\r\n\r\n"),
        ("an extension with a bare line feed", "5;x\nhello\r\n0\r\n\r\n"),
        ("an extension with a bare carriage return", "5;x\rhello\r\n0\r\n\r\n"),
        ("blanks behind a size", "5 \r\nhello\r\n0\r\n\r\n"),
        ("a chunk longer than its size", "3\r\nhello\r\n0\r\n\r\n"),
        ("a chunk that ends with a bare line feed", "5\r\nhello\n0\r\n\r\n"),
        ("trailers with a bare line feed", "5\r\nhello\r\n0\r\nx: y\n\r\n"),
    ] {
        let (service, noted) = script(Vec::new(), true).await;
        let bench = Bench::http(service).await;
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = text(&talk(&bench, format!("{head}{body}{smuggled}").as_bytes()).await);
        assert!(!answer.contains(" 200 "), "{what}: {answer}");
        let noted = text(&noted.lock().unwrap());
        assert!(
            !noted.contains("smuggled") && !noted.ends_with("0\r\n\r\n"),
            "{what} reached the service: {noted}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_that_two_could_read_differently_are_a_502() {
    for (what, answer) in [
        (
            "both framings",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
        ("a length that is none", "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello"),
        ("another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhello"),
        ("a bare line feed", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
        ("a folded field", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
        ("no status", "HTTP/1.1\r\n\r\n"),
        ("another protocol", "SSH-2.0-OpenSSH_9.6\r\n"),
        (
            "a change nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        ),
    ] {
        let (service, _) = script(answer.as_bytes().to_vec(), false).await;
        let bench = Bench::http(service).await;
        let answer = text(&talk(&bench, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await);
        assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{what}: {answer}");
        assert!(answer.contains("x-murphy-error: 127.0.0.1:"), "{what}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_pass_byte_for_byte() {
    for answer in [
        "HTTP/1.1 200 Quite OK\r\nX-B:1\r\nx-a:  2  \r\nX-B: 3\r\nCONTENT-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding:chunked\r\n\r\n005;a=b\r\nhello\r\n1\r\n!\r\nA\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n",
        "HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nx: y\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 599 Odd\r\nDate: never\r\nServer: mine\r\nContent-Length: 3\r\n\r\n\u{7f}\u{1}\u{2}",
    ] {
        let (service, _) = script(answer.as_bytes().to_vec(), true).await;
        let bench = Bench::http(service).await;
        let mut stream = bench.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut got = vec![0; answer.len()];
        soon(stream.read_exact(&mut got)).await.unwrap();
        assert_eq!(text(&got), answer);
    }
    // One that ends with its connection stays so, and says it.
    let answer = "HTTP/1.1 200 OK\r\nX: y\r\n\r\nup to the end";
    let (service, _) = script(answer.as_bytes().to_vec(), false).await;
    let bench = Bench::http(service).await;
    let got = text(&talk(&bench, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await);
    assert_eq!(got, "HTTP/1.1 200 OK\r\nX: y\r\nConnection: close\r\n\r\nup to the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_ends_with_its_connection_is_reset_when_that_breaks() {
    let service = serve(|mut stream| async move {
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\npart").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        #[allow(deprecated)]
        stream.set_linger(Some(Duration::ZERO)).unwrap();
    })
    .await;
    let bench = Bench::http(service).await;
    let mut stream = bench.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(drain(&mut stream).await.1, Some(std::io::ErrorKind::ConnectionReset));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_are_answered_in_order() {
    let (service, _) = crate::http::service().await;
    let bench = Bench::http(service).await;
    let mut stream = bench.connect().await;
    let all: String = (0..50)
        .map(|n| format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n{n:03}"))
        .collect();
    stream.write_all(all.as_bytes()).await.unwrap();
    let got = text(&read_all(&mut stream, b"\r\n\r\n049").await);
    let order: Vec<usize> = (0..50).map(|n| got.find(&format!("x-told: POST /{n} ")).unwrap()).collect();
    assert!(order.is_sorted(), "{order:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_go_ahead_is_the_services_own() {
    // The service sees the body only after it has said 100.
    let service = serve(|mut stream| async move {
        let mut buffer = vec![0; 4096];
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(text(&buffer[..n]).ends_with("\r\n\r\n"), "the body came unasked");
        stream.write_all(b"HTTP/1.1 100 Go on\r\n\r\n").await.unwrap();
        let mut body = [0; 5];
        stream.read_exact(&mut body).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await.unwrap();
        stream.write_all(&body).await.unwrap();
    })
    .await;
    let bench = Bench::http(service).await;
    let mut stream = bench.connect().await;
    let head = b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    stream.write_all(head).await.unwrap();
    assert_eq!(text(&read_all(&mut stream, b"\r\n\r\n").await), "HTTP/1.1 100 Go on\r\n\r\n");
    stream.write_all(b"hello").await.unwrap();
    assert!(text(&read_all(&mut stream, b"hello").await).starts_with("HTTP/1.1 200 OK"));

    // One that answers at once leaves a body that may or may not come: that connection ends.
    let (service, _) = script(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n".to_vec(), true).await;
    let bench = Bench::http(service).await;
    let got = text(&talk(&bench, head).await);
    assert!(got.starts_with("HTTP/1.1 413 Too Large\r\n"), "{got}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_makes_a_tunnel() {
    let service = serve(|mut stream| async move {
        let mut buffer = [0; 1024];
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(text(&buffer[..n]).starts_with("CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n"));
        stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\nfirst").await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    })
    .await;
    let bench = Bench::http(service).await;
    let mut stream = bench.connect().await;
    stream.write_all(b"CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\nearly").await.unwrap();
    let got = text(&read_all(&mut stream, b"early").await);
    assert_eq!(got, "HTTP/1.1 200 Connected\r\n\r\nfirstearly");
    for _ in 0..3 {
        ping(&mut stream).await.unwrap();
    }
    // One end may be over before the other.
    stream.write_all(b"last").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(text(&read_all(&mut stream, b"").await), "last");
    until("it is gone", || async { bench.totals().open == 0 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_takes_its_request_along() {
    let (service, noted) = script(Vec::new(), true).await;
    let bench = Bench::http(service).await;
    let mut stream = bench.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until("the service has it", || async { !noted.lock().unwrap().is_empty() }).await;
    drop(stream);
    until("it is counted", || async { bench.totals().errors == 1 && bench.totals().open == 0 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_go_on_when_a_fault_comes_in_the_middle_of_one() {
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let told = Arc::new(Mutex::new(Some(told)));
    let service = serve(move |mut stream| {
        let told = told.lock().unwrap().take();
        async move {
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer).await;
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n0123456789";
            stream.write_all(head).await.unwrap();
            let _ = told.unwrap().await;
            stream.write_all(b"abcdefghij\r\n5\r\nhello\r\n0\r\n\r\n").await.unwrap();
            tokio::time::sleep(PATIENCE).await;
        }
    })
    .await;
    let bench = Bench::http(service).await;
    let mut stream = bench.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(text(&read_all(&mut stream, b"0123456789").await).ends_with("14\r\n0123456789"));
    let armed = bench.arm("throttle_body rate=1MB/s").await;
    tell.send(()).unwrap();
    let rest = text(&read_all(&mut stream, b"0\r\n\r\n").await);
    assert!(rest.starts_with("abcdefghij\r\n") && rest.ends_with("\r\n0\r\n\r\n"), "{rest:?}");
    assert_eq!(bench.evidence(&armed).considered, 1);
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_body_in_any_pieces_passes_unchanged(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..3000), 0..12),
        large in prop::option::of(60_000_usize..400_000),
        chunked in any::<bool>(),
        upstream in prop::sample::select(vec!["auto", "2"]),
    ) {
        run(async move {
            let (service, _) = crate::http::service().await;
            let spec = json!({
                "listen": "127.0.0.1:0", "upstream": service.to_string(), "protocol": "http", "upstream_http": upstream,
            });
            let bench = Bench::with(spec).await;
            let mut pieces = pieces;
            pieces.extend(large.map(|n| (0..n).map(|i| (i % 251) as u8).collect()));
            let whole = pieces.concat();
            let (mut read, mut write) = bench.connect().await.into_split();
            let writer = tokio::spawn(async move {
                let framing = match chunked {
                    true => "Transfer-Encoding: chunked".to_owned(),
                    false => format!("Content-Length: {}", pieces.iter().map(Vec::len).sum::<usize>()),
                };
                let head = format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{framing}\r\n\r\n");
                write.write_all(head.as_bytes()).await.unwrap();
                for piece in &pieces {
                    if chunked {
                        write.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.unwrap();
                    }
                    write.write_all(piece).await.unwrap();
                    if chunked {
                        write.write_all(b"\r\n").await.unwrap();
                    }
                    tokio::task::yield_now().await;
                }
                if chunked {
                    write.write_all(b"0\r\n\r\n").await.unwrap();
                }
                write
            });
            let mut got = Vec::new();
            soon(read.read_to_end(&mut got)).await.unwrap();
            drop(writer.await.unwrap());
            let end = got.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
            let head = text(&got[..end]).to_lowercase();
            assert!(head.starts_with("http/1.1 200"), "{head}");
            let body = if head.contains("chunked") { unchunk(&got[end..]) } else { got[end..].to_vec() };
            assert!(body == whole, "{} bytes of {}", body.len(), whole.len());
        });
    }
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let end = bytes.windows(2).position(|w| w == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return all;
        }
        all.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 4 + size..];
    }
}
