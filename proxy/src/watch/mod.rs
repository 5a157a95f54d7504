//! Watching requests: which are under way, which were the last, who asks most; and holding them by hand.
//!
//! Nothing of it costs anything while nobody looks: a look keeps it awake for [`AWAKE`], and then it forgets.
//!
//! ```text
//! mod    one target's watch, as the exchange tells it of requests
//! entry  one request, as it is told of, and as it is shown
//! holds  which requests are held by hand, until when
//! top    the most frequent clients and routes, in bounded memory
//! ```

mod entry;
mod holds;
mod top;

pub use holds::{Hold, NoSuchHold};

use crate::conn::Conn;
use crate::http::hit::Hit;
use crate::http::message::{RequestHead, ResponseHead};
use crate::http::seams::{Gate, Record};
use crate::timers::Timers;
use entry::Entry;
use holds::Holds;
use model::{Matcher, RequestView, Talker, TargetRef};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use top::Top;

/// How long a look keeps the watch awake.
const AWAKE: Duration = Duration::from_secs(30);
/// How many requests that are over are kept.
const KEPT: usize = 1000;
/// How many under way are told apart; more are not shown.
const UNDER_WAY: usize = 10_000;

/// What is asked for in [`Watch::top`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopBy {
    /// Addresses of clients.
    Client,
    /// Methods and paths.
    Route,
}

/// The watch over one target's requests.
pub(crate) struct Watch {
    target: TargetRef,
    made: Instant,
    /// Milliseconds after `made` until when somebody looks; zero when nobody does.
    awake: AtomicU64,
    timers: Timers,
    holds: Holds,
    seen: Mutex<Seen>,
}

struct Seen {
    under_way: BTreeMap<u64, Entry>,
    over: VecDeque<Entry>,
    clients: Top,
    routes: Top,
}

impl Watch {
    /// Nobody looks yet.
    pub(crate) fn new(target: TargetRef, timers: Timers) -> Watch {
        let made = Instant::now();
        let seen = Seen {
            under_way: BTreeMap::new(),
            over: VecDeque::new(),
            clients: Top::new(made),
            routes: Top::new(made),
        };
        Watch {
            target,
            made,
            awake: AtomicU64::new(0),
            timers,
            holds: Holds::default(),
            seen: Mutex::new(seen),
        }
    }

    /// Whether requests must be told of.
    pub(crate) fn is_awake(&self, now: Instant) -> bool {
        let until = self.awake.load(Relaxed);
        until != 0 && (self.since_made(now) < until || self.holds.are_on(now))
    }

    /// The requests under way and the last ones that are over, oldest first.
    pub(crate) fn requests(&self) -> Vec<RequestView> {
        let now = self.look();
        let seen = self.lock();
        let mut all: Vec<_> =
            seen.over.iter().chain(seen.under_way.values()).map(|e| e.view(&self.target, now)).collect();
        all.sort_by_key(|view| view.id);
        all
    }

    /// The most frequent clients or routes since somebody looks, of the last 20 s at most.
    pub(crate) fn top(&self, by: TopBy, most: usize) -> Vec<Talker> {
        let now = self.look();
        let mut seen = self.lock();
        match by {
            TopBy::Client => seen.clients.list(most, now),
            TopBy::Route => seen.routes.list(most, now),
        }
    }

    /// Holds requests that match from now on, until the lease is over.
    pub(crate) fn hold(&self, when: Option<Matcher>, lease: Duration) -> Hold {
        let now = self.look();
        self.holds.add(when, now.checked_add(lease).unwrap_or(now))
    }

    /// Holds no more; what that held goes on. False when there is no such hold.
    pub(crate) fn end_hold(&self, id: u64) -> bool {
        self.holds.end(id)
    }

    /// Lets one request go on that is held. False when it is not held.
    pub(crate) fn release(&self, request: u64) -> bool {
        self.holds.release(request)
    }

    /// Holds no more, and lets everything go on that is held.
    pub(crate) fn release_all(&self) {
        self.holds.end_all();
    }

    /// What is held by which matchers, until when.
    pub(crate) fn holds(&self) -> Vec<Hold> {
        self.holds.list(Instant::now())
    }

    fn look(&self) -> Instant {
        let now = Instant::now();
        if !self.is_awake(now) {
            // What was seen when somebody looked last is old.
            let mut seen = self.lock();
            seen.under_way.clear();
            seen.over.clear();
            (seen.clients, seen.routes) = (Top::new(now), Top::new(now));
        }
        let until = self.since_made(now) + AWAKE.as_millis() as u64;
        self.awake.fetch_max(until.max(1), Relaxed);
        now
    }

    fn since_made(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.made).as_millis() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the exchange tells.
impl Watch {
    /// A request's head was read. What is given back is waited for before anything else is done with it.
    pub(crate) fn begun(&self, id: u64, conn: &Conn, head: &RequestHead, at: Instant) -> Option<Gate> {
        let gate = self.holds.gate(id, conn, head, at, &self.timers);
        let mut seen = self.lock();
        if seen.under_way.len() < UNDER_WAY {
            let mut entry = Entry::new(id, conn, head, at);
            entry.held = gate.is_some();
            seen.under_way.insert(id, entry);
        }
        gate
    }

    /// It was held and goes on; whether it was released or its lease is over makes no difference.
    pub(crate) fn released(&self, id: u64, waited: Duration) {
        if let Some(entry) = self.lock().under_way.get_mut(&id) {
            entry.held = false;
            entry.by_hand = waited;
        }
    }

    /// The faults that it matches are known.
    pub(crate) fn looked_at(&self, id: u64, hits: &[Arc<Hit>]) {
        if let Some(entry) = self.lock().under_way.get_mut(&id) {
            entry.hits = hits.to_vec();
        }
    }

    /// Its response's head is known, after what faults made of it.
    pub(crate) fn answered(&self, id: u64, head: &ResponseHead, _at: Instant) {
        if let Some(entry) = self.lock().under_way.get_mut(&id) {
            entry.answered(head);
        }
    }

    /// It is over.
    pub(crate) fn ended(&self, id: u64, record: &Record<'_>) {
        let now = record.ended;
        let mut seen = self.lock();
        let Some(mut entry) = seen.under_way.remove(&id) else { return };
        entry.end(record);
        if let Some(client) = &entry.client {
            seen.clients.count(&client.to_string(), entry.failed(), record.bytes[1], now);
        }
        let route = top::route(&entry.method, &entry.path);
        seen.routes.count(&route, entry.failed(), record.bytes[1], now);
        if seen.over.len() >= KEPT {
            seen.over.pop_front();
        }
        seen.over.push_back(entry);
    }
}
