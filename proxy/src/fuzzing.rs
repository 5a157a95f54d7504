//! Doors for fuzz targets: readers of bytes that someone else wrote. What is promised is asserted here.

use crate::http::h1::chunked::{Chunked, Step};
use crate::http::h1::head;
use crate::http::message::{RequestHead, ResponseHead};
use crate::http::websocket::Tracker;
use crate::target::Target;
use crate::timers::Timers;
use bytes::Bytes;
use model::target::{Protocol, ProxySpec};
use std::sync::{Arc, OnceLock};
use tokio::runtime::Runtime;

/// Heads: whatever is accepted prints to something that reads the same, and comes out the same however it is cut.
pub fn http_head(bytes: &[u8]) {
    let mut from = 0;
    let mut cut = None;
    for have in 0..=bytes.len().min(512) {
        match head::end_of_head(&bytes[..have], &mut from) {
            Ok(Some(end)) => {
                cut = Some(Ok(end));
                break;
            }
            Ok(None) => {}
            Err(why) => {
                cut = Some(Err(why));
                break;
            }
        }
    }
    let whole = head::end_of_head(bytes, &mut 0);
    if let Some(cut) = cut {
        assert_eq!(cut.map(Some), whole, "cut and whole differ");
    }
    let Ok(Some(end)) = whole else { return };
    let mut request = RequestHead::default();
    if head::request(&bytes[..end], &mut request).is_ok() {
        let mut text =
            format!("{} {} {:?}\r\n", request.method, request.target, request.version).into_bytes();
        request.headers.write(&mut text);
        text.extend_from_slice(b"\r\n");
        let mut again = RequestHead::default();
        assert_eq!(head::request(&text, &mut again), Ok(()));
        assert!(request.headers.iter().eq(again.headers.iter()) && request.target == again.target);
        let _ = (request.path(), request.query(), request.host());
        let _ = crate::http::h1::framing::request(&mut request);
    }
    let mut response = ResponseHead::default();
    if head::response(&bytes[..end], &mut response).is_ok() {
        let _ = crate::http::h1::framing::response(&mut response, &request.method, false);
    }
}

/// Chunks: scanning and stepping, whole and cut, find the same.
pub fn chunks(bytes: &[u8]) {
    let Some((at, bytes)) = bytes.split_first() else { return };
    let at = usize::from(*at).min(bytes.len());
    let walk = |cuts: &[usize]| {
        let (mut state, mut used, mut data) = (Chunked::default(), 0, 0_usize);
        for end in cuts {
            loop {
                match state.step(&bytes[used..(*end).max(used)]) {
                    Ok(Step::Need) => break,
                    Ok(Step::Framing(n)) => used += n,
                    Ok(Step::Data(n)) => {
                        used += n;
                        data += n;
                    }
                    Ok(Step::Last) => return Ok((used, data, true)),
                    Err(_) => return Err(()),
                }
            }
        }
        Ok((used, data, false))
    };
    let (whole, cut) = (walk(&[bytes.len()]), walk(&[at, bytes.len()]));
    assert_eq!(whole, cut);
    let mut state = Chunked::default();
    if let (Ok((n, data)), Ok((used, found, _))) = (state.scan(bytes), whole) {
        assert!(n <= used && data <= found);
    }
}

/// WebSocket frames: nothing is lost or made up, however it is cut.
pub fn websocket(bytes: &[u8]) {
    let Some((at, bytes)) = bytes.split_first() else { return };
    let at = usize::from(*at).min(bytes.len());
    let mut tracker = Tracker::default();
    let (mut out, mut heads) = (Vec::new(), Vec::new());
    for part in [&bytes[..at], &bytes[at..]] {
        tracker.cut(Bytes::copy_from_slice(part), |frame| {
            heads.extend(frame.head);
            out.extend_from_slice(&frame.bytes);
        });
    }
    out.extend_from_slice(tracker.held());
    assert_eq!(out, bytes);
    let (mut tracker, mut whole) = (Tracker::default(), Vec::new());
    tracker.cut(Bytes::copy_from_slice(bytes), |frame| whole.extend(frame.head));
    assert_eq!(whole, heads);
}

/// The PROXY protocol's header.
pub fn proxyproto(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    let mut bytes = bytes;
    // What is read is who the client is, or why there is no telling.
    let _ = runtime.block_on(crate::proxyproto::read(&mut bytes));
}

static HOUSE: OnceLock<Option<(Runtime, Arc<Target>)>> = OnceLock::new();

/// A proxy in front of nobody: each request is answered with a 502.
fn house() -> Option<(Runtime, Arc<Target>)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().ok()?;
    let spec = ProxySpec { protocol: Protocol::Http, ..ProxySpec::new("127.0.0.1:0", "unix:/nowhere") };
    let target = runtime.block_on(async {
        let timers = Timers::start().ok()?;
        let containers: Arc<dyn inject::Containers> = Arc::new(inject::NoContainers);
        Target::open("fuzz", &spec, &timers, &std::env::temp_dir(), &containers).await.ok()
    })?;
    Some((runtime, target))
}

/// Whatever a client sends where HTTP/2 is spoken, the connection ends by itself and nothing panics.
pub fn h2_frames(bytes: &[u8]) {
    let Some((runtime, target)) = HOUSE.get_or_init(house) else { return };
    runtime.block_on(async {
        let Some(pool) = target.choose(0, None).and_then(|chosen| chosen.pool.clone()) else { return };
        let open = target.welcome(None, None);
        let context = crate::http::Context { target: target.clone(), conn: open.share(), pool };
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let serving = crate::http::any_version(context, server);
        let talking = async {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let empty_settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
            // It may have ended before all was written.
            let _ = client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
            let _ = client.write_all(&empty_settings).await;
            let _ = client.write_all(bytes).await;
            let _ = client.shutdown().await;
            let mut rest = Vec::new();
            let _ = client.read_to_end(&mut rest).await;
        };
        let both = async { tokio::join!(serving, talking) };
        let ended = tokio::time::timeout(std::time::Duration::from_secs(20), both).await;
        assert!(ended.is_ok(), "the connection does not end");
    });
}
