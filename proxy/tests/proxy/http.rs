//! Requests: what passes, and the faults on them.

use crate::bench::*;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use inject::Injector;
use serde_json::json;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const MS: Duration = Duration::from_millis(1);

/// A service for both versions: echoes bodies, counts requests, and tells method, path and version in headers.
pub async fn service() -> (SocketAddr, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let address = serve(move |stream| {
        let counter = counter.clone();
        async move {
            let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
                counter.fetch_add(1, SeqCst);
                async move {
                    let status = match request.uri().path() {
                        "/fail" => 500,
                        _ => 200,
                    };
                    let told =
                        format!("{} {} {:?}", request.method(), request.uri().path(), request.version());
                    let body = request.into_body().collect().await?.to_bytes();
                    let head = Response::builder().status(status).header("x-told", told);
                    Ok::<_, hyper::Error>(head.body(Full::new(body)).unwrap())
                }
            });
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
        }
    })
    .await;
    (address, count)
}

/// A client's HTTP/1.1 connection, byte by byte.
struct Client(BufReader<TcpStream>);

impl Client {
    async fn new(bench: &Bench) -> Client {
        Client(BufReader::new(bench.connect().await))
    }

    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// The head, line by line, and as much body as it announces.
    async fn answer(&mut self) -> std::io::Result<(Vec<String>, Vec<u8>)> {
        let mut head = Vec::new();
        let mut length = 0;
        loop {
            let mut line = String::new();
            if soon(self.0.read_line(&mut line)).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = n.parse().unwrap();
            }
            head.push(line.to_owned());
        }
        let mut body = vec![0; length];
        soon(self.0.read_exact(&mut body)).await?;
        Ok((head, body))
    }

    async fn get(&mut self, path: &str) -> (String, Vec<String>) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n")).await;
        let (head, _) = self.answer().await.unwrap();
        (head[0].split(' ').nth(1).unwrap().to_owned(), head)
    }
}

fn has(head: &[String], line: &str) -> bool {
    head.iter().any(|l| l == line)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_pass_on_kept_connections_both_ways() {
    let (service, count) = service().await;
    let bench = Bench::http(service).await;
    let mut client = Client::new(&bench).await;
    for n in 1..=20 {
        client.send(&format!("POST /n{n} HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\n\r\nbody")).await;
        let (head, body) = client.answer().await.unwrap();
        assert_eq!((&head[0][..], &body[..]), ("HTTP/1.1 200 OK", &b"body"[..]));
        assert!(has(&head, &format!("x-told: POST /n{n} HTTP/1.1")), "{head:?}");
    }
    assert_eq!(client.get("/fail").await.0, "500");
    assert_eq!(count.load(SeqCst), 21);
    let totals = bench.totals();
    assert_eq!((totals.requests, totals.errors, totals.accepted, totals.open), (21, 1, 1, 1));
    assert_eq!((totals.latency.count(), totals.touched.requests, totals.added.count()), (21, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_pass_as_they_were_written() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let service = serve(move |stream| {
        let tell = tell.clone();
        async move {
            let mut stream = BufReader::new(stream);
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                if line.trim_end().is_empty() {
                    break;
                }
                head.push(line.trim_end().to_owned());
            }
            tell.send(head).unwrap();
            let answer = "HTTP/1.1 200 Fine\r\nX-Odd-CASE: 1\r\nContent-Length: 0\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
            tokio::time::sleep(PATIENCE).await;
        }
    })
    .await;
    let bench = Bench::http(service).await;
    let mut client = Client::new(&bench).await;
    client.send("GET /a%20b?c=d HTTP/1.1\r\nHoSt: shop\r\nX-Odd-CASE: 1\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\r\n").await;
    let head = soon(told.recv()).await.unwrap();
    assert_eq!(head, ["GET /a%20b?c=d HTTP/1.1", "HoSt: shop", "X-Odd-CASE: 1"]);
    let (head, _) = client.answer().await.unwrap();
    assert!(head[0].starts_with("HTTP/1.1 200") && has(&head, "X-Odd-CASE: 1"), "{head:?}");
    assert!(!head.iter().any(|l| l.to_lowercase().starts_with("x-hop")), "{head:?}");
    assert!(!head.iter().any(|l| l.to_lowercase().starts_with("date")), "{head:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_passes_with_trailers() {
    let service = serve(|stream| async move {
        let answer = hyper::service::service_fn(|request: Request<Incoming>| async move {
            let collected = request.into_body().collect().await.unwrap();
            let sum = collected.trailers().and_then(|t| t.get("x-sum")).cloned();
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", "7".parse().unwrap());
            let frames =
                vec![Ok::<_, Infallible>(Frame::data(collected.to_bytes())), Ok(Frame::trailers(trailers))];
            let body = StreamBody::new(futures::stream::iter(frames));
            let mut response = Response::new(body);
            if let Some(sum) = sum {
                response.headers_mut().insert("x-sum", sum);
            }
            Ok::<_, Infallible>(response)
        });
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
    })
    .await;
    let bench = Bench::http(service).await;
    let io = TokioIo::new(bench.connect().await);
    let (sender, conn) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(conn);
    let calls = || {
        (0..20).map(|n| {
            let mut sender = sender.clone();
            async move {
                let mut trailers = http::HeaderMap::new();
                trailers.insert("x-sum", "42".parse().unwrap());
                let frames = vec![
                    Ok::<_, Infallible>(Frame::data(Bytes::from(format!("message {n}")))),
                    Ok(Frame::trailers(trailers)),
                ];
                let request = Request::post("http://shop/grpc.Service/Call")
                    .header("te", "trailers")
                    .body(StreamBody::new(futures::stream::iter(frames)))
                    .unwrap();
                let response = sender.send_request(request).await.unwrap();
                assert_eq!(
                    (response.status(), &response.headers()["x-sum"]),
                    (StatusCode::OK, &"42".parse().unwrap())
                );
                let collected = response.into_body().collect().await.unwrap();
                assert_eq!(collected.trailers().unwrap()["grpc-status"], "7");
                assert_eq!(collected.to_bytes(), format!("message {n}"));
            }
        })
    };
    soon(futures::future::join_all(calls())).await;
    assert_eq!(bench.totals().requests, 20);
    // The same below faults on the connection; they act while it is open.
    bench.arm("latency delay=10ms jitter=5ms").await;
    bench.arm("bandwidth rate=1MB/s").await;
    let begun = Instant::now();
    soon(futures::future::join_all(calls())).await;
    assert!(begun.elapsed() >= 10 * MS);
    until("all are counted", || async { bench.totals().touched.requests == 20 }).await;
    bench.arm("cut").await;
    let late = sender.clone().send_request(
        Request::get("http://shop/").body(StreamBody::new(futures::stream::iter(vec![]))).unwrap(),
    );
    assert!(soon(late).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websockets_are_tunnelled_and_can_be_cut() {
    let service = serve(|stream| async move {
        let mut stream = BufReader::new(stream);
        let mut asked = false;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            asked |= line.to_lowercase().starts_with("upgrade: websocket");
            if line.trim_end().is_empty() {
                break;
            }
        }
        assert!(asked);
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut byte = [0];
        while stream.read_exact(&mut byte).await.is_ok() {
            if stream.write_all(&byte).await.is_err() {
                break;
            }
        }
    })
    .await;
    let bench = Bench::http(service).await;
    let mut client = Client::new(&bench).await;
    client.send("GET /ws HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let (head, _) = client.answer().await.unwrap();
    assert!(head[0].starts_with("HTTP/1.1 101"), "{head:?}");
    let mut stream = client.0.into_inner();
    for _ in 0..5 {
        ping(&mut stream).await.unwrap();
    }
    bench.arm("latency delay=20ms direction=down").await;
    assert!(ping(&mut stream).await.unwrap() >= 20 * MS);
    bench.arm("cut").await;
    assert_eq!(drain(&mut stream).await.1, Some(ErrorKind::ConnectionReset));
    until("it is gone", || async { bench.totals().open == 0 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_not_there_is_a_502_that_says_so() {
    let bench = Bench::http(nobody().await).await;
    let mut client = Client::new(&bench).await;
    for _ in 0..2 {
        let (status, head) = client.get("/").await;
        assert_eq!(status, "502");
        assert!(head.iter().any(|l| l.starts_with("x-murphy-error: connecting to 127.0.0.1:")), "{head:?}");
    }
    assert_eq!(bench.totals().errors, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_not_sent_twice_when_its_connection_breaks() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    // Answers the first request on a connection and breaks on the second.
    let service = serve(move |stream| {
        let counter = counter.clone();
        async move {
            let mut stream = BufReader::new(stream);
            for n in 0..2 {
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                        return;
                    }
                    if line.trim_end().is_empty() {
                        break;
                    }
                }
                counter.fetch_add(1, SeqCst);
                if n == 0 {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                }
            }
        }
    })
    .await;
    let bench = Bench::http(service).await;
    let mut client = Client::new(&bench).await;
    assert_eq!(client.get("/").await.0, "200");
    let (status, head) = client.get("/").await;
    assert_eq!(status, "502");
    assert!(head.iter().any(|l| l.contains("before it answered")), "{head:?}");
    assert_eq!(asked.load(SeqCst), 2);
    // The next one goes to a new connection.
    assert_eq!(client.get("/").await.0, "200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_that_the_service_closed_is_not_used() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let service = serve(move |stream| {
        let tell = tell.clone();
        async move {
            let mut stream = BufReader::new(stream);
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                if line.trim_end().is_empty() {
                    break;
                }
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            drop(stream);
            tell.send(()).unwrap();
        }
    })
    .await;
    let bench = Bench::http(service).await;
    let mut client = Client::new(&bench).await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.0, "200");
        soon(told.recv()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abort_answers_and_the_service_sees_nothing() {
    let (service, count) = service().await;
    let bench = Bench::http(service).await;
    let mut client = Client::new(&bench).await;
    assert_eq!(client.get("/").await.0, "200");
    let armed = bench
        .arm_fault(json!({"inject": {"abort": {
            "status": 418, "headers": {"retry-after": "1"}, "body": "{\"error\":\"busy\"}",
        }}}))
        .await;
    let upload =
        format!("POST /x HTTP/1.1\r\nHost: shop\r\nContent-Length: 300000\r\n\r\n{}", "u".repeat(300_000));
    for _ in 0..3 {
        client.send(&upload).await;
        let (head, body) = client.answer().await.unwrap();
        assert!(head[0].starts_with("HTTP/1.1 418"), "{head:?}");
        assert!(
            has(&head, "retry-after: 1") && has(&head, &format!("x-murphy-fault: {}", armed.order.id)),
            "{head:?}"
        );
        assert_eq!(body, b"{\"error\":\"busy\"}");
    }
    assert_eq!(count.load(SeqCst), 1);
    let evidence = bench.evidence(&armed);
    assert_eq!((evidence.considered, evidence.applied), (3, 3));
    let totals = bench.totals();
    assert_eq!((totals.untouched.requests, totals.touched.requests, totals.errors), (1, 3, 0));
    bench.disarm(&armed).await;
    assert_eq!(client.get("/").await.0, "200");
    assert_eq!(bench.evidence(&armed).applied, 3, "evidence outlives the fault");

    bench.arm("abort status=204 mark=false").await;
    let (status, head) = client.get("/").await;
    assert_eq!(status, "204");
    assert!(!head.iter().any(|l| l.starts_with("x-murphy")), "{head:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_of_requests_is_the_same_on_every_run() {
    let (service, _) = service().await;
    let share = model::Share::Percent("30%".parse().unwrap());
    let want: Vec<bool> = (0..100).map(|n| share.takes(7, n)).collect();
    for _ in 0..2 {
        let bench = Bench::http(service).await;
        bench
            .arm_fault(json!({
                "share": {"percent": "30%"}, "when": {"method": "GET", "path": "/pay*"}, "inject": {"abort": {}},
            }))
            .await;
        let mut client = Client::new(&bench).await;
        let mut got = Vec::new();
        for _ in 0..100 {
            // What does not match takes no ordinal.
            assert_eq!(client.get("/other").await.0, "200");
            got.push(client.get("/pay/1").await.0 == "503");
        }
        assert_eq!(got, want);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn matchers_see_method_path_host_header_and_client() {
    let (service, _) = service().await;
    for (when, want) in [
        (json!({"method": "POST"}), [false, true]),
        (json!({"path": "/b*"}), [false, true]),
        (json!({"path_regex": "^/a$"}), [true, false]),
        (json!({"host": "sh?p"}), [true, false]),
        (json!({"header": {"x-user": "beta-*"}}), [false, true]),
        (json!({"client": "127.0.0.0/8"}), [true, true]),
        (json!({"not": {"client": "127.0.0.0/8"}}), [false, false]),
    ] {
        let bench = Bench::http(service).await;
        bench.arm_fault(json!({"when": when, "inject": {"abort": {}}})).await;
        let mut client = Client::new(&bench).await;
        client.send("GET /a?x HTTP/1.1\r\nHost: shop:80\r\n\r\n").await;
        let first = client.answer().await.unwrap().0[0].contains("503");
        client.send("POST /b HTTP/1.1\r\nHost: other\r\nX-User: beta-7\r\nContent-Length: 0\r\n\r\n").await;
        let second = client.answer().await.unwrap().0[0].contains("503");
        assert_eq!([first, second], want, "{when}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delays_are_what_was_asked_for() {
    let (service, count) = service().await;
    for point in ["request", "response"] {
        let bench = Bench::http(service).await;
        let armed = bench.arm(&format!("delay delay=25ms point={point}")).await;
        let client = tokio::sync::Mutex::new(Client::new(&bench).await);
        let median = best_median(9, 27 * MS, || async {
            let begun = Instant::now();
            client.lock().await.get("/").await;
            let took = begun.elapsed();
            assert!(took >= 25 * MS, "{took:?} is too early");
            took
        })
        .await;
        assert!(median < 30 * MS, "the median is {median:?}");
        let evidence = bench.evidence(&armed);
        assert_eq!(evidence.applied, evidence.considered);
        assert!(evidence.measured["added_ms_mean"] >= 25.0);
        let totals = bench.totals();
        assert!(totals.added.quantile_ms(0.5).unwrap() >= 24.5);
        assert_eq!(totals.touched.requests, evidence.applied);
    }
    assert!(count.load(SeqCst) >= 18);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disarming_releases_requests_that_are_held() {
    let (service, count) = service().await;
    for (point, seen) in [("request", 0), ("response", 1)] {
        count.store(0, SeqCst);
        let bench = Bench::http(service).await;
        let armed = bench.arm(&format!("delay delay=1h point={point}")).await;
        let mut client = Client::new(&bench).await;
        client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n").await;
        until("it is considered", || async { bench.evidence(&armed).considered == 1 }).await;
        until("it is where it should be", || async { count.load(SeqCst) == seen }).await;
        tokio::time::sleep(20 * MS).await;
        assert_eq!(bench.totals().requests, 0);
        bench.disarm(&armed).await;
        let (head, _) = client.answer().await.unwrap();
        assert!(head[0].contains("200"));
        assert_eq!(bench.evidence(&armed).applied, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delay_can_be_shortened_while_it_holds() {
    let (service, _) = service().await;
    let bench = Bench::http(service).await;
    let armed = bench.arm("delay delay=1h").await;
    let mut client = Client::new(&bench).await;
    client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n").await;
    until("it is considered", || async { bench.evidence(&armed).considered == 1 }).await;
    let mut changed = armed.order.fault.clone();
    changed.inject = injection("delay delay=10ms");
    bench.proxy.adjust(&armed, &changed).await.unwrap();
    assert!(client.answer().await.unwrap().0[0].contains("200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_delay_takes_requests_that_are_with_the_service() {
    let go = Arc::new(tokio::sync::Notify::new());
    let gate = go.clone();
    let service = serve(move |mut stream| {
        let gate = gate.clone();
        async move {
            let mut buffer = [0; 1024];
            while stream.read(&mut buffer).await.unwrap_or(0) > 0 {
                gate.notified().await;
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            }
        }
    })
    .await;
    let bench = Bench::http(service).await;
    let mut client = Client::new(&bench).await;
    client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n").await;
    until("it is under way", || async { bench.totals().bytes_up > 0 }).await;
    tokio::time::sleep(20 * MS).await;
    let armed = bench.arm("delay delay=30ms point=response").await;
    let begun = Instant::now();
    go.notify_one();
    client.answer().await.unwrap();
    assert!(begun.elapsed() >= 30 * MS);
    assert_eq!(bench.evidence(&armed).applied, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_on_requests_compose_in_the_order_of_the_catalogue() {
    let (service, count) = service().await;
    let bench = Bench::http(service).await;
    let abort = bench.arm("abort status=500").await;
    let delay = bench.arm("delay delay=20ms").await;
    let mut client = Client::new(&bench).await;
    let begun = Instant::now();
    assert_eq!(client.get("/").await.0, "500");
    assert!(begun.elapsed() >= 20 * MS);
    assert_eq!((bench.evidence(&abort).applied, bench.evidence(&delay).applied), (1, 1));
    assert_eq!(count.load(SeqCst), 0);
    assert_eq!(bench.totals().touched.errors, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latency_on_connections_counts_in_what_clients_see() {
    let (service, _) = service().await;
    let bench = Bench::http(service).await;
    let mut client = Client::new(&bench).await;
    client.get("/").await;
    for (words, want) in [
        ("latency delay=20ms direction=up", 20.0),
        ("latency delay=20ms direction=down", 20.0),
        ("latency delay=15ms", 30.0),
    ] {
        let before = bench.totals();
        let armed = bench.arm(words).await;
        let begun = Instant::now();
        client.get("/").await;
        assert!(begun.elapsed().as_secs_f64() * 1e3 >= want, "{words}");
        until("it is counted", || async { bench.totals().requests == before.requests + 1 }).await;
        let sample = bench.totals().since(&before, 1.0);
        assert!(sample.latency.quantile_ms(0.5).unwrap() >= want * 0.97, "{words}: {sample:?}");
        assert!(sample.added.quantile_ms(0.5).unwrap() >= want * 0.97, "{words}: {sample:?}");
        assert_eq!(sample.touched.requests, 1);
        bench.disarm(&armed).await;
    }
    client.get("/").await;
    until("it is counted", || async { bench.totals().untouched.requests == 2 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_after_a_released_request_is_not_late_any_more() {
    let (service, _) = service().await;
    let bench = Bench::http(service).await;
    let mut client = Client::new(&bench).await;
    client.get("/").await;
    let armed = bench.arm("latency delay=1h direction=up").await;
    client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n").await;
    until("it is held", || async { bench.evidence(&armed).applied == 1 }).await;
    tokio::time::sleep(400 * MS).await;
    bench.disarm(&armed).await;
    client.answer().await.unwrap();
    until("it is counted", || async { bench.totals().requests == 2 }).await;
    let before = bench.totals();
    client.get("/").await;
    until("it is counted", || async { bench.totals().requests == 3 }).await;
    let sample = bench.totals().since(&before, 1.0);
    assert_eq!(sample.added.count(), 0, "nothing was added to it");
    assert!(sample.latency.quantile_ms(1.0).unwrap() < 400.0, "{sample:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_with_requests_can_be_cut_idle_and_busy() {
    let (service, _) = service().await;
    let bench = Bench::http(service).await;
    let mut idle = Client::new(&bench).await;
    idle.get("/").await;
    let mut busy = Client::new(&bench).await;
    bench.arm("delay delay=1h").await;
    busy.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n").await;
    until("it is held", || async { bench.totals().bytes_up > 50 }).await;
    bench.arm("cut when=20ms").await;
    for client in [&mut idle, &mut busy] {
        assert_eq!(client.answer().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    until("both are gone", || async { bench.totals().open == 0 }).await;
    // The one that got no answer counts as failed, and as touched.
    until("it is counted", || async { bench.totals().touched.errors == 1 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_response_does_not_hold_requests_on_other_connections() {
    let (service, _) = service().await;
    let bench = Bench::http(service).await;
    let armed = bench
        .arm_fault(
            json!({"share": {"first": 1}, "inject": {"bandwidth": {"rate": "0B/s", "direction": "down"}}}),
        )
        .await;
    let mut stalled = Client::new(&bench).await;
    stalled.send("GET /1 HTTP/1.1\r\nHost: shop\r\n\r\n").await;
    let mut other = Client::new(&bench).await;
    assert_eq!(other.get("/2").await.0, "200");
    bench.disarm(&armed).await;
    assert!(stalled.answer().await.unwrap().0[0].contains("200"));
    until("both are counted", || async { bench.totals().requests == 2 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_stream_both_ways_independently() {
    // Answers each line before the next one comes.
    let service = serve(|stream| async move {
        let answer = hyper::service::service_fn(|request: Request<Incoming>| async move {
            Ok::<_, Infallible>(Response::new(request.into_body()))
        });
        let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
    })
    .await;
    let bench = Bench::http(service).await;
    for shaped in [false, true] {
        if shaped {
            bench.arm("latency delay=2ms").await;
        }
        let mut client = Client::new(&bench).await;
        client.send("POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        let (head, _) = client.answer().await.unwrap();
        assert!(head[0].contains("200"), "{head:?}");
        for n in 0..5 {
            client.send(&format!("3\r\nab{n}\r\n")).await;
            let mut chunk = [0; 8];
            soon(client.0.read_exact(&mut chunk)).await.unwrap();
            assert_eq!(chunk, format!("3\r\nab{n}\r\n").as_bytes());
        }
        client.send("0\r\n\r\n").await;
        let mut last = [0; 5];
        soon(client.0.read_exact(&mut last)).await.unwrap();
        assert_eq!(&last, b"0\r\n\r\n");
        assert_eq!(client.get("/again").await.0, "200");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arming_and_disarming_under_requests_loses_none() {
    let (service, _) = service().await;
    let bench = Arc::new(Bench::http(service).await);
    let clients: Vec<_> = (0..4_usize)
        .map(|k| {
            let bench = bench.clone();
            tokio::spawn(async move {
                let mut client = Client::new(&bench).await;
                for n in 0..60_usize {
                    let body: String =
                        (0..(n * 3777 + k) % 150_000).map(|i| char::from(b'a' + (i % 26) as u8)).collect();
                    let head =
                        format!("POST /{n} HTTP/1.1\r\nHost: shop\r\nContent-Length: {}\r\n\r\n", body.len());
                    client.send(&(head + &body)).await;
                    let (head, got) = client.answer().await.unwrap();
                    assert!(
                        head[0].contains("200") && got == body.as_bytes(),
                        "{k} {n}: {head:?} {}",
                        got.len()
                    );
                }
            })
        })
        .collect();
    let words = [
        "latency delay=2ms jitter=2ms",
        "bandwidth rate=80MB/s",
        "delay delay=3ms",
        "latency delay=1ms direction=down",
    ];
    let mut round = 0;
    while clients.iter().any(|c| !c.is_finished()) && round < 5000 {
        let first = bench.arm(words[round % 4]).await;
        let second = bench.arm(words[(round + 1) % 4]).await;
        tokio::time::sleep(Duration::from_micros(400 * (round as u64 % 6))).await;
        bench.disarm(&first).await;
        bench.disarm(&second).await;
        round += 1;
    }
    for client in clients {
        soon(client).await.unwrap();
    }
    until("all are counted", || async { bench.totals().requests == 240 }).await;
    assert_eq!(bench.totals().errors, 0);
}
