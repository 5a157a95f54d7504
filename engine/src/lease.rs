//! The agent's own lease: a time in a file, which it moves on while it lives and means to.
//!
//! The watchdog reads it. An agent that hangs (stopped, thrashing, deadlocked) lets it pass, and the watchdog undoes
//! what it can; the agent sees the same when it wakes, and ends its faults as expired.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Digits of the file's content: always as long, so that moving it on never needs room on the disk.
const DIGITS: usize = 20;

/// The file's name in the state directory.
pub(crate) const FILE: &str = "lease";

#[derive(Debug)]
pub(crate) struct Lease {
    file: File,
    length: Duration,
    /// When it passes, on the boot clock; none while nothing is armed.
    until: Mutex<Option<Duration>>,
}

impl Lease {
    pub(crate) fn open(state_dir: &Path, length: Duration) -> io::Result<Lease> {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(state_dir.join(FILE))?;
        Ok(Lease { file, length, until: Mutex::new(None) })
    }

    /// How often it is to be renewed.
    pub(crate) fn period(&self) -> Duration {
        self.length / 3
    }

    /// Moves it on; false when it had passed already.
    pub(crate) fn renew(&self) -> io::Result<bool> {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let now = host::clock::boottime();
        let in_time = until.is_none_or(|until| now <= until);
        let next = now + self.length;
        self.file.write_all_at(format!("{:0DIGITS$}", next.as_millis()).as_bytes(), 0)?;
        *until = Some(next);
        Ok(in_time)
    }

    /// Nothing is armed any more: nothing can pass.
    pub(crate) fn rest(&self) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// When the lease of the agent in that directory passes, in milliseconds on the boot clock. One that cannot be read
/// never does: then the faults' own ends have to do.
pub(crate) fn read(state_dir: &Path) -> u64 {
    std::fs::read_to_string(state_dir.join(FILE)).ok().and_then(|t| t.trim().parse().ok()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_passes_unless_it_is_renewed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), u64::MAX);
        let lease = Lease::open(dir.path(), Duration::from_millis(30)).unwrap();
        assert!(lease.renew().unwrap());
        let first = read(dir.path());
        assert!(u128::from(first) <= host::clock::boottime().as_millis() + 30);
        std::thread::sleep(Duration::from_millis(60));
        assert!(!lease.renew().unwrap(), "it had passed");
        assert!(read(dir.path()) > first);
        lease.rest();
        std::thread::sleep(Duration::from_millis(60));
        assert!(lease.renew().unwrap(), "nothing was armed meanwhile");
    }
}
