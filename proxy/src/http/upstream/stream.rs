//! A stream of HTTP/2 to the service.

use super::Ask;
use super::shared::Share;
use crate::http::h1::framing::Body;
use crate::http::h2::flow::{Coming, Going, broken};
use crate::http::h2::heads;
use crate::http::message::{Piece, RequestHead, ResponseHead};
use crate::http::side::Broken;
use crate::http::websocket;
use bytes::Bytes;
use h2::client::ResponseFuture;
use http::{Method, StatusCode, Version};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A request on a shared connection.
pub(crate) struct OutStream {
    response: Option<ResponseFuture>,
    going: Going,
    coming: Option<Coming>,
    /// The stream shall change over, which the response has not decided yet. Until then nothing is sent, nor the end.
    undecided: bool,
    _share: Share,
}

/// Why a stream could not begin.
pub(crate) struct NotBegun {
    /// As part of a sentence.
    pub(crate) why: String,
    /// Not a byte of it has left.
    pub(crate) unsent: bool,
}

impl OutStream {
    /// Sends a request's head.
    pub(crate) async fn ask(share: Share, ask: &Ask<'_>, host: &str) -> Result<OutStream, NotBegun> {
        let mut sender = share.sender();
        if let Err(error) = poll_fn(|cx| sender.poll_ready(cx)).await {
            share.condemn();
            return Err(NotBegun { why: error.to_string(), unsent: true });
        }
        let upgrade = ask.hop.upgrade || !ask.head.protocol.is_empty();
        if upgrade && !share.extends() {
            return Err(NotBegun {
                why: "it does not let streams change over (SETTINGS_ENABLE_CONNECT_PROTOCOL)".into(),
                unsent: false,
            });
        }
        let request =
            heads::request(ask.head, ask.hop, host).map_err(|why| NotBegun { why, unsent: false })?;
        let tunnel = upgrade || ask.head.method == Method::CONNECT;
        let over = ask.body == Body::None && !tunnel;
        let (response, stream) = sender.send_request(request, over).map_err(|error| {
            share.condemn();
            NotBegun { why: error.to_string(), unsent: true }
        })?;
        let going = Going::new(stream, over);
        Ok(OutStream { response: Some(response), going, coming: None, undecided: tunnel, _share: share })
    }

    /// Reads the next head of the response.
    pub(crate) fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        ask: &Ask<'_>,
        into: &mut ResponseHead,
    ) -> Poll<Result<Body, Broken>> {
        let Some(response) = &mut self.response else { return Poll::Pending };
        if let Poll::Ready(Some(told)) = response.poll_informational(cx) {
            heads::read_response(into, &told.map_err(|e| broken(&e))?);
            return Poll::Ready(Ok(Body::None));
        }
        let (parts, body) = ready!(Pin::new(response).poll(cx)).map_err(|e| broken(&e))?.into_parts();
        self.response = None;
        let over = body.is_end_stream();
        self.coming = Some(Coming::new(body));
        heads::read_response(into, &http::Response::from_parts(parts, ()));
        let success = into.status.is_success();
        let upgrade = ask.hop.upgrade || !ask.head.protocol.is_empty();
        let tunnel = success && (upgrade || ask.head.method == Method::CONNECT);
        if std::mem::take(&mut self.undecided) && !tunnel {
            self.going.send(Piece::End)?;
        }
        if tunnel && ask.hop.upgrade && ask.head.version != Version::HTTP_2 {
            to_http1(ask.head, into);
        }
        Poll::Ready(Ok(if tunnel {
            Body::Tunnel
        } else if over {
            Body::None
        } else {
            match into.headers.text("content-length").map(str::parse) {
                Some(Ok(n)) if ask.head.method != Method::HEAD => Body::Length(n),
                _ => Body::Stream,
            }
        }))
    }

    /// The next piece of the response's body.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Broken>> {
        match &mut self.coming {
            Some(coming) => coming.poll_piece(cx),
            None => Poll::Pending,
        }
    }

    /// Ready when it takes more of the request's body.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.going.poll_ready(cx)
    }

    /// Takes a piece of the request's body.
    pub(crate) fn send(&mut self, piece: Piece) -> Result<(), Broken> {
        if self.undecided { Ok(()) } else { self.going.send(piece) }
    }

    /// Takes the last data with the end.
    pub(crate) fn send_last(&mut self, data: Bytes) -> Result<(), Broken> {
        self.going.send_last(data)
    }

    /// Whether the response's end comes next and is there.
    pub(crate) fn is_at_end(&self) -> bool {
        self.coming.as_ref().is_some_and(Coming::is_empty)
    }

    /// What was sent leaves by itself.
    #[allow(clippy::unused_self)]
    pub(crate) fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    /// Of a tunnel: nothing more goes to the service.
    pub(crate) fn poll_close(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(self.going.send(Piece::End))
    }

    /// Gives the stream up.
    pub(crate) fn reset(&mut self, code: u32) {
        self.going.reset(code);
    }
}

/// A client of HTTP/1.1 is told that its connection has changed over.
fn to_http1(request: &RequestHead, head: &mut ResponseHead) {
    head.set_status(StatusCode::SWITCHING_PROTOCOLS);
    head.headers.remove("content-length");
    head.headers.append("Connection", "Upgrade");
    if let Some(protocol) = request.headers.get("upgrade") {
        head.headers.append("Upgrade", protocol);
    }
    if let Some(key) = request.headers.text("sec-websocket-key") {
        head.headers.insert("Sec-WebSocket-Accept", websocket::accept(key));
    }
}
