//! The parent's hold on one stressor.

use super::{VERB, Word};
use host::ProcessId;
use host::process::ProcessSignal;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufRead, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a child may take for an answer: it takes what it can for some seconds first, on a machine that may be very busy.
const ANSWER: Duration = Duration::from_secs(20);
/// How long one that was killed may take to be gone.
const DYING: Duration = Duration::from_secs(10);

/// How the program starts itself as a stressor.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub path: PathBuf,
    pub args: Vec<OsString>,
}

impl Default for Program {
    fn default() -> Self {
        // Not the path it was started by: that may lead elsewhere by now, and this works after an upgrade too.
        Program { path: "/proc/self/exe".into(), args: vec![VERB.into()] }
    }
}

/// A child that works, or is about to. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Stressor {
    id: ProcessId,
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
    told: Arc<Mutex<BTreeMap<String, f64>>>,
    began: Option<Instant>,
    ended: bool,
    killed: bool,
    last: Duration,
    recent: (Instant, Duration, f64),
}

impl Stressor {
    /// Starts a child that waits at its gate. Blocks until it says that it is ready.
    pub(crate) fn start(program: &Program) -> io::Result<Stressor> {
        let mut command = Command::new(&program.path);
        command
            .arg0("murphy")
            .args(&program.args)
            .args(["--parent", &std::process::id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A group of its own: ctrl-c at the terminal is for the agent, which ends its faults in order.
            .process_group(0);
        let mut child = spawn(command)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the child has no pipes"));
        };
        let id = ProcessId::of(child.id()).map_err(io::Error::other)?;
        let now = Instant::now();
        let told = Arc::default();
        let answers = listen(output, Arc::clone(&told))?;
        let mut started = Stressor {
            id,
            child,
            input,
            answers,
            told,
            began: None,
            ended: false,
            killed: false,
            last: Duration::ZERO,
            recent: (now, Duration::ZERO, 0.0),
        };
        let word = started.answer()?;
        if word != "ready" {
            return Err(io::Error::other(format!("the child said {word:?} instead of ready")));
        }
        Ok(started)
    }

    pub(crate) fn id(&self) -> ProcessId {
        self.id
    }

    /// Tells it something; it works as told from a job on. Blocks until the child has acknowledged.
    pub(crate) fn tell(&mut self, word: &Word) -> io::Result<()> {
        let line = serde_json::to_string(word)?;
        // Counted from before it is told, so that a share is never reckoned over less time than it took.
        let when = Instant::now();
        writeln!(self.input, "{line}")?;
        self.input.flush()?;
        let answer = match self.answer() {
            // It did what it was told until someone ended it.
            Err(e) if self.killed && matches!(word, Word::Job(_)) => {
                self.began.get_or_insert(when);
                return Err(e);
            }
            other => other?,
        };
        match answer.strip_prefix("error ") {
            Some(why) => Err(io::Error::other(why.to_owned())),
            None => {
                if matches!(word, Word::Job(_)) {
                    self.began.get_or_insert(when);
                }
                Ok(())
            }
        }
    }

    /// The numbers that it told last.
    pub(crate) fn told(&self) -> BTreeMap<String, f64> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a signal has ended it that was not ours.
    pub(crate) fn was_killed(&self) -> bool {
        self.killed
    }

    /// Since when it burns.
    pub(crate) fn began(&self) -> Option<Instant> {
        self.began
    }

    /// Whether it still runs; reaps it when it does not.
    pub(crate) fn runs(&mut self) -> bool {
        if !self.ended {
            match self.child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => {
                    self.ended = true;
                    self.killed = status.signal().is_some();
                }
                Err(_) => self.ended = true,
            }
        }
        !self.ended
    }

    /// Processor time it has used; the last reading once it has ended.
    pub(crate) fn cpu(&mut self) -> Duration {
        if self.runs() {
            let pid = nix::unistd::Pid::from_raw(self.id.pid as i32);
            let read = nix::time::clock_getcpuclockid(pid).and_then(nix::time::clock_gettime);
            if let Ok(t) = read {
                self.last = Duration::new(t.tv_sec().max(0) as u64, t.tv_nsec().clamp(0, 999_999_999) as u32);
            }
        }
        self.last
    }

    /// Percent of one core that it used since it began, and lately (over the half second or more before).
    pub(crate) fn percent(&mut self) -> (f64, f64) {
        let Some(began) = self.began else { return (0.0, 0.0) };
        let cpu = self.cpu();
        let now = Instant::now();
        let share = |cpu: Duration, time: Duration| 100.0 * cpu.as_secs_f64() / time.as_secs_f64().max(1e-6);
        let (then, before, _) = self.recent;
        if now - then >= Duration::from_millis(500) {
            self.recent = (now, cpu, share(cpu.saturating_sub(before), now - then.max(began)));
        }
        (share(cpu, now - began), self.recent.2)
    }

    /// Kills it and waits until it is gone; whether it is.
    pub(crate) fn kill(&mut self) -> bool {
        self.cpu();
        // What it became may have children of its own, in its process group.
        kill_group(self.id.pid);
        let _ = self.child.kill();
        let gone = self.id.open().map_or(true, |held| held.wait_exit(DYING));
        if gone {
            let _ = self.child.wait();
            self.ended = true;
        }
        gone
    }

    fn answer(&mut self) -> io::Result<String> {
        match self.answers.recv_timeout(ANSWER) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the child does not answer"))
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait();
                self.ended = true;
                self.killed = status.as_ref().is_ok_and(|s| s.signal().is_some());
                let how = status.map_or_else(|e| e.to_string(), |status| status.to_string());
                Err(io::Error::other(format!("the child ended ({how})")))
            }
        }
    }
}

/// Reads what the child says on a thread of its own: numbers come unasked.
fn listen(output: ChildStdout, told: Arc<Mutex<BTreeMap<String, f64>>>) -> io::Result<Receiver<String>> {
    let (send, receive) = mpsc::channel();
    let read = move || {
        for line in io::BufReader::new(output).lines() {
            let Ok(line) = line else { return };
            if let Some(numbers) = line.strip_prefix("status ") {
                if let Ok(numbers) = serde_json::from_str(numbers) {
                    *told.lock().unwrap_or_else(PoisonError::into_inner) = numbers;
                }
            } else if send.send(line).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("murphy-listener".into()).stack_size(128 * 1024).spawn(read)?;
    Ok(receive)
}

impl Drop for Stressor {
    fn drop(&mut self) {
        if self.runs() {
            kill_group(self.id.pid);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Kills a process group whose leader is there, so that its number is nobody else's.
fn kill_group(leader: u32) {
    if let Some(group) = i32::try_from(leader).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

/// Kills a stressor that another process started.
pub(crate) fn kill_foreign(id: ProcessId) -> Result<bool, host::ProcessError> {
    let held = id.open()?;
    kill_group(id.pid);
    held.signal(ProcessSignal::KILL)?;
    Ok(held.wait_exit(DYING))
}

type Request = (Command, Sender<io::Result<Child>>);

/// Starts a child from a thread that lives as long as the process: PR_SET_PDEATHSIG fires when the *thread* that
/// started the child ends, and threads of a pool end when they are idle.
fn spawn(command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<Mutex<Option<Sender<Request>>>> = OnceLock::new();
    let mut starter = STARTER.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if starter.is_none() {
        let (send, receive) = mpsc::channel::<Request>();
        thread::Builder::new().name("murphy-starter".into()).stack_size(256 * 1024).spawn(move || {
            for (mut command, reply) in receive {
                let _ = reply.send(command.spawn());
            }
        })?;
        *starter = Some(send);
    }
    let gone = || io::Error::other("the thread that starts children has ended");
    let (reply, answer) = mpsc::channel();
    starter.as_ref().ok_or_else(gone)?.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}
