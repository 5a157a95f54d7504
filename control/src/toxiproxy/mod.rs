//! The Toxiproxy-compatible door: an HTTP server of its own that speaks what Toxiproxy's clients speak.
//!
//! ```text
//! client ──HTTP──▶ http ──▶ book ──▶ dyn Ground (a Service, and a little more)
//!                            proxies are targets, toxics are faults armed on them
//! ```
//! Both doors and the console show the same state: what is halted or disarmed elsewhere is gone here, what is opened and
//! armed elsewhere is here as far as Toxiproxy has words for it. The door has no authentication, for its clients have
//! none; it is opened only where it was asked for.

mod address;
mod body;
mod book;
mod hands;
mod http;
mod json;
mod metrics;
mod page;
mod refused;
mod toxic;

use crate::caller::Caller;
use crate::service::{Answer, Service};
use ::http::Request;
use book::Book;
use futures::StreamExt;
use futures::future::BoxFuture;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use model::units::Span;
use model::{EventKind, Injection, Share, Target, TargetRef};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// The version of the API that the door speaks, as it tells its clients.
pub const VERSION: &str = "2.12.0";

/// Where Toxiproxy's clients look for it.
pub const PORT: u16 = 8474;

/// Connections open at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 1024;

/// How long the head of a request may take to come, and a connection may idle.
const IDLE: Duration = Duration::from_secs(60);

/// How long open connections get when the door is closed.
const GRACE: Duration = Duration::from_secs(1);

/// What the door needs of an agent beyond what the API asks of it.
pub trait Ground: Service {
    /// An open target with what stands behind its name.
    fn spec(&self, target: &TargetRef) -> Option<Target>;

    /// Ends the faults of a target and closes it; not found when it is not open.
    fn shut(&self, target: TargetRef, by: Caller) -> BoxFuture<'_, Answer<()>>;

    /// Gives a fault other parameters and another share, to the last digit.
    fn change(&self, id: String, inject: Injection, share: Share, by: Caller) -> BoxFuture<'_, Answer<()>>;
}

/// How the door is.
#[derive(Debug, Clone)]
pub struct Options {
    /// `/metrics` tells of bytes.
    pub proxy_metrics: bool,
    /// `/metrics` tells of this process.
    pub runtime_metrics: bool,
    /// The seed from which that of each toxic is made.
    pub seed: u64,
    /// Toxics end so long after they came; without it they last until they are removed.
    pub max_for: Option<Span>,
    /// For how long a toxic without an end is armed at a time.
    pub stretch: Span,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            proxy_metrics: false,
            runtime_metrics: false,
            seed: 0,
            max_for: None,
            stretch: model::fault::LONGEST,
        }
    }
}

/// An open door. Dropping it closes it at once; [`Door::close`] lets answers finish. Targets and faults stay as they are.
pub struct Door {
    address: SocketAddr,
    book: Arc<Book>,
    end: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Door {
    /// Listens and serves.
    pub async fn open(listen: SocketAddr, agent: Arc<dyn Ground>, options: Options) -> io::Result<Door> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let book = Arc::new(Book::new(agent, options.clone()));
        let (end, ended) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(book.clone(), ended.clone()));
        tasks.spawn(keep(book.clone(), options.clone(), ended.clone()));
        tasks.spawn(accept(listener, book.clone(), Arc::new(options), ended));
        Ok(Door { address, book, end, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Creates proxies, and their toxics, from a file as `POST /populate` takes it; how many.
    pub async fn populate(&self, file: &Path) -> Result<usize, String> {
        let bytes =
            tokio::fs::read(file).await.map_err(|e| format!("cannot read {}: {e}", file.display()))?;
        let by = Caller::inside(format!("file {}", file.display()));
        match self.book.populate(&bytes, &by).await {
            (done, None) => Ok(done.len()),
            (done, Some(refused)) => {
                Err(format!("{}: {} (after {} proxies)", file.display(), refused.text, done.len()))
            }
        }
    }

    /// Accepts no more and lets answers finish for up to a second.
    pub async fn close(mut self) {
        self.end.send_replace(true);
        let _ =
            tokio::time::timeout(GRACE * 2, async { while self.tasks.join_next().await.is_some() {} }).await;
    }
}

/// Returns when the door is closed.
async fn over(ended: &mut watch::Receiver<bool>) {
    let _ = ended.wait_for(|e| *e).await;
}

/// Hears of halts, which concern also what the agent does not know.
async fn follow(book: Arc<Book>, mut ended: watch::Receiver<bool>) {
    let from = book.agent.status().await.map_or(0, |status| status.seq + 1);
    let mut events = book.agent.events(from);
    loop {
        tokio::select! {
            () = over(&mut ended) => return,
            event = events.next() => match event {
                None => return,
                Some(event) if matches!(event.kind, EventKind::Halted { .. }) => book.halted().await,
                Some(_) => {}
            },
        }
    }
}

/// Sees to it that toxics last.
async fn keep(book: Arc<Book>, options: Options, mut ended: watch::Receiver<bool>) {
    let pause = (options.stretch.0 / 16).clamp(Duration::from_millis(20), Duration::from_secs(3600));
    let by = Caller::inside("toxiproxy door");
    while tokio::time::timeout(pause, over(&mut ended)).await.is_err() {
        book.keep(&by).await;
    }
}

async fn accept(
    listener: TcpListener,
    book: Arc<Book>,
    options: Arc<Options>,
    mut ended: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut open = JoinSet::new();
    loop {
        let free = slots.clone();
        let next = async {
            // The semaphore is never closed.
            let slot = free.acquire_owned().await.ok();
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            biased;
            () = over(&mut ended) => break,
            Some(_) = open.join_next() => continue,
            next = next => next,
        };
        let Ok((stream, peer)) = accepted else {
            // Descriptors have run out; trying again at once would burn a core.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (book, options, ended) = (book.clone(), options.clone(), ended.clone());
        open.spawn(async move {
            serve(stream, peer.ip().to_canonical(), book, options, ended).await;
            drop(slot);
        });
    }
    while open.join_next().await.is_some() {}
}

async fn serve(
    stream: TcpStream,
    peer: IpAddr,
    book: Arc<Book>,
    options: Arc<Options>,
    mut ended: watch::Receiver<bool>,
) {
    // Fails only when the connection is gone already.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (book, options) = (book.clone(), options.clone());
        async move { Ok::<_, std::convert::Infallible>(http::answer(&book, &options, peer, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = pin!(connection);
    tokio::select! {
        // A client that went away mid-answer is its own business.
        _ = connection.as_mut() => return,
        () = over(&mut ended) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(GRACE, connection).await;
}
