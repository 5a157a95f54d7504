//! What this machine can do, looked up once: what `murphy doctor` shows.

use crate::privilege::{self, Capabilities};
use crate::process::ProcessId;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// One thing that was looked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What: `pidfd`, `cgroup`, `CAP_KILL`.
    pub name: String,
    /// Whether it is there.
    pub ok: bool,
    /// What was found, in a few words.
    pub found: String,
    /// What needs it, and how to get it; empty when it is there.
    pub hint: String,
}

impl Finding {
    fn new(name: &str, ok: bool, found: impl Into<String>, hint: &str) -> Finding {
        let hint = if ok { String::new() } else { hint.to_owned() };
        Finding { name: name.to_owned(), ok, found: found.into(), hint }
    }
}

/// Which control groups the machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupVersion {
    /// None mounted.
    None,
    /// The old hierarchy.
    V1,
    /// The unified hierarchy.
    V2,
    /// Both, the controllers with the old one.
    Hybrid,
}

/// The release of the kernel: `6.1.0-18-amd64`.
pub fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Which control groups are mounted.
pub fn cgroups() -> CgroupVersion {
    let base = Path::new("/sys/fs/cgroup");
    let old = ["cpu", "cpu,cpuacct", "memory", "pids"].iter().any(|c| base.join(c).is_dir());
    if base.join("cgroup.controllers").is_file() {
        CgroupVersion::V2
    } else if base.join("unified/cgroup.controllers").is_file() && old {
        CgroupVersion::Hybrid
    } else if old {
        CgroupVersion::V1
    } else {
        CgroupVersion::None
    }
}

/// Whether a module is there: built in, loaded, or on disk to be loaded.
pub fn module(name: &str) -> bool {
    if Path::new("/sys/module").join(name).is_dir() {
        return true;
    }
    let dir = Path::new("/lib/modules").join(kernel());
    let file = format!("/{name}.ko");
    ["modules.builtin", "modules.dep"].iter().any(|list| {
        fs::read_to_string(dir.join(list)).is_ok_and(|text| {
            text.lines().any(|line| line.split(':').next().is_some_and(|path| path.contains(&file)))
        })
    })
}

/// Everything that is looked for.
pub fn all() -> Vec<Finding> {
    let caps = Capabilities::mine();
    let mut out = vec![
        Finding::new("kernel", true, kernel(), ""),
        Finding::new("user", true, privilege::user(), ""),
        pidfd(),
        cgroup(),
        fuse(),
        netem(),
        yama(),
    ];
    for (cap, what) in CAPABILITIES {
        let found = if caps.has(cap) { "this process has it" } else { "this process lacks it" };
        out.push(Finding::new(cap, caps.has(cap), found, what));
    }
    out
}

/// The capabilities that faults ask for, with what for and how to get them.
const CAPABILITIES: [(&str, &str); 8] = [
    (
        "CAP_KILL",
        "pauses and kills processes of other users: run as root, or setcap cap_kill+ep on the program",
    ),
    ("CAP_SYS_NICE", "makes stress more urgent than others (nice below 0): run as root"),
    ("CAP_SYS_RESOURCE", "protects the watchdog from the OOM killer: run as root"),
    ("CAP_NET_ADMIN", "network faults of a node: run as root"),
    ("CAP_NET_RAW", "network faults in user space: run as root"),
    ("CAP_SYS_ADMIN", "mounts and namespaces: run as root"),
    ("CAP_SYS_PTRACE", "clocks and limits of live processes: run as root"),
    ("CAP_SYS_TIME", "the system's clock: run as root"),
];

fn pidfd() -> Finding {
    match ProcessId::me().open() {
        Ok(_) => Finding::new("pidfd", true, "works", ""),
        Err(e) => Finding::new(
            "pidfd",
            false,
            e.to_string(),
            "pause, kill, cpu and the watchdog need it: Linux 5.3 or newer, and a seccomp profile that allows pidfd_open",
        ),
    }
}

fn cgroup() -> Finding {
    let (ok, found) = match cgroups() {
        CgroupVersion::V2 => (true, "version 2"),
        CgroupVersion::Hybrid => (true, "version 1 with 2 beside it"),
        CgroupVersion::V1 => (true, "version 1"),
        CgroupVersion::None => (false, "not mounted"),
    };
    Finding::new("cgroup", ok, found, "squeezing groups needs it: mount cgroup2 on /sys/fs/cgroup")
}

fn fuse() -> Finding {
    let there = Path::new("/dev/fuse").exists();
    let usable = there && fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").is_ok();
    let found = match (there, usable) {
        (_, true) => "/dev/fuse opens",
        (true, false) => "/dev/fuse is there but may not be opened",
        _ => "no /dev/fuse",
    };
    Finding::new(
        "fuse",
        usable,
        found,
        "faults on files need it: modprobe fuse; in a container --device /dev/fuse",
    )
}

fn netem() -> Finding {
    let ok = module("sch_netem");
    let found = if ok { "module sch_netem" } else { "no module sch_netem" };
    Finding::new(
        "netem",
        ok,
        found,
        "network faults in the kernel need it: install the kernel's extra modules; without it they run in user space",
    )
}

fn yama() -> Finding {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    match scope.trim() {
        "" => Finding::new("ptrace", true, "no yama", ""),
        "3" => Finding::new(
            "ptrace",
            false,
            "forbidden by yama (3)",
            "clocks of live processes need it; 3 stays until reboot",
        ),
        scope => Finding::new("ptrace", true, format!("yama scope {scope}"), ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lack_has_a_hint() {
        let all = all();
        for f in &all {
            assert!(f.ok || !f.hint.is_empty(), "{f:?}");
            assert!(!f.found.is_empty(), "{f:?}");
        }
        assert!(all.iter().any(|f| f.name == "pidfd"));
        assert!(!module("no_such_module_here"));
    }
}
