//! Layer 4: one task a connection copies both ways.
//!
//! With no fault a direction reads into a pooled buffer and writes it on; with faults what is read goes through the chain.
//! An idle connection holds no buffer. Half-close is kept: each direction ends by itself.

use crate::buffers::{Appetite, Buffer};
use crate::chain::{Chain, Chunk, Dir, How, Item, Pull, earlier};
use crate::conn::{Conn, Phase};
use crate::exchange::Exchange;
use crate::net::Stream;
use crate::news::News;
use crate::timers::{Alarm, Timers};
use bytes::Bytes;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How a relayed connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Both sides ended in order.
    InOrder,
    /// One side reset it; the other was reset, too.
    Reset { by: Dir },
    /// A fault, or the control path.
    Killed,
}

/// Copies between a client and a service until both directions have ended or something ends the connection.
pub(crate) async fn relay(conn: &Conn, client: Stream, service: Stream, timers: &Timers) -> Ended {
    let mut relay = Relay {
        conn,
        up: Flow::new(Dir::Up, timers),
        down: Flow::new(Dir::Down, timers),
        client,
        service,
        news: News::default(),
        exchange: Exchange::default(),
    };
    let (ended, how) = poll_fn(|cx| relay.poll(cx)).await;
    let Relay { client, service, .. } = relay;
    match how {
        // Both have had their ends already.
        None => {}
        Some(how) => {
            client.end(how);
            service.end(how);
        }
    }
    ended
}

struct Relay<'a> {
    conn: &'a Conn,
    client: Stream,
    service: Stream,
    up: Flow,
    down: Flow,
    news: News,
    exchange: Exchange,
}

impl Relay<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Ended, Option<How>)> {
        self.conn.register_reader(cx.waker());
        loop {
            if let Some(how) = self.conn.killed() {
                return Poll::Ready((Ended::Killed, Some(how)));
            }
            if let Some(how) = self.news.sync(self.conn, &mut self.up.chain, &mut self.down.chain) {
                return Poll::Ready((Ended::Killed, Some(how)));
            }
            if let Some(until) = self.news.held {
                ready!(self.up.alarm.poll(until, cx));
                self.news.held = None;
                self.conn.release();
                continue;
            }
            let Relay { conn, client, service, up, down, exchange, .. } = self;
            let up_end = up.poll(cx, client, service, conn, exchange);
            let down_end = down.poll(cx, service, client, conn, exchange);
            match (up_end, down_end) {
                (Poll::Ready(FlowEnd::Kill(how)), _) | (_, Poll::Ready(FlowEnd::Kill(how))) => {
                    return Poll::Ready((Ended::Killed, Some(how)));
                }
                (Poll::Ready(FlowEnd::Look), _) | (_, Poll::Ready(FlowEnd::Look)) => continue,
                // A reset that came through a chain comes after everything that was sent before it.
                (Poll::Ready(FlowEnd::Reset), _) => {
                    return Poll::Ready((Ended::Reset { by: Dir::Up }, Some(How::Rst)));
                }
                (_, Poll::Ready(FlowEnd::Reset)) => {
                    return Poll::Ready((Ended::Reset { by: Dir::Down }, Some(How::Rst)));
                }
                (Poll::Ready(FlowEnd::Refused), Poll::Ready(_)) => {
                    return Poll::Ready((Ended::Reset { by: Dir::Down }, Some(How::Rst)));
                }
                (Poll::Ready(_), Poll::Ready(FlowEnd::Refused)) => {
                    return Poll::Ready((Ended::Reset { by: Dir::Up }, Some(How::Rst)));
                }
                // The receiver of one direction takes no more: whatever it still sent comes first, then its end is a reset.
                (Poll::Ready(FlowEnd::Refused), Poll::Pending) if !self.down.ends_by_reset => {
                    self.down.ends_by_reset = true;
                }
                (Poll::Pending, Poll::Ready(FlowEnd::Refused)) if !self.up.ends_by_reset => {
                    self.up.ends_by_reset = true;
                }
                (Poll::Ready(_), Poll::Ready(_)) => return Poll::Ready((Ended::InOrder, None)),
                _ => return Poll::Pending,
            }
        }
    }
}

/// One direction.
struct Flow {
    dir: Dir,
    chain: Chain,
    appetite: Appetite,
    writing: Option<Writing>,
    state: State,
    alarm: Alarm,
    /// The sender has reset the connection, though reading it will only show an end.
    ends_by_reset: bool,
    /// What was written may still be with TLS.
    unflushed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Reading, while there is room.
    Open,
    /// The sender's end is in the chain.
    SourceEnded,
    /// The end is being passed on.
    Closing,
    /// It was.
    Closed,
    /// The receiver takes no more.
    Refused,
}

/// What a direction says when it is not waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FlowEnd {
    /// The end was passed on.
    Closed,
    /// The sender reset it, and all it had sent has been passed on.
    Reset,
    /// The receiver takes no more.
    Refused,
    /// A fault ends the connection.
    Kill(How),
    /// The time of a fault has come: look again.
    Look,
}

/// Bytes that are being written: a pooled buffer, or a chunk out of the chain.
enum Writing {
    Direct(Buffer),
    Shaped(Bytes, Instant),
}

impl Writing {
    fn rest(&self) -> &[u8] {
        match self {
            Writing::Direct(buffer) => buffer.rest(),
            Writing::Shaped(bytes, _) => bytes,
        }
    }

    /// When it came, if it went through the chain.
    fn arrived(&self) -> Option<Instant> {
        match self {
            Writing::Direct(_) => None,
            Writing::Shaped(_, arrived) => Some(*arrived),
        }
    }

    fn advance(&mut self, n: usize) {
        match self {
            Writing::Direct(buffer) => buffer.advance(n),
            Writing::Shaped(bytes, _) => drop(bytes.split_to(n)),
        }
    }
}

impl Flow {
    fn new(dir: Dir, timers: &Timers) -> Flow {
        Flow {
            dir,
            chain: Chain::new(dir),
            appetite: Appetite::default(),
            writing: None,
            state: State::Open,
            alarm: Alarm::new(timers.clone()),
            ends_by_reset: false,
            unflushed: false,
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        conn: &Conn,
        exchange: &mut Exchange,
    ) -> Poll<FlowEnd> {
        loop {
            let mut wait = self.chain.watch();
            match self.state {
                State::Closed => return Poll::Ready(FlowEnd::Closed),
                State::Refused => return Poll::Ready(FlowEnd::Refused),
                _ => {}
            }
            if let Some(writing) = &mut self.writing {
                match Pin::new(&mut *to).poll_write(cx, writing.rest()) {
                    Poll::Ready(Ok(n)) if n > 0 => {
                        match self.dir {
                            Dir::Up => exchange.left_up(writing.arrived()),
                            Dir::Down => exchange.left_down(writing.arrived(), &conn.metrics),
                        }
                        self.unflushed = to.holds_back();
                        writing.advance(n);
                        if self.dir == Dir::Down {
                            conn.bytes_down.fetch_add(n as u64, Relaxed);
                            conn.metrics.bytes_down(n);
                        }
                        if writing.rest().is_empty() {
                            self.writing = None;
                        }
                        continue;
                    }
                    Poll::Ready(_) => {
                        self.writing = None;
                        self.state = State::Refused;
                        continue;
                    }
                    Poll::Pending => return self.sleep(wait, cx),
                }
            }
            if self.state == State::Closing {
                // An error here means that the receiver is gone, which its own direction tells.
                let _ = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                self.state = State::Closed;
                conn.enter(Phase::HalfClosed);
                continue;
            }
            let shaped = !self.chain.is_bypassed();
            if shaped {
                match self.chain.pull(Instant::now()) {
                    Pull::Item(Item::Data(chunk)) => {
                        self.writing = Some(Writing::Shaped(chunk.bytes, chunk.arrived));
                        continue;
                    }
                    Pull::Item(Item::End(How::Fin)) => {
                        self.state = State::Closing;
                        continue;
                    }
                    Pull::Item(Item::End(How::Rst)) => return Poll::Ready(FlowEnd::Reset),
                    Pull::Item(Item::End(how @ How::Bare)) => return Poll::Ready(FlowEnd::Kill(how)),
                    Pull::Kill(how) => return Poll::Ready(FlowEnd::Kill(how)),
                    Pull::Wait(at) => wait = earlier(wait, at),
                }
            }
            if self.unflushed {
                match Pin::new(&mut *to).poll_flush(cx) {
                    Poll::Ready(_) => self.unflushed = false,
                    // Reading goes on meanwhile; the next write waits for it.
                    Poll::Pending => {}
                }
            }
            if self.state == State::SourceEnded || !self.chain.room() {
                return self.sleep(wait, cx);
            }
            match self.read(cx, from) {
                Poll::Pending => return self.sleep(wait, cx),
                Poll::Ready(Ok(Some(buffer))) => {
                    if self.dir == Dir::Up {
                        let n = buffer.rest().len();
                        conn.bytes_up.fetch_add(n as u64, Relaxed);
                        conn.metrics.bytes_up(n);
                        exchange.asked();
                    }
                    if shaped {
                        let now = Instant::now();
                        self.chain.push(Item::Data(Chunk { bytes: buffer.keep(), arrived: now }), now);
                    } else {
                        self.writing = Some(Writing::Direct(buffer));
                    }
                }
                Poll::Ready(end) => {
                    let how = match end {
                        // TLS that ends without saying so; the other side sees the same.
                        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => How::Bare,
                        Err(_) => How::Rst,
                        Ok(_) if self.ends_by_reset => How::Rst,
                        Ok(_) => How::Fin,
                    };
                    match (shaped, how) {
                        (true, how) => {
                            self.chain.push(Item::End(how), Instant::now());
                            self.state = State::SourceEnded;
                        }
                        (false, How::Rst) => return Poll::Ready(FlowEnd::Reset),
                        (false, How::Bare) => return Poll::Ready(FlowEnd::Kill(how)),
                        (false, How::Fin) => self.state = State::Closing,
                    }
                }
            }
        }
    }

    /// Reads into a buffer that is taken only once there is something; none at the end.
    fn read(&mut self, cx: &mut Context<'_>, from: &mut Stream) -> Poll<io::Result<Option<Buffer>>> {
        ready!(from.poll_read_ready(cx))?;
        let mut buffer = self.appetite.take();
        let mut space = ReadBuf::new(buffer.space());
        ready!(Pin::new(from).poll_read(cx, &mut space))?;
        let n = space.filled().len();
        if n == 0 {
            return Poll::Ready(Ok(None));
        }
        self.appetite.learn(n);
        buffer.filled(n);
        Poll::Ready(Ok(Some(buffer)))
    }

    fn sleep(&mut self, until: Option<Instant>, cx: &mut Context<'_>) -> Poll<FlowEnd> {
        match until {
            Some(at) => self.alarm.poll(at, cx).map(|()| FlowEnd::Look),
            None => {
                self.alarm.clear();
                Poll::Pending
            }
        }
    }
}
