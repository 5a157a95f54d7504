//! Requests that are held by hand: those that match wait before the service gets them, until they are released or the
//! lease of what holds them is over.

use crate::conn::Conn;
use crate::http::facts::Asked;
use crate::http::message::RequestHead;
use crate::http::seams::Gate;
use crate::timers::Timers;
use model::Matcher;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What holds requests.
#[derive(Debug, Clone)]
pub struct Hold {
    /// Its number, unique in the agent.
    pub id: u64,
    /// Which requests; all when none.
    pub when: Option<Matcher>,
    /// How much is left of its lease.
    pub left: Duration,
    /// How many requests it holds.
    pub requests: usize,
}

/// There is no hold of that number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no hold has the number {0}")]
pub struct NoSuchHold(pub u64);

/// The numbers of holds, the same for all targets.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// All holds of a target.
#[derive(Default)]
pub(super) struct Holds {
    any: AtomicBool,
    list: Mutex<Vec<One>>,
}

struct One {
    id: u64,
    when: Option<Matcher>,
    until: Instant,
    /// Dropped with the hold, which lets everything go on.
    held: BTreeMap<u64, watch::Sender<bool>>,
}

impl Holds {
    /// Whether requests may be held now.
    pub(super) fn are_on(&self, now: Instant) -> bool {
        self.any.load(Relaxed) && self.lock().iter().any(|one| one.until > now)
    }

    pub(super) fn add(&self, when: Option<Matcher>, until: Instant) -> Hold {
        let now = Instant::now();
        let one = One { id: NUMBERS.fetch_add(1, Relaxed), when, until, held: BTreeMap::new() };
        let hold = one.shown(now);
        let mut list = self.lock();
        list.retain(|one| one.until > now);
        list.push(one);
        self.any.store(true, Relaxed);
        hold
    }

    pub(super) fn end(&self, id: u64) -> bool {
        let mut list = self.lock();
        let before = list.len();
        list.retain(|one| one.id != id);
        self.any.store(!list.is_empty(), Relaxed);
        before != list.len()
    }

    pub(super) fn end_all(&self) {
        self.lock().clear();
        self.any.store(false, Relaxed);
    }

    pub(super) fn release(&self, request: u64) -> bool {
        self.lock().iter_mut().any(|one| one.held.remove(&request).is_some())
    }

    pub(super) fn list(&self, now: Instant) -> Vec<Hold> {
        self.lock().iter().filter(|one| one.until > now).map(|one| one.shown(now)).collect()
    }

    /// What a request has to wait for, if it is held.
    pub(super) fn gate(
        &self,
        id: u64,
        conn: &Conn,
        head: &RequestHead,
        now: Instant,
        timers: &Timers,
    ) -> Option<Gate> {
        if !self.any.load(Relaxed) {
            return None;
        }
        let asked = Asked { conn, request: head, response: None };
        let mut list = self.lock();
        let one = list
            .iter_mut()
            .find(|one| one.until > now && one.when.as_ref().is_none_or(|when| when.matches(&asked)))?;
        let (sender, mut receiver) = watch::channel(false);
        one.held.insert(id, sender);
        let (timers, until) = (timers.clone(), one.until);
        Some(Box::pin(async move {
            tokio::select! {
                // Nothing is ever sent: the sender's end is the word.
                _ = receiver.changed() => {}
                () = timers.sleep_until(until) => {}
            }
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<One>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl One {
    fn shown(&self, now: Instant) -> Hold {
        Hold {
            id: self.id,
            when: self.when.clone(),
            left: self.until.saturating_duration_since(now),
            requests: self.held.values().filter(|sender| !sender.is_closed()).count(),
        }
    }
}
