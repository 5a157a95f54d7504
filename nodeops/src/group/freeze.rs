//! Freezing a whole group, by the freezer of version 1 or `cgroup.freeze` of version 2.

use crate::cgroup::Cgroups;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the kernel gets to stop everyone: one that sleeps uninterruptibly stops late.
const FREEZING: Duration = Duration::from_secs(5);

enum Freezer {
    V1(PathBuf),
    V2(PathBuf),
}

fn freezer(groups: &Cgroups) -> Option<Freezer> {
    let v1 = groups.controllers.get("freezer").map(|dir| dir.join("freezer.state"));
    if let Some(file) = v1.filter(|f| f.exists()) {
        return Some(Freezer::V1(file));
    }
    let v2 = groups.unified.as_ref().map(|dir| dir.join("cgroup.freeze"));
    v2.filter(|f| f.exists()).map(Freezer::V2)
}

/// Whether everyone in the group is frozen; none where that cannot be told.
pub(crate) fn frozen(groups: &Cgroups) -> Option<bool> {
    Some(match freezer(groups)? {
        Freezer::V1(file) => fs::read_to_string(file).ok()?.trim() == "FROZEN",
        // A frozen process still shows S; cgroup.events tells (cgroups(7)).
        Freezer::V2(file) => {
            let events = file.parent().unwrap_or(Path::new("/")).join("cgroup.events");
            fs::read_to_string(events).ok()?.lines().any(|l| l == "frozen 1")
        }
    })
}

/// Whether someone has asked for the group to be frozen.
pub(super) fn is_asked(groups: &Cgroups) -> bool {
    match freezer(groups) {
        Some(Freezer::V1(file)) => fs::read_to_string(file).is_ok_and(|t| t.trim() != "THAWED"),
        Some(Freezer::V2(file)) => fs::read_to_string(file).is_ok_and(|t| t.trim() == "1"),
        None => false,
    }
}

/// Freezes or thaws the group, and waits until it is. What is wrong, in words.
pub(crate) fn freeze(groups: &Cgroups, on: bool) -> Result<(), String> {
    let (file, word) = match freezer(groups) {
        Some(Freezer::V1(file)) => (file, if on { "FROZEN" } else { "THAWED" }),
        Some(Freezer::V2(file)) => (file, if on { "1" } else { "0" }),
        None => return Err("the group has no freezer: neither freezer.state nor cgroup.freeze".into()),
    };
    let until = Instant::now() + FREEZING;
    loop {
        // Version 1 sometimes wants to be told again.
        fs::write(&file, word).map_err(|e| format!("{}: {e}", file.display()))?;
        if frozen(groups) == Some(on) {
            return Ok(());
        }
        if Instant::now() > until {
            let state = if on { "frozen" } else { "thawed" };
            return Err(format!("{} was not {state} within {} s", file.display(), FREEZING.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
