//! The stream of events: one writer's order, any number of readers, none of whom can hold it up.
//!
//! What happened is kept for a while so that a console that comes late can draw the minutes before. A reader that is
//! too slow finds a gap, and is told how large it is.

use model::{Event, EventKind};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{Notify, watch};

/// How long measurements are kept, in milliseconds.
const TICKS_MS: f64 = 10.0 * 60e3;
/// How many of all other events are kept.
const OTHERS: usize = 1000;
/// How many a reader takes at a time.
const BATCH: usize = 256;

/// What a subscription yields.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// The next event.
    Event(Arc<Event>),
    /// So many events are no longer kept; what follows comes after them.
    Lost(u64),
}

/// The stream. One for each agent.
#[derive(Debug)]
pub struct Events {
    ring: Mutex<Ring>,
    latest: watch::Sender<u64>,
    began: Instant,
    wanted: AtomicUsize,
    /// Told when the first begins to listen.
    pub(crate) wake: Notify,
}

#[derive(Debug, Default)]
struct Ring {
    last: u64,
    ticks: VecDeque<Arc<Event>>,
    others: VecDeque<Arc<Event>>,
}

impl Events {
    pub(crate) fn new() -> Arc<Events> {
        Arc::new(Events {
            ring: Mutex::default(),
            latest: watch::Sender::new(0),
            began: Instant::now(),
            wanted: AtomicUsize::new(0),
            wake: Notify::new(),
        })
    }

    /// Adds an event; it gets the next number and the present time.
    pub fn emit(&self, kind: EventKind) -> Arc<Event> {
        let event = {
            let mut ring = self.lock();
            ring.last += 1;
            let mono_ms = self.mono_ms();
            let event = Arc::new(Event { seq: ring.last, at_ms: host::clock::wall_ms(), mono_ms, kind });
            if matches!(event.kind, EventKind::Samples { .. } | EventKind::Evidence { .. }) {
                ring.ticks.push_back(event.clone());
                while ring.ticks.front().is_some_and(|e| e.mono_ms < mono_ms - TICKS_MS) {
                    ring.ticks.pop_front();
                }
            } else {
                ring.others.push_back(event.clone());
                if ring.others.len() > OTHERS {
                    ring.others.pop_front();
                }
            }
            event
        };
        // Two writers may get here in either order; the number only ever goes up.
        self.latest.send_if_modified(|seq| {
            let newer = event.seq > *seq;
            *seq = event.seq.max(*seq);
            newer
        });
        event
    }

    /// The number of the latest event; 0 before the first.
    pub fn latest(&self) -> u64 {
        self.lock().last
    }

    /// Milliseconds since the agent began, by its monotonic clock.
    pub fn mono_ms(&self) -> f64 {
        self.began.elapsed().as_secs_f64() * 1e3
    }

    /// Listens from that number on, including what is still kept of it; without one, only to what comes.
    pub fn subscribe(self: &Arc<Events>, from: Option<u64>) -> Subscription {
        let next = from.map_or_else(|| self.latest() + 1, |seq| seq.max(1));
        Subscription {
            latest: self.latest.subscribe(),
            next,
            ready: VecDeque::new(),
            _wanted: Wanted::new(self.clone()),
            events: self.clone(),
        }
    }

    /// Whether anyone wants measurements.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst) > 0
    }

    fn collect(&self, next: u64) -> Vec<Arc<Event>> {
        let ring = self.lock();
        let from = |list: &VecDeque<Arc<Event>>| list.partition_point(|e| e.seq < next);
        let mut ticks = ring.ticks.range(from(&ring.ticks)..).peekable();
        let mut others = ring.others.range(from(&ring.others)..).peekable();
        let mut out = Vec::new();
        while out.len() < BATCH {
            let tick_first = match (ticks.peek(), others.peek()) {
                (Some(t), Some(o)) => t.seq < o.seq,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => break,
            };
            out.extend(if tick_first { ticks.next() } else { others.next() }.cloned());
        }
        out
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        // A ring is whole after every statement under the lock.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While it lives, measurements are wanted.
#[derive(Debug)]
pub(crate) struct Wanted(Arc<Events>);

impl Wanted {
    pub(crate) fn new(events: Arc<Events>) -> Wanted {
        events.wanted.fetch_add(1, Ordering::SeqCst);
        events.wake.notify_one();
        Wanted(events)
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.wanted.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One reader of the stream. While any lives, the agent measures once a second.
#[derive(Debug)]
pub struct Subscription {
    events: Arc<Events>,
    latest: watch::Receiver<u64>,
    next: u64,
    ready: VecDeque<Item>,
    _wanted: Wanted,
}

impl Subscription {
    /// The next event, when there is one. Safe to drop and call again.
    pub async fn next(&mut self) -> Item {
        loop {
            if let Some(item) = self.try_next() {
                return item;
            }
            // The sender lives in `events`, which we hold: it cannot be gone.
            let _ = self.latest.changed().await;
        }
    }

    /// The next event if it has happened already.
    pub fn try_next(&mut self) -> Option<Item> {
        if self.ready.is_empty() {
            // Marked as seen before looking, so that what comes meanwhile wakes us again.
            self.latest.mark_unchanged();
            let batch = self.events.collect(self.next);
            if let Some(last) = batch.last().map(|e| e.seq) {
                let mut at = self.next;
                for event in batch {
                    if event.seq > at {
                        self.ready.push_back(Item::Lost(event.seq - at));
                    }
                    at = event.seq + 1;
                    self.ready.push_back(Item::Event(event));
                }
                self.next = last + 1;
            }
        }
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::event::Level;
    use std::time::Duration;

    fn note(n: usize) -> EventKind {
        EventKind::Note { level: Level::Info, text: n.to_string() }
    }

    fn samples() -> EventKind {
        EventKind::Samples { targets: Default::default() }
    }

    fn drain(sub: &mut Subscription) -> (Vec<u64>, u64) {
        let (mut seqs, mut lost) = (Vec::new(), 0);
        while let Some(item) = sub.try_next() {
            match item {
                Item::Event(e) => seqs.push(e.seq),
                Item::Lost(n) => lost += n,
            }
        }
        (seqs, lost)
    }

    #[test]
    fn in_order_from_any_number() {
        let events = Events::new();
        for n in 0..10 {
            events.emit(if n % 3 == 0 { samples() } else { note(n) });
        }
        assert_eq!(drain(&mut events.subscribe(Some(4))), ((4..=10).collect(), 0));
        let mut fresh = events.subscribe(None);
        assert_eq!(fresh.try_next(), None);
        events.emit(note(10));
        assert_eq!(drain(&mut fresh), (vec![11], 0));
    }

    #[test]
    fn the_slow_are_told_what_they_lost() {
        let events = Events::new();
        let mut slow = events.subscribe(None);
        let most = OTHERS + 500;
        for n in 0..most {
            events.emit(note(n));
        }
        events.emit(samples());
        let (seqs, lost) = drain(&mut slow);
        assert_eq!(lost, 500);
        assert_eq!(seqs, (501..=most as u64 + 1).collect::<Vec<_>>());
        assert!(events.is_wanted());
        drop(slow);
        assert!(!events.is_wanted());
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken() {
        let events = Events::new();
        let mut sub = events.subscribe(None);
        let writer = events.clone();
        let task = tokio::spawn(async move {
            for n in 0..1000 {
                writer.emit(note(n));
                if n % 10 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        });
        for seq in 1..=1000 {
            let item = tokio::time::timeout(Duration::from_secs(30), sub.next()).await.unwrap();
            assert!(matches!(item, Item::Event(e) if e.seq == seq));
        }
        task.await.unwrap();
    }
}
