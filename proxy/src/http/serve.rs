//! One client's connection, from its first byte to its end.

use super::exchange::exchange;
use super::h1::head::{Refused, bad};
use super::h1::{H1, Io, room};
use super::wire::Ending;
use super::{Context, Pool, h2};
use crate::admission::{admit, attend};
use crate::chain::How;
use crate::conn::{Open, Phase};
use crate::faultio::FaultIo;
use crate::net::Stream;
use crate::target::Target;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// What a client that speaks HTTP/2 says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long what a client still sends is read, so that it gets what was sent to it and not a reset.
const LINGER: Duration = Duration::from_secs(2);

/// Serves one client's connection until it ends.
pub(crate) async fn serve(target: Arc<Target>, open: Open, socket: Stream, pool: Arc<Pool>) {
    let conn = open.share();
    let timers = target.timers().clone();
    if let Err(how) = admit(&conn, &timers).await {
        socket.end(how);
        target.ended_with(&open, true);
        return;
    }
    conn.enter(Phase::Open);
    let io = FaultIo::new(socket, open, &timers);
    let context = Context { target, conn: conn.clone(), pool };
    // What goes wrong on a client's connection has been told to the client, and its requests have been counted.
    // Boxed, so that it is not moved about with all it has room for.
    let _ = attend(&conn, &timers, Box::pin(any_version(context, io))).await;
}

/// Serves a stream whose client says by its first bytes which version it speaks.
pub(crate) async fn any_version<T: Io + 'static>(context: Context, io: T) {
    // Boxed as well: whoever is handed it is handed an address.
    let mut side = Box::new(H1::new(io));
    loop {
        let known = side.input().len().min(PREFACE.len());
        if side.input()[..known] != PREFACE[..known] || side.has_ended() {
            return Box::pin(http1(&context, side)).await;
        }
        if known == PREFACE.len() {
            let (io, input) = side.into_parts();
            return Box::pin(h2::serve(context, Rewound { first: input.freeze(), io })).await;
        }
        if poll_fn(|cx| poll_first(&mut side, cx)).await.is_err() {
            return;
        }
    }
}

fn poll_first<T: Io>(side: &mut H1<T>, cx: &mut Task<'_>) -> Poll<std::io::Result<usize>> {
    let read = side.poll_more(cx);
    if read.is_pending() {
        side.put_by();
    }
    read
}

/// Serves requests of HTTP/1.1, one after the other.
async fn http1<T: Io>(context: &Context, mut side: Box<H1<T>>) {
    loop {
        match poll_fn(|cx| side.poll_next(cx)).await {
            Ok(Some(size)) => {
                let mut heads = room::heads();
                let read = side.take_request(size, &mut heads.request);
                if let Err(why) = read {
                    return Box::pin(refuse(context, side, why)).await;
                }
                // Boxed, so that a connection on which nothing happens does not keep the room that a request needs.
                Box::pin(exchange(context, &mut *side, &mut heads)).await;
                room::give_heads(heads);
                if !side.keep {
                    return Box::pin(end(context, side)).await;
                }
            }
            // It has ended in order, and so do we: what was written to it may still be held by faults.
            Ok(None) => return Box::pin(close(side)).await,
            Err(Some(why)) => return refuse(context, side, why).await,
            Err(None) => return,
        }
    }
}

async fn refuse<T: Io>(context: &Context, mut side: Box<H1<T>>, why: Refused) {
    let why =
        if side.input().starts_with(&[0x16, 3]) { bad("this is TLS, and HTTP is spoken here") } else { why };
    context.conn.metrics.refused();
    side.refuse(why);
    close(side).await;
}

/// As it was said that it ends.
async fn end<T: Io>(context: &Context, side: Box<H1<T>>) {
    match side.ending() {
        Some(Ending::Rst | Ending::Reset(_)) => {
            context.conn.kill(How::Rst);
            drop(side);
        }
        Some(Ending::Fin | Ending::GoAway(_)) | None => close(side).await,
    }
}

async fn close<T: Io>(mut side: Box<H1<T>>) {
    if poll_fn(|cx| side.poll_out(cx)).await.is_err() || poll_fn(|cx| side.poll_shutdown(cx)).await.is_err() {
        return;
    }
    if side.has_ended() {
        return;
    }
    let io = side.io();
    let _ = tokio::time::timeout(LINGER, async {
        let mut scratch = [0; 1024];
        while matches!(io.read(&mut scratch).await, Ok(n) if n > 0) {}
    })
    .await;
}

/// A stream of which the first bytes have been read.
struct Rewound<T> {
    first: bytes::Bytes,
    io: T,
}

impl<T: Io> tokio::io::AsyncRead for Rewound<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Task<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        if this.first.is_empty() {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        let n = this.first.len().min(buf.remaining());
        buf.put_slice(&this.first.split_to(n));
        Poll::Ready(Ok(()))
    }
}

impl<T: Io> tokio::io::AsyncWrite for Rewound<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Task<'_>, data: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Task<'_>,
        parts: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_waits_is_small() {
        fn size<F: Future>(_: impl Fn(&'static Context, Box<H1<FaultIo>>) -> F) -> usize {
            size_of::<F>()
        }
        let waiting = size(http1::<FaultIo>) + size_of::<H1<FaultIo>>();
        assert!(waiting < 3072, "{waiting}");
    }
}
