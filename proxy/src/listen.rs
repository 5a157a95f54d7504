//! Where a proxy listens: TCP ports or a unix socket; and what becomes of those who knock while that is shut.
//!
//! A TCP port can be shut in two ways without losing it. `Refusing` takes the listening away from the bound socket
//! (shutdown(2) on a listener, see tcp_disconnect in Linux), so that the kernel answers with a reset: clients get
//! ECONNREFUSED. `Hanging` leaves a queue without room (listen(2) with a backlog of zero, and a connection of ours in it),
//! so that the kernel drops what comes. listen(2) undoes both.

use crate::net::Stream;
use arc_swap::ArcSwap;
use host::Netns;
use model::Problem;
use socket2::SockRef;
use std::collections::HashSet;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixStream};
use tokio::sync::Notify;

/// How many connections wait in the kernel until they are accepted.
const BACKLOG: u32 = 4096;
/// How long to wait when a port cannot be listened on again.
const AGAIN: Duration = Duration::from_millis(50);

/// Where to listen, as people write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A host and its ports from one to another, both included.
    Tcp { host: String, first: u16, last: u16 },
    /// A unix socket.
    Unix(PathBuf),
}

impl FromStr for Place {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Place, Problem> {
        let (text, range) = split_range(text.trim())?;
        match text.parse::<crate::net::Address>()? {
            crate::net::Address::Unix(path) => Ok(Place::Unix(path)),
            // No text reads as those.
            crate::net::Address::Tls(..) | crate::net::Address::Inside(..) | crate::net::Address::Nowhere => {
                Err(Problem::new("it is no place to listen"))
            }
            crate::net::Address::Tcp { host, port } => {
                Ok(Place::Tcp { host, first: port, last: range.unwrap_or(port) })
            }
        }
    }
}

/// Separates the last port of a range, `127.0.0.1:7000-7009`, from the address of the first.
pub(crate) fn split_range(text: &str) -> Result<(&str, Option<u16>), Problem> {
    if text.starts_with("unix:") {
        return Ok((text, None));
    }
    let ports = text.rfind(':').map_or("", |colon| &text[colon + 1..]);
    let Some((first, last)) = ports.split_once('-') else { return Ok((text, None)) };
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(from), Ok(to)) if 0 < from && from <= to => Ok((&text[..text.len() - last.len() - 1], Some(to))),
        _ => Err(Problem::new(format!("{text:?} has no range of ports"))
            .hint("write the lower port first, such as 127.0.0.1:7000-7009")),
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
            Place::Tcp { host, first, last } => {
                let bracket = host.contains(':');
                let (open, close) = if bracket { ("[", "]") } else { ("", "") };
                write!(f, "{open}{host}{close}:{first}")?;
                if first == last { Ok(()) } else { write!(f, "-{last}") }
            }
        }
    }
}

impl Place {
    /// How many ports it has.
    pub(crate) fn ports(&self) -> usize {
        match self {
            Place::Tcp { first, last, .. } => usize::from(last - first) + 1,
            Place::Unix(_) => 1,
        }
    }

    /// Listens on all its ports, or on none.
    pub(crate) async fn listen(&self, transparent: bool) -> io::Result<Vec<Listener>> {
        let Place::Tcp { host, first, last } = self else {
            let Place::Unix(path) = self else { return Ok(vec![]) };
            return Ok(vec![Listener::new(bind_unix(path).await?)]);
        };
        let mut all = Vec::new();
        for port in *first..=*last {
            let address = |e: io::Error| io::Error::new(e.kind(), format!("port {port}: {e}"));
            let listener = bind_host(host, port, transparent)
                .await
                .map_err(|e| if first == last { e } else { address(e) })?;
            all.push(Listener::new(Kind::Tcp(ArcSwap::from_pointee(listener))));
        }
        Ok(all)
    }
}

/// Listens on the first of the addresses that the name has.
async fn bind_host(host: &str, port: u16, transparent: bool) -> io::Result<TcpListener> {
    let mut last = io::Error::new(ErrorKind::NotFound, format!("{host} has no address"));
    for address in tokio::net::lookup_host((host, port)).await? {
        match bind(address, transparent) {
            Ok(listener) => return Ok(listener),
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn bind(address: SocketAddr, transparent: bool) -> io::Result<TcpListener> {
    let mut socket = bound(address, transparent)?;
    if address.port() == 0 {
        // A port that the kernel chose is lost when the listening stops; one that was asked for stays.
        if let Ok(again) = bound(socket.local_addr()?, transparent) {
            socket = again;
        }
    }
    socket.listen(BACKLOG)
}

/// A socket for the listener of one family alone, on a port that stays its own. Listens nowhere yet: that needs the runtime,
/// and a thread in another namespace has none.
pub(crate) fn bound_for(address: SocketAddr) -> io::Result<TcpSocket> {
    let first = bound(address, false)?;
    let port = first.local_addr()?;
    drop(first);
    bound(port, false)
}

/// Listens on a socket that is bound.
pub(crate) fn listening(socket: TcpSocket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)
}

fn bound(address: SocketAddr, transparent: bool) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if address.is_ipv6() && address.ip().is_unspecified() {
        // All addresses are IPv4's too, whatever net.ipv6.bindv6only says.
        let _ = SockRef::from(&socket).set_only_v6(false);
    }
    // Connections of a proxy that was there before may still be in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    if transparent {
        // For TPROXY, which needs CAP_NET_ADMIN; redirected connections come without it.
        let _ = SockRef::from(&socket).set_ip_transparent_v4(true);
    }
    socket.bind(address)?;
    Ok(socket)
}

/// A unix socket that is in use stays; a stale one, which nobody listens on, is replaced.
async fn bind_unix(path: &Path) -> io::Result<Kind> {
    if let Ok(found) = std::fs::symlink_metadata(path) {
        let in_use = |why| Err(io::Error::new(ErrorKind::AddrInUse, why));
        if !found.file_type().is_socket() {
            return in_use("there is a file that is no socket");
        }
        match tokio::time::timeout(Duration::from_secs(1), UnixStream::connect(path)).await {
            Ok(Err(e)) if e.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            Ok(Err(e)) if e.kind() == ErrorKind::NotFound => {}
            Ok(Err(e)) => return Err(e),
            Ok(Ok(_)) | Err(_) => return in_use("someone listens on this socket"),
        }
    }
    let listener = UnixListener::bind(path)?;
    let made = std::fs::symlink_metadata(path)?;
    let file = SocketFile { path: path.to_owned(), inode: (made.dev(), made.ino()) };
    Ok(Kind::Unix { listener, _file: file })
}

/// Removes the socket's file in the end, if it is still ours.
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.inode) {
            // Someone else may be quicker; then it is gone, which is what was wanted.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether those who knock are let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Door {
    /// They are.
    Open,
    /// The kernel does not answer them.
    Hanging,
    /// The kernel resets them.
    Refusing,
}

/// One listening socket.
pub(crate) struct Listener {
    kind: Kind,
    /// The network namespace that it is in, when that is not ours.
    ns: Option<Netns>,
    state: Mutex<State>,
    changed: Notify,
}

enum Kind {
    /// Another descriptor of the same socket each time it was shut: the runtime remembers for a descriptor for good that
    /// it hung up, and would ask it again and again.
    Tcp(ArcSwap<TcpListener>),
    Unix {
        listener: UnixListener,
        _file: SocketFile,
    },
}

struct State {
    door: Door,
    /// Our own connections that fill the queue, and where they came from: they must not be served.
    fillers: Vec<socket2::Socket>,
    strangers: HashSet<SocketAddr>,
}

impl Listener {
    fn new(kind: Kind) -> Listener {
        let state = State { door: Door::Open, fillers: Vec::new(), strangers: HashSet::new() };
        Listener { kind, ns: None, state: Mutex::new(state), changed: Notify::new() }
    }

    /// One that was made in another network namespace.
    pub(crate) fn within(listener: TcpListener, ns: Netns) -> Listener {
        Listener { ns: Some(ns), ..Listener::new(Kind::Tcp(ArcSwap::from_pointee(listener))) }
    }

    /// Its address; none for unix sockets.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp(listener) => listener.load().local_addr().ok(),
            Kind::Unix { .. } => None,
        }
    }

    /// The next connection, with the client's address.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if self.lock().door != Door::Open {
                changed.await;
                continue;
            }
            let accepted = tokio::select! {
                biased;
                () = &mut changed => continue,
                accepted = self.accept_now() => accepted,
            };
            match accepted {
                Ok((_, Some(client))) if self.is_ours(client) => {}
                Err(e) if e.raw_os_error() == Some(nix::libc::EINVAL) => {
                    // It does not listen: it was shut just now, or could not be opened again.
                    if self.lock().door == Door::Open && self.listen(BACKLOG as i32).is_err() {
                        tokio::time::sleep(AGAIN).await;
                    }
                }
                accepted => return accepted,
            }
        }
    }

    async fn accept_now(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match &self.kind {
            Kind::Tcp(listener) => {
                let (stream, client) = listener.load_full().accept().await?;
                Ok((Stream::Tcp(stream), Some(client)))
            }
            Kind::Unix { listener, .. } => Ok((Stream::Unix(listener.accept().await?.0), None)),
        }
    }

    /// Shuts or opens it; whether that changed something. None when it stays open, for a unix socket cannot be shut and
    /// opened again: then each connection is dealt with when it has come.
    pub(crate) fn set(&self, door: Door) -> Option<bool> {
        let Kind::Tcp(listener) = &self.kind else { return None };
        let listener = listener.load_full();
        let mut state = self.lock();
        if state.door == door {
            return Some(false);
        }
        state.door = door;
        self.changed.notify_waiters();
        let socket = SockRef::from(&*listener);
        let done = match door {
            Door::Refusing => {
                state.fillers.clear();
                state.strangers.clear();
                // Nobody else may take the port meanwhile, which this option would allow.
                let alone = socket.set_reuse_address(false);
                alone.and_then(|()| socket.shutdown(std::net::Shutdown::Read)).is_ok()
            }
            Door::Hanging => {
                let done = self.listen(0).is_ok();
                if let Ok(address) = listener.local_addr() {
                    let address = reachable(address);
                    let filled = match &self.ns {
                        None => fill(address),
                        // With a queue that is not full some are let in, who then wait for the door.
                        Some(ns) => ns.run(|| fill(address)).unwrap_or_default(),
                    };
                    for (socket, local) in filled {
                        state.strangers.extend(local);
                        state.fillers.push(socket);
                    }
                }
                done
            }
            Door::Open => {
                state.fillers.clear();
                // The acceptor tries again when this fails.
                let _ = self.listen(BACKLOG as i32);
                true
            }
        };
        if !done {
            state.door = Door::Open;
            let _ = self.listen(BACKLOG as i32);
            return None;
        }
        Some(true)
    }

    fn listen(&self, backlog: i32) -> io::Result<()> {
        let Kind::Tcp(kept) = &self.kind else { return Ok(()) };
        let listener = kept.load_full();
        let socket = SockRef::from(&*listener);
        socket.set_reuse_address(true)?;
        socket.listen(backlog)?;
        let again = listener.as_fd().try_clone_to_owned()?;
        kept.store(Arc::new(TcpListener::from_std(again.into())?));
        Ok(())
    }

    fn is_ours(&self, client: SocketAddr) -> bool {
        self.lock().strangers.remove(&client)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in it can be left half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fills the queue: on loopback the kernel completes a connection before connect(2) returns, if there is room. Gives our
/// sockets, and the addresses of those that are in.
fn fill(address: SocketAddr) -> Vec<(socket2::Socket, Option<SocketAddr>)> {
    let mut all = Vec::new();
    for _ in 0..4 {
        let Ok(socket) =
            socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)
        else {
            break;
        };
        let _ = socket.set_nonblocking(true);
        let _ = socket.connect(&address.into());
        let is_in = socket.peer_addr().is_ok();
        // One that is not in is closed before there is room, and its port may then be a client's.
        let local = socket.local_addr().ok().and_then(|a| a.as_socket()).filter(|_| is_in);
        all.push((socket, local));
        if !is_in {
            break;
        }
    }
    all
}

/// Where to reach a listener from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_and_print() {
        for text in
            ["127.0.0.1:80", "[::1]:7000-7009", "localhost:0", "127.0.0.1:7000-7009", "unix:/run/a-1.sock"]
        {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        assert_eq!("127.0.0.1:7000-7009".parse::<Place>().unwrap().ports(), 10);
        let why = |text: &str| text.parse::<Place>().unwrap_err().to_string();
        assert!(why("127.0.0.1:9-3").contains("lower port first"));
        assert!(why("127.0.0.1:a-b").contains("no range"));
        assert!(why("my-host").contains("has no port"));
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_used_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let place = Place::Unix(path.clone());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let first = place.listen(false).await.unwrap();
        let why = |r: io::Result<Vec<Listener>>| r.err().unwrap().to_string();
        assert!(why(place.listen(false).await).contains("someone listens"));
        drop(first);
        assert!(!path.exists());
        std::fs::write(&path, "precious").unwrap();
        assert!(why(place.listen(false).await).contains("no socket"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
