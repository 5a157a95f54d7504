//! This machine, underneath everyone: who a process is, what the clocks say, what this process may do, what the
//! kernel can, whose certificates are believed. Only Linux.
#![deny(unsafe_code)]

pub mod clock;
pub mod der;
pub mod dirs;
pub mod frames;
pub mod lock;
pub mod machine;
pub mod memory;
pub mod netlink;
pub mod netns;
pub mod privilege;
pub mod probe;
pub mod process;
mod sys;
pub mod trust;
pub mod usage;

pub use lock::{FileLock, Holder};
pub use netns::{Netns, NetnsId};
pub use privilege::Capabilities;
pub use process::{Process, ProcessError, ProcessHandle, ProcessId};
