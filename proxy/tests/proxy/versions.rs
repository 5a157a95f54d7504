//! HTTP/1.1 and HTTP/2 on either side: the same exchange in all four combinations, tunnels, resets, and many streams.

use crate::bench::*;
use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A service for both versions: says which it was asked in, echoes the body with its trailers, and joins what it was told
/// of cookies and hosts.
async fn service() -> SocketAddr {
    serve(|stream| async move {
        let answer = hyper::service::service_fn(|request: Request<Incoming>| async move {
            let told = format!("{:?}", request.version());
            let of = |name| {
                let all: Vec<_> =
                    request.headers().get_all(name).iter().map(|v| v.to_str().unwrap()).collect();
                all.join(" | ")
            };
            let host = request.uri().authority().map_or_else(|| of("host"), ToString::to_string);
            let builder = Response::builder()
                .header("x-told", told)
                .header("x-host", host)
                .header("x-cookies", of("cookie"))
                .header("x-te", of("te"));
            let body = request.into_body().collect().await?;
            let sum = body.trailers().and_then(|t| t.get("x-sum")).cloned();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-back", sum.unwrap_or("none".parse().unwrap()));
            let frames =
                vec![Ok::<_, Infallible>(Frame::data(body.to_bytes())), Ok(Frame::trailers(trailers))];
            let head = builder.header("trailer", "x-back");
            Ok::<_, hyper::Error>(head.body(StreamBody::new(futures::stream::iter(frames))).unwrap())
        });
        let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
    })
    .await
}

async fn bench(service: SocketAddr, upstream: &str) -> Bench {
    Bench::with(json!({
        "listen": "127.0.0.1:0", "upstream": service.to_string(), "protocol": "http", "upstream_http": upstream,
    }))
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_four_combinations_carry_the_same() {
    let service = service().await;
    for (client, upstream, told) in
        [(1, "auto", "HTTP/1.1"), (1, "2", "HTTP/2.0"), (2, "auto", "HTTP/2.0"), (2, "1", "HTTP/1.1")]
    {
        let bench = bench(service, upstream).await;
        let io = TokioIo::new(bench.connect().await);
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "42".parse().unwrap());
        let frames = vec![
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"hello "))),
            Ok(Frame::data(Bytes::from_static(b"there"))),
            Ok(Frame::trailers(trailers)),
        ];
        let mut request = Request::post("http://shop:80/a?b")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("te", "trailers")
            .body(StreamBody::new(futures::stream::iter(frames)))
            .unwrap();
        let response = if client == 2 {
            let (mut sender, conn) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(conn);
            soon(sender.send_request(request)).await.unwrap()
        } else {
            let (mut sender, conn) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(conn);
            *request.uri_mut() = "/a?b".parse().unwrap();
            request.headers_mut().insert("host", "shop:80".parse().unwrap());
            request.headers_mut().insert("trailer", "x-sum".parse().unwrap());
            soon(sender.send_request(request)).await.unwrap()
        };
        let what = format!("{client} → {upstream}");
        assert_eq!(response.status(), StatusCode::OK, "{what}");
        let head = response.headers().clone();
        assert_eq!((&head["x-told"], &head["x-host"]), (&told.parse().unwrap(), &"shop:80".parse().unwrap()));
        let cookies = head["x-cookies"].to_str().unwrap();
        // Crumbs are joined for HTTP/1.1 and may stay for HTTP/2 (RFC 9113, section 8.2.3).
        let wanted: &[&str] = if (client, told) == (2, "HTTP/1.1") { &["a=1; b=2"] } else { &["a=1 | b=2"] };
        assert!(wanted.contains(&cookies), "{what}: {cookies}");
        assert_eq!(head["x-te"], "trailers", "{what}");
        let body = soon(response.into_body().collect()).await.unwrap();
        assert_eq!(body.trailers().unwrap()["x-back"], "42", "{what}");
        assert_eq!(body.to_bytes(), "hello there", "{what}");
        until("it is counted", || async { bench.totals().requests == 1 }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_before_the_head_pass_in_all_combinations() {
    let old = serve(|mut stream| async move {
        let answer =
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let mut buffer = [0; 1024];
        // One read is one request: they are small and come one after the other.
        while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let new = h2_service(|_, mut respond| async move {
        let hints = Response::builder().status(103).header("link", "</a>").body(()).unwrap();
        respond.send_informational(hints).unwrap();
        let mut send = respond.send_response(Response::new(()), false).unwrap();
        send.send_data(Bytes::from_static(b"ok"), true).unwrap();
    })
    .await;
    for (service, upstream) in [(old, "1"), (new, "2")] {
        let bench = bench(service, upstream).await;
        let mut stream = bench.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut got = Vec::new();
        while !got.ends_with(b"ok") && !got.ends_with(b"\r\n0\r\n\r\n") {
            let mut buffer = [0; 1024];
            let n = soon(stream.read(&mut buffer)).await.unwrap();
            assert!(n > 0, "{}", String::from_utf8_lossy(&got));
            got.extend_from_slice(&buffer[..n]);
        }
        let got = String::from_utf8(got).unwrap();
        assert!(
            got.starts_with("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n"),
            "{got}"
        );

        let (mut sender, conn) = h2::client::handshake(bench.connect().await).await.unwrap();
        tokio::spawn(conn);
        let (mut response, _) =
            sender.send_request(Request::get("http://a/").body(()).unwrap(), true).unwrap();
        let hints = soon(std::future::poll_fn(|cx| response.poll_informational(cx))).await.unwrap().unwrap();
        assert_eq!((hints.status().as_u16(), &hints.headers()["link"]), (103, &"</a>".parse().unwrap()));
        assert_eq!(soon(response).await.unwrap().status(), StatusCode::OK);
    }
}

/// A service of HTTP/2 that does this with each stream.
async fn h2_service<F, W>(work: W) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
    W: Fn(Request<h2::RecvStream>, h2::server::SendResponse<Bytes>) -> F + Clone + Send + Sync + 'static,
{
    serve(move |stream| {
        let work = work.clone();
        async move {
            let Ok(mut connection) =
                h2::server::Builder::new().enable_connect_protocol().handshake(stream).await
            else {
                return;
            };
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::spawn(work(request, respond));
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_pass_with_their_codes() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let service = h2_service(move |request, mut respond| {
        let tell = tell.clone();
        async move {
            if request.uri().path() == "/reset" {
                let mut send = respond.send_response(Response::new(()), false).unwrap();
                send.send_data(Bytes::from_static(b"part"), false).unwrap();
                tokio::time::sleep(Duration::from_millis(30)).await;
                send.send_reset(Reason::ENHANCE_YOUR_CALM);
                return;
            }
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            let reason = std::future::poll_fn(|cx| send.poll_reset(cx)).await;
            tell.send(reason.unwrap()).unwrap();
        }
    })
    .await;
    let bench = bench(service, "2").await;
    let (sender, conn) = h2::client::handshake(bench.connect().await).await.unwrap();
    tokio::spawn(conn);
    let ask = |path: &str| {
        let request = Request::get(format!("http://a{path}")).body(()).unwrap();
        sender.clone().send_request(request, true).unwrap()
    };
    let (response, _) = ask("/reset");
    let mut body = soon(response).await.unwrap().into_body();
    let end = loop {
        match soon(body.data()).await {
            Some(Ok(_)) => {}
            other => break other,
        }
    };
    assert_eq!(end.unwrap().unwrap_err().reason(), Some(Reason::ENHANCE_YOUR_CALM));
    let (response, mut send) = ask("/wait");
    let _body = soon(response).await.unwrap();
    send.send_reset(Reason::CANCEL);
    assert_eq!(soon(told.recv()).await, Some(Reason::CANCEL));
    // To a client of HTTP/1.1 a stream that breaks is a connection that does.
    let mut stream = bench.connect().await;
    stream.write_all(b"GET /reset HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let (got, _) = drain(&mut stream).await;
    let got = String::from_utf8_lossy(&got).into_owned();
    assert!(got.ends_with("\r\n4\r\npart\r\n"), "{got}");
}

/// Echoes the bytes of a changed connection, on HTTP/1.1.
async fn old_sockets() -> SocketAddr {
    serve(|mut stream| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("get /chat http/1.1\r\n"), "{head}");
        assert!(
            head.contains("upgrade: websocket\r\n") && head.contains("connection: upgrade\r\n"),
            "{head}"
        );
        assert!(
            head.contains("sec-websocket-key: ") && head.contains("sec-websocket-version: 13\r\n"),
            "{head}"
        );
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    })
    .await
}

/// The same on HTTP/2.
async fn new_sockets() -> SocketAddr {
    h2_service(|request, mut respond| async move {
        assert_eq!(request.method(), Method::CONNECT);
        assert_eq!(request.extensions().get::<h2::ext::Protocol>().unwrap().as_str(), "websocket");
        assert_eq!(request.uri().path(), "/chat");
        assert!(!request.headers().contains_key("sec-websocket-key"));
        let mut send = respond.send_response(Response::new(()), false).unwrap();
        let mut body = request.into_body();
        while let Some(Ok(data)) = body.data().await {
            body.flow_control().release_capacity(data.len()).unwrap();
            send.send_data(data, false).unwrap();
        }
        let _ = send.send_data(Bytes::new(), true);
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websockets_pass_in_all_combinations() {
    let (old, new) = (old_sockets().await, new_sockets().await);
    for (service, upstream) in [(old, "1"), (old, "auto"), (new, "2")] {
        let bench = bench(service, upstream).await;
        let mut stream = bench.connect().await;
        let head = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut got = Vec::new();
        while !got.ends_with(b"\r\n\r\n") {
            got.push(soon(stream.read_u8()).await.unwrap());
        }
        let got = String::from_utf8(got).unwrap().to_lowercase();
        assert!(got.starts_with("http/1.1 101 "), "{upstream}: {got}");
        assert!(got.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{got}");
        assert!(got.contains("upgrade: websocket\r\n") && got.contains("connection: upgrade\r\n"), "{got}");
        for _ in 0..3 {
            ping(&mut stream).await.unwrap();
        }
        stream.shutdown().await.unwrap();
        assert_eq!(drain(&mut stream).await, (vec![], None));
    }
    for (service, upstream) in [(old, "1"), (new, "2"), (new, "auto")] {
        let bench = bench(service, upstream).await;
        let (mut sender, conn) = h2::client::handshake(bench.connect().await).await.unwrap();
        tokio::spawn(conn);
        until("the setting is known", || async {
            sender.clone().ready().await.unwrap().is_extended_connect_protocol_enabled()
        })
        .await;
        let mut request = Request::builder()
            .method(Method::CONNECT)
            .uri("http://a/chat")
            .version(Version::HTTP_2)
            .header("sec-websocket-version", "13")
            .body(())
            .unwrap();
        request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        let (response, mut send) = sender.send_request(request, false).unwrap();
        let response = soon(response).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{upstream}: {response:?}");
        assert!(!response.headers().contains_key("sec-websocket-accept"));
        let mut body = response.into_body();
        for n in 0..3 {
            send.send_data(Bytes::from(format!("message {n}")), false).unwrap();
            assert_eq!(soon(body.data()).await.unwrap().unwrap(), format!("message {n}"));
        }
        send.send_data(Bytes::new(), true).unwrap();
        assert!(soon(body.data()).await.is_none_or(|end| end.unwrap().is_empty()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_and_a_tenth_of_them_under_faults() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let service = serve(move |stream| {
        let count = count.clone();
        async move {
            let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
                count.fetch_add(1, SeqCst);
                async move {
                    let body = request.into_body().collect().await?.to_bytes();
                    Ok::<_, hyper::Error>(Response::new(Full::new(body)))
                }
            });
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder.max_concurrent_streams(1000);
            let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
        }
    })
    .await;
    for upstream in ["auto", "1"] {
        if upstream == "1" {
            // The same service cannot be asked in HTTP/1.1; one that can is.
            thousand(crate::http::service().await.0, upstream).await;
        } else {
            thousand(service, upstream).await;
        }
    }
    assert!(seen.load(SeqCst) >= 800);
}

async fn thousand(service: SocketAddr, upstream: &str) {
    let bench = bench(service, upstream).await;
    let share = json!({"percent": "10%"});
    let held = bench.arm_fault(json!({"share": share, "inject": {"delay": {"delay": "1h"}}})).await;
    let (sender, conn) = h2::client::Builder::new()
        .initial_max_send_streams(1000)
        .handshake::<_, Bytes>(bench.connect().await)
        .await
        .unwrap();
    tokio::spawn(conn);
    let begun = Instant::now();
    let calls: Vec<_> = (0..1000)
        .map(|n| {
            let mut sender = sender.clone();
            tokio::spawn(async move {
                let request = Request::post(format!("http://a/{n}")).body(()).unwrap();
                sender = sender.ready().await.unwrap();
                let (response, mut send) = sender.send_request(request, false).unwrap();
                let text = format!("message {n} {}", "x".repeat(n % 300));
                // In one frame: the service's own library counts many small ones as an attack.
                send.send_data(Bytes::copy_from_slice(text.as_bytes()), true).unwrap();
                let mut body = response.await?.into_body();
                let mut all = Vec::new();
                while let Some(data) = body.data().await {
                    all.extend_from_slice(&data?);
                }
                assert_eq!(String::from_utf8(all).unwrap(), text);
                Ok::<_, h2::Error>(())
            })
        })
        .collect();
    until("all are considered", || async { bench.evidence(&held).considered == 1000 }).await;
    let hit = model::Share::Percent("10%".parse().unwrap());
    let hit = (0..1000).filter(|n| hit.takes(7, *n)).count();
    // All but those that are held come back, whole and soon; those that are held go on being held.
    until("the others are back", || async { calls.iter().filter(|c| c.is_finished()).count() == 1000 - hit })
        .await;
    assert!(begun.elapsed() < PATIENCE);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(calls.iter().filter(|c| c.is_finished()).count(), 1000 - hit);
    bench.disarm(&held).await;
    for call in calls {
        soon(call).await.unwrap().unwrap();
    }
    assert_eq!(bench.evidence(&held).applied, hit as u64);
    let totals = bench.totals();
    assert_eq!((totals.requests, totals.errors, totals.touched.requests), (1000, 0, hit as u64));
}
