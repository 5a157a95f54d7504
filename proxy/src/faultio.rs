//! The byte stream below HTTP and above TLS: a client's socket with the chains of both directions in it.
//!
//! Reading gives what the chain lets through, writing takes what fits and lets the flush carry it on; whoever drives the
//! stream must poll `flush` while it waits, as hyper does. Reader and writer may be different tasks: each has an alarm and
//! a waker of its own.

use crate::chain::{Chain, Chunk, Dir, How, Item, Pull, earlier};
use crate::conn::{Conn, Open};
use crate::net::Stream;
use crate::timers::{Alarm, Timers};
use bytes::{Bytes, BytesMut};
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is read at once while faults act; what is accepted of one write.
const CHUNK: usize = 64 * 1024;

/// A client's connection under HTTP. Its end, also by being dropped, is orderly or a reset as the connection was told.
pub(crate) struct FaultIo {
    socket: Option<Stream>,
    conn: Open,
    up: Side,
    down: Side,
    /// What was pulled and did not fit into the reader's buffer.
    rest: Bytes,
    /// The client's end, once it has come out of the chain.
    read_end: Option<How>,
    /// What came out of the chain and is being written.
    writing: Option<Chunk>,
    shut: bool,
}

/// What one direction has for itself.
struct Side {
    chain: Chain,
    seen: u64,
    alarm: Alarm,
    /// The sender has ended; nothing more is read.
    source_ended: bool,
    /// Until when it is held by hand.
    held: Option<Instant>,
}

impl Side {
    fn new(dir: Dir, timers: &Timers) -> Side {
        Side {
            chain: Chain::new(dir),
            seen: 0,
            alarm: Alarm::new(timers.clone()),
            source_ended: false,
            held: None,
        }
    }

    /// Takes over what the control path changed, and what the time did.
    fn sync(&mut self, conn: &Conn, dir: Dir) -> io::Result<()> {
        let version = conn.version();
        if version != self.seen || self.chain.watch().is_some() {
            let now = Instant::now();
            if version != self.seen || self.chain.must_turn(now) {
                self.seen = version;
                self.held = conn.held();
                self.chain.sync(&conn.takes(), now);
                conn.heads().shape(dir, self.chain.has_stages());
            }
            if let Some(how) = self.chain.strike(now) {
                conn.kill(how);
            }
        }
        match conn.killed() {
            None => Ok(()),
            Some(_) => Err(ended()),
        }
    }

    /// Pending while it is held by hand.
    fn hold(&mut self, conn: &Conn, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(until) = self.held {
            ready!(self.alarm.poll(until, cx));
            self.held = None;
            conn.release();
        }
        Poll::Ready(())
    }

    fn sleep(&mut self, until: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        match until {
            Some(at) => self.alarm.poll(at, cx),
            None => {
                self.alarm.clear();
                Poll::Pending
            }
        }
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "a fault ended the connection")
}

impl FaultIo {
    /// The client's socket, with the faults that the connection has and will have.
    pub(crate) fn new(socket: Stream, conn: Open, timers: &Timers) -> FaultIo {
        FaultIo {
            socket: Some(socket),
            conn,
            up: Side::new(Dir::Up, timers),
            down: Side::new(Dir::Down, timers),
            rest: Bytes::new(),
            read_end: None,
            writing: None,
            shut: false,
        }
    }

    /// Writes what the chain has let out. Ready when nothing is held any more; pending with the socket's or the alarm's
    /// waker set otherwise.
    fn drive_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.down.sync(&self.conn, Dir::Down)?;
            ready!(self.down.hold(&self.conn, cx));
            let Some(socket) = &mut self.socket else { return Poll::Ready(Err(ended())) };
            if let Some(chunk) = &mut self.writing {
                let n = ready!(Pin::new(&mut *socket).poll_write(cx, &chunk.bytes))?;
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.conn.bytes_down.fetch_add(n as u64, Relaxed);
                self.conn.metrics.bytes_down(n);
                drop(chunk.bytes.split_to(n));
                if chunk.bytes.is_empty() {
                    self.conn.heads().left(chunk.arrived, Instant::now(), &self.conn.metrics);
                    self.writing = None;
                }
                continue;
            }
            let mut wait = self.down.chain.watch();
            if !self.down.chain.is_bypassed() {
                match self.down.chain.pull(Instant::now()) {
                    Pull::Item(Item::Data(chunk)) => {
                        self.writing = Some(chunk);
                        continue;
                    }
                    Pull::Item(Item::End(_)) => {
                        self.shut = true;
                        ready!(Pin::new(&mut *socket).poll_shutdown(cx))?;
                        continue;
                    }
                    Pull::Kill(how) => {
                        self.conn.kill(how);
                        continue;
                    }
                    Pull::Wait(at) => wait = earlier(wait, at),
                }
            }
            // The alarm is set also when nothing is held: a fault may end the connection at a given time.
            if self.down.sleep(wait, cx).is_ready() {
                continue;
            }
            if !self.down.chain.is_empty() {
                return Poll::Pending;
            }
            return Pin::new(socket).poll_flush(cx);
        }
    }

    /// Direct writes are possible: no chain, and nothing left from one.
    fn is_direct(&self) -> bool {
        self.down.chain.is_bypassed() && self.writing.is_none()
    }

    fn note_direct(&self, n: usize) {
        self.conn.bytes_down.fetch_add(n as u64, Relaxed);
        self.conn.metrics.bytes_down(n);
        // Heads that were handed over while a fault was on.
        if self.conn.heads().are_waiting() {
            let now = Instant::now();
            self.conn.heads().left(now, now, &self.conn.metrics);
        }
    }

    /// Takes bytes into the chain, if it has room.
    fn accept(&mut self, cx: &mut Context<'_>, bytes: impl FnOnce() -> Bytes) -> Poll<io::Result<usize>> {
        if !self.down.chain.room() {
            let _ = self.drive_out(cx)?;
            if !self.down.chain.room() {
                // What holds it back has set a waker.
                return Poll::Pending;
            }
        }
        let bytes = bytes();
        let n = bytes.len();
        let now = Instant::now();
        if n > 0 {
            self.down.chain.push(Item::Data(Chunk { bytes, arrived: now }), now);
        }
        let _ = self.drive_out(cx)?;
        Poll::Ready(Ok(n))
    }
}

impl AsyncRead for FaultIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.conn.register_reader(cx.waker());
        loop {
            this.up.sync(&this.conn, Dir::Up)?;
            // The other way, too: what is answered to what is read now asks whether faults will act on it.
            this.down.sync(&this.conn, Dir::Down)?;
            ready!(this.up.hold(&this.conn, cx));
            let Some(socket) = &mut this.socket else { return Poll::Ready(Err(ended())) };
            if !this.rest.is_empty() {
                let n = this.rest.len().min(buf.remaining());
                buf.put_slice(&this.rest.split_to(n));
                return Poll::Ready(Ok(()));
            }
            match this.read_end {
                Some(How::Fin | How::Bare) => return Poll::Ready(Ok(())),
                Some(How::Rst) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                None => {}
            }
            let wait = this.up.chain.watch();
            if this.up.chain.is_bypassed() && !this.up.source_ended {
                let before = buf.filled().len();
                if Pin::new(socket).poll_read(cx, buf)?.is_pending() {
                    if this.up.sleep(wait, cx).is_ready() {
                        continue;
                    }
                    return Poll::Pending;
                }
                let n = buf.filled().len() - before;
                // What a fault held back was late; what comes now that it is over is not.
                this.conn.heads().note_up_delay(Duration::ZERO);
                this.conn.bytes_up.fetch_add(n as u64, Relaxed);
                this.conn.metrics.bytes_up(n);
                return Poll::Ready(Ok(()));
            }
            match this.up.chain.pull(Instant::now()) {
                Pull::Item(Item::Data(chunk)) => {
                    this.conn.heads().note_up_delay(chunk.arrived.elapsed());
                    this.rest = chunk.bytes;
                }
                Pull::Item(Item::End(how)) => this.read_end = Some(how),
                Pull::Kill(how) => this.conn.kill(how),
                Pull::Wait(at) => {
                    let reading = !this.up.source_ended && this.up.chain.room();
                    let read = if reading { read_chunk(socket, cx) } else { Poll::Pending };
                    let now = Instant::now();
                    let item = match read {
                        Poll::Pending => {
                            if this.up.sleep(earlier(wait, at), cx).is_ready() {
                                continue;
                            }
                            return Poll::Pending;
                        }
                        Poll::Ready(Ok(bytes)) if !bytes.is_empty() => {
                            this.conn.bytes_up.fetch_add(bytes.len() as u64, Relaxed);
                            this.conn.metrics.bytes_up(bytes.len());
                            Item::Data(Chunk { bytes, arrived: now })
                        }
                        Poll::Ready(end) => {
                            this.up.source_ended = true;
                            Item::End(if end.is_ok() { How::Fin } else { How::Rst })
                        }
                    };
                    this.up.chain.push(item, now);
                }
            }
        }
    }
}

fn read_chunk(socket: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
    ready!(socket.poll_read_ready(cx))?;
    let mut buffer = crate::buffers::Appetite::of(CHUNK).take();
    let mut space = ReadBuf::new(buffer.space());
    ready!(Pin::new(socket).poll_read(cx, &mut space))?;
    let n = space.filled().len();
    buffer.filled(n);
    Poll::Ready(Ok(buffer.keep()))
}

impl AsyncWrite for FaultIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.conn.register_writer(cx.waker());
        this.down.sync(&this.conn, Dir::Down)?;
        ready!(this.down.hold(&this.conn, cx));
        if this.is_direct() {
            let Some(socket) = &mut this.socket else { return Poll::Ready(Err(ended())) };
            let n = ready!(Pin::new(socket).poll_write(cx, data))?;
            this.note_direct(n);
            return Poll::Ready(Ok(n));
        }
        this.accept(cx, || Bytes::copy_from_slice(&data[..data.len().min(CHUNK)]))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.conn.register_writer(cx.waker());
        this.down.sync(&this.conn, Dir::Down)?;
        ready!(this.down.hold(&this.conn, cx));
        if this.is_direct() {
            let Some(socket) = &mut this.socket else { return Poll::Ready(Err(ended())) };
            let n = ready!(Pin::new(socket).poll_write_vectored(cx, parts))?;
            this.note_direct(n);
            return Poll::Ready(Ok(n));
        }
        this.accept(cx, || {
            let mut all = BytesMut::new();
            for part in parts {
                let fits = part.len().min(CHUNK - all.len());
                all.extend_from_slice(&part[..fits]);
            }
            all.freeze()
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.conn.register_writer(cx.waker());
        this.drive_out(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.conn.register_writer(cx.waker());
        if this.conn.killed().is_some() {
            return Poll::Ready(Ok(()));
        }
        this.down.sync(&this.conn, Dir::Down)?;
        if !this.down.source_ended {
            this.down.source_ended = true;
            this.down.chain.push(Item::End(How::Fin), Instant::now());
        }
        ready!(this.drive_out(cx))?;
        if this.shut { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl Drop for FaultIo {
    fn drop(&mut self) {
        self.conn.heads().lost(&self.conn.metrics);
        // Here and not in a handler: futures are dropped before any handler runs.
        if let (Some(socket), Some(how)) = (self.socket.take(), self.conn.killed()) {
            socket.end(how);
        }
    }
}
