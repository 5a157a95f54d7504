//! Private directories, and where the program keeps its things when nobody says otherwise.

use crate::privilege;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// It cannot be made or looked at.
    #[error("cannot make the directory {path}: {source}; choose another with MURPHY_STATE_DIR")]
    Make {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else has its name.
    #[error("{0} is not a directory; remove it or choose another place")]
    NotADirectory(PathBuf),
    /// Someone else owns it and could change what is written there.
    #[error("{path} belongs to {owner}, not to {me}; choose a directory of your own")]
    Foreign {
        /// Which.
        path: PathBuf,
        /// Whose.
        owner: String,
        /// Who we are.
        me: String,
    },
}

/// Makes a directory that others cannot write to, with its parents, or takes one that is there: it must be ours (or
/// root's when we are root), and its mode is narrowed to `mode` (0o700, or 0o750 for a group that may enter).
pub fn private(path: &Path, mode: u32) -> Result<(), DirError> {
    let failed = |source| DirError::Make { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            match DirBuilder::new().recursive(true).mode(mode).create(path) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(failed(e)),
                _ => {}
            }
        }
        Err(e) => return Err(failed(e)),
        Ok(_) => {}
    }
    // A link to a directory of ours is fine; what counts is where it leads.
    let meta = fs::metadata(path).map_err(failed)?;
    if !meta.is_dir() {
        return Err(DirError::NotADirectory(path.to_owned()));
    }
    if meta.uid() != privilege::uid() {
        return Err(DirError::Foreign {
            path: path.to_owned(),
            owner: privilege::user_name(meta.uid()),
            me: privilege::user(),
        });
    }
    if meta.mode() & 0o777 & !mode != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
    }
    Ok(())
}

/// Where the control socket lies by default: `/run/murphy` for root, else in the user's runtime directory.
pub fn runtime() -> PathBuf {
    if privilege::is_root() {
        return PathBuf::from("/run/murphy");
    }
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|d| Path::new(d).is_absolute()) {
        Some(dir) => PathBuf::from(dir).join("murphy"),
        None => std::env::temp_dir().join(format!("murphy-{}", privilege::uid())),
    }
}

/// Where the undo log lies by default: `MURPHY_STATE_DIR`, else `/var/lib/murphy` for root, else in the user's home.
pub fn state() -> PathBuf {
    let env = |name| std::env::var_os(name).filter(|d| Path::new(d).is_absolute()).map(PathBuf::from);
    if let Some(dir) = std::env::var_os("MURPHY_STATE_DIR").filter(|d| !d.is_empty()) {
        return PathBuf::from(dir);
    }
    if privilege::is_root() {
        return PathBuf::from("/var/lib/murphy");
    }
    env("XDG_STATE_HOME")
        .or_else(|| env("HOME").map(|home| home.join(".local/state")))
        .map_or_else(|| runtime().join("state"), |dir| dir.join("murphy"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_directories_are_made_narrowed_and_checked() {
        let base = std::env::temp_dir().join(format!("murphy-dirs-{}", std::process::id()));
        let dir = base.join("a/b");
        private(&dir, 0o700).unwrap();
        let mode = || fs::metadata(&dir).unwrap().mode() & 0o777;
        assert_eq!(mode(), 0o700);
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        private(&dir, 0o750).unwrap();
        assert_eq!(mode(), 0o750);
        let file = base.join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(private(&file, 0o700), Err(DirError::NotADirectory(_))));
        if privilege::is_root() {
            std::os::unix::fs::chown(&dir, Some(4711), None).unwrap();
            let why = private(&dir, 0o700).unwrap_err().to_string();
            assert!(why.contains("belongs to uid 4711, not to root"), "{why}");
        }
        fs::remove_dir_all(base).unwrap();
    }
}
