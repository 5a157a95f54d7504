use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;

/// Charges cards: takes a few milliseconds and says so.
pub async fn serve(listener: TcpListener) {
    let count = std::sync::Arc::new(AtomicU64::new(0));
    while let Ok((stream, _)) = listener.accept().await {
        // Small answers must not wait for more; without it they still come, later.
        let _ = stream.set_nodelay(true);
        let count = count.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| charge(request, count.fetch_add(1, Ordering::Relaxed)));
            // A connection that breaks is what a demo of broken connections is about.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn charge(request: Request<Incoming>, number: u64) -> Result<Response<Full<Bytes>>, Infallible> {
    let _ = request.into_body().collect().await;
    // Eight milliseconds, give or take four, the same on every run.
    tokio::time::sleep(Duration::from_micros(
        4_000 + model::draw::bits(1, model::draw::Lane::Amount, number) % 8_000,
    ))
    .await;
    Ok(Response::new(Full::new(Bytes::from_static(b"{\"charged\":true}\n"))))
}
