//! What is on in which namespace: arming, changing and counting it.

use super::dns::{Asked, Resolver};
use super::domain::{Counted, Domain};
use super::occupied::Occupied;
use super::part::{Part, What};
use super::place::Place;
use super::prepare::{Prepared, Ready, prepare};
use super::{domain, table, tracked, undo};
use crate::opened::Opened;
use crate::shared::lock;
use host::{Netns, NetnsId};
use inject::{Armed, Order, Refusal};
use model::{Evidence, Fault};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Everything that is on.
#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) opened: Opened,
    /// Namespaces in which something is on. Others are let go, so that they can end.
    pub(super) domains: Mutex<BTreeMap<NetnsId, Arc<Domain>>>,
    /// What is kept of each fault, one for each namespace.
    pub(super) kept: Mutex<BTreeMap<String, Vec<Kept>>>,
    pub(super) control: Mutex<Vec<u16>>,
    /// One fault is armed or changed at a time, so that numbers are chosen once.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// Names in filters are being looked up again.
    pub(super) watching: AtomicBool,
}

/// What is kept of a fault in a namespace.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) place: Place,
    /// Its packets.
    pub(super) part: Option<Part>,
    pub(super) resolver: Option<Resolver>,
    pub(super) asked: Option<Arc<Asked>>,
    pub(super) occupied: Option<Occupied>,
    pub(super) measured: BTreeMap<String, f64>,
    pub(super) seen: u64,
    pub(super) applied: u64,
    pub(super) last: Counted,
}

/// How often names in filters are looked up again.
const AGAIN: Duration = Duration::from_secs(5);

impl Inner {
    /// The domain of a namespace, if something is on in it; else one that nobody knows yet.
    pub(super) fn domain(&self, ns: &Netns) -> Arc<Domain> {
        let known = lock(&self.domains).get(&ns.id()).cloned();
        known.unwrap_or_else(|| {
            let name = format!("murphy_{}_{}", std::process::id(), ns.id().inode);
            Arc::new(Domain::new(ns.clone(), name))
        })
    }

    pub(super) fn prepare_in(
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
    pub(super) fn arm(&self, id: &str, domain: &Arc<Domain>, prepared: Prepared) -> Result<(), String> {
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
    pub(super) fn change(&self, order: &Order, fault: &Fault) -> Result<(), String> {
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

    pub(super) fn keep_part(&self, id: &str, new: &Part) {
        for kept in lock(&self.kept).get_mut(id).into_iter().flatten() {
            if kept.part.as_ref().is_some_and(|p| p.number == new.number) {
                kept.part = Some(new.clone());
            }
        }
    }

    /// Looks names in filters up again, as long as there are any.
    pub(super) fn watch(self: &Arc<Self>) {
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

    pub(super) fn evidence(&self, armed: &Armed) -> Evidence {
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
