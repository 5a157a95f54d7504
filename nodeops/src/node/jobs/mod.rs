//! From a fault to what children do.

mod fills;
mod loads;

use super::place::Place;
use crate::stress::{Dir, Exec, Job};
use inject::Refusal;
use model::Fault;
use std::path::PathBuf;
use std::time::Duration;

/// What one child does, in words.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub job: Job,
    pub words: String,
    /// A name below a directory that may be left when the child is killed.
    pub leftover: Option<(Dir, String)>,
    pub warnings: Vec<String>,
}

/// The faults that are done by children.
pub(super) const FAULTS: [&str; 9] =
    ["cpu", "memory", "io", "stress_ng", "disk_fill", "inode_fill", "fd_fill", "pid_fill", "port_fill"];

/// What the children of a fault do in one place, so long after it was armed. Checks what can be checked.
pub(super) fn tasks(id: &str, fault: &Fault, place: &Place, elapsed: Duration) -> Result<Vec<Task>, Refusal> {
    let one = |job: Job, words: String| {
        let words = format!("{words}{}", place.name);
        Ok(vec![Task { job, words, leftover: None, warnings: vec![] }])
    };
    let inject = &fault.inject;
    match inject.name() {
        "cpu" => loads::cpu(fault, place, elapsed),
        "memory" => loads::memory(fault, place, elapsed),
        "io" => {
            let (job, words) = loads::io(fault, place, elapsed)?;
            one(Job::Io(job), words)
        }
        "stress_ng" => {
            let program = loads::stress_ng()?;
            let args = loads::arguments(fault)?;
            let words = format!("run {} {}", program.display(), args.join(" "));
            one(Job::Exec(Exec { program, args }), words)
        }
        "disk_fill" => fills::disk(id, fault, place),
        "inode_fill" => fills::inodes(id, fault, place),
        "fd_fill" => fills::files(fault),
        "pid_fill" => fills::pids(fault, place),
        "port_fill" => fills::ports(fault, place),
        other => Err(Refusal::new(
            format!("{other} is no fault of a machine"),
            format!("try {}", FAULTS.join(", ")),
        )),
    }
}

/// Refuses ramps of what cannot be ramped.
pub(super) fn ramps(fault: &Fault, possible: &[&str]) -> Result<(), Refusal> {
    let name = fault.inject.name();
    let wrong = fault.ramp.iter().flat_map(|r| &r.tracks).find(|t| {
        let alike = match fault.inject.get(&t.param) {
            Some(own) => {
                [&t.from, &t.to].iter().all(|v| std::mem::discriminant(*v) == std::mem::discriminant(own))
            }
            None => true,
        };
        !possible.contains(&t.param.as_str()) || !alike
    });
    match wrong {
        None => Ok(()),
        Some(track) if possible.is_empty() => Err(Refusal::new(
            format!("{name} cannot ramp {}", track.param),
            "it has nothing that can be ramped; change it live instead",
        )),
        Some(track) => Err(Refusal::new(
            format!("{name} cannot ramp {}", track.param),
            format!("it can ramp {}, both ends of the same kind", possible.join(" and ")),
        )),
    }
}

/// The directory that `path` names, which must be there.
pub(super) fn directory(fault: &Fault, place: &Place) -> Result<Dir, Refusal> {
    let path = PathBuf::from(fault.inject.text("path").unwrap_or("/tmp"));
    if !path.is_absolute() {
        return Err(Refusal::new(
            format!("path {:?} is not absolute", path.display()),
            "write it from the root: /var/lib",
        ));
    }
    crate::inroot::directory(&place.root, &path).map_err(|e| {
        Refusal::new(
            format!("the directory {}{} cannot be used: {e}", path.display(), place.name),
            "give a directory that is there, on the filesystem that is meant",
        )
    })?;
    Ok(Dir { root: place.root.clone(), path })
}
