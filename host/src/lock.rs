//! Locks on files that end with their process.

use crate::process::ProcessId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Who holds a lock, as written into its file by the holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub process: ProcessId,
    /// What it is: `agent`, `watchdog`, `recover`.
    pub what: String,
    /// Whose it is.
    pub user: String,
}

impl Holder {
    /// This process, holding as `what`.
    pub fn me(what: &str) -> Holder {
        Holder { process: ProcessId::me(), what: what.to_owned(), user: crate::privilege::user() }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}, process {}", self.what, self.user, self.process.pid)
    }
}

/// Why a lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Someone has it.
    #[error("{path} is held by {}", holder.as_ref().map_or_else(|| "someone".to_owned(), Holder::to_string))]
    Held {
        /// The lock's file.
        path: PathBuf,
        /// Who, when that could be read.
        holder: Option<Holder>,
    },
    /// The file cannot be used.
    #[error("cannot lock {path}: {source}")]
    File {
        /// The lock's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// An exclusive lock (flock(2)) on a file; given back when dropped or when the process ends.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    path: PathBuf,
}

impl FileLock {
    /// Takes the lock, trying for `patience`: a child between fork and exec still has its parent's descriptors, so a
    /// lock whose holder has just ended may look held for an instant.
    pub fn take(path: &Path, holder: &Holder, patience: Duration) -> Result<FileLock, LockError> {
        let failed = |source| LockError::File { path: path.to_owned(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        let until = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(LockError::Held { path: path.to_owned(), holder: read(&mut file) });
                }
                Err(TryLockError::Error(e)) => return Err(failed(e)),
            }
        }
        // Who holds it is a courtesy to others: a full disk must not keep anyone from recovering.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(&serde_json::to_vec(holder).unwrap_or_default()));
        Ok(FileLock { file, path: path.to_owned() })
    }

    /// The lock's file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // The file stays: removing it would let two processes hold locks on two files of one name.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

/// Who says to hold the lock, if anyone does; they may have ended since.
pub fn holder(path: &Path) -> Option<Holder> {
    read(&mut File::open(path).ok()?)
}

/// Whether someone holds the lock now. Looks by trying, and gives it back at once.
pub fn is_held(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

fn read(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(4096).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_who_is_named() {
        let path = std::env::temp_dir().join(format!("murphy-lock-{}", std::process::id()));
        let first = FileLock::take(&path, &Holder::me("agent"), Duration::ZERO).unwrap();
        assert!(is_held(&path));
        let why = FileLock::take(&path, &Holder::me("agent"), Duration::ZERO).unwrap_err().to_string();
        assert!(
            why.contains(&format!(
                "held by agent of {}, process {}",
                crate::privilege::user(),
                std::process::id()
            )),
            "{why}"
        );
        drop(first);
        assert!(!is_held(&path));
        FileLock::take(&path, &Holder::me("agent"), Duration::from_secs(5)).unwrap();
        std::fs::remove_file(path).unwrap();
    }
}
