//! The original of a file, kept beside it, and its way back.

use super::facts::{Facts, Holding};
use super::spot::Spot;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, fsync, ioctl_ficlone, openat, renameat_with, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// How much is compared at a time.
const BLOCK: usize = 256 * 1024;

/// Copies the file beside itself under that name, and syncs the copy. Where the filesystem can share blocks it does.
pub(super) fn copy(spot: &Spot, keep: &str) -> io::Result<()> {
    let mut from = open(spot, &spot.name, OFlags::RDONLY)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let to = openat(&spot.dir, keep, flags, Mode::RUSR | Mode::WUSR)?;
    let done = match ioctl_ficlone(&to, &from) {
        Ok(()) => Ok(()),
        Err(_) => io::copy(&mut from, &mut File::from(to.try_clone()?)).map(drop),
    };
    if let Err(e) = done.and_then(|()| Ok(fsync(&to)?)) {
        let _ = unlinkat(&spot.dir, keep, AtFlags::empty());
        return Err(e);
    }
    sync_dir(&spot.dir)
}

/// Opens a name beside the file.
pub(super) fn open(spot: &Spot, name: &str, flags: OFlags) -> io::Result<File> {
    // A pipe or a device in its place must not hold us up.
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(openat(&spot.dir, name, flags, Mode::empty())?.into())
}

/// Puts the kept content back: into the same file, so that whoever has it open sees it; or in its place when that is
/// another file by now, or when there is no space to write.
pub(super) fn put_back(spot: &Spot, keep: &str, before: &Facts) -> io::Result<()> {
    let same = Facts::of(spot).is_ok_and(|now| now.inode == before.inode);
    let in_place = || -> io::Result<()> {
        // Its mode may be such by now that even its owner may not write.
        let held = Holding::take(spot)?;
        if held.facts()?.mode != before.mode {
            held.set_mode(before.mode | 0o200)?;
        }
        let mut from = open(spot, keep, OFlags::RDONLY)?;
        let mut to = open(spot, &spot.name, OFlags::WRONLY)?;
        io::copy(&mut from, &mut to)?;
        to.set_len(from.metadata()?.len())?;
        to.sync_all()?;
        Ok(())
    };
    let written = if same { in_place() } else { Err(io::Error::from(io::ErrorKind::NotFound)) };
    if written.is_ok() {
        held_restore(spot, before)?;
        if !equal(spot, keep)? {
            return Err(io::Error::other("what was written back does not read as the original"));
        }
        Holding::take(spot)?.restore_times(before)?;
        unlinkat(&spot.dir, keep, AtFlags::empty())?;
        return sync_dir(&spot.dir);
    }
    match rustix::fs::renameat(&spot.dir, keep, &spot.dir, &spot.name) {
        Ok(()) => {}
        // A file that is mounted there cannot be replaced: the first reason is the one that counts then.
        Err(e) => return Err(written.err().filter(|_| same).unwrap_or_else(|| e.into())),
    }
    held_restore(spot, before)?;
    Holding::take(spot)?.restore_times(before)?;
    sync_dir(&spot.dir)
}

fn held_restore(spot: &Spot, before: &Facts) -> io::Result<()> {
    Holding::take(spot)?.restore(before)
}

/// Whether the file begins with what is kept: also when it is put back half way.
pub(super) fn begins_as(spot: &Spot, keep: &str) -> io::Result<bool> {
    let (now, kept) = (open(spot, &spot.name, OFlags::RDONLY)?, open(spot, keep, OFlags::RDONLY)?);
    let length = kept.metadata()?.len();
    let (mut a, mut b) = (Vec::new(), Vec::new());
    now.take(length).read_to_end(&mut a)?;
    kept.take(length).read_to_end(&mut b)?;
    Ok(a == b)
}

/// Whether both have the same content.
fn equal(spot: &Spot, keep: &str) -> io::Result<bool> {
    let (mut a, mut b) = (open(spot, &spot.name, OFlags::RDONLY)?, open(spot, keep, OFlags::RDONLY)?);
    if a.seek(SeekFrom::End(0))? != b.seek(SeekFrom::End(0))? {
        return Ok(false);
    }
    a.rewind()?;
    b.rewind()?;
    let (mut x, mut y) = (vec![0; BLOCK], vec![0; BLOCK]);
    loop {
        let n = a.read(&mut x)?;
        b.read_exact(&mut y[..n])?;
        if n == 0 {
            return Ok(true);
        }
        if x[..n] != y[..n] {
            return Ok(false);
        }
    }
}

/// Gives what is there now another name beside it, without taking anyone else's.
pub(super) fn set_aside(spot: &Spot, name: &str) -> io::Result<()> {
    rename(spot, &spot.name, spot, name)
}

/// Copies what is there now under another name beside it.
pub(super) fn copy_aside(spot: &Spot, name: &str) -> io::Result<()> {
    copy(spot, name)?;
    let facts = Facts::of(spot)?;
    let aside = Spot { dir: spot.dir.try_clone()?, path: spot.path.clone(), name: name.to_owned() };
    Holding::take(&aside)?.restore(&facts)
}

/// Moves without replacing anything.
pub(super) fn rename(from: &Spot, old: &str, to: &Spot, new: &str) -> io::Result<()> {
    match renameat_with(&from.dir, old, &to.dir, new, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        // Not every filesystem knows the flag; then it is looked at right before.
        Err(Errno::INVAL | Errno::NOSYS) => {
            if rustix::fs::statat(&to.dir, new, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                return Err(Errno::EXIST.into());
            }
            rustix::fs::renameat(&from.dir, old, &to.dir, new)?;
        }
        Err(e) => return Err(e.into()),
    }
    sync_dir(&from.dir)?;
    sync_dir(&to.dir)
}

/// Names are safe once their directory is synced.
pub(super) fn sync_dir(dir: &OwnedFd) -> io::Result<()> {
    match fsync(dir) {
        // Some filesystems have nothing to sync in a directory.
        Ok(()) | Err(Errno::INVAL | Errno::ROFS) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
