//! From a fault to what children do.

use super::place::Place;
use crate::cgroup::Cgroups;
use crate::exhaust;
use crate::stress::{
    Dir, Disk, Exec, Files, Inodes, IoJob, Job, Load, MemoryJob, Moving, Ports, Tasks, Wanted, cpus,
};
use inject::Refusal;
use model::units::{Percent, Size};
use model::{Fault, Value};
use std::path::{Path, PathBuf};
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
        "cpu" => cpu(fault, place, elapsed),
        "memory" => memory(fault, place, elapsed),
        "io" => {
            let (job, words) = io(fault, place, elapsed)?;
            one(Job::Io(job), words)
        }
        "stress_ng" => {
            let program = stress_ng()?;
            let args = arguments(fault)?;
            let words = format!("run {} {}", program.display(), args.join(" "));
            one(Job::Exec(Exec { program, args }), words)
        }
        "disk_fill" => disk(id, fault, place),
        "inode_fill" => inodes(id, fault, place),
        "fd_fill" => files(fault),
        "pid_fill" => pids(fault, place),
        "port_fill" => ports(fault, place),
        other => Err(Refusal::new(
            format!("{other} is no fault of a machine"),
            format!("try {}", FAULTS.join(", ")),
        )),
    }
}

fn cpu(fault: &Fault, place: &Place, elapsed: Duration) -> Result<Vec<Task>, Refusal> {
    let inject = &fault.inject;
    let nice = inject.int("nice").unwrap_or(0);
    if nice < 0 && !host::Capabilities::mine().has("CAP_SYS_NICE") {
        return Err(Refusal::new(
            format!("nice {nice} needs CAP_SYS_NICE"),
            "run the agent as root, or use 0 to 19",
        ));
    }
    for track in fault.ramp.iter().flat_map(|r| &r.tracks) {
        if !Load::can_ramp(&track.param, &track.from) || !Load::can_ramp(&track.param, &track.to) {
            return Err(Refusal::new(
                format!("cpu cannot ramp {}", track.param),
                "it can ramp load ([10%, 80%]) and cores ([1, 2])",
            ));
        }
    }
    let chosen = match inject.text("cpus") {
        None => None,
        Some(text) => Some(cpus(text).filter(|all| !all.is_empty()).ok_or_else(|| {
            Refusal::new(format!("cpus {text:?} is no list of processors"), "write for example 0,2-3")
        })?),
    };
    if let Some(missing) =
        chosen.iter().flatten().find(|n| !Path::new(&format!("/sys/devices/system/cpu/cpu{n}")).exists())
    {
        return Err(Refusal::new(format!("there is no processor {missing}"), "`lscpu -e` lists them"));
    }
    // On chosen processors there are as many cores as were chosen.
    let machine = chosen.as_ref().map_or_else(super::cores, Vec::len);
    let load = Load::of(fault, elapsed, machine);
    let mut warnings = Vec::new();
    let most = load.cores[0].max(load.cores[1]);
    if most > machine as f64 {
        warnings
            .push(format!("{most} cores are asked for, but there are {machine}: {machine} at most get busy"));
    }
    let last = load.total(Duration::from_secs(u32::MAX.into()));
    if place.groups.is_none() && last >= super::cores() as f64 * 0.95 && load.nice <= 0 {
        warnings
            .push("this leaves next to nothing for the rest of the machine; nice=19 yields to others".into());
    }
    if let Some(cores) = place.groups.as_ref().and_then(crate::group::cores).filter(|c| *c < last) {
        warnings.push(format!("the group may use {cores} cores: more than that is not had"));
    }
    let mode = if load.reach { "up to " } else { "" };
    let on = chosen.map_or_else(String::new, |c| format!(" on processors {c:?}"));
    let words = format!(
        "burn {mode}{:.0}% of a core in {} threads of a child process{on}{}",
        last * 100.0,
        load.threads(),
        place.name
    );
    Ok(vec![Task { job: Job::Cpu(load), words, leftover: None, warnings }])
}

/// A parameter that may be ramped, in plain numbers.
fn moving(fault: &Fault, name: &str, elapsed: Duration) -> Option<Moving> {
    let number = |value: &Value| match value {
        Value::Size(s) => Some(s.0 as f64),
        Value::Percent(p) => Some(p.fraction()),
        Value::ByteRate(r) => Some(r.value()),
        _ => None,
    };
    let over = fault.ramp.as_ref().map_or(Duration::ZERO, |r| r.over.0);
    let at = |when| fault.inject_at(when).get(name).and_then(number);
    let (from, to) = (at(Duration::ZERO)?, at(over)?);
    let over_ms = if from == to { 0.0 } else { over.as_secs_f64() * 1e3 };
    Some(Moving { from, to, over_ms, since_ms: elapsed.as_secs_f64() * 1e3 })
}

/// Refuses ramps of what cannot be ramped.
fn ramps(fault: &Fault, possible: &[&str]) -> Result<(), Refusal> {
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

fn memory(fault: &Fault, place: &Place, elapsed: Duration) -> Result<Vec<Task>, Refusal> {
    ramps(fault, &["size", "load"])?;
    let inject = &fault.inject;
    let (size, load) = (moving(fault, "size", elapsed), moving(fault, "load", elapsed));
    let (amount, share) = match (size, load) {
        (Some(size), None) => (size, false),
        (None, Some(load)) => (load, true),
        _ => {
            return Err(Refusal::new(
                "memory needs either size or load",
                "give for example size=512MiB or load=80%",
            ));
        }
    };
    let job = MemoryJob {
        amount,
        share,
        reach: inject.text("mode") == Some("reach"),
        reserve: inject.size("reserve").unwrap_or_default().0,
        resident: inject.flag("resident"),
        group: place.groups.clone().filter(|g| g.memory().is_some()),
    };
    let last = amount.to;
    if let Some(all) = crate::stress::memory_of_machine().filter(|all| !share && last > *all as f64) {
        return Err(Refusal::new(
            format!("{} are more than the {} that this machine has", Size(last as u64), Size(all).about()),
            "give less; all but the reserve is load=100%",
        ));
    }
    let what = if share {
        Percent::new(last * 100.0).map_or_else(String::new, |p| p.to_string())
    } else {
        Size(last as u64).to_string()
    };
    let of = match (share, &job.group) {
        (false, _) => "",
        (true, None) => " of the machine's memory",
        (true, Some(_)) => " of the group's limit",
    };
    let mode = if job.reach { "take memory until " } else { "take " };
    let end = if job.reach { " is used" } else { " of memory" };
    let end = if of.is_empty() || job.reach { end } else { "" };
    let words = format!("{mode}{what}{of}{end} in a child process{}", place.name);
    let mut warnings = Vec::new();
    if job.reserve == 0 {
        let whose = if job.group.is_some() { "the group" } else { "the machine" };
        warnings.push(format!(
            "reserve=0B leaves nothing: when {whose} is out of memory, the kernel kills. It takes this child first, but \
             all others stall until then, and may be killed too; without it 64 MiB stay available"
        ));
    }
    let limit = place.groups.as_ref().and_then(Cgroups::memory).map(|m| m.limit);
    if let Some(limit) = limit.filter(|limit| !share && last > *limit as f64) {
        warnings.push(format!(
            "the group may have {}: the kernel kills for more, or the reserve keeps it from that",
            Size(limit).about()
        ));
    }
    Ok(vec![Task { job: Job::Memory(job), words, leftover: None, warnings }])
}

fn io(fault: &Fault, place: &Place, elapsed: Duration) -> Result<(IoJob, String), Refusal> {
    ramps(fault, &["rate"])?;
    let inject = &fault.inject;
    let direct = inject.flag("direct");
    let block = inject.size("block").unwrap_or(Size(65_536)).0;
    let size = inject.size("size").unwrap_or(Size(64 << 20)).0;
    if block == 0 || block > 64 << 20 || (direct && !block.is_multiple_of(4096)) {
        return Err(Refusal::new(
            format!("a block of {} cannot be", Size(block)),
            "up to 64MiB, and with direct a whole multiple of 4KiB; or direct=false",
        ));
    }
    if size < block {
        return Err(Refusal::new(
            format!("a file of {} has no room for a block of {}", Size(size), Size(block)),
            "make size larger or block smaller",
        ));
    }
    let op = inject.text("op").unwrap_or("write");
    let job = IoJob {
        place: directory(fault, place)?,
        read: op != "write",
        write: op != "read",
        rate: moving(fault, "rate", elapsed),
        block,
        size,
        workers: inject.int("workers").unwrap_or(1).max(1) as usize,
        random: inject.text("pattern") == Some("random"),
        direct,
    };
    let rate =
        inject.byte_rate("rate").map_or_else(|| "as fast as it goes".to_owned(), |r| format!("at {r}"));
    let op = if op == "both" { "read and write" } else { op };
    let words = format!("{op} {} at a time {rate} below {}", Size(block), job.place.path.display());
    Ok((job, words))
}

/// The directory that `path` names, which must be there.
fn directory(fault: &Fault, place: &Place) -> Result<Dir, Refusal> {
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

fn disk(id: &str, fault: &Fault, place: &Place) -> Result<Vec<Task>, Refusal> {
    ramps(fault, &[])?;
    let inject = &fault.inject;
    let given = [
        inject.size("size").map(|s| (Wanted::Take(s.0), format!("take {s}"))),
        inject.percent("used").map(|p| (Wanted::LeaveShare(1.0 - p.fraction()), format!("fill to {p}"))),
        inject.percent("leave").map(|p| (Wanted::LeaveShare(p.fraction()), format!("fill but for {p}"))),
        inject.size("free").map(|s| (Wanted::Leave(s.0), format!("fill but for {s}"))),
    ];
    let mut given = given.into_iter().flatten();
    let (Some((wanted, words)), None) = (given.next(), given.next()) else {
        return Err(Refusal::new(
            "disk_fill needs one of size, used, leave and free",
            "give for example leave=5%",
        ));
    };
    let dir = directory(fault, place)?;
    let name = format!(".murphy-fill-{}", crate::record::tag(id));
    let at = crate::inroot::directory(&dir.root, &dir.path)
        .and_then(|fd| Ok(rustix::fs::fstatvfs(&fd)?))
        .map_err(|e| Refusal::new(format!("{}: {e}", dir.path.display()), "choose another path"))?;
    let reserved = inject.flag("reserved");
    let free = at.f_bavail * at.f_frsize;
    let most = if reserved { at.f_bfree * at.f_frsize } else { free };
    if let Wanted::Take(size) = wanted
        && size > most
    {
        return Err(Refusal::new(
            format!(
                "{} are more than the {} that are free on the filesystem of {}",
                Size(size),
                Size(most).about(),
                dir.path.display()
            ),
            "to have it full, whatever others do, give free=0B",
        ));
    }
    let words = format!(
        "{words} of the filesystem of {}{} ({} free)",
        dir.path.display(),
        place.name,
        Size(free).about()
    );
    let job = Disk { place: dir.clone(), wanted, reserved, name: name.clone() };
    let leftover = Some((dir, name));
    Ok(vec![Task { job: Job::Disk(job), words, leftover, warnings: vec![] }])
}

fn inodes(id: &str, fault: &Fault, place: &Place) -> Result<Vec<Task>, Refusal> {
    ramps(fault, &[])?;
    let (count, leave) = (fault.inject.int("count"), fault.inject.int("leave"));
    let wanted = match (count, leave) {
        (Some(n), None) => Wanted::Take(n as u64),
        (None, n) => Wanted::Leave(n.unwrap_or(0) as u64),
        _ => return Err(Refusal::new("inode_fill takes either count or leave", "leave one of them out")),
    };
    let dir = directory(fault, place)?;
    let at = crate::inroot::directory(&dir.root, &dir.path)
        .and_then(|fd| Ok(rustix::fs::fstatvfs(&fd)?))
        .map_err(|e| Refusal::new(format!("{}: {e}", dir.path.display()), "choose another path"))?;
    if at.f_files == 0 && count.is_none() {
        return Err(Refusal::new(
            format!("the filesystem of {} has no fixed number of inodes", dir.path.display()),
            "give count, or fill its space with disk_fill",
        ));
    }
    let needed = wanted.goal(0, at.f_favail, at.f_files);
    let capacity = exhaust::capacity();
    let words = format!("take {needed} inodes of the filesystem of {}{}", dir.path.display(), place.name);
    let task = |wanted: Wanted, name: String, words: String, warnings: Vec<String>| {
        let leftover = (!name.is_empty()).then(|| (dir.clone(), name.clone()));
        Task { job: Job::Inodes(Inodes { place: dir.clone(), wanted, name }), words, leftover, warnings }
    };
    if needed <= capacity {
        return Ok(vec![task(wanted, String::new(), words, vec![])]);
    }
    if place.until.is_none() {
        // Beyond what may be open at once they have names, and those are removed by name.
        let name = format!(".murphy-inodes-{}", crate::record::tag(id));
        let warning = format!(
            "{needed} are more than the {capacity} files that may be open at once: the others get names below {}/{name}, which takes a while to remove",
            dir.path.display()
        );
        return Ok(vec![task(wanted, name, words, vec![warning])]);
    }
    Err(Refusal::new(
        format!("{needed} inodes are more than the {capacity} files that may be open at once"),
        "give a smaller count, or arm it on node:self with a path on the same filesystem",
    ))
}

/// So many children as it takes when each holds at most `each`.
fn children(wanted: Wanted, needed: u64, each: u64) -> Vec<Wanted> {
    let n = needed.div_ceil(each.max(1)).clamp(1, 64);
    match wanted {
        Wanted::Take(all) => (0..n).map(|i| Wanted::Take(all.saturating_sub(i * each).min(each))).collect(),
        // Each takes what there is until nothing more is to be had.
        other => vec![other; n as usize],
    }
}

fn wanted(fault: &Fault) -> Wanted {
    match fault.inject.int("count") {
        Some(n) => Wanted::Take(n as u64),
        None => Wanted::Leave(fault.inject.int("leave").unwrap_or(0) as u64),
    }
}

fn files(fault: &Fault) -> Result<Vec<Task>, Refusal> {
    ramps(fault, &[])?;
    let wanted = wanted(fault);
    let (used, most) = exhaust::system()
        .ok_or_else(|| Refusal::new("/proc/sys/fs/file-nr cannot be read", "it needs a mounted /proc"))?;
    let needed = wanted.goal(0, most.saturating_sub(used), most);
    let capacity = exhaust::capacity();
    if needed.div_ceil(capacity.max(1)) > 64 {
        return Err(Refusal::new(
            format!("fs.file-max is {most}, which 64 processes of {capacity} files each do not reach"),
            "give count, or arm fd_fill on a process, whose own limit is nearer",
        ));
    }
    let parts = children(wanted, needed, capacity);
    let n = parts.len();
    let words = |i: usize| match n {
        1 => format!("hold {needed} open files"),
        _ => format!("hold open files, {} of {n} processes for {needed} in all", i + 1),
    };
    let task = |(i, wanted)| Task {
        job: Job::Files(Files { wanted }),
        words: words(i),
        leftover: None,
        warnings: vec![],
    };
    Ok(parts.into_iter().enumerate().map(task).collect())
}

fn pids(fault: &Fault, place: &Place) -> Result<Vec<Task>, Refusal> {
    ramps(fault, &[])?;
    let wanted = wanted(fault);
    let group = place.groups.clone().filter(|g| exhaust::count(Some(g)).is_some());
    if place.groups.is_some() && group.is_none() && !matches!(wanted, Wanted::Take(_)) {
        return Err(Refusal::new(
            format!(
                "pids.max is not set{}: there is nothing to be used up but the machine's own",
                place.name
            ),
            "give count, set a limit first (cgroup_squeeze pids=…), or arm it on node:self",
        ));
    }
    let (now, most) = exhaust::count(group.as_ref()).ok_or_else(|| {
        Refusal::new("how many processes there may be cannot be read", "it needs a mounted /proc")
    })?;
    let needed = wanted.goal(0, most.saturating_sub(now), most);
    let parts = children(wanted, needed, exhaust::most_tasks());
    let n = parts.len();
    let words = |i: usize| match n {
        1 => format!("start {needed} sleeping threads{}", place.name),
        _ => format!("start sleeping threads{}, {} of {n} processes for {needed} in all", place.name, i + 1),
    };
    let warnings = if group.is_none() && place.groups.is_none() {
        vec![
            "nobody on this machine can start a process while it is on; murphy needs none to take it back"
                .to_owned(),
        ]
    } else {
        vec![]
    };
    let task = |(i, wanted)| Task {
        job: Job::Tasks(Tasks { wanted, group: group.clone() }),
        words: words(i),
        leftover: None,
        warnings: if i == 0 { warnings.clone() } else { vec![] },
    };
    Ok(parts.into_iter().enumerate().map(task).collect())
}

fn ports(fault: &Fault, place: &Place) -> Result<Vec<Task>, Refusal> {
    ramps(fault, &[])?;
    let leave = fault.inject.int("leave").unwrap_or(0) as u64;
    let udp = fault.inject.text("protocol") == Some("udp");
    // That of another namespace is its own; it is wide enough there too when it is here.
    let (from, to) = exhaust::range().unwrap_or((32_768, 60_999));
    let all = u64::from(to - from) + 1;
    let parts = children(Wanted::Leave(0), all, exhaust::capacity()).len();
    let kind = if udp { "udp" } else { "tcp" };
    let words = format!("bind the ephemeral {kind} ports{} but for {leave}", place.name);
    let warnings = if place.netns.is_none() {
        vec!["new connections of everyone on this machine fail while it is on, but for those with a port of their own".to_owned()]
    } else {
        vec![]
    };
    let task = |i: usize| Task {
        job: Job::Ports(Ports { leave, udp }),
        words: if parts > 1 { format!("{words} ({} of {parts} processes)", i + 1) } else { words.clone() },
        leftover: None,
        warnings: if i == 0 { warnings.clone() } else { vec![] },
    };
    Ok((0..parts).map(task).collect())
}

fn stress_ng() -> Result<PathBuf, Refusal> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/bin".into(), "/usr/local/bin".into()])
        .map(|dir| dir.join("stress-ng"))
        .find(|file| file.is_file());
    found.ok_or_else(|| {
        Refusal::new(
            "stress-ng is not installed",
            "install it: apt-get install stress-ng, dnf install stress-ng",
        )
    })
}

fn arguments(fault: &Fault) -> Result<Vec<String>, Refusal> {
    let text = fault.inject.text("args").unwrap_or_default();
    let mut args: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    if args.is_empty() {
        return Err(Refusal::new("stress_ng needs arguments", "write for example args=\"--matrix 1\""));
    }
    if !args.iter().any(|a| a == "-t" || a.starts_with("--timeout"))
        && let Some(lasts) = fault.lasts
    {
        // A second line of its own: it ends by itself too.
        args.push("--timeout".into());
        args.push(format!("{}s", lasts.0.as_secs().max(1) + 5));
    }
    Ok(args)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up() {
        assert_eq!(children(Wanted::Take(25), 25, 10), [Wanted::Take(10), Wanted::Take(10), Wanted::Take(5)]);
        assert_eq!(children(Wanted::Take(5), 5, 10), [Wanted::Take(5)]);
        assert_eq!(children(Wanted::Leave(1), 25, 10).len(), 3);
        assert_eq!(children(Wanted::Leave(1), 0, 10).len(), 1);
    }
}
