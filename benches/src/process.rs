//! What a process costs, as the kernel counts it.

use std::fs;

/// Kernel ticks a second, as `/proc` counts processor time. It is 100 on every Linux that is built for people.
const TICKS: f64 = 100.0;

/// The pids of a process and all its descendants.
pub fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while at < all.len() {
        let tasks = fs::read_dir(format!("/proc/{}/task", all[at])).into_iter().flatten().flatten();
        for task in tasks {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|c| c.parse::<u32>().ok()));
        }
        at += 1;
    }
    all
}

/// Processor seconds that a process and its descendants have used.
pub fn cpu_seconds(pid: u32) -> f64 {
    let of = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
        Some(ticks / TICKS)
    };
    family(pid).into_iter().filter_map(of).sum()
}

/// Resident memory in KiB, of a process and its descendants.
pub fn resident_kib(pid: u32) -> f64 {
    let of = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = status.lines().find(|l| l.starts_with("Pss:"))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok()
    };
    family(pid).into_iter().filter_map(of).sum()
}

/// How often the threads of a process and its descendants were woken so far.
pub fn wakeups(pid: u32) -> u64 {
    let mut sum = 0;
    for pid in family(pid) {
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let count = status
                .lines()
                .find_map(|l| l.strip_prefix("voluntary_ctxt_switches:")?.trim().parse::<u64>().ok());
            sum += count.unwrap_or(0);
        }
    }
    sum
}

/// The share of the last ten seconds in which something waited for a processor, in percent: calm is under 5.
pub fn pressure() -> Option<f64> {
    let text = fs::read_to_string("/proc/pressure/cpu").ok()?;
    text.lines().next()?.split("avg10=").nth(1)?.split(' ').next()?.parse().ok()
}
