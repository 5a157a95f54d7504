//! What this process itself takes of the machine.

use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::time::Duration;

/// What a process takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Processor time since its start.
    pub cpu: Duration,
    /// Memory that it has, in bytes.
    pub resident: u64,
    /// Open descriptors.
    pub descriptors: usize,
}

/// Of this process. None where `/proc` does not say.
pub fn own() -> Option<Usage> {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let pages: u64 = fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse().ok()?;
    Some(Usage {
        cpu: Duration::new(cpu.tv_sec.max(0) as u64, cpu.tv_nsec.clamp(0, 999_999_999) as u32),
        resident: pages * rustix::param::page_size() as u64,
        // One of them is the directory's own.
        descriptors: fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_counted() {
        let file = fs::File::open("/proc/self/stat").unwrap();
        let usage = own().unwrap();
        assert!(usage.resident > 100_000 && usage.descriptors >= 4, "{usage:?}");
        drop(file);
    }
}
