//! What children hold so that nothing of it is left: space, inodes, descriptors, processes, ports.

use super::{Task, directory, ramps};
use crate::exhaust;
use crate::node::place::Place;
use crate::stress::{Disk, Files, Inodes, Job, Ports, Tasks, Wanted};
use inject::Refusal;
use model::Fault;
use model::units::Size;

pub(super) fn disk(id: &str, fault: &Fault, place: &Place) -> Result<Vec<Task>, Refusal> {
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

pub(super) fn inodes(id: &str, fault: &Fault, place: &Place) -> Result<Vec<Task>, Refusal> {
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

pub(super) fn files(fault: &Fault) -> Result<Vec<Task>, Refusal> {
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

pub(super) fn pids(fault: &Fault, place: &Place) -> Result<Vec<Task>, Refusal> {
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

pub(super) fn ports(fault: &Fault, place: &Place) -> Result<Vec<Task>, Refusal> {
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

/// So many children as it takes when each holds at most `each`.
pub(super) fn children(wanted: Wanted, needed: u64, each: u64) -> Vec<Wanted> {
    let n = needed.div_ceil(each.max(1)).clamp(1, 64);
    match wanted {
        Wanted::Take(all) => (0..n).map(|i| Wanted::Take(all.saturating_sub(i * each).min(each))).collect(),
        // Each takes what there is until nothing more is to be had.
        other => vec![other; n as usize],
    }
}

pub(super) fn wanted(fault: &Fault) -> Wanted {
    match fault.inject.int("count") {
        Some(n) => Wanted::Take(n as u64),
        None => Wanted::Leave(fault.inject.int("leave").unwrap_or(0) as u64),
    }
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
