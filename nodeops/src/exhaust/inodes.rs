//! Inodes of a filesystem, held by empty files: without names as far as descriptors go, then with names.

use super::descriptors::raise;
use crate::inroot;
use crate::stress::holder::Holder;
use crate::stress::{Inodes, Job};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, fstatvfs, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::time::Duration;

/// How many are made before the clock is looked at again.
const BITE: u64 = 500;
/// How many files with names there are in a directory.
const EACH: u64 = 4096;

/// Inodes that are held.
pub(crate) struct Seeds {
    job: Inodes,
    dir: OwnedFd,
    nameless: Vec<File>,
    most: u64,
    named: Option<Named>,
    full: bool,
    errno: i32,
}

/// Files with names, in directories of their own.
struct Named {
    base: OwnedFd,
    /// The directory that is being filled.
    last: OwnedFd,
    directories: u64,
    files: u64,
}

impl Seeds {
    pub(crate) fn new(job: Job) -> Result<Seeds, String> {
        let Job::Inodes(job) = job else { return Err("nothing that is held here".into()) };
        let dir = inroot::directory(&job.place.root, &job.place.path)
            .map_err(|e| format!("{}: {e}", job.place.path.display()))?;
        Ok(Seeds { job, dir, nameless: Vec::new(), most: raise(), named: None, full: false, errno: 0 })
    }

    fn held(&self) -> u64 {
        self.nameless.len() as u64 + self.named.as_ref().map_or(0, |n| n.files + n.directories + 1)
    }

    fn one_more(&mut self) -> io::Result<()> {
        if (self.nameless.len() as u64) < self.most {
            match inroot::nameless(&self.dir, OFlags::empty(), ".murphy-inode") {
                Ok(file) => {
                    self.nameless.push(file);
                    return Ok(());
                }
                Err(e) if e.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => {
                    // Fewer than promised; directories of files with names need a few.
                    self.nameless.truncate(self.nameless.len().saturating_sub(8));
                    self.most = self.nameless.len() as u64;
                }
                Err(e) => return Err(e),
            }
        }
        if self.job.name.is_empty() {
            return Err(Errno::MFILE.into());
        }
        let named = match &mut self.named {
            Some(named) => named,
            None => {
                let base = make(&self.dir, &self.job.name)?;
                let last = make(&base, "0")?;
                self.named.insert(Named { base, last, directories: 1, files: 0 })
            }
        };
        if named.files >= named.directories * EACH {
            named.last = make(&named.base, &named.directories.to_string())?;
            named.directories += 1;
        }
        let name = (named.files % EACH).to_string();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        openat(&named.last, &name, flags, Mode::RUSR)?;
        named.files += 1;
        Ok(())
    }

    fn one_less(&mut self) {
        let Some(named) = &mut self.named else {
            self.nameless.pop();
            return;
        };
        if named.files == 0 {
            let _ = remove(&self.dir, &self.job.name);
            self.named = None;
            return;
        }
        named.files -= 1;
        let _ = unlinkat(&named.last, (named.files % EACH).to_string(), AtFlags::empty());
        if named.files == (named.directories - 1) * EACH && named.directories > 1 {
            named.directories -= 1;
            let _ = unlinkat(&named.base, named.directories.to_string(), AtFlags::REMOVEDIR);
            if let Ok(last) = open(&named.base, &(named.directories - 1).to_string()) {
                named.last = last;
            }
        }
    }
}

fn make(parent: &impl AsFd, name: &str) -> io::Result<OwnedFd> {
    mkdirat(parent, name, Mode::RWXU)?;
    open(parent, name)
}

fn open(parent: &impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

/// Removes the directory of that name with all that the child made in it. Whether there was one.
pub(crate) fn remove(parent: &impl AsFd, name: &str) -> io::Result<bool> {
    let base = match open(parent, name) {
        Ok(base) => base,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    for directory in entries(&base)? {
        let inner = open(&base, &directory)?;
        for file in entries(&inner)? {
            unlinkat(&inner, file.as_str(), AtFlags::empty())?;
        }
        unlinkat(&base, directory.as_str(), AtFlags::REMOVEDIR)?;
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)?;
    Ok(true)
}

fn entries(dir: &OwnedFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

impl Holder for Seeds {
    fn step(&mut self, _elapsed: Duration) -> Duration {
        let Ok(at) = fstatvfs(&self.dir) else { return Duration::from_secs(1) };
        let held = self.held();
        let goal = self.job.wanted.goal(held, at.f_favail, at.f_files);
        if goal < held {
            for _ in 0..BITE {
                // A directory goes along with its last file, so it may be more than one.
                if self.held() <= goal {
                    break;
                }
                self.one_less();
            }
            return if held - goal > BITE { Duration::ZERO } else { Duration::from_millis(200) };
        }
        self.full = false;
        for _ in 0..(goal - held).min(BITE) {
            if let Err(e) = self.one_more() {
                self.full = true;
                self.errno = e.raw_os_error().unwrap_or(0);
                return Duration::from_millis(500);
            }
        }
        if goal - held > BITE { Duration::ZERO } else { Duration::from_millis(500) }
    }

    fn set(&mut self, job: Job) -> Result<(), String> {
        let Job::Inodes(job) = job else { return Err("this child holds inodes".into()) };
        if job.place != self.job.place {
            return Err("path cannot be changed while it is on".into());
        }
        self.job = job;
        Ok(())
    }

    fn measured(&self) -> BTreeMap<String, f64> {
        let left = fstatvfs(&self.dir).map_or(0, |at| at.f_favail);
        BTreeMap::from([
            ("held".to_owned(), self.held() as f64),
            ("with_names".to_owned(), self.named.as_ref().map_or(0.0, |n| n.files as f64)),
            ("left".to_owned(), left as f64),
            ("full".to_owned(), f64::from(u8::from(self.full))),
            ("errno".to_owned(), f64::from(self.errno)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stress::{Dir as Place, Wanted};

    #[test]
    fn files_with_names_are_made_and_removed_again() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { root: "/".into(), path: dir.path().into() };
        let job =
            |n| Inodes { place: place.clone(), wanted: Wanted::Take(n), name: ".murphy-inodes-T".into() };
        let mut seeds = Seeds::new(Job::Inodes(job(5000))).unwrap();
        // Only a few without names, so that the others are tried.
        seeds.most = 3;
        while seeds.step(Duration::ZERO).is_zero() {}
        assert!(seeds.held() >= 5000 && seeds.nameless.len() == 3, "{:?}", seeds.measured());
        assert_eq!(seeds.named.as_ref().unwrap().directories, 2);
        seeds.set(Job::Inodes(job(2))).unwrap();
        while seeds.step(Duration::ZERO).is_zero() {}
        assert_eq!((seeds.held(), std::fs::read_dir(dir.path()).unwrap().count()), (2, 0));
        seeds.set(Job::Inodes(job(100))).unwrap();
        while seeds.step(Duration::ZERO).is_zero() {}
        // As after a crash: only the name is known.
        drop(seeds);
        let held = inroot::directory(dir.path(), std::path::Path::new("/")).unwrap();
        assert!(remove(&held, ".murphy-inodes-T").unwrap());
        assert!(!remove(&held, ".murphy-inodes-T").unwrap());
    }
}
