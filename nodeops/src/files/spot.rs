//! Where a file is: a directory that is held, and a name in it. Links are followed from the root that the path is meant
//! from, which is a container's as well as ours.

use crate::inroot;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, readlinkat, statat};
use std::io;
use std::path::{Path, PathBuf};

/// How many links are followed, as many as the kernel does (path_resolution(7)).
const LINKS: usize = 40;

/// A place for a file.
#[derive(Debug)]
pub(super) struct Spot {
    pub dir: OwnedFd,
    /// The directory's path below the root, with links.
    pub path: PathBuf,
    pub name: String,
}

impl Spot {
    /// The directory of that path below the root, and a name in it.
    pub(super) fn at(root: &Path, path: &Path, name: &str) -> io::Result<Spot> {
        let dir = inroot::directory(root, path)?;
        Ok(Spot { dir, path: path.to_owned(), name: name.to_owned() })
    }

    /// Where a path leads; the last part is followed when it is a link and `follow` says so. It need not be there.
    pub(super) fn find(root: &Path, path: &Path, follow: bool) -> io::Result<Spot> {
        let mut path = path.to_owned();
        for _ in 0..LINKS {
            let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "it names no file");
            let name = path.file_name().and_then(|n| n.to_str()).ok_or_else(wrong)?.to_owned();
            let parent = path.parent().ok_or_else(wrong)?.to_owned();
            let spot = Spot::at(root, &parent, &name)?;
            if !follow {
                return Ok(spot);
            }
            match statat(&spot.dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                    let to = readlinkat(&spot.dir, &name, Vec::new())?;
                    let to = to.to_str().map_err(|_| wrong())?;
                    // Joined, not tidied up: the kernel walks `..` after a link from where the link leads.
                    path = parent.join(to);
                }
                _ => return Ok(spot),
            }
        }
        Err(io::Error::other("too many links"))
    }

    /// For messages.
    pub(super) fn shown(&self) -> String {
        self.path.join(&self.name).display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_lead_to_the_file_itself() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("etc/real")).unwrap();
        std::fs::write(root.join("etc/real/app.conf"), "x").unwrap();
        symlink("/etc/real", root.join("link")).unwrap();
        symlink("../link/app.conf", root.join("etc/app.conf")).unwrap();
        let spot = Spot::find(root, Path::new("/etc/app.conf"), true).unwrap();
        assert!(statat(&spot.dir, &spot.name, AtFlags::SYMLINK_NOFOLLOW).unwrap().st_size == 1);
        assert_eq!(Spot::find(root, Path::new("/etc/app.conf"), false).unwrap().shown(), "/etc/app.conf");
        assert!(Spot::find(root, Path::new("/etc/no such"), true).is_ok(), "it need not be there");
        assert!(Spot::find(root, Path::new("/"), true).is_err());
        symlink("round", root.join("round")).unwrap();
        assert!(Spot::find(root, Path::new("/round"), true).is_err());
    }
}
