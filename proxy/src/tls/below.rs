//! What lies between TLS and the socket: the bytes of the ClientHello that were read to look at it, and a gate that can stop
//! the server's side of a handshake at a named step.

use super::gate::Gate;
use super::hello::{self, ClientHello, Parsed};
use crate::chain::How;
use crate::conn::Conn;
use crate::net::Stream;
use bytes::{Buf, Bytes, BytesMut};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// A socket below TLS. Dropped while something wants the connection to end, it ends it as that says.
pub(crate) struct Below {
    /// None once it was taken out.
    socket: Option<Stream>,
    /// Read already, and not yet by TLS.
    prefix: Bytes,
    gate: Option<Box<Gate>>,
    conn: Option<Arc<Conn>>,
}

impl Below {
    /// A client's connection.
    pub(crate) fn new(socket: Stream, conn: Arc<Conn>) -> Below {
        Below { socket: Some(socket), prefix: Bytes::new(), gate: None, conn: Some(conn) }
    }

    /// A connection to a service.
    pub(crate) fn bare(socket: Stream) -> Below {
        Below { socket: Some(socket), prefix: Bytes::new(), gate: None, conn: None }
    }

    /// Reads until there is a ClientHello; none when what comes is something else. The bytes stay to be read.
    pub(crate) async fn hello(&mut self) -> io::Result<Option<ClientHello>> {
        let Some(socket) = &mut self.socket else { return Err(gone()) };
        // Most fit.
        let mut bytes = BytesMut::with_capacity(2048);
        let parsed = loop {
            let n = socket.read_buf(&mut bytes).await?;
            match hello::parse(&bytes) {
                Parsed::Hello(hello) => break Some(hello),
                Parsed::Never => break None,
                Parsed::More if n == 0 && bytes.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
                Parsed::More if n == 0 => break None,
                Parsed::More => {}
            }
        };
        self.prefix = bytes.freeze();
        Ok(parsed)
    }

    /// Stops the server's side of the handshake.
    pub(crate) fn stop_at(&mut self, gate: Gate) {
        self.gate = Some(Box::new(gate));
    }

    /// The socket, which is then no longer here.
    pub(crate) fn take_socket(&mut self) -> Option<Stream> {
        self.socket.take()
    }

    /// The socket.
    pub(crate) fn socket(&self) -> Option<&Stream> {
        self.socket.as_ref()
    }

    /// Ends the connection.
    pub(crate) fn end(mut self, how: How) {
        if let Some(socket) = self.take_socket() {
            socket.end(how);
        }
    }

    /// Ready when there may be something to read.
    pub(crate) fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = self.poll_gate(cx)?;
        match &mut self.socket {
            Some(socket) if self.prefix.is_empty() => socket.poll_read_ready(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Lets out what the gate lets; ready with true when nothing stands in the way any more.
    fn poll_gate(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let Some(gate) = &mut self.gate else { return Poll::Ready(Ok(true)) };
        let Some(socket) = &mut self.socket else { return Poll::Ready(Err(gone())) };
        let opened = ready!(gate.drain(cx, socket))?;
        if opened {
            self.gate = None;
        }
        Poll::Ready(Ok(opened))
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the connection was ended")
}

impl AsyncRead for Below {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let _ = this.poll_gate(cx)?;
        if !this.prefix.is_empty() {
            let n = this.prefix.len().min(buf.remaining());
            buf.put_slice(&this.prefix[..n]);
            this.prefix.advance(n);
            if this.prefix.is_empty() {
                // Gives the memory back.
                this.prefix = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        let Some(socket) = &mut this.socket else { return Poll::Ready(Err(gone())) };
        let before = buf.filled().len();
        ready!(Pin::new(socket).poll_read(cx, buf))?;
        if let Some(gate) = &mut this.gate {
            gate.client_sent(&buf.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Below {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !ready!(this.poll_gate(cx))?
            && let Some(gate) = &mut this.gate
        {
            if gate.is_shut() {
                // The gate wakes it.
                return Poll::Pending;
            }
            gate.push(data);
            let _ = this.poll_gate(cx)?;
            return Poll::Ready(Ok(data.len()));
        }
        let Some(socket) = &mut this.socket else { return Poll::Ready(Err(gone())) };
        Pin::new(socket).poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.gate.is_some() {
            let all: Vec<u8> = parts.iter().flat_map(|p| p.iter().copied()).collect();
            return self.poll_write(cx, &all);
        }
        match &mut self.get_mut().socket {
            Some(socket) => Pin::new(socket).poll_write_vectored(cx, parts),
            None => Poll::Ready(Err(gone())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(gate) = &mut this.gate {
            gate.flight_ended();
        }
        if !ready!(this.poll_gate(cx))? && this.gate.as_ref().is_some_and(|gate| gate.is_shut()) {
            return Poll::Pending;
        }
        match &mut this.socket {
            Some(socket) => Pin::new(socket).poll_flush(cx),
            None => Poll::Ready(Err(gone())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Some(socket) => Pin::new(socket).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl fmt::Debug for Below {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Below").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Drop for Below {
    fn drop(&mut self) {
        let how = self.conn.as_ref().and_then(|conn| conn.killed());
        if let (Some(socket), Some(how)) = (self.socket.take(), how) {
            socket.end(how);
        }
    }
}
