//! Work that children do: processors, memory, disks, and what stress-ng has.

use super::{Task, directory, ramps};
use crate::cgroup::Cgroups;
use crate::node::place::Place;
use crate::stress::{IoJob, Job, Load, MemoryJob, Moving, cpus};
use inject::Refusal;
use model::units::{Percent, Size};
use model::{Fault, Value};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) fn cpu(fault: &Fault, place: &Place, elapsed: Duration) -> Result<Vec<Task>, Refusal> {
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
    let machine = chosen.as_ref().map_or_else(crate::node::cores, Vec::len);
    let load = Load::of(fault, elapsed, machine);
    let mut warnings = Vec::new();
    let most = load.cores[0].max(load.cores[1]);
    if most > machine as f64 {
        warnings
            .push(format!("{most} cores are asked for, but there are {machine}: {machine} at most get busy"));
    }
    let last = load.total(Duration::from_secs(u32::MAX.into()));
    if place.groups.is_none() && last >= crate::node::cores() as f64 * 0.95 && load.nice <= 0 {
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

pub(super) fn memory(fault: &Fault, place: &Place, elapsed: Duration) -> Result<Vec<Task>, Refusal> {
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

pub(super) fn io(fault: &Fault, place: &Place, elapsed: Duration) -> Result<(IoJob, String), Refusal> {
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

/// A parameter that may be ramped, in plain numbers.
pub(super) fn moving(fault: &Fault, name: &str, elapsed: Duration) -> Option<Moving> {
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

pub(super) fn stress_ng() -> Result<PathBuf, Refusal> {
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

pub(super) fn arguments(fault: &Fault) -> Result<Vec<String>, Refusal> {
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
