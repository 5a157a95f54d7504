//! Faults on packets in user space, where the kernel has no netem or cannot do what is asked.
//!
//! ```text
//! egress    nf_tables leads what leaves into a TAP device; we hold it, and send it on through a packet socket
//! ingress   (and lo) nf_tables queues what comes in (NFQUEUE); the kernel holds it, and we say when it goes on
//! wire      what both have in common: a thread that decides (course), holds (held) and lets go in time
//! ```
//!
//! Never NFQUEUE for what leaves: TCP counts what is queued below it and stops at 128 KiB, however fast the link is.
//! All of it ends with this process: the table, the device, the queue.

mod course;
mod egress;
mod held;
mod ingress;
mod wire;

pub(crate) use course::{Stage, Tally};
pub(crate) use egress::Egress;
pub(crate) use ingress::Ingress;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

fn named(what: &str, needs: &str, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{what} failed: {e}; it needs {needs}"))
}

/// What the thread of a wire is told.
#[derive(Debug)]
struct Told {
    stages: Mutex<Arc<Vec<Arc<Stage>>>>,
    /// Counts changes of the stages, so that the thread need not take the lock for each packet.
    version: AtomicU64,
    /// Faults that are gone, by the bits of their slots: what they hold is let go.
    release: AtomicU64,
    stop: AtomicBool,
    wake: OwnedFd,
}

impl Told {
    fn new() -> io::Result<Arc<Told>> {
        Ok(Arc::new(Told {
            stages: Mutex::default(),
            version: AtomicU64::new(0),
            release: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        }))
    }

    fn stages(&self) -> Arc<Vec<Arc<Stage>>> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, stages: Vec<Arc<Stage>>, gone: u64) {
        *self.stages.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(stages);
        self.release.fetch_or(gone, Ordering::AcqRel);
        self.version.fetch_add(1, Ordering::AcqRel);
        self.ring();
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.ring();
    }

    fn ring(&self) {
        // A full counter rings as well.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

/// The clock of a wire: nanoseconds since it was made.
#[derive(Debug, Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The same moment for others. Computed: to ask for the time is a system call on some machines.
    fn moment(self, now: u64) -> Instant {
        self.0 + Duration::from_nanos(now)
    }
}

/// How early something may be done: less than what a system call takes.
const EARLY: u64 = 2_000;

/// A wait that is longer lets the processor sleep deeply, from which it takes a while to wake.
const DEEP: Duration = Duration::from_millis(2);
/// So long before its time a deep sleep ends, for a light one to follow.
const STIR: Duration = Duration::from_micros(300);
/// So long before its time a light sleep ends that followed a deep one: the rest is spent awake.
const AWAKE: Duration = Duration::from_micros(60);

/// Waits until there is something to read, something was told, or it is time. Whether there is something to read. `now` is
/// the time, where that is known.
fn wait(readable: &impl AsFd, told: &Told, until: Option<u64>, now: Option<u64>, clock: Clock) -> bool {
    let Some(at) = until else { return sleep(readable, told, None).unwrap_or(false) };
    let left = |now: u64| Duration::from_nanos(at.saturating_sub(now));
    let first = left(now.unwrap_or_else(|| clock.now()));
    if first <= DEEP {
        return sleep(readable, told, Some(first)).unwrap_or(false);
    }
    if let Some(data) = sleep(readable, told, Some(first - STIR)) {
        return data;
    }
    if let Some(data) = sleep(readable, told, Some(left(clock.now()).saturating_sub(AWAKE))) {
        return data;
    }
    while left(clock.now()) > Duration::from_nanos(EARLY) {
        std::hint::spin_loop();
    }
    false
}

/// Sleeps for so long at most; none when nothing came meanwhile, else whether there is something to read.
fn sleep(readable: &impl AsFd, told: &Told, span: Option<Duration>) -> Option<bool> {
    let timeout = span
        .map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) as _ });
    let mut fds = [PollFd::new(readable, PollFlags::IN), PollFd::new(&told.wake, PollFlags::IN)];
    // An interruption is a moment in which nothing was to be read.
    let _ = poll(&mut fds, timeout.as_ref());
    let (data, rung) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
    if rung {
        let mut count = [0; 8];
        let _ = rustix::io::read(&told.wake, &mut count);
    }
    (data || rung).then_some(data)
}

/// Makes this thread wake when it is told to, not up to 50 µs later, and before others if that is allowed.
fn be_punctual() {
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), -15);
}
