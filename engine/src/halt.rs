//! The halt that survives a restart: one small file in the state directory.

use crate::error::EngineError;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// That everything is halted: nothing may be armed until someone lifts it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halt {
    /// Who halted.
    pub by: String,
    /// When, in milliseconds since 1970 by the wall clock.
    pub at_ms: u64,
}

impl Halt {
    pub(crate) fn now(by: &str) -> Halt {
        Halt { by: by.to_owned(), at_ms: host::clock::wall_ms() }
    }
}

/// Halts an agent that is not running: it will be halted when it starts.
pub fn halt_offline(state_dir: &Path, by: &str) -> Result<Halt, EngineError> {
    host::dirs::private(state_dir, 0o700).map_err(|e| EngineError::StateDir(e.to_string()))?;
    let halt = read(state_dir).unwrap_or_else(|| Halt::now(by));
    write(state_dir, &halt).map_err(|e| EngineError::StateDir(format!("the halt cannot be written: {e}")))?;
    Ok(halt)
}

/// Lifts the halt of an agent that is not running; whether there was one.
pub fn lift_offline(state_dir: &Path) -> Result<bool, EngineError> {
    clear(state_dir).map_err(|e| EngineError::StateDir(format!("the halt cannot be lifted: {e}")))
}

/// The halt in that state directory, if there is one.
pub fn halted_offline(state_dir: &Path) -> Option<Halt> {
    read(state_dir)
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("halt.json")
}

/// A file that does not read still halts: whoever wrote it wanted that.
pub(crate) fn read(state_dir: &Path) -> Option<Halt> {
    match fs::read(path(state_dir)) {
        Ok(bytes) => Some(
            serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| Halt { by: format!("the file {}", path(state_dir).display()), at_ms: 0 }),
        ),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => {
            Some(Halt { by: format!("{}, which cannot be read: {e}", path(state_dir).display()), at_ms: 0 })
        }
    }
}

pub(crate) fn write(state_dir: &Path, halt: &Halt) -> io::Result<()> {
    let (temporary, target) = (state_dir.join("halt.json.new"), path(state_dir));
    let bytes = serde_json::to_vec(halt)?;
    let written = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()));
    match written.and_then(|()| fs::rename(&temporary, &target)) {
        Ok(()) => File::open(state_dir)?.sync_all(),
        Err(e) => {
            // On a full disk an empty file still fits, and an empty one halts too.
            File::create(&target).map_err(|_| e).map(drop)
        }
    }
}

pub(crate) fn clear(state_dir: &Path) -> io::Result<bool> {
    match fs::remove_file(path(state_dir)) {
        Ok(()) => File::open(state_dir)?.sync_all().map(|()| true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_halt_stays_until_it_is_lifted() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(halted_offline(dir.path()), None);
        let halt = halt_offline(dir.path(), "anna").unwrap();
        assert_eq!(halted_offline(dir.path()), Some(halt.clone()));
        assert_eq!(halt_offline(dir.path(), "ben").unwrap(), halt, "the first to halt is remembered");
        assert!(lift_offline(dir.path()).unwrap());
        assert!(!lift_offline(dir.path()).unwrap());
        fs::write(path(dir.path()), "{").unwrap();
        assert!(halted_offline(dir.path()).unwrap().by.contains("halt.json"));
    }
}
