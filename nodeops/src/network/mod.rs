//! Faults on the network of a node, a container, a process or a network namespace.
//!
//! ```text
//! place      the namespaces behind a target, and their interfaces
//! filter     which packets: asked of packets, and written as rules of nf_tables
//! shape      what is done to them: a pure function of what was before, the seed and now
//! prepare    a fault read and checked for one namespace, fitted with an engine (choose); words: the same in words and commands
//! injector   what the engine asks; armed: what is on in which namespace, armed, changed and counted
//! domain     one namespace with everything wired in it: tables (table), wires (emulated/), IFBs (native/)
//! dns/, occupied, tracked    names, ports, tracked connections
//! record, undo   what logs hold of it, and taking it back; left: the same, found without a log
//! ```

#[cfg(test)]
mod agreement;
mod armed;
mod choose;
mod dns;
mod domain;
mod emulated;
mod exempt;
pub mod filter;
mod injector;
mod left;
mod native;
mod occupied;
pub mod packet;
mod part;
mod place;
mod prepare;
mod probe;
mod record;
mod shape;
mod table;
mod tracked;
mod undo;
mod words;

pub use dns::wire as dns_wire;
pub use probe::findings;

use crate::shared::lock;
use armed::Inner;
use std::sync::Arc;

/// Injects into networks.
#[derive(Debug, Default)]
pub struct NetworkInjector {
    inner: Arc<Inner>,
}

impl NetworkInjector {
    /// An injector with nothing on.
    pub fn new() -> NetworkInjector {
        NetworkInjector::default()
    }

    /// Connections to that port of this machine are murphy's own control connections: they are left alone.
    pub fn control_port(&self, port: u16) {
        lock(&self.inner.control).push(port);
    }
}
