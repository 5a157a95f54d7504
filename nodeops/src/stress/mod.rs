//! What takes resources does it in a child of ours, regulated on what it really got.
//!
//! The child is this same program, started by the hidden verb [`VERB`]. It dies with its parent three ways: by
//! PR_SET_PDEATHSIG, by the end of its standard input, and by SIGKILL from whoever reads the undo log. It takes nothing
//! before the parent has written the child's identity to that log and given it its first job.
//!
//! Between the two: the child prints `ready`, reads one line of JSON ([`Word`]) at a time and answers each by `ok` or
//! `error …`. Unasked it prints `status {…}` with numbers four times a second.

mod burn;
pub(crate) mod child;
mod cpu;
pub(crate) mod holder;
mod io;
mod job;
mod memory;
pub(crate) mod spawn;

pub use child::child_main;
pub(crate) use job::{
    Dir, Disk, Exec, Files, Inodes, IoJob, Job, MemoryJob, Moving, Ports, Setup, Tasks, Wanted, Word,
};
pub(crate) use memory::memory_of_machine;
pub(crate) use spawn::Stressor;

use model::Injection;
use model::units::Percent;
use model::value::Value;
use model::{Fault, Ramp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The hidden verb under which the program becomes a stressor: hand the arguments after it to [`child_main`].
pub const VERB: &str = "__stress";

/// What is to be burned, from `since_ms` before it is read: cores × load, moving evenly from the first to the second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Load {
    /// How many cores, at first and at last.
    pub cores: [f64; 2],
    /// How busy each, 0.0..=1.0, at first and at last.
    pub load: [f64; 2],
    /// How long the change takes.
    pub over_ms: f64,
    /// How long ago it began.
    pub since_ms: f64,
    /// Whether others' use of the machine counts towards it.
    pub reach: bool,
    /// Niceness.
    pub nice: i32,
    /// The processors to stay on, by number; all when empty.
    #[serde(default)]
    pub cpus: Vec<usize>,
}

impl Load {
    /// What a fault asks for, `elapsed` after it was armed, on a machine of so many cores.
    pub(crate) fn of(fault: &Fault, elapsed: Duration, machine: usize) -> Load {
        let cores = |i: &Injection| i.float("cores").unwrap_or(machine as f64);
        let load = |i: &Injection| i.percent("load").unwrap_or(Percent::ALL).fraction();
        let over = fault.ramp.as_ref().map_or(Duration::ZERO, |r: &Ramp| r.over.0);
        let (first, last) = (fault.inject_at(Duration::ZERO), fault.inject_at(over));
        Load {
            cores: [cores(&first), cores(&last)],
            load: [load(&first), load(&last)],
            over_ms: over.as_secs_f64() * 1e3,
            since_ms: elapsed.as_secs_f64() * 1e3,
            reach: fault.inject.text("mode") == Some("reach"),
            nice: fault.inject.int("nice").unwrap_or(0) as i32,
            cpus: fault.inject.text("cpus").and_then(cpus).unwrap_or_default(),
        }
    }

    /// Cores kept busy in all, `later` after it was read: 1.6 is two cores at 80 %.
    pub(crate) fn total(&self, later: Duration) -> f64 {
        let passed = self.since_ms + later.as_secs_f64() * 1e3;
        let part = if self.over_ms > 0.0 { (passed / self.over_ms).clamp(0.0, 1.0) } else { 1.0 };
        let mix = |[a, b]: [f64; 2]| a + (b - a) * part;
        (mix(self.cores) * mix(self.load)).max(0.0)
    }

    /// How many threads it takes at most: no thread can use more than one core.
    pub(crate) fn threads(&self) -> usize {
        (self.cores[0].max(self.cores[1]).ceil() as usize).clamp(1, 4096)
    }

    /// The parameters that a ramp may move.
    pub(crate) fn can_ramp(param: &str, value: &Value) -> bool {
        matches!((param, value), ("load", Value::Percent(_)) | ("cores", Value::Float(_) | Value::Int(_)))
    }
}

/// A list of processors as cpuset(7) writes it: `0,2-3`. None when it does not read.
pub(crate) fn cpus(text: &str) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (from.trim().parse::<usize>().ok()?, to.trim().parse::<usize>().ok()?);
        if from > to || to >= 4096 {
            return None;
        }
        all.extend(from..=to);
    }
    all.sort_unstable();
    all.dedup();
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_read() {
        assert_eq!(cpus("0,2-3, 2"), Some(vec![0, 2, 3]));
        for bad in ["", "x", "3-1", "0-99999", "1,,2"] {
            assert_eq!(cpus(bad), None, "{bad}");
        }
    }

    #[test]
    fn loads_move_evenly() {
        let load = Load {
            cores: [1.0, 2.0],
            load: [0.5, 0.5],
            over_ms: 1000.0,
            since_ms: 500.0,
            reach: false,
            nice: 0,
            cpus: vec![],
        };
        assert!((load.total(Duration::ZERO) - 0.75).abs() < 1e-9);
        assert!((load.total(Duration::from_secs(9)) - 1.0).abs() < 1e-9);
        assert_eq!(load.threads(), 2);
        let still = Load { over_ms: 0.0, ..load };
        assert!((still.total(Duration::ZERO) - 1.0).abs() < 1e-9);
    }
}
