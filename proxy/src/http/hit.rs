//! A fault that takes a request.

use super::message::{Answer, RequestHead, ResponseHead};
use super::stage::{Link, place};
use super::wire::WirePlan;
use crate::armed::{Armed, Turn};
use crate::chain::Dir;
use crate::faults::{Act, Asked, Draw, Known, Point, RequestFault};
use crate::timers::Timers;
use model::matcher::Facts;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A fault and a request that matches it. Survives changes of the fault's settings, ends with the fault. One that the
/// share gave to the others does nothing: it is there to be compared with.
pub(crate) struct Hit {
    /// The fault.
    pub(crate) fault: Arc<Armed>,
    /// The request's ordinal among those that match.
    pub(crate) ordinal: u64,
    /// What the share was decided by.
    pub(crate) share: u64,
    /// Whether the fault has it.
    pub(crate) taken: bool,
    /// What it asked for itself.
    pub(crate) asked: Option<Asked>,
    /// What the fault counts on it.
    pub(crate) count: AtomicU64,
    applied: AtomicBool,
}

impl Hit {
    /// Considers a request; none when it does not match.
    pub(crate) fn take(fault: &Arc<Armed>, facts: &dyn Facts, now: Instant) -> Option<Arc<Hit>> {
        let Turn { ordinal, share } = fault.consider(facts)?;
        let (taken, _) = fault.takes(share, now);
        let asked = fault.note(facts, ordinal);
        let (count, applied) = (AtomicU64::new(0), AtomicBool::new(false));
        Some(Arc::new(Hit { fault: fault.clone(), ordinal, share, taken, asked, count, applied }))
    }

    /// The random numbers of this request.
    pub(crate) fn draw(&self, now: Instant) -> Draw<'_> {
        let elapsed = self.fault.elapsed(now);
        Draw { seed: self.fault.seed, ordinal: self.ordinal, elapsed, asked: self.asked.as_ref() }
    }

    /// Counts that the fault did something to the request, once.
    pub(crate) fn apply(&self) {
        if !self.applied.swap(true, Relaxed) {
            self.fault.meters.applied.fetch_add(1, Relaxed);
        }
    }

    /// Whether it did anything to the request.
    pub(crate) fn was_applied(&self) -> bool {
        self.applied.load(Relaxed)
    }

    /// Holds the request for as long as the fault says, or until it is over or says otherwise.
    pub(crate) async fn hold(&self, point: Point, timers: &Timers) -> Duration {
        let begun = Instant::now();
        let draw = self.draw(begun);
        let mut held = false;
        loop {
            let mut changed = pin!(self.fault.changed());
            changed.as_mut().enable();
            let span = self.with(|fault| fault.hold(point, &draw)).flatten();
            let due = span.and_then(|span| begun.checked_add(span)).filter(|due| *due > begun);
            let Some(due) = due else { break };
            // Counted when it is held and not when it goes on: who looks meanwhile sees that something is.
            held = true;
            self.apply();
            tokio::select! {
                () = timers.sleep_until(due) => break,
                () = changed => {}
            }
        }
        if !held {
            return Duration::ZERO;
        }
        let late = begun.elapsed();
        self.fault.meters.add_late(late);
        late
    }

    /// The answer that the client gets instead of the service's.
    pub(crate) fn answer(&self, point: Point, known: &Known<'_>) -> Option<Answer> {
        let answer = self.with(|fault| fault.answer(point, self, known)).flatten()?;
        self.apply();
        Some(answer)
    }

    /// Changes the request's head.
    pub(crate) fn request(&self, head: &mut RequestHead) {
        if self.with(|fault| fault.request(self, head)) == Some(true) {
            self.apply();
        }
    }

    /// Changes the response's head.
    pub(crate) fn response(&self, request: &RequestHead, head: &mut ResponseHead) {
        if self.with(|fault| fault.response(self, request, head)) == Some(true) {
            self.apply();
        }
    }

    /// How a message is to leave; what is done of it counts when it is done.
    pub(crate) fn wire(&self, dir: Dir, known: &Known<'_>) -> Option<WirePlan> {
        self.with(|fault| fault.wire(self, dir, known)).flatten()
    }

    /// Whether bodies keep their length that pass its stage.
    pub(crate) fn keeps_length(&self, dir: Dir) -> bool {
        self.with(|fault| fault.keeps_length(dir)) != Some(false)
    }

    /// Whether it still wants the response's head to leave slowly.
    pub(crate) fn slows(&self) -> bool {
        let known = Known { request: &RequestHead::default(), response: None };
        self.wire(Dir::Down, &known).is_some_and(|plan| plan.pace.is_some())
    }

    /// The version of the fault's settings now; none when it is over.
    pub(crate) fn version(&self) -> Option<u64> {
        (self.taken && !self.fault.is_off()).then(|| self.fault.settings().version)
    }

    /// The stage for one direction's body, or for its WebSocket frames.
    pub(crate) fn stage(self: &Arc<Hit>, dir: Dir, frames: bool, known: &Known<'_>) -> Option<Link> {
        if !self.taken || self.fault.is_off() {
            return None;
        }
        let settings = self.fault.settings();
        let Act::Request(fault) = &settings.act else { return None };
        let stage = if frames { fault.frames(self, dir, known) } else { fault.stage(self, dir, known) };
        let (fault, order, version) = (place(&self.fault), self.fault.order, settings.version);
        stage.map(|stage| Link { fault, order, version, stage })
    }

    fn with<T>(&self, does: impl FnOnce(&dyn RequestFault) -> T) -> Option<T> {
        if !self.taken || self.fault.is_off() {
            return None;
        }
        let settings = self.fault.settings();
        match &settings.act {
            Act::Request(fault) => Some(does(&**fault)),
            Act::Stream(_) | Act::Handshake(_) => None,
        }
    }
}
