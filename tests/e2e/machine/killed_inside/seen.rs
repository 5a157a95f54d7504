//! Everything of a container that a fault could have changed.

use super::fleet::ANEW;
use crate::clocks::tellers::vdso;
use crate::ground::{Engine, mounts};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `container what` and how it is.
pub type Seen = BTreeMap<String, String>;

/// What is written in the files of groups, of either version.
const GROUP: [&str; 12] = [
    "pids.max",
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "cpu.cfs_quota_us",
    "cpu.cfs_period_us",
    "freezer.state",
    "memory.max",
    "memory.high",
    "memory.swap.max",
    "cpu.max",
    "io.max",
    "cgroup.freeze",
];

/// Looks at these containers.
pub fn look(engine: &Engine, names: &[&str]) -> Seen {
    let all: Value =
        serde_json::from_str(&engine.must(&[&["inspect"], names].concat())).expect("what inspect says");
    let all = all.as_array().expect("a list");
    let look_at = |one: &Value| {
        let name = one["Name"].as_str().unwrap_or_default().trim_start_matches('/').to_owned();
        let mut seen = Seen::new();
        let mut say = |what: String, how: String| drop(seen.insert(format!("{name} {what}"), how));
        say("state".into(), format!("{} {}", one["State"]["Status"], one["State"]["Paused"]));
        // An engine has no word for taking these two away: -1 is no limit, too, and a period means nothing then.
        let config = one["HostConfig"].to_string().replace("\"CpuQuota\":-1", "\"CpuQuota\":0");
        say("config".into(), config.replace("\"CpuPeriod\":100000", "\"CpuPeriod\":0"));
        look_inside(engine, one["Id"].as_str().unwrap_or_default(), !ANEW.contains(&&*name), &mut say);
        seen
    };
    // Three at once: most of it is waiting for programs.
    std::thread::scope(|scope| {
        let parts = all.chunks(all.len().div_ceil(3).max(1));
        let looking: Vec<_> =
            parts.map(|part| scope.spawn(|| part.iter().flat_map(look_at).collect::<Seen>())).collect();
        looking.into_iter().flat_map(|one| one.join().unwrap()).collect()
    })
}

/// What is different between two looks.
pub fn differs(before: &Seen, now: &Seen) -> Vec<String> {
    let other = |key: &&String| before.get(*key) != now.get(*key);
    let mut keys: Vec<String> = before.keys().chain(now.keys()).filter(other).cloned().collect();
    keys.sort();
    keys.dedup();
    keys
}

/// Processes of that name in a container, as this machine numbers them.
pub fn processes(engine: &Engine, container: &str, name: &str) -> Vec<u32> {
    let id = engine.must(&["inspect", "-f", "{{.Id}}", container]);
    pids(&engine.groups_of(&id)).into_iter().filter(|pid| comm(*pid) == name).collect()
}

fn look_inside(engine: &Engine, id: &str, stays: bool, say: &mut impl FnMut(String, String)) {
    let groups = engine.groups_of(id);
    for dir in &groups {
        for file in GROUP {
            if let Ok(text) = fs::read_to_string(dir.join(file)) {
                say(format!("group {file}"), text.trim().to_owned());
            }
        }
    }
    let pids = pids(&groups);
    let mut who: Vec<String> = pids.iter().map(|pid| format!("{}{}", comm(*pid), stopped(*pid))).collect();
    who.sort();
    say("processes".into(), who.join(" "));
    let Some(first) = pids.iter().copied().find(|pid| is_first(*pid)) else { return };
    if !stays {
        return;
    }
    for pid in &pids {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
        say(format!("limits of {}", comm(*pid)), limits);
    }
    let mut hash = DefaultHasher::new();
    vdso(first).hash(&mut hash);
    say("vdso".into(), format!("{:x}", hash.finish()));
    say("network".into(), network(first));
    say("sockets".into(), sockets(first));
    say("ports".into(), taken(first));
    say("mounts".into(), mounts(first));
    let root = PathBuf::from(format!("/proc/{first}/root"));
    say("hosts".into(), file(&root.join("etc/hosts")));
    let room = rustix::fs::statvfs(root.join("data"));
    say("room".into(), room.map_or_else(|e| e.to_string(), |r| format!("{} {}", r.f_bfree, r.f_ffree)));
    for dir in ["srv", "vol", "data"] {
        match fs::read_dir(root.join(dir)) {
            Ok(entries) => entries.flatten().for_each(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                say(format!("{dir}/{name}"), file(&entry.path()));
            }),
            Err(e) => say(dir.to_owned(), e.to_string()),
        }
    }
}

fn pids(groups: &[PathBuf]) -> Vec<u32> {
    let mut all: Vec<u32> = groups
        .iter()
        .filter_map(|dir| fs::read_to_string(dir.join("cgroup.procs")).ok())
        .flat_map(|text| text.lines().filter_map(|l| l.parse().ok()).collect::<Vec<u32>>())
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn comm(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

fn stopped(pid: u32) -> &'static str {
    if crate::machine::rig::state(pid) == 'T' { " (stopped)" } else { "" }
}

fn is_first(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|l| l.starts_with("NSpid:") && l.ends_with("\t1"))
}

fn network(pid: u32) -> String {
    let net = format!("--net=/proc/{pid}/ns/net");
    let looks = "nft -s list ruleset; tc qdisc show; tc filter show dev eth0 egress; ip -o link; ip -4 route";
    let done = Command::new("nsenter").args([&net, "sh", "-c", looks]).output().unwrap();
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Which of some ports are taken: one that is only bound is in no table.
fn taken(pid: u32) -> String {
    let own = fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
    let enter = || nix::sched::setns(own, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    // All of those that are given away by themselves, and the one that is occupied.
    let ports = (0..40).map(|n| 33_000 + n * 691).chain([9999]);
    std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            enter();
            ports.filter(|port| TcpListener::bind(("0.0.0.0", *port)).is_err()).collect::<Vec<u16>>()
        });
        format!("{:?}", work.join().unwrap())
    })
}

/// Where someone listens.
fn sockets(pid: u32) -> String {
    let mut all: Vec<String> = Vec::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if ["0A", "07"].contains(&words[3]) {
                all.push(format!("{table} {}", words[1]));
            }
        }
    }
    all.sort();
    all.join("\n")
}

fn file(path: &Path) -> String {
    let about = fs::symlink_metadata(path)
        .map(|m| format!("{:o} {} {} {}.{:09}", m.mode(), m.uid(), m.gid(), m.mtime(), m.mtime_nsec()));
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    format!("{about:?} {text:?}")
}
