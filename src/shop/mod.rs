//! The demo's shop: a web front, a payments service and a key-value store, on real sockets, in this process.
//!
//! ```text
//! users ──▶ [front] web ──▶ [payments] payments
//!                    └────▶ [store] key-value store        [x]: a proxy of murphy
//! ```
//! The front does what a good front does: it asks with a timeout, tries once more, and serves something useful when a
//! dependency stays away. That is what the demo's experiment finds out.

mod experiment;
mod front;
mod payments;
mod store;

pub use experiment::{Ports, experiment};

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A shop that is open. It closes when this is dropped.
#[derive(Debug)]
pub struct Shop {
    /// Where the front, the payments and the store really are, behind their proxies.
    pub front: SocketAddr,
    /// See [`Shop::front`].
    pub payments: SocketAddr,
    /// See [`Shop::front`].
    pub store: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

impl Shop {
    /// Opens it; the front reaches the others through these addresses.
    pub async fn open(payments_at: SocketAddr, store_at: SocketAddr) -> io::Result<Shop> {
        let (payments, store, front) = (loopback().await?, loopback().await?, loopback().await?);
        Ok(Shop {
            front: front.local_addr()?,
            payments: payments.local_addr()?,
            store: store.local_addr()?,
            tasks: vec![
                tokio::spawn(payments::serve(payments)),
                tokio::spawn(store::serve(store)),
                tokio::spawn(front::serve(front, payments_at, store_at)),
            ],
        })
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn loopback() -> io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", 0)).await
}

/// A free port on loopback, as an address: below those that the kernel gives to outgoing connections, so that none of
/// those takes it before we listen.
pub async fn free_port() -> io::Result<SocketAddr> {
    let begin = 20_000 + (std::process::id() % 1_000) as u16 * 10;
    let mut last = io::ErrorKind::AddrInUse.into();
    for port in (begin..begin + 2_000).filter(|port| TAKEN.fetch_max(*port, Ordering::Relaxed) < *port) {
        match TcpListener::bind(("127.0.0.1", port)).await {
            Ok(listener) => return listener.local_addr(),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// The highest port that was given out.
static TAKEN: AtomicU16 = AtomicU16::new(0);
