//! Changing the clock of one live process, and changing it back.
//!
//! A stub goes into the free end of the vDSO's own pages, and the first bytes of the vDSO's functions become jumps to
//! it: no memory is mapped, no system call is made in the process's name, and its other processes share nothing of it
//! (the two pages become private to it). Every order of writes leaves it right if we die in between: the stub is there
//! before the first jump, and the jumps are gone before the stub.

use super::image::{HEAD, Head, Image, Unpatchable};
use super::memory::{Memory, MemoryError};
use super::slot::{self, SET, Set};
use super::stop::{StopError, Stopped};
use host::ProcessId;
use std::io;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

/// How often a process is looked at in which a thread stands where we write, and how long apart at first.
const TRIES: u32 = 80;
const APART: Duration = Duration::from_millis(3);
/// How often that doubles: many threads on few processors need longer to come to where they leave by themselves.
const DOUBLED: u32 = 4;

/// After how many of these a thread that is in the code that goes is led out of it.
const WAITED: u32 = 3;

/// Why a clock cannot be changed, or not be changed back.
#[derive(Debug, thiserror::Error)]
pub(super) enum PatchError {
    /// The process is gone, or has become another program.
    #[error("process {0} is gone")]
    Gone(u32),
    /// On no process of this machine.
    #[error(transparent)]
    Machine(#[from] Unpatchable),
    /// It has none.
    #[error("it has no vDSO: it asks the kernel for the time by system calls, which this cannot change")]
    NoVdso,
    /// It has another one.
    #[error("its vDSO is not that of this machine's 64-bit programs; 32-bit programs cannot be changed")]
    OtherImage,
    /// Someone's breakpoint, or another tool.
    #[error("its vDSO was changed by someone else: a debugger's breakpoint, or another tool")]
    Foreign,
    /// By us.
    #[error("its clock is changed already")]
    Already,
    /// By nobody, or by another act.
    #[error("its clock is not changed any more")]
    NotOurs,
    /// May not.
    #[error("{0}")]
    NotPermitted(String),
    /// A thread is in the way.
    #[error("a thread stands in the code that would be changed, and does not leave it")]
    Busy,
    /// A thread does not stop, or the kernel's word.
    #[error("{0}")]
    Other(String),
}

impl From<MemoryError> for PatchError {
    fn from(e: MemoryError) -> PatchError {
        match e {
            MemoryError::Gone(pid) => PatchError::Gone(pid),
            MemoryError::NotPermitted => PatchError::NotPermitted(
                "its memory may not be written; this needs CAP_SYS_PTRACE and CAP_DAC_OVERRIDE".into(),
            ),
            MemoryError::Kernel(e) => PatchError::Other(format!("its memory cannot be written: {e}")),
        }
    }
}

impl From<StopError> for PatchError {
    fn from(e: StopError) -> PatchError {
        match e {
            StopError::Gone(pid) => PatchError::Gone(pid),
            StopError::NotPermitted(_) => PatchError::NotPermitted(e.to_string()),
            other => PatchError::Other(other.to_string()),
        }
    }
}

/// How a process's clock is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Seen {
    /// As the kernel made it.
    Pristine,
    /// Changed by an act of ours, and what it shows.
    Changed(Head, Set),
    /// Bytes of ours without a head, which an undo that was cut off leaves.
    Remains,
    /// Changed by someone else.
    Foreign,
}

/// How long a process stood still, and how many threads it had.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stood {
    /// From telling the first thread to stop until the last one went on.
    pub time: Duration,
    /// Its threads.
    pub threads: usize,
}

/// A process's vDSO.
struct Held {
    id: ProcessId,
    image: &'static Image,
    memory: Memory,
    base: u64,
}

impl Held {
    fn open(id: ProcessId, write: bool) -> Result<Held, PatchError> {
        let image = Image::own()?;
        let memory = if write { Memory::open(id)? } else { Memory::open_to_read(id)? };
        let base = match Image::base(id.pid) {
            Ok(base) => base.ok_or(PatchError::NoVdso)?,
            Err(_) if !id.alive() => return Err(PatchError::Gone(id.pid)),
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                return Err(MemoryError::NotPermitted.into());
            }
            Err(e) => return Err(PatchError::Other(e.to_string())),
        };
        Ok(Held { id, image, memory, base })
    }

    fn there(&self, range: &Range<usize>) -> Range<u64> {
        self.base + range.start as u64..self.base + range.end as u64
    }

    fn whole(&self) -> Range<u64> {
        self.there(&(0..self.image.bytes.len()))
    }

    fn bytes(&self) -> Result<Vec<u8>, PatchError> {
        match self.memory.read(self.base, self.image.bytes.len()) {
            Ok(bytes) => Ok(bytes),
            // A vDSO shorter than ours is another one.
            Err(MemoryError::Kernel(_)) => Err(PatchError::OtherImage),
            Err(e) => Err(e.into()),
        }
    }

    fn look(&self) -> Result<Seen, PatchError> {
        let (image, now) = (self.image, self.bytes()?);
        if now == image.bytes {
            return Ok(Seen::Pristine);
        }
        let ours = |at: usize| image.room.contains(&at) || image.jumps.iter().any(|(j, _)| j.contains(&at));
        let others = now.iter().zip(&image.bytes).enumerate().filter(|(at, (a, b))| a != b && !ours(*at));
        match others.count() {
            0 => {}
            // One or two breakpoints, or a wholly different program.
            n if n > 64 => return Err(PatchError::OtherImage),
            _ => return Ok(Seen::Foreign),
        }
        let room = &now[image.room.clone()];
        let set = room.get(image.stub.counter).and_then(|n| {
            let at = image.stub.params + usize::from(n & 1) * SET;
            slot::from_bytes(room.get(at..)?)
        });
        match (Head::read(room), set) {
            (Some(head), Some(set)) => Ok(Seen::Changed(head, set)),
            _ => {
                let as_jump = |(at, jump): &(Range<usize>, Vec<u8>)| {
                    now[at.clone()] == image.bytes[at.clone()] || now[at.clone()] == **jump
                };
                Ok(if image.jumps.iter().all(as_jump) { Seen::Remains } else { Seen::Foreign })
            }
        }
    }

    fn write(&self, at: usize, bytes: &[u8], stopped: Option<&Stopped>) -> Result<(), PatchError> {
        Ok(self.memory.write(self.base + at as u64, bytes, stopped.and_then(Stopped::one))?)
    }
}

/// Runs on a thread of its own, which is gone afterwards: whatever it still held goes on then.
fn apart<T: Send>(work: impl FnOnce() -> Result<T, PatchError> + Send) -> Result<T, PatchError> {
    let work = || {
        // Who stops others waits for no processor behind them; where that is not allowed it takes longer.
        let _ = rustix::process::setpriority_process(None, -20);
        work()
    };
    thread::scope(|scope| {
        let tracer = thread::Builder::new().name("clock".into()).spawn_scoped(scope, work);
        match tracer.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(PatchError::Other("the injector failed; please report this".into())),
            Err(e) => Err(PatchError::Other(format!("no thread can be started: {e}"))),
        }
    })
}

/// How a process's clock is now.
pub(super) fn look(id: ProcessId) -> Result<Seen, PatchError> {
    Held::open(id, false)?.look()
}

/// Whether a process's clock can be changed, without touching it.
pub(super) fn can(id: ProcessId) -> Result<(), PatchError> {
    match Held::open(id, true)?.look()? {
        Seen::Pristine | Seen::Remains => Ok(()),
        Seen::Changed(..) => Err(PatchError::Already),
        Seen::Foreign => Err(PatchError::Foreign),
    }
}

/// Changes a process's clock.
pub(super) fn apply(id: ProcessId, head: Head, set: &Set) -> Result<Stood, PatchError> {
    can(id)?;
    apart(|| {
        let held = Held::open(id, true)?;
        let image = held.image;
        let mut code = image.code.clone();
        code[..HEAD].copy_from_slice(&head.to_bytes());
        code[image.stub.params..image.stub.params + SET].copy_from_slice(&slot::to_bytes(set));
        // Not on the first byte: whoever stands there has not begun yet.
        let inside: Vec<_> = image.jumps.iter().map(|(at, _)| held.there(&(at.start + 1..at.end))).collect();
        for _ in 0..TRIES {
            let began = Instant::now();
            let mut stopped = Stopped::all(id.pid)?;
            // Of many threads that read the clock all the time one always stands there.
            stopped.walk_out_of(&inside);
            if stopped.anyone_at(&held.memory, &inside) {
                drop(stopped);
                thread::sleep(APART);
                continue;
            }
            let written = held.write(image.room.start, &code, Some(&stopped)).and_then(|()| {
                image.jumps.iter().try_for_each(|(at, jump)| held.write(at.start, jump, Some(&stopped)))
            });
            if let Err(e) = written {
                // Nobody runs, so nobody is in what is put back.
                for (at, _) in &image.jumps {
                    let _ = held.write(at.start, &image.bytes[at.clone()], Some(&stopped));
                }
                let _ = held.write(image.room.start, &image.bytes[image.room.clone()], Some(&stopped));
                return Err(e);
            }
            let threads = stopped.count();
            drop(stopped);
            return Ok(Stood { time: began.elapsed(), threads });
        }
        Err(PatchError::Busy)
    })
}

/// Changes what a changed clock shows, without stopping the process.
pub(super) fn update(id: ProcessId, tag: u64, set: &Set) -> Result<(), PatchError> {
    let held = Held::open(id, true)?;
    let Seen::Changed(head, _) = held.look()? else { return Err(PatchError::NotOurs) };
    if head.tag != tag {
        return Err(PatchError::NotOurs);
    }
    let (image, room) = (held.image, held.image.room.start);
    let write = |stopped: Option<&Stopped>| {
        let at = held.there(&(room + image.stub.counter..room + image.stub.counter + 1)).start;
        let counter = held.memory.read(at, 1)?[0].wrapping_add(1);
        let unused = image.stub.params + usize::from(counter & 1) * SET;
        held.write(room + unused, &slot::to_bytes(set), stopped)?;
        held.write(room + image.stub.counter, &[counter], stopped)
    };
    match write(None) {
        // A kernel that lets only a debugger write there.
        Err(PatchError::Other(_)) => apart(|| write(Some(&Stopped::all(id.pid)?))),
        other => other,
    }
}

/// Changes a process's clock back, byte for byte. None: there was nothing to change back.
pub(super) fn restore(id: ProcessId, tag: Option<u64>) -> Result<Option<Stood>, PatchError> {
    match Held::open(id, false)?.look()? {
        Seen::Pristine => return Ok(None),
        Seen::Foreign => return Err(PatchError::Foreign),
        Seen::Changed(head, _) if tag.is_some_and(|tag| tag != head.tag) => return Err(PatchError::NotOurs),
        Seen::Changed(..) | Seen::Remains => {}
    }
    apart(|| {
        let held = Held::open(id, true)?;
        let (image, mut longest) = (held.image, Duration::ZERO);
        let (room, whole) = (held.there(&image.room), held.whole());
        for n in 0..TRIES {
            let began = Instant::now();
            let mut stopped = Stopped::all(id.pid)?;
            for (at, _) in &image.jumps {
                held.write(at.start, &image.bytes[at.clone()], Some(&stopped))?;
            }
            // As a rule they leave by themselves, since nobody comes any more; who does not get a processor for long does not.
            if n >= WAITED {
                stopped.walk_clear_of(&held.memory, &room, &whole);
            }
            let free = !stopped.anyone_in(&held.memory, &room, &whole);
            if free {
                held.write(image.room.start, &image.bytes[image.room.clone()], Some(&stopped))?;
            }
            let threads = stopped.count();
            drop(stopped);
            longest = longest.max(began.elapsed());
            if free {
                return match held.look()? {
                    Seen::Pristine => Ok(Some(Stood { time: longest, threads })),
                    _ => Err(PatchError::Foreign),
                };
            }
            thread::sleep(APART * (1 << n.min(DOUBLED)));
        }
        Err(PatchError::Busy)
    })
}

/// The process that a [`Held`] is of, for messages.
impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the vDSO of {}", self.id)
    }
}
