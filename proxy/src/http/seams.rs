//! Where others plug in: what who watches is told at the end, what holds a request, who answers in the service's place.

use super::hit::Hit;
use super::message::{Answer, RequestHead};
use crate::conn::Conn;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Ready when a request may go on.
pub(crate) type Gate = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What came of a request.
pub(crate) struct Record<'a> {
    /// When its head had been read.
    pub(crate) begun: Instant,
    /// When its last byte was handed to the client's connection, or when it broke off.
    pub(crate) ended: Instant,
    /// The part of its latency that faults made, up to the response's head.
    pub(crate) added: Duration,
    /// From its head's last byte to the service up to the first of the response's head; none when it never answered.
    pub(crate) service: Option<Duration>,
    /// The response's status; none when there was no response.
    pub(crate) status: Option<u16>,
    /// Bytes of the bodies, up and down, as they came.
    pub(crate) bytes: [u64; 2],
    /// Whether both messages came to their ends.
    pub(crate) complete: bool,
    /// The faults that it matched, in the order in which they act.
    pub(crate) hits: &'a [Arc<Hit>],
}

/// Answers in the service's place.
pub(crate) trait Stub: Send + Sync {
    /// The answer and how long it takes; none when the request is for the service.
    fn answer(&self, conn: &Conn, head: &RequestHead) -> Option<(Duration, Answer)>;
}
