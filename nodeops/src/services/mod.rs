//! Units of systemd: `service_stop` and `service_restart`.

mod systemctl;

use crate::held::Held;
use crate::opened::Opened;
use crate::shared::lock;
use host::process;
use inject::knob::Dials;
use inject::{
    Armed, BoxFuture, InjectError, Injector, Order, Outcomes, Plan, Recovered, Refusal, UndoLog, UndoRecord,
};
use model::sample::TargetState;
use model::{Evidence, Fault, Target, TargetKind, TargetRef};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use systemctl::{Systemctl, Unit};

/// How long a unit may take to stop or to start: arming has to be answered.
const PATIENCE: Duration = Duration::from_secs(40);

/// What a machine goes down with, or can no longer be reached without.
const VITAL: [&str; 9] =
    ["systemd-", "dbus", "ssh", "murphy", "init", "emergency", "rescue", "user@", "getty"];

/// Stops and restarts units of systemd.
#[derive(Debug, Default)]
pub struct ServiceInjector {
    systemctl: Systemctl,
    opened: Opened,
    held: Held,
    measured: Mutex<BTreeMap<String, BTreeMap<String, f64>>>,
}

/// The data of an undo record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Act {
    fault: String,
    unit: String,
    boot: String,
    invocation: String,
}

impl ServiceInjector {
    /// Injects by `systemctl`.
    pub fn new() -> ServiceInjector {
        ServiceInjector::default()
    }

    /// Injects by another program that takes the same arguments.
    pub fn with_program(program: PathBuf) -> ServiceInjector {
        ServiceInjector { systemctl: Systemctl::of(program), ..ServiceInjector::default() }
    }

    async fn plan_now(&self, order: &Order) -> Result<Plan, Refusal> {
        Dials::new(&order.fault).finish().map_err(Refusal)?;
        if let Some(why) = self.systemctl.missing() {
            return Err(Refusal::new(why, "stop what runs by process: or container: targets instead"));
        }
        let inject = &order.fault.inject;
        let name = full_name(inject.text("unit").unwrap_or_default())?;
        let unit = self
            .systemctl
            .show(&name)
            .await
            .map_err(|why| Refusal::new(why, "the agent must be allowed to speak with systemd"))?;
        let Unit { id, load, active, .. } = &unit;
        if load != "loaded" {
            return Err(Refusal::new(
                format!("systemd knows no unit {name} ({load})"),
                "`systemctl list-units --type=service` lists those that run",
            ));
        }
        if active != "active" {
            return Err(Refusal::new(
                format!("{id} is {active}, not active"),
                "only a unit that is active is touched, so that it is the same again afterwards",
            ));
        }
        // An alias leads to something vital just as well.
        vital(id)?;
        if holds_us(id) {
            return Err(Refusal::new(
                format!("murphy itself, or what started it, is a part of {id}"),
                "run the agent in a unit of its own",
            ));
        }
        self.held.check(&[key(id)], &order.id)?;
        let fault = inject.name();
        let (act, undo) = match fault {
            "service_stop" => (format!("stop {id}"), format!("start {id} again")),
            "service_restart" => (format!("restart {id}"), "nothing: it is back by itself".into()),
            other => {
                return Err(Refusal::new(
                    format!("{other} is no fault of services"),
                    "try service_stop or service_restart",
                ));
            }
        };
        let data = Act {
            fault: fault.to_owned(),
            unit: id.clone(),
            boot: host::clock::boot_id().to_owned(),
            invocation: unit.invocation,
        };
        let record = UndoRecord {
            injector: "service".into(),
            act,
            undo,
            data: serde_json::to_value(&data).unwrap_or_default(),
            ends_with_agent: fault == "service_restart",
        };
        Ok(Plan { order: order.clone(), acts: vec![record], warnings: vec![] })
    }

    async fn act(&self, id: &str, act: &Act) -> Result<(), InjectError> {
        self.held.take(vec![key(&act.unit)], id);
        let began = Instant::now();
        match self.carry_out(act).await {
            Ok(state) => {
                let numbers = BTreeMap::from([
                    ("took_ms".to_owned(), began.elapsed().as_secs_f64() * 1e3),
                    ("active".to_owned(), f64::from(u8::from(state.active == "active"))),
                ]);
                lock(&self.measured).insert(id.to_owned(), numbers);
                Ok(())
            }
            Err(e) => {
                // It may be stopped, or be stopped yet by a job that goes on: both are called off by the opposite. Why it
                // failed says more than why that does.
                let _ = self.start(&act.unit).await;
                Err(e)
            }
        }
    }

    async fn carry_out(&self, act: &Act) -> Result<Unit, InjectError> {
        let unit = &act.unit;
        let failed = |why: String| {
            InjectError::new(format!("{} of {unit} failed: {why}", act.fault))
                .hint("root, or a polkit rule for the unit, is needed")
        };
        let verb = if act.fault == "service_stop" { "stop" } else { "restart" };
        self.systemctl.ask(verb, unit, PATIENCE).await.map_err(failed)?;
        let state = self.systemctl.show(unit).await.map_err(failed)?;
        if verb == "stop" && !matches!(state.active.as_str(), "inactive" | "failed") {
            return Err(InjectError::new(format!("{unit} is {} although it was stopped", state.active))
                .hint("something else starts it: a socket, a timer or a path unit; stop that one instead"));
        }
        Ok(state)
    }

    /// Starts a unit, also when it was started so often lately that systemd refuses: that was us.
    async fn start(&self, unit: &str) -> Result<(), String> {
        let Err(why) = self.systemctl.ask("start", unit, PATIENCE).await else { return Ok(()) };
        self.systemctl.ask("reset-failed", unit, PATIENCE).await.map_err(|_| why)?;
        self.systemctl.ask("start", unit, PATIENCE).await
    }

    async fn undo(&self, act: &Act) -> Recovered {
        if act.fault != "service_stop" {
            return Recovered::Gone("it happened once".into());
        }
        if act.boot != host::clock::boot_id() {
            return Recovered::Gone("the machine was started anew since".into());
        }
        let unit = &act.unit;
        let again =
            |why: String| Recovered::Failed(format!("{why}; start {unit} by hand, or run `murphy recover`"));
        let began = Instant::now();
        let state = loop {
            let state = match self.systemctl.show(unit).await {
                Ok(state) => state,
                Err(why) => return again(why),
            };
            // An agent that was killed in the middle leaves the command that it had started: that will stop the unit yet.
            if !systemctl::is_stopping(unit) || began.elapsed() > PATIENCE {
                break state;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let runs = match (state.load.as_str(), state.active.as_str()) {
            ("loaded", "active" | "activating" | "reloading") => true,
            ("loaded", _) => false,
            (other, _) => return Recovered::Gone(format!("{unit} is {other} now")),
        };
        // Also of one that runs: what would stop it in a moment is called off by that.
        if let Err(why) = self.start(unit).await {
            return again(why);
        }
        if runs {
            return Recovered::Gone(format!("{unit} runs already"));
        }
        match self.systemctl.show(unit).await {
            Ok(state) if state.active == "active" => Recovered::Undone,
            Ok(state) => again(format!("{unit} is {} after it was started", state.active)),
            Err(why) => again(why),
        }
    }
}

impl Injector for ServiceInjector {
    fn name(&self) -> &'static str {
        "service"
    }

    fn kinds(&self) -> &'static [TargetKind] {
        &[TargetKind::Node]
    }

    fn injects(&self, fault: &str) -> bool {
        matches!(fault, "service_stop" | "service_restart")
    }

    fn open<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<TargetState, Refusal>> {
        // The one for the machine comes first.
        Box::pin(async move { self.opened.open(target, "units of systemd".into(), vec![]) })
    }

    fn close<'a>(&'a self, target: &'a TargetRef) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.opened.close(target) })
    }

    fn states(&self) -> Vec<TargetState> {
        self.opened.states()
    }

    fn plan<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Plan, Refusal>> {
        Box::pin(self.plan_now(order))
    }

    fn claims(&self, plan: &Plan) -> Vec<String> {
        plan.acts.iter().filter_map(|act| Some(key(&read(act)?.unit))).collect()
    }

    fn inject<'a>(&'a self, plan: &'a Plan, _log: &'a dyn UndoLog) -> BoxFuture<'a, Outcomes> {
        Box::pin(async move {
            let mut out = Vec::new();
            for act in &plan.acts {
                out.push(match read(act) {
                    Some(act) => self.act(&plan.order.id, &act).await,
                    None => Err(InjectError::new("the plan does not read").hint("please report this")),
                });
            }
            out
        })
    }

    fn adjust<'a>(&'a self, armed: &'a Armed, fault: &'a Fault) -> BoxFuture<'a, Result<(), InjectError>> {
        Box::pin(async move {
            if fault.inject == armed.order.fault.inject {
                return Ok(());
            }
            Err(InjectError::new(format!(
                "{} has nothing that could be changed while it is on",
                fault.inject.name()
            ))
            .hint("disarm it and arm it again"))
        })
    }

    fn recover<'a>(&'a self, act: &'a UndoRecord) -> BoxFuture<'a, Recovered> {
        Box::pin(async move {
            match read(act) {
                Some(act) => self.undo(&act).await,
                None => Recovered::Failed(format!("the record of {:?} does not read: {}", act.act, act.data)),
            }
        })
    }

    fn evidence(&self, armed: &Armed) -> Evidence {
        let measured = lock(&self.measured).get(&armed.order.id).cloned().unwrap_or_default();
        let n = armed.acts.len() as u64;
        Evidence { considered: n, applied: n, measured }
    }

    fn forget(&self, armed: &Armed) {
        lock(&self.measured).remove(&armed.order.id);
        self.held.release(&armed.order.id);
    }
}

/// A name with what kind of unit it is; refused where it is none, or where nobody should stop it.
fn full_name(name: &str) -> Result<String, Refusal> {
    let fits = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if name.is_empty() || name.starts_with(['-', '.']) || !name.chars().all(fits) {
        return Err(Refusal::new(
            format!("{name:?} is no name of a unit"),
            "write for example nginx.service",
        ));
    }
    let full = if name.contains('.') { name.to_owned() } else { format!("{name}.service") };
    let kind = full.rsplit('.').next().unwrap_or_default();
    if !["service", "socket", "timer", "path"].contains(&kind) {
        return Err(Refusal::new(
            format!("{full} is no service, socket, timer or path"),
            "other units (targets, slices, mounts) take much else with them",
        ));
    }
    vital(&full)?;
    Ok(full)
}

fn vital(name: &str) -> Result<(), Refusal> {
    match VITAL.iter().find(|v| name.starts_with(**v)) {
        None => Ok(()),
        Some(_) => Err(Refusal::new(
            format!("{name} keeps the machine up, or within reach"),
            "choose a service that the machine serves",
        )),
    }
}

/// Whether this process, or one that started it, is in that unit's group.
fn holds_us(unit: &str) -> bool {
    let me = std::process::id();
    let part = format!("/{unit}");
    process::ancestors(me).into_iter().chain([me]).any(|pid| {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        groups.lines().any(|line| line.ends_with(&part) || line.contains(&format!("{part}/")))
    })
}

fn key(unit: &str) -> String {
    format!("unit {unit}")
}

fn read(act: &UndoRecord) -> Option<Act> {
    serde_json::from_value(act.data.clone()).ok()
}

/// The units of systemd that run, or why they are not seen.
pub(crate) async fn running_units() -> Result<Vec<String>, String> {
    let systemctl = Systemctl::default();
    match systemctl.missing() {
        Some(why) => Err(format!("services: {why}")),
        None => systemctl.running().await.map_err(|why| format!("services: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_units_are_completed_and_vital_ones_refused() {
        assert_eq!(full_name("nginx").unwrap(), "nginx.service");
        assert_eq!(full_name("app@1.socket").unwrap(), "app@1.socket");
        for bad in ["", "-x", "a b", "x;y", "multi-user.target", "ssh", "systemd-journald.service", "dbus"] {
            assert!(full_name(bad).is_err(), "{bad}");
        }
    }
}
