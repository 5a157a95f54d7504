//! Planning, arming and changing faults.

use super::fault::{ArmRequest, ArmedFault, Change, Entry, FaultPhase, Shared};
use super::{Agent, Inner};
use crate::claims::ClaimError;
use crate::error::EngineError;
use crate::undo::{Live, Record};
use crate::{guarded, ids};
use inject::{Armed, BoxFuture, InjectError, Injector, Order, Plan, Recovered, UndoLog};
use model::event::{Ending, Level};
use model::problem::Problem;
use model::{EventKind, Fault};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// What took longer to arm has its end written to the log anew.
const SLOW: Duration = Duration::from_millis(100);

impl Agent {
    /// What arming a fault would do, and how it would be undone. Touches nothing.
    pub async fn plan(&self, fault: Fault) -> Result<Plan, EngineError> {
        check(&fault)?;
        let id = fault.id.clone().unwrap_or_else(|| {
            let state = self.inner.lock();
            ids::letters(state.named)
        });
        let seed = fault.seed.unwrap_or_else(ids::random_seed);
        self.inner.plan(id, fault, seed).await.map(|(_, plan)| plan)
    }

    /// Commands of well-known tools that would do by hand what a plan does.
    pub async fn commands(&self, plan: &Plan) -> Vec<String> {
        let order = &plan.order;
        match self.inner.injector(order.target.spec.kind(), order.fault.inject.name()) {
            Ok(injector) => injector.commands(plan).await,
            Err(_) => Vec::new(),
        }
    }

    /// Arms a fault on the agent's own lease. When it returns, what is open already has the fault.
    pub async fn arm(&self, fault: Fault, by: &str) -> Result<ArmedFault, EngineError> {
        self.arm_request(ArmRequest::new(fault, by)).await
    }

    /// Arms a fault. Goes on to its end also when nobody waits for it any more.
    pub async fn arm_request(&self, request: ArmRequest) -> Result<ArmedFault, EngineError> {
        let inner = self.inner.clone();
        let task = tokio::spawn(async move { inner.arm(request).await });
        task.await.unwrap_or_else(|e| {
            Err(EngineError::refused(format!("arming failed: {e}"), "please report this"))
        })
    }

    /// Changes parameters, share, matcher, ramp or length of a fault that is on, live.
    pub async fn adjust(&self, id: &str, change: Change, by: &str) -> Result<ArmedFault, EngineError> {
        let (inner, id, by) = (self.inner.clone(), id.to_owned(), by.to_owned());
        let task = tokio::spawn(async move { inner.adjust(&id, &change, &by).await });
        task.await.unwrap_or_else(|e| {
            Err(EngineError::refused(format!("changing failed: {e}"), "please report this"))
        })
    }

    /// Moves on the end of a fault's own lease: so long from now.
    pub fn renew(&self, id: &str, lease: Duration) -> Result<(), EngineError> {
        let mut state = self.inner.lock();
        let Some(entry) = state.faults.get_mut(id) else {
            drop(state);
            return Err(self.inner.unknown(id));
        };
        // One on the agent's lease stays on it: whoever renews it by mistake must not give it an end.
        if let (Some(held), Some(until)) = (entry.lease.as_mut(), Instant::now().checked_add(lease)) {
            *held = until;
        }
        drop(state);
        self.inner.wake.notify_one();
        Ok(())
    }
}

impl Inner {
    async fn plan(
        &self,
        id: String,
        fault: Fault,
        seed: u64,
    ) -> Result<(Arc<dyn Injector>, Plan), EngineError> {
        let target = self.target_for(&fault.target)?;
        let injector = self.injector(target.spec.kind(), fault.inject.name())?;
        let order = Order { id, fault, target, seed };
        let planner = injector.clone();
        let plan = guarded::call(guarded::INJECT, async move { planner.plan(&order).await })
            .await
            .map_err(|why| EngineError::refused(why, "try again"))?
            .map_err(|refusal| EngineError::Refused(refusal.0))?;
        if plan.acts.is_empty() {
            return Err(EngineError::refused(
                format!("{} would touch nothing", plan.order.fault.describe()),
                "an empty selection is never a success; look at the target",
            ));
        }
        Ok((injector, plan))
    }

    async fn arm(self: Arc<Self>, request: ArmRequest) -> Result<ArmedFault, EngineError> {
        check(&request.fault)?;
        let place = self.take_place(&request)?;
        let armed = self.clone().arm_in(&place, request).await;
        if armed.is_err() {
            self.give_up(&place).await;
        }
        armed
    }

    /// A place in the book, so that halt and disarm see the fault from its first moment.
    fn take_place(&self, request: &ArmRequest) -> Result<String, EngineError> {
        let mut state = self.lock();
        if state.closing {
            return Err(EngineError::ShuttingDown);
        }
        if let Some(halt) = &state.halted {
            return Err(EngineError::Halted { by: halt.by.clone() });
        }
        let id = match &request.fault.id {
            Some(id) if state.faults.contains_key(id) => return Err(EngineError::DuplicateId(id.clone())),
            Some(id) => id.clone(),
            None => loop {
                let id = ids::letters(state.named);
                state.named += 1;
                if !state.faults.contains_key(&id) {
                    break id;
                }
            },
        };
        state.armed += 1;
        let entry = Entry {
            order: state.armed,
            fault: Fault { id: Some(id.clone()), ..request.fault.clone() },
            id: id.clone(),
            by: request.by.clone(),
            seed: request.fault.seed.unwrap_or_else(ids::random_seed),
            phase: FaultPhase::Arming,
            cancelled: None,
            n: None,
            armed: None,
            places: Vec::new(),
            claims: Vec::new(),
            warnings: Vec::new(),
            failures: Vec::new(),
            armed_at: None,
            armed_at_ms: 0,
            ends_at: None,
            lease: None,
            shared: Arc::new(Shared {
                turn: tokio::sync::Mutex::new(()),
                outcome: watch::Sender::new(None),
                again: Notify::new(),
            }),
        };
        state.faults.insert(id.clone(), entry);
        Ok(id)
    }

    /// Leaves the place again; whoever waits for the fault's end has it.
    async fn give_up(&self, id: &str) {
        let arming = {
            let mut state = self.lock();
            let entry = state.faults.get(id);
            let arming = entry.is_some_and(|entry| entry.phase == FaultPhase::Arming);
            // Nobody has seen it: the next one may be called so. What was refused does not use letters up.
            if arming
                && entry.is_some_and(|entry| entry.n.is_none())
                && state.named.checked_sub(1).is_some_and(|n| ids::letters(n) == id)
            {
                state.named -= 1;
            }
            arming
        };
        // One that was on for a moment and is being taken back stays in the book until it is gone.
        if let Some(entry) = arming.then(|| self.remove(id)).flatten() {
            self.claims.release(&entry.claims).await;
            entry.shared.outcome.send_replace(Some(Ok(())));
            self.tidy().await;
        }
    }

    async fn arm_in(self: Arc<Self>, id: &str, request: ArmRequest) -> Result<ArmedFault, EngineError> {
        let (fault, seed) = {
            let state = self.lock();
            let entry = state.faults.get(id).ok_or(EngineError::ShuttingDown)?;
            (entry.fault.clone(), entry.seed)
        };
        self.look_anew(id, &fault.target).await;
        let (injector, plan) = self.plan(id.to_owned(), fault, seed).await?;
        self.open_in_passing(&plan.order.target).await?;
        let keys = injector.claims(&plan);
        self.claims.take(&keys).await.map_err(|e| match e {
            ClaimError::Owned(holder) => {
                EngineError::Owned { target: plan.order.fault.target.clone(), holder }
            }
            ClaimError::Socket(e) => EngineError::refused(
                format!("the target cannot be claimed for this agent: {e}"),
                "abstract unix sockets are needed for that; look whether a sandbox forbids them",
            ),
        })?;
        let n = {
            let cancelled = {
                let mut state = self.lock();
                let entry = state.faults.get_mut(id).ok_or(EngineError::ShuttingDown)?;
                entry.claims = keys;
                entry.warnings.clone_from(&plan.warnings);
                entry.cancelled
            };
            if let Some(why) = cancelled {
                return Err(self.cancelled(id, why));
            }
            self.intend(&plan, &request.by).await?
        };
        if let Some(entry) = self.lock().faults.get_mut(id) {
            entry.n = Some(n);
        }
        if let Some(minder) = &self.minder {
            minder.tell();
        }
        self.act(id, n, injector, plan, request.lease).await
    }

    /// The intent on disk, and the agent's lease with it.
    async fn intend(self: &Arc<Self>, plan: &Plan, by: &str) -> Result<u64, EngineError> {
        let lease = self.lease.clone();
        let order = &plan.order;
        let lasts = order.fault.lasts.map(|span| span.0);
        let record = {
            let (id, target, by) = (order.id.clone(), order.fault.target.clone(), by.to_owned());
            let (fault, acts) = (order.fault.describe(), plan.acts.clone());
            move |n| {
                let ends = lasts.map(|lasts| (host::clock::boottime() + lasts).as_millis() as u64);
                Record::Intent { n, id, target, by, fault, ends_ms: ends, acts }
            }
        };
        let written = self.with_log(move |log| Ok((lease.renew()?, log.intend(record)?)));
        let (in_time, n) = written.await.map_err(|e| EngineError::log(self.log.path().to_owned(), e))?;
        if !in_time {
            self.lease_passed();
        }
        Ok(n)
    }

    async fn act(
        self: Arc<Self>,
        id: &str,
        n: u64,
        injector: Arc<dyn Injector>,
        plan: Plan,
        lease: Option<Duration>,
    ) -> Result<ArmedFault, EngineError> {
        let effects = Arc::new(Effects { inner: self.clone(), n, known: Mutex::default() });
        let began = Instant::now();
        let outcomes = {
            let (injector, plan, log) = (injector.clone(), plan.clone(), effects.clone());
            guarded::call(guarded::INJECT, async move { injector.inject(&plan, &*log).await }).await
        };
        let known = effects.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (mut done, mut failed, mut left) = (Vec::new(), Vec::new(), Vec::new());
        // An injector that broke off may have done anything: everything is undone then.
        let broken = match &outcomes {
            Ok(list) if list.len() == plan.acts.len() => None,
            Ok(list) => {
                Some(format!("{} outcomes for {} acts; please report this", list.len(), plan.acts.len()))
            }
            Err(why) => Some(why.clone()),
        };
        for (i, record) in plan.acts.iter().enumerate() {
            let mut record = record.clone();
            if let Some(data) = known.get(&i) {
                record.data = data.clone();
            }
            match (&broken, outcomes.as_ref().ok().and_then(|list| list.get(i))) {
                (None, Some(Ok(()))) => done.push((i, record)),
                (None, Some(Err(e))) => {
                    failed.push(format!("{}: {e}", record.act));
                    // A part that failed was not done: there is nothing to undo about it.
                    let _ = self.with_log(move |log| log.undone(n, i)).await;
                }
                (why, _) => {
                    let undone = guarded::recover(&self.config.injectors, &record).await;
                    let why = why.as_deref().unwrap_or("no outcome");
                    failed.push(format!("{}: {why}", record.act));
                    if let Recovered::Failed(why) = undone {
                        failed.push(format!("{}: {why}; it is tried again", record.undo));
                        left.push((i, record));
                    } else {
                        let _ = self.with_log(move |log| log.undone(n, i)).await;
                    }
                }
            }
        }
        let armed = Armed { order: plan.order.clone(), acts: done.iter().map(|(_, r)| r.clone()).collect() };
        if done.is_empty() {
            injector.forget(&armed);
            let target = plan.order.fault.target.clone();
            if left.is_empty() {
                let _ = self.with_log(move |log| log.close(n)).await;
            } else {
                let (id, target, fault) = (id.to_owned(), target.clone(), plan.order.fault.describe());
                let left = Live { n, id, target, by: String::new(), fault, ends_ms: None, acts: left };
                self.spawn(self.clone().finish_left(vec![left]));
            }
            let why = failed.join("; ");
            self.events.emit(EventKind::ArmFailed { id: id.to_owned(), target, why: why.clone() });
            return Err(EngineError::ArmFailed { id: id.to_owned(), why });
        }
        // The log has its end reckoned from the intent. What took long to arm would be taken back by the watchdog too early.
        if let Some(lasts) = plan.order.fault.lasts
            && began.elapsed() > SLOW
        {
            self.write_end(id, n, lasts.0).await;
        }
        self.clone().enter(id, n, armed, done.into_iter().map(|(i, _)| i).collect(), failed, lease).await
    }

    /// Tells the log, and who minds it, that a fault has so long left.
    async fn write_end(&self, id: &str, n: u64, left: Duration) {
        let ends_ms = (host::clock::boottime() + left).as_millis() as u64;
        // A watchdog that does not learn of a later end may end the fault early, never late.
        if let Err(e) = self.with_log(move |log| log.add(&Record::Ends { n, ends_ms })).await {
            self.note(Level::Warn, format!("{id}: its new end could not be written to the undo log: {e}"));
        }
        if let Some(minder) = &self.minder {
            minder.tell();
        }
    }

    /// The fault is on: into the book, unless it was asked to end meanwhile.
    async fn enter(
        self: Arc<Self>,
        id: &str,
        n: u64,
        armed: Armed,
        places: Vec<usize>,
        failures: Vec<String>,
        lease: Option<Duration>,
    ) -> Result<ArmedFault, EngineError> {
        let one_shot = armed.order.fault.inject.def().one_shot;
        let (mut view, end) = {
            let mut state = self.lock();
            let halted = state.halted.is_some().then_some(Ending::Halted);
            let closing = state.closing.then_some(Ending::Shutdown);
            let entry = state.faults.get_mut(id).ok_or(EngineError::ShuttingDown)?;
            let now = Instant::now();
            (entry.armed_at, entry.armed_at_ms) = (Some(now), host::clock::wall_ms());
            entry.ends_at = armed.order.fault.lasts.and_then(|lasts| now.checked_add(lasts.0));
            entry.lease = lease.filter(|_| !one_shot).and_then(|lease| now.checked_add(lease));
            entry.places = places;
            entry.failures = failures;
            entry.armed = Some(armed.clone());
            entry.n = Some(n);
            let end = if one_shot { Some(Ending::Once) } else { entry.cancelled.or(halted).or(closing) };
            entry.phase = if end.is_some() { FaultPhase::Ending } else { FaultPhase::On };
            self.events.emit(EventKind::Armed {
                id: id.to_owned(),
                fault: entry.fault.clone(),
                by: entry.by.clone(),
            });
            (entry.view(), end)
        };
        for failure in &view.failures {
            self.note(Level::Warn, format!("{id}: a part was not armed: {failure}"));
        }
        view.evidence = self.evidence(&armed);
        self.wake.notify_one();
        match end {
            None => Ok(view),
            Some(Ending::Once) => {
                self.clone().finish(id.to_owned(), Ending::Once).await;
                Ok(ArmedFault { phase: FaultPhase::Ended, left_ms: None, ..view })
            }
            Some(why) => {
                // Undone by a task of its own, as every other end: it may have to be tried again.
                let shared = self.lock().faults.get(id).map(|entry| entry.shared.clone());
                tokio::spawn(self.clone().finish(id.to_owned(), why));
                if let Some(shared) = shared {
                    let _ = shared.outcome.subscribe().wait_for(Option::is_some).await;
                }
                Err(self.cancelled(id, why))
            }
        }
    }

    fn cancelled(&self, id: &str, why: Ending) -> EngineError {
        match (why, &self.lock().halted) {
            (Ending::Halted, Some(halt)) => EngineError::Halted { by: halt.by.clone() },
            (Ending::Shutdown, _) => EngineError::ShuttingDown,
            _ => EngineError::refused(format!("{id} was disarmed while it was being armed"), "arm it again"),
        }
    }

    async fn adjust(self: Arc<Self>, id: &str, change: &Change, by: &str) -> Result<ArmedFault, EngineError> {
        let shared = self.lock().faults.get(id).map(|entry| entry.shared.clone());
        let Some(shared) = shared else { return Err(self.unknown(id)) };
        // Whoever takes the fault back waits for this turn, and nobody gets one after that.
        let _turn = shared.turn.lock().await;
        let (n, mut armed, armed_at) = {
            let state = self.lock();
            let Some(entry) = state.faults.get(id) else {
                drop(state);
                return Err(self.unknown(id));
            };
            match (entry.phase, entry.n, &entry.armed, entry.armed_at) {
                (FaultPhase::On, Some(n), Some(armed), Some(at)) => (n, armed.clone(), at),
                (FaultPhase::Arming, ..) => {
                    return Err(EngineError::NotOn {
                        id: id.into(),
                        phase: "being armed",
                        hint: "try again",
                    });
                }
                _ => {
                    return Err(EngineError::NotOn {
                        id: id.into(),
                        phase: "being taken back",
                        hint: "arm another one",
                    });
                }
            }
        };
        let fault = change.apply(&armed.order.fault);
        if fault.inject.name() != armed.order.fault.inject.name() {
            return Err(EngineError::refused(
                format!(
                    "{id} is {}, and cannot become {}",
                    armed.order.fault.inject.name(),
                    fault.inject.name()
                ),
                "disarm it and arm the other",
            ));
        }
        check(&fault)?;
        let injector = self.injector_of(&armed)?;
        let (now, before) = (fault.clone(), armed.clone());
        guarded::call(guarded::ADJUST, async move { injector.adjust(&before, &now).await })
            .await
            .unwrap_or_else(|why| Err(InjectError::new(why)))
            .map_err(|e| EngineError::AdjustFailed { id: id.into(), problem: e.0 })?;
        armed.order.fault = fault.clone();
        let ends_at = fault.lasts.and_then(|lasts| armed_at.checked_add(lasts.0));
        if fault.lasts != self.lock().faults.get(id).and_then(|entry| entry.fault.lasts) {
            let left = ends_at.map(|at| at.saturating_duration_since(Instant::now())).unwrap_or_default();
            self.write_end(id, n, left).await;
        }
        let mut view = {
            let mut state = self.lock();
            let Some(entry) = state.faults.get_mut(id) else {
                drop(state);
                return Err(self.unknown(id));
            };
            entry.fault = fault.clone();
            entry.ends_at = ends_at;
            entry.armed = Some(armed.clone());
            self.events.emit(EventKind::Adjusted { id: id.to_owned(), fault, by: by.to_owned() });
            entry.view()
        };
        view.evidence = self.evidence(&armed);
        self.wake.notify_one();
        Ok(view)
    }
}

/// What is impossible about a fault whatever the target: all of it in one sentence.
fn check(fault: &Fault) -> Result<(), EngineError> {
    let mut problems = fault.problems();
    if let Some(what) = fault.id.as_deref().and_then(ids::problem) {
        problems.push(Problem::new(what).hint("write for example slow-pay"));
    }
    let mut list = problems.into_iter();
    let Some(first) = list.next() else { return Ok(()) };
    let rest: Vec<String> = list.map(|p| p.to_string()).collect();
    Err(EngineError::Refused(if rest.is_empty() {
        first
    } else {
        Problem::new(format!("{first}. Also: {}", rest.join(". Also: ")))
    }))
}

/// The log as an injector sees it: its own fault's effects.
struct Effects {
    inner: Arc<Inner>,
    n: u64,
    known: Mutex<BTreeMap<usize, serde_json::Value>>,
}

impl UndoLog for Effects {
    fn effect<'a>(&'a self, act: usize, data: serde_json::Value) -> BoxFuture<'a, Result<(), InjectError>> {
        Box::pin(async move {
            let record = Record::Effect { n: self.n, act, data: data.clone() };
            let written = self.inner.with_log(move |log| log.add(&record)).await;
            written.map_err(|e| {
                InjectError::new(format!("the undo log cannot be written: {e}"))
                    .hint("make room where the state directory lies")
            })?;
            self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(act, data);
            Ok(())
        })
    }
}
