//! The parent's hold on one stressor.

use super::{Load, VERB};
use host::ProcessId;
use host::process::ProcessSignal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a child may take for an answer; it has nothing to do but to give it, on a machine that may be very busy.
const ANSWER: Duration = Duration::from_secs(10);

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

/// A child that burns, or is about to. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Stressor {
    id: ProcessId,
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    began: Option<Instant>,
    ended: bool,
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
        let recent = (now, Duration::ZERO, 0.0);
        let mut started =
            Stressor { id, child, input, output, began: None, ended: false, last: Duration::ZERO, recent };
        let word = started.answer()?;
        if word != "ready" {
            return Err(io::Error::other(format!("the child said {word:?} instead of ready")));
        }
        Ok(started)
    }

    pub(crate) fn id(&self) -> ProcessId {
        self.id
    }

    /// Burns as told from now on. Blocks until the child has acknowledged.
    pub(crate) fn set(&mut self, load: &Load) -> io::Result<()> {
        let line = serde_json::to_string(load)?;
        // Counted from before it is told, so that a share is never reckoned over less time than it took.
        let told = Instant::now();
        writeln!(self.input, "{line}")?;
        self.input.flush()?;
        let word = self.answer()?;
        match word.strip_prefix("error ") {
            Some(why) => Err(io::Error::other(why.to_owned())),
            None => {
                self.began.get_or_insert(told);
                Ok(())
            }
        }
    }

    /// Since when it burns.
    pub(crate) fn began(&self) -> Option<Instant> {
        self.began
    }

    /// Whether it still runs; reaps it when it does not.
    pub(crate) fn runs(&mut self) -> bool {
        if !self.ended && matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
            self.ended = true;
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
        let _ = self.child.kill();
        let gone = self.id.open().map_or(true, |held| held.wait_exit(ANSWER));
        if gone {
            let _ = self.child.wait();
            self.ended = true;
        }
        gone
    }

    fn answer(&mut self) -> io::Result<String> {
        let until = Instant::now() + ANSWER;
        let mut text = Vec::new();
        while !text.ends_with(b"\n") {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the child does not answer"));
            }
            let timeout =
                Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) as _ };
            match poll(&mut [PollFd::new(&self.output, PollFlags::IN)], Some(&timeout)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(e) => return Err(e.into()),
            }
            let mut byte = [0; 1];
            if self.output.read(&mut byte)? == 0 {
                let how = self.child.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
                self.ended = true;
                return Err(io::Error::other(format!("the child ended ({how})")));
            }
            text.extend(byte);
        }
        Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
    }
}

impl Drop for Stressor {
    fn drop(&mut self) {
        if self.runs() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Kills a stressor that another process started.
pub(crate) fn kill_foreign(id: ProcessId) -> Result<bool, host::ProcessError> {
    let held = id.open()?;
    held.signal(ProcessSignal::KILL)?;
    Ok(held.wait_exit(ANSWER))
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
