//! Everything that is settled before a run starts: targets found, privileges present, undo known, services answering.
//! All problems are gathered, nothing is armed.

use crate::{Agent, EngineError};
use bytes::Bytes;
use inject::Plan;
use model::experiment::{Experiment, Source, Start};
use model::target::{Protocol, Target, TargetSpec};
use model::units::Span;
use model::{Problem, TargetRef, draw};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};

/// A run that could start.
#[derive(Debug)]
pub struct Prepared {
    /// The seed of every random choice.
    pub seed: u64,
    /// The targets this run opened, and has to close again.
    pub opened: Vec<TargetRef>,
    /// What would be done, in the order of the file.
    pub plans: Vec<(String, Start, Option<Span>, Plan)>,
    /// The bodies of the loads.
    pub bodies: BTreeMap<String, Bytes>,
}

/// Opens the targets and plans every fault. On problems, what was opened is closed again.
pub async fn prepare(
    agent: &Agent,
    experiment: &Experiment,
    seed: u64,
    base: &Path,
) -> Result<Prepared, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut opened = Vec::new();
    let known: Vec<TargetRef> = agent.targets().into_iter().map(|s| s.target).collect();
    for target in &experiment.targets {
        if let Some(problem) = unreachable(target).await {
            problems.push(problem);
            continue;
        }
        match agent.open(target.clone()).await {
            Ok(_) if known.contains(&target.reference()) => {}
            Ok(_) => opened.push(target.reference()),
            Err(e) => problems.push(problem(&e)),
        }
    }
    let mut plans = Vec::new();
    if problems.is_empty() {
        for stage in &experiment.stages {
            for planned in &stage.faults {
                match agent.plan(seeded(planned.fault.clone(), seed)).await {
                    Ok(plan) => {
                        plans.push((stage.name.clone(), planned.start.clone(), planned.fault.lasts, plan))
                    }
                    Err(e) => problems.push(problem(&e)),
                }
            }
        }
    }
    let mut bodies = BTreeMap::new();
    for load in &experiment.loads {
        match body(load.body.as_deref(), base) {
            Ok(bytes) => {
                if let Err(e) = super::load::check(load, &bytes, base) {
                    problems.push(
                        Problem::new(format!("load {}: {e}", load.name))
                            .hint("correct its url, roots, method and headers"),
                    );
                }
                bodies.insert(load.name.clone(), bytes);
            }
            Err(problem) => problems.push(problem),
        }
    }
    problems.extend(missing_programs(experiment, base));
    for metric in &experiment.steady_state.metrics {
        let asked = match &metric.from {
            Source::Http(probe) => Some((&probe.url, &probe.trust)),
            Source::Prometheus(probe) => Some((&probe.url, &probe.trust)),
            _ => None,
        };
        if let Some((url, trust)) = asked
            && let Err(e) = super::http::Origin::parse(url, trust, base)
        {
            problems
                .push(Problem::new(format!("metric {}: {e}", metric.name)).hint("correct its url and roots"));
        }
    }
    problems.extend(radius(experiment));
    if problems.is_empty() {
        return Ok(Prepared { seed, opened, plans, bodies });
    }
    close(agent, &opened).await;
    problems.dedup();
    Err(problems)
}

fn problem(e: &EngineError) -> Problem {
    match e {
        EngineError::Refused(problem) => problem.clone(),
        other => {
            let text = other.to_string();
            match text.split_once("; ") {
                Some((what, hint)) => Problem::new(what).hint(hint),
                None => Problem::new(text),
            }
        }
    }
}

/// Closes targets that a run opened, last first.
pub async fn close(agent: &Agent, opened: &[TargetRef]) {
    for target in opened.iter().rev() {
        // A target that is under someone else's faults by now stays open for them.
        let _ = agent.close(target).await;
    }
}

/// The fault with the seed it draws from: its own, or one derived from the run's and its id.
pub fn seeded(mut fault: model::Fault, seed: u64) -> model::Fault {
    if fault.seed.is_none() {
        fault.seed = Some(draw::derive(seed, fault.id.as_deref().unwrap_or_default()));
    }
    fault
}

/// A proxy whose service does not answer would only measure that. Of several services one must answer; what cannot be
/// asked (datagrams, wherever a redirected connection was going) is not.
async fn unreachable(target: &Target) -> Option<Problem> {
    let TargetSpec::Proxy(proxy) = &target.spec else { return None };
    if proxy.protocol == Protocol::Udp || proxy.upstream == "original" {
        return None;
    }
    let mut why = Vec::new();
    for service in proxy.services() {
        match tokio::time::timeout(Duration::from_secs(3), answers(service)).await {
            Ok(Ok(())) => return None,
            Ok(Err(e)) => why.push(format!("nothing can be reached at {service}: {e}")),
            Err(_) => why.push(format!("nothing can be reached at {service}: no answer within 3s")),
        }
    }
    // A proxy of stubs alone has nobody behind it.
    if why.is_empty() {
        return None;
    }
    Some(
        Problem::new(format!("{}, upstream of {}", why.join(", "), target.name))
            .hint("start the service first, or correct upstream"),
    )
}

/// Connects to `host:port`, the first of a range of ports, or `unix:/path`.
async fn answers(service: &str) -> std::io::Result<()> {
    if let Some(path) = service.strip_prefix("unix:") {
        return UnixStream::connect(path).await.map(drop);
    }
    let first = match service.rsplit_once(':').and_then(|(host, ports)| Some((host, ports.split_once('-')?)))
    {
        Some((host, (first, _))) => format!("{host}:{first}"),
        None => service.to_owned(),
    };
    TcpStream::connect(first).await.map(drop)
}

fn body(given: Option<&str>, base: &Path) -> Result<Bytes, Problem> {
    match given {
        None => Ok(Bytes::new()),
        Some(text) => match text.strip_prefix('@') {
            None => Ok(Bytes::from(text.to_owned())),
            Some(file) => std::fs::read(base.join(file)).map(Bytes::from).map_err(|e| {
                Problem::new(format!("cannot read the body {}: {e}", base.join(file).display()))
                    .hint("paths are relative to the experiment file")
            }),
        },
    }
}

fn missing_programs(experiment: &Experiment, base: &Path) -> Vec<Problem> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let exists = |program: &str| {
        if program.contains('/') {
            base.join(program).is_file() || Path::new(program).is_file()
        } else {
            std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
        }
    };
    let programs = experiment.steady_state.metrics.iter().filter_map(|m| match &m.from {
        Source::Command(probe) => probe.run.first().map(|p| (m.name.as_str(), p)),
        _ => None,
    });
    programs
        .filter(|(_, program)| !exists(program))
        .map(|(metric, program)| {
            Problem::new(format!("metric {metric} runs {program}, which does not exist"))
                .hint("install it, or give its path")
        })
        .collect()
}

/// How many targets are under faults at once, counted over the whole time line.
fn radius(experiment: &Experiment) -> Option<Problem> {
    let max = experiment.safety.max_targets_at_once? as usize;
    for stage in &experiment.stages {
        let mut spans: Vec<(Duration, Duration, &TargetRef)> = Vec::new();
        let mut ends: BTreeMap<&str, Duration> = BTreeMap::new();
        for planned in &stage.faults {
            let start = match &planned.start {
                Start::At(at) => at.0,
                Start::After { fault, delay } => {
                    ends.get(fault.as_str()).copied().unwrap_or_default() + delay.0
                }
            };
            let end = start + planned.fault.lasts.unwrap_or(Span::millis(1)).0;
            ends.insert(&planned.id, end);
            spans.push((start, end, &planned.fault.target));
        }
        for (at, _, _) in &spans {
            let mut hit: Vec<&TargetRef> =
                spans.iter().filter(|(s, e, _)| s <= at && at < e).map(|(_, _, t)| *t).collect();
            hit.sort();
            hit.dedup();
            if hit.len() > max {
                return Some(
                    Problem::new(format!(
                        "{} targets are under faults at once {} into stage {}, and blast_radius allows {max}",
                        hit.len(),
                        Span(*at),
                        stage.name
                    ))
                    .hint("shift faults with at or after, or raise max_targets_at_once"),
                );
            }
        }
    }
    None
}
