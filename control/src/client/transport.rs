//! One request on one connection.

use super::ClientError;
use crate::endpoint::{Endpoint, Place};
use crate::server::INSTANCE;
use crate::wire::{Code, Failure};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(3);

/// The largest answer that is read; a stream of events has no bound.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;

/// Makes a call and reads its answer whole.
pub(super) async fn call<B: Serialize>(
    endpoint: &Endpoint,
    method: &str,
    path: &str,
    body: Option<&B>,
) -> Result<Bytes, ClientError> {
    let body = match body {
        None => None,
        Some(value) => Some(serde_json::to_vec(value).map_err(|e| {
            ClientError::Failure(Failure::new(
                Code::BadRequest,
                format!("the request does not serialise: {e}"),
            ))
        })?),
    };
    let response = open(endpoint, method, path, body, &[]).await?;
    let status = response.status();
    let whole = Limited::new(response.into_body(), ANSWER_LIMIT)
        .collect()
        .await
        .map_err(|e| lost(endpoint, &*e))?
        .to_bytes();
    if status.is_success() {
        return Ok(whole);
    }
    Err(match serde_json::from_slice::<Failure>(&whole) {
        Ok(failure) => ClientError::Failure(failure),
        Err(_) => ClientError::NotUnderstood {
            endpoint: endpoint.to_string(),
            why: format!("status {status} without a reason"),
        },
    })
}

/// Sends a request; the answer's head has come when this returns.
pub(super) async fn open(
    endpoint: &Endpoint,
    method: &str,
    path: &str,
    body: Option<Vec<u8>>,
    headers: &[(&'static str, String)],
) -> Result<Response<Incoming>, ClientError> {
    let connecting = |e: io::Error| ClientError::connecting(endpoint, &e);
    let (host, io): (String, Box<dyn Stream>) = match &endpoint.place {
        Place::Unix(path) => {
            let stream = patiently(UnixStream::connect(path)).await.map_err(connecting)?;
            ("localhost".to_owned(), Box::new(stream))
        }
        Place::Tcp(host, port) => {
            let stream = patiently(TcpStream::connect((host.as_str(), *port))).await.map_err(connecting)?;
            let _ = stream.set_nodelay(true);
            let host = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
            (host, Box::new(stream))
        }
    };
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(io)).await.map_err(|e| lost(endpoint, &e))?;
    tokio::spawn(connection);

    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, host)
        .header(USER_AGENT, concat!("murphy/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "application/json, text/event-stream");
    if let Some(token) = &endpoint.token {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.reveal()));
    }
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let request = request.body(Full::new(Bytes::from(body.unwrap_or_default()))).map_err(|e| {
        ClientError::Failure(Failure::new(Code::BadRequest, format!("{method} {path} is no request: {e}")))
    })?;
    let response = sender.send_request(request).await.map_err(|e| {
        if e.is_parse() {
            let why = format!("it does not speak HTTP ({e})");
            ClientError::NotAnAgent { endpoint: endpoint.to_string(), why }
        } else {
            lost(endpoint, &e)
        }
    })?;
    if !response.headers().contains_key(INSTANCE) {
        let why = format!("it answered {} without the {INSTANCE} header", response.status());
        return Err(ClientError::NotAnAgent { endpoint: endpoint.to_string(), why });
    }
    Ok(response)
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn patiently<T>(connect: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(CONNECT, connect)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no connection within 3s")))
}

pub(super) fn lost(endpoint: &Endpoint, e: &dyn std::error::Error) -> ClientError {
    let mut why = e.to_string();
    let mut source = e.source();
    while let Some(inner) = source {
        why = format!("{why}: {inner}");
        source = inner.source();
    }
    ClientError::Lost { endpoint: endpoint.to_string(), why }
}
