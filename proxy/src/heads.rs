//! Response heads on their way to a client.

use crate::chain::Dir;
use crate::metrics::{Metrics, Outcome};
use std::collections::VecDeque;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Response heads that were handed to a shaped stream: the client has one when its bytes have left, and only then does
/// its latency count.
#[derive(Default)]
pub(crate) struct Heads {
    shaped_up: AtomicBool,
    shaped_down: AtomicBool,
    up_delay: AtomicU64,
    waiting: AtomicBool,
    list: Mutex<VecDeque<(Outcome, Instant)>>,
}

impl Heads {
    /// Says whether faults act on a direction.
    pub(crate) fn shape(&self, dir: Dir, on: bool) {
        match dir {
            Dir::Up => {
                self.shaped_up.store(on, Relaxed);
                self.up_delay.store(0, Relaxed);
            }
            Dir::Down => self.shaped_down.store(on, Relaxed),
        }
    }

    /// Whether faults act on either direction.
    pub(crate) fn is_shaped(&self) -> bool {
        self.shaped_up.load(Relaxed) || self.shaped_down.load(Relaxed)
    }

    /// Notes how late the bytes were that were just handed up.
    pub(crate) fn note_up_delay(&self, late: Duration) {
        self.up_delay.store(late.as_nanos() as u64, Relaxed);
    }

    /// How late the last bytes from the client were.
    pub(crate) fn up_delay(&self) -> Duration {
        Duration::from_nanos(self.up_delay.load(Relaxed))
    }

    /// A head is handed to the stream now.
    pub(crate) fn hand_over(&self, outcome: Outcome, now: Instant, metrics: &Metrics) {
        if self.shaped_down.load(Relaxed) || self.waiting.load(Relaxed) {
            self.lock().push_back((outcome, now));
            self.waiting.store(true, Release);
        } else {
            metrics.request(&outcome, Some(now));
        }
    }

    /// Whether any are on their way.
    pub(crate) fn are_waiting(&self) -> bool {
        self.waiting.load(Acquire)
    }

    /// Bytes that came to the stream at `arrived` have left it at `now`, so heads handed over before have, too.
    pub(crate) fn left(&self, arrived: Instant, now: Instant, metrics: &Metrics) {
        if !self.are_waiting() {
            return;
        }
        let mut list = self.lock();
        while let Some((mut outcome, handed)) = list.front().copied().filter(|(_, at)| *at <= arrived) {
            list.pop_front();
            outcome.added += now.saturating_duration_since(handed);
            metrics.request(&outcome, Some(now));
        }
        if list.is_empty() {
            self.waiting.store(false, Release);
        }
    }

    /// The connection has ended: heads that never left are answers that nobody got.
    pub(crate) fn lost(&self, metrics: &Metrics) {
        for (mut outcome, _) in self.lock().drain(..) {
            outcome.failed = true;
            metrics.request(&outcome, None);
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Outcome, Instant)>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
