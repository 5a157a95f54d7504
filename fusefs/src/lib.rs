//! The filesystem: a directory served through FUSE as it is, until something is to go wrong with it.
//!
//! ```text
//! injector  the contract with the engine: targets of kind fs
//! live      one mounted target: mounting, arming, taking away      check     what must be true before
//! mount     the kernel's mount interface        record    what is written down so that another process can undo it
//! clones    copies of a mount in containers
//! dispatch  the kernel's calls and their answers, each through the gate in core
//! core      what all operations share; the gate      call, op   who asks for what, as matchers see it
//! names data dirs meta   the operations themselves, as the source does them
//! inode handle attr      what the kernel knows by number
//! passthrough caches     what the kernel does by itself, and what it is told to forget
//! rule      faults that are on      faults/   one file each
//! timers pool            what waits, and who goes on with it
//! unsynced  what a power cut would take      metrics tail   what was done
//! sys       the unsafe calls
//! ```
#![deny(unsafe_code)]

mod answer;
mod attr;
mod caches;
mod call;
mod check;
mod clones;
mod core;
mod data;
mod dirs;
mod dispatch;
mod faults;
mod handle;
mod in_use;
mod injector;
mod inode;
mod listing;
mod live;
mod meta;
mod metrics;
mod mount;
mod names;
mod op;
mod passthrough;
mod pool;
mod record;
mod rule;
mod sys;
mod tail;
mod timers;
mod unsynced;

pub use injector::FsInjector;
pub use op::Op;
