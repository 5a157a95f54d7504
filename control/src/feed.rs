//! Events kept for those who come later, and handed on as they happen.
//!
//! Measurements (samples, evidence) come every second and are kept for minutes; what happened to faults and runs is
//! kept much longer. A reader that is too slow loses the oldest and never holds anyone up.

use futures::stream::{self, BoxStream, StreamExt};
use model::{Event, EventKind};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How many measurements are kept: ten minutes of samples and evidence.
pub const MEASUREMENTS: usize = 1200;

/// How many other events are kept.
pub const HAPPENINGS: usize = 4096;

/// How many events a reader takes at a time.
const BATCH: usize = 128;

/// The events of one agent.
#[derive(Debug, Clone)]
pub struct Feed {
    kept: Arc<Mutex<Kept>>,
    last: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Default)]
struct Kept {
    measurements: VecDeque<Arc<Event>>,
    happenings: VecDeque<Arc<Event>>,
}

impl Default for Feed {
    fn default() -> Feed {
        Feed { kept: Arc::default(), last: Arc::new(watch::Sender::new(0)) }
    }
}

impl Feed {
    /// Keeps an event and hands it on. Numbers must grow.
    pub fn push(&self, event: Event) {
        let seq = event.seq;
        let bulk = matches!(event.kind, EventKind::Samples { .. } | EventKind::Evidence { .. });
        {
            let mut kept = self.lock();
            let (queue, limit) = if bulk {
                (&mut kept.measurements, MEASUREMENTS)
            } else {
                (&mut kept.happenings, HAPPENINGS)
            };
            if queue.len() == limit {
                queue.pop_front();
            }
            queue.push_back(Arc::new(event));
        }
        self.last.send_replace(seq);
    }

    /// The number of the newest event, 0 when there is none.
    pub fn last(&self) -> u64 {
        *self.last.borrow()
    }

    /// How many readers wait for events: nobody watching means nothing needs to tick.
    pub fn readers(&self) -> usize {
        self.last.receiver_count()
    }

    /// Events from number `from` on as far as they are kept, then each as it happens.
    pub fn stream(&self, from: u64) -> BoxStream<'static, Arc<Event>> {
        let state = (self.clone(), self.last.subscribe(), from, VecDeque::new());
        stream::unfold(state, |(feed, mut news, mut next, mut batch)| async move {
            loop {
                if let Some(event) = batch.pop_front() {
                    return Some((event, (feed, news, next, batch)));
                }
                news.borrow_and_update();
                batch = feed.after(next);
                match batch.back() {
                    Some(event) => next = event.seq + 1,
                    // The sender lives in `feed`, which this reader holds: the wait cannot fail, only last.
                    None => news.changed().await.ok()?,
                }
            }
        })
        .boxed()
    }

    /// The first kept events from `next` on, in the order of their numbers.
    fn after(&self, next: u64) -> VecDeque<Arc<Event>> {
        let kept = self.lock();
        let tail = |queue: &VecDeque<Arc<Event>>| {
            let start = queue.partition_point(|e| e.seq < next);
            queue.range(start..).take(BATCH).cloned().collect::<Vec<_>>()
        };
        let mut all = tail(&kept.measurements);
        all.extend(tail(&kept.happenings));
        all.sort_by_key(|e| e.seq);
        all.truncate(BATCH);
        all.into()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::event::Level;
    use std::collections::BTreeMap;

    fn note(seq: u64) -> Event {
        let kind = EventKind::Note { level: Level::Info, text: format!("n{seq}") };
        Event { seq, at_ms: 0, mono_ms: 0.0, kind }
    }

    fn samples(seq: u64) -> Event {
        Event { seq, at_ms: 0, mono_ms: 0.0, kind: EventKind::Samples { targets: BTreeMap::new() } }
    }

    #[tokio::test]
    async fn history_comes_first_and_in_order_then_what_happens() {
        let feed = Feed::default();
        (1..=400).for_each(|n| feed.push(if n % 2 == 0 { note(n) } else { samples(n) }));
        let mut stream = feed.stream(5);
        for want in 5..=400 {
            assert_eq!(stream.next().await.unwrap().seq, want);
        }
        feed.push(note(401));
        assert_eq!(stream.next().await.unwrap().seq, 401);
        assert_eq!(feed.readers(), 1);
        drop(stream);
        assert_eq!((feed.readers(), feed.last()), (0, 401));
    }

    #[tokio::test]
    async fn measurements_do_not_push_out_what_happened() {
        let feed = Feed::default();
        feed.push(note(1));
        (2..=5000).for_each(|n| feed.push(samples(n)));
        let seen: Vec<u64> = feed.stream(0).take(MEASUREMENTS + 1).map(|e| e.seq).collect().await;
        assert_eq!(seen[0], 1);
        assert_eq!(seen[1], 5001 - MEASUREMENTS as u64);
        assert_eq!(*seen.last().unwrap(), 5000);
    }
}
