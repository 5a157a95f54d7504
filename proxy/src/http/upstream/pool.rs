//! Connections to the service, kept for the next request.
//!
//! A request is sent once. Only one that was put on a kept connection, and of which not a byte was written because the
//! service had closed it meanwhile, goes to another: a fault (or the service) that breaks a connection must be seen.

use super::shared::{Share, Shared};
use crate::dial::Dial;
use crate::http::h1::H1;
use crate::net::{Address, Stream};
use crate::tls::Offer;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use tokio::runtime::Handle;

/// More idle connections than these are closed.
const KEEP: usize = 1024;

/// The connections to one service.
pub(crate) struct Pool {
    address: Address,
    how: Dial,
    host: String,
    idle: Mutex<Vec<H1<Stream>>>,
    /// Of HTTP/2, where requests share connections.
    shared: Mutex<Vec<Arc<Shared>>>,
    dialling: tokio::sync::Mutex<()>,
    /// The service was spoken to in HTTP/2 and did not understand.
    only_http1: AtomicBool,
    reaper: OnceLock<Waker>,
}

/// Why the service gave no answer, as a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unanswered(pub(crate) String);

impl Pool {
    /// No connections yet.
    pub(crate) fn new(address: Address, how: Dial) -> Arc<Pool> {
        let host = address.host();
        Arc::new(Pool {
            address,
            how,
            host,
            idle: Mutex::default(),
            shared: Mutex::default(),
            dialling: tokio::sync::Mutex::default(),
            only_http1: AtomicBool::new(false),
            reaper: OnceLock::new(),
        })
    }

    /// Connections of one client alone, which the service sees come from it.
    pub(crate) fn of_client(&self, client: Option<SocketAddr>) -> Arc<Pool> {
        Pool::new(self.address.clone(), self.how.from(client))
    }

    /// Where the service is, for sentences.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The host of requests that name none.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// A kept connection of HTTP/1.1, if there is one that the service has not closed.
    pub(crate) fn kept(&self) -> Option<H1<Stream>> {
        loop {
            let mut side = self.lock().pop()?;
            let alive = is_quiet(&mut side, &mut Context::from_waker(Waker::noop()));
            if alive {
                return Some(side);
            }
        }
    }

    /// A new connection of HTTP/1.1.
    pub(crate) async fn fresh(&self) -> Result<H1<Stream>, Unanswered> {
        self.dial(Offer::Http1).await.map(H1::new)
    }

    async fn dial(&self, offer: Offer) -> Result<Stream, Unanswered> {
        let how = self.how.offering(offer);
        let stream = self.address.dial(how).await.map_err(|e| {
            if e.to_string().contains("NoApplicationProtocol") {
                self.only_http1.store(true, Release);
            }
            Unanswered(e.to_string())
        })?;
        if offer == Offer::Http2 && stream.alpn().is_some_and(|chosen| chosen != b"h2") {
            self.only_http1.store(true, Release);
            return Err(Unanswered(format!("{} does not speak HTTP/2: it chose HTTP/1.1", self.address)));
        }
        Ok(stream)
    }

    /// Takes a connection back.
    pub(crate) fn give_back(self: &Arc<Pool>, mut side: H1<Stream>) {
        let reaper = self.reaper.get_or_init(|| {
            let pool = Arc::downgrade(self);
            Arc::new(Reaper { pool, runtime: Handle::current(), called: AtomicBool::new(false) }).into()
        });
        side.put_by();
        // Whoever closes it from now on calls the reaper.
        if is_quiet(&mut side, &mut Context::from_waker(reaper)) {
            let mut idle = self.lock();
            if idle.len() < KEEP {
                idle.push(side);
            }
        }
    }

    fn sweep(&self) {
        let Some(reaper) = self.reaper.get() else { return };
        let mut idle = std::mem::take(&mut *self.lock());
        idle.retain_mut(|side| is_quiet(side, &mut Context::from_waker(reaper)));
        let mut now = self.lock();
        idle.append(&mut now);
        *now = idle;
    }

    /// A share in a connection of HTTP/2, and whether it has served others before.
    pub(crate) async fn share(&self) -> Result<(Share, bool), Unanswered> {
        if let Some(share) = self.shared_with_room() {
            return Ok((share, true));
        }
        let _one = self.dialling.lock().await;
        if let Some(share) = self.shared_with_room() {
            return Ok((share, true));
        }
        let transport = self.dial(Offer::Http2).await?;
        let shared = Shared::handshake(transport).await.map_err(|why| {
            self.only_http1.store(true, Release);
            Unanswered(format!("{} does not speak HTTP/2 to us: {why}", self.address))
        })?;
        self.only_http1.store(false, Release);
        let mut all = self.lock_shared();
        all.retain(|s| !s.is_closed());
        all.push(shared.clone());
        Ok((Share::of(shared), false))
    }

    /// Whether the service was found not to speak HTTP/2, so that the client's version is not tried again.
    pub(crate) fn speaks_only_http1(&self) -> bool {
        self.only_http1.load(Acquire)
    }

    fn shared_with_room(&self) -> Option<Share> {
        let all = self.lock_shared();
        all.iter().find(|s| !s.is_closed() && s.has_room()).cloned().map(Share::of)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<H1<Stream>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_shared(&self) -> MutexGuard<'_, Vec<Arc<Shared>>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the service has neither closed the connection nor sent something unasked.
fn is_quiet(side: &mut H1<Stream>, cx: &mut Context<'_>) -> bool {
    let quiet = matches!(side.poll_more(cx), Poll::Pending);
    side.put_by();
    quiet
}

/// Takes out connections that the service has closed. It is called and never calls by itself.
struct Reaper {
    pool: Weak<Pool>,
    runtime: Handle,
    called: AtomicBool,
}

impl Wake for Reaper {
    fn wake(self: Arc<Self>) {
        if self.called.swap(true, AcqRel) {
            return;
        }
        let reaper = self.clone();
        self.runtime.spawn(async move {
            reaper.called.store(false, Release);
            if let Some(pool) = reaper.pool.upgrade() {
                pool.sweep();
            }
        });
    }
}
