//! The one owner of everything that is late or hangs: a heap of waiting operations with their replies, and the thread
//! that lets them go on. No thread that serves the kernel ever waits for a fault.

use crate::inode::lock;
use crate::pool::{Job, Pool};
use crate::rule::Rule;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Why an operation waits: each fault with its delay, or none for as long as the fault is on.
pub(crate) type Holds = Vec<(Arc<Rule>, Option<Duration>)>;

/// A day stands for ever: whoever hangs is released long before.
const EVER: Duration = Duration::from_secs(86_400);

/// What waits; cheap to clone.
#[derive(Clone)]
pub(crate) struct Timers(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    pool: Pool,
}

#[derive(Default)]
struct Waiting {
    by_time: BTreeMap<(Instant, u64), Parked>,
    next: u64,
    closed: bool,
}

struct Parked {
    since: Instant,
    holds: Holds,
    go_on: Job,
}

impl Timers {
    /// Starts the thread.
    pub(crate) fn start(pool: Pool) -> io::Result<Timers> {
        let shared = Arc::new(Shared { waiting: Mutex::default(), changed: Condvar::new(), pool });
        let mine = shared.clone();
        std::thread::Builder::new().name("murphy-fs-time".into()).spawn(move || mine.run())?;
        Ok(Timers(shared))
    }

    /// Keeps an operation until every one of its holds is over.
    pub(crate) fn park(&self, since: Instant, holds: Holds, go_on: Job) {
        let mut waiting = lock(&self.0.waiting);
        // Whoever ended a fault has released what waited; what comes in that instant is not to wait for nobody.
        let holds: Holds = holds.into_iter().filter(|(rule, _)| !rule.is_off()).collect();
        if waiting.closed || holds.is_empty() {
            drop(waiting);
            self.0.pool.run(go_on);
            return;
        }
        waiting.insert(Parked { since, holds, go_on });
        drop(waiting);
        self.0.changed.notify_one();
    }

    /// Ends what a fault holds; what other faults hold, too, goes on waiting for them. Never waits itself.
    pub(crate) fn release(&self, rule: &Rule) {
        let mut waiting = lock(&self.0.waiting);
        let held: Vec<_> = waiting
            .by_time
            .iter()
            .filter(|(_, parked)| parked.holds.iter().any(|(r, _)| r.id == rule.id))
            .map(|(key, _)| *key)
            .collect();
        for key in held {
            if let Some(mut parked) = waiting.by_time.remove(&key) {
                parked.holds.retain(|(r, _)| r.id != rule.id);
                waiting.insert(parked);
            }
        }
        drop(waiting);
        self.0.changed.notify_one();
    }

    /// Lets everything go on at once, now and from now on, and ends the thread.
    pub(crate) fn close(&self) {
        let mut waiting = lock(&self.0.waiting);
        waiting.closed = true;
        drop(waiting);
        self.0.changed.notify_one();
    }

    /// How many operations wait.
    pub(crate) fn len(&self) -> usize {
        lock(&self.0.waiting).by_time.len()
    }
}

impl Waiting {
    fn insert(&mut self, parked: Parked) {
        let wait: Duration = parked.holds.iter().map(|(_, delay)| delay.unwrap_or(EVER)).sum();
        let due = parked.since.checked_add(wait).unwrap_or(parked.since + EVER);
        self.next += 1;
        self.by_time.insert((due, self.next), parked);
    }
}

impl Shared {
    fn run(&self) {
        // The kernel may be late by 50 µs to wake several at once; delays are to be as long as they were asked for.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        let mut waiting = lock(&self.waiting);
        loop {
            let now = Instant::now();
            while let Some(entry) = waiting.by_time.first_entry() {
                if !waiting_is_over(entry.key().0, now) && !waiting.closed {
                    break;
                }
                if let Some((_, parked)) = waiting.by_time.pop_first() {
                    self.pool.run(parked.go_on);
                }
            }
            if waiting.closed {
                return;
            }
            let next =
                waiting.by_time.first_key_value().map(|((due, _), _)| due.saturating_duration_since(now));
            waiting = match next {
                Some(wait) => match self.changed.wait_timeout(waiting, wait) {
                    Ok((back, _)) => back,
                    Err(e) => e.into_inner().0,
                },
                None => self.changed.wait(waiting).unwrap_or_else(std::sync::PoisonError::into_inner),
            };
        }
    }
}

fn waiting_is_over(due: Instant, now: Instant) -> bool {
    due <= now
}
