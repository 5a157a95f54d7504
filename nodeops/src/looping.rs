//! Something that is done again and again while a fault is on: `kill_loop`.

use crate::shared::lock;
use inject::{BoxFuture, InjectError, Order, Plan, Recovered, UndoRecord};
use model::{Evidence, Fault};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// The shortest time between two rounds: whoever looks for all processes each time must not become the load.
const SHORTEST: Duration = Duration::from_millis(100);

/// What came of one round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Round {
    /// How many were hit.
    pub hit: u64,
    /// How many could not be.
    pub failed: u64,
}

impl Round {
    /// Counts one.
    pub(crate) fn count(&mut self, hit: bool) {
        if hit { self.hit += 1 } else { self.failed += 1 }
    }
}

/// The loops of one injector, by fault.
#[derive(Debug, Default)]
pub(crate) struct Loops(Mutex<BTreeMap<String, Loop>>);

#[derive(Debug)]
struct Loop {
    shared: Arc<Shared>,
    /// None once it was stopped.
    task: Option<JoinHandle<()>>,
}

impl Drop for Loop {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

#[derive(Debug)]
struct Shared {
    fault: Mutex<Fault>,
    changed: Notify,
    seen: Mutex<Seen>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    rounds: u64,
    empty: u64,
    all: Round,
}

/// The plan of a loop: one act, which ends with the agent.
pub(crate) fn plan(injector: &str, order: &Order, found: &str) -> Plan {
    let inject = &order.fault.inject;
    let every = inject.span("every").unwrap_or_default();
    let signal = inject.text("signal").unwrap_or("SIGKILL");
    let shown = model::units::Span(every);
    Plan {
        order: order.clone(),
        acts: vec![UndoRecord {
            injector: injector.to_owned(),
            act: format!("send {signal} every {shown} to {}, now {found}", order.target.reference()),
            undo: "stop sending; what was killed stays so".into(),
            data: json!({"loop": order.id}),
            ends_with_agent: true,
        }],
        warnings: if every < SHORTEST {
            vec![format!("a round every {shown} is too often: it is one every 100ms")]
        } else {
            vec![]
        },
    }
}

/// The fault whose loop a record is about.
pub(crate) fn of(act: &UndoRecord) -> Option<String> {
    act.data.get("loop")?.as_str().map(str::to_owned)
}

impl Loops {
    /// Does the first round at once, and the others until it is stopped.
    pub(crate) async fn start(
        &self,
        id: &str,
        fault: &Fault,
        round: impl Fn(u64, Fault) -> BoxFuture<'static, Round> + Send + Sync + 'static,
    ) {
        let shared = Arc::new(Shared {
            fault: Mutex::new(fault.clone()),
            changed: Notify::new(),
            seen: Mutex::default(),
        });
        let first = round(0, fault.clone()).await;
        shared.count(first);
        let task = {
            let shared = shared.clone();
            tokio::spawn(async move {
                for n in 1.. {
                    shared.wait().await;
                    let now = lock(&shared.fault).clone();
                    let came = round(n, now).await;
                    shared.count(came);
                }
            })
        };
        drop(lock(&self.0).insert(id.to_owned(), Loop { shared, task: Some(task) }));
    }

    /// Goes on with other parameters.
    pub(crate) fn adjust(&self, id: &str, fault: &Fault) -> Result<(), InjectError> {
        match lock(&self.0).get(id) {
            Some(own) => {
                *lock(&own.shared.fault) = fault.clone();
                own.shared.changed.notify_one();
                Ok(())
            }
            None => Err(InjectError::new(format!("{id} does not go on any more")).hint("arm it again")),
        }
    }

    /// Stops, and waits for a round under way: nobody is hit any more afterwards. A loop of another process has ended with
    /// it.
    pub(crate) async fn stop(&self, id: &str) -> Recovered {
        let task = match lock(&self.0).get_mut(id) {
            Some(own) => own.task.take(),
            None => return Recovered::Gone("it ended with the agent".into()),
        };
        if let Some(task) = task {
            task.abort();
            // It was told to end; there is nothing else to be learnt.
            let _ = task.await;
        }
        Recovered::Undone
    }

    /// How many rounds there were, and whom they hit.
    pub(crate) fn evidence(&self, id: &str) -> Evidence {
        let all = lock(&self.0);
        let Some(own) = all.get(id) else { return Evidence::default() };
        let seen = *lock(&own.shared.seen);
        Evidence {
            considered: seen.all.hit + seen.all.failed,
            applied: seen.all.hit,
            measured: BTreeMap::from([
                ("rounds".to_owned(), seen.rounds as f64),
                ("empty_rounds".to_owned(), seen.empty as f64),
            ]),
        }
    }

    /// Drops what is known of it.
    pub(crate) fn forget(&self, id: &str) {
        lock(&self.0).remove(id);
    }
}

impl Shared {
    /// Until the next round is due; a change counts from itself.
    async fn wait(&self) {
        loop {
            let every = lock(&self.fault).inject.span("every").unwrap_or(SHORTEST).max(SHORTEST);
            tokio::select! {
                () = tokio::time::sleep(every) => return,
                () = self.changed.notified() => {}
            }
        }
    }

    fn count(&self, round: Round) {
        let mut seen = lock(&self.seen);
        seen.rounds += 1;
        seen.empty += u64::from(round == Round::default());
        seen.all.hit += round.hit;
        seen.all.failed += round.failed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    /// A round that has begun to hit cannot be broken off; one that is still looking can.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_is_hit_after_it_was_stopped() {
        let json = r#"{"target":"process:1","for":"60s","inject":{"kill_loop":{"every":"100ms"}}}"#;
        let fault: Fault = serde_json::from_str(json).unwrap();
        let (loops, began, hits) =
            (Loops::default(), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let round = {
            let (began, hits) = (began.clone(), hits.clone());
            move |n: u64, _| -> BoxFuture<'static, Round> {
                let (began, hits) = (began.clone(), hits.clone());
                Box::pin(async move {
                    if n > 0 {
                        began.fetch_add(1, SeqCst);
                        std::thread::sleep(Duration::from_millis(300));
                        hits.fetch_add(1, SeqCst);
                    }
                    Round { hit: 1, failed: 0 }
                })
            }
        };
        loops.start("A", &fault, round).await;
        while began.load(SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(loops.stop("A").await, Recovered::Undone);
        assert_eq!(
            (hits.load(SeqCst), loops.evidence("A").applied),
            (1, 2),
            "the round under way is over and counted"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(hits.load(SeqCst), 1);
        assert_eq!(loops.stop("A").await, Recovered::Undone);
        loops.forget("A");
        assert!(matches!(loops.stop("A").await, Recovered::Gone(_)));
    }
}
