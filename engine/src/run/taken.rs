//! What processes take of this machine, as a probe.

use host::ProcessId;
use model::experiment::ProcessStat;
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
    /// The number that is asked for, summed over the processes of these numbers; none without any.
    pub fn ask(&mut self, stat: ProcessStat, found: &[u32]) -> Option<f64> {
        if stat == ProcessStat::Count {
            return Some(found.len() as f64);
        }
        let sum = |of: &dyn Fn(u32) -> Option<u64>| {
            // One that has just ended takes nothing any more; that of none can be seen is no data.
            let seen: Vec<u64> = found.iter().filter_map(|pid| of(*pid)).collect();
            (!seen.is_empty()).then(|| seen.iter().sum::<u64>() as f64)
        };
        match stat {
            ProcessStat::Cpu => self.cpu(found),
            ProcessStat::Rss => sum(&resident).map(|bytes| bytes / 1_048_576.0),
            ProcessStat::Descriptors => sum(&|pid| entries(pid, "fd")),
            ProcessStat::Threads => sum(&|pid| entries(pid, "task")),
            ProcessStat::Count => None,
        }
    }

    /// In percent of one core since the last time; none the first time.
    fn cpu(&mut self, found: &[u32]) -> Option<f64> {
        if found.is_empty() {
            return None;
        }
        let of = |pid: &u32| {
            let id = ProcessId::of(*pid).ok()?;
            Some((*pid, (id.start, id.stat().ok()?.cpu)))
        };
        let (now, times) = (Instant::now(), found.iter().filter_map(of).collect::<Times>());
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

    #[test]
    fn what_a_process_takes_is_told() {
        let me = std::process::id();
        let ask = |stat| Taken::default().ask(stat, &[me]);
        assert!(ask(ProcessStat::Rss).is_some_and(|mib| mib > 1.0 && mib < 10_000.0));
        assert!(ask(ProcessStat::Descriptors).is_some_and(|n| n >= 3.0));
        assert!(ask(ProcessStat::Threads).is_some_and(|n| n >= 1.0));
        assert_eq!(ask(ProcessStat::Count), Some(1.0));
        let none = |stat| Taken::default().ask(stat, &[]);
        assert_eq!((none(ProcessStat::Rss), none(ProcessStat::Count)), (None, Some(0.0)), "no data is not 0");
        let mut taken = Taken::default();
        let mut ask = || taken.ask(ProcessStat::Cpu, &[me]);
        assert_eq!(ask(), None, "since when?");
        // Ticks are coarse, and others may have the processors.
        let end = Instant::now() + Duration::from_secs(20);
        let busy = loop {
            let until = Instant::now() + Duration::from_millis(150);
            while Instant::now() < until {}
            let percent = ask();
            if percent.is_some_and(|percent| percent > 1.0) || Instant::now() > end {
                break percent;
            }
        };
        assert!(busy.is_some_and(|percent| percent > 1.0), "{busy:?}");
    }
}
