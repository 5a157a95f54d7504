//! The watchdog: a process of its own that undoes what the agent leaves when it is gone, and what it can when the
//! agent hangs.
//!
//! It watches the agent by pidfd, not by a pipe: a child of the agent that inherits a pipe's end would blind it. A
//! pipe there is too, on its standard input, but only to be told that something was armed; while nothing is, it
//! sleeps without end. An agent that ends in order takes its leave there, and when nothing is armed it ends at once.

use crate::lease;
use crate::undo::{FILE, RecoverReport};
use crate::undo::{Live, Reach, let_die, read, recover_here};
use host::{ProcessError, ProcessHandle, ProcessId};
use inject::Injector;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// The hidden verb under which the program becomes a watchdog: hand the arguments after it to [`main`].
pub const VERB: &str = "__watchdog";

/// What the agent writes when something was armed, and when it ends in order.
pub(crate) const ARMED: u8 = b'.';
/// See [`ARMED`].
pub(crate) const GOODBYE: u8 = b'q';

/// How late the agent may be with what it should have done itself.
const GRACE: Duration = Duration::from_secs(1);
/// How often an agent that has armed something is looked at: a pidfd says nothing of one that is killed and cannot end,
/// because one of its threads waits in the kernel for the agent itself.
const LOOK: Duration = Duration::from_secs(1);
/// How long undoing is tried when it fails. Afterwards it is left to `murphy recover` and the next agent.
const TRYING: Duration = Duration::from_secs(300);

/// The watchdog's main. `args` are the arguments after [`VERB`]; the injectors are those of the agent.
pub fn main(args: &[String], injectors: &[Arc<dyn Injector>]) -> ExitCode {
    let Some(task) = Task::parse(args) else {
        eprintln!("this is for murphy itself: --state-dir DIR --pid PID --start TICKS [--leftover PATH]…");
        return ExitCode::from(2);
    };
    detach();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("the watchdog has no runtime: {e}");
            return ExitCode::FAILURE;
        }
    };
    ignore_signals(&runtime);
    let said = writeln!(std::io::stdout(), "ready").and_then(|()| std::io::stdout().flush());
    let watch = Watch { task, injectors, runtime };
    if let (Err(e), true) = (said, watch.task.agent.alive()) {
        eprintln!("the agent does not listen: {e}");
    }
    watch.run()
}

/// What it was told to watch.
#[derive(Debug, PartialEq)]
struct Task {
    state_dir: PathBuf,
    agent: ProcessId,
    leftovers: Vec<PathBuf>,
}

impl Task {
    fn parse(args: &[String]) -> Option<Task> {
        let mut task =
            Task { state_dir: PathBuf::new(), agent: ProcessId { pid: 0, start: 0 }, leftovers: vec![] };
        let mut rest = args.iter();
        while let Some(key) = rest.next() {
            let value = rest.next()?;
            match key.as_str() {
                "--state-dir" => task.state_dir = value.into(),
                "--pid" => task.agent.pid = value.parse().ok()?,
                "--start" => task.agent.start = value.parse().ok()?,
                "--leftover" => task.leftovers.push(value.into()),
                _ => return None,
            }
        }
        (task.agent.pid != 0 && task.state_dir.is_absolute()).then_some(task)
    }
}

/// Out of the agent's session, so that ctrl-c and hang-ups pass by; the last to go when memory is short.
fn detach() {
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(c"murphy-watchdog");
    let _ = fs::write("/proc/self/oom_score_adj", "-1000")
        .or_else(|_| fs::write("/proc/self/oom_score_adj", "0"));
    // No directory is kept busy by us.
    let _ = std::env::set_current_dir("/");
}

/// A handler that does nothing: whoever ends everything politely must not end what tidies up after it.
fn ignore_signals(runtime: &Runtime) {
    let _in = runtime.enter();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()] {
        let _ = signal(kind);
    }
}

struct Watch<'a> {
    task: Task,
    injectors: &'a [Arc<dyn Injector>],
    runtime: Runtime,
}

impl Watch<'_> {
    fn run(&self) -> ExitCode {
        let agent = match self.task.agent.open() {
            Ok(agent) => agent,
            Err(ProcessError::Gone(_)) => return self.agent_is_gone(),
            Err(e) => {
                eprintln!("the agent cannot be watched: {e}");
                return ExitCode::FAILURE;
            }
        };
        let mut told = Some(std::io::stdin());
        let mut not_before = Instant::now();
        let mut look = false;
        loop {
            let live = self.live();
            let wait = self
                .until_due(&live)
                .map(|due| due.max(not_before.saturating_duration_since(Instant::now())));
            // Without the pipe nobody says when something is armed: then it is looked for now and then.
            let wait = if told.is_none() {
                Some(wait.unwrap_or(Duration::MAX).min(Duration::from_secs(5)))
            } else {
                wait
            };
            let due = wait.map(|wait| Instant::now() + wait);
            let wait = if look { Some(wait.map_or(LOOK, |wait| wait.min(LOOK))) } else { wait };
            match self.wait(&agent, told.as_ref(), wait) {
                Woken::AgentGone => return self.agent_is_gone(),
                Woken::Time if self.task.agent.is_stuck_dying() => return self.agent_is_gone(),
                Woken::Time if due.is_none_or(|due| Instant::now() < due) => {}
                Woken::Told => {
                    look = true;
                    let mut bytes = [0; 64];
                    let read = told.as_mut().map_or(0, |pipe| pipe.lock().read(&mut bytes).unwrap_or(0));
                    if bytes[..read].contains(&GOODBYE) && self.live().is_empty() {
                        return ExitCode::SUCCESS;
                    }
                    if read == 0 {
                        // Closed without a word: the agent is dying, and the pidfd will say so.
                        told = None;
                    }
                }
                Woken::Time => {
                    self.overdue();
                    // What could not be undone is not tried more often than this.
                    not_before = Instant::now() + GRACE;
                }
            }
        }
    }

    /// Faults that could be undone from here while the agent lives.
    fn live(&self) -> Vec<Live> {
        let mut live = read(&self.task.state_dir).map(|c| c.live).unwrap_or_default();
        live.retain(|fault| fault.acts.iter().any(|(_, act)| !act.ends_with_agent));
        live
    }

    /// How long until the agent has let its lease or a fault's end pass.
    fn until_due(&self, live: &[Live]) -> Option<Duration> {
        let ends = live.iter().map(|fault| fault.ends_ms.unwrap_or(u64::MAX)).min()?;
        let first = ends.min(lease::read(&self.task.state_dir)).saturating_add(GRACE.as_millis() as u64 + 1);
        let now = host::clock::boottime().as_millis() as u64;
        Some(Duration::from_millis(first.saturating_sub(now)))
    }

    fn wait(&self, agent: &ProcessHandle, told: Option<&std::io::Stdin>, most: Option<Duration>) -> Woken {
        let timeout = most.map(|d| Timespec {
            tv_sec: i64::try_from(d.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(d.subsec_nanos()) as _,
        });
        let mut fds = vec![PollFd::new(agent.fd(), PollFlags::IN)];
        if let Some(pipe) = told {
            fds.push(PollFd::new(pipe, PollFlags::IN));
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => Woken::Time,
            Ok(_) if !fds[0].revents().is_empty() => Woken::AgentGone,
            Ok(_) => Woken::Told,
            // A signal: look again.
            Err(_) => Woken::Time,
        }
    }

    /// The agent lives, but something is overdue.
    fn overdue(&self) {
        let now = host::clock::boottime().as_millis() as u64;
        let hangs = now > lease::read(&self.task.state_dir).saturating_add(GRACE.as_millis() as u64);
        let reach = if hangs { Reach::NotTheAgents } else { Reach::Overdue(GRACE.as_millis() as u64) };
        self.report(self.runtime.block_on(recover_here(&self.task.state_dir, self.injectors, reach)));
    }

    fn agent_is_gone(&self) -> ExitCode {
        let dir = &self.task.state_dir;
        let until = Instant::now() + TRYING;
        let mut pause = Duration::from_millis(100);
        loop {
            if self.task.agent.is_stuck_dying() {
                self.report(Ok(self.runtime.block_on(let_die(dir, self.injectors))));
            }
            match crate::undo::lock(dir, "watchdog", Duration::from_millis(300)) {
                Ok(_lock) => {
                    let report = self.runtime.block_on(recover_here(dir, self.injectors, Reach::Everything));
                    let left = report.as_ref().map_or(true, |r| r.acts.iter().any(|a| a.failed));
                    self.report(report);
                    if !left {
                        self.remove_leftovers();
                        return ExitCode::SUCCESS;
                    }
                }
                // Whoever has the directory now undoes what is left in it: a new agent, or `recover`.
                Err(crate::EngineError::InUse { holder: Some(holder), .. })
                    if holder.process != self.task.agent && holder.process.alive() =>
                {
                    return ExitCode::SUCCESS;
                }
                Err(e) => eprintln!("{e}"),
            }
            if Instant::now() > until {
                eprintln!("giving up; run `murphy recover` for {}", dir.join(FILE).display());
                return ExitCode::FAILURE;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_secs(10));
        }
    }

    fn report(&self, report: std::io::Result<RecoverReport>) {
        match report {
            Ok(report) => {
                for act in &report.acts {
                    eprintln!("{}: {}: {}", act.id, act.undo, act.outcome);
                }
                for problem in report.problems() {
                    eprintln!("{problem}");
                }
            }
            Err(e) => eprintln!("{} cannot be read: {e}", self.task.state_dir.join(FILE).display()),
        }
    }

    /// Sockets on which nobody listens any more.
    fn remove_leftovers(&self) {
        for path in &self.task.leftovers {
            if is_dead_socket(path) {
                let _ = fs::remove_file(path);
            }
        }
        let _ = fs::remove_file(self.task.state_dir.join(lease::FILE));
    }
}

enum Woken {
    AgentGone,
    Told,
    Time,
}

fn is_dead_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket())
        && UnixStream::connect(path).is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn arguments_are_read_or_refused() {
        let args = |text: &str| Task::parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let task = args("--state-dir /s --pid 7 --start 9 --leftover /a --leftover /b").unwrap();
        assert_eq!((task.agent, task.leftovers.len()), (ProcessId { pid: 7, start: 9 }, 2));
        for bad in
            ["", "--pid 7", "--state-dir s --pid 7 --start 9", "--state-dir /s --pid x --start 9", "--what 1"]
        {
            assert!(args(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn only_dead_sockets_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (socket, file) = (dir.path().join("s"), dir.path().join("f"));
        let listener = UnixListener::bind(&socket).unwrap();
        fs::write(&file, "").unwrap();
        assert!(!is_dead_socket(&socket) && !is_dead_socket(&file));
        drop(listener);
        // A child that another test is just starting may hold the socket for an instant.
        let until = Instant::now() + Duration::from_secs(30);
        while !is_dead_socket(&socket) {
            assert!(Instant::now() < until);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
