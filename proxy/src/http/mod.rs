//! Layer 7: HTTP/1.1 and HTTP/2 from clients' connections to the service's.

mod body;
pub(crate) mod headers;
pub(crate) mod hit;
pub(crate) mod hop;
pub(crate) mod message;
mod pool;
pub(crate) mod seams;
mod service;
pub(crate) mod stage;
mod tunnel;
pub(crate) mod wire;

pub(crate) use pool::Pool;

use crate::admission::{admit, attend};
use crate::conn::{Open, Phase};
use crate::faultio::FaultIo;
use crate::net::Stream;
use crate::target::Target;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use service::Front;
use std::sync::Arc;

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
    let io = TokioIo::new(FaultIo::new(socket, open, &timers));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().preserve_header_case(true).auto_date_header(false).keep_alive(true);
    builder.http2().auto_date_header(false).max_concurrent_streams(1000);
    let front = Front::new(target, conn.clone(), pool);
    // What goes wrong on a client's connection has been told to the client, and its requests have been counted.
    let _ = attend(&conn, &timers, builder.serve_connection_with_upgrades(io, front)).await;
}
