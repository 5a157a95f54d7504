//! Events become what is known of an agent. Those from before the console came are history: they fill plots, lanes and
//! the log, but what is on now the agent's own lists say.

use super::{Effect, fold};
use crate::state::bounds::Bound;
use crate::state::{ArmedFault, Check, Entry, Model, Run};
use crate::tell;
use model::event::{GuardState, WindowResult};
use model::{Event, EventKind, Evidence};
use std::collections::BTreeMap;

/// Takes in one event.
pub(super) fn event(model: &mut Model, agent: usize, e: Event, effects: &mut Vec<Effect>) {
    let at_ms = model.agents[agent].local(e.mono_ms);
    let history = e.seq <= model.agents[agent].snapshot_seq;
    if let Some(told) = tell::tell(&e).filter(|_| is_news(model, agent, &e.kind)) {
        model.note(Entry { agent, wall_ms: e.at_ms, at_ms, told });
        model.dirty = true;
    }
    if !history && changes_what_is(&e.kind) {
        model.agents[agent].changed_seq = e.seq;
    }
    match e.kind {
        EventKind::Samples { targets } => samples(model, agent, e.mono_ms, &targets),
        EventKind::Evidence { faults } if !history => evidence(model, agent, faults),
        EventKind::Armed { id, fault, .. } if history => {
            // Whether it is still on, the snapshot knows better; when it was on is for the plots.
            model.open_window(agent, &id, &fault, at_ms);
        }
        EventKind::Armed { id, fault, by } => armed(model, agent, at_ms, id, fault, by),
        EventKind::Adjusted { id, fault, .. } if !history => {
            let now_ms = model.now_ms;
            if let Some(f) = model.agents[agent].faults.iter_mut().find(|f| f.id == id) {
                if f.fault.lasts != fault.lasts {
                    f.ends_ms = fault.lasts.map(|l| now_ms + l.as_millis_f64());
                }
                f.fault = fault;
            }
        }
        EventKind::Recovered { id, .. } if history => model.close_window(agent, &id, at_ms),
        EventKind::Recovered { id, .. } => fold::remove_fault(model, agent, &id, at_ms),
        EventKind::TargetOpened { target, about } if !history => {
            // The event does not say everything about it.
            effects.push(Effect::Refresh(agent));
            if model.agents[agent].target(&target).is_none() {
                let state = model::sample::TargetState { target, about, up: true, listen: None, http: false };
                model.agents[agent].targets.push(state);
            }
        }
        EventKind::TargetClosed { target } if !history => {
            model.agents[agent].targets.retain(|t| t.target != target);
            model.agents[agent].series.remove(&target.to_string());
            model.replot();
        }
        EventKind::Halted { by, .. } if !history => {
            model.agents[agent].halted = Some(control::wire::HaltState { by, at_ms: e.at_ms });
        }
        EventKind::HaltLifted { .. } if !history => {
            model.agents[agent].halted = None;
            model.ui.halting.clear();
        }
        kind => run_event(model, agent, at_ms, kind),
    }
    let a = &mut model.agents[agent];
    a.seen_seq = e.seq;
    if a.seen_seq >= a.snapshot_seq
        && let Some(faults) = a.listed.take()
    {
        fold::list_faults(model, agent, faults);
    }
}

/// Whether an event makes an answer to `status` or `faults` from before it out of date.
fn changes_what_is(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::TargetOpened { .. }
            | EventKind::TargetClosed { .. }
            | EventKind::Armed { .. }
            | EventKind::Adjusted { .. }
            | EventKind::Recovered { .. }
            | EventKind::Halted { .. }
            | EventKind::HaltLifted { .. }
            | EventKind::RunStarted { .. }
            | EventKind::RunEnded { .. }
    )
}

/// A window is worth a line when its metric is judged otherwise than before; to be within its bound is as expected.
fn is_news(model: &mut Model, agent: usize, kind: &EventKind) -> bool {
    let (metric, result) = match kind {
        EventKind::Window { metric, result, .. } => (metric, result),
        // An audit line says of a call what its own event says already.
        EventKind::Note { text, .. } => return !text.starts_with("audit: "),
        _ => return true,
    };
    let before = model.agents[agent].judged.insert(metric.clone(), *result);
    before.unwrap_or(WindowResult::Pass) != *result
}

fn run_event(model: &mut Model, agent: usize, at_ms: f64, kind: EventKind) {
    match kind {
        EventKind::RunStarted { name, seed, stages, bounds } => {
            model.bounds =
                bounds.iter().filter_map(|(m, (source, expect))| Bound::parse(m, source, expect)).collect();
            model.agents[agent].judged.clear();
            let check = |(source, expect): (String, String)| Check { source, expect, ..Check::default() };
            let mut run = Run {
                name,
                since_ms: at_ms,
                seed,
                plan: stages,
                steps: Vec::new(),
                checks: bounds.into_iter().map(|(metric, bound)| (metric, check(bound))).collect(),
                why: None,
                report: None,
                phase: "baseline".into(),
                stage: None,
                phase_since_ms: at_ms,
                lasts: None,
                breaches: BTreeMap::new(),
                verdict: None,
            };
            run.enter("baseline", None, None, at_ms);
            model.agents[agent].run = Some(run);
        }
        EventKind::Window { metric, value, result } => {
            if let Some(run) = &mut model.agents[agent].run {
                let check = run.checks.entry(metric).or_default();
                check.value = value;
                if check.result.replace(result) != Some(result) {
                    check.since_ms = Some(at_ms);
                }
            }
        }
        EventKind::Phase { phase, stage, lasts } => {
            if let Some(run) = &mut model.agents[agent].run {
                run.enter(&phase, stage.as_ref(), lasts, at_ms);
                (run.phase, run.stage, run.lasts, run.phase_since_ms) = (phase, stage, lasts, at_ms);
            }
        }
        EventKind::Guard { guard, state } => {
            if let Some(run) = &mut model.agents[agent].run {
                match state {
                    GuardState::Cleared => drop(run.breaches.remove(&guard)),
                    GuardState::Pending | GuardState::Tripped => {
                        run.breaches.entry(guard).or_insert(at_ms);
                    }
                }
            }
        }
        EventKind::RunEnded { verdict, why, report, .. } => {
            if let Some(run) = &mut model.agents[agent].run {
                if let Some(last) = run.steps.last_mut() {
                    last.to_ms.get_or_insert(at_ms);
                }
                (run.why, run.report) = (Some(why), report);
                run.phase = "done".into();
                run.stage = None;
                run.breaches.clear();
                run.verdict = Some((verdict, at_ms));
            }
        }
        _ => {}
    }
}

fn armed(model: &mut Model, agent: usize, at_ms: f64, id: String, fault: model::Fault, by: String) {
    let tag = model.open_window(agent, &id, &fault, at_ms);
    let faults = &mut model.agents[agent].faults;
    if !faults.iter().any(|f| f.id == id) {
        faults.push(ArmedFault {
            id,
            tag,
            ends_ms: fault.lasts.map(|l| at_ms + l.as_millis_f64()),
            fault,
            by,
            since_ms: at_ms,
            lease: None,
            lease_ends_ms: None,
            evidence: Evidence::default(),
            leaving: false,
        });
    }
}

fn evidence(model: &mut Model, agent: usize, faults: BTreeMap<String, Evidence>) {
    for (id, evidence) in faults {
        if let Some(f) = model.agents[agent].faults.iter_mut().find(|f| f.id == id)
            && f.evidence != evidence
        {
            f.evidence = evidence;
            model.dirty = true;
        }
    }
}

fn samples(model: &mut Model, agent: usize, mono_ms: f64, targets: &BTreeMap<String, model::Sample>) {
    let a = &mut model.agents[agent];
    let local_second = (a.local(mono_ms) / 1000.0).floor() as i64;
    let (first_mono, first_second) = *a.tick.get_or_insert((mono_ms, local_second));
    let second = first_second + ((mono_ms - first_mono) / 1000.0).round() as i64;
    if (second - local_second).abs() > 2 {
        a.tick = Some((mono_ms, local_second));
    }
    for (name, sample) in targets {
        a.series.entry(name.clone()).or_default().push(second, sample);
    }
    model.advance_plots();
    model.dirty |= model.ui.frozen.is_none();
}
