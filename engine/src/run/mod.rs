//! A run: baseline, stages with faults at their offsets, cooldown; guards all the time; verdict and record at the end.
//!
//! Everything that decides is a pure function of what was seen ([`tick`], [`windows`], [`guards`], [`findings`], [`judge`]);
//! this file and [`runner`] sit around them with clocks and sockets.

pub mod findings;
pub mod guards;
pub mod http;
pub mod judge;
pub mod load;
mod prepare;
pub mod probes;
mod progress;
mod prometheus;
mod record;
mod runner;
mod start;
mod taken;
pub mod tick;
pub mod windows;

pub use prepare::{Prepared, prepare};
pub use progress::{Options, RunProgress};
pub use record::Recorder;
pub use start::{RunHandle, dry_run, start};
