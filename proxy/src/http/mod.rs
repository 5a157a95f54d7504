//! Layer 7: HTTP/1.1 and HTTP/2 from clients' connections to the service's.
//!
//! ```text
//! message    heads and pieces of bodies, common to both versions
//! headers    fields in the order, with the case and with the spaces in which they came
//! hop        what belongs to one connection and ends here
//! h1/        HTTP/1.1: strict reading, writing that changes nothing, on either side
//! h2/        HTTP/2 on the client's side, with the h2 crate; flow control end to end
//! upstream/  the service's side: kept connections, shared connections, answers of our own
//! side       what the two sides of an exchange have in common
//! exchange   one request's way, through the points at which faults act
//! waiting    what an exchange waits for, and what goes on meanwhile
//! flow       the faults that have an exchange, and what came of it
//! pump       a body on its way through the stages of faults
//! stage      those stages: machines without sockets and clocks
//! wire       what only a codec can do to a message
//! hit        a fault that takes a request
//! websocket  frames in a stream
//! seams      where others plug in: watching, holding by hand, stubs
//! stubs      answers in the service's place
//! serve      one client's connection, from its first byte to its end
//! ```

mod exchange;
pub(crate) mod facts;
mod flow;
pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod headers;
pub(crate) mod hit;
pub(crate) mod hop;
pub(crate) mod message;
mod pump;
pub(crate) mod seams;
mod serve;
pub(crate) mod side;
pub(crate) mod stage;
pub(crate) mod stubs;
pub(crate) mod upstream;
mod waiting;
pub(crate) mod websocket;
pub(crate) mod wire;

#[cfg(feature = "fuzzing")]
pub(crate) use serve::any_version;
pub(crate) use serve::serve;
pub(crate) use upstream::Pool;

use crate::conn::Conn;
use crate::target::Target;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What the requests of one client's connection have in common.
pub(crate) struct Context {
    pub(crate) target: Arc<Target>,
    pub(crate) conn: Arc<Conn>,
    pub(crate) pool: Arc<Pool>,
}

/// The number of a request that somebody watches, the same for all targets.
fn next_number() -> u64 {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    NUMBERS.fetch_add(1, Relaxed)
}
