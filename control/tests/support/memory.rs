//! An agent in memory: faults are entries in a list, and what happens to them becomes events.

use control::Caller;
use control::service::{Answer, Audit, Service};
use control::wire::{
    ActView, AgentStatus, Change, Check, Code, Counters, Disarmed, Failure, FaultState, HaltState, Halted,
    PlanView, RunState, StartRun,
};
use control::{Close, ConnectionList, ConnectionQuery, Feed};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use model::event::Ending;
use model::sample::TargetState;
use model::units::Span;
use model::{
    ConnectionState, ConnectionView, Event, EventKind, Evidence, Fault, Target, TargetKind, TargetRef,
};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub struct Memory {
    pub feed: Feed,
    start: Instant,
    state: Mutex<State>,
}

#[derive(Clone, Default)]
pub struct State {
    pub name: String,
    pub seq: u64,
    pub targets: Vec<TargetState>,
    pub faults: Vec<FaultState>,
    pub connections: Vec<ConnectionView>,
    pub halted: Option<HaltState>,
    pub run: Option<RunState>,
    pub audit: Vec<Audit>,
    pub made: usize,
    /// How far the clock is ahead of the real one, in milliseconds, so that a history can be made.
    pub ahead_ms: f64,
    /// How far events are in the past, in milliseconds, while a history is made.
    pub behind_ms: u64,
    /// Time stands still but for `ahead_ms`, so that pictures are the same on every run.
    pub still: bool,
}

#[allow(dead_code)]
impl Memory {
    pub fn new(name: &str) -> Arc<Memory> {
        let state = State { name: name.to_owned(), ..State::default() };
        Arc::new(Memory { feed: Feed::default(), start: Instant::now(), state: Mutex::new(state) })
    }

    /// Another agent that is just as this one is, with this history.
    pub fn like(&self, history: &[Event]) -> Arc<Memory> {
        let feed = Feed::default();
        history.iter().for_each(|e| feed.push(e.clone()));
        Arc::new(Memory { feed, start: self.start, state: Mutex::new(self.state().clone()) })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn with_proxy(self: Arc<Self>, name: &str, http: bool) -> Arc<Self> {
        let target = TargetRef::new(TargetKind::Proxy, name);
        let about = format!("127.0.0.1:15432 → {name}:8080{}", if http { " http" } else { "" });
        self.state().targets.push(TargetState {
            target: target.clone(),
            about: about.clone(),
            up: true,
            listen: Some("127.0.0.1:15432".into()),
            http,
        });
        self.event(EventKind::TargetOpened { target, about });
        self
    }

    pub fn with_target(self: Arc<Self>, kind: TargetKind, name: &str, about: &str) -> Arc<Self> {
        let target = TargetRef::new(kind, name);
        let about = about.to_owned();
        let state =
            TargetState { target: target.clone(), about: about.clone(), up: true, listen: None, http: false };
        self.state().targets.push(state);
        self.event(EventKind::TargetOpened { target, about });
        self
    }

    pub fn mono_ms(&self) -> f64 {
        let state = self.state();
        let real = if state.still { 0.0 } else { self.start.elapsed().as_secs_f64() * 1e3 };
        real + state.ahead_ms
    }

    /// Wall-clock time, milliseconds since 1970.
    pub fn wall_ms(&self) -> u64 {
        let state = self.state();
        if state.still { 1_764_366_000_000 + state.ahead_ms as u64 } else { now_ms() - state.behind_ms }
    }

    pub fn event(&self, kind: EventKind) {
        let (mono_ms, at_ms) = (self.mono_ms(), self.wall_ms());
        let mut state = self.state();
        state.seq += 1;
        let event = Event { seq: state.seq, at_ms, mono_ms, kind };
        self.feed.push(event);
    }

    pub fn arm_now(&self, mut fault: Fault, lease: Option<Span>, by: &str) -> FaultState {
        let armed_mono_ms = self.mono_ms();
        let state = {
            let mut state = self.state();
            state.made += 1;
            let id = fault.id.clone().unwrap_or_else(|| format!("f{}", state.made));
            fault.id = Some(id.clone());
            let fault = FaultState {
                id,
                left: fault.lasts,
                lease_left: lease,
                lease,
                fault,
                by: by.to_owned(),
                armed_at_ms: now_ms(),
                armed_mono_ms,
                evidence: Evidence::default(),
                warnings: Vec::new(),
            };
            state.faults.push(fault.clone());
            fault
        };
        self.event(EventKind::Armed { id: state.id.clone(), fault: state.fault.clone(), by: by.to_owned() });
        state
    }

    pub fn end(&self, id: &str, why: Ending) -> Option<FaultState> {
        let fault = {
            let mut state = self.state();
            let i = state.faults.iter().position(|f| f.id == id)?;
            state.faults.remove(i)
        };
        self.event(EventKind::Recovered {
            id: fault.id.clone(),
            target: fault.fault.target.clone(),
            why,
            evidence: fault.evidence.clone(),
        });
        Some(fault)
    }

    /// Takes back what has had its time.
    pub fn expire(&self) {
        let now = self.mono_ms();
        let over: Vec<String> = self
            .state()
            .faults
            .iter()
            .filter(|f| f.fault.lasts.is_some_and(|l| f.armed_mono_ms + l.as_millis_f64() <= now))
            .map(|f| f.id.clone())
            .collect();
        for id in over {
            self.end(&id, Ending::Elapsed);
        }
    }

    fn faults_now(&self) -> Vec<FaultState> {
        let now = self.mono_ms();
        let mut faults = self.state().faults.clone();
        for f in &mut faults {
            f.left = f.fault.lasts.map(|l| {
                let left = (l.as_millis_f64() - (now - f.armed_mono_ms)).max(0.0);
                Span::millis(left as u64)
            });
        }
        faults
    }

    fn known(&self, target: &TargetRef) -> Result<TargetState, Failure> {
        self.state().targets.iter().find(|t| t.target == *target).cloned().ok_or_else(|| {
            Failure::new(Code::NotFound, format!("there is no target {target}"))
                .hint("murphy list shows the open ones")
        })
    }

    fn check(&self, fault: &Fault) -> Result<(), Failure> {
        let target = self.known(&fault.target)?;
        if fault.inject.def().layer == model::catalogue::Layer::Requests && !target.http {
            return Err(Failure::new(
                Code::Impossible,
                format!("{} needs requests, and {} passes bytes only", fault.inject.name(), target.target),
            )
            .hint("open the target with protocol: http"));
        }
        match &self.state().halted {
            Some(halt) => Err(Failure::halted(&halt.by)),
            None => Ok(()),
        }
    }
}

pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

impl Service for Memory {
    fn status(&self) -> BoxFuture<'_, Answer<AgentStatus>> {
        let mono_ms = self.mono_ms();
        let state = self.state();
        ready(Ok(AgentStatus {
            agent: state.name.clone(),
            version: "0.1.0".into(),
            pid: 4711,
            at_ms: now_ms(),
            mono_ms,
            seq: self.feed.last(),
            halted: state.halted.clone(),
            armed: state.faults.len(),
            targets: state.targets.len(),
            run: state.run.clone(),
            lease: Some(Span::secs(15)),
            counters: Counters::default(),
            usage: None,
        }))
    }

    fn targets(&self) -> BoxFuture<'_, Answer<Vec<TargetState>>> {
        ready(Ok(self.state().targets.clone()))
    }

    fn open_target(&self, target: Target, _by: Caller) -> BoxFuture<'_, Answer<TargetState>> {
        let reference = target.reference();
        let opened = TargetState {
            target: reference.clone(),
            about: "made up".into(),
            up: true,
            listen: None,
            http: false,
        };
        self.state().targets.push(opened.clone());
        self.event(EventKind::TargetOpened { target: reference, about: "made up".into() });
        ready(Ok(opened))
    }

    fn close_target(&self, target: TargetRef, _by: Caller) -> BoxFuture<'_, Answer<()>> {
        if let Err(e) = self.known(&target) {
            return ready(Err(e));
        }
        self.state().targets.retain(|t| t.target != target);
        self.event(EventKind::TargetClosed { target });
        ready(Ok(()))
    }

    fn faults(&self) -> BoxFuture<'_, Answer<Vec<FaultState>>> {
        ready(Ok(self.faults_now()))
    }

    fn plan(&self, fault: Fault) -> BoxFuture<'_, Answer<PlanView>> {
        if let Err(e) = self.check(&fault) {
            return ready(Err(e));
        }
        let acts = vec![ActView {
            act: format!("put {} into the proxy", fault.inject.describe()),
            undo: "take it out again".into(),
            ends_with_agent: true,
        }];
        ready(Ok(PlanView { fault, acts, warnings: Vec::new(), commands: Vec::new() }))
    }

    fn arm(&self, fault: Fault, lease: Option<Span>, by: Caller) -> BoxFuture<'_, Answer<FaultState>> {
        if let Err(e) = self.check(&fault) {
            return ready(Err(e));
        }
        ready(Ok(self.arm_now(fault, lease, &by.to_string())))
    }

    fn adjust(&self, id: String, change: Change, by: Caller) -> BoxFuture<'_, Answer<FaultState>> {
        let changed = {
            let mut state = self.state();
            let Some(fault) = state.faults.iter_mut().find(|f| f.id == id) else {
                return ready(Err(Failure::no_fault(&id)));
            };
            match change.apply(&fault.fault) {
                Err(e) => return ready(Err(e)),
                Ok(next) => fault.fault = next,
            }
            fault.clone()
        };
        self.event(EventKind::Adjusted { id, fault: changed.fault.clone(), by: by.to_string() });
        ready(Ok(changed))
    }

    fn disarm(&self, id: String, _by: Caller) -> BoxFuture<'_, Answer<Disarmed>> {
        ready(match self.end(&id, Ending::Disarmed) {
            None => Err(Failure::no_fault(&id)),
            Some(f) => Ok(Disarmed { id, target: f.fault.target, evidence: f.evidence }),
        })
    }

    fn renew(&self, id: String, _by: Caller) -> BoxFuture<'_, Answer<FaultState>> {
        let found = self.faults_now().into_iter().find(|f| f.id == id);
        ready(found.ok_or_else(|| Failure::no_fault(&id)))
    }

    fn connections(&self, query: ConnectionQuery) -> BoxFuture<'_, Answer<ConnectionList>> {
        ready(Ok(ConnectionList::of(self.state().connections.clone(), &query)))
    }

    fn close_connection(&self, id: u64, _how: Close, _by: Caller) -> BoxFuture<'_, Answer<()>> {
        let mut state = self.state();
        let before = state.connections.len();
        state.connections.retain(|c| c.id != id);
        ready(if state.connections.len() < before { Ok(()) } else { Err(Failure::no_connection(id)) })
    }

    fn hold_connection(&self, id: u64, _lease: Span, _by: Caller) -> BoxFuture<'_, Answer<()>> {
        ready(match self.state().connections.iter_mut().find(|c| c.id == id) {
            None => Err(Failure::no_connection(id)),
            Some(c) => {
                c.state = ConnectionState::Held;
                Ok(())
            }
        })
    }

    fn release_connection(&self, id: u64, _by: Caller) -> BoxFuture<'_, Answer<()>> {
        ready(match self.state().connections.iter_mut().find(|c| c.id == id) {
            None => Err(Failure::no_connection(id)),
            Some(c) if c.state != ConnectionState::Held => {
                Err(Failure::new(Code::Conflict, format!("connection {id} is not held")))
            }
            Some(c) => {
                c.state = ConnectionState::Open;
                Ok(())
            }
        })
    }

    fn halt(&self, by: Caller) -> BoxFuture<'_, Answer<Halted>> {
        let by = by.to_string();
        let faults: Vec<String> = self.state().faults.iter().map(|f| f.id.clone()).collect();
        let at_ms = self.wall_ms();
        self.state().halted = Some(HaltState { by: by.clone(), at_ms });
        self.event(EventKind::Halted { by: by.clone(), faults: faults.clone() });
        for id in &faults {
            self.end(id, Ending::Halted);
        }
        ready(Ok(Halted { by, faults, failed: Default::default() }))
    }

    fn lift(&self, by: Caller) -> BoxFuture<'_, Answer<()>> {
        if self.state().halted.take().is_none() {
            return ready(Err(Failure::new(Code::Conflict, "nothing is halted")));
        }
        self.event(EventKind::HaltLifted { by: by.to_string() });
        ready(Ok(()))
    }

    fn start_run(&self, run: StartRun, by: Caller) -> BoxFuture<'_, Answer<RunState>> {
        if run.yaml.contains("stagse") {
            return ready(Err(
                Failure::new(Code::BadRequest, "unknown key \"stagse\"").hint("did you mean stages?")
            ));
        }
        let mono_ms = self.mono_ms();
        let run = RunState {
            name: run.file.unwrap_or_else(|| "unnamed".into()),
            seed: run.seed.unwrap_or(1),
            by: by.to_string(),
            started_at_ms: now_ms(),
            started_mono_ms: mono_ms,
            stages: vec![("slow".into(), Span::secs(60))],
            phase: "baseline".into(),
            stage: None,
            steady: Default::default(),
            verdict: None,
            why: None,
            report: None,
        };
        self.state().run = Some(run.clone());
        ready(Ok(run))
    }

    fn run(&self) -> BoxFuture<'_, Answer<RunState>> {
        let run = self.state().run.clone();
        ready(run.ok_or_else(|| Failure::new(Code::NotFound, "there was no run")))
    }

    fn end_run(&self, _by: Caller) -> BoxFuture<'_, Answer<RunState>> {
        let mut state = self.state();
        ready(match &mut state.run {
            None => Err(Failure::new(Code::NotFound, "no run is going on")),
            Some(run) => {
                run.phase = "done".into();
                run.verdict = Some("aborted".into());
                Ok(run.clone())
            }
        })
    }

    fn doctor(&self) -> BoxFuture<'_, Answer<Vec<Check>>> {
        ready(Ok(vec![Check {
            name: "pidfd".into(),
            ok: true,
            found: "pidfd_open works".into(),
            hint: None,
        }]))
    }

    fn events(&self, from: u64) -> BoxStream<'static, Arc<Event>> {
        self.feed.stream(from)
    }

    fn audit(&self, entry: Audit) {
        self.state().audit.push(entry);
    }
}
