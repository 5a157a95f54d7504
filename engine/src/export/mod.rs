//! What happens, told to others as it happens: spans for a collector of OpenTelemetry.
//!
//! ```text
//! spans  what events and requests come to as spans; pure
//! otlp   how spans are written (OTLP, JSON) and where they are sent
//! ```
//!
//! Nothing of a run or of a fault waits for a collector: what cannot be sent is kept for a while, and counted when it
//! is dropped.

pub mod otlp;
pub mod spans;

use crate::Agent;
use crate::events::Item;
use model::event::Level;
use model::{EventKind, RequestView};
use otlp::{Collector, SendError};
use spans::Spans;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

/// How often spans are sent.
const EVERY: Duration = Duration::from_secs(1);
/// How long the last ones may take.
const LAST: Duration = Duration::from_secs(2);

/// Where the requests through the proxies are seen.
pub type Requests = Arc<dyn Fn() -> Vec<RequestView> + Send + Sync>;

/// Sends spans until it is stopped.
#[derive(Debug)]
pub struct Exporter {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Exporter {
    /// Begins with what happens from now on.
    pub fn start(agent: &Agent, collector: Collector, requests: Requests) -> Exporter {
        let (stop, stopped) = oneshot::channel();
        let mut events = agent.subscribe(None);
        let agent = agent.clone();
        let task = tokio::spawn(async move {
            let mut spans = Spans::new(requests().last().map_or(0, |r| r.id));
            let mut ticks = interval_at(Instant::now() + EVERY, EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut told = false;
            tokio::pin!(stopped);
            loop {
                tokio::select! {
                    _ = &mut stopped => break,
                    item = events.next() => {
                        if let Item::Event(event) = item {
                            spans.event(&event);
                        }
                    }
                    _ = ticks.tick() => {
                        look(&mut spans, &requests());
                        let sent = send(&mut spans, &collector).await;
                        if let (Err(why), false) = (&sent, told) {
                            let text = format!("spans cannot be sent to {}: {why}", collector.url());
                            agent.events().emit(EventKind::Note { level: Level::Warn, text });
                        }
                        told = sent.is_err();
                    }
                }
            }
            while let Some(Item::Event(event)) = events.try_next() {
                spans.event(&event);
            }
            look(&mut spans, &requests());
            spans.end_all(host::clock::wall_ms());
            let _ = timeout(LAST, send(&mut spans, &collector)).await;
        });
        Exporter { stop, task }
    }

    /// Sends what is left, and ends. At most two seconds.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

/// Sends what is over; what a passing failure kept from being sent is kept for the next time.
async fn send(spans: &mut Spans, collector: &Collector) -> Result<(), SendError> {
    loop {
        let some = spans.batch();
        if some.is_empty() {
            return Ok(());
        }
        if let Err(why) = collector.send(&some).await {
            match why.is_passing() {
                true => spans.put_back(some),
                false => spans.drop_all(&some),
            }
            return Err(why);
        }
    }
}

fn look(spans: &mut Spans, requests: &[RequestView]) {
    requests.iter().for_each(|r| spans.request(r));
    spans.looked_at(requests);
}
