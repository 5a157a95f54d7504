//! Paths below a root that is not ours: a container's, reached through `/proc/PID/root`.
//!
//! Symbolic links in there are meant from there: followed by us they would lead out (openat2(2), RESOLVE_IN_ROOT).

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, openat, openat2, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The directory of that path.
pub(crate) fn directory(root: &Path, path: &Path) -> io::Result<OwnedFd> {
    open(root, path, OFlags::DIRECTORY | OFlags::RDONLY)
}

/// Opens something that is there.
pub(crate) fn open(root: &Path, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let base = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let inner = relative(path);
    match openat2(&base, &inner, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT) {
        // Before Linux 5.6, and under seccomp profiles that do not know it: only for our own root is that the same.
        Err(Errno::NOSYS | Errno::PERM) if root == Path::new("/") => {
            Ok(openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty())?)
        }
        other => Ok(other?),
    }
}

/// A new file that has no name, or none any more: nothing of it is left when it is closed.
pub(crate) fn nameless(dir: &impl AsFd, flags: OFlags, name: &str) -> io::Result<File> {
    let flags = flags | OFlags::RDWR | OFlags::CLOEXEC;
    match openat(dir, ".", flags | OFlags::TMPFILE, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(file.into()),
        // Not every filesystem knows files without a name.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT) => {
            let file = openat(dir, name, flags | OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR)?;
            unlinkat(dir, name, AtFlags::empty())?;
            Ok(file.into())
        }
        Err(e) => Err(e.into()),
    }
}

fn relative(path: &Path) -> PathBuf {
    let inner = path.strip_prefix("/").unwrap_or(path);
    if inner.as_os_str().is_empty() { PathBuf::from(".") } else { inner.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_do_not_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("real")).unwrap();
        std::fs::write(root.join("real/inner"), "mine").unwrap();
        symlink("/real", root.join("link")).unwrap();
        symlink("/etc/passwd", root.join("out")).unwrap();
        assert!(directory(&root, Path::new("/link")).is_ok(), "an absolute link is meant from the root");
        assert!(open(&root, Path::new("/link/inner"), OFlags::RDONLY).is_ok());
        assert!(open(&root, Path::new("/out"), OFlags::RDONLY).is_err());
        assert!(open(&root, Path::new("/../../etc/passwd"), OFlags::RDONLY).is_err());
        assert!(directory(&root, Path::new("/")).is_ok());
    }

    #[test]
    fn files_without_a_name_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let held = directory(dir.path(), Path::new("/")).unwrap();
        let file = nameless(&held, OFlags::empty(), ".murphy-x").unwrap();
        file.set_len(10).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
