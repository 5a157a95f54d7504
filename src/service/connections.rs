//! The open connections of the agent's proxies, for the API.

use model::{ConnectionState, ConnectionView};
use proxy::ProxyInjector;
use std::time::Duration;

/// What has connections that can be looked at, ended and held by hand.
pub trait Connections: Send + Sync {
    /// All that are open.
    fn list(&self) -> Vec<ConnectionView>;

    /// Ends one. False when there is none of that number.
    fn close(&self, id: u64, how: control::Close) -> bool;

    /// Lets nothing pass on one until it is released, or for so long at most. False when there is none of that number.
    fn hold(&self, id: u64, lease: Duration) -> bool;

    /// Lets one go on. False when it was not held.
    fn release(&self, id: u64) -> bool;

    /// Lets every one go on that is held.
    fn release_all(&self) {
        for held in self.list().iter().filter(|c| c.state == ConnectionState::Held) {
            self.release(held.id);
        }
    }
}

impl Connections for ProxyInjector {
    fn list(&self) -> Vec<ConnectionView> {
        self.connections()
    }

    fn close(&self, id: u64, how: control::Close) -> bool {
        let how = match how {
            control::Close::Fin => proxy::Close::Fin,
            control::Close::Rst => proxy::Close::Rst,
        };
        self.close_connection(id, how)
    }

    fn hold(&self, id: u64, lease: Duration) -> bool {
        self.hold_connection(id, lease)
    }

    fn release(&self, id: u64) -> bool {
        self.release_connection(id)
    }
}
