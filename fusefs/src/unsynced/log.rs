//! The log itself, and how one change of it is taken back.

use crate::inode::Inode;
use rustix::fs::ftruncate;
use rustix::io::{Errno, pread, pwrite};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Changes in their order, and the files that they need.
#[derive(Default)]
pub(super) struct Log {
    pub(super) entries: BTreeMap<u64, Entry>,
    pub(super) bytes: u64,
    /// The one descriptor that is held of each file, and how many entries need it.
    pub(super) files: BTreeMap<u64, (Arc<OwnedFd>, usize)>,
    pub(super) next: u64,
    /// Struck out because the log was full.
    pub(super) written_back: u64,
    /// The power is off: nothing is written any more.
    pub(super) dead: bool,
    /// How often the power was cut.
    pub(super) cuts: u64,
}

/// One change of a file's data.
pub(super) struct Entry {
    pub(super) inode: Arc<Inode>,
    pub(super) fd: Arc<OwnedFd>,
    pub(super) offset: u64,
    /// What stood there, as far as the file reached.
    pub(super) old: Vec<u8>,
    pub(super) old_size: u64,
    /// How many bytes were written; a change of size alone writes none.
    pub(super) length: u64,
    /// The size that was set, when that is all it did.
    pub(super) cut_to: Option<u64>,
    /// No fsync will ever make it durable: the page was marked clean when it was not.
    pub(super) doomed: bool,
    /// Parts of it that were written anew since and became durable, in order, and how far the file then reached. Only
    /// what is doomed outlives what was written after it.
    pub(super) spared: Vec<(u64, u64)>,
    pub(super) reached: u64,
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
    pub(super) next: u64,
    pub(super) cuts: u64,
}

impl Log {
    pub(super) fn push(&mut self, mut entry: Entry) {
        self.bytes += entry.weight();
        let (fd, entries) = self.files.entry(entry.inode.id).or_insert_with(|| (entry.fd.clone(), 0));
        *entries += 1;
        entry.fd = fd.clone();
        self.entries.insert(self.next, entry);
        self.next += 1;
    }

    /// Strikes out the oldest until what is left fits.
    pub(super) fn bound(&mut self, most: u64, files: usize) {
        while (self.bytes > most || self.files.len() > files)
            && let Some((_, entry)) = self.entries.pop_first()
        {
            self.bytes -= entry.weight();
            let_go(&mut self.files, &entry);
            self.written_back += 1;
        }
    }

    /// What becomes durable now is not taken back with something older that never does.
    pub(super) fn spare(&mut self, which: impl Fn(u64, &Entry) -> bool) {
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

    pub(super) fn strike(&mut self, which: impl Fn(u64, &Entry) -> bool) {
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

impl Entry {
    /// What it costs to remember.
    pub(super) fn weight(&self) -> u64 {
        self.old.len() as u64 + 128
    }

    /// That range has become durable since.
    pub(super) fn spare(&mut self, from: u64, to: u64) {
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
    pub(super) fn undo_rest(&self) {
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

    pub(super) fn undo(&self) {
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

    pub(super) fn redo(&self, new: &[u8]) {
        if let Some(to) = self.cut_to {
            let _ = ftruncate(&*self.fd, to);
        }
        let _ = write_all(&self.fd, new, self.offset);
    }
}

impl Lost {
    pub(super) fn add(&mut self, entry: &Entry) {
        self.writes += 1;
        self.bytes += entry.length.max(entry.old.len() as u64);
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

pub(super) fn size(fd: &OwnedFd) -> Result<u64, Errno> {
    Ok(u64::try_from(rustix::fs::fstat(fd)?.st_size).unwrap_or(0))
}

pub(super) fn read_range(fd: &OwnedFd, offset: u64, length: u64) -> Result<Vec<u8>, Errno> {
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
