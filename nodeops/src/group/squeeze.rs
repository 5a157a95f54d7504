//! Limits of a group: what is written into its files, and what is written back.

use crate::cgroup::{Cgroups, Place};
use inject::Refusal;
use model::Injection;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One value in one file of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Edit {
    /// Which limit it is: the parameter's name.
    pub param: String,
    pub file: PathBuf,
    /// The number of the group's directory: one of the same path made anew is another.
    pub inode: u64,
    /// For files with a line for each device: which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The field of that line (`rbps`), in version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What was there.
    pub before: String,
    /// What is set.
    pub set: String,
}

/// What came of one.
#[derive(Debug, PartialEq)]
pub(crate) enum Undo {
    Done,
    /// It is what it was already, or its group is gone.
    Nothing(String),
    Failed(String),
}

/// The kernel counts in pages, and reads back what it counts: on some machines pages have 16 or 64 KiB.
fn in_pages(bytes: u64) -> u64 {
    let page = rustix::param::page_size() as u64;
    bytes / page * page
}

/// Everything that a fault asks for, on one group.
pub(crate) fn edits(groups: &Cgroups, wanted: &Injection) -> Result<Vec<Edit>, Refusal> {
    let mut all = Vec::new();
    if let Some(cores) = wanted.float("cpu") {
        all.push(cpu(groups, cores)?);
    }
    if let Some(size) = wanted.size("memory") {
        let bytes = in_pages(size.0);
        let (dir, file) = match place(groups, "memory", "memory")? {
            Place::V1(dir) => (dir, "memory.limit_in_bytes"),
            Place::V2(dir) => (dir, "memory.max"),
        };
        all.push(whole("memory", dir, file, bytes.to_string())?);
    }
    if let Some(size) = wanted.size("memory_high") {
        let dir = match place(groups, "memory", "memory_high")? {
            Place::V2(dir) => dir,
            Place::V1(dir) => {
                return Err(Refusal::new(
                    format!(
                        "memory_high needs version 2 of control groups, and {} is version 1",
                        dir.display()
                    ),
                    "use memory instead",
                ));
            }
        };
        all.push(whole("memory_high", dir, "memory.high", in_pages(size.0).to_string())?);
    }
    if let Some(pids) = wanted.int("pids") {
        let dir = place(groups, "pids", "pids")?.dir().to_owned();
        all.push(whole("pids", &dir, "pids.max", pids.to_string())?);
    }
    for (param, v1, field) in [
        ("read", "blkio.throttle.read_bps_device", "rbps"),
        ("write", "blkio.throttle.write_bps_device", "wbps"),
    ] {
        if let Some(rate) = wanted.byte_rate(param) {
            let path = wanted.text("path").unwrap_or("/");
            let bytes = rate.value().round().max(1.0).to_string();
            all.push(io(groups, param, v1, field, path, bytes)?);
        }
    }
    if all.is_empty() {
        return Err(Refusal::new(
            "cgroup_squeeze says no limit",
            "give at least one of cpu, memory, memory_high, pids, read and write",
        ));
    }
    Ok(all)
}

fn cpu(groups: &Cgroups, cores: f64) -> Result<Edit, Refusal> {
    match place(groups, "cpu", "cpu")? {
        Place::V1(dir) => {
            let period = fs::read_to_string(dir.join("cpu.cfs_period_us")).unwrap_or_default();
            let quota = quota(cores, period.trim().parse().unwrap_or(100_000));
            whole("cpu", dir, "cpu.cfs_quota_us", quota.to_string())
        }
        Place::V2(dir) => {
            let now = fs::read_to_string(dir.join("cpu.max")).unwrap_or_default();
            let period = now.split_whitespace().nth(1).and_then(|p| p.parse().ok()).unwrap_or(100_000);
            whole("cpu", dir, "cpu.max", format!("{} {period}", quota(cores, period)))
        }
    }
}

/// The kernel takes no less than a millisecond.
fn quota(cores: f64, period: u64) -> u64 {
    ((cores * period as f64).round() as u64).max(1000)
}

/// Where a controller is, for a group that can be limited.
fn place<'a>(groups: &'a Cgroups, controller: &str, param: &str) -> Result<Place<'a>, Refusal> {
    super::seen(groups, "what is meant")?;
    let found = groups.controller(controller).ok_or_else(|| {
        Refusal::new(
            format!("{param}: the controller {controller} is not switched on for this group"),
            "look at cgroup.controllers of the group and cgroup.subtree_control of its parents; in version 1 mount the controller",
        )
    })?;
    // The root of a hierarchy has none of these files.
    let probe = match (controller, found) {
        ("cpu", Place::V1(_)) => "cpu.cfs_quota_us",
        ("cpu", Place::V2(_)) => "cpu.max",
        ("memory", Place::V1(_)) => "memory.limit_in_bytes",
        ("memory", Place::V2(_)) => "memory.max",
        ("pids", _) => "pids.max",
        (_, Place::V1(_)) => "blkio.throttle.read_bps_device",
        (_, Place::V2(_)) => "io.max",
    };
    let dir = found.dir();
    let root = Cgroups::mount_point(dir);
    if root || !dir.join(probe).exists() {
        let why =
            if root { "it is the root of its hierarchy".to_owned() } else { format!("it has no {probe}") };
        return Err(Refusal::new(
            format!("{param}: the group {} cannot be limited: {why}", dir.display()),
            "put what is meant into a group of its own (systemd-run --scope, a container)",
        ));
    }
    Ok(found)
}

/// A file that is one value.
fn whole(param: &str, dir: &Path, name: &str, set: String) -> Result<Edit, Refusal> {
    let file = dir.join(name);
    let unreadable = |e: io::Error| {
        Refusal::new(format!("{} cannot be read: {e}", file.display()), "run the agent as root")
    };
    let before = fs::read_to_string(&file).map_err(unreadable)?.trim().to_owned();
    let inode = fs::metadata(dir).map_err(unreadable)?.ino();
    Ok(Edit { param: param.to_owned(), inode, device: None, field: None, before, set, file: file.clone() })
}

fn io(
    groups: &Cgroups,
    param: &str,
    v1: &str,
    field: &str,
    path: &str,
    set: String,
) -> Result<Edit, Refusal> {
    let device = device(Path::new(path))?;
    let (file, field) = match place(groups, "io", param)? {
        Place::V1(dir) => (dir.join(v1), None),
        Place::V2(dir) => (dir.join("io.max"), Some(field.to_owned())),
    };
    let inode = file.parent().and_then(|d| fs::metadata(d).ok()).map_or(0, |m| m.ino());
    let text = fs::read_to_string(&file).map_err(|e| {
        Refusal::new(format!("{} cannot be read: {e}", file.display()), "run the agent as root")
    })?;
    let none = if field.is_some() { "max" } else { "0" };
    let before = line(&text, &device, field.as_deref()).unwrap_or(none).to_owned();
    Ok(Edit { param: param.to_owned(), file, inode, device: Some(device), field, before, set })
}

/// The whole disk below a path, as `major:minor`: limits are not for partitions.
fn device(path: &Path) -> Result<String, Refusal> {
    let refuse = |why: String| {
        Refusal::new(
            format!("{}: {why}", path.display()),
            "give a path on a disk: a filesystem over the network, in memory or of several disks has none to be limited",
        )
    };
    let dev = fs::metadata(path).map_err(|e| refuse(e.to_string()))?.dev();
    let (major, minor) = (rustix::fs::major(dev), rustix::fs::minor(dev));
    let dir = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    if major == 0 || !dir.exists() {
        return Err(refuse(format!("{major}:{minor} is no block device")));
    }
    if dir.join("partition").exists() {
        let parent = fs::canonicalize(&dir).ok().and_then(|d| Some(d.parent()?.join("dev")));
        let whole = parent.and_then(|file| fs::read_to_string(file).ok());
        return whole.map(|t| t.trim().to_owned()).ok_or_else(|| refuse("its disk is not found".into()));
    }
    Ok(format!("{major}:{minor}"))
}

/// The value for a device: the second word of its line, or that of a field.
fn line<'a>(text: &'a str, device: &str, field: Option<&str>) -> Option<&'a str> {
    let line = text.lines().find(|l| l.split_whitespace().next() == Some(device))?;
    match field {
        None => line.split_whitespace().nth(1),
        Some(field) => line.split_whitespace().find_map(|w| w.strip_prefix(field)?.strip_prefix('=')),
    }
}

impl Edit {
    /// What is there now; none when the group is gone.
    pub(crate) fn now(&self) -> Option<String> {
        let inode = self.file.parent().and_then(|d| fs::metadata(d).ok())?.ino();
        let text = fs::read_to_string(&self.file).ok().filter(|_| inode == self.inode)?;
        match &self.device {
            None => Some(text.trim().to_owned()),
            Some(device) => {
                let none = if self.field.is_some() { "max" } else { "0" };
                Some(line(&text, device, self.field.as_deref()).unwrap_or(none).to_owned())
            }
        }
    }

    pub(crate) fn write(&self, value: &str) -> io::Result<()> {
        let text = match (&self.device, &self.field) {
            (None, _) => value.to_owned(),
            (Some(device), None) => format!("{device} {value}"),
            (Some(device), Some(field)) => format!("{device} {field}={value}"),
        };
        fs::write(&self.file, text)
    }

    /// Sets it, and looks that it is set.
    pub(crate) fn apply(&self) -> Result<(), String> {
        let file = self.file.display();
        let busy = |e: &io::Error| match e.raw_os_error() {
            Some(code) if code == rustix::io::Errno::BUSY.raw_os_error() => {
                "; more than that is in use, and version 1 refuses such a limit instead of killing for it: ask for more, or use less there"
            }
            _ => "",
        };
        self.write(&self.set)
            .map_err(|e| format!("writing {} to {file} failed: {e}{}", self.set, busy(&e)))?;
        match self.now() {
            Some(now) if now == self.set => Ok(()),
            Some(now) => Err(format!("{file} reads {now} after {} was written", self.set)),
            None => Err(format!("the group of {file} is gone")),
        }
    }

    /// Writes back what was there. `last` is what was set last, when that is known: another value is someone else's then,
    /// and left to them.
    pub(crate) fn undo(&self, last: Option<&str>) -> Undo {
        let file = self.file.display();
        let Some(now) = self.now() else { return Undo::Nothing(format!("the group of {file} is gone")) };
        if now == self.before {
            return Undo::Nothing(format!("{file} is what it was"));
        }
        if let Some(last) = last.filter(|last| *last != now) {
            return Undo::Nothing(format!("{file} was set to {now} by someone else since ({last} was ours)"));
        }
        if let Err(e) = self.write(&self.before) {
            return Undo::Failed(format!("writing {} to {file} failed: {e}", self.before));
        }
        match self.now() {
            None => Undo::Nothing(format!("the group of {file} is gone")),
            Some(now) if now == self.before => Undo::Done,
            Some(now) => Undo::Failed(format!("{file} reads {now} after {} was written", self.before)),
        }
    }
}

/// Counters of a group that limits move.
pub(crate) fn counters(groups: &Cgroups) -> BTreeMap<String, f64> {
    let mut out = BTreeMap::new();
    let field = |text: &str, name: &str| -> Option<f64> {
        text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
    };
    if let Some(place) = groups.controller("cpu") {
        let text = fs::read_to_string(place.dir().join("cpu.stat")).unwrap_or_default();
        if let Some(n) = field(&text, "nr_throttled") {
            out.insert("throttled_periods".into(), n);
        }
    }
    if let Some(n) = groups.oom_kills() {
        out.insert("oom_kills".into(), n as f64);
    }
    if let Some(place) = groups.controller("memory") {
        let used = match place {
            Place::V1(dir) => dir.join("memory.failcnt"),
            Place::V2(dir) => dir.join("memory.events"),
        };
        let text = fs::read_to_string(used).unwrap_or_default();
        if let Some(n) = text.trim().parse().ok().or_else(|| field(&text, "max")) {
            out.insert("memory_limit_hits".into(), n);
        }
    }
    if let Some(place) = groups.controller("pids") {
        let text = fs::read_to_string(place.dir().join("pids.events")).unwrap_or_default();
        if let Some(n) = field(&text, "max") {
            out.insert("forks_refused".into(), n);
        }
    }
    out
}

/// The group's use and limits as they are now.
pub(crate) fn gauges(groups: &Cgroups) -> BTreeMap<String, f64> {
    let mut out = BTreeMap::new();
    if let Some(memory) = groups.memory() {
        out.insert("memory_limit".into(), memory.limit as f64);
        out.insert("memory_used".into(), memory.used as f64);
    }
    if let Some(cores) = cores(groups) {
        out.insert("cores_limit".into(), cores);
    }
    if let Some(place) = groups.controller("pids") {
        for (name, file) in [("pids_limit", "pids.max"), ("pids_now", "pids.current")] {
            let text = fs::read_to_string(place.dir().join(file)).unwrap_or_default();
            if let Ok(n) = text.trim().parse() {
                out.insert(name.into(), n);
            }
        }
    }
    out
}

/// How many cores the group may use; none where that is not limited.
pub(crate) fn cores(groups: &Cgroups) -> Option<f64> {
    let read = |file: PathBuf| fs::read_to_string(file).ok();
    let (quota, period) = match groups.controller("cpu")? {
        Place::V1(dir) => (read(dir.join("cpu.cfs_quota_us"))?, read(dir.join("cpu.cfs_period_us"))?),
        Place::V2(dir) => {
            let text = read(dir.join("cpu.max"))?;
            let (quota, period) = text.split_once(' ')?;
            (quota.to_owned(), period.to_owned())
        }
    };
    let (quota, period): (f64, f64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_devices_are_read() {
        let v2 = "8:0 rbps=max wbps=1048576 riops=max wiops=max\n8:16 rbps=1 wbps=2\n";
        assert_eq!(line(v2, "8:0", Some("wbps")), Some("1048576"));
        assert_eq!(line(v2, "8:1", Some("wbps")), None);
        assert_eq!(line("8:0 1024\n", "8:0", None), Some("1024"));
        assert_eq!(quota(0.2, 100_000), 20_000);
        assert_eq!(quota(0.001, 100_000), 1000);
    }

    /// The files of a group as they are, in a directory of our own.
    #[test]
    fn what_was_there_is_written_back() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("pids.max"), "max\n").unwrap();
        let edit = whole("pids", dir.path(), "pids.max", "20".into()).unwrap();
        edit.apply().unwrap();
        assert_eq!(edit.now().as_deref(), Some("20"));
        assert_eq!(edit.undo(Some("20")), Undo::Done);
        assert_eq!(fs::read_to_string(dir.path().join("pids.max")).unwrap(), "max");
        assert!(matches!(edit.undo(None), Undo::Nothing(_)), "again changes nothing");
        edit.write("33").unwrap();
        assert!(matches!(edit.undo(Some("20")), Undo::Nothing(why) if why.contains("by someone else")));
        assert_eq!(edit.undo(None), Undo::Done, "in another process nobody knows whose it is");
        let other = Edit { inode: edit.inode + 1, ..edit };
        assert!(matches!(other.undo(None), Undo::Nothing(why) if why.contains("is gone")));
    }
}
