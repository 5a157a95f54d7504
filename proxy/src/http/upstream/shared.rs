//! Connections of HTTP/2 to the service, which requests share.

use crate::http::h2::{BUDGET, CONNECTION_WINDOW, STREAM_WINDOW};
use crate::net::Stream;
use bytes::Bytes;
use h2::client::SendRequest;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::time::Duration;

/// How long the service has to say what it allows.
const PATIENCE: Duration = Duration::from_secs(10);

/// One connection.
pub(crate) struct Shared {
    sender: SendRequest<Bytes>,
    active: AtomicUsize,
    closed: AtomicBool,
}

/// A request's share in one.
pub(crate) struct Share(Arc<Shared>);

impl Shared {
    /// Begins one, and waits until the service has said what it allows.
    pub(crate) async fn handshake(stream: Stream) -> Result<Arc<Shared>, h2::Error> {
        let (sender, mut connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_reset_streams(1000)
            .data_frame_budget(BUDGET)
            .enable_push(false)
            .handshake(stream)
            .await?;
        let ping = connection.ping_pong();
        let shared = Arc::new(Shared { sender, active: AtomicUsize::new(0), closed: AtomicBool::new(false) });
        let watched = Arc::downgrade(&shared);
        let (ended, why) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let end = connection.await;
            if let Some(shared) = watched.upgrade() {
                shared.closed.store(true, Release);
            }
            // Nobody waits for it once the connection was made.
            let _ = ended.send(end);
        });
        if let Some(mut ping) = ping {
            let answered = tokio::time::timeout(PATIENCE, ping.ping(h2::Ping::opaque())).await;
            if !matches!(answered, Ok(Ok(_))) {
                shared.closed.store(true, Release);
                if let Ok(Ok(Err(error))) = tokio::time::timeout(Duration::from_millis(100), why).await {
                    return Err(error);
                }
                return Err(h2::Reason::SETTINGS_TIMEOUT.into());
            }
        }
        Ok(shared)
    }

    /// Whether it can be used no more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }

    /// Whether the service allows another request.
    pub(crate) fn has_room(&self) -> bool {
        self.active.load(Relaxed) < self.sender.current_max_send_streams()
    }
}

impl Share {
    /// In that connection.
    pub(crate) fn of(shared: Arc<Shared>) -> Share {
        shared.active.fetch_add(1, Relaxed);
        Share(shared)
    }

    /// What begins a stream.
    pub(crate) fn sender(&self) -> SendRequest<Bytes> {
        self.0.sender.clone()
    }

    /// Whether streams can change over to another protocol.
    pub(crate) fn extends(&self) -> bool {
        self.0.sender.is_extended_connect_protocol_enabled()
    }

    /// Nobody else is to use the connection.
    pub(crate) fn condemn(&self) {
        self.0.closed.store(true, Release);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Relaxed);
    }
}
