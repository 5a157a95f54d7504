//! Faults on the network of a node, a container, a process or a network namespace.
//!
//! ```text
//! place      the namespaces behind a target, and their interfaces
//! filter     which packets: asked of packets, and written as rules of nf_tables
//! shape      what is done to them: a pure function of what was before, the seed and now
//! prepare    a fault read and checked for one namespace, fitted with an engine (choose); words: the same in words and commands
//! domain     one namespace with everything wired in it: tables (table), wires (emulated/), IFBs (native/)
//! dns/, occupied, tracked    names, ports, tracked connections
//! record, undo   what logs hold of it, and taking it back; left: the same, found without a log
//! ```

#[cfg(test)]
mod agreement;
mod choose;
mod dns;
mod domain;
mod emulated;
mod exempt;
pub mod filter;
mod left;
mod native;
mod occupied;
pub mod packet;
mod part;
mod place;
mod prepare;
mod probe;
mod record;
mod shape;
mod table;
mod tracked;
mod undo;
mod words;

pub use dns::wire as dns_wire;
pub use probe::findings;

use crate::opened::Opened;
use dns::{Asked, Resolver};
use domain::{Counted, Domain};
use host::{Netns, NetnsId};
use inject::{
    Armed, BoxFuture, InjectError, Injector, Leftover, Order, Outcomes, Plan, Recovered, Refusal, UndoLog,
    UndoRecord,
};
use model::sample::TargetState;
use model::{Evidence, Fault, Target, TargetKind, TargetRef, catalogue};
use occupied::Occupied;
use part::{Part, What};
use place::Place;
use prepare::{Prepared, Ready, prepare};
use record::{Act, Done};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Injects into networks.
#[derive(Debug, Default)]
pub struct NetworkInjector {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    opened: Opened,
    /// Namespaces in which something is on. Others are let go, so that they can end.
    domains: Mutex<BTreeMap<NetnsId, Arc<Domain>>>,
    /// What is kept of each fault, one for each namespace.
    kept: Mutex<BTreeMap<String, Vec<Kept>>>,
    control: Mutex<Vec<u16>>,
    /// One fault is armed or changed at a time, so that numbers are chosen once.
    turn: tokio::sync::Mutex<()>,
    /// Names in filters are being looked up again.
    watching: AtomicBool,
}

/// What is kept of a fault in a namespace.
#[derive(Debug)]
struct Kept {
    place: Place,
    /// Its packets.
    part: Option<Part>,
    resolver: Option<Resolver>,
    asked: Option<Arc<Asked>>,
    occupied: Option<Occupied>,
    measured: BTreeMap<String, f64>,
    seen: u64,
    applied: u64,
    last: Counted,
}

/// How often names in filters are looked up again.
const AGAIN: Duration = Duration::from_secs(5);

impl NetworkInjector {
    /// An injector with nothing on.
    pub fn new() -> NetworkInjector {
        NetworkInjector::default()
    }

    /// Connections to that port of this machine are murphy's own control connections: they are left alone.
    pub fn control_port(&self, port: u16) {
        lock(&self.inner.control).push(port);
    }
}

impl Inner {
    /// The domain of a namespace, if something is on in it; else one that nobody knows yet.
    fn domain(&self, ns: &Netns) -> Arc<Domain> {
        let known = lock(&self.domains).get(&ns.id()).cloned();
        known.unwrap_or_else(|| {
            let name = format!("murphy_{}_{}", std::process::id(), ns.id().inode);
            Arc::new(Domain::new(ns.clone(), name))
        })
    }

    fn prepare_in(
        &self,
        order: &Order,
        fault: &Fault,
        place: &Place,
        keep: Option<&Part>,
    ) -> Result<(Arc<Domain>, Prepared), Refusal> {
        let domain = self.domain(&place.ns);
        let control = lock(&self.control).clone();
        let prepared = prepare(order, fault, place, &domain, &control, keep)?;
        Ok((domain, prepared))
    }

    /// Arms what was prepared, in its namespace.
    fn arm(&self, id: &str, domain: &Arc<Domain>, prepared: Prepared) -> Result<(), String> {
        let Prepared { place, ready, .. } = prepared;
        let mut kept = Kept {
            place,
            part: None,
            resolver: None,
            asked: None,
            occupied: None,
            measured: BTreeMap::new(),
            seen: 0,
            applied: 0,
            last: Counted::default(),
        };
        let inside = |e: std::io::Error| format!("the namespace cannot be entered: {e}");
        match ready {
            Ready::Packets(part, devices) => {
                domain.add(&part, &devices)?;
                kept.part = Some(*part);
            }
            Ready::Names(mut part, rules) => {
                let started = kept.place.ns.run(|| Resolver::start(*rules, table::OWN)).map_err(inside)?;
                let resolver = started.map_err(|e| format!("starting a resolver failed: {e}"))?;
                part.what = What::Redirect(resolver.port());
                domain.add(&part, &[])?;
                // Without connection tracking there is nothing to forget.
                let _ = kept.place.ns.run(tracked::forget_queries);
                kept.asked = Some(resolver.asked.clone());
                kept.resolver = Some(resolver);
                kept.part = Some(*part);
            }
            Ready::Occupy(wanted) => {
                let taken = kept.place.ns.run(|| Occupied::take(&wanted)).map_err(inside)??;
                (kept.seen, kept.applied) = (wanted.ports.len() as u64, wanted.ports.len() as u64);
                kept.measured.insert("sockets".into(), taken.len() as f64);
                kept.occupied = Some(taken);
            }
            Ready::Forget(filter) => {
                let (seen, gone) = kept.place.ns.run(|| tracked::forget(&filter)).map_err(inside)??;
                (kept.seen, kept.applied) = (seen, gone);
                kept.measured.insert("forgotten".into(), gone as f64);
            }
            Ready::Down(all) => {
                kept.place.ns.run(|| undo::switch_off(&all)).map_err(inside)??;
                (kept.seen, kept.applied) = (all.len() as u64, all.len() as u64);
            }
        }
        if kept.part.is_some() {
            lock(&self.domains).insert(kept.place.ns.id(), domain.clone());
        }
        lock(&self.kept).entry(id.to_owned()).or_default().push(kept);
        Ok(())
    }

    /// Changes what is on.
    fn change(&self, order: &Order, fault: &Fault) -> Result<(), String> {
        let found: Vec<(Place, Option<Part>)> = lock(&self.kept)
            .get(&order.id)
            .into_iter()
            .flatten()
            .map(|k| (k.place.clone(), k.part.clone()))
            .collect();
        if found.is_empty() {
            return Err("nothing of it is on any more".into());
        }
        for (place, part) in found {
            let Some(part) = part else {
                return Err(format!(
                    "{} has nothing that could be changed while it is on",
                    fault.inject.name()
                ));
            };
            let (domain, prepared) =
                self.prepare_in(order, fault, &place, Some(&part)).map_err(|r| r.0.to_string())?;
            match prepared.ready {
                Ready::Packets(new, _) => {
                    let native = |what: &What| matches!(what, What::Native(_));
                    if native(&new.what) != native(&part.what) {
                        return Err("the change needs another engine".into());
                    }
                    domain.change(&[(*new).clone()])?;
                    self.keep_part(&order.id, &new);
                }
                Ready::Names(_, rules) => {
                    for kept in lock(&self.kept).get(&order.id).into_iter().flatten() {
                        if let Some(resolver) =
                            kept.resolver.as_ref().filter(|_| kept.place.ns.id() == place.ns.id())
                        {
                            resolver.set((*rules).clone());
                        }
                    }
                }
                _ => return Err("it became another fault".into()),
            }
        }
        Ok(())
    }

    fn keep_part(&self, id: &str, new: &Part) {
        for kept in lock(&self.kept).get_mut(id).into_iter().flatten() {
            if kept.part.as_ref().is_some_and(|p| p.number == new.number) {
                kept.part = Some(new.clone());
            }
        }
    }

    /// Looks names in filters up again, as long as there are any.
    fn watch(self: &Arc<Self>) {
        let named = |inner: &Inner| {
            lock(&inner.domains).values().any(|d| d.parts().iter().any(|p| !p.filter.names().is_empty()))
        };
        if !named(self) || self.watching.swap(true, Ordering::AcqRel) {
            return;
        }
        let inner = Arc::downgrade(self);
        let work = move || {
            loop {
                std::thread::sleep(AGAIN);
                let Some(inner) = inner.upgrade() else { return };
                if !named(&inner) {
                    inner.watching.store(false, Ordering::Release);
                    // One that came in this moment starts its own.
                    return inner.watch();
                }
                let domains: Vec<Arc<Domain>> = lock(&inner.domains).values().cloned().collect();
                for domain in domains {
                    domain.look_again();
                }
            }
        };
        if std::thread::Builder::new().name("murphy-names".into()).spawn(work).is_err() {
            // The next fault with a name tries again.
            self.watching.store(false, Ordering::Release);
        }
    }

    fn evidence(&self, armed: &Armed) -> Evidence {
        let mut out = Evidence::default();
        let mut all = lock(&self.kept);
        let Some(kept) = all.get_mut(&armed.order.id) else { return out };
        let (mut sum, mut packets) = (Counted::default(), false);
        for one in kept {
            out.considered += one.seen;
            out.applied += one.applied;
            for (name, value) in &one.measured {
                *out.measured.entry(name.clone()).or_default() += value;
            }
            if let Some(asked) = &one.asked {
                let of = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
                out.considered += of(&asked.all);
                out.applied += of(&asked.meant);
                *out.measured.entry("unanswered".into()).or_default() += of(&asked.unanswered) as f64;
                continue;
            }
            let Some(part) = &one.part else { continue };
            packets = true;
            let domain = lock(&self.domains).get(&one.place.ns.id()).cloned();
            one.last =
                domain.and_then(|d| d.counted(part.number)).unwrap_or_else(|| domain::read(&part.tally));
            sum.add(&one.last);
        }
        if packets {
            out.considered += sum.seen;
            out.applied += sum.applied;
            let mut put = |name: &str, value: f64| {
                out.measured.insert(name.into(), value);
            };
            put("packets_seen", sum.seen as f64);
            put("packets_delayed", sum.delayed as f64);
            put("packets_dropped", (sum.lost + sum.crowded) as f64);
            if sum.crowded > 0 {
                put("packets_dropped_by_queue", sum.crowded as f64);
            }
            if sum.added > 0.0 && sum.delayed > 0 {
                put("added_ms_mean", sum.added * 1e3 / sum.delayed as f64);
            }
            if sum.overdue.1 > 0 {
                put("late_us_mean", sum.overdue.0 * 1e6 / sum.overdue.1 as f64);
            }
            if sum.failed > 0 {
                put("packets_lost_unasked", sum.failed as f64);
            }
        }
        out
    }
}

impl Injector for NetworkInjector {
    fn name(&self) -> &'static str {
        "network"
    }

    fn kinds(&self) -> &'static [TargetKind] {
        &[TargetKind::Node, TargetKind::Netns, TargetKind::Container, TargetKind::Process]
    }

    fn injects(&self, fault: &str) -> bool {
        catalogue::find(fault).is_some_and(|def| def.layer == catalogue::Layer::Network)
    }

    fn possible(&self, fault: &str) -> Option<inject::Possibility> {
        probe::possible(fault)
    }

    fn leftovers(&self) -> Vec<Leftover> {
        left::all()
    }

    fn open<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<TargetState, Refusal>> {
        Box::pin(async move {
            let found = place::places(target, 0).await?;
            let about =
                found.iter().map(|p| format!("{}, {}", p.about, p.ns.id())).collect::<Vec<_>>().join("; ");
            self.inner.opened.open(target, about, Vec::new())
        })
    }

    fn close<'a>(&'a self, target: &'a TargetRef) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.inner.opened.close(target) })
    }

    fn states(&self) -> Vec<TargetState> {
        self.inner.opened.states()
    }

    fn plan<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Plan, Refusal>> {
        Box::pin(async move {
            let places = place::places(&order.target, order.seed).await?;
            let (inner, order) = (self.inner.clone(), order.clone());
            blocking(move || {
                let (mut acts, mut warnings) = (Vec::new(), Vec::new());
                for place in &places {
                    let (domain, prepared) = inner.prepare_in(&order, &order.fault, place, None)?;
                    let (act, undo) = words::act(&prepared, &order.fault, &domain);
                    let data = data(&order.id, &prepared, &domain);
                    let ends_with_agent = matches!(data.done, Done::Table(_) | Done::Ports | Done::Forgotten);
                    acts.push(UndoRecord {
                        injector: "network".into(),
                        act,
                        undo,
                        data: data.json(),
                        ends_with_agent,
                    });
                    for warning in prepared.warnings {
                        if !warnings.contains(&warning) {
                            warnings.push(warning);
                        }
                    }
                }
                Ok(Plan { order, acts, warnings })
            })
            .await
            .unwrap_or_else(|why| Err(Refusal::new(why, "please report this")))
        })
    }

    fn commands<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Vec<String>> {
        Box::pin(async move {
            let order = plan.order.clone();
            let Ok(places) = place::places(&order.target, order.seed).await else { return Vec::new() };
            let inner = self.inner.clone();
            let all = blocking(move || {
                let mut out = Vec::new();
                for place in &places {
                    if let Ok((domain, prepared)) = inner.prepare_in(&order, &order.fault, place, None) {
                        out.extend(words::commands(&prepared, &domain));
                    }
                }
                out
            });
            all.await.unwrap_or_default()
        })
    }

    fn claims(&self, plan: &Plan) -> Vec<String> {
        let all = plan.acts.iter().filter_map(Act::read);
        all.filter(|act| !matches!(act.done, Done::Ports | Done::Forgotten))
            .map(|act| format!("network {}", act.ns))
            .collect()
    }

    fn inject<'a>(&'a self, plan: &'a Plan, log: &'a dyn UndoLog) -> BoxFuture<'a, Outcomes> {
        Box::pin(async move {
            let _turn = self.inner.turn.lock().await;
            let order = &plan.order;
            let places = match place::places(&order.target, order.seed).await {
                Ok(places) => places,
                Err(refusal) => return vec![Err(InjectError(refusal.0)); plan.acts.len()],
            };
            let mut out = Vec::new();
            for (n, record) in plan.acts.iter().enumerate() {
                out.push(self.inject_one(order, &places, n, record, log).await);
            }
            self.inner.watch();
            out
        })
    }

    fn adjust<'a>(&'a self, armed: &'a Armed, fault: &'a Fault) -> BoxFuture<'a, Result<(), InjectError>> {
        Box::pin(async move {
            let _turn = self.inner.turn.lock().await;
            if fault.inject == armed.order.fault.inject && fault.ramp == armed.order.fault.ramp {
                return Ok(());
            }
            let (inner, order, fault) = (self.inner.clone(), armed.order.clone(), fault.clone());
            let changed = blocking(move || inner.change(&order, &fault)).await.and_then(|r| r);
            self.inner.watch();
            changed.map_err(|why| {
                InjectError::new(format!("{} was not changed: {why}", armed.order.id))
                    .hint("disarm it and arm it again")
            })
        })
    }

    fn recover<'a>(&'a self, act: &'a UndoRecord) -> BoxFuture<'a, Recovered> {
        Box::pin(async move {
            let (inner, act) = (self.inner.clone(), act.clone());
            blocking(move || undo::undo(&inner, &act)).await.unwrap_or_else(Recovered::Failed)
        })
    }

    fn evidence(&self, armed: &Armed) -> Evidence {
        self.inner.evidence(armed)
    }

    fn forget(&self, armed: &Armed) {
        lock(&self.inner.kept).remove(&armed.order.id);
    }
}

impl NetworkInjector {
    async fn inject_one(
        &self,
        order: &Order,
        places: &[Place],
        n: usize,
        record: &UndoRecord,
        log: &dyn UndoLog,
    ) -> Result<(), InjectError> {
        let planned = Act::read(record).ok_or_else(|| InjectError::new("the plan names no namespace"))?;
        let place = places.iter().find(|p| p.ns.id() == planned.ns).cloned().ok_or_else(|| {
            InjectError::new(format!("{}: its network namespace {} is gone", record.act, planned.ns))
                .hint("plan it anew")
        })?;
        let (inner, order) = (self.inner.clone(), order.clone());
        let id = order.id.clone();
        let prepared = blocking(move || inner.prepare_in(&order, &order.fault, &place, None));
        let (domain, prepared) =
            prepared.await.map_err(InjectError::new)?.map_err(|refusal| InjectError(refusal.0))?;
        // On disk before anything is touched: names of devices and what was there are those of now.
        let data = data(&id, &prepared, &domain);
        if data != planned {
            log.effect(n, data.json()).await?;
        }
        let inner = self.inner.clone();
        let done = blocking(move || inner.arm(&id, &domain, prepared)).await.and_then(|r| r);
        done.map_err(|why| InjectError::new(why).hint("nothing of it was left behind"))
    }
}

/// What the undo record says.
fn data(id: &str, prepared: &Prepared, domain: &Domain) -> Act {
    let table = domain.table.clone();
    let done = match &prepared.ready {
        Ready::Packets(_, devices) if devices.is_empty() => Done::Table(table),
        Ready::Packets(_, devices) => Done::Native { table, devices: devices.clone() },
        Ready::Names(..) => Done::Names(table),
        Ready::Occupy(_) => Done::Ports,
        Ready::Forget(_) => Done::Forgotten,
        Ready::Down(all) => Done::Down(all.clone()),
    };
    Act::new(id, &prepared.place.ns, done)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| format!("the injector failed: {e}; please report this"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done under these locks, so a panic elsewhere does not spoil what they guard.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
