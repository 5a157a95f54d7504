//! What processes take of this machine, as a probe.

use host::{Process, ProcessId, process};
use model::experiment::{ProcessProbe, ProcessStat};
use model::target::ProcessSpec;
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

/// When each process began, and the processor time that it has used since, by its number.
type Times = BTreeMap<u32, (u64, Duration)>;

/// Asks the same again and again, for processor time is told since each process began.
#[derive(Debug, Default)]
pub struct Taken {
    before: Option<(Instant, Times)>,
}

impl Taken {
    /// The number that is asked for, summed over the target's processes, which are looked for anew; none without any.
    pub fn ask(&mut self, probe: &ProcessProbe) -> Option<f64> {
        let found = find(&probe.spec);
        if probe.stat == ProcessStat::Count {
            return Some(found.len() as f64);
        }
        if found.is_empty() {
            return None;
        }
        let sum = |of: &dyn Fn(u32) -> Option<u64>| {
            // One that has just ended takes nothing any more; that of none can be seen is no data.
            let seen: Vec<u64> = found.iter().filter_map(|p| of(p.id.pid)).collect();
            (!seen.is_empty()).then(|| seen.iter().sum::<u64>() as f64)
        };
        match probe.stat {
            ProcessStat::Cpu => self.cpu(&found),
            ProcessStat::Rss => sum(&resident).map(|bytes| bytes / 1_048_576.0),
            ProcessStat::Descriptors => sum(&|pid| entries(pid, "fd")),
            ProcessStat::Threads => sum(&|pid| entries(pid, "task")),
            ProcessStat::Count => None,
        }
    }

    /// In percent of one core since the last time; none the first time.
    fn cpu(&mut self, found: &[Process]) -> Option<f64> {
        let of = |id: ProcessId| Some((id.pid, (id.start, id.stat().ok()?.cpu)));
        let (now, times) = (Instant::now(), found.iter().filter_map(|p| of(p.id)).collect::<Times>());
        let (then, before) = self.before.replace((now, times.clone()))?;
        let used = |(pid, (start, cpu)): (&u32, &(u64, Duration))| match before.get(pid) {
            Some((same, at_first)) if same == start => cpu.saturating_sub(*at_first),
            // It began meanwhile: all that it has used, it has used since.
            _ => *cpu,
        };
        let used: Duration = times.iter().map(used).sum();
        let passed = now.duration_since(then).as_secs_f64();
        (passed > 0.0).then(|| 100.0 * used.as_secs_f64() / passed)
    }
}

fn find(spec: &ProcessSpec) -> Vec<Process> {
    let mut found = match (spec.pid, spec.matches.as_deref()) {
        (Some(pid), _) => process::describe(pid).ok().filter(|p| p.id.alive()).into_iter().collect(),
        (None, Some(text)) => process::find(text),
        (None, None) => process::find(""),
    };
    found.retain(|p| spec.name.as_ref().is_none_or(|name| p.comm == *name));
    found
}

fn resident(pid: u32) -> Option<u64> {
    let pages = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = pages.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn entries(pid: u32, folder: &str) -> Option<u64> {
    Some(fs::read_dir(format!("/proc/{pid}/{folder}")).ok()?.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::units::Span;

    fn probe(pid: u32, stat: ProcessStat) -> ProcessProbe {
        let spec = ProcessSpec { pid: Some(pid), ..ProcessSpec::default() };
        ProcessProbe { target: "me".into(), spec, stat, every: Span::secs(1) }
    }

    #[test]
    fn what_a_process_takes_is_told() {
        let me = std::process::id();
        let ask = |stat| Taken::default().ask(&probe(me, stat));
        assert!(ask(ProcessStat::Rss).is_some_and(|mib| mib > 1.0 && mib < 10_000.0));
        assert!(ask(ProcessStat::Descriptors).is_some_and(|n| n >= 3.0));
        assert!(ask(ProcessStat::Threads).is_some_and(|n| n >= 1.0));
        assert_eq!(ask(ProcessStat::Count), Some(1.0));
        let none = |stat| Taken::default().ask(&probe(u32::MAX, stat));
        assert_eq!((none(ProcessStat::Rss), none(ProcessStat::Count)), (None, Some(0.0)), "no data is not 0");
        let mut taken = Taken::default();
        let cpu = probe(me, ProcessStat::Cpu);
        assert_eq!(taken.ask(&cpu), None, "since when?");
        let until = Instant::now() + Duration::from_millis(150);
        while Instant::now() < until {}
        assert!(taken.ask(&cpu).is_some_and(|percent| percent > 1.0));
    }
}
