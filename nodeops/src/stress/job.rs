//! What parent and child say to each other.

use crate::cgroup::Cgroups;
use crate::stress::Load;
use host::ProcessId;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// A line from parent to child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Word {
    /// Where it works; once, before the first job.
    Setup(Setup),
    /// What it does from now on.
    Job(Job),
}

/// Where the child works.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// A network namespace to enter: `/proc/4711/ns/net`.
    pub netns: Option<PathBuf>,
    /// A process with which the child ends: the first of the container whose group it is in, which could not be removed
    /// while someone is in it.
    pub until: Option<ProcessId>,
}

/// What the child does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Job {
    Cpu(Load),
    Memory(MemoryJob),
    Io(IoJob),
    Disk(Disk),
    Inodes(Inodes),
    Files(Files),
    Tasks(Tasks),
    Ports(Ports),
    Exec(Exec),
}

impl Job {
    /// Keeps the names that an earlier job has put into the undo log.
    pub(crate) fn keep_name(&mut self, earlier: Option<&Job>) {
        match (self, earlier) {
            (Job::Disk(new), Some(Job::Disk(old))) => new.name.clone_from(&old.name),
            (Job::Inodes(new), Some(Job::Inodes(old))) => new.name.clone_from(&old.name),
            _ => {}
        }
    }
}

/// A number that moves evenly from one value to another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Moving {
    pub from: f64,
    pub to: f64,
    pub over_ms: f64,
    /// How long ago it began.
    pub since_ms: f64,
}

impl Moving {
    #[cfg(test)]
    pub(crate) fn fixed(value: f64) -> Moving {
        Moving { from: value, to: value, over_ms: 0.0, since_ms: 0.0 }
    }

    /// The value so long after it was told.
    pub(crate) fn at(&self, later: Duration) -> f64 {
        let passed = self.since_ms + later.as_secs_f64() * 1e3;
        let part = if self.over_ms > 0.0 { (passed / self.over_ms).clamp(0.0, 1.0) } else { 1.0 };
        self.from + (self.to - self.from) * part
    }

    /// Whether it has come to its last value.
    pub(crate) fn rests(&self, later: Duration) -> bool {
        self.since_ms + later.as_secs_f64() * 1e3 >= self.over_ms
    }
}

/// Taking memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MemoryJob {
    /// Bytes; or, with `share`, a fraction of all there is.
    pub amount: Moving,
    pub share: bool,
    /// Whether what others use counts towards it.
    pub reach: bool,
    /// Bytes left available in any case.
    pub reserve: u64,
    pub resident: bool,
    /// The group it is in, when its limit counts.
    pub group: Option<Cgroups>,
}

/// Reading and writing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct IoJob {
    pub place: Dir,
    pub read: bool,
    pub write: bool,
    /// Bytes per second in all; none: as much as goes.
    pub rate: Option<Moving>,
    pub block: u64,
    pub size: u64,
    pub workers: usize,
    pub random: bool,
    pub direct: bool,
}

/// A directory below a root: `/`, or that of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Dir {
    pub root: PathBuf,
    pub path: PathBuf,
}

/// How much is to be taken of something that there is so much of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wanted {
    /// So much.
    Take(u64),
    /// Until only so much is left.
    Leave(u64),
    /// Until only such a fraction is left.
    LeaveShare(f64),
}

/// Taking space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Disk {
    pub place: Dir,
    pub wanted: Wanted,
    /// Also what is kept for root.
    pub reserved: bool,
    /// The name of a file for a moment, where none can be made without.
    pub name: String,
}

/// Taking inodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Inodes {
    pub place: Dir,
    pub wanted: Wanted,
    /// The directory for files with names, when there are not enough descriptors; none when empty.
    pub name: String,
}

/// Holding files open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Files {
    pub wanted: Wanted,
}

/// Holding process numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tasks {
    pub wanted: Wanted,
    /// The group whose limit counts; none: the kernel's own.
    pub group: Option<Cgroups>,
}

/// Holding ports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub leave: u64,
    pub udp: bool,
}

/// Becoming another program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Exec {
    pub program: PathBuf,
    pub args: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back() {
        let place = Dir { root: "/".into(), path: "/tmp".into() };
        let disk = Disk { place, wanted: Wanted::LeaveShare(0.05), reserved: true, name: "n".into() };
        let word = Word::Job(Job::Disk(disk));
        let line = serde_json::to_string(&word).unwrap();
        assert!(line.starts_with(r#"{"job":{"disk":"#), "{line}");
        assert_eq!(serde_json::from_str::<Word>(&line).unwrap(), word);
        let half = Moving { from: 0.0, to: 10.0, over_ms: 1000.0, since_ms: 250.0 };
        assert_eq!(half.at(Duration::from_millis(250)), 5.0);
        assert!(half.rests(Duration::from_millis(750)) && !half.rests(Duration::from_millis(749)));
    }
}
