//! The stream of events as server-sent events: `id:` is the event's number, comments keep the line alive.

use super::http::{Body, respond};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use model::Event;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};

/// How often a comment is sent when nothing happens, so that both ends notice a dead line.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(5);

/// The most that is put in one piece, so that a long history does not become one buffer.
const PIECE: usize = 64 * 1024;

/// The stream as an answer; `slot` is held as long as it is read.
pub(super) fn response(
    events: BoxStream<'static, Arc<Event>>,
    end: watch::Receiver<bool>,
    slot: OwnedSemaphorePermit,
) -> Response<Body> {
    // Something is sent at once, so that a client knows that it listens.
    let hello = stream::once(async { Ok(Frame::data(Bytes::from_static(b": murphy\n\n"))) });
    let body = hello.chain(frames(events, end, slot));
    let mut response = respond(200, "text/event-stream", Bytes::new());
    *response.body_mut() = StreamBody::new(body).boxed_unsync();
    response
}

fn frames(
    events: BoxStream<'static, Arc<Event>>,
    end: watch::Receiver<bool>,
    slot: OwnedSemaphorePermit,
) -> impl futures::Stream<Item = Result<Frame<Bytes>, Infallible>> {
    stream::unfold((events, end, slot), |(mut events, mut end, slot)| async move {
        let mut piece = String::new();
        tokio::select! {
            biased;
            _ = end.wait_for(|e| *e) => return None,
            first = events.next() => write(&mut piece, &*first?),
            () = tokio::time::sleep(HEARTBEAT) => piece.push_str(": beat\n\n"),
        }
        // What is there already goes along, so that a history is not sent in thousands of small writes.
        while piece.len() < PIECE {
            match futures::FutureExt::now_or_never(events.next()) {
                Some(Some(event)) => write(&mut piece, &event),
                _ => break,
            }
        }
        Some((Ok(Frame::data(Bytes::from(piece))), (events, end, slot)))
    })
}

fn write(piece: &mut String, event: &Event) {
    // JSON has no raw line breaks, so one data line is enough.
    if let Ok(json) = serde_json::to_string(event) {
        piece.push_str(&format!("id: {}\ndata: {json}\n\n", event.seq));
    }
}
