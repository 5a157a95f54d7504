//! One request on one connection.

use super::error::ClientError;
use super::trouble::trouble;
use crate::endpoint::{Endpoint, Place, authority};
use crate::server::INSTANCE;
use crate::tls::{ClientTls, Shown};
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
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(3);

/// How long TLS may take to come about after that.
const HANDSHAKE: Duration = Duration::from_secs(8);

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
    let (host, io) = connect(endpoint).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(io)).await.map_err(|e| lost(endpoint, &e))?;
    let connection = tokio::spawn(connection);

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
    let response = match sender.send_request(request).await {
        Ok(response) => response,
        Err(e) if e.is_parse() => {
            let why = format!("it does not speak HTTP ({e})");
            return Err(ClientError::NotAnAgent { endpoint: endpoint.to_string(), why });
        }
        Err(e) => {
            // When the agent ends the connection before it was asked anything, as it does after TLS with someone whom it
            // does not let in, the connection knows why.
            let ended = tokio::time::timeout(CONNECT, connection).await;
            return Err(match ended {
                Ok(Ok(Err(why))) => lost(endpoint, &why),
                _ => lost(endpoint, &e),
            });
        }
    };
    if !response.headers().contains_key(INSTANCE) {
        let why = format!("it answered {} without the {INSTANCE} header", response.status());
        return Err(ClientError::NotAnAgent { endpoint: endpoint.to_string(), why });
    }
    Ok(response)
}

/// A connection to the agent, and what it is called there.
async fn connect(endpoint: &Endpoint) -> Result<(String, Box<dyn Stream>), ClientError> {
    let connecting = |e: io::Error| ClientError::connecting(endpoint, &e);
    let tcp = async |host: &str, port: u16| {
        let stream = patiently(TcpStream::connect((host, port))).await.map_err(connecting)?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    };
    Ok(match (&endpoint.place, &endpoint.tls) {
        (Place::Unix(path), tls) => {
            let stream = patiently(UnixStream::connect(path)).await.map_err(connecting)?;
            let stream: Box<dyn Stream> = match tls {
                Some(tls) => Box::new(secure(endpoint, tls, None, stream).await?),
                None => Box::new(stream),
            };
            ("localhost".to_owned(), stream)
        }
        (Place::Tcp(host, port), _) => (authority(host, *port), Box::new(tcp(host, *port).await?)),
        (Place::Tls(host, port), tls) => {
            let tls = match tls {
                Some(tls) => tls.clone(),
                None => Arc::new(ClientTls::open(Shown::default()).map_err(|e| ClientError::Tls {
                    what: e.what,
                    hint: e.hint,
                    brief: "no roots",
                })?),
            };
            let stream = tcp(host, *port).await?;
            (authority(host, *port), Box::new(secure(endpoint, &tls, Some(host), stream).await?))
        }
    })
}

/// TLS with the agent; `host`: where it was reached.
async fn secure<IO: AsyncRead + AsyncWrite + Unpin>(
    endpoint: &Endpoint,
    tls: &ClientTls,
    host: Option<&str>,
    io: IO,
) -> Result<TlsStream<IO>, ClientError> {
    let late = || {
        let why = format!("no TLS handshake within {} s", HANDSHAKE.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, why))
    };
    tokio::time::timeout(HANDSHAKE, tls.connect(host, io)).await.unwrap_or_else(|_| late()).map_err(|e| {
        trouble(tls, endpoint, &e).unwrap_or_else(|| ClientError::Unreachable {
            endpoint: endpoint.to_string(),
            why: format!("the TLS handshake broke off: {e}"),
        })
    })
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn patiently<T>(connect: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(CONNECT, connect)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no connection within 3s")))
}

pub(super) fn lost(endpoint: &Endpoint, e: &(dyn std::error::Error + 'static)) -> ClientError {
    if let Some(tls) = &endpoint.tls
        && let Some(trouble) = trouble(tls, endpoint, e)
    {
        return trouble;
    }
    let mut why = e.to_string();
    let mut source = e.source();
    while let Some(inner) = source {
        why = format!("{why}: {inner}");
        source = inner.source();
    }
    ClientError::Lost { endpoint: endpoint.to_string(), why }
}
