//! The undo log: what was begun and how it is undone, on disk before it is begun.
//!
//! `undo.jsonl` in the state directory, one record a line, each with a checksum. While nothing is armed it is empty.

mod log;
mod read;
mod record;
mod recover;

pub(crate) use log::Log;
pub use read::Damage;
pub(crate) use read::{Live, read};
pub(crate) use record::{FILE, Record};
pub use recover::{ActReport, RecoverReport, is_lived_in, recover};
pub(crate) use recover::{Reach, let_die, lock, recover_here};
