//! Writing the log.
//!
//! Everything that must be there before an act is one write and one fsync. Room for the records that end a fault is
//! reserved on the disk before it begins, so a disk that fills up meanwhile keeps nobody from finishing; and a log
//! whose last fault has ended is truncated, which needs no room at all.

use super::record::{FILE, Record, VERSION};
use host::ProcessId;
use rustix::fs::{FallocateFlags, fallocate};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Room kept beyond what is written.
const RESERVE: u64 = 64 * 1024;
/// Above this length the records of faults that have ended are dropped although others are still on.
const LONG: u64 = 1024 * 1024;

/// The log of one agent, which alone writes it (the watchdog only when the agent hangs, one whole line at a time).
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    length: u64,
    reserved: u64,
    headed: bool,
    next: u64,
    live: BTreeSet<u64>,
}

impl Log {
    /// Opens the log for writing, when what was in it has been dealt with; `left` are the faults that could not be.
    pub(crate) fn open(state_dir: &Path, next: u64, left: impl IntoIterator<Item = u64>) -> io::Result<Log> {
        let path = state_dir.join(FILE);
        let file = open(&path)?;
        File::open(state_dir)?.sync_all()?;
        let live: BTreeSet<u64> = left.into_iter().collect();
        if live.is_empty() {
            file.set_len(0)?;
        }
        let length = file.metadata()?.len();
        Ok(Log { path, state: Mutex::new(State { file, length, reserved: 0, headed: false, next, live }) })
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes down what is about to be done, and returns when that is on disk: the number to name it by. Given the
    /// number, `intent` makes the record.
    pub(crate) fn intend(&self, intent: impl FnOnce(u64) -> Record) -> io::Result<u64> {
        let mut state = self.lock();
        let n = state.next;
        let mut bytes = Vec::new();
        if !state.headed {
            let boot = host::clock::boot_id().to_owned();
            bytes.extend(Record::Head { version: VERSION, boot, agent: ProcessId::me() }.line());
        }
        bytes.extend(intent(n).line());
        state.reserve(bytes.len() as u64)?;
        state.append(&bytes, true)?;
        state.headed = true;
        state.next += 1;
        state.live.insert(n);
        Ok(n)
    }

    /// Writes down something that must be on disk before what comes next.
    pub(crate) fn add(&self, record: &Record) -> io::Result<()> {
        self.lock().append(&record.line(), true)
    }

    /// Writes down that an act is undone. Not synced: undoing it once more changes nothing.
    pub(crate) fn undone(&self, n: u64, act: usize) -> io::Result<()> {
        self.lock().append(&Record::Undone { n, act }.line(), false)
    }

    /// A fault has ended, and nothing of it is left.
    pub(crate) fn close(&self, n: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.live.remove(&n);
        if state.live.is_empty() {
            state.file.set_len(0)?;
            (state.length, state.reserved, state.headed) = (0, 0, false);
        } else if state.length > LONG {
            self.shorten(&mut state)?;
        }
        Ok(())
    }

    /// Whether nothing is armed.
    pub(crate) fn is_idle(&self) -> bool {
        self.lock().live.is_empty()
    }

    /// Writes the records of faults that are on to a new file and puts it in the place of the old.
    fn shorten(&self, state: &mut State) -> io::Result<()> {
        let temporary = self.path.with_extension("jsonl.new");
        let _ = fs::remove_file(&temporary);
        let mut kept = Vec::new();
        for line in BufReader::new(File::open(&self.path)?).split(b'\n') {
            let line = line?;
            let keep = match Record::parse(&line) {
                Ok(Record::Head { .. }) => true,
                Ok(
                    Record::Intent { n, .. }
                    | Record::Effect { n, .. }
                    | Record::Ends { n, .. }
                    | Record::Undone { n, .. },
                ) => state.live.contains(&n),
                Err(_) => false,
            };
            if keep {
                kept.extend(line);
                kept.push(b'\n');
            }
        }
        let mut file = open(&temporary)?;
        file.write_all(&kept)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        if let Some(dir) = self.path.parent() {
            File::open(dir)?.sync_all()?;
        }
        (state.file, state.length, state.reserved) = (file, kept.len() as u64, 0);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A failed write is taken back where it happens, so the state is whole whenever the lock is free.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn reserve(&mut self, more: u64) -> io::Result<()> {
        let wanted = self.length + more + RESERVE / 2;
        if wanted <= self.reserved {
            return Ok(());
        }
        let whole = self.length + more + RESERVE;
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, whole) {
            Ok(()) => {
                self.reserved = whole;
                Ok(())
            }
            // Filesystems without reservation: then the write itself is the test.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn append(&mut self, bytes: &[u8], sync: bool) -> io::Result<()> {
        let written =
            self.file.write_all(bytes).and_then(|()| if sync { self.file.sync_data() } else { Ok(()) });
        match written {
            Ok(()) => {
                // The watchdog may have added lines of its own while we hung.
                self.length = self.file.metadata().map_or(self.length + bytes.len() as u64, |m| m.len());
                Ok(())
            }
            Err(e) => {
                // Half a line in the middle would damage the log for whoever reads it later.
                let _ = self.file.set_len(self.length);
                Err(e)
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::undo::read;
    use inject::UndoRecord;
    use std::collections::BTreeMap;

    fn intent(n: u64, acts: usize) -> Record {
        let act = UndoRecord {
            injector: "none".into(),
            act: "do".into(),
            undo: "undo".into(),
            data: serde_json::json!({}),
            ends_with_agent: false,
        };
        Record::Intent {
            n,
            id: format!("F{n}"),
            target: "node:self".parse().unwrap(),
            by: "test".into(),
            fault: "cpu".into(),
            ends_ms: Some(1),
            acts: vec![act; acts],
        }
    }

    #[test]
    fn what_is_left_is_read_back_and_an_idle_log_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path(), 0, []).unwrap();
        let (a, b) = (log.intend(|n| intent(n, 2)).unwrap(), log.intend(|n| intent(n, 1)).unwrap());
        log.add(&Record::Effect { n: a, act: 1, data: serde_json::json!(7) }).unwrap();
        log.undone(a, 0).unwrap();
        let live = read(dir.path()).unwrap().live;
        assert_eq!(live.len(), 2);
        assert_eq!(
            live[0].acts.iter().map(|(i, r)| (*i, r.data.clone())).collect::<Vec<_>>(),
            [(1, 7.into())]
        );
        log.undone(a, 1).unwrap();
        log.close(a).unwrap();
        log.undone(b, 0).unwrap();
        assert!(read(dir.path()).unwrap().live.is_empty());
        log.close(b).unwrap();
        assert!(log.is_idle());
        assert_eq!(fs::metadata(log.path()).unwrap().len(), 0);
        let c = log.intend(|n| intent(n, 1)).unwrap();
        assert_eq!((c, read(dir.path()).unwrap().next), (2, 3));
    }

    #[test]
    fn a_long_log_is_shortened_while_a_fault_is_on() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path(), 0, []).unwrap();
        let stays = log.intend(|n| intent(n, 1)).unwrap();
        log.add(&Record::Effect { n: stays, act: 0, data: serde_json::json!("kept") }).unwrap();
        let mut longest = 0;
        for _ in 0..20 {
            let n = log.intend(|n| intent(n, 700)).unwrap();
            for act in 0..700 {
                log.undone(n, act).unwrap();
            }
            log.close(n).unwrap();
            longest = longest.max(fs::metadata(log.path()).unwrap().len());
        }
        assert!(longest < LONG + 300_000, "{longest}");
        let live = read(dir.path()).unwrap();
        assert_eq!((live.live.len(), live.damage.len()), (1, 0));
        assert_eq!(live.live[0].acts[0].1.data, "kept");
    }

    /// Whatever happens to the bytes, reading neither panics nor invents acts, and damage before the end is named.
    #[test]
    fn every_cut_and_every_flip_is_survived() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path(), 0, []).unwrap();
        for _ in 0..3 {
            let n = log.intend(|n| intent(n, 2)).unwrap();
            log.add(&Record::Effect { n, act: 0, data: serde_json::json!({"pid": 4711}) }).unwrap();
        }
        let whole = fs::read(log.path()).unwrap();
        let ends: BTreeMap<usize, usize> = whole
            .iter()
            .enumerate()
            .filter(|(_, b)| **b == b'\n')
            .enumerate()
            .map(|(l, (i, _))| (i, l))
            .collect();
        for cut in 0..whole.len() {
            fs::write(log.path(), &whole[..cut]).unwrap();
            let read = read(dir.path()).unwrap();
            assert!(read.damage.is_empty(), "a torn end is no damage: {cut}");
        }
        for at in (0..whole.len()).step_by(7) {
            let mut bad = whole.clone();
            bad[at] ^= 0x20;
            fs::write(log.path(), &bad).unwrap();
            let read = read(dir.path()).unwrap();
            let line = ends.range(at..).next().map(|(_, l)| l + 1).unwrap();
            assert!(read.damage.iter().any(|d| d.line == line), "byte {at}, line {line}: {:?}", read.damage);
        }
    }
}
