//! What the engine asks of this room.

use super::domain::Domain;
use super::place::Place;
use super::prepare::{Prepared, Ready};
use super::record::{Act, Done};
use super::{NetworkInjector, left, place, probe, undo, words};
use crate::shared::{blocking, lock};
use inject::{
    Armed, BoxFuture, InjectError, Injector, Leftover, Order, Outcomes, Plan, Recovered, Refusal, UndoLog,
    UndoRecord,
};
use model::sample::TargetState;
use model::{Evidence, Fault, Target, TargetKind, TargetRef, catalogue};

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
