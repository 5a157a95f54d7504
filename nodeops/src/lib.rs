//! Faults on processes and on the machine: pause, kill, processor stress.
//!
//! A new fault on processes is a file in `process/` and a row in its table; stress runs in children of ours, whose
//! side of the work is in `stress/`.
#![deny(unsafe_code)]

mod clock;
mod node;
mod process;
mod record;
pub mod stress;

pub use clock::ClockInjector;
pub use node::NodeInjector;
pub use process::ProcessInjector;
