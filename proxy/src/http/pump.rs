//! A body on its way from one side to the other, through the stages of the faults that act on it.

use super::message::Piece;
use super::side::{Broken, Side};
use super::stage::{BodyChain, Pull};
use super::websocket::Tracker;
use super::wire::Ending;
use crate::timers::{Alarm, Timers};
use bytes::Bytes;
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// One direction of an exchange.
#[derive(Default)]
pub(crate) struct Pump {
    /// The stages.
    pub(crate) chain: BodyChain,
    /// Follows frames, when the bytes are a WebSocket's.
    pub(crate) frames: Option<Tracker>,
    /// Bytes of the body that came.
    pub(crate) bytes: u64,
    state: State,
    source_over: bool,
    tunnel: bool,
    broken: Option<Broken>,
    alarm: Option<Alarm>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Passing,
    /// What was sent leaves, and then it breaks off.
    Breaking(Ending),
    /// The end was sent and leaves.
    Ending,
    /// Where it comes from is broken; what came before leaves first.
    Failing,
    Over,
    /// What comes is thrown away.
    Discarding,
}

/// Why a body does not arrive.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// Where it comes from is broken.
    From(Broken),
    /// Where it goes to is broken.
    To(Broken),
    /// A fault broke it off.
    Fault(Ending),
}

impl Pump {
    /// Of a connection that has changed over: the end of one direction is its own.
    pub(crate) fn tunnel(websocket: bool) -> Pump {
        Pump { tunnel: true, frames: websocket.then(Tracker::default), ..Pump::default() }
    }

    /// Of a connection that shall change over and has not: nothing is read, and what was encoded leaves.
    pub(crate) fn of_nothing() -> Pump {
        Pump { state: State::Ending, ..Pump::default() }
    }

    /// Whether the body has arrived, or is thrown away and over.
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Whether stages can still act.
    pub(crate) fn is_passing(&self) -> bool {
        self.state == State::Passing
    }

    /// From now on what comes is thrown away.
    pub(crate) fn discard(&mut self) {
        if self.state != State::Over {
            self.state = State::Discarding;
        }
    }

    /// Nothing more is read.
    pub(crate) fn stop(&mut self) {
        self.state = State::Over;
    }

    /// Moves on as far as it goes.
    pub(crate) fn poll<F: Side, T: Side>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
        timers: &Timers,
    ) -> Poll<Result<(), Stopped>> {
        loop {
            match self.state {
                State::Over => return Poll::Ready(Ok(())),
                State::Discarding => match ready!(from.poll_piece(cx)).map_err(Stopped::From)? {
                    Piece::End => self.state = State::Over,
                    piece => self.bytes += piece.len() as u64,
                },
                State::Breaking(ending) => {
                    ready!(to.poll_flush(cx)).map_err(Stopped::To)?;
                    self.state = State::Over;
                    return Poll::Ready(Err(Stopped::Fault(ending)));
                }
                State::Failing => {
                    ready!(to.poll_flush(cx)).map_err(Stopped::To)?;
                    self.state = State::Over;
                    let broken = self.broken.take().unwrap_or_else(|| Broken::new("it broke off"));
                    return Poll::Ready(Err(Stopped::From(broken)));
                }
                State::Ending => {
                    if self.tunnel {
                        ready!(to.poll_close(cx)).map_err(Stopped::To)?;
                    } else {
                        ready!(to.poll_flush(cx)).map_err(Stopped::To)?;
                    }
                    self.state = State::Over;
                }
                State::Passing => {
                    ready!(to.poll_ready(cx)).map_err(Stopped::To)?;
                    let moved = match self.chain.is_bypassed() && !self.source_over {
                        true => self.pass(cx, from, to),
                        false => self.pull(cx, from, to, timers),
                    };
                    let moved = match moved {
                        Err(Stopped::From(broken)) => {
                            self.broken = Some(broken);
                            self.state = State::Failing;
                            continue;
                        }
                        moved => moved?,
                    };
                    if moved.is_pending() {
                        // What was sent must not wait for what comes next.
                        if let Poll::Ready(Err(broken)) = to.poll_flush(cx) {
                            return Poll::Ready(Err(Stopped::To(broken)));
                        }
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Nothing is in between.
    fn pass<F: Side, T: Side>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
    ) -> Result<Poll<()>, Stopped> {
        if from.gives_raw() && to.takes_raw() {
            match from.poll_raw(cx).map_err(Stopped::From)? {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Some(raw)) => {
                    self.bytes += raw.data as u64;
                    to.send_raw(raw);
                    return Ok(Poll::Ready(()));
                }
                Poll::Ready(None) => {}
            }
        }
        match from.poll_piece(cx).map_err(Stopped::From)? {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(piece) => {
                self.bytes += piece.len() as u64;
                if let (Some(tracker), Piece::Data(bytes)) = (&mut self.frames, &piece) {
                    tracker.pass(bytes);
                }
                match piece {
                    // In one frame where there are frames, as it most likely came.
                    Piece::Data(data) if from.is_at_end() && !self.tunnel => {
                        match from.poll_piece(cx).map_err(Stopped::From)? {
                            Poll::Ready(Piece::End) => {
                                self.state = State::Ending;
                                to.send_last(data).map_err(Stopped::To)?;
                            }
                            Poll::Ready(other) => {
                                to.send(Piece::Data(data)).map_err(Stopped::To)?;
                                self.deliver(other, to)?;
                            }
                            Poll::Pending => to.send(Piece::Data(data)).map_err(Stopped::To)?,
                        }
                        Ok(Poll::Ready(()))
                    }
                    piece => self.deliver(piece, to).map(Poll::Ready),
                }
            }
        }
    }

    /// Stages are in between.
    fn pull<F: Side, T: Side>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
        timers: &Timers,
    ) -> Result<Poll<()>, Stopped> {
        loop {
            let now = Instant::now();
            let until = match self.chain.pull(now) {
                Pull::Piece(piece) => return self.deliver(piece, to).map(Poll::Ready),
                Pull::Break(ending) => {
                    self.state = State::Breaking(ending);
                    return Ok(Poll::Ready(()));
                }
                Pull::Wait(until) => until,
            };
            if !self.source_over
                && self.chain.room()
                && let Poll::Ready(piece) = from.poll_piece(cx).map_err(Stopped::From)?
            {
                self.bytes += piece.len() as u64;
                self.push(piece);
                continue;
            }
            let Some(until) = until else {
                self.alarm = None;
                return Ok(Poll::Pending);
            };
            let alarm = self.alarm.get_or_insert_with(|| Alarm::new(timers.clone()));
            if alarm.poll(until, cx).is_pending() {
                return Ok(Poll::Pending);
            }
        }
    }

    fn push(&mut self, piece: Piece) {
        let now = Instant::now();
        self.source_over |= piece == Piece::End;
        match (&mut self.frames, piece) {
            (Some(tracker), Piece::Data(bytes)) => {
                let chain = &mut self.chain;
                tracker.cut(bytes, |frame| chain.push(Piece::Frame(frame), now));
            }
            (Some(tracker), Piece::End) if !tracker.held().is_empty() => {
                let rest = Bytes::copy_from_slice(tracker.held());
                self.chain.push(Piece::Data(rest), now);
                self.chain.push(Piece::End, now);
            }
            (_, piece) => self.chain.push(piece, now),
        }
    }

    fn deliver<T: Side>(&mut self, piece: Piece, to: &mut T) -> Result<(), Stopped> {
        if piece == Piece::End {
            self.state = State::Ending;
            if self.tunnel {
                return Ok(());
            }
        }
        to.send(piece).map_err(Stopped::To)
    }
}
