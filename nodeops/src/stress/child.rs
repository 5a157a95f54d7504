//! What runs in the child.

use super::cpu::Burner;
use super::holder::Holder;
use super::{Job, Setup, Word, io::Mover, memory::Hoard};
use crate::exhaust::{Descriptors, Filler, Harbour, Nursery, Seeds};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self as stdio, BufRead, Write};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often numbers are told.
const TELL: Duration = Duration::from_millis(250);
/// How long the first taking may keep the answer waiting; what is left then goes on behind it.
const AT_ONCE: Duration = Duration::from_secs(8);

/// The child. `args` are the arguments after [`super::VERB`]: `--parent PID`. Returns when standard input ends.
pub fn child_main(args: &[String]) -> ExitCode {
    let parent = args.iter().position(|a| a == "--parent").and_then(|i| args.get(i + 1)?.parse::<i32>().ok());
    let _ = rustix::thread::set_name(c"murphy-stress");
    // The kernel kills us when the thread that started us ends. If the parent ended before this call, we have been
    // handed to someone else already, and nobody will.
    let bound = set_parent_process_death_signal(Some(Signal::KILL)).is_ok();
    let by_parent = getppid().map(|p| p.as_raw_nonzero().get()) == parent;
    if !bound || !by_parent {
        return ExitCode::FAILURE;
    }
    // The first to go when memory is short. Raising is always allowed.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    if !say("ready") {
        return ExitCode::FAILURE;
    }
    let mut worker = Worker::default();
    for line in stdio::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let done = match serde_json::from_str::<Word>(&line) {
            Ok(Word::Setup(setup)) => enter(&setup),
            Ok(Word::Job(job)) => worker.set(job),
            Err(e) => Err(format!("{line:?} does not read: {e}")),
        };
        let said = match done {
            Ok(()) => say("ok"),
            Err(why) => say(&format!("error {}", why.replace('\n', " "))),
        };
        if !said {
            break;
        }
        if let Some(exec) = worker.become_next.take() {
            // Standard input is the gate that ends us with our parent; what we become does not read it.
            use std::os::unix::process::CommandExt;
            let failed = std::process::Command::new(&exec.program)
                .args(&exec.args)
                .stdin(std::process::Stdio::null())
                .stdout(std::process::Stdio::null())
                .current_dir(std::env::temp_dir())
                .exec();
            eprintln!("{}: {failed}", exec.program.display());
            return ExitCode::from(127);
        }
    }
    ExitCode::SUCCESS
}

/// One whole line, in one write: several threads may speak.
fn say(text: &str) -> bool {
    let mut out = stdio::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).is_ok()
}

fn enter(setup: &Setup) -> Result<(), String> {
    if let Some(path) = &setup.netns {
        let file = fs::File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
        nix::sched::setns(&file, nix::sched::CloneFlags::CLONE_NEWNET).map_err(|e| {
            format!("entering the network namespace {} failed: {e}; this needs CAP_SYS_ADMIN", path.display())
        })?;
    }
    if let Some(id) = setup.until {
        let held = id.open().map_err(|e| format!("the container's first process: {e}"))?;
        let wait = move || {
            while !held.wait_exit(Duration::from_secs(3600)) {}
            // At once: the group that we are in is to be removed now.
            std::process::exit(0);
        };
        thread::Builder::new()
            .name("murphy-until".into())
            .stack_size(64 * 1024)
            .spawn(wait)
            .map_err(|e| format!("a thread could not be started: {e}"))?;
    }
    Ok(())
}

#[derive(Default)]
struct Worker {
    burner: Option<Burner>,
    mover: Option<Arc<Mover>>,
    held: Option<Arc<Held>>,
    become_next: Option<super::Exec>,
}

/// A holder with when it was told, and who wakes whom up.
struct Held {
    inner: Mutex<(Box<dyn Holder>, Instant)>,
    woken: Condvar,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, (Box<dyn Holder>, Instant)> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    fn set(&mut self, job: Job) -> Result<(), String> {
        match job {
            Job::Cpu(load) => self.burner.get_or_insert_default().set(load),
            Job::Exec(exec) => {
                self.become_next = Some(exec);
                Ok(())
            }
            Job::Io(job) => match &self.mover {
                Some(mover) => mover.set(job),
                None => {
                    let mover = Arc::new(Mover::start(job)?);
                    self.mover = Some(mover.clone());
                    background("murphy-tell", move || {
                        loop {
                            thread::sleep(TELL);
                            tell(&mover.measured());
                        }
                    })
                }
            },
            job => match &self.held {
                Some(held) => {
                    let mut inner = held.lock();
                    inner.0.set(job)?;
                    inner.1 = Instant::now();
                    settle(&mut inner);
                    held.woken.notify_all();
                    Ok(())
                }
                None => {
                    let inner = Mutex::new((holder(job)?, Instant::now()));
                    let held = Arc::new(Held { inner, woken: Condvar::new() });
                    self.held = Some(held.clone());
                    // Started before anything is taken: that may leave no room for another thread.
                    let mut inner = held.lock();
                    let own = held.clone();
                    background("murphy-hold", move || hold(&own))?;
                    settle(&mut inner);
                    tell(&inner.0.measured());
                    Ok(())
                }
            },
        }
    }
}

fn holder(job: Job) -> Result<Box<dyn Holder>, String> {
    Ok(match job {
        Job::Memory(job) => Box::new(Hoard::new(job)),
        Job::Disk(job) => Box::new(Filler::new(job)?),
        Job::Inodes(job) => Box::new(Seeds::new(Job::Inodes(job))?),
        Job::Files(job) => Box::new(Descriptors::new(Job::Files(job))?),
        Job::Tasks(job) => Box::new(Nursery::new(Job::Tasks(job))?),
        Job::Ports(job) => Box::new(Harbour::new(&Job::Ports(job))?),
        Job::Cpu(_) | Job::Io(_) | Job::Exec(_) => return Err("nothing that is held".into()),
    })
}

/// Takes what can be taken at once, so that the fault is there when its arming is answered.
fn settle((holder, since): &mut (Box<dyn Holder>, Instant)) {
    let until = Instant::now() + AT_ONCE;
    while Instant::now() < until {
        if holder.step(since.elapsed()) > Duration::ZERO {
            return;
        }
    }
}

/// Goes on taking and giving back, and tells of it.
fn hold(held: &Held) {
    let mut told = Instant::now();
    loop {
        let mut inner = held.lock();
        let elapsed = inner.1.elapsed();
        let pause = inner.0.step(elapsed);
        if told.elapsed() >= TELL {
            tell(&inner.0.measured());
            told = Instant::now();
        }
        if pause > Duration::ZERO {
            drop(held.woken.wait_timeout(inner, pause.min(TELL)));
        } else {
            // Whoever brings another job gets a turn.
            drop(inner);
            thread::sleep(Duration::from_micros(500));
        }
    }
}

fn tell(numbers: &BTreeMap<String, f64>) {
    if let Ok(text) = serde_json::to_string(numbers)
        && !say(&format!("status {text}"))
    {
        // Nobody listens any more.
        std::process::exit(0);
    }
}

fn background(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), String> {
    thread::Builder::new()
        .name(name.into())
        .stack_size(256 * 1024)
        .spawn(work)
        .map(drop)
        .map_err(|e| format!("a thread could not be started: {e}"))
}
