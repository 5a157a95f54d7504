//! How loaded this machine is.

use std::fs;

/// Processor time since the machine's start, of all its processors, in clock ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessorTime {
    busy: u64,
    total: u64,
}

impl ProcessorTime {
    /// Now. None where `/proc` does not say.
    pub fn now() -> Option<ProcessorTime> {
        parse_stat(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// The share that was busy since then, in percent; none when no time has passed.
    pub fn busy_since(self, before: ProcessorTime) -> Option<f64> {
        let total = self.total.checked_sub(before.total).filter(|t| *t > 0)?;
        Some(100.0 * self.busy.saturating_sub(before.busy) as f64 / total as f64)
    }
}

/// The share of the memory that cannot be given to others without swapping, in percent.
pub fn memory_used() -> Option<f64> {
    parse_meminfo(&fs::read_to_string("/proc/meminfo").ok()?)
}

/// The first line of `/proc/stat`: user nice system idle iowait irq softirq steal; guests are in user already (proc(5)).
fn parse_stat(text: &str) -> Option<ProcessorTime> {
    let line = text.lines().find(|l| l.starts_with("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
    let idle: u64 = ticks.get(3..5)?.iter().sum();
    let total: u64 = ticks.iter().sum();
    Some(ProcessorTime { busy: total - idle, total })
}

fn parse_meminfo(text: &str) -> Option<f64> {
    let of = |key: &str| -> Option<f64> {
        let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let total = of("MemTotal").filter(|total| *total > 0.0)?;
    Some(100.0 * (1.0 - of("MemAvailable")? / total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_what_has_passed() {
        let at =
            |user, idle| parse_stat(&format!("cpu  {user} 0 0 {idle} 50 0 0 0 9 9\ncpu0 1 1 1 1\n")).unwrap();
        assert_eq!(at(130, 170).busy_since(at(100, 100)), Some(30.0));
        assert_eq!(at(100, 100).busy_since(at(100, 100)), None);
        assert_eq!(parse_stat("intr 1"), None);
        assert_eq!(parse_meminfo("MemTotal: 200 kB\nMemFree: 1 kB\nMemAvailable: 50 kB\n"), Some(75.0));
        assert_eq!(parse_meminfo("MemTotal: 0 kB\n"), None);
    }

    #[test]
    fn this_machine_says() {
        assert!(ProcessorTime::now().is_some());
        assert!(memory_used().is_some_and(|share| share > 0.0 && share < 100.0));
    }
}
