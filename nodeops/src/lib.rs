//! Faults on processes, on containers and on the machine.
//!
//! Each room is an injector of its own: `process/` (signals), `containers/` (what an engine is asked for), `group/` (control
//! groups), `network/` (packets, names, ports), `clock/` (clocks of processes and of the machine), `limits/` (rlimits), `node/`
//! (what children of ours take: their side of the work is in `stress/` and `exhaust/`), `files/` (single files), `services/`
//! (systemd). In larger rooms `injector` is what the engine asks, and the rest what it takes to answer. `seen` tells what there
//! is. A new fault is a row in the catalogue and a file in its room.
#![deny(unsafe_code)]

pub mod cgroup;
mod clock;
pub mod containers;
mod exhaust;
mod files;
mod group;
mod held;
mod inroot;
mod limits;
mod looping;
pub mod network;
mod node;
mod opened;
mod pick;
mod process;
mod record;
pub mod seen;
mod services;
mod shared;
pub mod stress;

pub use clock::{ClockInjector, Clocks, exec as exec_with_clocks};
pub use containers::ContainerInjector;
pub use files::FileInjector;
pub use group::GroupInjector;
pub use limits::LimitInjector;
pub use network::NetworkInjector;
pub use node::NodeInjector;
pub use process::{Known, ProcessInjector};
pub use services::ServiceInjector;

use inject::Injector;
use std::sync::Arc;

/// All of them, in the order in which the engine asks: the first that serves a kind opens targets of it, and of those that
/// inject a fault the first gets it.
pub fn injectors() -> Vec<Arc<dyn Injector>> {
    let processes = ProcessInjector::new();
    let known = processes.known();
    vec![
        Arc::new(ContainerInjector::new()),
        Arc::new(processes),
        // Before that of the node, which has `fd_fill` for the machine: in containers it is a limit of processes.
        Arc::new(LimitInjector::new(known.clone())),
        Arc::new(NodeInjector::new()),
        Arc::new(GroupInjector::new(known.clone())),
        Arc::new(FileInjector::new()),
        Arc::new(ServiceInjector::new()),
        Arc::new(ClockInjector::new(known)),
    ]
}
