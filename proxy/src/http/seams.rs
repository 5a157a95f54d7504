//! Where others plug in: who watches requests, who holds them by hand, who answers in the service's place.

use super::hit::Hit;
use super::message::{Answer, RequestHead, ResponseHead};
use crate::conn::Conn;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Is told of requests. Asked only while somebody watches; must not wait.
pub(crate) trait Observer: Send + Sync {
    /// A request's head was read. What is given back is waited for before anything is done with the request: this is
    /// how requests are held by hand. `id` is its number.
    fn begun(&self, id: u64, conn: &Conn, head: &RequestHead, at: Instant) -> Option<Gate>;

    /// It was held and goes on; whether it was released or its lease is over makes no difference.
    fn released(&self, id: u64, waited: Duration);

    /// The faults that it matches are known, those that have it and those that it is compared with.
    fn looked_at(&self, id: u64, hits: &[Arc<Hit>]);

    /// Its response's head is known, after what faults made of it.
    fn answered(&self, id: u64, head: &ResponseHead, at: Instant);

    /// It is over.
    fn ended(&self, id: u64, record: &Record<'_>);
}

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
    fn answer(&self, head: &RequestHead) -> Option<(Duration, Answer)>;
}
