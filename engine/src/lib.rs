//! The engine: the life of faults, from their plan to the proof that they are gone.
//!
//! [`Agent`] arms and ends faults; the undo log, the watchdog and leases see to it that none outlives it, however it
//! ends. It knows no sockets of its own: control, console and runs drive it and read its [`Events`].
#![forbid(unsafe_code)]

mod agent;
mod claims;
pub mod clock;
mod config;
mod doctor;
mod error;
mod events;
pub mod export;
mod guarded;
mod halt;
mod ids;
mod lease;
mod minder;
pub mod report;
pub mod run;
mod undo;
pub mod watchdog;

pub use agent::{Agent, ArmRequest, ArmedFault, Change, FaultPhase, HaltReport, SamplingGuard};
pub use config::{Config, WatchdogCommand};
pub use doctor::{Doctor, FaultCheck, Fixed, Found, Possible, StaleLog, doctor, fix, possible};
pub use error::EngineError;
pub use events::{Events, Item, Subscription};
pub use halt::{Halt, halt_offline, halted_offline, lift_offline};
pub use undo::{ActReport, Damage, RecoverReport, is_lived_in, recover};
