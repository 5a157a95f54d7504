//! What the control path has changed on a connection, taken over by the task that passes its bytes.

use crate::chain::{Chain, How};
use crate::conn::Conn;
use std::time::Instant;

/// How much of it has been taken over.
#[derive(Default)]
pub(crate) struct News {
    seen: u64,
    /// Until when the connection is held by hand.
    pub(crate) held: Option<Instant>,
}

impl News {
    /// Takes over what was changed, and what the time did, into the chains of both directions; the whole connection may
    /// have to end.
    pub(crate) fn sync(&mut self, conn: &Conn, up: &mut Chain, down: &mut Chain) -> Option<How> {
        let version = conn.version();
        if version == self.seen && up.watch().is_none() && down.watch().is_none() {
            return None;
        }
        let now = Instant::now();
        if version != self.seen || up.must_turn(now) || down.must_turn(now) {
            self.seen = version;
            self.held = conn.held();
            let takes = conn.takes();
            up.sync(&takes, now);
            down.sync(&takes, now);
        }
        up.strike(now).or_else(|| down.strike(now))
    }
}
