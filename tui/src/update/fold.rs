//! What agents say becomes what is known of them.

use super::events::event;
use super::{Effect, News, Snapshot, connections, files, requests, toast};
use crate::form::Plan;
use crate::state::{ArmedFault, Entry, Level, Link, Model};
use crate::tell::{self, Weight};
use control::{ClientError, Signal};

/// Clocks may drift apart by so much before times are placed anew.
const DRIFT_MS: f64 = 500.0;

pub(super) fn news(model: &mut Model, agent: usize, news: News, effects: &mut Vec<Effect>) {
    match news {
        News::Signal(Signal::Connected { fresh }) => connected(model, agent, fresh),
        News::Signal(Signal::Event(e)) => {
            if model.agents[agent].offset_ms.is_none() {
                model.agents[agent].waiting.push(*e);
            } else {
                event(model, agent, *e, effects);
            }
        }
        News::Signal(Signal::Lost(e)) => lost(model, agent, &e),
        News::Snapshot(snapshot) => {
            self::snapshot(model, agent, *snapshot);
            for e in std::mem::take(&mut model.agents[agent].waiting) {
                event(model, agent, e, effects);
            }
        }
        News::Planned(ask, result) => {
            if model.ui.form.plan == Plan::Asked(ask) {
                model.ui.form.plan = match *result {
                    Ok(plan) => Plan::Possible(Box::new(plan)),
                    Err(e) => Plan::Refused(e.to_string()),
                };
                model.dirty = true;
            }
        }
        News::Armed(Ok(state)) => {
            let id = state.id.clone();
            toast(model, Level::Good, format!("armed {id}: {}", state.fault.describe()));
            model.mine.push((agent, id));
            add_fault(model, agent, *state);
        }
        News::Armed(Err(e)) => toast(model, Level::Bad, format!("not armed: {e}")),
        News::Adjusted(id, Ok(state)) => {
            toast(model, Level::Good, format!("changed {id}: {}", state.fault.describe()));
            add_fault(model, agent, *state);
        }
        News::Adjusted(id, Err(e)) => toast(model, Level::Bad, format!("{id} is not changed: {e}")),
        News::Disarmed(id, Ok(done)) => {
            toast(model, Level::Good, format!("disarmed {id}: {}", tell::did(&done.evidence)));
        }
        News::Disarmed(id, Err(e)) => {
            if let Some(f) = model.agents[agent].faults.iter_mut().find(|f| f.id == id) {
                f.leaving = false;
            }
            toast(model, Level::Bad, format!("not disarmed: {e}"));
        }
        News::Renewed(id, Ok(state)) => {
            let now_ms = model.now_ms;
            if let Some(f) = model.agents[agent].faults.iter_mut().find(|f| f.id == id) {
                f.lease_ends_ms = state.lease_left.map(|l| now_ms + l.as_millis_f64());
            }
        }
        // The stream tells that the fault ended or the agent is lost; a renewal that failed says no more.
        News::Renewed(_, Err(_)) => {}
        News::Halted(took_ms, result) => halted(model, agent, took_ms, result),
        News::Lifted(Ok(())) => {
            model.agents[agent].halted = None;
            model.ui.halting.clear();
            toast(model, Level::Good, "the halt is lifted");
        }
        News::Lifted(Err(e)) => toast(model, Level::Bad, format!("not lifted: {e}")),
        News::Connections(result) => connections::list(model, agent, result, effects),
        News::ConnectionDone(what, id, result) => connections::done(model, agent, what, id, result, effects),
        News::Requests(result) => requests::list(model, agent, result, effects),
        News::RequestsDone(what, result) => requests::done(model, &what, result, effects),
        News::Operations(result) => files::list(model, agent, result, effects),
        News::RunEnded(Ok(run)) => toast(model, Level::Good, format!("{} is ended", run.name)),
        News::RunEnded(Err(e)) => toast(model, Level::Bad, format!("the run goes on: {e}")),
    }
}

fn connected(model: &mut Model, agent: usize, fresh: bool) {
    model.dirty = true;
    let was_lost = matches!(model.agents[agent].link, Link::Lost { .. });
    let known = model.agents[agent].offset_ms.is_some();
    if fresh && known {
        model.agents[agent].begin_anew();
        let now = model.now_ms;
        for w in model.windows.iter_mut().filter(|w| w.agent == agent && w.to_ms.is_none()) {
            w.to_ms = Some(now);
        }
        model.mine.retain(|(a, _)| *a != agent);
        model.sort_connections();
        model.sort_requests();
        model.sort_operations();
        model.replot();
    }
    model.agents[agent].link = Link::Up;
    if was_lost && known {
        let text = if fresh { "it was started anew" } else { "it is back" };
        local_note(model, agent, "agent", Weight::Good, format!("{}: {text}", model.agents[agent].name));
    }
}

fn lost(model: &mut Model, agent: usize, e: &ClientError) {
    let (brief, whole) = (e.brief(), e.to_string());
    let now = model.now_ms;
    match &mut model.agents[agent].link {
        Link::Lost { brief: b, whole: w, .. } => {
            if (&*b, &*w) == (&brief, &whole) {
                return;
            }
            (*b, *w) = (brief, whole);
        }
        link => {
            let was_up = *link == Link::Up;
            *link = Link::Lost { brief: brief.clone(), whole, since_ms: now };
            if was_up {
                let a = &model.agents[agent];
                let lapse = a.faults.iter().filter_map(ArmedFault::lapses_ms).fold(0.0, f64::max);
                let tail = if a.faults.is_empty() {
                    String::new()
                } else {
                    let left = ((lapse - now) / 1000.0).max(0.0);
                    format!("; its {} fault(s) end by themselves within {left:.0}s", a.faults.len())
                };
                let text = format!("{} is lost ({brief}){tail}", a.name);
                local_note(model, agent, "agent", Weight::Bad, text);
            }
        }
    }
    model.agents[agent].rtt_ms = None;
    model.dirty = true;
}

/// A line about an agent that the agent itself cannot write.
fn local_note(model: &mut Model, agent: usize, word: &'static str, weight: Weight, text: String) {
    let wall_ms = model.log.back().map_or(0, |e| e.wall_ms + (model.now_ms - e.at_ms).max(0.0) as u64);
    let told = tell::Told { word, text, weight };
    model.note(Entry { agent, wall_ms, at_ms: model.now_ms, told });
}

fn snapshot(model: &mut Model, agent: usize, s: Snapshot) {
    let now_ms = model.now_ms;
    let a = &mut model.agents[agent];
    let first = a.offset_ms.is_none();
    let middle = (s.asked_ms + s.answered_ms) / 2.0;
    let offset = middle - s.status.agent.mono_ms;
    if a.offset_ms.is_none_or(|before| (before - offset).abs() > DRIFT_MS) {
        a.offset_ms = Some(offset);
        a.tick = None;
    }
    let rtt = (s.answered_ms - s.asked_ms).max(0.0);
    let shown = |ms: Option<f64>| ms.map(|v| v.round() as i64);
    let before = (shown(a.rtt_ms), a.halted.clone(), a.targets.clone(), a.name.clone(), a.role);
    a.rtt_ms = Some(a.rtt_ms.map_or(rtt, |old| old * 0.7 + rtt * 0.3));
    if s.status.agent.seq >= a.changed_seq {
        a.introduce(&s.status);
        a.targets = s.targets;
    }
    if let Some(unavailable) = s.unavailable {
        a.unavailable = unavailable;
    }
    if first {
        a.snapshot_seq = s.status.agent.seq;
        a.link = Link::Up;
    }
    match (&a.run, &s.status.agent.run) {
        (None, Some(run)) => a.run = Some(a.run_from(run, now_ms)),
        (Some(mine), None) if mine.verdict.is_none() && s.status.agent.seq >= a.changed_seq => a.run = None,
        _ => {}
    }
    let now = (shown(a.rtt_ms), a.halted.clone(), a.targets.clone(), a.name.clone(), a.role);
    model.dirty |= before != now || first;
    if first && s.status.agent.seq > model.agents[agent].seen_seq {
        model.agents[agent].listed = Some(s.faults);
    } else if s.status.agent.seq >= model.agents[agent].changed_seq {
        model.agents[agent].listed = None;
        list_faults(model, agent, s.faults);
    }
    if first {
        model.replot();
    }
}

/// Takes the agent's own list of faults for what is on.
pub(super) fn list_faults(model: &mut Model, agent: usize, faults: Vec<control::wire::FaultState>) {
    let now_ms = model.now_ms;
    let ids: Vec<String> = faults.iter().map(|f| f.id.clone()).collect();
    for old in &model.agents[agent].faults.iter().map(|f| f.id.clone()).collect::<Vec<_>>() {
        if !ids.contains(old) {
            remove_fault(model, agent, old, now_ms);
        }
    }
    for state in faults {
        add_fault(model, agent, state);
    }
}

fn add_fault(model: &mut Model, agent: usize, state: control::wire::FaultState) {
    let from_ms = model.agents[agent].local(state.armed_mono_ms);
    let tag = model.open_window(agent, &state.id, &state.fault, from_ms);
    let mut fault = model.agents[agent].armed(state, tag, model.now_ms);
    let faults = &mut model.agents[agent].faults;
    match faults.iter_mut().find(|f| f.id == fault.id) {
        Some(known) => {
            // Ends computed again and again from rounded remainders would make the countdown tremble.
            let near = |a: Option<f64>, b: Option<f64>| matches!((a, b), (Some(a), Some(b)) if (a - b).abs() < 900.0);
            if near(known.ends_ms, fault.ends_ms) {
                fault.ends_ms = known.ends_ms;
            }
            fault.since_ms = known.since_ms;
            fault.leaving = known.leaving;
            model.dirty |= *known != fault;
            *known = fault;
        }
        None => {
            faults.push(fault);
            model.dirty = true;
        }
    }
}

pub(super) fn remove_fault(model: &mut Model, agent: usize, id: &str, at_ms: f64) {
    model.agents[agent].faults.retain(|f| f.id != id);
    model.close_window(agent, id, at_ms);
    model.mine.retain(|(a, i)| (*a, i.as_str()) != (agent, id));
    model.dirty = true;
}

fn halted(model: &mut Model, agent: usize, took_ms: f64, result: Result<control::wire::Halted, ClientError>) {
    model.dirty = true;
    if let Some(h) = model.ui.halting.iter_mut().find(|h| h.agent == agent) {
        h.took_ms = Some(took_ms);
        h.result = Some(match result {
            // A second halt finds nothing left; what the first took back is what matters.
            Ok(done) => match (h.result.take(), done.failed.is_empty()) {
                (Some(Ok(before)), true) if done.faults.is_empty() => Ok(before),
                (_, true) => Ok(done.faults),
                (_, false) => Err(done
                    .failed
                    .into_iter()
                    .map(|(id, why)| format!("{id}: {why}"))
                    .collect::<Vec<_>>()
                    .join("; ")),
            },
            Err(e) => Err(e.brief()),
        });
    }
}
