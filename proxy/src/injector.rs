//! The contract with the engine: targets of kind `proxy`.

use crate::armed::{Armed as Live, Settings};
use crate::chain::How;
use crate::conn::Conn;
use crate::faults;
use crate::target::Target as Open;
use crate::timers::Timers;
use crate::watch::{Hold, TopBy};
use inject::{
    Armed, BoxFuture, Containers, InjectError, Injector, NoContainers, Order, Outcomes, Plan, Recovered,
    Refusal, UndoLog, UndoRecord,
};
use model::catalogue::Layer;
use model::sample::TargetState;
use model::target::{Protocol, ProxySpec};
use model::{
    ConnectionView, Evidence, Fault, Matcher, Problem, RequestView, Sample, Talker, Target, TargetKind,
    TargetRef, TargetSpec,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Faults on what passes our listeners. Everything it does lives in this process and ends with it.
pub struct ProxyInjector {
    /// Tells its own undo records from those of an agent that is gone.
    agent: String,
    open: Mutex<BTreeMap<String, Arc<Open>>>,
    /// Opening and closing, one after the other.
    gate: tokio::sync::Mutex<Option<Timers>>,
    /// The faults that are on, and the last ones that were: their evidence is asked for afterwards, too.
    faults: Mutex<VecDeque<Arc<Live>>>,
    /// Who finds the containers that proxies stand in front of.
    containers: Arc<dyn Containers>,
    /// Where murphy's CA is, or will be when it is needed.
    ca: PathBuf,
}

/// How a connection is ended by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// In order.
    Fin,
    /// By a reset.
    Rst,
}

/// How long a connection that is held by hand is held when nobody says.
pub const HOLD_LEASE: Duration = Duration::from_secs(60);
const LONGEST_HOLD: Duration = Duration::from_secs(86_400);

/// Faults whose evidence is kept after their end.
const REMEMBERED: usize = 1024;

#[derive(Serialize, Deserialize)]
struct Act {
    agent: String,
    target: String,
    fault: String,
}

impl Default for ProxyInjector {
    fn default() -> Self {
        ProxyInjector::new()
    }
}

impl ProxyInjector {
    /// Without any target yet. Must be used within one tokio runtime, which carries the traffic.
    pub fn new() -> ProxyInjector {
        let nanos = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos());
        ProxyInjector {
            agent: format!("{}-{nanos:x}", std::process::id()),
            open: Mutex::default(),
            gate: tokio::sync::Mutex::default(),
            faults: Mutex::default(),
            containers: Arc::new(NoContainers),
            ca: crate::tls::Authority::default_dir(),
        }
    }

    /// With murphy's CA in that directory.
    pub fn with_ca(mut self, dir: impl Into<PathBuf>) -> ProxyInjector {
        self.ca = dir.into();
        self
    }

    /// With someone who finds containers.
    pub fn with_containers(mut self, containers: Arc<dyn Containers>) -> ProxyInjector {
        self.containers = containers;
        crate::front::reserve();
        self
    }

    /// The open connections of all targets, in the order in which they came.
    pub fn connections(&self) -> Vec<ConnectionView> {
        let mut all: Vec<_> = self.all().iter().flat_map(|open| open.connections()).collect();
        all.sort_by_key(|view| view.id);
        all
    }

    /// Ends a connection by hand, in order or by a reset. False when there is none of that number.
    pub fn close_connection(&self, id: u64, how: Close) -> bool {
        let how = match how {
            Close::Fin => How::Fin,
            Close::Rst => How::Rst,
        };
        self.connection(id).inspect(|conn| conn.kill(how)).is_some()
    }

    /// Lets nothing pass on a connection until it is released, or the lease is over. False when there is none of that
    /// number.
    pub fn hold_connection(&self, id: u64, lease: Duration) -> bool {
        // At most a day: whoever wants more can hold it again.
        let now = Instant::now();
        let until = now.checked_add(lease.min(LONGEST_HOLD)).unwrap_or(now);
        self.connection(id).inspect(|conn| conn.hold_until(until)).is_some()
    }

    /// Lets a held connection go on. False when it was not held.
    pub fn release_connection(&self, id: u64) -> bool {
        self.connection(id).is_some_and(|conn| conn.release())
    }

    /// The requests of all targets that speak HTTP: those under way and the last ones that are over, oldest first.
    pub fn requests(&self) -> Vec<RequestView> {
        let mut all: Vec<_> = self.http().iter().flat_map(|open| open.watch().requests()).collect();
        all.sort_by_key(|view| view.id);
        all
    }

    /// What holds requests by hand, with the name of its target.
    pub fn holds(&self) -> Vec<(String, Hold)> {
        let of = |open: &Arc<Open>| {
            let name = open.name().to_owned();
            open.watch().holds().into_iter().map(move |hold| (name.clone(), hold))
        };
        self.http().iter().flat_map(of).collect()
    }

    /// Holds the target's requests that match, before the service gets them, until they are released or the lease is over.
    /// None when there is no such target, or it does not speak HTTP.
    pub fn hold_requests(&self, target: &str, when: Option<Matcher>, lease: Duration) -> Option<Hold> {
        let open = self.find(target).filter(|open| open.spec.protocol == Protocol::Http)?;
        Some(open.watch().hold(when, lease.min(LONGEST_HOLD)))
    }

    /// Ends a hold; what it held goes on. False when there is none of that number.
    pub fn end_hold(&self, id: u64) -> bool {
        self.http().iter().any(|open| open.watch().end_hold(id))
    }

    /// Lets one held request go on. False when it was not held.
    pub fn release_request(&self, id: u64) -> bool {
        self.http().iter().any(|open| open.watch().release(id))
    }

    /// Holds no requests any more, and lets everything go on that was held.
    pub fn release_requests(&self) {
        self.http().iter().for_each(|open| open.watch().release_all());
    }

    /// Who asks most of a target, or for what. None when there is no such target, or it does not speak HTTP.
    pub fn top(&self, target: &str, by: TopBy, most: usize) -> Option<Vec<Talker>> {
        let open = self.find(target).filter(|open| open.spec.protocol == Protocol::Http)?;
        Some(open.watch().top(by, most))
    }

    fn http(&self) -> Vec<Arc<Open>> {
        self.all().into_iter().filter(|open| open.spec.protocol == Protocol::Http).collect()
    }

    fn connection(&self, id: u64) -> Option<Arc<Conn>> {
        self.all().iter().find_map(|open| open.connection(id))
    }

    fn all(&self) -> Vec<Arc<Open>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Open>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_faults(&self) -> MutexGuard<'_, VecDeque<Arc<Live>>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &str) -> Option<Arc<Open>> {
        self.lock().get(name).cloned()
    }

    fn remember(&self, fault: Arc<Live>) {
        let mut faults = self.lock_faults();
        if faults.len() >= REMEMBERED
            && let Some(at) = faults.iter().position(|f| f.is_off())
        {
            faults.remove(at);
        }
        faults.push_back(fault);
    }

    async fn open_target(&self, target: &Target) -> Result<TargetState, Refusal> {
        let spec = spec(target)?;
        let mut gate = self.gate.lock().await;
        if let Some(open) = self.find(&target.name) {
            if open.spec == *spec {
                return Ok(open.state());
            }
            return Err(Refusal::new(
                format!("proxy:{} is open already, as {}", target.name, open.state().about),
                "close it first, or choose another name",
            ));
        }
        let timers = match &*gate {
            Some(timers) => timers.clone(),
            None => {
                let timers = Timers::start().map_err(|e| {
                    Refusal::new(
                        format!("proxy:{}: no timer for delays: {e}", target.name),
                        "raise the limit of open files (ulimit -n)",
                    )
                })?;
                gate.insert(timers).clone()
            }
        };
        let open = Open::open(&target.name, spec, &timers, &self.ca, &self.containers).await?;
        let state = open.state();
        self.lock().insert(target.name.clone(), open);
        Ok(state)
    }

    fn check(&self, order: &Order) -> Result<Plan, Refusal> {
        let spec = spec(&order.target)?;
        let fault = &order.fault;
        let def = fault.inject.def();
        let name = &order.target.name;
        match def.layer {
            Layer::Connections | Layer::Tls => {
                let datagrams = spec.protocol == Protocol::Udp;
                if !faults::fits(def.name, datagrams) {
                    let (passes, needs) = if datagrams { ("datagrams", "tcp") } else { ("streams", "udp") };
                    return Err(Refusal::new(
                        format!("{} makes no sense on proxy:{name}, which passes {passes}", def.name),
                        format!("it is for targets with protocol: {needs}"),
                    ));
                }
            }
            Layer::Requests if spec.protocol == Protocol::Http => {}
            Layer::Requests => {
                return Err(Refusal::new(
                    format!("{} acts on requests, and proxy:{name} passes bytes only", def.name),
                    "give the target protocol: http",
                ));
            }
            _ => {
                return Err(Refusal::new(
                    format!("{} cannot be armed on proxy:{name}", def.name),
                    "`murphy faults` lists the targets of each fault",
                ));
            }
        }
        if let Some(problem) = model::catalogue::tls_misfit(fault, spec) {
            let what = format!("proxy:{name}: {}", problem.what);
            return Err(Refusal(Problem { what, ..problem }));
        }
        if let Some(open) = self.find(name)
            && open.spec != *spec
        {
            return Err(Refusal::new(
                format!("proxy:{name} is open as {}, not as ordered", open.state().about),
                "close it first, or choose another name",
            ));
        }
        if let Some(problem) = fault.problems().into_iter().next() {
            return Err(Refusal(problem));
        }
        Settings::read(fault, 0).map_err(Refusal)?;
        let act = Act { agent: self.agent.clone(), target: name.clone(), fault: order.id.clone() };
        let mut warnings: Vec<String> =
            def.irreversible.then(|| format!("{}: {}", def.name, def.ends)).into_iter().collect();
        warnings.extend(self.find(name).and_then(|open| open.stands()?.gone_past()));
        Ok(Plan {
            order: order.clone(),
            acts: vec![UndoRecord {
                injector: self.name().to_owned(),
                act: format!("{} on proxy:{name} ({})", fault.describe(), spec.ends()),
                undo: format!("disarm {} on proxy:{name}; it also ends with the agent", order.id),
                data: serde_json::to_value(act).unwrap_or_default(),
                ends_with_agent: true,
            }],
            warnings,
        })
    }

    fn arm(&self, plan: &Plan) -> Result<(), InjectError> {
        let name = &plan.order.target.name;
        let Some(open) = self.find(name) else {
            return Err(InjectError::new(format!(
                "{} was not armed: proxy:{name} is not open",
                plan.order.id
            ))
            .hint("open the target first"));
        };
        let fault = open.arm(&plan.order).map_err(InjectError)?;
        self.remember(fault);
        Ok(())
    }

    fn undo(&self, record: &UndoRecord) -> Recovered {
        let act: Act = match serde_json::from_value(record.data.clone()) {
            Ok(act) => act,
            Err(e) => return Recovered::Failed(format!("the undo record does not say what was armed: {e}")),
        };
        if act.agent != self.agent {
            return Recovered::Gone("it ended with the agent whose proxy it was in".into());
        }
        match self.find(&act.target) {
            Some(open) if open.disarm(&act.fault) => Recovered::Undone,
            Some(_) => Recovered::Gone(format!("{} is not on any more", act.fault)),
            None => Recovered::Gone(format!("proxy:{} is closed", act.target)),
        }
    }
}

impl Drop for ProxyInjector {
    fn drop(&mut self) {
        for open in self.lock().values() {
            open.abandon();
        }
    }
}

fn spec(target: &Target) -> Result<&ProxySpec, Refusal> {
    match &target.spec {
        TargetSpec::Proxy(spec) => Ok(spec),
        other => {
            Err(Refusal(Problem::new(format!("{}:{} is not a proxy", other.kind().word(), target.name))))
        }
    }
}

impl Injector for ProxyInjector {
    fn name(&self) -> &'static str {
        "proxy"
    }

    fn kinds(&self) -> &'static [TargetKind] {
        &[TargetKind::Proxy]
    }

    fn open<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<TargetState, Refusal>> {
        Box::pin(self.open_target(target))
    }

    fn close<'a>(&'a self, target: &'a TargetRef) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let _gate = self.gate.lock().await;
            if target.kind != TargetKind::Proxy {
                return;
            }
            let open = self.lock().remove(&target.name);
            if let Some(open) = open {
                open.close().await;
            }
        })
    }

    fn states(&self) -> Vec<TargetState> {
        self.lock().values().map(|open| open.state()).collect()
    }

    fn totals(&self) -> BTreeMap<TargetRef, Sample> {
        let open: Vec<_> = self.lock().iter().map(|(name, open)| (name.clone(), open.clone())).collect();
        open.into_iter()
            .map(|(name, open)| (TargetRef::new(TargetKind::Proxy, name), open.totals()))
            .collect()
    }

    fn plan<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Plan, Refusal>> {
        Box::pin(async move { self.check(order) })
    }

    fn inject<'a>(&'a self, plan: &'a Plan, _log: &'a dyn UndoLog) -> BoxFuture<'a, Outcomes> {
        Box::pin(async move { vec![self.arm(plan)] })
    }

    fn adjust<'a>(&'a self, armed: &'a Armed, fault: &'a Fault) -> BoxFuture<'a, Result<(), InjectError>> {
        Box::pin(async move {
            if let Some(problem) = fault.problems().into_iter().next() {
                return Err(InjectError(problem));
            }
            let name = &armed.order.target.name;
            let open = self
                .find(name)
                .ok_or_else(|| InjectError::new(format!("proxy:{name} is closed, and its faults with it")))?;
            open.adjust(&armed.order.id, fault).map_err(InjectError)
        })
    }

    fn recover<'a>(&'a self, act: &'a UndoRecord) -> BoxFuture<'a, Recovered> {
        Box::pin(async move { self.undo(act) })
    }

    fn evidence(&self, armed: &Armed) -> Evidence {
        let faults = self.lock_faults();
        let mine = faults.iter().rev().find(|f| f.id == armed.order.id);
        mine.map(|fault| fault.evidence()).unwrap_or_default()
    }
}
