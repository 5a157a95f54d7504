//! The two sides of an exchange, each of which speaks its own version.

use super::h1::framing::Body;
use super::hop::Hop;
use super::message::{Piece, RequestHead, ResponseHead};
use super::wire::{Ending, Malformed, WirePlan};
use bytes::Bytes;
use std::task::{Context, Poll};

/// Why a side can go on no more.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{why}")]
pub(crate) struct Broken {
    /// As part of a sentence.
    pub(crate) why: String,
    /// HTTP/2's code, when it was the other end's reset of the stream.
    pub(crate) reset: Option<u32>,
    /// Whether the connection was reset, or has ended out of turn.
    pub(crate) rst: bool,
}

impl Broken {
    /// For that reason.
    pub(crate) fn new(why: impl Into<String>) -> Broken {
        Broken { why: why.into(), reset: None, rst: false }
    }
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Broken {
        let rst = error.kind() == std::io::ErrorKind::ConnectionReset;
        Broken { why: error.to_string(), reset: None, rst }
    }
}

/// What passes without being looked into: bytes with their framing, and how many of them are the body's.
pub(crate) struct Raw {
    pub(crate) bytes: Bytes,
    pub(crate) data: usize,
    /// Where the coding stands behind them.
    pub(crate) after: super::h1::chunked::Chunked,
}

/// One side: a body comes from it, and one goes to it, independently.
pub(crate) trait Side {
    /// The next piece of what comes. Nothing comes after the end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Broken>>;

    /// The next bytes with their framing, when `gives_raw`; none when what comes next must be looked at.
    fn poll_raw(&mut self, _cx: &mut Context<'_>) -> Poll<Result<Option<Raw>, Broken>> {
        Poll::Ready(Ok(None))
    }

    /// Whether what comes next is the end, and it is there already.
    fn is_at_end(&self) -> bool {
        false
    }

    /// Takes the last piece of data together with the end.
    fn send_last(&mut self, data: Bytes) -> Result<(), Broken> {
        self.send(Piece::Data(data))?;
        self.send(Piece::End)
    }

    /// Whether it has chunks, and they can pass to a side that takes them as they are.
    fn gives_raw(&self) -> bool {
        false
    }

    /// Whether chunks can pass to it as they are.
    fn takes_raw(&self) -> bool {
        false
    }

    /// Takes bytes with their framing.
    fn send_raw(&mut self, _raw: Raw) {}

    /// Ready when it takes more.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>;

    /// Takes a piece.
    fn send(&mut self, piece: Piece) -> Result<(), Broken>;

    /// Ready when everything that was sent has left for the system, or is held by faults below.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>;

    /// Drives what is held below, while something else is waited for.
    fn poll_drive(&mut self, _cx: &mut Context<'_>) -> Result<(), Broken> {
        Ok(())
    }

    /// Of a tunnel: nothing more goes to this side.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>;
}

/// The client's side.
pub(crate) trait Client: Side {
    /// How its request's body is announced.
    fn announced(&self) -> Body;

    /// What its request said of its connection.
    fn hop(&self) -> Hop;

    /// Sends a response before the response.
    fn inform(&mut self, head: &ResponseHead) -> Result<(), Broken>;

    /// Sends a response's head; `body` is how the service announced it.
    fn respond(&mut self, request: &RequestHead, head: &ResponseHead, body: Body, how: &Respond);

    /// Ready when the client is gone.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Broken>;

    /// Whether it can be asked whether it is gone: with HTTP/1.1 only when its request was read.
    fn can_be_watched(&self) -> bool;

    /// Whether the request's body was read to its end.
    fn is_body_read(&self) -> bool;

    /// Whether its connection is of no use until the request's body was read.
    fn must_be_read(&self) -> bool;

    /// Lets so many more bytes of what was sent leave now; all when none.
    fn allow(&mut self, _bytes: Option<usize>) {}

    /// Whether bytes wait that are not allowed to leave.
    fn is_holding(&self) -> bool {
        false
    }

    /// The response breaks off here, and with it what its ending says.
    fn break_off(&mut self, ending: Ending);

    /// The response breaks off because the service's did.
    fn fail(&mut self, why: &Broken);

    /// The exchange is over, in order.
    fn finish(&mut self);
}

/// What is particular about a response.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Respond {
    /// A body that loses its length on the way.
    pub(crate) relength: bool,
    /// What is wrong with it.
    pub(crate) malformed: Option<Malformed>,
    /// The client's body was not read to its end and never will be: the connection cannot be used again.
    pub(crate) last: bool,
}

impl Respond {
    /// As a plan says.
    pub(crate) fn of(plan: &WirePlan, relength: bool) -> Respond {
        Respond { relength, malformed: plan.malformed, last: false }
    }
}
