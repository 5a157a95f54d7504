//! HTTP/1.1 on the service's side.

use super::framing::Body;
use super::read::NoHead;
use super::{H1, Io, encode, framing, head};
use crate::http::hop::Hop;
use crate::http::message::{RequestHead, ResponseHead};
use crate::http::side::Broken;
use crate::http::wire::Malformed;
use http::Version;
use std::task::{Context, Poll, ready};

impl<T: Io> H1<T> {
    /// Encodes a request's head.
    pub(crate) fn ask(
        &mut self,
        head: &RequestHead,
        hop: Hop,
        body: Body,
        service: &str,
        malformed: Option<Malformed>,
    ) {
        let how = encode::AsRequest { hop, body, service, malformed };
        encode::request(self.output(), head, &how);
        self.begun = false;
        self.keep = true;
        self.begin(body, malformed);
    }

    /// Reads the next head of a response, and how its body is announced.
    pub(crate) fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        request: &RequestHead,
        upgrade: bool,
        into: &mut ResponseHead,
    ) -> Poll<Result<Body, Broken>> {
        let read = self.poll_head(cx);
        let begins = self.input().len().min(5);
        if self.input()[..begins] != b"HTTP/"[..begins] {
            return Poll::Ready(Err(malformed("it does not begin with HTTP/")));
        }
        let size = match ready!(read) {
            Ok(size) => size,
            Err(NoHead::Ended) => {
                return Poll::Ready(Err(Broken::new("closed the connection before it answered")));
            }
            Err(NoHead::Broken(why)) => return Poll::Ready(Err(why)),
            Err(NoHead::Refused(why)) => return Poll::Ready(Err(malformed(&why.to_string()))),
        };
        let refused = |why: head::Refused| malformed(&why.to_string());
        head::response(&self.input()[..size], into).map_err(refused)?;
        self.used(size);
        let extended = request.protocol == "websocket";
        let method = if extended { &http::Method::GET } else { &request.method };
        let body = framing::response(into, method, upgrade || extended).map_err(refused)?;
        let hop = Hop::read(&into.headers);
        let lasts = if into.version == Version::HTTP_10 { hop.keep_alive } else { !hop.close };
        self.keep &= lasts && !matches!(body, Body::Close | Body::Tunnel);
        if !into.status.is_informational() || body == Body::Tunnel {
            self.expect(body);
        }
        if body == Body::Tunnel {
            self.begin(Body::Tunnel, None);
        }
        Poll::Ready(Ok(body))
    }

    /// Whether another request can be sent behind this one.
    pub(crate) fn can_be_kept(&self) -> bool {
        self.keep
            && self.is_read()
            && self.is_written()
            && self.is_drained()
            && !self.has_input()
            && !self.has_ended()
    }

    /// What was encoded for a connection of which not a byte was written moves to another.
    pub(crate) fn move_to<U: Io>(self, io: U) -> H1<U> {
        H1 {
            io,
            input: bytes::BytesMut::new(),
            scanned: 0,
            ended: false,
            want: self.want,
            reading: self.reading,
            output: self.output,
            written: self.written,
            tail: self.tail,
            after: self.after,
            allowed: self.allowed,
            writing: self.writing,
            begun: false,
            hop: self.hop,
            old: self.old,
            keep: self.keep,
            announced: self.announced,
            how: None,
        }
    }

    /// Gives back what it needs only while something passes.
    pub(crate) fn put_by(&mut self) {
        self.rest();
    }
}

fn malformed(why: &str) -> Broken {
    Broken::new(format!("answered with something that is not HTTP: {why}"))
}
