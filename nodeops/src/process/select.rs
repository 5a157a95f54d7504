//! Which processes are meant.

use crate::cgroup::Cgroups;
use crate::containers;
use host::process::{self, ProcessError};
use host::{Process, privilege};
use inject::Refusal;
use model::TargetRef;
use model::target::{ContainerSpec, Pick, ProcessSpec};
use regex_lite::Regex;
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Processes that fit, oldest first; never none.
pub(crate) async fn find(target: &TargetRef, spec: &ProcessSpec) -> Result<Vec<Process>, Refusal> {
    let words = spec.words();
    if words.is_empty() {
        return Err(Refusal::new(
            format!("{target} does not say which process"),
            "give pid: 4711, or match: with a text of its command line",
        ));
    }
    let found = matching(target, spec).await?;
    if found.is_empty() {
        let text = spec.matches.as_deref().or(spec.regex.as_deref()).unwrap_or_default();
        return Err(match spec.matches.as_deref() {
            Some(text) if words.len() == 1 => Refusal::new(
                format!("{target}: no process has {text:?} in its command line"),
                format!(
                    "start it first, or try the text with `pgrep -af {text:?}`; murphy's own processes never count, nor who started them"
                ),
            ),
            _ => Refusal::new(
                format!("{target}: no process has {}", words.join(" and ")),
                format!(
                    "start it first, or look with `ps -eo pid,user,comm,args | grep {text:?}`; murphy's own processes never count, nor who started them"
                ),
            ),
        });
    }
    if spec.pick == Pick::One && found.len() > 1 {
        return Err(Refusal::new(
            format!("{target} should be one process, but {} fit: {}", found.len(), names(&found)),
            "make match longer, give pid, or say pick: all, pick: {count: 1} or pick: {percent: 50%}",
        ));
    }
    Ok(found)
}

/// Those that fit now, oldest first.
pub(super) async fn matching(target: &TargetRef, spec: &ProcessSpec) -> Result<Vec<Process>, Refusal> {
    Ok(match spec.pid {
        Some(pid) => {
            let found = process::describe(pid).ok().filter(|p| p.id.alive()).ok_or_else(|| {
                Refusal::new(
                    format!("there is no process {pid}"),
                    "look its number up again: `pgrep -a NAME` lists numbers with command lines",
                )
            })?;
            if let Some(text) = spec.matches.as_deref().filter(|t| !found.command.contains(t)) {
                return Err(Refusal::new(
                    format!("process {pid} is not {text:?}: its command line is {:?}", found.command),
                    "leave out pid or match, or correct one of them",
                ));
            }
            vec![found]
        }
        None => {
            let filter = Filter::of(target, spec).await?;
            let kin = process::kin();
            let mut found: Vec<Process> = process::list()
                .into_iter()
                .filter(|p| !p.command.is_empty() && filter.fits(p))
                .filter(|p| !kin.contains(&p.id.pid) && p.id.alive())
                .collect();
            found.sort_by_key(|p| (p.id.start, p.id.pid));
            found
        }
    })
}

/// Which of those alive a fault gets. Drawn from its seed, so the same seed picks the same among the same.
pub(crate) fn pick(
    target: &TargetRef,
    alive: &[Process],
    pick: Pick,
    seed: u64,
) -> Result<Vec<Process>, Refusal> {
    crate::pick::pick(target, alive, pick, seed, "processes", names)
}

/// What a process must be.
struct Filter<'a> {
    spec: &'a ProcessSpec,
    regex: Option<Regex>,
    user: Option<u32>,
    group: Option<HashSet<u32>>,
    container: Option<HashSet<u32>>,
}

impl<'a> Filter<'a> {
    async fn of(target: &TargetRef, spec: &'a ProcessSpec) -> Result<Filter<'a>, Refusal> {
        let regex = match spec.regex.as_deref().map(Regex::new) {
            None => None,
            Some(Ok(regex)) => Some(regex),
            Some(Err(e)) => {
                return Err(Refusal::new(format!("{target}: regex: {e}"), "correct the expression"));
            }
        };
        let user = match &spec.user {
            None => None,
            Some(name) => Some(privilege::uid_of(name).ok_or_else(|| {
                Refusal::new(
                    format!("{target}: there is no user {name:?}"),
                    "give a name of /etc/passwd or a number",
                )
            })?),
        };
        let group = match &spec.cgroup {
            None => None,
            Some(path) => {
                let groups = Cgroups::named(path).map_err(|e| {
                    Refusal::new(format!("{target}: cgroup {path}: {e}"), "see /proc/PID/cgroup")
                })?;
                Some(groups.all_processes().into_iter().collect())
            }
        };
        let container = match &spec.container {
            None => None,
            Some(name) => {
                let spec =
                    ContainerSpec { name: Some(name.clone()), pick: Pick::All, ..ContainerSpec::default() };
                let found = containers::find(target, &spec).await?;
                Some(found.iter().flat_map(containers::Found::processes).collect())
            }
        };
        Ok(Filter { spec, regex, user, group, container })
    }

    fn fits(&self, process: &Process) -> bool {
        let pid = process.id.pid;
        let owner = || fs::metadata(format!("/proc/{pid}")).ok().map(|m| m.uid());
        self.spec.matches.as_ref().is_none_or(|text| process.command.contains(text))
            && self.spec.name.as_ref().is_none_or(|name| process.comm == *name)
            && self.regex.as_ref().is_none_or(|regex| regex.is_match(&process.command))
            && self.group.as_ref().is_none_or(|all| all.contains(&pid))
            && self.container.as_ref().is_none_or(|all| all.contains(&pid))
            && self.user.is_none_or(|uid| owner() == Some(uid))
    }
}

/// Refuses what would hurt the tool itself or cannot be hit at all.
pub(crate) fn allowed(process: &Process) -> Result<(), Refusal> {
    let Process { id, comm, .. } = process;
    let pid = id.pid;
    if pid == 1 {
        return Err(Refusal::new(
            "process 1 keeps the machine (or the container) up",
            "choose a service below it",
        ));
    }
    if pid == std::process::id() {
        return Err(Refusal::new(format!("process {pid} is murphy itself"), "choose another"));
    }
    if process::ancestors(std::process::id()).contains(&pid) {
        return Err(Refusal::new(
            format!("process {pid} ({comm}) started murphy, which would go down with it"),
            "run the agent apart from it, for example as a service",
        ));
    }
    let stat = id.stat().map_err(|e| gone(process, &e))?;
    if stat.ppid == std::process::id() && process::same_program(pid) {
        return Err(Refusal::new(format!("process {pid} is a part of murphy"), "choose another"));
    }
    if stat.kernel_thread {
        return Err(Refusal::new(
            format!("process {pid} ({comm}) is a thread of the kernel"),
            "signals do nothing to it; choose a process of a program",
        ));
    }
    let raw = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    match raw.map(rustix::process::test_kill_process) {
        Some(Err(rustix::io::Errno::PERM)) => Err(Refusal::new(
            format!("process {pid} ({comm}) belongs to another user"),
            "this needs CAP_KILL: run the agent as root or as that user",
        )),
        _ => Ok(()),
    }
}

/// A process that ended while it was looked at.
pub(super) fn gone(process: &Process, error: &ProcessError) -> Refusal {
    Refusal::new(
        format!("{} ({}): {error}", process.id.pid, process.comm),
        "open the target again to look anew",
    )
}

/// Numbers and names, the first eight: `4711 nginx, 4712 nginx`.
pub(crate) fn names(list: &[Process]) -> String {
    let mut text =
        list.iter().take(8).map(|p| format!("{} {}", p.id.pid, p.comm)).collect::<Vec<_>>().join(", ");
    if list.len() > 8 {
        text.push_str(&format!(" and {} more", list.len() - 8));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::ProcessId;
    use model::TargetKind;
    use model::units::Percent;

    fn fake(n: u32) -> Vec<Process> {
        (0..n)
            .map(|i| Process {
                id: ProcessId { pid: 100 + i, start: u64::from(i) },
                comm: "worker".into(),
                command: "worker --queue".into(),
            })
            .collect()
    }

    fn target() -> TargetRef {
        TargetRef::new(TargetKind::Process, "worker")
    }

    #[test]
    fn picks_are_drawn_from_the_seed() {
        let alive = fake(10);
        let three = |seed| pick(&target(), &alive, Pick::Count(3), seed).unwrap();
        assert_eq!(three(7), three(7));
        assert!((0..20).any(|seed| three(seed) != three(7)));
        assert_eq!(three(7).len(), 3);
        let share = |p| pick(&target(), &alive, Pick::Percent(Percent::new(p).unwrap()), 1).unwrap().len();
        assert_eq!((share(50.0), share(0.0), share(100.0)), (5, 1, 10));
        assert_eq!(pick(&target(), &alive, Pick::All, 1).unwrap().len(), 10);
    }

    #[test]
    fn refusals_teach() {
        let why = |r: Result<Vec<Process>, Refusal>| r.unwrap_err().to_string();
        let alive = fake(10);
        let text = why(pick(&target(), &alive, Pick::Count(11), 1));
        assert!(text.contains("wants 11 processes, but only 10 run: 100 worker"), "{text}");
        assert!(text.contains("and 2 more; lower the count"), "{text}");
        let find = |spec: ProcessSpec| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            why(runtime.block_on(find(&target(), &spec)))
        };
        let none = || ProcessSpec { matches: Some("no such words \u{1}".into()), ..ProcessSpec::default() };
        assert!(find(none()).contains("no process has"));
        assert!(find(ProcessSpec::default()).contains("does not say which process"));
        let dead = ProcessSpec { pid: Some(u32::MAX), ..ProcessSpec::default() };
        assert!(find(dead).contains("there is no process 4294967295"));
        let text = find(ProcessSpec { regex: Some("(".into()), ..ProcessSpec::default() });
        assert!(text.contains("regex: "), "{text}");
        let text = find(ProcessSpec { user: Some("nobody-of-that-name".into()), ..none() });
        assert!(text.contains("there is no user"), "{text}");
        let text = find(ProcessSpec { name: Some("comm".into()), ..none() });
        assert!(text.contains("and name \"comm\""), "{text}");
        let me = process::describe(std::process::id()).unwrap();
        assert!(allowed(&me).unwrap_err().to_string().contains("murphy itself"));
        let parent = process::describe(process::ancestors(me.id.pid)[0]).unwrap();
        assert!(allowed(&parent).is_err());
    }
}
