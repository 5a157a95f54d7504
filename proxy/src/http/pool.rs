//! Connections to the service, kept for the next request.
//!
//! A request is sent once. Only one that was put on a kept connection, and of which not a byte was written because the
//! service had closed it meanwhile, goes to another: a fault (or the service) that breaks a connection must be seen.

use super::body::Body;
use super::{hop, tunnel};
use crate::dial::Dial;
use crate::net::Address;
use crate::tls::Offer;
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Http1 = http1::SendRequest<Incoming>;
type Http2 = http2::SendRequest<Incoming>;

/// More idle connections than these are closed.
const KEEP: usize = 1024;

/// The connections to one service.
pub(crate) struct Pool {
    address: Address,
    how: Dial,
    idle: Mutex<Vec<Http1>>,
    shared: tokio::sync::Mutex<Option<Http2>>,
}

/// Why the service gave no answer, as a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unanswered(String);

/// A connection that is busy with a response.
pub(crate) struct Lease {
    sender: Http1,
    pool: Arc<Pool>,
}

impl Lease {
    /// The response is over.
    pub(crate) fn give_back(self) {
        let Lease { mut sender, pool } = self;
        if sender.is_ready() {
            pool.put(sender);
        } else if !sender.is_closed() {
            // The response was read before its connection's task has noticed, or the request's body is still going up.
            tokio::spawn(async move {
                if sender.ready().await.is_ok() {
                    pool.put(sender);
                }
            });
        }
    }
}

impl Pool {
    /// No connections yet.
    pub(crate) fn new(address: Address, how: Dial) -> Arc<Pool> {
        Arc::new(Pool { address, how, idle: Mutex::default(), shared: tokio::sync::Mutex::default() })
    }

    /// Connections of one client alone, which the service sees come from it.
    pub(crate) fn of_client(&self, client: Option<SocketAddr>) -> Arc<Pool> {
        Pool::new(self.address.clone(), self.how.from(client))
    }

    /// Sends a request to the service, in the client's version of HTTP, and gives the response's head with its body to
    /// come.
    pub(crate) async fn send(
        self: &Arc<Self>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Unanswered> {
        let changes_over = hop::for_service(&mut request, &self.address.host());
        if request.version() == Version::HTTP_2 {
            return self.send_http2(request).await;
        }
        let client_side = changes_over.then(|| hyper::upgrade::on(&mut request));
        let is_connect = request.method() == http::Method::CONNECT;
        loop {
            let (mut sender, kept) = self.checkout().await?;
            match sender.try_send_request(request).await {
                Err(mut error) => match error.take_message().filter(|_| kept) {
                    Some(unsent) => request = unsent,
                    None => return Err(self.unanswered(&error)),
                },
                Ok(mut response) => {
                    let changed = response.status() == StatusCode::SWITCHING_PROTOCOLS
                        || (is_connect && response.status().is_success());
                    if let Some(client_side) = client_side.filter(|_| changed) {
                        tunnel::join(client_side, hyper::upgrade::on(&mut response));
                        return Ok(response.map(|body| Body::of_service(body, None)));
                    }
                    hop::strip(response.headers_mut());
                    *response.version_mut() = Version::HTTP_11;
                    let lease = Lease { sender, pool: self.clone() };
                    return Ok(response.map(|body| Body::of_service(body, Some(lease))));
                }
            }
        }
    }

    async fn send_http2(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Unanswered> {
        loop {
            let (mut sender, kept) = self.shared_connection().await?;
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(response.map(|body| Body::of_service(body, None))),
                Err(mut error) => match error.take_message().filter(|_| kept) {
                    Some(unsent) => {
                        request = unsent;
                        *self.shared.lock().await = None;
                    }
                    None => return Err(self.unanswered(&error)),
                },
            }
        }
    }

    /// A connection for one request; true when it has served others before.
    async fn checkout(&self) -> Result<(Http1, bool), Unanswered> {
        loop {
            let kept = self.lock().pop();
            match kept {
                Some(sender) if sender.is_ready() => return Ok((sender, true)),
                Some(_) => {}
                None => break,
            }
        }
        let stream = self
            .address
            .dial(self.how.offering(Offer::Http1))
            .await
            .map_err(|e| Unanswered(e.to_string()))?;
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|e| self.failed(&e))?;
        tokio::spawn(connection.with_upgrades());
        Ok((sender, false))
    }

    async fn shared_connection(&self) -> Result<(Http2, bool), Unanswered> {
        let mut shared = self.shared.lock().await;
        if let Some(sender) = shared.as_ref().filter(|s| !s.is_closed()) {
            return Ok((sender.clone(), true));
        }
        let stream = self
            .address
            .dial(self.how.offering(Offer::Http2))
            .await
            .map_err(|e| Unanswered(e.to_string()))?;
        if stream.alpn().is_some_and(|chosen| chosen != b"h2") {
            return Err(Unanswered(format!("{} does not speak HTTP/2: it chose HTTP/1.1", self.address)));
        }
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|e| self.failed(&e))?;
        tokio::spawn(connection);
        *shared = Some(sender.clone());
        Ok((sender, false))
    }

    fn put(&self, sender: Http1) {
        let mut idle = self.lock();
        if idle.len() < KEEP {
            idle.push(sender);
        }
    }

    fn unanswered<T>(&self, error: &TrySendError<T>) -> Unanswered {
        self.failed(error.error())
    }

    fn failed(&self, error: &hyper::Error) -> Unanswered {
        let service = &self.address;
        let mut why = if error.is_incomplete_message() {
            format!("{service} closed the connection before it answered")
        } else {
            format!("the exchange with {service} failed: {error}")
        };
        let mut source = error.source();
        while let Some(cause) = source {
            why.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        Unanswered(why)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Http1>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
