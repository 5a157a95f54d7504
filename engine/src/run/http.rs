//! A small HTTP client over plain connections: enough for probes and load, without retries that would hide a fault.

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::sync::{Mutex, PoisonError};
use tokio::net::TcpStream;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The address cannot be used.
    #[error("{0:?} is not an http:// address")]
    Address(String),
    /// A header, the method or the path cannot be sent.
    #[error("{0} cannot be sent: {1}")]
    Request(String, http::Error),
    /// No connection.
    #[error("cannot connect to {0}: {1}")]
    Connect(String, std::io::Error),
    /// The connection broke, or what came was no HTTP.
    #[error("{0}")]
    Http(#[from] hyper::Error),
}

/// Where requests go: `host:port` and the path with its query.
#[derive(Debug, Clone)]
pub struct Origin {
    /// `host:port`.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

impl Origin {
    /// From an `http://` address.
    pub fn parse(url: &str) -> Result<Origin, Failure> {
        let bad = || Failure::Address(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(bad)?;
        let path = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
        Ok(Origin { authority: format!("{host}:{}", uri.port_u16().unwrap_or(80)), path })
    }

    /// A new connection.
    pub async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let tcp = TcpStream::connect(&self.authority)
            .await
            .map_err(|e| Failure::Connect(self.authority.clone(), e))?;
        tcp.set_nodelay(true).map_err(|e| Failure::Connect(self.authority.clone(), e))?;
        let (sender, connection) = http1::handshake(TokioIo::new(tcp)).await?;
        tokio::spawn(async move {
            // Its error comes to whoever waits for the answer.
            let _ = connection.await;
        });
        Ok(sender)
    }
}

/// Connections kept between requests.
#[derive(Debug, Default)]
pub struct Pool {
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Pool {
    /// Sends a request on an idle connection or a new one and reads the whole answer: its status and body.
    /// A connection that the other side closed while it was idle is replaced; nothing is sent twice.
    pub async fn send(
        &self,
        origin: &Origin,
        request: Request<Full<Bytes>>,
    ) -> Result<(u16, Bytes), Failure> {
        let mut request = request;
        while let Some(mut sender) = self.take() {
            match sender.try_send_request(request).await {
                Ok(response) => return self.finish(sender, response).await,
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        let mut sender = origin.connect().await?;
        let response = sender.send_request(request).await?;
        self.finish(sender, response).await
    }

    async fn finish(
        &self,
        sender: SendRequest<Full<Bytes>>,
        response: Response<Incoming>,
    ) -> Result<(u16, Bytes), Failure> {
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        Ok((status, body))
    }

    fn take(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|s| !s.is_closed());
        // The most recently used one, so that the others can go idle for good.
        let ready = idle.iter().rposition(SendRequest::is_ready)?;
        Some(idle.remove(ready))
    }
}

/// A request to an origin.
pub fn request(
    origin: &Origin,
    method: &str,
    headers: &[(String, String)],
    body: Bytes,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let mut builder = Request::builder().method(method).uri(&origin.path);
    if !headers.iter().any(|(k, _)| k.eq_ignore_ascii_case("host")) {
        builder = builder.header("host", &origin.authority);
    }
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    builder.body(Full::new(body))
}
