//! Processes that exist anyway: which of them are meant, and what is done to them.

mod injector;
mod kill;
mod known;
mod pause;
pub(crate) mod select;
pub(crate) mod signals;

pub use injector::ProcessInjector;
pub use known::Known;

use host::{Process, ProcessId};
use inject::{Order, Outcomes, Recovered, Refusal, UndoRecord};
use std::collections::BTreeMap;
use std::time::Duration;

/// A fault on processes. Everything here may block for as long as the kernel needs to act on a signal.
trait ProcessFault: Sync {
    /// Its name in the catalogue.
    fn name(&self) -> &'static str;
    /// The act on one process and its undo; refused when it would do nothing or undo too much.
    fn plan(&self, order: &Order, process: &Process) -> Result<UndoRecord, Refusal>;
    /// Acts on all of them, as nearly at once as can be.
    fn inject(&self, order: &Order, processes: &[Option<ProcessId>]) -> Outcomes;
    /// Undoes it on one.
    fn recover(&self, process: ProcessId) -> Recovered;
    /// What it does to those it acts on, as numbers.
    fn measure(&self, done: &[ProcessId], before: &BTreeMap<ProcessId, Duration>) -> BTreeMap<String, f64>;
}

const FAULTS: [&dyn ProcessFault; 2] = [&pause::Pause, &kill::Kill];

fn find(name: &str) -> Option<&'static dyn ProcessFault> {
    FAULTS.into_iter().find(|f| f.name() == name)
}
