//! The stream of events that comes back by itself.

use super::error::ClientError;
use super::transport;
use crate::endpoint::Endpoint;
use crate::server::{HEARTBEAT, INSTANCE};
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use model::Event;
use std::collections::VecDeque;
use std::time::Duration;

/// What a stream of events says.
#[derive(Debug, Clone, PartialEq)]
pub enum Signal {
    /// The agent answers. `fresh` is true at first, and again when another agent (or the same, started anew) answers
    /// than before: what was known of it is void, and its history follows from the beginning.
    Connected {
        /// Nothing known of this agent holds any longer.
        fresh: bool,
    },
    /// One event. Numbers grow, and have gaps where history is no longer kept.
    Event(Box<Event>),
    /// The agent is not to be reached, or answers no longer; the stream goes on trying.
    Lost(ClientError),
}

/// Nothing for so long, not even a heartbeat, means that the line is dead.
const SILENCE: Duration = Duration::from_secs(HEARTBEAT.as_secs() * 3);

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// The longest event that is read; longer ones mean that the other end is broken.
const LONGEST_EVENT: usize = 8 * 1024 * 1024;

struct State {
    endpoint: Endpoint,
    from: Option<u64>,
    last: Option<u64>,
    instance: Option<String>,
    body: Option<Incoming>,
    buffer: BytesMut,
    scanned: usize,
    ready: VecDeque<Signal>,
    pause: Duration,
    waited: bool,
}

pub(super) fn stream(endpoint: Endpoint, from: Option<u64>) -> BoxStream<'static, Signal> {
    let state = State {
        endpoint,
        from,
        last: None,
        instance: None,
        body: None,
        buffer: BytesMut::new(),
        scanned: 0,
        ready: VecDeque::new(),
        pause: FIRST_PAUSE,
        waited: true,
    };
    stream::unfold(state, |mut state| async move {
        loop {
            if let Some(signal) = state.ready.pop_front() {
                return Some((signal, state));
            }
            match state.step().await {
                Ok(()) => {}
                Err(e) => {
                    state.body = None;
                    state.buffer.clear();
                    state.scanned = 0;
                    state.waited = false;
                    state.ready.push_back(Signal::Lost(e));
                }
            }
        }
    })
    .boxed()
}

impl State {
    async fn step(&mut self) -> Result<(), ClientError> {
        if !self.waited {
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            self.waited = true;
        }
        let Some(body) = &mut self.body else {
            return self.connect().await;
        };
        let lost = |why: &str| ClientError::Lost { endpoint: self.endpoint.to_string(), why: why.to_owned() };
        match tokio::time::timeout(SILENCE, body.frame()).await {
            Err(_) => Err(lost("the stream of events fell silent")),
            Ok(None) => Err(lost("the stream of events ended")),
            Ok(Some(Err(e))) => Err(transport::lost(&self.endpoint, &e)),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => self.take(&data),
                Err(_) => Ok(()),
            },
        }
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        let mut headers = Vec::new();
        let path = match (self.last, self.from) {
            (Some(last), _) => {
                headers.push(("last-event-id", last.to_string()));
                "/api/v1/events".to_owned()
            }
            (None, Some(from)) => format!("/api/v1/events?from={from}"),
            (None, None) => "/api/v1/events".to_owned(),
        };
        let call = transport::open(&self.endpoint, "GET", &path, None, &headers);
        let response = tokio::time::timeout(super::PATIENCE, call).await.map_err(|_| {
            ClientError::Slow { endpoint: self.endpoint.to_string(), patience: super::PATIENCE }
        })??;
        if !response.status().is_success() {
            let bytes = response.into_body().collect().await.map(|c| c.to_bytes()).unwrap_or_default();
            return Err(match serde_json::from_slice(&bytes) {
                Ok(failure) => ClientError::Failure(failure),
                Err(e) => {
                    ClientError::NotUnderstood { endpoint: self.endpoint.to_string(), why: e.to_string() }
                }
            });
        }
        let instance =
            response.headers().get(INSTANCE).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let fresh = self.instance.as_ref() != Some(&instance);
        if fresh && self.instance.is_some() {
            // Another life of the agent: its numbers begin anew, so begin anew with it.
            self.last = None;
            self.from = Some(0);
            self.instance = None;
            return Ok(());
        }
        self.instance = Some(instance);
        self.body = Some(response.into_body());
        self.pause = FIRST_PAUSE;
        self.ready.push_back(Signal::Connected { fresh });
        Ok(())
    }

    fn take(&mut self, data: &Bytes) -> Result<(), ClientError> {
        self.buffer.extend_from_slice(data);
        while let Some(end) = find(&self.buffer[self.scanned..], b"\n\n").map(|i| i + self.scanned) {
            let block = self.buffer.split_to(end + 2);
            self.scanned = 0;
            let mut lines = block[..].split(|b| *b == b'\n');
            let Some(json) = lines.find_map(|line| line.strip_prefix(b"data:")) else {
                continue;
            };
            // An event of a kind that this version does not know is no reason to lose the agent.
            if let Ok(event) = serde_json::from_slice::<Event>(json) {
                self.last = Some(event.seq);
                self.ready.push_back(Signal::Event(Box::new(event)));
            }
        }
        self.scanned = self.buffer.len().saturating_sub(1);
        if self.buffer.len() > LONGEST_EVENT {
            return Err(ClientError::NotUnderstood {
                endpoint: self.endpoint.to_string(),
                why: "an event has no end".to_owned(),
            });
        }
        Ok(())
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}
