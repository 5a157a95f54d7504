//! Space of a filesystem, held by files without a name.

use crate::inroot;
use crate::stress::holder::Holder;
use crate::stress::{Disk, Job};
use rustix::fd::OwnedFd;
use rustix::fs::{FallocateFlags, OFlags, StatVfs, fallocate, fstatvfs};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// How much is asked for at a time.
const BITE: u64 = 256 * 1024 * 1024;
/// The largest file: some filesystems have no larger ones.
const LARGEST: u64 = 512 * 1024 * 1024 * 1024;
/// Where space cannot be reserved, it is written.
const ZEROS: usize = 1024 * 1024;

/// Space that is held.
pub(crate) struct Filler {
    job: Disk,
    dir: OwnedFd,
    files: Vec<(File, u64)>,
    /// The last try to take more found none.
    full: bool,
    errno: i32,
    writes: bool,
}

impl Filler {
    pub(crate) fn new(job: Disk) -> Result<Filler, String> {
        let dir = inroot::directory(&job.place.root, &job.place.path)
            .map_err(|e| format!("{}: {e}", job.place.path.display()))?;
        let mut filler = Filler { job, dir, files: Vec::new(), full: false, errno: 0, writes: false };
        // A directory in which no file can be made is said at once.
        filler.another().map_err(|e| format!("a file in {}: {e}", filler.job.place.path.display()))?;
        Ok(filler)
    }

    fn another(&mut self) -> std::io::Result<()> {
        let file = inroot::nameless(&self.dir, OFlags::empty(), &self.job.name)?;
        self.files.push((file, 0));
        Ok(())
    }

    fn held(&self) -> u64 {
        self.files.iter().map(|(_, length)| length).sum()
    }

    /// Takes at most so much more; what it got.
    fn grow(&mut self, by: u64) -> u64 {
        if self.files.last().is_none_or(|(_, length)| *length >= LARGEST) && self.another().is_err() {
            self.full = true;
            return 0;
        }
        let writes = self.writes;
        let Some((file, length)) = self.files.last_mut() else { return 0 };
        let got = if writes {
            write(file, *length, by)
        } else {
            fallocate(&*file, FallocateFlags::empty(), *length, by).map(|()| by)
        };
        match got {
            Ok(n) => {
                *length += n;
                n
            }
            Err(Errno::OPNOTSUPP | Errno::NOSYS) if !writes => {
                self.writes = true;
                0
            }
            Err(Errno::FBIG) => {
                // A limit on one file: the next one.
                let _ = self.another();
                0
            }
            Err(e) => {
                self.full = true;
                self.errno = e.raw_os_error();
                0
            }
        }
    }

    fn shrink(&mut self, to: u64) {
        while self.held() > to {
            let (over, several) = (self.held() - to, self.files.len() > 1);
            let Some((file, length)) = self.files.last_mut() else { return };
            if *length <= over && several {
                self.files.pop();
                continue;
            }
            *length = length.saturating_sub(over);
            let _ = file.set_len(*length);
            return;
        }
    }
}

/// Free bytes for an ordinary user, or with what is kept for root; and all there are, by the way df counts.
fn space(at: &StatVfs, reserved: bool) -> (u64, u64) {
    let free = if reserved { at.f_bfree } else { at.f_bavail };
    let used = at.f_blocks.saturating_sub(at.f_bfree);
    (free * at.f_frsize, (used + free) * at.f_frsize)
}

fn write(file: &File, at: u64, by: u64) -> Result<u64, Errno> {
    let zeros = vec![0_u8; ZEROS.min(by as usize)];
    let n = file.write_at(&zeros, at).map_err(|e| Errno::from_raw_os_error(e.raw_os_error().unwrap_or(5)))?;
    Ok(n as u64)
}

impl Holder for Filler {
    fn step(&mut self, _elapsed: Duration) -> Duration {
        let Ok(at) = fstatvfs(&self.dir) else { return Duration::from_secs(1) };
        let (free, total) = space(&at, self.job.reserved);
        let held = self.held();
        let goal = self.job.wanted.goal(held, free, total);
        let block = at.f_frsize.max(512);
        // Less than a few blocks is the filesystem's own bookkeeping.
        if goal + 4 * block < held {
            self.shrink(goal / block * block);
            self.full = false;
            return Duration::from_millis(200);
        }
        let mut missing = goal.saturating_sub(held) / block * block;
        if missing == 0 {
            return Duration::from_millis(500);
        }
        self.full = false;
        let mut bite = missing.min(BITE);
        if self.grow(bite) > 0 || (self.writes && !self.full) {
            return if missing > bite { Duration::ZERO } else { Duration::from_millis(200) };
        }
        // Down to the last block: a filesystem that has not the whole piece has a part of it.
        while self.full && bite > block {
            bite = (bite / 2).next_multiple_of(block);
            self.full = false;
            while missing >= bite && self.grow(bite) > 0 {
                missing -= bite;
            }
            if missing < block {
                break;
            }
        }
        self.full = true;
        Duration::from_millis(500)
    }

    fn set(&mut self, job: Job) -> Result<(), String> {
        let Job::Disk(job) = job else { return Err("this child holds space".into()) };
        if job.place != self.job.place {
            return Err("path cannot be changed while it is on".into());
        }
        self.job = job;
        Ok(())
    }

    fn measured(&self) -> BTreeMap<String, f64> {
        let (free, total) = fstatvfs(&self.dir).map_or((0, 0), |at| space(&at, self.job.reserved));
        let used = if total > 0 { 100.0 * (total - free) as f64 / total as f64 } else { 0.0 };
        BTreeMap::from([
            ("held_bytes".to_owned(), self.held() as f64),
            ("free_bytes".to_owned(), free as f64),
            ("used_percent".to_owned(), used),
            ("full".to_owned(), f64::from(u8::from(self.full))),
            ("errno".to_owned(), f64::from(self.errno)),
        ])
    }
}
