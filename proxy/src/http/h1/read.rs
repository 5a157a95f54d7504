//! Reading: heads, and bodies piece by piece.

use super::chunked::{Chunked, Step};
use super::framing::Body;
use super::head::{Refused, bad, end_of_head, is_token};
use super::{H1, Io, room};
use crate::http::headers::Headers;
use crate::http::hop::is_hop;
use crate::http::message::Piece;
use crate::http::side::{Broken, Raw};
use bytes::{Buf, Bytes};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncReadExt;

/// Where in a body the reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// The end has been told.
    Done,
    /// The end comes next.
    End,
    Length(u64),
    Chunked(Chunked),
    Close,
    Tunnel,
}

/// Why there is no head.
#[derive(Debug)]
pub(crate) enum NoHead {
    /// The other side has ended, in order, and before a byte of it.
    Ended,
    /// It broke off or never began.
    Broken(Broken),
    /// It is not one.
    Refused(Refused),
}

impl<T: Io> H1<T> {
    /// Says how the body comes that is read from now on.
    pub(super) fn expect(&mut self, body: Body) {
        self.reading = match body {
            Body::None => Reading::End,
            Body::Length(n) => Reading::Length(n),
            Body::Chunked => Reading::Chunked(Chunked::Size),
            Body::Close | Body::Stream => Reading::Close,
            Body::Tunnel => Reading::Tunnel,
        };
    }

    /// Whether the body was read to its end, and nothing is behind it.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.reading, Reading::Done)
    }

    /// Whether only the end is to be told.
    pub(super) fn is_last(&self) -> bool {
        matches!(self.reading, Reading::End | Reading::Length(0))
    }

    /// Whether there is input that nobody has looked at.
    pub(crate) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Whether the other side has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// What was read and not used.
    pub(crate) fn input(&self) -> &[u8] {
        &self.input
    }

    /// Reads more; how much it was. None is the end.
    pub(crate) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        if self.input.capacity() == 0 {
            self.input = room::input();
        }
        if self.input.is_empty() || self.input.capacity() - self.input.len() < 1024 {
            self.input.reserve(self.want);
        }
        let space = self.input.capacity() - self.input.len();
        let n = ready!(pin!(self.io.read_buf(&mut self.input)).poll(cx))?;
        if n == 0 {
            self.ended = true;
        } else if n == space && self.want < room::LARGEST {
            self.want = (self.want * 2).min(room::LARGEST);
        }
        Poll::Ready(Ok(n))
    }

    /// How many bytes of the input are the next head.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, NoHead>> {
        loop {
            while self.scanned == 0 && self.input.starts_with(b"\r\n") {
                // Old clients send an empty line behind a body (RFC 9112, section 2.2).
                self.input.advance(2);
            }
            if self.input.first().is_some_and(|first| !is_token(*first) && !b"\r\n".contains(first)) {
                // What does not begin like HTTP may never end like it.
                return Poll::Ready(Err(NoHead::Refused(bad("the first line does not begin with a word"))));
            }
            if !self.input.is_empty()
                && self.input[..] != b"\r"[..]
                && let Some(end) = end_of_head(&self.input, &mut self.scanned).map_err(NoHead::Refused)?
            {
                self.scanned = 0;
                return Poll::Ready(Ok(end));
            }
            if self.ended {
                return Poll::Ready(Err(match self.input.is_empty() {
                    true => NoHead::Ended,
                    false => NoHead::Broken(Broken::new("the connection ended in the middle of a head")),
                }));
            }
            match self.poll_more(cx) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(e)) => return Poll::Ready(Err(NoHead::Broken(e.into()))),
                Poll::Pending => {
                    if self.input.is_empty() {
                        self.rest();
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Takes so many bytes out of the input that were looked at.
    pub(crate) fn used(&mut self, n: usize) {
        self.input.advance(n);
    }

    fn take(&mut self, n: usize) -> Bytes {
        self.input.split_to(n).freeze()
    }

    /// The body's next piece.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Broken>> {
        loop {
            match self.reading {
                Reading::Done => return Poll::Pending,
                Reading::End | Reading::Length(0) => {
                    self.reading = Reading::Done;
                    return Poll::Ready(Ok(Piece::End));
                }
                Reading::Length(rest) if !self.input.is_empty() => {
                    let n = rest.min(self.input.len() as u64);
                    self.reading = Reading::Length(rest - n);
                    return Poll::Ready(Ok(Piece::Data(self.take(n as usize))));
                }
                Reading::Close | Reading::Tunnel if !self.input.is_empty() => {
                    let n = self.input.len();
                    return Poll::Ready(Ok(Piece::Data(self.take(n))));
                }
                Reading::Close | Reading::Tunnel if self.ended => self.reading = Reading::End,
                Reading::Chunked(mut state) => {
                    let step = state.step(&self.input).map_err(|e| Broken::new(e.to_string()))?;
                    match step {
                        Step::Framing(n) => {
                            self.input.advance(n);
                            self.reading = Reading::Chunked(state);
                            continue;
                        }
                        Step::Data(n) => {
                            self.reading = Reading::Chunked(state);
                            return Poll::Ready(Ok(Piece::Data(self.take(n))));
                        }
                        Step::Last => {
                            if let Some(piece) = self.trailers()? {
                                return Poll::Ready(Ok(piece));
                            }
                        }
                        Step::Need => {}
                    }
                    ready!(self.poll_rest(cx))?;
                }
                _ => ready!(self.poll_rest(cx))?,
            }
        }
    }

    /// Trailers, or the end when there are none; nothing when more must come.
    fn trailers(&mut self) -> Result<Option<Piece>, Broken> {
        let broken = |e: Refused| Broken::new(format!("its trailers: {e}"));
        let Some(end) = end_of_head(&self.input, &mut self.scanned).map_err(broken)? else { return Ok(None) };
        self.scanned = 0;
        let lines = self.take(end);
        if end == 2 {
            self.reading = Reading::Done;
            return Ok(Some(Piece::End));
        }
        let mut trailers = Headers::new();
        trailers.read(&lines).map_err(broken)?;
        // Nothing that frames a message may come behind it (RFC 9110, section 6.5.1).
        trailers.retain(|name, _| {
            !is_hop(name)
                && !["content-length", "host", "trailer"].iter().any(|n| n.eq_ignore_ascii_case(name))
        });
        self.reading = Reading::End;
        Ok(Some(Piece::Trailers(trailers)))
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let until_end = matches!(self.reading, Reading::Close | Reading::Tunnel);
        if !self.ended {
            let n = match self.poll_more(cx) {
                Poll::Ready(n) => n?,
                Poll::Pending => {
                    if self.input.is_empty() {
                        room::give_input(std::mem::take(&mut self.input));
                    }
                    return Poll::Pending;
                }
            };
            if n > 0 || until_end {
                return Poll::Ready(Ok(()));
            }
        }
        if until_end {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(Err(Broken {
            why: "the connection ended in the middle of a body".into(),
            reset: None,
            rst: false,
        }))
    }

    /// Whether the body comes in chunks.
    pub(super) fn is_chunked(&self) -> bool {
        matches!(self.reading, Reading::Chunked(state) if state != Chunked::Last)
    }

    /// Whole chunks or parts of one, as they are; none when the last chunk comes next.
    pub(super) fn poll_chunks(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Raw>, Broken>> {
        loop {
            let Reading::Chunked(mut state) = self.reading else { return Poll::Ready(Ok(None)) };
            let (n, data) = state.scan(&self.input).map_err(|e| Broken::new(e.to_string()))?;
            if n > 0 {
                self.reading = Reading::Chunked(state);
                return Poll::Ready(Ok(Some(Raw { bytes: self.take(n), data, after: state })));
            }
            // The last chunk's size is there, or something that is not whole.
            let mut ahead = state;
            if matches!(ahead.step(&self.input), Ok(Step::Framing(_))) {
                return Poll::Ready(Ok(None));
            }
            ready!(self.poll_rest(cx))?;
        }
    }
}
