//! The service's side of an exchange: a connection of HTTP/1.1, a stream of HTTP/2, or an answer of our own.

mod own;
mod pool;
mod shared;
mod stream;

pub(crate) use own::Own;
pub(crate) use pool::{Pool, Unanswered};
pub(crate) use stream::OutStream;

use super::h1::H1;
use super::h1::framing::Body;
use super::hop::Hop;
use super::message::{Piece, RequestHead, ResponseHead};
use super::side::{Broken, Raw, Side};
use super::wire::{Ending, Malformed};
use crate::net::Stream;
use bytes::Bytes;
use http::{Method, Version};
use model::target::HttpVersion;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Who answers.
pub(crate) enum Upstream {
    /// The service, on a connection of its own; `true` when that has served others before.
    H1(Box<H1<Stream>>, Arc<Pool>, bool),
    /// The service, on a shared connection.
    H2(Box<OutStream>),
    /// We do.
    Own(Own),
}

/// What is asked of the service.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// The request.
    pub(crate) head: &'a RequestHead,
    /// What its connection's headers said.
    pub(crate) hop: Hop,
    /// How its body is announced.
    pub(crate) body: Body,
    /// What is wrong with it.
    pub(crate) malformed: Option<Malformed>,
}

impl Upstream {
    /// Connects, and encodes the request's head.
    pub(crate) async fn ask(
        pool: &Arc<Pool>,
        speak: HttpVersion,
        ask: &Ask<'_>,
    ) -> Result<Upstream, Unanswered> {
        let http2 = match speak {
            HttpVersion::Auto => ask.head.version == Version::HTTP_2 && !pool.speaks_only_http1(),
            HttpVersion::Http1 => false,
            HttpVersion::Http2 => true,
        };
        if http2 {
            let upgrades = ask.hop.upgrade || !ask.head.protocol.is_empty();
            loop {
                let (share, kept) = match pool.share().await {
                    // Nothing of the request has left: it goes in the version that the service understands.
                    Err(_) if speak == HttpVersion::Auto && pool.speaks_only_http1() => break,
                    other => other?,
                };
                if upgrades && !share.extends() && speak == HttpVersion::Auto {
                    break;
                }
                match OutStream::ask(share, ask, pool.host()).await {
                    Ok(stream) => return Ok(Upstream::H2(Box::new(stream))),
                    Err(why) if kept && why.unsent => {}
                    Err(why) => {
                        return Err(Unanswered(format!(
                            "the exchange with {} failed: {}",
                            pool.address(),
                            why.why
                        )));
                    }
                }
            }
        }
        let (mut side, kept) = match pool.kept() {
            Some(side) => (side, true),
            None => (pool.fresh().await?, false),
        };
        side.ask(ask.head, ask.hop, announced(ask), pool.host(), ask.malformed);
        Ok(Upstream::H1(Box::new(side), pool.clone(), kept))
    }

    /// After an error: whether the request can go to another connection, for nothing of it has left.
    pub(crate) fn is_unsent(&self) -> bool {
        matches!(self, Upstream::H1(side, _, true) if !side.has_begun())
    }

    /// Moves a request of which nothing has left to another connection.
    pub(crate) async fn move_on(self) -> Result<Upstream, Unanswered> {
        let Upstream::H1(side, pool, _) = self else { return Ok(self) };
        let (io, kept) = match pool.kept() {
            Some(other) => (other.into_parts().0, true),
            None => (pool.fresh().await?.into_parts().0, false),
        };
        Ok(Upstream::H1(Box::new(side.move_to(io)), pool, kept))
    }

    /// Reads the next head of a response, and how its body is announced.
    pub(crate) fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        ask: &Ask<'_>,
        into: &mut ResponseHead,
    ) -> Poll<Result<Body, Broken>> {
        match self {
            Upstream::H1(side, ..) => side.poll_response(cx, ask.head, ask.hop.upgrade, into),
            Upstream::H2(stream) => stream.poll_response(cx, ask, into),
            Upstream::Own(own) => Poll::Ready(Ok(own.head(into))),
        }
    }

    /// A sentence about what went wrong with it.
    pub(crate) fn sentence(&self, why: &Broken) -> String {
        match self {
            Upstream::H1(_, pool, _)
                if why.why.starts_with("closed ") || why.why.starts_with("answered ") =>
            {
                format!("{} {}", pool.address(), why.why)
            }
            Upstream::H1(_, pool, _) => format!("the exchange with {} failed: {}", pool.address(), why.why),
            Upstream::H2(_) => format!("the exchange with the service failed: {}", why.why),
            Upstream::Own(_) => why.why.clone(),
        }
    }

    /// The exchange is over: what can be used again is.
    pub(crate) fn finish(self) {
        if let Upstream::H1(side, pool, _) = self
            && side.can_be_kept()
        {
            pool.give_back(*side);
        }
    }

    /// The exchange breaks off towards the service.
    pub(crate) fn break_off(self, ending: Ending) {
        match self {
            Upstream::H1(side, ..) => {
                let (io, _) = side.into_parts();
                if matches!(ending, Ending::Rst | Ending::Reset(_)) {
                    io.reset();
                }
            }
            Upstream::H2(mut stream) => stream.reset(match ending {
                Ending::Reset(code) => code,
                _ => h2::Reason::CANCEL.into(),
            }),
            Upstream::Own(_) => {}
        }
    }
}

/// How a request's body is announced with HTTP/1.1.
fn announced(ask: &Ask<'_>) -> Body {
    if !ask.head.protocol.is_empty() || ask.head.method == Method::CONNECT {
        return Body::None;
    }
    match ask.body {
        Body::Stream => match ask.head.headers.text("content-length").map(str::parse) {
            Some(Ok(n)) => Body::Length(n),
            _ => Body::Chunked,
        },
        other => other,
    }
}

impl Side for Upstream {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Broken>> {
        match self {
            Upstream::H1(side, ..) => side.poll_piece(cx),
            Upstream::H2(stream) => stream.poll_piece(cx),
            Upstream::Own(own) => own.piece().map_or(Poll::Pending, |piece| Poll::Ready(Ok(piece))),
        }
    }

    fn poll_raw(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Raw>, Broken>> {
        match self {
            Upstream::H1(side, ..) => side.poll_raw(cx),
            _ => Poll::Ready(Ok(None)),
        }
    }

    fn is_at_end(&self) -> bool {
        match self {
            Upstream::H1(side, ..) => side.is_at_end(),
            Upstream::H2(stream) => stream.is_at_end(),
            Upstream::Own(own) => own.is_at_end(),
        }
    }

    fn send_last(&mut self, data: Bytes) -> Result<(), Broken> {
        match self {
            Upstream::H1(side, ..) => side.send_last(data),
            Upstream::H2(stream) => stream.send_last(data),
            Upstream::Own(_) => Ok(()),
        }
    }

    fn gives_raw(&self) -> bool {
        matches!(self, Upstream::H1(side, ..) if side.gives_raw())
    }

    fn takes_raw(&self) -> bool {
        matches!(self, Upstream::H1(side, ..) if side.takes_raw())
    }

    fn send_raw(&mut self, raw: Raw) {
        if let Upstream::H1(side, ..) = self {
            side.send_raw(raw);
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self {
            Upstream::H1(side, ..) => side.poll_ready(cx),
            Upstream::H2(stream) => stream.poll_ready(cx),
            Upstream::Own(_) => Poll::Ready(Ok(())),
        }
    }

    fn send(&mut self, piece: Piece) -> Result<(), Broken> {
        match self {
            Upstream::H1(side, ..) => side.send(piece),
            Upstream::H2(stream) => stream.send(piece),
            // Nobody wants it; it was read so that the connection stays usable.
            Upstream::Own(_) => Ok(()),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self {
            Upstream::H1(side, ..) => side.poll_flush(cx),
            Upstream::H2(stream) => stream.poll_flush(cx),
            Upstream::Own(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self {
            Upstream::H1(side, ..) => side.poll_close(cx),
            Upstream::H2(stream) => {
                ready!(stream.poll_flush(cx))?;
                stream.poll_close(cx)
            }
            Upstream::Own(_) => Poll::Ready(Ok(())),
        }
    }
}
