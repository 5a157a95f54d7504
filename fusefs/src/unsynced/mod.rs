//! What is not durable yet: an ordered log of writes, each with what it replaced, so that a power cut can take them back.
//!
//! The source always holds what programs see: nothing is lost when murphy ends in any way. An fsync strikes out the
//! writes of its file; a log that grows beyond its bound strikes out its oldest, as a kernel writes back by itself.

mod log;

pub(crate) use log::{Lost, Mark};

use crate::faults::Cut;
use crate::inode::{Inode, lock};
use log::{Entry, Log, read_range, size};
use model::draw;
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

/// Where a write can tear.
const SECTOR: u64 = 512;

/// The log of one mount.
pub(crate) struct Unsynced {
    most: u64,
    /// How many files may be held open for it.
    files: usize,
    log: Mutex<Log>,
}

impl Unsynced {
    /// A log of at most so many bytes. Of the descriptors that this process may have it takes half at most.
    pub(crate) fn new(most: u64) -> Unsynced {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let files = limit.map_or(65_536, |n| usize::try_from(n / 2).unwrap_or(usize::MAX).max(16));
        Unsynced { most, files, log: Mutex::default() }
    }

    /// Changes data in a file, and remembers what was there. `fd` must be open for reading and writing.
    pub(crate) fn write<T>(
        &self,
        inode: &Arc<Inode>,
        fd: &Arc<OwnedFd>,
        offset: u64,
        length: u64,
        act: impl FnOnce() -> Result<T, Errno>,
        written: impl FnOnce(&T) -> u64,
    ) -> Result<T, Errno> {
        let mut log = lock(&self.log);
        if log.dead {
            return Err(Errno::IO);
        }
        let old_size = size(fd)?;
        let old = read_range(fd, offset, length.min(old_size.saturating_sub(offset)))?;
        let done = act()?;
        let length = written(&done);
        log.push(Entry {
            inode: inode.clone(),
            fd: fd.clone(),
            offset,
            old,
            old_size,
            length,
            cut_to: None,
            doomed: false,
            spared: Vec::new(),
            reached: 0,
        });
        log.bound(self.most, self.files);
        Ok(done)
    }

    /// Sets a file's size, and remembers what was there. What is too much to remember counts as durable.
    pub(crate) fn resize(
        &self,
        inode: &Arc<Inode>,
        fd: &Arc<OwnedFd>,
        to: u64,
        act: impl FnOnce() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let mut log = lock(&self.log);
        if log.dead {
            return Err(Errno::IO);
        }
        let old_size = size(fd)?;
        let cut = old_size.saturating_sub(to);
        let old = if cut <= self.most { Some(read_range(fd, to, cut)?) } else { None };
        act()?;
        if let Some(old) = old {
            log.push(Entry {
                inode: inode.clone(),
                fd: fd.clone(),
                offset: to.min(old_size),
                old,
                old_size,
                length: 0,
                cut_to: Some(to),
                doomed: false,
                spared: Vec::new(),
                reached: 0,
            });
            log.bound(self.most, self.files);
        } else {
            log.written_back += 1;
        }
        Ok(())
    }

    /// Before an fsync begins.
    pub(crate) fn mark(&self) -> Mark {
        let log = lock(&self.log);
        Mark { next: log.next, cuts: log.cuts }
    }

    /// An fsync that began at the mark has succeeded: what was written before it is durable. Fails when the power was cut
    /// meanwhile.
    pub(crate) fn synced(&self, inode: &Inode, mark: Mark) -> Result<(), Errno> {
        let mut log = lock(&self.log);
        if log.dead || log.cuts != mark.cuts {
            return Err(Errno::IO);
        }
        let before = |seq: u64, entry: &Entry| entry.inode.id == inode.id && seq < mark.next;
        log.spare(before);
        // Sizes are in a filesystem's journal; pages alone are marked clean when they are not.
        log.strike(|seq, entry| before(seq, entry) && (!entry.doomed || entry.cut_to.is_some()));
        Ok(())
    }

    /// Marks what is not durable of a file as never to become so.
    pub(crate) fn doom(&self, inode: &Inode) -> u64 {
        let mut log = lock(&self.log);
        let mine = log.entries.values_mut().filter(|e| e.inode.id == inode.id && !e.doomed);
        mine.map(|e| e.doomed = true).count() as u64
    }

    /// Takes back what is not durable of a file.
    pub(crate) fn revert(&self, inode: &Inode) -> Lost {
        let mut log = lock(&self.log);
        let mut lost = Lost::default();
        for entry in log.entries.values().rev().filter(|e| e.inode.id == inode.id) {
            entry.undo();
            lost.add(entry);
        }
        log.strike(|_, entry| entry.inode.id == inode.id);
        lost
    }

    /// The power fails. What survives by chance is drawn from the seed and the order of writing.
    pub(crate) fn cut(&self, how: Cut, seed: u64) -> Lost {
        let mut log = lock(&self.log);
        log.dead = true;
        log.cuts += 1;
        let survives = |seq: u64| match how {
            Cut::All => None,
            Cut::Some(p) | Cut::Torn(p) => (draw::unit(seed, draw::Lane::Other(7), seq) < p)
                .then(|| draw::bits(seed, draw::Lane::Other(8), seq)),
        };
        let mut lost = Lost::default();
        let mut again = Vec::new();
        for (seq, entry) in log.entries.iter().rev() {
            if let Some(draw) = survives(*seq).filter(|_| !entry.doomed) {
                // Everything later is undone already: what stands there now is what this write wrote.
                let new = read_range(&entry.fd, entry.offset, entry.length).unwrap_or_default();
                again.push((entry, new, draw));
            } else {
                lost.add(entry);
            }
            entry.undo();
        }
        for (entry, new, draw) in again.into_iter().rev() {
            let mut keep = new.len() as u64;
            if matches!(how, Cut::Torn(_)) && keep > SECTOR {
                keep = draw % (keep / SECTOR + 1) * SECTOR;
                if keep < new.len() as u64 {
                    lost.writes += 1;
                    lost.bytes += new.len() as u64 - keep;
                }
            }
            entry.redo(&new[..keep as usize]);
        }
        log.entries.clear();
        log.files.clear();
        log.bytes = 0;
        lost
    }

    /// The power is back.
    pub(crate) fn revive(&self) {
        lock(&self.log).dead = false;
    }

    /// How much is not durable: writes, bytes kept for them, writes that were struck out because the log was full.
    pub(crate) fn state(&self) -> (u64, u64, u64) {
        let log = lock(&self.log);
        (log.entries.len() as u64, log.bytes, log.written_back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inode::Table;
    use rustix::fs::ftruncate;
    use rustix::io::pwrite;
    use std::fs::{File, read};

    struct Ground {
        dir: tempfile::TempDir,
        inode: Arc<Inode>,
        fd: Arc<OwnedFd>,
        log: Unsynced,
    }

    fn ground(content: &[u8], most: u64) -> Ground {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), content).unwrap();
        let root: OwnedFd = File::open(dir.path()).unwrap().into();
        let table = Table::new(root, 16).unwrap();
        let file = File::options().read(true).write(true).open(dir.path().join("f")).unwrap();
        let root = table.get(1).unwrap();
        let st = crate::inode::stat_at(&table.path_fd(&root).unwrap(), c"f").unwrap();
        let inode = table.intern(&root, c"f", &st);
        Ground { dir, inode, fd: Arc::new(file.into()), log: Unsynced::new(most) }
    }

    impl Ground {
        fn write(&self, offset: u64, data: &[u8]) {
            let put = || pwrite(&self.fd, data, offset);
            self.log.write(&self.inode, &self.fd, offset, data.len() as u64, put, |n| *n as u64).unwrap();
        }

        fn sync(&self) {
            self.log.synced(&self.inode, self.log.mark()).unwrap();
        }

        fn content(&self) -> Vec<u8> {
            read(self.dir.path().join("f")).unwrap()
        }
    }

    #[test]
    fn a_cut_takes_what_was_not_synced_and_nothing_else() {
        let g = ground(b"0123456789", 1 << 20);
        g.write(2, b"ab");
        g.sync();
        g.write(8, b"XYZW");
        g.write(0, b"QQQQ");
        g.log.resize(&g.inode, &g.fd, 3, || ftruncate(&*g.fd, 3)).unwrap();
        assert_eq!(g.content(), b"QQQ");
        let mark = g.log.mark();
        let lost = g.log.cut(Cut::All, 1);
        assert_eq!(g.content(), b"01ab456789");
        assert_eq!(lost.writes, 3);
        assert!(g.log.synced(&g.inode, mark).is_err());
        let put = || pwrite(&g.fd, b"no", 0);
        assert!(g.log.write(&g.inode, &g.fd, 0, 2, put, |n| *n as u64).is_err());
        g.log.revive();
        g.write(0, b"yes");
        assert_eq!(g.content(), b"yesb456789");
    }

    #[test]
    fn some_survive_and_the_order_does_not_help() {
        let g = ground(&[b'.'; 64], 1 << 20);
        for i in 0..32_u8 {
            g.write(u64::from(i) * 2, &[b'a' + i % 26, b'a' + i % 26]);
        }
        g.log.cut(Cut::Some(0.5), 9);
        let now = g.content();
        let kept: Vec<bool> = now.chunks(2).map(|c| c[0] != b'.').collect();
        assert!(now.chunks(2).all(|c| c[0] == c[1]));
        let n = kept.iter().filter(|k| **k).count();
        assert!((4..=28).contains(&n), "{n}");
        assert!(kept.windows(2).any(|w| !w[0] && w[1]), "a later one is there without an earlier one");
    }

    #[test]
    fn a_torn_write_ends_at_a_sector() {
        let g = ground(&[b'.'; 8192], 1 << 20);
        g.write(0, &[b'x'; 8192]);
        g.log.cut(Cut::Torn(1.0), 3);
        let now = g.content();
        let whole = now.iter().take_while(|b| **b == b'x').count();
        assert!(whole.is_multiple_of(512) && now[whole..].iter().all(|b| *b == b'.'), "{whole}");
        assert_eq!(now.len(), 8192);
    }

    #[test]
    fn what_was_written_after_what_is_doomed_and_synced_is_there() {
        let g = ground(b"aaaa", 1 << 20);
        g.write(4, b"bbbb");
        g.write(2, b"cccc");
        g.log.doom(&g.inode);
        g.write(8, b"dddd");
        g.write(3, b"e");
        g.sync();
        g.write(12, b"not synced");
        assert_eq!(g.content(), b"aaceccbbddddnot synced");
        g.log.cut(Cut::All, 1);
        assert_eq!(g.content(), b"aaae\0\0\0\0dddd");

        // All of it anew: nothing is lost.
        let g = ground(b"aaaa", 1 << 20);
        g.write(0, b"bbbbbbbb");
        g.log.doom(&g.inode);
        g.write(4, b"cccc");
        g.sync();
        g.write(0, b"dddd");
        g.sync();
        g.log.cut(Cut::All, 1);
        assert_eq!(g.content(), b"ddddcccc");
    }

    #[test]
    fn what_is_doomed_stays_lost_and_a_full_log_forgets_its_oldest() {
        let g = ground(b"aaaa", 1 << 20);
        g.write(0, b"bbbb");
        assert_eq!(g.log.doom(&g.inode), 1);
        g.sync();
        assert_eq!(g.log.cut(Cut::All, 1).writes, 1);
        assert_eq!(g.content(), b"aaaa");
        let g = ground(b"aaaa", 300);
        g.write(0, b"b");
        g.write(1, b"b");
        g.write(2, b"b");
        assert_eq!(g.log.state(), (2, 258, 1));
        g.log.cut(Cut::All, 1);
        assert_eq!(g.content(), b"baaa");
    }

    #[test]
    fn of_many_files_the_oldest_count_as_written_back() {
        let dir = tempfile::tempdir().unwrap();
        let root: OwnedFd = File::open(dir.path()).unwrap().into();
        let table = Table::new(root, 16).unwrap();
        let root = table.get(1).unwrap();
        let mut log = Unsynced::new(1 << 20);
        log.files = 3;
        for name in [c"f0", c"f1", c"f2", c"f3", c"f4"] {
            let path = dir.path().join(name.to_str().unwrap());
            std::fs::write(&path, b"aaaa").unwrap();
            let st = crate::inode::stat_at(&table.path_fd(&root).unwrap(), name).unwrap();
            let inode = table.intern(&root, name, &st);
            for offset in 0..2 {
                // Opened anew for each write: one descriptor is held all the same.
                let fd: OwnedFd = File::options().read(true).write(true).open(&path).unwrap().into();
                let fd = Arc::new(fd);
                log.write(&inode, &fd, offset, 1, || pwrite(&fd, b"b", offset), |n| *n as u64).unwrap();
            }
        }
        assert_eq!((log.state().0, log.state().2, lock(&log.log).files.len()), (6, 4, 3));
        log.cut(Cut::All, 1);
        let left = (0..5).map(|n| read(dir.path().join(format!("f{n}"))).unwrap());
        let want: [&[u8]; 5] = [b"bbaa", b"bbaa", b"aaaa", b"aaaa", b"aaaa"];
        assert_eq!(left.collect::<Vec<_>>(), want);
    }
}
