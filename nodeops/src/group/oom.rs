//! Whom the kernel would kill, and killing them.

use crate::process::{select, signals};
use host::ProcessId;
use host::process::{self, Process};
use std::fs;
use std::time::Duration;

/// Those to be killed with their scores: the one with the worst, or all. Also why others are left out.
pub(super) fn choose(pids: &[u32], all: bool) -> (Vec<(Process, i64)>, Vec<String>) {
    let mut left = Vec::new();
    let mut found: Vec<(Process, i64)> = Vec::new();
    for pid in pids {
        let Ok(process) = process::describe(*pid) else { continue };
        if !process.id.alive() {
            continue;
        }
        if let Err(refusal) = select::allowed(&process) {
            left.push(format!("left out: {}", refusal.0));
            continue;
        }
        let number =
            |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?.trim().parse::<i64>().ok();
        if !all && number("oom_score_adj") == Some(-1000) {
            left.push(format!(
                "left out: process {pid} ({}) is protected (oom_score_adj -1000)",
                process.comm
            ));
            continue;
        }
        found.push((process, number("oom_score").unwrap_or(0)));
    }
    // The worst first; of equals the youngest, as it has the least to lose.
    found.sort_by_key(|(p, score)| std::cmp::Reverse((*score, p.id.start, p.id.pid)));
    if !all {
        found.truncate(1);
    }
    (found, left)
}

/// Sends a signal to that very process, and sees it out when that is certain.
pub(super) fn send(id: Option<ProcessId>, name: &str) -> Result<(), String> {
    let id = id.ok_or("the plan names no process")?;
    let signal = signals::named(name).ok_or_else(|| format!("{name} cannot be sent"))?;
    let held = id.open().map_err(|e| format!("{name} was not sent: {e}"))?;
    held.signal(signal).map_err(|e| format!("{name} was not sent: {e}"))?;
    if signal == process::ProcessSignal::KILL {
        held.wait_exit(Duration::from_secs(1));
    }
    Ok(())
}
