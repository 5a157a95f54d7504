//! A process with all its threads stopped, for as short as can be, without any of them noticing.

use super::arch::{Interrupted, Position, at};
use super::memory::Memory;
use super::sys;
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::unistd::Pid;
use rustix::process::{WaitOptions, waitpid};
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::time::{Duration, Instant};

/// How long a thread may take to stop: one that waits for a disk stops late.
const STOPPING: Duration = Duration::from_secs(2);
/// How much of each stack is looked through for frames of signals.
const STACK: usize = 64 * 1024;
/// How far from the end of the stack the return addresses of the vDSO's functions are: they call nothing.
const NEAR: usize = 1024;
/// How long threads are let go on for, an instruction at a time, while all others wait for them. The vDSO's functions have
/// some hundred; but they begin anew when the kernel's clock has ticked meanwhile, and where a step takes long it always has.
const LEADING: Duration = Duration::from_millis(50);
/// `__WALL`: threads that are nobody's children are waited for too.
const ALL_KINDS: u32 = 0x4000_0000;

/// Why a process cannot be stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum StopError {
    /// It is gone.
    #[error("process {0} is gone")]
    Gone(u32),
    /// Someone traces it, or we may not.
    #[error("it may not be traced{}", .0.map(|by| format!(": process {by} traces it already")).unwrap_or_default())]
    NotPermitted(Option<u32>),
    /// A thread does not stop.
    #[error("thread {0} does not stop within 2 s; it waits in the kernel, for a disk perhaps")]
    Busy(i32),
    /// The kernel's word.
    #[error("{0}")]
    Kernel(Errno),
}

/// A process whose threads are all stopped. They go on when this is dropped, each with the signal it was about to get.
///
/// To be used on one thread alone, which is the tracer.
pub(super) struct Stopped {
    threads: BTreeMap<i32, i32>,
}

impl Stopped {
    /// Stops all threads, also those that are made meanwhile.
    pub fn all(pid: u32) -> Result<Stopped, StopError> {
        let mut stopped = Stopped { threads: BTreeMap::new() };
        let until = Instant::now() + STOPPING;
        loop {
            let mut new = Vec::new();
            for thread in threads(pid)? {
                if stopped.threads.contains_key(&thread) {
                    continue;
                }
                match ptrace::seize(Pid::from_raw(thread), ptrace::Options::empty()) {
                    Ok(()) => {}
                    Err(Errno::ESRCH) => continue,
                    Err(Errno::EPERM) => return Err(StopError::NotPermitted(tracer(pid))),
                    Err(e) => return Err(StopError::Kernel(e)),
                }
                // All are told before any is waited for.
                if ptrace::interrupt(Pid::from_raw(thread)).is_ok() {
                    new.push(thread);
                }
            }
            for thread in &new {
                if let Some(signal) = wait(*thread, until)? {
                    stopped.threads.insert(*thread, signal);
                }
            }
            if new.is_empty() {
                break;
            }
        }
        if stopped.threads.is_empty() {
            return Err(StopError::Gone(pid));
        }
        Ok(stopped)
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// One of them.
    pub fn one(&self) -> Option<Pid> {
        self.threads.keys().next().map(|t| Pid::from_raw(*t))
    }

    /// Has threads that are at one of these places go on, an instruction at a time, until they are not, while all others
    /// stand still. Who is about to get a signal stays where it is, and who is not out of it soon, too.
    pub fn walk_out_of(&mut self, places: &[Range<u64>]) {
        self.walk_while(|now| places.iter().any(|p| p.contains(&now.ip)));
    }

    /// The same with threads that need code in `room`, a part of the vDSO at `whole`. Others in the vDSO are left where they
    /// are, as many as they may be.
    pub fn walk_clear_of(&mut self, memory: &Memory, room: &Range<u64>, whole: &Range<u64>) {
        self.walk_while(|now| needs(now, memory, room, whole));
    }

    fn walk_while(&mut self, there: impl Fn(Position) -> bool) {
        let until = Instant::now() + LEADING;
        for (thread, signal) in &mut self.threads {
            let thread = Pid::from_raw(*thread);
            while *signal == 0 && at(thread).is_ok_and(&there) && Instant::now() < until {
                match step(thread) {
                    Stepped::On => {}
                    Stepped::About(which) => *signal = which,
                    Stepped::Gone => break,
                }
            }
        }
    }

    /// Whether a thread is at one of these places, or will be when the handler of a signal returns.
    pub fn anyone_at(&self, memory: &Memory, places: &[Range<u64>]) -> bool {
        let whole = places.iter().map(|p| p.start).min().unwrap_or(0)
            ..places.iter().map(|p| p.end).max().unwrap_or(0);
        let hit = |ip: u64| places.iter().any(|p| p.contains(&ip));
        self.positions().any(|Position { ip, sp, .. }| {
            hit(ip)
                || frames(&memory.read_some(sp & !7, STACK), |words| {
                    Interrupted::is(words, &whole) && hit(words[0])
                })
        })
    }

    /// Whether a thread still needs code in `room`, a part of the vDSO at `whole`: it is in there, was interrupted in there,
    /// or is in a function of the vDSO that may return there.
    pub fn anyone_in(&self, memory: &Memory, room: &Range<u64>, whole: &Range<u64>) -> bool {
        self.positions().any(|now| {
            needs(now, memory, room, whole)
                || frames(&memory.read_some(now.sp & !7, STACK), |words| Interrupted::is(words, whole))
        })
    }

    fn positions(&self) -> impl Iterator<Item = Position> {
        // One that died meanwhile is nowhere.
        self.threads.keys().filter_map(|t| at(Pid::from_raw(*t)).ok())
    }
}

/// What became of a thread that was to go on for one instruction.
enum Stepped {
    On,
    /// It is about to get this signal, and has not gone on.
    About(i32),
    Gone,
}

/// Has a stopped thread go on for one instruction.
fn step(thread: Pid) -> Stepped {
    if ptrace::step(thread, None).is_err() {
        return Stepped::Gone;
    }
    loop {
        match waitpid(
            rustix::process::Pid::from_raw(thread.as_raw()),
            WaitOptions::from_bits_retain(ALL_KINDS),
        ) {
            Ok(Some((_, status))) => {
                let Some(signal) = status.stopping_signal() else { return Stepped::Gone };
                let by_tracing = (status.as_raw() >> 16) & 0xff != 0;
                let by_step = signal == libc::SIGTRAP
                    && ptrace::getsiginfo(thread).is_ok_and(|info| info.si_code == libc::TRAP_TRACE);
                return if by_tracing || by_step { Stepped::On } else { Stepped::About(signal) };
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Stepped::Gone,
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for (thread, signal) in &self.threads {
            // One that was killed meanwhile needs nothing any more.
            let _ = sys::detach(Pid::from_raw(*thread), *signal);
        }
    }
}

/// Whether a thread is in `room`, or in a function of the vDSO at `whole` that may return there.
fn needs(
    Position { ip, sp, link }: Position,
    memory: &Memory,
    room: &Range<u64>,
    whole: &Range<u64>,
) -> bool {
    let near = || memory.read_some(sp & !7, NEAR);
    let returns =
        || link.is_some_and(|link| room.contains(&link)) || frames(&near(), |words| room.contains(&words[0]));
    room.contains(&ip) || (whole.contains(&ip) && returns())
}

/// Whether any place of a stack begins what is looked for.
fn frames(stack: &[u8], is: impl Fn(&[u64]) -> bool) -> bool {
    let words: Vec<u64> =
        stack.chunks_exact(8).map(|w| u64::from_ne_bytes(w.try_into().unwrap_or_default())).collect();
    (0..words.len()).any(|i| is(&words[i..]))
}

fn threads(pid: u32) -> Result<Vec<i32>, StopError> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).map_err(|_| StopError::Gone(pid))?;
    Ok(entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect())
}

/// Who traces a process.
pub(super) fn tracer(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let by = status.lines().find_map(|l| l.strip_prefix("TracerPid:"))?;
    by.trim().parse().ok().filter(|by| *by != 0)
}

/// Waits until a thread has stopped; the signal it was about to get, or none at all when it has ended.
fn wait(thread: i32, until: Instant) -> Result<Option<i32>, StopError> {
    let options = WaitOptions::NOHANG | WaitOptions::from_bits_retain(ALL_KINDS);
    let pid = rustix::process::Pid::from_raw(thread);
    let mut pause = Duration::from_micros(5);
    loop {
        match waitpid(pid, options) {
            Ok(Some((_, status))) => {
                let Some(signal) = status.stopping_signal() else { return Ok(None) };
                // An event of the tracing itself has its number in the third byte; then there is no signal.
                let event = (status.as_raw() >> 16) & 0xff;
                return Ok(Some(if event == 0 { signal } else { 0 }));
            }
            Ok(None) if Instant::now() > until => return Err(StopError::Busy(thread)),
            Ok(None) => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(1));
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Ok(None),
        }
    }
}
