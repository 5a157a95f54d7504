//! The server: a unix socket, and TCP only where it was asked for.

mod asked;
mod guard;
mod handlers;
mod http;
mod socket;
mod sse;

pub use guard::Grant;
pub(crate) use handlers::INSTANCE;
pub use socket::SocketOptions;
pub(crate) use sse::HEARTBEAT;

use crate::caller::Role;
use crate::service::Service;
use crate::tls::{Accepted, ServerTls, TlsOptions, TrustError};
use guard::Door;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Connections open at a time at one listener; more wait in the kernel's queue.
const CONNECTIONS: usize = 256;

/// How long the head of a request may take to come, also on a connection kept open.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// How long open connections get when the server ends.
const GRACE: Duration = Duration::from_secs(1);

/// Where to listen.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The unix socket.
    pub socket: Option<SocketOptions>,
    /// TCP, only on purpose.
    pub tcp: Option<TcpOptions>,
}

/// A TCP listener.
#[derive(Debug, Clone)]
pub struct TcpOptions {
    /// Where; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Who may, by token. Beyond loopback this, or TLS that asks for certificates, is required. With both, both must be
    /// shown, and the certificate says who it is.
    pub grants: Vec<Grant>,
    /// What callers may on loopback where neither a token nor a certificate is asked for.
    pub open: Role,
    /// TLS; none: plain HTTP.
    pub tls: Option<TlsOptions>,
}

impl TcpOptions {
    /// A listener of plain HTTP where everyone may look.
    pub fn new(listen: SocketAddr) -> TcpOptions {
        TcpOptions { listen, grants: Vec::new(), open: Role::Viewer, tls: None }
    }

    /// Whether others than this machine's processes can reach it and are asked for nothing. It does not start then.
    pub fn is_open_to_others(&self) -> bool {
        let asks = !self.grants.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        self.beyond_loopback() && !asks
    }

    /// Whether others than this machine's processes can reach it.
    pub fn beyond_loopback(&self) -> bool {
        !self.listen.ip().to_canonical().is_loopback()
    }
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The path is longer than a socket address can be.
    #[error(
        "the socket path {path:?} has {len} bytes and a socket takes 107; choose a shorter one with --socket"
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length.
        len: usize,
    },
    /// Something that is no socket is in the way.
    #[error(
        "{path:?} exists and is not a socket; nothing was touched: move it away, or choose another path with --socket"
    )]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The socket or its directory is someone else's.
    #[error("{path:?} belongs to uid {owner}, not to you (uid {me}); choose another path with --socket")]
    NotYours {
        /// What belongs to someone else.
        path: PathBuf,
        /// To whom.
        owner: u32,
        /// Who asks.
        me: u32,
    },
    /// Anyone could replace the socket.
    #[error(
        "anyone may write in {path:?}, so anyone could replace the socket; choose a directory of your own with --socket"
    )]
    OpenDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// Another agent is there.
    #[error(
        "an agent already listens on {path:?}; use it (murphy list), end it, or choose another path with --socket"
    )]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// There is no such group.
    #[error("there is no group {group:?} for the socket; create it, or leave it out")]
    NoGroup {
        /// Its name.
        group: String,
    },
    /// TCP beyond loopback that asks for nothing.
    #[error(
        "{listen} is reachable from other machines, and anyone there could inject faults; ask for a token of at least 256 \
         bits (openssl rand -hex 32) with --token-file, or for certificates with --tls-cert, --tls-key and --tls-client-ca; \
         or listen on 127.0.0.1"
    )]
    Unguarded {
        /// Where it should have listened.
        listen: SocketAddr,
    },
    /// The files of TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TrustError),
    /// The system refused.
    #[error("cannot {act} {what}: {source}{}", advice(source))]
    System {
        /// What was attempted: `listen on`.
        act: &'static str,
        /// On what.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Neither a socket nor TCP was asked for.
    #[error("the agent would listen nowhere; give --socket or a TCP address")]
    Nowhere,
}

fn advice(e: &io::Error) -> &'static str {
    match e.kind() {
        io::ErrorKind::PermissionDenied => "; choose a path you may write with --socket, or run as root",
        io::ErrorKind::AddrInUse => "; something listens there already: choose another port",
        io::ErrorKind::AddrNotAvailable => "; that address is not this machine's",
        _ => "",
    }
}

/// A running server. Dropping it ends it at once; [`Server::stop`] lets answers finish.
#[derive(Debug)]
pub struct Server {
    socket: Option<socket::Bound>,
    address: Option<SocketAddr>,
    end: Arc<watch::Sender<bool>>,
    tasks: JoinSet<()>,
}

impl Server {
    /// Listens and serves.
    pub async fn start(options: Options, service: Arc<dyn Service>) -> Result<Server, StartError> {
        if options.socket.is_none() && options.tcp.is_none() {
            return Err(StartError::Nowhere);
        }
        let instance = instance();
        let mut server = Server { socket: None, address: None, end: Arc::default(), tasks: JoinSet::new() };
        if let Some(tcp) = options.tcp {
            if tcp.is_open_to_others() {
                return Err(StartError::Unguarded { listen: tcp.listen });
            }
            let tls = tcp.tls.clone().map(ServerTls::open).transpose()?;
            let listener = TcpListener::bind(tcp.listen).await.map_err(|source| StartError::System {
                act: "listen on",
                what: tcp.listen.to_string(),
                source,
            })?;
            server.address = listener.local_addr().ok();
            let door = Arc::new(Door::tcp(service.clone(), instance.clone(), tcp.grants, tcp.open, tls));
            server.tasks.spawn(accept_tcp(listener, door, slots(), server.end.subscribe()));
        }
        if let Some(options) = options.socket {
            let (bound, listener) = socket::bind(&options)?;
            let door = Arc::new(Door::unix(service, instance, &options, bound.group));
            server.tasks.spawn(accept_unix(listener, door, slots(), server.end.subscribe()));
            server.socket = Some(bound);
        }
        Ok(server)
    }

    /// The unix socket's path.
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_ref().map(|bound| bound.path.as_path())
    }

    /// The TCP address, with the port that was taken.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Stops accepting, lets answers finish for up to a second, ends event streams, removes the socket.
    pub async fn stop(mut self) {
        self.end.send_replace(true);
        let _ =
            tokio::time::timeout(GRACE * 2, async { while self.tasks.join_next().await.is_some() {} }).await;
    }
}

/// Each listener has its own, so that a crowd on TCP does not keep anyone from the socket.
fn slots() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(CONNECTIONS))
}

/// Tells one life of an agent from the next, so that event numbers are not taken for those of an earlier one.
fn instance() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", std::process::id(), now.as_nanos())
}

/// Takes those who come, each to a task of its own, while there are slots; at the end waits for all that are in.
async fn accept_all<S, F: Future<Output = ()> + Send + 'static>(
    mut next: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>>,
    slots: Arc<Semaphore>,
    mut end: watch::Receiver<bool>,
    receive: impl Fn(S) -> Option<F>,
) {
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = end.wait_for(|e| *e) => break,
            Some(_) = open.join_next() => continue,
            accepted = accept_when_free(&slots, poll_fn(&mut next)) => accepted,
        };
        let Some((slot, Ok(stream))) = accepted else {
            pause().await;
            continue;
        };
        let Some(received) = receive(stream) else { continue };
        open.spawn(async move {
            received.await;
            drop(slot);
        });
    }
    while open.join_next().await.is_some() {}
}

async fn accept_tcp(
    listener: TcpListener,
    door: Arc<Door>,
    slots: Arc<Semaphore>,
    end: watch::Receiver<bool>,
) {
    let next = |cx: &mut Context<'_>| listener.poll_accept(cx).map_ok(|(stream, _)| stream);
    let receive = |stream: TcpStream| {
        let _ = stream.set_nodelay(true);
        Some(receive(stream, door.clone(), end.clone()))
    };
    accept_all(next, slots, end.clone(), receive).await;
}

async fn accept_unix(
    listener: UnixListener,
    door: Arc<Door>,
    slots: Arc<Semaphore>,
    end: watch::Receiver<bool>,
) {
    let next = |cx: &mut Context<'_>| listener.poll_accept(cx).map_ok(|(stream, _)| stream);
    let receive = |stream: UnixStream| {
        let cred = stream.peer_cred().ok()?;
        let (door, end) = (door.clone(), end.clone());
        Some(async move {
            let caller = door.unix_caller(cred).await;
            serve(Box::new(stream), Visitor::Caller(Some(caller)), door, end).await;
        })
    };
    accept_all(next, slots, end.clone(), receive).await;
}

/// Serves who came over TCP, after TLS where that is spoken.
async fn receive(stream: TcpStream, door: Arc<Door>, mut end: watch::Receiver<bool>) {
    let Some(tls) = door.tls() else {
        let visitor = Visitor::Caller(door.tcp_caller());
        return serve(Box::new(stream), visitor, door, end).await;
    };
    let accepted = tokio::select! {
        accepted = tls.accept(stream) => accepted,
        _ = end.wait_for(|e| *e) => return,
    };
    match accepted {
        Accepted::Tls(stream, caller) => {
            let visitor = Visitor::Caller(caller.or_else(|| door.tcp_caller()));
            serve(stream, visitor, door, end).await;
        }
        Accepted::Clear(stream) => serve(Box::new(stream), Visitor::WithoutTls, door, end).await,
        Accepted::Nothing => {}
    }
}

async fn accept_when_free<T>(
    slots: &Arc<Semaphore>,
    accept: impl Future<Output = io::Result<T>>,
) -> Option<(tokio::sync::OwnedSemaphorePermit, io::Result<T>)> {
    let slot = slots.clone().acquire_owned().await.ok()?;
    Some((slot, accept.await))
}

/// Accepting fails when descriptors run out; trying again at once would burn a core.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Whom a connection is with.
#[derive(Clone)]
enum Visitor {
    /// Someone, as far as the connection says who.
    Caller(Option<crate::Caller>),
    /// Someone who speaks plain HTTP where TLS is spoken.
    WithoutTls,
}

/// A connection of any kind. One type for all, so that HTTP is in the program once.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

async fn serve(stream: Box<dyn Wire>, visitor: Visitor, door: Arc<Door>, mut end: watch::Receiver<bool>) {
    let streams = end.clone();
    let answer = service_fn(move |request| {
        let (door, visitor, end) = (door.clone(), visitor.clone(), streams.clone());
        async move {
            Ok::<_, std::convert::Infallible>(match visitor {
                Visitor::Caller(caller) => handlers::answer(&door, caller, request, end).await,
                Visitor::WithoutTls => handlers::speaks_tls(&door.instance),
            })
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = pin!(connection);
    tokio::select! {
        // A client that went away mid-answer is its own business.
        _ = connection.as_mut() => return,
        _ = end.wait_for(|e| *e) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(GRACE, connection).await;
}
