//! Control groups by the few files they are made of (cgroups(7)), version 1 and 2 alike.
//!
//! A process is in one group of the unified hierarchy and in one of each hierarchy of version 1; which controller is where
//! differs from machine to machine. [`Cgroups`] says for one process, or for a path, which directories these are.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The directories of one group, by controller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroups {
    /// The group in the unified hierarchy (version 2), where that is mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unified: Option<PathBuf>,
    /// The groups in hierarchies of version 1, by controller: `memory`, `cpu`, `pids`, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub controllers: BTreeMap<String, PathBuf>,
}

/// Where a controller's files of one group are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// In a hierarchy of version 1.
    V1(&'a Path),
    /// In the unified hierarchy.
    V2(&'a Path),
}

impl Place<'_> {
    /// The directory.
    pub fn dir(&self) -> &Path {
        match self {
            Place::V1(dir) | Place::V2(dir) => dir,
        }
    }
}

/// A mounted hierarchy: which part of it is visible, and where.
#[derive(Debug, Clone, PartialEq)]
struct Mount {
    root: String,
    point: PathBuf,
    /// The controllers of version 1; none for the unified hierarchy.
    v1: Option<Vec<String>>,
}

impl Cgroups {
    /// The groups that a process is in, as far as they can be seen from here.
    pub fn of(pid: u32) -> io::Result<Cgroups> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        Ok(Cgroups::read(&text, &mounts()?))
    }

    /// The group of that path: below a hierarchy's root (`/system.slice/x`), or a directory of a mounted hierarchy.
    pub fn named(path: &str) -> io::Result<Cgroups> {
        let mounts = mounts()?;
        // Someone who pastes a directory means the group, in whatever hierarchies have it.
        let inner = mounts
            .iter()
            .filter_map(|m| Path::new(path).strip_prefix(&m.point).ok())
            .min_by_key(|rest| rest.as_os_str().len())
            .map_or_else(|| PathBuf::from(path), Path::to_path_buf);
        let mut found = Cgroups::default();
        for mount in &mounts {
            // In a container /proc/PID/cgroup may count from where only a part is mounted.
            let below = inner.strip_prefix(&mount.root).unwrap_or(&inner);
            let dir = mount.point.join(below.strip_prefix("/").unwrap_or(below));
            if dir.join("cgroup.procs").exists() {
                found.add(mount, dir);
            }
        }
        if found == Cgroups::default() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no hierarchy has a group of that path"));
        }
        Ok(found)
    }

    fn read(text: &str, mounts: &[Mount]) -> Cgroups {
        let mut found = Cgroups::default();
        for line in text.lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(_), Some(names), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            let names: Vec<&str> = names.split(',').filter(|n| !n.is_empty()).collect();
            let of = mounts.iter().find(|m| match &m.v1 {
                None => names.is_empty(),
                Some(v1) => !names.is_empty() && names.iter().all(|n| v1.iter().any(|c| c == n)),
            });
            let Some(mount) = of else { continue };
            // In a container only a part of the hierarchy is mounted, and a group beside it has no directory here.
            let inner = if mount.root == "/" {
                Some(path)
            } else {
                path.strip_prefix(mount.root.as_str()).filter(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            if let Some(inner) = inner {
                found.add(mount, mount.point.join(inner.trim_start_matches('/')));
            }
        }
        found
    }

    fn add(&mut self, mount: &Mount, dir: PathBuf) {
        match &mount.v1 {
            None => self.unified = Some(dir),
            Some(names) => {
                for name in names {
                    self.controllers.insert(name.clone(), dir.clone());
                }
            }
        }
    }

    /// Where a controller's files of this group are; none when the kernel lacks it or it is not switched on for the group.
    pub fn controller(&self, name: &str) -> Option<Place<'_>> {
        let old = match name {
            "io" => "blkio",
            other => other,
        };
        if let Some(dir) = self.controllers.get(old) {
            return Some(Place::V1(dir));
        }
        let dir = self.unified.as_deref()?;
        let words = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
        words.split_whitespace().any(|w| w == name).then_some(Place::V2(dir))
    }

    /// All directories, each once.
    pub fn dirs(&self) -> Vec<&Path> {
        let mut all: Vec<&Path> =
            self.controllers.values().map(PathBuf::as_path).chain(self.unified.as_deref()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whether it is the root of its hierarchies: what every process is in.
    pub fn is_root(&self) -> bool {
        let Ok(mounts) = mounts() else { return true };
        self.dirs().iter().all(|dir| mounts.iter().any(|m| m.point == **dir && m.root == "/"))
    }

    /// Whether a directory is where a hierarchy is mounted.
    pub(crate) fn mount_point(dir: &Path) -> bool {
        mounts().is_ok_and(|all| all.iter().any(|m| m.point == dir && m.root == "/"))
    }

    /// Moves a process into the group, in every hierarchy in which it has one. A hierarchy in which it is the root is left
    /// alone.
    pub fn take(&self, pid: u32) -> io::Result<()> {
        let mut moved = false;
        let mut last = None;
        for dir in self.dirs() {
            let file = dir.join("cgroup.procs");
            match fs::write(&file, pid.to_string()) {
                Ok(()) => moved = true,
                // It is there already, as in a container's own group, which may be mounted for reading alone.
                Err(_) if has(&file, pid) => moved = true,
                Err(e) => last = Some(io::Error::new(e.kind(), format!("{}: {e}", file.display()))),
            }
        }
        match last {
            // Version 2 beside version 1 often takes nobody; what limits is in version 1 then.
            Some(e) if !moved || self.controllers.is_empty() => Err(e),
            _ => Ok(()),
        }
    }

    /// The processes in the group, without those of groups below.
    pub fn processes(&self) -> Vec<u32> {
        let main = ["pids", "freezer", "cpu", "memory"].iter().find_map(|c| self.controllers.get(*c));
        // In a machine with both, everyone is in the root of version 2 as a rule.
        let dir = main.or(self.unified.as_ref()).or(self.controllers.values().next());
        let text = dir.and_then(|d| fs::read_to_string(d.join("cgroup.procs")).ok()).unwrap_or_default();
        text.lines().filter_map(|l| l.parse().ok()).collect()
    }

    /// The processes in the group and in those below it.
    pub fn all_processes(&self) -> Vec<u32> {
        let main = ["pids", "freezer", "cpu", "memory"].iter().find_map(|c| self.controllers.get(*c));
        let mut found = Vec::new();
        if let Some(dir) = main.or(self.unified.as_ref()).or(self.controllers.values().next()) {
            walk(dir, 0, &mut found);
        }
        found
    }

    /// How much memory the group may have, and how much it has; none where nothing is limited.
    pub fn memory(&self) -> Option<Memory> {
        let (limit, used) = match self.controller("memory")? {
            Place::V1(dir) => (dir.join("memory.limit_in_bytes"), dir.join("memory.usage_in_bytes")),
            Place::V2(dir) => (dir.join("memory.max"), dir.join("memory.current")),
        };
        let limit: u64 = fs::read_to_string(limit).ok()?.trim().parse().ok()?;
        let used: u64 = fs::read_to_string(used).ok()?.trim().parse().ok()?;
        // Version 1 writes no limit as the largest number of whole pages.
        (limit < 1 << 62).then_some(Memory { limit, used })
    }

    /// Bytes of its memory that are only copies of what is on a disk, and go when memory is short.
    pub fn reclaimable(&self) -> u64 {
        let Some(place) = self.controller("memory") else { return 0 };
        let text = fs::read_to_string(place.dir().join("memory.stat")).unwrap_or_default();
        let name = if matches!(place, Place::V1(_)) { "total_inactive_file " } else { "inactive_file " };
        text.lines().find_map(|l| l.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
    }

    /// How many processes the kernel has killed in the group for want of memory.
    pub fn oom_kills(&self) -> Option<u64> {
        let file = match self.controller("memory")? {
            Place::V1(dir) => dir.join("memory.oom_control"),
            Place::V2(dir) => dir.join("memory.events"),
        };
        let text = fs::read_to_string(file).ok()?;
        text.lines().find_map(|l| l.strip_prefix("oom_kill "))?.trim().parse().ok()
    }
}

/// A group's memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// What it may have.
    pub limit: u64,
    /// What it has.
    pub used: u64,
}

fn has(procs: &Path, pid: u32) -> bool {
    let text = fs::read_to_string(procs).unwrap_or_default();
    text.lines().any(|line| line.parse() == Ok(pid))
}

fn walk(dir: &Path, depth: usize, found: &mut Vec<u32>) {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    found.extend(text.lines().filter_map(|l| l.parse::<u32>().ok()));
    if depth > 16 {
        return;
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            walk(&entry.path(), depth + 1, found);
        }
    }
}

fn mounts() -> io::Result<Vec<Mount>> {
    Ok(parse_mounts(&fs::read_to_string("/proc/self/mountinfo")?))
}

/// proc(5), `/proc/PID/mountinfo`: the fields after ` - ` are type, source and options of the superblock.
fn parse_mounts(text: &str) -> Vec<Mount> {
    const KNOWN: [&str; 13] = [
        "blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "misc", "net_cls",
        "net_prio", "pids", "rdma",
    ];
    let mut out = Vec::new();
    for line in text.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let (mut left, mut right) = (before.split(' '), after.split(' '));
        let (Some(root), Some(point)) = (left.nth(3), left.next()) else { continue };
        let v1 = match right.next() {
            Some("cgroup2") => None,
            Some("cgroup") => {
                let options = right.nth(1).unwrap_or_default();
                let names = options.split(',').filter(|o| KNOWN.contains(o)).map(str::to_owned).collect();
                Some(names)
            }
            _ => continue,
        };
        if v1.as_ref().is_none_or(|names: &Vec<String>| !names.is_empty()) {
            out.push(Mount { root: root.to_owned(), point: unescape(point).into(), v1 });
        }
    }
    out
}

/// Spaces and the like are written as octal numbers.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
32 25 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:13 - cgroup cgroup rw,cpu,cpuacct
33 25 0:29 / /sys/fs/cgroup/memory rw,relatime shared:14 - cgroup cgroup rw,memory
34 25 0:30 / /sys/fs/cgroup/systemd rw,relatime shared:15 - cgroup cgroup rw,name=systemd
35 25 0:31 / /sys/fs/cgroup/unified rw,relatime shared:16 - cgroup2 cgroup2 rw
36 25 8:1 / /srv rw,relatime - ext4 /dev/sda1 rw
";

    #[test]
    fn groups_of_both_versions_are_found() {
        let mounts = parse_mounts(HYBRID);
        assert_eq!(mounts.len(), 3);
        let text = "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n2:name=systemd:/x\n0::/docker/abc\n";
        let found = Cgroups::read(text, &mounts);
        assert_eq!(found.controllers["cpuacct"], Path::new("/sys/fs/cgroup/cpu,cpuacct/docker/abc"));
        assert_eq!(found.controllers["memory"], Path::new("/sys/fs/cgroup/memory/docker/abc"));
        assert_eq!(found.unified.as_deref(), Some(Path::new("/sys/fs/cgroup/unified/docker/abc")));
        assert_eq!(found.controllers.len(), 3);
        assert_eq!(found.dirs().len(), 3);
    }

    #[test]
    fn only_what_is_mounted_has_a_directory() {
        let text = "40 25 0:31 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let mounts = parse_mounts(text);
        let of = |path: &str| Cgroups::read(&format!("0::{path}\n"), &mounts).unified;
        assert_eq!(of("/docker/abc/inner").as_deref(), Some(Path::new("/sys/fs/cgroup/inner")));
        assert_eq!(of("/docker/abc").as_deref(), Some(Path::new("/sys/fs/cgroup/")));
        assert_eq!(of("/docker/abcd"), None);
        assert_eq!(of("/elsewhere"), None);
    }

    #[test]
    fn our_own_group_is_found_where_there_are_any() {
        let Ok(mine) = Cgroups::of(std::process::id()) else { return };
        for dir in mine.dirs() {
            assert!(dir.join("cgroup.procs").exists(), "{}", dir.display());
        }
    }
}
