//! Processes by an identity that cannot be confused: pid and start time, held through a pidfd.
//!
//! A pid alone is used again; a pid with its start time (field 22 of `/proc/PID/stat`, in clock ticks since boot) is
//! not, within one boot. A [`ProcessHandle`] holds the process itself: opened first, identity checked afterwards, so
//! that what is signalled through it is what was meant.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

pub use rustix::process::Signal as ProcessSignal;

/// A process of this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
}

/// Why nothing can be done with a process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProcessError {
    /// It does not exist, or no longer; its number may belong to another by now.
    #[error("process {0} is gone")]
    Gone(u32),
    /// It belongs to someone else.
    #[error("process {0} belongs to another user; this needs CAP_KILL: run as root or as that user")]
    NotPermitted(u32),
    /// The kernel has no pidfd.
    #[error("this kernel has no pidfd for process {0}: Linux 5.3 or newer is needed")]
    NoPidfd(u32),
    /// Anything else the kernel said.
    #[error("process {pid}: {what}")]
    Kernel {
        /// Its number.
        pid: u32,
        /// The kernel's word.
        what: String,
    },
}

/// What `/proc/PID/stat` tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Stat {
    /// Identity.
    pub id: ProcessId,
    /// The command's name, at most 15 bytes.
    pub comm: String,
    /// State letter: `R` running, `S` sleeping, `D` in the kernel, `T` stopped, `t` traced, `Z` dead but not reaped.
    pub state: char,
    /// The parent's number.
    pub ppid: u32,
    /// A thread of the kernel, which cannot be stopped or killed.
    pub kernel_thread: bool,
    /// Processor time used so far, user and system, to a clock tick (10 ms as a rule).
    pub cpu: Duration,
}

/// A process with what identifies it to a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Identity.
    pub id: ProcessId,
    /// The command's name.
    pub comm: String,
    /// The command line, its arguments joined by spaces; empty for threads of the kernel.
    pub command: String,
}

impl ProcessId {
    /// The process that has this number now.
    pub fn of(pid: u32) -> Result<ProcessId, ProcessError> {
        stat(pid).map(|s| s.id)
    }

    /// This process.
    pub fn me() -> ProcessId {
        let pid = std::process::id();
        // A process can always read its own stat; the fallback only spares a panic without /proc.
        ProcessId::of(pid).unwrap_or(ProcessId { pid, start: 0 })
    }

    /// Whether it still exists and is more than a dead entry waiting to be reaped.
    pub fn alive(self) -> bool {
        self.stat().is_ok_and(|s| s.state != 'Z' && s.state != 'X')
    }

    /// Whether it was killed and does not get to its end, because one of its threads waits in the kernel.
    pub fn is_stuck_dying(self) -> bool {
        let Ok(stat) = self.stat() else { return false };
        let threads = || fs::read_dir(format!("/proc/{}/task", self.pid)).map_or(0, Iterator::count);
        match stat.state {
            'Z' => threads() > 1,
            // Its first thread is the one that waits: SIGKILL is pending for it.
            'D' => {
                let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
                let pending = status.lines().find_map(|l| l.strip_prefix("SigPnd:"));
                let pending = pending.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
                pending.is_some_and(|mask| mask & (1 << 8) != 0)
            }
            _ => false,
        }
    }

    /// Its state and times, if it is still the same process.
    pub fn stat(self) -> Result<Stat, ProcessError> {
        let stat = stat(self.pid)?;
        if stat.id == self { Ok(stat) } else { Err(ProcessError::Gone(self.pid)) }
    }

    /// Takes hold of it.
    pub fn open(self) -> Result<ProcessHandle, ProcessError> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).ok_or(ProcessError::Gone(self.pid))?;
        let fd = pidfd_open(pid, PidfdFlags::empty()).map_err(|e| kernel(self.pid, e))?;
        // The descriptor is taken before the identity is checked: whatever has the number now is what fd holds.
        self.stat()?;
        Ok(ProcessHandle { id: self, fd })
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.pid, self.start)
    }
}

/// A process that is held: signals go to it and to no other.
#[derive(Debug)]
pub struct ProcessHandle {
    id: ProcessId,
    fd: OwnedFd,
}

impl ProcessHandle {
    /// Which process.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// The pidfd; readable once the process has ended.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        pidfd_send_signal(&self.fd, signal).map_err(|e| kernel(self.id.pid, e))
    }

    /// Waits until it has ended, at most so long; whether it has.
    pub fn wait_exit(&self, most: Duration) -> bool {
        let until = Instant::now() + most;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout =
                Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) as _ };
            let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(n) if n > 0 => return true,
                Ok(_) if left.is_zero() => return false,
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return !self.id.alive(),
            }
        }
    }

    /// Waits until its state is as wanted, looking every few milliseconds; the state last seen, or none when it is gone.
    pub fn wait_state(&self, most: Duration, wanted: impl Fn(char) -> bool) -> Option<char> {
        let until = Instant::now() + most;
        loop {
            let state = self.id.stat().ok()?.state;
            if wanted(state) || Instant::now() >= until {
                return Some(state);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Reads `/proc/PID/stat`.
pub fn stat(pid: u32) -> Result<Stat, ProcessError> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|e| match e.kind() {
        std::io::ErrorKind::PermissionDenied => ProcessError::NotPermitted(pid),
        _ => ProcessError::Gone(pid),
    })?;
    parse_stat(pid, &text).ok_or(ProcessError::Gone(pid))
}

/// The name may hold spaces and parentheses, so fields are counted from the last parenthesis.
fn parse_stat(pid: u32, text: &str) -> Option<Stat> {
    let (before, after) = text.rsplit_once(')')?;
    let comm = before.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = after.split_whitespace().collect();
    let number = |i: usize| fields.get(i)?.parse::<u64>().ok();
    const PF_KTHREAD: u64 = 0x0020_0000;
    let ticks = number(11)? + number(12)?;
    Some(Stat {
        id: ProcessId { pid, start: number(19)? },
        comm,
        state: fields.first()?.chars().next()?,
        ppid: number(1)? as u32,
        kernel_thread: number(6)? & PF_KTHREAD != 0,
        cpu: Duration::from_nanos(
            ticks.saturating_mul(1_000_000_000 / rustix::param::clock_ticks_per_second()),
        ),
    })
}

/// The command line as arguments; empty for threads of the kernel and for processes that are gone.
pub fn arguments(pid: u32) -> Vec<String> {
    let raw = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    raw.split(|b| *b == 0)
        .filter(|part| !part.is_empty())
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect()
}

/// One process by its number, with name and command line.
pub fn describe(pid: u32) -> Result<Process, ProcessError> {
    let stat = stat(pid)?;
    Ok(Process { id: stat.id, comm: stat.comm, command: arguments(pid).join(" ") })
}

/// All processes that can be seen, by number.
pub fn list() -> Vec<Process> {
    pids().into_iter().filter_map(|pid| describe(pid).ok()).collect()
}

/// Processes whose command line contains the text, oldest first. Never [`kin`], never the dead.
pub fn find(text: &str) -> Vec<Process> {
    let kin = kin();
    let mut found: Vec<Process> = list()
        .into_iter()
        .filter(|p| !p.command.is_empty() && p.command.contains(text))
        .filter(|p| !kin.contains(&p.id.pid) && p.id.alive())
        .collect();
    found.sort_by_key(|p| (p.id.start, p.id.pid));
    found
}

/// Who is never meant by a description: this process, its ancestors and its descendants, and everyone who runs our
/// program, with who started them. The command line of `sudo murphy arm process:nginx pause` has the text that it
/// looks for twice, in murphy's own and in sudo's.
pub fn kin() -> HashSet<u32> {
    let parents: HashMap<u32, u32> =
        pids().into_iter().filter_map(|pid| Some((pid, stat(pid).ok()?.ppid))).collect();
    let me = std::process::id();
    let mut kin: HashSet<u32> = ancestors(me).into_iter().chain([me]).collect();
    for &pid in parents.keys() {
        let (mut at, mut line) = (pid, vec![pid]);
        while let Some(&parent) = parents.get(&at) {
            if parent == me {
                kin.extend(&line);
                break;
            }
            if parent == 0 || line.len() > 64 {
                break;
            }
            line.push(parent);
            at = parent;
        }
    }
    for &other in parents.keys().filter(|pid| same_program(**pid)) {
        kin.insert(other);
        kin.extend(ancestors(other));
    }
    kin
}

/// The parent, its parent, and so on.
pub fn ancestors(pid: u32) -> Vec<u32> {
    let mut line = Vec::new();
    let mut at = pid;
    while let Ok(parent) = stat(at).map(|s| s.ppid) {
        if parent == 0 || line.contains(&parent) {
            break;
        }
        line.push(parent);
        at = parent;
    }
    line
}

/// Whether a process runs the very program file that we run. False when that cannot be seen.
pub fn same_program(pid: u32) -> bool {
    let file = |who: &str| fs::metadata(format!("/proc/{who}/exe")).map(|m| (m.dev(), m.ino())).ok();
    match (file("self"), file(&pid.to_string())) {
        (Some(ours), Some(theirs)) => ours == theirs,
        _ => false,
    }
}

/// Whether a process lives and is one of murphy's: it runs our program file, or one that is called so.
pub fn is_murphy(pid: u32) -> bool {
    same_program(pid) || stat(pid).is_ok_and(|s| s.comm.contains("murphy"))
}

fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut pids: Vec<u32> = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

fn kernel(pid: u32, errno: Errno) -> ProcessError {
    match errno {
        Errno::SRCH | Errno::INVAL => ProcessError::Gone(pid),
        Errno::PERM | Errno::ACCESS => ProcessError::NotPermitted(pid),
        Errno::NOSYS => ProcessError::NoPidfd(pid),
        other => ProcessError::Kernel { pid, what: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    struct Sleeper(Child);
    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    fn sleeper(seconds: &str) -> Sleeper {
        Sleeper(Command::new("sleep").arg(seconds).spawn().unwrap())
    }

    #[test]
    fn names_with_parentheses_are_read() {
        let line = "7 (a) b (c)) S 1 7 7 0 -1 4194304 1 0 0 0 250 50 0 0 20 0 1 0 12345 1 1";
        let stat = parse_stat(7, line).unwrap();
        assert_eq!((stat.comm.as_str(), stat.state, stat.ppid, stat.id.start), ("a) b (c)", 'S', 1, 12_345));
        assert_eq!(stat.cpu, Duration::from_secs(3));
        assert!(parse_stat(7, "garbage").is_none());
        assert!(parse_stat(7, "7 (x) S 1").is_none());
    }

    #[test]
    fn a_held_process_is_stopped_continued_and_killed() {
        let mut child = sleeper("61");
        let id = ProcessId::of(child.0.id()).unwrap();
        let held = id.open().unwrap();
        held.signal(Signal::STOP).unwrap();
        assert_eq!(held.wait_state(Duration::from_secs(10), |s| s == 'T'), Some('T'));
        held.signal(Signal::CONT).unwrap();
        assert_ne!(held.wait_state(Duration::from_secs(10), |s| s != 'T'), Some('T'));
        assert!(!held.wait_exit(Duration::from_millis(1)));
        held.signal(Signal::KILL).unwrap();
        assert!(held.wait_exit(Duration::from_secs(10)));
        child.0.wait().unwrap();
        assert!(!id.alive());
        assert_eq!(held.signal(Signal::CONT), Err(ProcessError::Gone(id.pid)));
    }

    #[test]
    fn another_start_time_is_another_process() {
        let child = sleeper("62");
        let id = ProcessId::of(child.0.id()).unwrap();
        let other = ProcessId { start: id.start + 1, ..id };
        assert!(!other.alive());
        assert_eq!(other.open().unwrap_err(), ProcessError::Gone(id.pid));
        assert_eq!(ProcessId { pid: u32::MAX, start: 1 }.open().unwrap_err(), ProcessError::Gone(u32::MAX));
    }

    #[test]
    fn we_and_our_kin_are_never_found() {
        let child = sleeper("6300731");
        assert!(find("6300731").is_empty(), "a child of ours was found");
        assert!(kin().contains(&child.0.id()) && kin().contains(&std::process::id()));
        let me = arguments(std::process::id()).join(" ");
        assert!(find(&me).iter().all(|p| p.id.pid != std::process::id()));
        assert!(same_program(std::process::id()) && !same_program(child.0.id()));
    }
}
