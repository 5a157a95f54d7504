//! The webhook that gives pods murphy when they are made: TLS, one path, one answer.
//!
//! ```text
//! review         a question of the API server, and its answer
//! patch          the difference of two objects
//! certificates   whom the API server believes, made anew in time
//! ```

mod certificates;
mod patch;
mod review;

pub use certificates::{CertificateError, Certificates};
pub use review::{NoReview, answer};

use crate::manifest::Defaults;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// Where reviews are sent.
pub const PATH: &str = "/mutate";
/// An object has at most some 3 MB, and a review its old one, too.
const LARGEST: usize = 8 << 20;
/// How long a client has for a handshake, and for a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many connections at once: the API server has a few.
const MOST: usize = 256;
/// How long to wait when the machine has no descriptor left for another connection.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(20);

/// Serves reviews, for ever.
pub async fn serve(
    listener: TcpListener,
    certificates: Arc<Certificates>,
    defaults: Defaults,
) -> io::Result<Infallible> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth();
    let mut config = config.with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (defaults, room) = (Arc::new(defaults), Arc::new(Semaphore::new(MOST)));
    loop {
        // Closed never.
        let Ok(place) = room.clone().acquire_owned().await else { continue };
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
            continue;
        };
        let (acceptor, defaults) = (acceptor.clone(), defaults.clone());
        tokio::spawn(async move {
            attend(socket, acceptor, defaults).await;
            drop(place);
        });
    }
}

async fn attend(socket: TcpStream, acceptor: TlsAcceptor, defaults: Arc<Defaults>) {
    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, acceptor.accept(socket)).await else { return };
    let service = service_fn(|request| {
        let defaults = defaults.clone();
        async move { Ok::<_, Infallible>(respond(request, &defaults).await) }
    });
    // What goes wrong on a connection is the client's to notice.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn respond(request: Request<Incoming>, defaults: &Defaults) -> Response<Full<Bytes>> {
    let said = |status: StatusCode, kind: &'static str, text: String| {
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
        response
    };
    let plain = |status, text: &str| said(status, "text/plain; charset=utf-8", format!("{text}\n"));
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/healthz") => return plain(StatusCode::OK, "ok"),
        (&Method::POST, PATH) => {}
        (_, PATH) => return plain(StatusCode::METHOD_NOT_ALLOWED, "reviews are posted"),
        _ => return plain(StatusCode::NOT_FOUND, "reviews are posted to /mutate"),
    }
    let body = Limited::new(request.into_body(), LARGEST).collect();
    let bytes = match tokio::time::timeout(PATIENCE, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            return plain(StatusCode::PAYLOAD_TOO_LARGE, "the review broke off, or has more than 8 MiB");
        }
        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the review did not come within 10s"),
    };
    let Ok(review) = serde_json::from_slice(&bytes) else {
        return plain(StatusCode::BAD_REQUEST, "the review is not JSON");
    };
    match answer(&review, defaults) {
        Ok(answer) => said(StatusCode::OK, "application/json", answer.to_string()),
        Err(e) => plain(StatusCode::BAD_REQUEST, &e.to_string()),
    }
}
