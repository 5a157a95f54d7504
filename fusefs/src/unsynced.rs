//! What is not durable yet: an ordered log of writes, each with what it replaced, so that a power cut can take them back.
//!
//! The source always holds what programs see: nothing is lost when murphy ends in any way. An fsync strikes out the
//! writes of its file; a log that grows beyond its bound strikes out its oldest, as a kernel writes back by itself.

use crate::faults::Cut;
use crate::inode::{Inode, lock};
use model::draw;
use rustix::fs::ftruncate;
use rustix::io::{Errno, pread, pwrite};
use std::collections::BTreeMap;
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

#[derive(Default)]
struct Log {
    entries: BTreeMap<u64, Entry>,
    bytes: u64,
    /// The one descriptor that is held of each file, and how many entries need it.
    files: BTreeMap<u64, (Arc<OwnedFd>, usize)>,
    next: u64,
    /// Struck out because the log was full.
    written_back: u64,
    /// The power is off: nothing is written any more.
    dead: bool,
    /// How often the power was cut.
    cuts: u64,
}

/// One change of a file's data.
struct Entry {
    inode: Arc<Inode>,
    fd: Arc<OwnedFd>,
    offset: u64,
    /// What stood there, as far as the file reached.
    old: Vec<u8>,
    old_size: u64,
    /// How many bytes were written; a change of size alone writes none.
    length: u64,
    /// The size that was set, when that is all it did.
    cut_to: Option<u64>,
    /// No fsync will ever make it durable: the page was marked clean when it was not.
    doomed: bool,
    /// Parts of it that were written anew since and became durable, in order, and how far the file then reached. Only
    /// what is doomed outlives what was written after it.
    spared: Vec<(u64, u64)>,
    reached: u64,
}

/// What a power cut took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) writes: u64,
    pub(crate) bytes: u64,
}

/// A place in the log: what was written before an fsync began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    next: u64,
    cuts: u64,
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

impl Log {
    fn push(&mut self, mut entry: Entry) {
        self.bytes += entry.weight();
        let (fd, entries) = self.files.entry(entry.inode.id).or_insert_with(|| (entry.fd.clone(), 0));
        *entries += 1;
        entry.fd = fd.clone();
        self.entries.insert(self.next, entry);
        self.next += 1;
    }

    /// Strikes out the oldest until what is left fits.
    fn bound(&mut self, most: u64, files: usize) {
        while (self.bytes > most || self.files.len() > files)
            && let Some((_, entry)) = self.entries.pop_first()
        {
            self.bytes -= entry.weight();
            let_go(&mut self.files, &entry);
            self.written_back += 1;
        }
    }

    /// What becomes durable now is not taken back with something older that never does.
    fn spare(&mut self, which: impl Fn(u64, &Entry) -> bool) {
        let mine = self.entries.iter().filter(|(seq, e)| which(**seq, e));
        let (doomed, durable): (Vec<_>, Vec<_>) = mine.partition(|(_, e)| e.doomed);
        let durable: Vec<_> =
            durable.into_iter().map(|(seq, e)| (*seq, e.offset, e.offset + e.length)).collect();
        let doomed: Vec<u64> = doomed.into_iter().map(|(seq, _)| *seq).collect();
        for seq in doomed {
            let Some(entry) = self.entries.get_mut(&seq) else { continue };
            durable
                .iter()
                .filter(|(later, ..)| *later > seq)
                .for_each(|(_, from, to)| entry.spare(*from, *to));
        }
    }

    fn strike(&mut self, which: impl Fn(u64, &Entry) -> bool) {
        let (bytes, files) = (&mut self.bytes, &mut self.files);
        self.entries.retain(|seq, entry| {
            let go = which(*seq, entry);
            if go {
                *bytes -= entry.weight();
                let_go(files, entry);
            }
            !go
        });
    }
}

/// An entry needs its file no more.
fn let_go(files: &mut BTreeMap<u64, (Arc<OwnedFd>, usize)>, entry: &Entry) {
    if let Some((_, entries)) = files.get_mut(&entry.inode.id) {
        *entries -= 1;
        if *entries == 0 {
            files.remove(&entry.inode.id);
        }
    }
}

impl Entry {
    /// What it costs to remember.
    fn weight(&self) -> u64 {
        self.old.len() as u64 + 128
    }

    /// That range has become durable since.
    fn spare(&mut self, from: u64, to: u64) {
        self.reached = self.reached.max(to);
        let (from, to) = (from.max(self.offset), to.min(self.offset + self.length));
        if from >= to {
            return;
        }
        self.spared.push((from, to));
        self.spared.sort_unstable();
        self.spared.dedup_by(|next, last| {
            let joined = next.0 <= last.1;
            if joined {
                last.1 = last.1.max(next.1);
            }
            joined
        });
    }

    /// Takes back what of it is left since parts became durable. What the file had not reached before is a hole.
    fn undo_rest(&self) {
        let mut old = self.old.clone();
        let to = (self.offset + self.length).min(self.reached.max(self.old_size));
        old.resize(usize::try_from(to.saturating_sub(self.offset)).unwrap_or(0), 0);
        let mut at = self.offset;
        for (from, until) in self.spared.iter().copied().chain([(to, to)]) {
            let range = at.saturating_sub(self.offset) as usize..from.saturating_sub(self.offset) as usize;
            let _ = write_all(&self.fd, old.get(range).unwrap_or_default(), at);
            at = until;
        }
        if self.offset + self.length > self.old_size.max(self.reached) {
            let _ = ftruncate(&*self.fd, self.old_size.max(self.reached));
        }
    }

    fn undo(&self) {
        if self.reached > 0 {
            return self.undo_rest();
        }
        // A source that fails here has a fault of its own; the rest is undone all the same.
        let _ = write_all(&self.fd, &self.old, self.offset);
        let grew = self.cut_to.is_some() || self.offset + self.length > self.old_size;
        if grew {
            let _ = ftruncate(&*self.fd, self.old_size);
        }
    }

    fn redo(&self, new: &[u8]) {
        if let Some(to) = self.cut_to {
            let _ = ftruncate(&*self.fd, to);
        }
        let _ = write_all(&self.fd, new, self.offset);
    }
}

impl Lost {
    fn add(&mut self, entry: &Entry) {
        self.writes += 1;
        self.bytes += entry.length.max(entry.old.len() as u64);
    }
}

fn size(fd: &OwnedFd) -> Result<u64, Errno> {
    Ok(u64::try_from(rustix::fs::fstat(fd)?.st_size).unwrap_or(0))
}

fn read_range(fd: &OwnedFd, offset: u64, length: u64) -> Result<Vec<u8>, Errno> {
    let mut data = vec![0; usize::try_from(length).map_err(|_| Errno::NOMEM)?];
    let mut done = 0;
    while done < data.len() {
        match pread(fd, &mut data[done..], offset + done as u64)? {
            0 => break,
            n => done += n,
        }
    }
    data.truncate(done);
    Ok(data)
}

fn write_all(fd: &OwnedFd, mut data: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !data.is_empty() {
        let n = pwrite(fd, data, offset)?;
        data = &data[n..];
        offset += n as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inode::Table;
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
