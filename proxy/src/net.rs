//! Sockets: where services are, how they are dialled, how connections end.

use crate::chain::How;
use crate::front::Resident;
use crate::tls::{Below, Originate};
use model::Problem;
use socket2::SockRef;
use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

/// Where a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A host by name or number, and its port. Names are looked up at each dial.
    Tcp { host: String, port: u16 },
    /// A unix socket, `unix:/run/db.sock`.
    Unix(PathBuf),
    /// One of these, spoken to over TLS.
    Tls(Box<Address>, Secured),
    /// An address as it is seen in another network namespace.
    Inside(SocketAddr, Arc<Resident>),
    /// Where a client was going that came to us, and not by a rule that redirected it. Cannot be reached.
    Nowhere,
}

/// How TLS with a service is made.
#[derive(Debug, Clone)]
pub(crate) struct Secured(pub(crate) Arc<Originate>);

impl PartialEq for Secured {
    fn eq(&self, other: &Secured) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Secured {}

impl FromStr for Address {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Address, Problem> {
        let text = text.trim();
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(Problem::new(format!("{text:?} has no path")).hint("write unix:/path/to/socket"));
            }
            return Ok(Address::Unix(path.into()));
        }
        let advice = "write host:port, such as 127.0.0.1:8080, [::1]:8080 or payments:8080";
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(Problem::new(format!("{text:?} has no port")).hint(advice));
        };
        let port = port
            .parse()
            .map_err(|_| Problem::new(format!("{text:?}: {port:?} is not a port")).hint(advice))?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if bare.is_empty() || (bare.contains(':') && bare == host) {
            return Err(Problem::new(format!("{text:?} has no host")).hint(advice));
        }
        Ok(Address::Tcp { host: bare.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tls(address, _) => address.fmt(f),
            Address::Inside(address, _) => address.fmt(f),
            Address::Nowhere => f.write_str("nowhere"),
        }
    }
}

impl Address {
    /// What requests that name no host are sent to it as.
    pub(crate) fn host(&self) -> String {
        match self {
            Address::Tcp { .. } | Address::Inside(..) => self.to_string(),
            Address::Unix(_) | Address::Nowhere => "localhost".to_owned(),
            Address::Tls(address, _) => address.host(),
        }
    }

    /// Its host alone: what its certificate is for.
    pub(crate) fn name(&self) -> Cow<'_, str> {
        match self {
            Address::Tcp { host, .. } => Cow::Borrowed(host),
            Address::Inside(address, _) => Cow::Owned(address.ip().to_string()),
            Address::Unix(_) | Address::Nowhere => Cow::Borrowed("localhost"),
            Address::Tls(address, _) => address.name(),
        }
    }
}

/// A connected stream socket.
#[derive(Debug)]
pub(crate) enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// TLS on one of these.
    Tls(Box<TlsStream<Below>>),
    /// One of these, from which the beginning was read and is still to be read.
    Peeked(Box<Below>),
}

/// How long an orderly end waits for the other side to read it and to end, too.
const LINGER: Duration = Duration::from_secs(2);

impl Stream {
    /// Small messages leave at once; what delays them is for faults to say.
    pub(crate) fn no_delay(&self) {
        if let Stream::Tcp(stream) = self {
            // Fails only when the connection is gone already, which the next read tells.
            let _ = stream.set_nodelay(true);
        }
    }

    /// Our own address; none for unix sockets.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Stream::Tcp(stream) => stream.local_addr().ok(),
            Stream::Unix(_) => None,
            Stream::Tls(stream) => stream.get_ref().0.socket()?.local_address(),
            Stream::Peeked(below) => below.socket()?.local_address(),
        }
    }

    /// What was agreed on by ALPN.
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        match self {
            Stream::Tls(stream) => stream.get_ref().1.alpn_protocol(),
            _ => None,
        }
    }

    /// Whether a write may be taken and stay here until it is flushed.
    pub(crate) fn holds_back(&self) -> bool {
        matches!(self, Stream::Tls(_) | Stream::Peeked(_))
    }

    /// Where a redirected connection was going: what nf_tables remembers of it (SO_ORIGINAL_DST), or with TPROXY the
    /// address that it came to. None for one that was meant for us, which we would otherwise dial ourselves.
    pub(crate) fn destination(&self, listener: Option<SocketAddr>) -> Option<SocketAddr> {
        let Stream::Tcp(stream) = self else { return None };
        let local = stream.local_addr().ok()?;
        // A client that came to an IPv6 listener by IPv4 is remembered as what it is.
        let local = SocketAddr::new(local.ip().to_canonical(), local.port());
        let socket = SockRef::from(stream);
        let original = if local.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
        match original.ok().and_then(|address| address.as_socket()) {
            Some(original) if (original.ip(), original.port()) != (local.ip(), local.port()) => {
                Some(original)
            }
            _ => (Some(local.port()) != listener.map(|l| l.port())).then_some(local),
        }
    }

    /// Ready when there may be something to read. Needs no buffer.
    pub(crate) fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => stream.poll_read_ready(cx),
            Stream::Unix(stream) => stream.poll_read_ready(cx),
            // Whether there is something shows only when it is decrypted.
            Stream::Tls(_) => Poll::Ready(Ok(())),
            Stream::Peeked(below) => below.poll_read_ready(cx),
        }
    }

    /// Ends the connection from our side, at once as far as the caller is concerned.
    pub(crate) fn end(mut self, how: How) {
        match (how, tokio::runtime::Handle::try_current()) {
            (How::Rst, _) | (_, Err(_)) => self.reset(),
            (How::Bare, Ok(runtime)) if self.holds_back() => {
                runtime.spawn(tokio::time::timeout(LINGER, async move {
                    // What was written before must arrive.
                    let _ = self.flush().await;
                    if let Some(socket) = self.take_socket() {
                        socket.end(How::Fin);
                    }
                }));
            }
            (How::Fin | How::Bare, Ok(runtime)) => {
                // Closing a socket with unread bytes sends a reset, so what still comes is read and thrown away.
                runtime.spawn(tokio::time::timeout(LINGER, async move {
                    let _ = self.shutdown().await;
                    let mut scratch = [0; 4096];
                    while matches!(self.read(&mut scratch).await, Ok(n) if n > 0) {}
                }));
            }
        }
    }

    /// Closes with a reset. On a unix socket the other side sees its end, or a reset when it had sent something unread.
    pub(crate) fn reset(mut self) {
        if let Stream::Tcp(stream) = &self {
            // Fails only when the connection is gone already.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
        if let Some(socket) = self.take_socket() {
            socket.reset();
        }
    }

    /// The socket below.
    fn take_socket(&mut self) -> Option<Stream> {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => None,
            Stream::Tls(stream) => match &mut **stream {
                TlsStream::Server(stream) => stream.get_mut().0.take_socket(),
                TlsStream::Client(stream) => stream.get_mut().0.take_socket(),
            },
            Stream::Peeked(below) => below.take_socket(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => match Pin::new(&mut **stream).poll_read(cx, buf) {
                // Clients may hang up without close_notify: many do, and nothing is lost by it.
                Poll::Ready(Err(e))
                    if e.kind() == io::ErrorKind::UnexpectedEof
                        && matches!(**stream, TlsStream::Server(_)) =>
                {
                    Poll::Ready(Ok(()))
                }
                other => other,
            },
            Stream::Peeked(below) => Pin::new(&mut **below).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
            Stream::Peeked(below) => Pin::new(&mut **below).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
            Stream::Peeked(below) => Pin::new(&mut **below).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
            Stream::Peeked(below) => Pin::new(&mut **below).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            Stream::Peeked(below) => Pin::new(&mut **below).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_and_print() {
        for text in ["127.0.0.1:80", "[::1]:80", "payments:8080", "unix:/run/x.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        let why = |text: &str| text.parse::<Address>().unwrap_err().to_string();
        assert!(why("payments").contains("has no port"));
        assert!(why("payments:http").contains("is not a port"));
        assert!(why(":80").contains("has no host"));
        assert!(why("::1:80").contains("has no host"));
        assert!(why("unix:").contains("has no path"));
    }
}
