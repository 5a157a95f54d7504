//! What an exchange knows while it is under way: the faults that have it, and what has come of it.

use super::Context;
use super::facts::Asked;
use super::hit::Hit;
use super::message::{RequestHead, ResponseHead};
use super::pump::Pump;
use super::seams::{Gate, Record};
use super::stage::place;
use super::wire::WirePlan;
use crate::armed::Armed;
use crate::chain::Dir;
use crate::conn::Conn;
use crate::faults::Known;
use crate::metrics::Outcome;
use crate::target::Target;
use http::StatusCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The faults and the fate of one exchange. Dropped before it was answered it counts as one that never was.
pub(super) struct Flow<'a> {
    pub(super) context: &'a Context,
    /// The faults that have it, in the order in which they act.
    pub(super) hits: Vec<Arc<Hit>>,
    /// Those that were asked already.
    known: Option<Arc<Vec<Arc<Armed>>>>,
    seen: u64,
    pub(super) outcome: Outcome,
    answered: bool,
    by_hand: Duration,
    /// Its number and when it began, when somebody watches.
    watched: Option<(u64, Instant)>,
    pub(super) service: Option<Duration>,
    pub(super) status: Option<StatusCode>,
    pub(super) bytes: [u64; 2],
    pub(super) complete: bool,
}

/// Which of the faults that were armed meanwhile can still take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// Those that act on responses or bodies.
    Responses,
    /// Those that act on bodies.
    Bodies,
}

impl<'a> Flow<'a> {
    /// It began at `started`; faults below have made it so late.
    pub(super) fn new(context: &'a Context, started: Instant, added: Duration) -> Flow<'a> {
        Flow {
            context,
            hits: Vec::new(),
            known: None,
            seen: 0,
            outcome: Outcome { started, added, failed: true, touched: false },
            answered: false,
            by_hand: Duration::ZERO,
            watched: None,
            service: None,
            status: None,
            bytes: [0; 2],
            complete: false,
        }
    }

    fn target(&self) -> &'a Target {
        &self.context.target
    }

    fn conn(&self) -> &'a Conn {
        &self.context.conn
    }

    /// Asks every fault that is armed.
    pub(super) fn consider(&mut self, request: &RequestHead, now: Instant) {
        self.seen = self.target().requests_version();
        if !Target::has_requests(self.seen) {
            return;
        }
        let faults = self.target().request_faults();
        let asked = Asked { conn: self.conn(), request, response: None };
        for fault in faults.iter().filter(|f| !f.asks_for_response()) {
            self.hits.extend(Hit::take(fault, &asked, now));
        }
        self.known = Some(faults);
    }

    /// Whether what is armed has changed since it was looked at.
    pub(super) fn is_stale(&self) -> bool {
        self.target().requests_version() != self.seen
    }

    /// Asks those that were armed meanwhile, as far as they can still act.
    pub(super) fn refresh(&mut self, late: Late, request: &RequestHead, response: Option<&ResponseHead>) {
        self.seen = self.target().requests_version();
        let armed = self.target().request_faults();
        let asked = Asked { conn: self.conn(), request, response };
        let known = self.known.replace(armed.clone());
        let is_new = |f: &&Arc<Armed>| !known.iter().flat_map(|k| k.iter()).any(|k| Arc::ptr_eq(k, f));
        let now = Instant::now();
        for fault in armed.iter().filter(is_new) {
            let can = fault.acts_on_bodies() || (late == Late::Responses && fault.takes_late_requests());
            if can && (response.is_some() || !fault.asks_for_response()) {
                self.hits.extend(Hit::take(fault, &asked, now));
            }
        }
        self.hits.sort_by_key(|hit| hit.fault.order);
    }

    /// Asks those that only decide when there is a response.
    pub(super) fn consider_response(&mut self, request: &RequestHead, response: &ResponseHead) {
        let Some(known) = self.known.as_ref().filter(|known| known.iter().any(|f| f.asks_for_response()))
        else {
            return;
        };
        let known = known.clone();
        let asked = Asked { conn: self.conn(), request, response: Some(response) };
        let now = Instant::now();
        let before = self.hits.len();
        for fault in known.iter().filter(|f| f.asks_for_response()) {
            if !self.hits.iter().any(|hit| Arc::ptr_eq(&hit.fault, fault)) {
                self.hits.extend(Hit::take(fault, &asked, now));
            }
        }
        if self.hits.len() != before {
            self.hits.sort_by_key(|hit| hit.fault.order);
        }
    }

    /// What is to be done to a message that only a codec can do.
    pub(super) fn plan(&self, dir: Dir, known: &Known<'_>) -> WirePlan {
        let mut plan = WirePlan::default();
        for hit in &self.hits {
            if let Some(own) = hit.wire(dir, known) {
                plan.join(own);
                hit.apply();
            }
        }
        plan
    }

    /// Whether a body loses its length on its way.
    pub(super) fn relengths(&self, dir: Dir) -> bool {
        self.hits.iter().any(|hit| !hit.keeps_length(dir))
    }

    /// Makes a body's stages those of the faults that have it now.
    pub(super) fn stage(&self, pump: &mut Pump, dir: Dir, known: &Known<'_>) {
        if !pump.is_passing() || (self.hits.is_empty() && pump.chain.is_bypassed()) {
            return;
        }
        let now = Instant::now();
        let frames = pump.frames.is_some();
        pump.chain.retain(
            |fault| self.hits.iter().any(|hit| place(&hit.fault) == fault && hit.version().is_some()),
            now,
        );
        for hit in &self.hits {
            let Some(version) = hit.version() else { continue };
            let fault = place(&hit.fault);
            if pump.chain.has(fault, version) {
                continue;
            }
            match hit.stage(dir, frames, known) {
                Some(link) => pump.chain.put(link),
                None => pump.chain.retain(|other| other != fault, now),
            }
        }
    }

    /// Tells who watches that it began; what is given back is waited for.
    pub(super) fn begin(&mut self, request: &RequestHead, now: Instant) -> Option<Gate> {
        let watch = self.target().watch();
        if !watch.is_awake(now) {
            return None;
        }
        let id = super::next_number();
        self.watched = Some((id, now));
        watch.begun(id, self.conn(), request, now)
    }

    /// It was held by hand and goes on.
    pub(super) fn released(&mut self, waited: Duration) {
        self.by_hand = waited;
        self.outcome.added += waited;
        self.outcome.touched = true;
        if let Some((id, _)) = self.watched {
            self.target().watch().released(id, waited);
        }
    }

    /// Tells who watches which faults it matches.
    pub(super) fn show_hits(&self) {
        if let Some((id, _)) = self.watched {
            self.target().watch().looked_at(id, &self.hits);
        }
    }

    /// Counts it for every fault that it matches, on the side of those that have the fault or of those that were spared.
    fn compare(&self, latency: Option<Duration>) {
        for hit in &self.hits {
            hit.fault.compared.count(hit.taken, latency, self.outcome.failed);
        }
    }

    /// Its response is about to leave.
    pub(super) fn answered(&mut self, head: &ResponseHead) {
        if self.answered {
            return;
        }
        let heads = self.conn().heads();
        self.outcome.failed = head.status.is_server_error();
        self.outcome.touched |= self.hits.iter().any(|hit| hit.was_applied()) || heads.is_shaped();
        self.answered = true;
        self.status = Some(head.status);
        let now = Instant::now();
        heads.hand_over(self.outcome, now, &self.conn().metrics);
        self.compare(Some(now.saturating_duration_since(self.outcome.started)));
        if let Some((id, _)) = self.watched {
            self.target().watch().answered(id, head, now);
        }
    }
}

impl Drop for Flow<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.outcome.touched |= self.hits.iter().any(|hit| hit.was_applied())
                || self.conn().heads().is_shaped()
                || self.conn().killed().is_some();
            self.conn().metrics.request(&self.outcome, None);
            self.compare(None);
        }
        if let Some((id, begun)) = self.watched {
            let record = Record {
                begun,
                ended: Instant::now(),
                added: self.outcome.added.saturating_sub(self.by_hand),
                service: self.service,
                status: self.status.map(|s| s.as_u16()),
                bytes: self.bytes,
                complete: self.complete,
                hits: &self.hits,
            };
            self.target().watch().ended(id, &record);
        }
    }
}
