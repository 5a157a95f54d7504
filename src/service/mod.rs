//! The API's calls, carried out by the engine.

mod connections;
mod door;
mod machine;
mod requests;
mod runs;

pub use connections::Connections;
pub use machine::{checks, implied};
pub use requests::Requests;

use control::wire::{
    ActView, AgentStatus, CatalogueEntry, Change, Check, Code, Counters, Disarmed, Failure, FaultState,
    HaltState, Halted, PlanView, RunState, StartRun, Usage,
};
use control::{
    Answer, Caller, Close, ConnectionList, ConnectionQuery, HoldOrder, HoldView, OperationList,
    OperationQuery, OperationRow, RequestList, RequestQuery, Service, TopBy, TopList,
};
use engine::{Agent, ArmRequest, ArmedFault, EngineError, Item, Possible};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use model::event::Level;
use model::sample::TargetState;
use model::units::Span;
use model::{Event, EventKind, Fault, Target, TargetRef};
use runs::Running;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// An agent behind the API.
pub struct EngineService {
    agent: Agent,
    lease: Duration,
    connections: Arc<dyn Connections>,
    requests: Arc<dyn Requests>,
    files: Arc<fusefs::FsInjector>,
    run: Mutex<Option<Running>>,
    /// Held while a run is being started: of two that come at once only one begins.
    starting: tokio::sync::Mutex<()>,
    /// The leases of faults that have one of their own, by id.
    leases: Mutex<BTreeMap<String, Duration>>,
    rollbacks: Arc<AtomicU64>,
}

impl EngineService {
    /// Puts an agent behind the API, and the connections and requests of its proxies, and the operations on its
    /// files.
    pub fn new<P: Connections + Requests + 'static>(
        agent: Agent,
        lease: Duration,
        proxies: &Arc<P>,
        files: Arc<fusefs::FsInjector>,
    ) -> EngineService {
        EngineService {
            agent,
            lease,
            connections: proxies.clone(),
            requests: proxies.clone(),
            files,
            run: Mutex::default(),
            starting: tokio::sync::Mutex::default(),
            leases: Mutex::default(),
            rollbacks: Arc::default(),
        }
    }

    /// Takes everything back, connections held by hand too, and blocks new faults.
    pub async fn halt_everything(&self, by: &str) -> Halted {
        let report = self.agent.halt(by).await;
        // After the halt is on, so that none is held anew behind our back.
        self.connections.release_all();
        self.requests.release_all();
        Halted { by: report.by, faults: report.faults, failed: report.failed.into_iter().collect() }
    }

    /// Whether a halt forbids to break anything, also by hand.
    fn not_halted(&self) -> Answer<()> {
        self.agent.halted().map_or(Ok(()), |halt| Err(Failure::halted(&halt.by)))
    }

    /// A slip in a target's name would look like a target on which nothing happens.
    fn is_open(&self, target: Option<&TargetRef>) -> Answer<()> {
        match target {
            Some(target) if !self.agent.targets().iter().any(|t| t.target == *target) => {
                Err(Failure::new(Code::NotFound, format!("there is no target {target}"))
                    .hint("murphy list shows the open ones"))
            }
            _ => Ok(()),
        }
    }

    fn leases(&self) -> MutexGuard<'_, BTreeMap<String, Duration>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self, id: &str) -> Answer<FaultState> {
        self.agent
            .faults()
            .into_iter()
            .find(|f| f.id == id)
            .map(|f| self.state_of(f))
            .ok_or_else(|| Failure::no_fault(id))
    }

    fn state_of(&self, fault: ArmedFault) -> FaultState {
        let millis = |ms: u64| Span::millis(ms);
        FaultState {
            armed_mono_ms: self.agent.events().mono_ms() - fault.elapsed_ms as f64,
            id: fault.id.clone(),
            fault: fault.fault,
            by: fault.by,
            armed_at_ms: fault.armed_at_ms,
            left: fault.left_ms.map(millis),
            lease: self.leases().get(&fault.id).map(|l| Span(*l)),
            lease_left: fault.lease_left_ms.map(millis),
            evidence: fault.evidence,
            warnings: fault.warnings.into_iter().chain(fault.failures).collect(),
        }
    }
}

/// By value, so that it fits where errors are mapped.
#[allow(clippy::needless_pass_by_value)]
fn failure(e: EngineError) -> Failure {
    let code = match &e {
        EngineError::Refused(problem) => return Failure::of(Code::Impossible, problem),
        EngineError::Halted { by } => return Failure::halted(by),
        EngineError::UnknownFault { id, .. } => return Failure::no_fault(id),
        EngineError::AdjustFailed { problem, .. } => return Failure::of(Code::Impossible, problem),
        EngineError::DuplicateId(_) | EngineError::NotOn { .. } => Code::Conflict,
        EngineError::Owned { .. } | EngineError::InUse { .. } => Code::Held,
        EngineError::ShuttingDown => Code::Unavailable,
        EngineError::Log { .. }
        | EngineError::ArmFailed { .. }
        | EngineError::RecoverFailed { .. }
        | EngineError::StateDir(_)
        | EngineError::Watchdog(_) => Code::Internal,
    };
    let text = e.to_string();
    match text.split_once("; ") {
        Some((what, hint)) => Failure::new(code, what).hint(hint),
        None => Failure::new(code, text),
    }
}

fn fusefs_totals(files: &fusefs::FsInjector) -> BTreeMap<TargetRef, model::Sample> {
    use inject::Injector;
    files.totals()
}

fn now_ms() -> u64 {
    host::clock::wall_ms()
}

impl Service for EngineService {
    fn status(&self) -> BoxFuture<'_, Answer<AgentStatus>> {
        Box::pin(async {
            Ok(AgentStatus {
                agent: nix::unistd::gethostname()
                    .map_or_else(|_| "here".into(), |h| h.to_string_lossy().into_owned()),
                version: env!("CARGO_PKG_VERSION").into(),
                pid: std::process::id(),
                at_ms: now_ms(),
                mono_ms: self.agent.events().mono_ms(),
                seq: self.agent.events().latest(),
                halted: self.agent.halted().map(|h| HaltState { by: h.by, at_ms: h.at_ms }),
                armed: self.agent.faults().len(),
                targets: self.agent.targets().len(),
                run: self.run_state(),
                lease: Some(Span(self.lease)),
                counters: Counters {
                    auto_rollbacks: self.rollbacks.load(Ordering::Relaxed),
                    undo_failures: self.agent.undo_failures(),
                },
                usage: host::usage::own().map(|own| Usage {
                    cpu_seconds: own.cpu.as_secs_f64(),
                    resident_bytes: own.resident,
                    descriptors: own.descriptors,
                }),
            })
        })
    }

    fn targets(&self) -> BoxFuture<'_, Answer<Vec<TargetState>>> {
        Box::pin(async { Ok(self.agent.targets()) })
    }

    fn open_target(&self, target: Target, _: Caller) -> BoxFuture<'_, Answer<TargetState>> {
        Box::pin(async { self.agent.open(target).await.map_err(failure) })
    }

    fn close_target(&self, target: TargetRef, _: Caller) -> BoxFuture<'_, Answer<()>> {
        Box::pin(async move {
            if let Some(fault) = self.agent.faults().into_iter().find(|f| f.fault.target == target) {
                return Err(Failure::new(Code::Conflict, format!("{} is armed on {target}", fault.id))
                    .hint(format!("disarm it first: murphy disarm {}", fault.id)));
            }
            self.agent.close(&target).await.map_err(|e| Failure { code: Code::NotFound, ..failure(e) })
        })
    }

    fn faults(&self) -> BoxFuture<'_, Answer<Vec<FaultState>>> {
        Box::pin(async { Ok(self.agent.faults().into_iter().map(|f| self.state_of(f)).collect()) })
    }

    fn plan(&self, fault: Fault) -> BoxFuture<'_, Answer<PlanView>> {
        Box::pin(async {
            let plan = self.agent.plan(fault).await.map_err(failure)?;
            let commands = self.agent.commands(&plan).await;
            let acts = plan
                .acts
                .into_iter()
                .map(|a| ActView { act: a.act, undo: a.undo, ends_with_agent: a.ends_with_agent })
                .collect();
            Ok(PlanView {
                fault: Fault { seed: Some(plan.order.seed), ..plan.order.fault },
                acts,
                warnings: plan.warnings,
                commands,
            })
        })
    }

    fn arm(&self, fault: Fault, lease: Option<Span>, by: Caller) -> BoxFuture<'_, Answer<FaultState>> {
        Box::pin(async move {
            let mut request = ArmRequest::new(fault, by.to_string());
            request.lease = lease.map(|l| l.0);
            let armed = self.agent.arm_request(request).await.map_err(failure)?;
            if let Some(lease) = lease {
                let on: Vec<String> = self.agent.faults().into_iter().map(|f| f.id).collect();
                let mut leases = self.leases();
                leases.retain(|id, _| on.contains(id));
                leases.insert(armed.id.clone(), lease.0);
            }
            Ok(self.state_of(armed))
        })
    }

    fn adjust(&self, id: String, change: Change, by: Caller) -> BoxFuture<'_, Answer<FaultState>> {
        Box::pin(async move {
            let before = self.fault(&id)?;
            let mut next = change.apply(&before.fault)?;
            if change.lasts.is_some() {
                // The engine counts from arming, the API from now.
                let elapsed = (self.agent.events().mono_ms() - before.armed_mono_ms).max(0.0);
                next.lasts = next.lasts.map(|l| Span(l.0 + Duration::from_millis(elapsed as u64)));
            }
            let change = engine::Change {
                inject: Some(next.inject),
                share: Some(next.share),
                when: Some(next.when),
                ramp: Some(next.ramp),
                lasts: next.lasts,
            };
            self.agent.adjust(&id, change, &by.to_string()).await.map(|f| self.state_of(f)).map_err(failure)
        })
    }

    fn disarm(&self, id: String, by: Caller) -> BoxFuture<'_, Answer<Disarmed>> {
        Box::pin(async move {
            // What it did in all stands in the event that tells of its end.
            let mut events = self.agent.subscribe(None);
            let target = self.fault(&id)?.fault.target;
            self.agent.disarm(&id, &by.to_string()).await.map_err(failure)?;
            let mut evidence = Default::default();
            while let Some(item) = events.try_next() {
                if let Item::Event(event) = item
                    && let EventKind::Recovered { id: gone, evidence: did, .. } = &event.kind
                    && *gone == id
                {
                    evidence = did.clone();
                }
            }
            Ok(Disarmed { id, target, evidence })
        })
    }

    fn renew(&self, id: String, _: Caller) -> BoxFuture<'_, Answer<FaultState>> {
        Box::pin(async move {
            let lease = self.leases().get(&id).copied();
            let Some(lease) = lease else {
                self.fault(&id)?;
                return Err(Failure::new(Code::Conflict, format!("{id} has no lease of its own"))
                    .hint("it ends by its length; arm with a lease to renew it"));
            };
            self.agent.renew(&id, lease).map_err(failure)?;
            self.fault(&id)
        })
    }

    fn connections(&self, query: ConnectionQuery) -> BoxFuture<'_, Answer<ConnectionList>> {
        Box::pin(async move {
            self.is_open(query.target.as_ref())?;
            Ok(ConnectionList::of(self.connections.list(), &query))
        })
    }

    fn close_connection(&self, id: u64, how: Close, _: Caller) -> BoxFuture<'_, Answer<()>> {
        Box::pin(async move {
            self.not_halted()?;
            if self.connections.close(id, how) { Ok(()) } else { Err(Failure::no_connection(id)) }
        })
    }

    fn hold_connection(&self, id: u64, lease: Span, _: Caller) -> BoxFuture<'_, Answer<()>> {
        Box::pin(async move {
            self.not_halted()?;
            if !self.connections.hold(id, lease.0) {
                return Err(Failure::no_connection(id));
            }
            // A halt that came in between has released what was held before this.
            self.not_halted().inspect_err(|_| {
                self.connections.release(id);
            })
        })
    }

    fn release_connection(&self, id: u64, _: Caller) -> BoxFuture<'_, Answer<()>> {
        Box::pin(async move {
            if self.connections.release(id) {
                return Ok(());
            }
            match self.connections.list().iter().any(|c| c.id == id) {
                true => Err(Failure::new(Code::Conflict, format!("connection {id} is not held"))
                    .hint("its lease may be over; it goes on as it is")),
                false => Err(Failure::no_connection(id)),
            }
        })
    }

    fn operations(&self, query: OperationQuery) -> BoxFuture<'_, Answer<OperationList>> {
        Box::pin(async move {
            self.is_open(query.target.as_ref())?;
            let targets = self.agent.targets().into_iter().map(|t| t.target);
            let wanted = targets.filter(|t| query.target.as_ref().is_none_or(|want| want == t));
            let all = wanted.filter_map(|t| self.files.operations(&t, query.after)).flatten().collect();
            Ok(OperationList::of(all, self.operation_kinds(), &query))
        })
    }

    fn operation_kinds(&self) -> Vec<OperationRow> {
        let row = |target: &TargetRef, op: String, arm: &model::sample::Arm| OperationRow {
            target: target.clone(),
            op,
            count: arm.requests,
            errors: arm.errors,
            p50_us: arm.latency.quantile_ms(0.5).map(|ms| ms * 1e3),
            p99_us: arm.latency.quantile_ms(0.99).map(|ms| ms * 1e3),
        };
        let totals = fusefs_totals(&self.files);
        let rows = totals.iter().flat_map(|(target, sample)| {
            sample.operations.iter().map(move |(op, arm)| row(target, op.clone(), arm))
        });
        rows.collect()
    }

    fn totals(&self) -> BTreeMap<TargetRef, model::Sample> {
        self.agent.totals()
    }

    fn requests(&self, query: RequestQuery) -> BoxFuture<'_, Answer<RequestList>> {
        Box::pin(async move {
            self.is_open(query.target.as_ref())?;
            Ok(RequestList::of(self.requests.list(), self.requests.holds(), &query))
        })
    }

    fn hold_requests(&self, order: HoldOrder, _: Caller) -> BoxFuture<'_, Answer<HoldView>> {
        Box::pin(async move {
            self.not_halted()?;
            self.is_open(Some(&order.target))?;
            let lease = order.lease.unwrap_or(control::connections::HOLD_LEASE);
            if let Some(word) = order.when.as_ref().and_then(model::Matcher::needs_response) {
                return Err(Failure::new(Code::BadRequest, format!("requests cannot be held by {word}"))
                    .hint("they are held before there is any response"));
            }
            let hold = self.requests.hold(&order, lease).ok_or_else(Failure::no_requests)?;
            // A halt that came in between has released what was held before this.
            self.not_halted().inspect_err(|_| {
                self.requests.end_hold(hold.id);
            })?;
            Ok(hold)
        })
    }

    fn end_hold(&self, id: u64, _: Caller) -> BoxFuture<'_, Answer<()>> {
        Box::pin(async move {
            match self.requests.end_hold(id) {
                true => Ok(()),
                false => Err(Failure::new(Code::NotFound, format!("no hold has the number {id}"))
                    .hint("its lease may be over; murphy requests shows what is held")),
            }
        })
    }

    fn release_request(&self, id: u64, _: Caller) -> BoxFuture<'_, Answer<()>> {
        Box::pin(async move { if self.requests.release(id) { Ok(()) } else { Err(Failure::no_request(id)) } })
    }

    fn top(&self, target: TargetRef, by: TopBy, limit: usize) -> BoxFuture<'_, Answer<TopList>> {
        Box::pin(async move {
            self.is_open(Some(&target))?;
            self.requests.top(&target, by, limit).ok_or_else(Failure::no_requests)
        })
    }

    fn halt(&self, by: Caller) -> BoxFuture<'_, Answer<Halted>> {
        Box::pin(async move { Ok(self.halt_everything(&by.to_string()).await) })
    }

    fn lift(&self, by: Caller) -> BoxFuture<'_, Answer<()>> {
        Box::pin(async move {
            match self.agent.lift(&by.to_string()).await.map_err(failure)? {
                true => Ok(()),
                false => {
                    Err(Failure::new(Code::Conflict, "nothing is halted")
                        .hint("faults can be armed as it is"))
                }
            }
        })
    }

    fn start_run(&self, order: StartRun, by: Caller) -> BoxFuture<'_, Answer<RunState>> {
        Box::pin(self.begin(order, by))
    }

    fn run(&self) -> BoxFuture<'_, Answer<RunState>> {
        Box::pin(async {
            self.run_state().ok_or_else(|| {
                Failure::new(Code::NotFound, "there was no run").hint("start one: murphy run FILE")
            })
        })
    }

    fn end_run(&self, by: Caller) -> BoxFuture<'_, Answer<RunState>> {
        Box::pin(async move {
            match self.run_state() {
                Some(run) if run.verdict.is_none() => {}
                _ => return Err(Failure::new(Code::Conflict, "no run is going on")),
            }
            self.end_run_if_any(&by.to_string()).await;
            self.run_state().ok_or_else(|| Failure::new(Code::NotFound, "there was no run"))
        })
    }

    fn catalogue(&self) -> BoxFuture<'_, Answer<Vec<CatalogueEntry>>> {
        Box::pin(async {
            let faults = tokio::task::spawn_blocking(machine::possible)
                .await
                .map_err(|e| Failure::new(Code::Internal, e.to_string()))?;
            let mut all = CatalogueEntry::all();
            for entry in &mut all {
                if let Some(check) =
                    faults.iter().find(|f| f.name == entry.name && f.possible == Possible::No)
                {
                    entry.unavailable = Some(check.missing.join("; "));
                }
            }
            Ok(all)
        })
    }

    fn doctor(&self) -> BoxFuture<'_, Answer<Vec<Check>>> {
        Box::pin(async { Ok(tokio::task::spawn_blocking(checks).await.unwrap_or_default()) })
    }

    fn events(&self, from: u64) -> BoxStream<'static, Arc<Event>> {
        let subscription = self.agent.subscribe(Some(from));
        stream::unfold(subscription, |mut subscription| async {
            loop {
                // A gap shows in the numbers; the reader knows by them.
                if let Item::Event(event) = subscription.next().await {
                    return Some((event, subscription));
                }
            }
        })
        .boxed()
    }

    fn audit(&self, entry: control::service::Audit) {
        let refused = entry.error.as_ref().map_or(String::new(), |e| format!(", refused: {e}"));
        let text = format!(
            "audit: {} ({}) {} {}{refused}",
            entry.caller, entry.caller.role, entry.action, entry.what
        );
        self.agent.events().emit(EventKind::Note { level: Level::Info, text });
    }
}
