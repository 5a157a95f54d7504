//! What the engine is asked for, and how that is taken back.

use super::api::{Engine, EngineError};
use super::find::{Found, State, inspect};
use super::limits::{Limits, UNLIMITED};
use super::record::Act;
use crate::cgroup::{Cgroups, Place};
use crate::group::{self, Edit, Undo};
use crate::process::signals;
use inject::{InjectError, Order, Recovered, Refusal, UndoRecord};
use model::Fault;
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

/// How long the engine may take beyond what a container is given to end.
const ENGINE: Duration = Duration::from_secs(5);
/// The longest a container is given to end: arming has to be answered.
const LONGEST: Duration = Duration::from_secs(40);
/// How long after it was asked an engine does what it was asked for.
const MOMENT: Duration = Duration::from_secs(2);

/// The act on one container and its undo.
pub(super) async fn plan(order: &Order, found: &Found) -> Result<UndoRecord, Refusal> {
    let engine = Engine::of(found);
    let refuse = |e: EngineError| Refusal::new(e.to_string(), e.hint());
    let state = inspect(&engine, &found.id).await.map_err(refuse)?;
    let inject = &order.fault.inject;
    let (name, short) = (&found.name, found.short());
    let fault = inject.name();
    let removes = state.host_config["AutoRemove"].as_bool() == Some(true);
    let mut edits = Vec::new();
    let (act, undo) = match fault {
        "pause" if state.paused => {
            return Err(Refusal::new(
                format!("container {name} is paused already, and not by this fault"),
                "it would be continued afterwards although someone wants it paused; unpause it first",
            ));
        }
        "pause" => (format!("pause container {name} ({short})"), format!("unpause container {name}")),
        "kill" => {
            let signal = inject.text("signal").unwrap_or("SIGKILL");
            (format!("send {signal} to container {name} ({short})"), "cannot be undone".into())
        }
        "container_stop" if removes => {
            return Err(Refusal::new(
                format!(
                    "container {name} was started with --rm: stopped, it is removed and cannot be started again"
                ),
                "start it without --rm, or use kill, which takes nothing back",
            ));
        }
        "container_stop" => {
            (format!("stop container {name} ({short})"), format!("start container {name} again"))
        }
        "container_restart" => {
            (format!("restart container {name} ({short})"), "nothing: it is back by itself".into())
        }
        _ => {
            let limits = Limits::of(&state.host_config);
            let body = limits.narrowed(inject);
            if body.as_object().is_none_or(|o| o.is_empty()) {
                return Err(Refusal::new("container_limits says no limit", "give cpu, memory or pids"));
            }
            if engine.is_podman().await {
                // Its API has no such call, or has it since lately.
                edits = group::edits(&found.cgroups, inject)?;
                let each = |text: fn(&Edit) -> String| edits.iter().map(text).collect::<Vec<_>>().join(", ");
                let set = each(|e| format!("{} in {}", e.set, e.file.display()));
                let back = each(|e| format!("{} into {}", e.before, e.file.display()));
                (
                    format!("narrow the limits of container {name} ({short}) in its control group: {set}"),
                    format!("write back {back}"),
                )
            } else {
                (
                    format!("narrow the limits of container {name} ({short}): {body}"),
                    format!("restore them: {}", limits.restored(inject)),
                )
            }
        }
    };
    let record = Act {
        fault: fault.to_owned(),
        id: found.id.clone(),
        name: name.clone(),
        engine: found.engine.clone(),
        pid: found.pid,
        boot: host::clock::boot_id().to_owned(),
        started_at: state.started_at,
        limits: Limits::of(&state.host_config),
        inject: inject.clone(),
        edits,
    };
    Ok(UndoRecord {
        injector: "container".into(),
        act,
        undo,
        data: serde_json::to_value(&record).unwrap_or_default(),
        ends_with_agent: matches!(fault, "kill" | "container_restart"),
    })
}

/// Acts on one container; what was measured meanwhile.
pub(super) async fn inject(fault: &Fault, act: &Act) -> Result<BTreeMap<String, f64>, InjectError> {
    let engine = Engine::new(act.engine.clone());
    let failed = |e: EngineError| {
        InjectError::new(format!("{} on container {} failed: {e}", act.fault, act.name)).hint(e.hint())
    };
    let id = &act.id;
    let began = Instant::now();
    let patience = fault.inject.span("timeout").unwrap_or(Duration::ZERO).min(LONGEST);
    let mut measured = BTreeMap::new();
    match act.fault.as_str() {
        "pause" => {
            // Looked at right before: a pause by someone else since the plan must not become ours to undo.
            if inspect(&engine, id).await.map_err(failed)?.paused {
                return Err(InjectError::new(format!(
                    "container {} was paused by someone else meanwhile",
                    act.name
                ))
                .hint("it was left paused"));
            }
            engine.post(&format!("/containers/{id}/pause"), None, ENGINE).await.map_err(failed)?;
            if !inspect(&engine, id).await.map_err(failed)?.paused {
                return Err(InjectError::new(format!(
                    "container {} is not paused although it was",
                    act.name
                )));
            }
        }
        "kill" => {
            let signal = fault.inject.text("signal").unwrap_or("SIGKILL");
            signal_first(&engine, id, act.pid, signal).await.map_err(failed)?;
            if signal == "SIGKILL" {
                let pid = act.pid;
                let gone = tokio::task::spawn_blocking(move || {
                    pid.open().map_or(true, |held| held.wait_exit(Duration::from_secs(2)))
                });
                let _ = gone.await;
            }
        }
        "container_stop" => {
            let t = patience.as_secs();
            engine
                .post(&format!("/containers/{id}/stop?t={t}"), None, patience + ENGINE)
                .await
                .map_err(failed)?;
            measured.insert("took_ms".into(), began.elapsed().as_secs_f64() * 1e3);
        }
        "container_restart" => {
            let t = patience.as_secs();
            engine
                .post(&format!("/containers/{id}/restart?t={t}"), None, patience + ENGINE)
                .await
                .map_err(failed)?;
            measured.insert("took_ms".into(), began.elapsed().as_secs_f64() * 1e3);
            let state = inspect(&engine, id).await.map_err(failed)?;
            measured.insert("running".into(), f64::from(u8::from(state.running)));
        }
        _ if !act.edits.is_empty() => {
            let failed = |why: String| {
                InjectError::new(format!("{} on container {} failed: {why}", act.fault, act.name))
            };
            if !act.pid.alive() {
                return Err(failed("it was started anew meanwhile".into()).hint("arm it once more"));
            }
            let groups = Cgroups::of(act.pid.pid).map_err(|e| failed(e.to_string()))?;
            let wanted = group::edits(&groups, &fault.inject).map_err(|r| InjectError(r.0))?;
            if let Err(why) = wanted.iter().try_for_each(Edit::apply) {
                // A part that failed counts as not done: nothing of it may stay. A change of what is on leaves it on.
                if fault.inject == act.inject {
                    act.edits.iter().rev().for_each(|edit| drop(edit.undo(None)));
                }
                return Err(failed(why));
            }
        }
        _ => {
            let body = act.limits.narrowed(&fault.inject);
            let path = format!("/containers/{id}/update");
            engine.post(&path, Some(&body), ENGINE).await.map_err(|e| {
                failed(e).hint(
                    "a memory limit below what is in use is refused by version 1 of control groups: use less of it",
                )
            })?;
        }
    }
    Ok(measured)
}

/// Signals a container's first process: past the engine, which takes its own `kill` for a stop by hand and then does not
/// start the container again. Through the engine where that is not allowed.
pub(super) async fn signal_first(
    engine: &Engine,
    id: &str,
    process: host::ProcessId,
    signal: &str,
) -> Result<(), EngineError> {
    let sent = signals::named(signal)
        .zip(process.open().ok())
        .is_some_and(|(signal, held)| held.signal(signal).is_ok());
    if !sent {
        engine.post(&format!("/containers/{id}/kill?signal={signal}"), None, ENGINE).await?;
    }
    Ok(())
}

/// Takes one back.
pub(super) async fn recover(act: &Act) -> Recovered {
    let name = &act.name;
    if matches!(act.fault.as_str(), "kill" | "container_restart") {
        return Recovered::Gone("it happened once".into());
    }
    if !act.edits.is_empty() {
        return written_back(act);
    }
    let engine = Engine::new(act.engine.clone());
    let state = match inspect(&engine, &act.id).await {
        Ok(state) => state,
        Err(e) if e.is_missing() => return Recovered::Gone(format!("container {name} was removed")),
        Err(e) => return without_engine(act, &e),
    };
    let again = |e: EngineError| {
        if e.is_missing() {
            return Recovered::Gone(format!("container {name} was removed"));
        }
        Recovered::Failed(format!("{e}; {}, then run `murphy recover`", e.hint()))
    };
    match act.fault.as_str() {
        "pause" => {
            // Whoever was killed in the middle may have asked a moment ago.
            let paused = || becomes(&engine, act, &state, MOMENT / 4, |s| s.paused);
            if !state.paused && !paused().await {
                return Recovered::Gone(format!("container {name} is {}, not paused", state.status));
            }
            if state.started_at != act.started_at {
                return Recovered::Gone(format!(
                    "container {name} was started anew since, and paused by someone else"
                ));
            }
            match engine.post(&format!("/containers/{}/unpause", act.id), None, ENGINE).await {
                Ok(_) => {}
                Err(e) => return again(e),
            }
            seen(&engine, act, "still paused", |s| !s.paused).await
        }
        "container_stop" => {
            // Whoever was killed while the engine was stopping it leaves it running, and the engine goes on to stop it.
            let patience = act.inject.span("timeout").unwrap_or(Duration::ZERO).min(LONGEST) + MOMENT;
            if state.running && !becomes(&engine, act, &state, patience, |s| !s.running).await {
                return Recovered::Gone(format!("container {name} runs again already, or was never stopped"));
            }
            match engine.post(&format!("/containers/{}/start", act.id), None, ENGINE).await {
                Ok(_) => {}
                Err(e) => return again(e),
            }
            seen(&engine, act, "not running", |s| s.running).await
        }
        "container_limits" => {
            let body = act.limits.restored(&act.inject);
            let path = format!("/containers/{}/update", act.id);
            match engine.post(&path, Some(&body), ENGINE).await {
                Ok(_) => {}
                Err(e) => return again(e),
            }
            let as_before = |s: &State| {
                let now = Limits::of(&s.host_config);
                let same = |key: &str, now: i64, before: i64| {
                    body.get(key).is_none()
                        || now == before
                        || (before <= 0 && (now <= 0 || now == UNLIMITED))
                };
                same("Memory", now.memory, act.limits.memory)
                    && same("CpuQuota", now.quota, act.limits.quota)
                    && same("NanoCpus", now.nano_cpus, act.limits.nano_cpus)
                    && same("PidsLimit", now.pids, act.limits.pids)
            };
            seen(&engine, act, "limited otherwise than before", as_before).await
        }
        other => Recovered::Failed(format!(
            "nobody here knows the fault {other:?}; use the version of murphy that armed it"
        )),
    }
}

/// Whether it becomes so within a time, while it is the same that it was when the fault was made.
async fn becomes(
    engine: &Engine,
    act: &Act,
    now: &State,
    within: Duration,
    wanted: impl Fn(&State) -> bool,
) -> bool {
    let (began, mut same) = (Instant::now(), now.running && now.started_at == act.started_at);
    while same && began.elapsed() < within {
        tokio::time::sleep(Duration::from_millis(50)).await;
        match inspect(engine, &act.id).await {
            Ok(now) if wanted(&now) => return true,
            Ok(now) => same = now.running && now.started_at == act.started_at,
            // What the engine says to the next question decides.
            Err(_) => return true,
        }
    }
    false
}

/// Looks that it is as it should be.
async fn seen(engine: &Engine, act: &Act, not: &str, wanted: impl Fn(&State) -> bool) -> Recovered {
    match inspect(engine, &act.id).await {
        Ok(state) if wanted(&state) => Recovered::Undone,
        Ok(state) => Recovered::Failed(format!("container {} is {not} ({})", act.name, state.status)),
        Err(e) if e.is_missing() => Recovered::Gone(format!("container {} was removed", act.name)),
        Err(e) => Recovered::Failed(e.to_string()),
    }
}

/// Limits that were written past the engine; they end with the group, when the container is started anew.
fn written_back(act: &Act) -> Recovered {
    let (mut gone, mut done) = (Vec::new(), false);
    for edit in act.edits.iter().rev() {
        match edit.undo(None) {
            Undo::Done => done = true,
            Undo::Nothing(why) => gone.push(why),
            Undo::Failed(why) => return Recovered::Failed(format!("container {}: {why}", act.name)),
        }
    }
    if done { Recovered::Undone } else { Recovered::Gone(gone.join("; ")) }
}

/// What can be undone while the engine does not answer.
fn without_engine(act: &Act, e: &EngineError) -> Recovered {
    let here = act.boot == host::clock::boot_id() && act.pid.alive();
    match act.fault.as_str() {
        "pause" if !here => Recovered::Gone(format!("container {} has ended with its engine", act.name)),
        // It stays frozen without the engine too; its group is thawed past it.
        "pause" => match thaw(act) {
            Ok(()) => Recovered::Undone,
            Err(why) => Recovered::Failed(format!("{e}; and thawing its group failed: {why}")),
        },
        _ => Recovered::Failed(format!("{e}; start the engine, then run `murphy recover`")),
    }
}

fn thaw(act: &Act) -> Result<(), String> {
    let groups = Cgroups::of(act.pid.pid).map_err(|e| e.to_string())?;
    group::freeze(&groups, false)
}

/// What is seen of it now.
pub(super) fn measure(fault: &str, acts: &[Act], found: &[Found]) -> BTreeMap<String, f64> {
    let count = |n: usize| n as f64;
    let ended = count(acts.iter().filter(|a| !a.pid.alive()).count());
    let mut out = BTreeMap::new();
    match fault {
        "pause" => {
            let frozen = found.iter().filter(|f| group::frozen(&f.cgroups) == Some(true)).count();
            out.insert("frozen_now".into(), count(frozen));
        }
        "kill" | "container_stop" => {
            out.insert("ended".into(), ended);
        }
        "container_limits" => {
            for group in found.iter().map(|f| &f.cgroups) {
                if let Some(memory) = group.memory() {
                    out.insert("memory_limit".into(), memory.limit as f64);
                    out.insert("memory_used".into(), memory.used as f64);
                }
                if let Some(cores) = group::cores(group) {
                    out.insert("cores_limit".into(), cores);
                }
                let pids = group.controller("pids").and_then(|place| {
                    let (Place::V1(dir) | Place::V2(dir)) = place;
                    fs::read_to_string(dir.join("pids.max")).ok()?.trim().parse::<f64>().ok()
                });
                if let Some(pids) = pids {
                    out.insert("pids_limit".into(), pids);
                }
            }
        }
        _ => {}
    }
    out
}
