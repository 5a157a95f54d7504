//! What a file is besides its content: mode, owner, times, extended attributes (which hold ACLs and capabilities).

use super::spot::Spot;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
    getxattr, listxattr, openat, removexattr, setxattr, statat, utimensat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;

/// The facts of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    pub inode: u64,
    pub device: u64,
    /// Permissions with set-user-id and the like; without what kind of file it is.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub kind: Kind,
    /// Seconds and nanoseconds.
    pub accessed: (i64, i64),
    pub modified: (i64, i64),
    /// Names with values in hexadecimal.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// What kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    File,
    Directory,
    Link,
    Other,
}

/// A file that is held without being opened for anything: by this, what its name means cannot change meanwhile.
pub(super) struct Holding {
    fd: OwnedFd,
}

impl Holding {
    pub(super) fn take(spot: &Spot) -> io::Result<Holding> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Holding { fd: openat(&spot.dir, &spot.name, flags, Mode::empty())? })
    }

    /// A name for it that leads to the very file: proc(5), `/proc/PID/fd`.
    fn name(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }

    pub(super) fn facts(&self) -> io::Result<Facts> {
        let stat = statat(&self.fd, "", AtFlags::EMPTY_PATH)?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Link,
            _ => Kind::Other,
        };
        let attributes = if kind == Kind::Link { BTreeMap::new() } else { self.attributes()? };
        Ok(Facts {
            inode: stat.st_ino,
            device: stat.st_dev,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: stat.st_size as u64,
            kind,
            accessed: (stat.st_atime as i64, stat.st_atime_nsec as i64),
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            attributes,
        })
    }

    fn attributes(&self) -> io::Result<BTreeMap<String, String>> {
        let path = self.name();
        let mut found = BTreeMap::new();
        let mut names = vec![0_u8; 64 * 1024];
        let length = match listxattr(path.as_str(), &mut names[..]) {
            Ok(n) => n,
            Err(Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => return Ok(found),
            Err(e) => return Err(e.into()),
        };
        for name in names[..length].split(|b| *b == 0).filter(|n| !n.is_empty()) {
            let Ok(name) = std::str::from_utf8(name) else { continue };
            let mut value = vec![0_u8; 64 * 1024];
            match getxattr(path.as_str(), name, &mut value[..]) {
                Ok(n) => drop(found.insert(name.to_owned(), hex(&value[..n]))),
                // Labels of security modules may be listed and not read.
                Err(Errno::NODATA | Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(found)
    }

    pub(super) fn set_mode(&self, mode: u32) -> io::Result<()> {
        Ok(chmodat(CWD, self.name(), Mode::from_raw_mode(mode), AtFlags::empty())?)
    }

    pub(super) fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        Ok(chownat(CWD, self.name(), uid.map(Uid::from_raw), gid.map(Gid::from_raw), AtFlags::empty())?)
    }

    /// Owner, mode and attributes as they were. The order matters: a change of owner takes set-user-id and capabilities.
    pub(super) fn restore(&self, before: &Facts) -> io::Result<()> {
        let now = self.facts()?;
        if (now.uid, now.gid) != (before.uid, before.gid) {
            self.set_owner(Some(before.uid), Some(before.gid))?;
        }
        if self.facts()?.mode != before.mode {
            self.set_mode(before.mode)?;
        }
        let path = self.name();
        let now = self.attributes()?;
        for name in now.keys().filter(|name| !before.attributes.contains_key(*name)) {
            removexattr(path.as_str(), name.as_str())?;
        }
        for (name, value) in &before.attributes {
            if now.get(name) != Some(value) {
                setxattr(path.as_str(), name.as_str(), &unhex(value), XattrFlags::empty())?;
            }
        }
        Ok(())
    }

    /// Times as they were; last, as everything else moves them.
    pub(super) fn restore_times(&self, before: &Facts) -> io::Result<()> {
        let spec = |(tv_sec, tv_nsec): (i64, i64)| Timespec { tv_sec, tv_nsec: tv_nsec as _ };
        let times =
            Timestamps { last_access: spec(before.accessed), last_modification: spec(before.modified) };
        Ok(utimensat(CWD, self.name(), &times, AtFlags::empty())?)
    }
}

impl Facts {
    pub(super) fn of(spot: &Spot) -> io::Result<Facts> {
        Holding::take(spot)?.facts()
    }

    /// What is otherwise than before, in words; its content is not looked at.
    pub(super) fn differs(&self, before: &Facts) -> Option<String> {
        let mut out = Vec::new();
        let mut compare = |what: &str, same: bool| {
            if !same {
                out.push(what.to_owned());
            }
        };
        compare("mode", self.mode == before.mode);
        compare("owner", (self.uid, self.gid) == (before.uid, before.gid));
        compare("extended attributes", self.attributes == before.attributes);
        compare("time of modification", self.modified == before.modified);
        compare("size", self.kind != Kind::File || self.size == before.size);
        (!out.is_empty()).then(|| out.join(", "))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    digits.filter_map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn facts_are_restored() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        std::fs::write(&file, "content").unwrap();
        let spot = Spot::at(Path::new("/"), dir.path(), "f").unwrap();
        let held = Holding::take(&spot).unwrap();
        held.set_mode(0o4751).unwrap();
        let has = setxattr(file.to_str().unwrap(), "user.murphy", b"\x00\xff", XattrFlags::empty()).is_ok();
        let before = held.facts().unwrap();
        assert_eq!(before.attributes.get("user.murphy").map(String::as_str), has.then_some("00ff"));
        held.set_mode(0).unwrap();
        if has {
            removexattr(file.to_str().unwrap(), "user.murphy").unwrap();
            setxattr(file.to_str().unwrap(), "user.other", b"1", XattrFlags::empty()).unwrap();
        }
        assert!(held.facts().unwrap().differs(&before).is_some());
        held.restore(&before).unwrap();
        held.restore_times(&before).unwrap();
        assert_eq!(held.facts().unwrap(), before);
    }
}
