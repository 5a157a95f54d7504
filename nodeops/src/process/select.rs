//! Which processes are meant.

use host::Process;
use host::process::{self, ProcessError};
use inject::Refusal;
use model::TargetRef;
use model::draw::{self, Lane};
use model::target::{Pick, ProcessSpec};

/// The stream of draws for picking processes.
const PICK: Lane = Lane::Other(1);

/// Processes that fit, oldest first; never none.
pub(super) fn find(target: &TargetRef, spec: &ProcessSpec) -> Result<Vec<Process>, Refusal> {
    let found = match (spec.pid, spec.matches.as_deref()) {
        (None, None | Some("")) => {
            return Err(Refusal::new(
                format!("{target} does not say which process"),
                "give pid: 4711, or match: with a text of its command line",
            ));
        }
        (Some(pid), text) => {
            let found = process::describe(pid).ok().filter(|p| p.id.alive()).ok_or_else(|| {
                Refusal::new(
                    format!("there is no process {pid}"),
                    "look its number up again: `pgrep -a NAME` lists numbers with command lines",
                )
            })?;
            if let Some(text) = text.filter(|t| !found.command.contains(t)) {
                return Err(Refusal::new(
                    format!("process {pid} is not {text:?}: its command line is {:?}", found.command),
                    "leave out pid or match, or correct one of them",
                ));
            }
            vec![found]
        }
        (None, Some(text)) => process::find(text),
    };
    if found.is_empty() {
        let text = spec.matches.as_deref().unwrap_or_default();
        return Err(Refusal::new(
            format!("{target}: no process has {text:?} in its command line"),
            format!(
                "start it first, or try the text with `pgrep -af {text:?}`; murphy's own processes never count"
            ),
        ));
    }
    if spec.pick == Pick::One && found.len() > 1 {
        return Err(Refusal::new(
            format!("{target} should be one process, but {} fit: {}", found.len(), names(&found)),
            "make match longer, give pid, or say pick: all, pick: {count: 1} or pick: {percent: 50%}",
        ));
    }
    Ok(found)
}

/// Which of those alive a fault gets. Drawn from its seed, so the same seed picks the same among the same.
pub(super) fn pick(
    target: &TargetRef,
    alive: &[Process],
    pick: Pick,
    seed: u64,
) -> Result<Vec<Process>, Refusal> {
    let count = match pick {
        Pick::One => 1,
        Pick::All => alive.len(),
        Pick::Percent(p) => ((alive.len() as f64 * p.fraction()).round() as usize).max(1),
        Pick::Count(0) => {
            return Err(Refusal::new(format!("{target} picks no process"), "pick a count of 1 or more"));
        }
        Pick::Count(n) if n as usize > alive.len() => {
            return Err(Refusal::new(
                format!("{target} wants {n} processes, but only {} run: {}", alive.len(), names(alive)),
                "lower the count, or say pick: all",
            ));
        }
        Pick::Count(n) => n as usize,
    };
    let mut order: Vec<usize> = (0..alive.len()).collect();
    if count < alive.len() {
        order.sort_by_key(|i| draw::bits(seed, PICK, *i as u64));
        order.truncate(count);
        order.sort_unstable();
    }
    Ok(order.into_iter().map(|i| alive[i].clone()).collect())
}

/// Refuses what would hurt the tool itself or cannot be hit at all.
pub(super) fn allowed(process: &Process) -> Result<(), Refusal> {
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
pub(super) fn names(list: &[Process]) -> String {
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
        let none = ProcessSpec { pid: None, matches: Some("no such words \u{1}".into()), pick: Pick::One };
        assert!(why(find(&target(), &none)).contains("no process has"));
        let empty = ProcessSpec { pid: None, matches: None, pick: Pick::One };
        assert!(why(find(&target(), &empty)).contains("does not say which process"));
        let dead = ProcessSpec { pid: Some(u32::MAX), matches: None, pick: Pick::One };
        assert!(why(find(&target(), &dead)).contains("there is no process 4294967295"));
        let me = process::describe(std::process::id()).unwrap();
        assert!(allowed(&me).unwrap_err().to_string().contains("murphy itself"));
        let parent = process::describe(process::ancestors(me.id.pid)[0]).unwrap();
        assert!(allowed(&parent).is_err());
    }
}
