//! Clocks and the boot they belong to.

use rustix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time since boot, also while suspended: comparable between processes, and the clock of every deadline on disk.
pub fn boottime() -> Duration {
    read(ClockId::Boottime)
}

/// Monotonic time, standing still while suspended.
pub fn monotonic() -> Duration {
    read(ClockId::Monotonic)
}

/// Processor time of the calling thread.
pub fn thread_cpu() -> Duration {
    read(ClockId::ThreadCPUTime)
}

/// Milliseconds since 1970-01-01 UTC, by the wall clock; for people, never to subtract.
pub fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// The kernel's name for this boot (`/proc/sys/kernel/random/boot_id`); empty when it cannot be read.
pub fn boot_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|id| id.trim().to_owned())
            .unwrap_or_default()
    })
}

fn read(id: ClockId) -> Duration {
    let t = clock_gettime(id);
    Duration::new(t.tv_sec.max(0) as u64, t.tv_nsec.clamp(0, 999_999_999) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_go_forward_and_the_boot_has_a_name() {
        let (a, b) = (boottime(), monotonic());
        assert!(boottime() >= a && monotonic() >= b);
        assert!(a + Duration::from_secs(1) >= b, "boottime counts at least what monotonic counts");
        assert_eq!(boot_id().len(), 36, "{}", boot_id());
    }
}
