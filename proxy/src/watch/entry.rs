//! One request as it is told of, and as it is shown.

use crate::conn::Conn;
use crate::http::hit::Hit;
use crate::http::message::{RequestHead, ResponseHead};
use crate::http::seams::Record;
use http::Version;
use model::{RequestFault, RequestState, RequestView, TargetRef};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longer paths are cut.
const LONGEST_PATH: usize = 512;
/// Longer ones are none that we know.
const LONGEST_TRACE: usize = 128;

/// A request under way, or one that is over.
pub(super) struct Entry {
    id: u64,
    connection: u64,
    pub(super) client: Option<IpAddr>,
    address: Option<String>,
    at_ms: u64,
    begun: Instant,
    pub(super) method: String,
    pub(super) path: String,
    host: Option<String>,
    http: &'static str,
    trace: Option<String>,
    /// Held by hand.
    pub(super) held: bool,
    /// How long it was.
    pub(super) by_hand: Duration,
    /// The faults that it matches.
    pub(super) hits: Vec<Arc<Hit>>,
    status: Option<u16>,
    error: Option<String>,
    over: Option<Over>,
}

struct Over {
    total: Duration,
    added: Duration,
    service: Option<Duration>,
    bytes: [u64; 2],
    complete: bool,
    /// As they were decided: the faults themselves are not kept for the sake of a list.
    faults: Vec<RequestFault>,
}

impl Entry {
    pub(super) fn new(id: u64, conn: &Conn, head: &RequestHead, at: Instant) -> Entry {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Entry {
            id,
            connection: conn.birth.id,
            client: conn.birth.client.map(|a| a.ip()),
            address: conn.birth.client.map(|a| a.to_string()),
            at_ms: since.as_millis() as u64,
            begun: at,
            method: head.method.to_string(),
            path: head.path().chars().take(LONGEST_PATH).collect(),
            host: head.host().map(str::to_owned),
            http: match head.version {
                Version::HTTP_2 => "2",
                Version::HTTP_10 => "1.0",
                _ => "1.1",
            },
            trace: head.headers.text("traceparent").filter(|t| t.len() <= LONGEST_TRACE).map(str::to_owned),
            held: false,
            by_hand: Duration::ZERO,
            hits: Vec::new(),
            status: None,
            error: None,
            over: None,
        }
    }

    pub(super) fn answered(&mut self, head: &ResponseHead) {
        self.status = Some(head.status.as_u16());
        self.error = head.headers.text("x-murphy-error").map(str::to_owned);
    }

    pub(super) fn end(&mut self, record: &Record<'_>) {
        self.held = false;
        self.status = self.status.or(record.status);
        let hits = if record.hits.is_empty() { &self.hits[..] } else { record.hits };
        self.over = Some(Over {
            total: record.ended.saturating_duration_since(record.begun),
            added: record.added + self.by_hand,
            service: record.service,
            bytes: record.bytes,
            complete: record.complete,
            faults: hits.iter().map(|hit| fault(hit)).collect(),
        });
        self.hits.clear();
    }

    /// Whether it counts as failed.
    pub(super) fn failed(&self) -> bool {
        self.over.as_ref().is_some_and(|o| !o.complete) || self.status.is_none_or(|s| s >= 500)
    }

    pub(super) fn view(&self, target: &TargetRef, now: Instant) -> RequestView {
        let ms = |span: Duration| span.as_secs_f64() * 1000.0;
        let over = self.over.as_ref();
        let state = match over {
            Some(o) if o.complete => RequestState::Done,
            Some(_) => RequestState::Broken,
            None if self.held => RequestState::Held,
            None if self.status.is_some() => RequestState::Answering,
            None => RequestState::Waiting,
        };
        RequestView {
            id: self.id,
            target: target.clone(),
            connection: self.connection,
            client: self.address.clone(),
            at_ms: self.at_ms,
            method: self.method.clone(),
            path: self.path.clone(),
            host: self.host.clone(),
            http: self.http.to_owned(),
            state,
            status: self.status,
            total_ms: ms(over.map_or_else(|| now.saturating_duration_since(self.begun), |o| o.total)),
            injected_ms: ms(over.map_or(self.by_hand, |o| o.added)),
            upstream_ms: over.and_then(|o| o.service).map(ms),
            bytes_up: over.map_or(0, |o| o.bytes[0]),
            bytes_down: over.map_or(0, |o| o.bytes[1]),
            trace: self.trace.clone(),
            error: self.error.clone(),
            faults: match over {
                Some(o) => o.faults.clone(),
                None => self.hits.iter().map(|hit| fault(hit)).collect(),
            },
        }
    }
}

fn fault(hit: &Hit) -> RequestFault {
    RequestFault {
        id: hit.fault.id.clone(),
        fault: hit.fault.def.name.to_owned(),
        ordinal: hit.ordinal,
        draw: hit.fault.drawn(hit.share),
        taken: hit.taken,
        applied: hit.was_applied(),
    }
}
