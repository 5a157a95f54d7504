//! HTTP/1.1 on the client's side.

use super::framing::{Body, has_no_body};
use super::head::{self, Refused};
use super::read::NoHead;
use super::{H1, Io, encode, framing};
use crate::http::hop::Hop;
use crate::http::message::{Piece, RequestHead, ResponseHead};
use crate::http::side::{Broken, Client, Raw, Respond, Side};
use crate::http::wire::{Ending, Malformed};
use http::{Method, StatusCode, Version};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// What a client may send ahead while it waits for a response.
const AHEAD: usize = 64 * 1024;

impl<T: Io> H1<T> {
    /// Waits for the next request: how many bytes of the input its head has, or none when the client has ended. The stream
    /// is driven meanwhile, for faults may hold what was written to it.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<usize>, Option<Refused>>> {
        match self.poll_head(cx) {
            Poll::Ready(Ok(size)) => Poll::Ready(Ok(Some(size))),
            Poll::Ready(Err(NoHead::Ended)) => Poll::Ready(Ok(None)),
            Poll::Ready(Err(NoHead::Refused(why))) => Poll::Ready(Err(Some(why))),
            Poll::Ready(Err(NoHead::Broken(_))) => Poll::Ready(Err(None)),
            Poll::Pending => match self.poll_out(cx) {
                Poll::Ready(Err(_)) => Poll::Ready(Err(None)),
                _ => Poll::Pending,
            },
        }
    }

    /// Reads the next request's head, which has so many bytes of the input.
    pub(crate) fn take_request(&mut self, size: usize, into: &mut RequestHead) -> Result<(), Refused> {
        head::request(&self.input()[..size], into)?;
        self.used(size);
        self.announced = framing::request(into)?;
        self.hop = Hop::read(&into.headers);
        if self.hop.upgrade && self.announced != Body::None {
            // There would be no telling where the body ends and the other protocol begins.
            self.hop.upgrade = false;
        }
        self.old = into.version == Version::HTTP_10;
        self.keep = if self.old { self.hop.keep_alive && !self.hop.close } else { !self.hop.close };
        self.begun = false;
        self.expect(self.announced);
        Ok(())
    }

    /// Answers a request that is none.
    pub(crate) fn refuse(&mut self, why: Refused) {
        self.keep = false;
        let body = format!("murphy: the request was refused: {why}\n");
        let mut head = ResponseHead::new(StatusCode::from_u16(why.status).unwrap_or(StatusCode::BAD_REQUEST));
        head.headers.append("content-type", "text/plain; charset=utf-8");
        head.headers.append("x-murphy-error", why.why);
        let framed = Body::Length(body.len() as u64);
        let how = encode::AsResponse {
            hop: Hop::default(),
            body: framed,
            close: true,
            keep_alive: false,
            malformed: None,
        };
        encode::response(self.output(), &head, &how);
        self.output().extend_from_slice(body.as_bytes());
    }

    /// Writes what is to be written and drives the stream. Pending also when faults hold some of it.
    pub(crate) fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Ends the stream from our side.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// How the response's body is framed, of how the service announced it.
    fn framed(&self, request: &RequestHead, head: &ResponseHead, body: Body, how: &Respond) -> Body {
        let unsized_body = if self.old { Body::Close } else { Body::Chunked };
        match body {
            _ if has_no_body(head.status) && body != Body::Tunnel => Body::None,
            _ if request.method == Method::HEAD => Body::None,
            Body::Length(_) if how.relength => unsized_body,
            Body::Chunked | Body::Stream => unsized_body,
            // An answer that cannot end with its connection is not to end with it for another reason.
            Body::Close if how.relength => unsized_body,
            Body::None => Body::Length(0),
            other => other,
        }
    }
}

impl<T: Io> Side for H1<T> {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Broken>> {
        self.poll_body(cx)
    }

    fn poll_raw(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Raw>, Broken>> {
        self.poll_chunks(cx)
    }

    fn is_at_end(&self) -> bool {
        self.is_last()
    }

    fn gives_raw(&self) -> bool {
        self.is_chunked()
    }

    fn takes_raw(&self) -> bool {
        self.takes_chunks()
    }

    fn send_raw(&mut self, raw: Raw) {
        self.put_raw(raw);
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.poll_room(cx).map_err(Broken::from)
    }

    fn send(&mut self, piece: Piece) -> Result<(), Broken> {
        self.put(piece)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        ready!(self.poll_drain(cx))?;
        // What faults hold of it goes on being driven by whoever waits next.
        if let Poll::Ready(flushed) = Pin::new(&mut self.io).poll_flush(cx) {
            flushed?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_drive(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        match self.poll_out(cx) {
            Poll::Ready(Err(e)) => Err(e.into()),
            _ => Ok(()),
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx).map_err(Broken::from)
    }
}

impl<T: Io> Client for H1<T> {
    fn announced(&self) -> Body {
        self.announced
    }

    fn hop(&self) -> Hop {
        self.hop
    }

    fn inform(&mut self, head: &ResponseHead) -> Result<(), Broken> {
        if !self.old {
            encode::informational(self.output(), head);
        }
        Ok(())
    }

    fn respond(&mut self, request: &RequestHead, head: &ResponseHead, body: Body, how: &Respond) {
        let framed = self.framed(request, head, body, how);
        let cut_short = matches!(
            how.malformed,
            Some(
                Malformed::NoLastChunk
                    | Malformed::LengthTooLarge
                    | Malformed::LengthTooSmall
                    | Malformed::LengthTwice
            )
        );
        self.keep &= !how.last && !matches!(framed, Body::Close | Body::Tunnel) && !cut_short;
        let hop = Hop::read(&head.headers);
        let (close, keep_alive) = (!self.keep, self.keep && self.old);
        let as_response =
            encode::AsResponse { hop, body: framed, close, keep_alive, malformed: how.malformed };
        encode::response(self.output(), head, &as_response);
        self.begin(framed, how.malformed);
        if body == Body::Tunnel {
            self.expect(Body::Tunnel);
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        loop {
            if self.has_ended() {
                return Poll::Ready(Broken::new("the client ended the connection"));
            }
            if self.input().len() >= AHEAD {
                return Poll::Pending;
            }
            match self.poll_more(cx) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(e)) => return Poll::Ready(e.into()),
                Poll::Pending => {
                    self.put_by();
                    return Poll::Pending;
                }
            }
        }
    }

    fn can_be_watched(&self) -> bool {
        self.is_read()
    }

    fn is_body_read(&self) -> bool {
        self.is_read()
    }

    fn allow(&mut self, bytes: Option<usize>) {
        self.set_allowed(bytes);
    }

    fn is_holding(&self) -> bool {
        self.is_held_back()
    }

    fn break_off(&mut self, ending: Ending) {
        self.keep = false;
        self.how = Some(ending);
    }

    fn fail(&mut self, why: &Broken) {
        self.keep = false;
        // A body that ends with its connection would look whole.
        let looks_whole = self.is_until_close();
        self.how = Some(if looks_whole || why.rst { Ending::Rst } else { Ending::Fin });
    }

    fn must_be_read(&self) -> bool {
        true
    }

    fn finish(&mut self) {
        // A client that still waits for a go-ahead may or may not send its body.
        self.keep &= self.is_read();
    }
}
