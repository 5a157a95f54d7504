//! An injector whose every step can be made slow or wrong. Its targets are proxies that are none.

use inject::{
    Armed, BoxFuture, InjectError, Injector, Order, Outcomes, Plan, Recovered, Refusal, UndoLog, UndoRecord,
};
use model::sample::TargetState;
use model::{Evidence, Fault, Sample, Target, TargetKind, TargetRef};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Default)]
pub struct Mock {
    /// Ids of faults that are on.
    pub on: Mutex<BTreeSet<String>>,
    /// Ids in the order in which they were undone.
    pub undone: Mutex<Vec<String>>,
    /// How long arming and changing take, in milliseconds.
    pub slow_ms: AtomicU64,
    /// So many undos fail first.
    pub undo_fails: AtomicUsize,
    /// Which acts fail.
    pub act_fails: Mutex<BTreeSet<usize>>,
    /// How many acts a plan has.
    pub acts: AtomicUsize,
    /// Arming panics.
    pub panics: AtomicUsize,
    /// How often it was measured.
    pub measured: AtomicU64,
    pub adjusted: AtomicU64,
}

impl Mock {
    pub fn new() -> Arc<Mock> {
        Arc::new(Mock { acts: AtomicUsize::new(1), ..Mock::default() })
    }

    pub fn is_on(&self, id: &str) -> bool {
        self.on.lock().unwrap().contains(id)
    }

    async fn slowly(&self) {
        tokio::time::sleep(Duration::from_millis(self.slow_ms.load(SeqCst))).await;
    }
}

fn state(target: TargetRef) -> TargetState {
    TargetState { target, about: "a mock".into(), up: true, listen: None, http: false }
}

impl Injector for Mock {
    fn name(&self) -> &'static str {
        "mock"
    }
    fn kinds(&self) -> &'static [TargetKind] {
        &[TargetKind::Proxy]
    }
    fn open<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<TargetState, Refusal>> {
        Box::pin(async move { Ok(state(target.reference())) })
    }
    fn close<'a>(&'a self, _target: &'a TargetRef) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
    fn states(&self) -> Vec<TargetState> {
        Vec::new()
    }
    fn totals(&self) -> BTreeMap<TargetRef, Sample> {
        let requests = self.measured.fetch_add(1, SeqCst) * 10;
        BTreeMap::from([("proxy:cart".parse().unwrap(), Sample { requests, ..Sample::default() })])
    }
    fn plan<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Plan, Refusal>> {
        let acts = (0..self.acts.load(SeqCst))
            .map(|i| UndoRecord {
                injector: "mock".into(),
                act: format!("do {i}"),
                undo: format!("undo {i}"),
                data: serde_json::json!({"id": order.id, "act": i}),
                ends_with_agent: false,
            })
            .collect();
        Box::pin(async move { Ok(Plan { order: order.clone(), acts, warnings: vec![] }) })
    }
    fn claims(&self, plan: &Plan) -> Vec<String> {
        vec![plan.order.fault.target.to_string()]
    }
    fn inject<'a>(&'a self, plan: &'a Plan, log: &'a dyn UndoLog) -> BoxFuture<'a, Outcomes> {
        Box::pin(async move {
            self.slowly().await;
            let mut out = Vec::new();
            for i in 0..plan.acts.len() {
                if self.act_fails.lock().unwrap().contains(&i) {
                    out.push(Err(InjectError::new(format!("act {i} failed"))));
                    continue;
                }
                let mut data = plan.acts[i].data.clone();
                data["known"] = true.into();
                out.push(log.effect(i, data).await);
                self.on.lock().unwrap().insert(plan.order.id.clone());
                assert!(self.panics.load(SeqCst) == 0, "as the test wants it");
            }
            out
        })
    }
    fn adjust<'a>(&'a self, armed: &'a Armed, _fault: &'a Fault) -> BoxFuture<'a, Result<(), InjectError>> {
        Box::pin(async move {
            self.slowly().await;
            self.adjusted.fetch_add(1, SeqCst);
            // As a data plane would: the new snapshot has the fault.
            self.on.lock().unwrap().insert(armed.order.id.clone());
            Ok(())
        })
    }
    fn recover<'a>(&'a self, act: &'a UndoRecord) -> BoxFuture<'a, Recovered> {
        Box::pin(async move {
            if self.undo_fails.load(SeqCst) > 0 {
                self.undo_fails.fetch_sub(1, SeqCst);
                return Recovered::Failed("the thing is stuck".into());
            }
            let id = act.data["id"].as_str().unwrap().to_owned();
            let was = self.on.lock().unwrap().remove(&id);
            self.undone.lock().unwrap().push(format!("{id}{}", act.data["act"]));
            if was { Recovered::Undone } else { Recovered::Gone("it was not on".into()) }
        })
    }
    fn evidence(&self, _armed: &Armed) -> Evidence {
        Evidence { considered: 3, applied: 2, measured: BTreeMap::new() }
    }
}
