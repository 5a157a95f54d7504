//! A stream of HTTP/2 from the client.

use super::flow::{Coming, Going};
use super::heads;
use crate::http::h1::framing::{Body, has_no_body};
use crate::http::hop::Hop;
use crate::http::message::{Piece, RequestHead, ResponseHead};
use crate::http::side::{Broken, Client, Respond, Side};
use crate::http::wire::Ending;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Method, StatusCode};
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

/// How long the rest of a request's body is read that nobody wants.
const REST: Duration = Duration::from_millis(10);
/// How long what was sent has to get to the client before a reset: the library forgets what has not left, and clients what
/// comes together with a reset.
const SETTLE: Duration = Duration::from_millis(20);

/// One request's stream.
pub(crate) struct InStream {
    announced: Body,
    hop: Hop,
    coming: Coming,
    responder: SendResponse<Bytes>,
    going: Option<Going>,
    /// What the whole connection is to do.
    pub(super) ending: Option<Ending>,
    malformed: bool,
    resets: Option<u32>,
}

impl InStream {
    /// Of a request.
    pub(crate) fn new(head: &RequestHead, body: RecvStream, responder: SendResponse<Bytes>) -> InStream {
        let tunnel = head.method == Method::CONNECT;
        let announced = if body.is_end_stream() && !tunnel { Body::None } else { Body::Stream };
        InStream {
            announced,
            hop: Hop::read(&head.headers),
            coming: Coming::new(body),
            responder,
            going: None,
            ending: None,
            malformed: false,
            resets: None,
        }
    }

    /// The stream is reset when the exchange is over: a reset overtakes what was sent and has not left yet.
    fn reset(&mut self, code: u32) {
        self.resets.get_or_insert(code);
    }

    /// Ends the stream, when what was sent has had a moment to leave.
    pub(super) async fn end(&mut self) {
        let Some(code) = self.resets.take() else { return };
        match Reason::from(code) {
            Reason::NO_ERROR => {
                // A body that comes at once anyway is read, for not every client takes a reset for what it is.
                let rest = poll_fn(|cx| {
                    while let Poll::Ready(piece) = self.coming.poll_piece(cx) {
                        if !matches!(piece, Ok(Piece::Data(_) | Piece::Trailers(_))) {
                            return Poll::Ready(());
                        }
                    }
                    Poll::Pending
                });
                // Without it the stream is given up, and then the library says NO_ERROR behind what was sent.
                let _ = tokio::time::timeout(REST, rest).await;
                return;
            }
            _ if self.going.is_some() => tokio::time::sleep(SETTLE).await,
            _ => {}
        }
        match &mut self.going {
            Some(going) => going.reset(code),
            None => self.responder.send_reset(Reason::from(code)),
        }
    }
}

impl Side for InStream {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Broken>> {
        self.coming.poll_piece(cx)
    }

    fn is_at_end(&self) -> bool {
        self.coming.is_empty()
    }

    fn send_last(&mut self, data: Bytes) -> Result<(), Broken> {
        match &mut self.going {
            Some(going) if !self.malformed => going.send_last(data),
            _ => {
                self.send(Piece::Data(data))?;
                self.send(Piece::End)
            }
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match &mut self.going {
            Some(going) => going.poll_ready(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn send(&mut self, piece: Piece) -> Result<(), Broken> {
        match &mut self.going {
            Some(going) => going.send(piece),
            None => Ok(()),
        }
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(self.send(Piece::End))
    }
}

impl Client for InStream {
    fn announced(&self) -> Body {
        self.announced
    }

    fn hop(&self) -> Hop {
        self.hop
    }

    fn inform(&mut self, head: &ResponseHead) -> Result<(), Broken> {
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(());
        }
        self.responder.send_informational(heads::response(head, false)).map_err(|e| super::flow::broken(&e))
    }

    fn respond(&mut self, request: &RequestHead, head: &ResponseHead, body: Body, how: &Respond) {
        let over = body != Body::Tunnel
            && (matches!(body, Body::None | Body::Length(0)) && !how.relength
                || has_no_body(head.status)
                || request.method == Method::HEAD);
        self.malformed = how.malformed.is_some();
        if self.malformed {
            // Frames are not the application's to break.
            self.responder.send_reset(Reason::PROTOCOL_ERROR);
            return;
        }
        match self.responder.send_response(heads::response(head, how.relength), over) {
            Ok(stream) => self.going = Some(Going::new(stream, over)),
            // The client has given it up, which is told where that is waited for.
            Err(_) => self.going = None,
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        match &mut self.going {
            Some(going) if going.is_over() => Poll::Pending,
            Some(going) => going.poll_reset(cx),
            None if self.malformed => Poll::Pending,
            None => self.responder.poll_reset(cx).map(|reset| match reset {
                Ok(reason) => Broken {
                    why: format!("the client gave it up: {reason}"),
                    reset: Some(reason.into()),
                    rst: false,
                },
                Err(error) => super::flow::broken(&error),
            }),
        }
    }

    fn can_be_watched(&self) -> bool {
        true
    }

    fn is_body_read(&self) -> bool {
        self.announced == Body::None || self.coming.is_over() || self.coming.is_empty()
    }

    fn must_be_read(&self) -> bool {
        false
    }

    fn break_off(&mut self, ending: Ending) {
        match ending {
            Ending::Reset(code) => self.reset(code),
            other => self.ending = Some(other),
        }
    }

    fn fail(&mut self, why: &Broken) {
        self.reset(why.reset.unwrap_or(Reason::INTERNAL_ERROR.into()));
    }

    fn finish(&mut self) {
        // Who does not want the rest of a request's body says so (RFC 9113, section 8.1).
        if !self.is_body_read() {
            self.reset(Reason::NO_ERROR.into());
        }
    }
}
