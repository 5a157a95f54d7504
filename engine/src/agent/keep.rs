//! What goes on by itself: ends that come, leases that pass, measurements while someone wants them.

use super::fault::{Entry, FaultPhase};
use super::{Agent, Inner};
use crate::events::Wanted;
use model::event::{Ending, Level};
use model::{EventKind, Sample, TargetRef};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// The time between two measurements.
const TICK: Duration = Duration::from_secs(1);

/// While it lives, the agent measures once a second, whether anyone listens to events or not.
#[derive(Debug)]
pub struct SamplingGuard {
    _wanted: Wanted,
}

impl Agent {
    /// Has the agent measure once a second for as long as the guard lives.
    pub fn sampling(&self) -> SamplingGuard {
        SamplingGuard { _wanted: Wanted::new(self.inner.events.clone()) }
    }
}

impl Inner {
    /// Ends what is due. Sleeps without end while nothing is armed.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut renewed: Option<Instant> = None;
        loop {
            let now = Instant::now();
            let (mut next, any) = self.end_due(now);
            if any {
                let due = renewed.map_or(now, |at| at + self.lease.period());
                if due <= now {
                    self.renew().await;
                    renewed = Some(now);
                }
                let again = renewed.map_or(now, |at| at + self.lease.period());
                next = Some(next.map_or(again, |at| at.min(again)));
            } else {
                renewed = None;
            }
            match next {
                None => self.wake.notified().await,
                Some(at) => {
                    tokio::select! {
                        () = self.wake.notified() => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
            }
        }
    }

    /// Begins the end of all that is due; when the next will be, and whether anything is in the book at all.
    fn end_due(self: &Arc<Self>, now: Instant) -> (Option<Instant>, bool) {
        let (mut due, mut next) = (Vec::new(), None::<Instant>);
        let any = {
            let state = self.lock();
            for entry in state.faults.values().filter(|entry| entry.phase == FaultPhase::On) {
                let ends = entry.ends_at.map(|at| (at, Ending::Elapsed));
                let lease = entry.lease.map(|at| (at, Ending::LeaseExpired));
                let Some((at, why)) = ends.into_iter().chain(lease).min_by_key(|(at, _)| *at) else {
                    continue;
                };
                if at <= now {
                    due.push((entry.order, entry.id.clone(), why));
                } else {
                    next = Some(next.map_or(at, |n| n.min(at)));
                }
            }
            !state.faults.is_empty()
        };
        due.sort_by_key(|(order, ..)| std::cmp::Reverse(*order));
        for (_, id, why) in due {
            self.begin_end(&id, why);
        }
        (next, any)
    }

    /// Moves the agent's lease on. When it had passed, the watchdog may have undone anything: everything ends.
    async fn renew(self: &Arc<Self>) {
        let lease = self.lease.clone();
        match tokio::task::spawn_blocking(move || lease.renew()).await {
            Ok(Ok(true)) | Err(_) => {}
            Ok(Ok(false)) => self.lease_passed(),
            Ok(Err(e)) => {
                self.note(
                    Level::Error,
                    format!("the lease cannot be renewed: {e}; faults end when it passes"),
                );
            }
        }
    }

    pub(super) fn lease_passed(self: &Arc<Self>) {
        let on = |entry: &&Entry| entry.phase == FaultPhase::On;
        let ids: Vec<String> = self.lock().faults.values().filter(on).map(|entry| entry.id.clone()).collect();
        if !ids.is_empty() {
            self.note(Level::Warn, "the agent did not run for longer than its lease; its faults have ended");
        }
        for id in ids {
            self.begin_end(&id, Ending::LeaseExpired);
        }
    }

    /// Measures while someone wants it; nothing ticks otherwise.
    pub(super) async fn sample(self: Arc<Self>) {
        loop {
            while !self.events.is_wanted() {
                self.events.wake.notified().await;
            }
            let mut before = self.totals();
            let mut last = Instant::now();
            let mut ticks = tokio::time::interval_at(last + TICK, TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            while self.events.is_wanted() {
                ticks.tick().await;
                let now = Instant::now();
                let totals = self.totals();
                self.tell(&before, &totals, (now - last).as_secs_f64());
                (before, last) = (totals, now);
            }
        }
    }

    fn tell(&self, before: &BTreeMap<TargetRef, Sample>, totals: &BTreeMap<TargetRef, Sample>, seconds: f64) {
        let nothing = Sample::default();
        let targets: BTreeMap<String, Sample> = totals
            .iter()
            .map(|(target, now)| {
                (target.to_string(), now.since(before.get(target).unwrap_or(&nothing), seconds))
            })
            .collect();
        // Also when nothing is counted: by these the loads, probes and guards of a run go.
        self.events.emit(EventKind::Samples { targets });
        let armed: Vec<_> = self.lock().faults.values().filter_map(|entry| entry.armed.clone()).collect();
        if !armed.is_empty() {
            let faults = armed.iter().map(|a| (a.order.id.clone(), self.evidence(a))).collect();
            self.events.emit(EventKind::Evidence { faults });
        }
    }
}
