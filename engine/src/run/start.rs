//! How a run begins: what is asked for, what is refused, what it would do.

use super::prepare::{close, prepare};
use super::progress::{Options, RunProgress};
use super::runner::Runner;
use crate::Agent;
use crate::report::{self, JournalThread};
use model::experiment::{Experiment, Start};
use model::target::{ProxySpec, TargetSpec};
use model::{Problem, RunRecord};
use std::path::Path;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// A run that goes on. Dropping it does not end it.
#[derive(Debug)]
pub struct RunHandle {
    /// Where it is.
    pub progress: watch::Receiver<RunProgress>,
    /// Ends it, with who wants that; everything is taken back.
    pub end: mpsc::Sender<String>,
    /// Its record, when it has ended.
    pub record: JoinHandle<RunRecord>,
}

/// Settles everything, then starts. On problems nothing was touched.
pub async fn start(
    agent: Agent,
    experiment: Experiment,
    mut options: Options,
) -> Result<RunHandle, Vec<Problem>> {
    if let Some(halt) = agent.halted() {
        return Err(vec![
            Problem::new(format!("nothing can be armed: {} halted everything", halt.by))
                .hint("lift the halt with `murphy halt --lift`"),
        ]);
    }
    let seed = options.seed.or(experiment.seed).unwrap_or_else(random_seed);
    let prepared = prepare(&agent, &experiment, seed, &options.base).await?;
    let journal = match &options.dir {
        Some(dir) => match report::begin(dir) {
            Ok((dir, journal)) => {
                options.dir = Some(dir);
                Some(JournalThread::start(journal))
            }
            Err(e) => {
                close(&agent, &prepared.opened).await;
                let hint = if e.kind() == std::io::ErrorKind::AlreadyExists {
                    "a run is there already: give another directory"
                } else {
                    "give a directory that can be written"
                };
                return Err(vec![
                    Problem::new(format!("cannot begin a report in {}: {e}", dir.display())).hint(hint),
                ]);
            }
        },
        None => None,
    };
    let (end, ended) = mpsc::channel(4);
    let (tell, progress) = watch::channel(RunProgress {
        name: experiment.name.clone(),
        phase: "baseline".into(),
        stage: None,
        stages: experiment.stages.iter().map(|s| (s.name.clone(), s.lasts)).collect(),
        seed,
        verdict: None,
        why: None,
        report: None,
    });
    let runner = Runner::new(agent, experiment, options, prepared, journal, ended, tell);
    Ok(RunHandle { progress, end, record: tokio::spawn(runner.drive()) })
}

/// What would be done and how it would be undone, line by line; touches nothing but opens and closes targets.
pub async fn dry_run(
    agent: &Agent,
    experiment: &Experiment,
    seed: Option<u64>,
    base: &Path,
) -> Result<Vec<String>, Vec<Problem>> {
    let seed = seed.or(experiment.seed).unwrap_or_else(random_seed);
    let mut gentle = experiment.clone();
    for target in &mut gentle.targets {
        if let TargetSpec::Proxy(ProxySpec { in_front_of: Some(front), .. }) = &mut target.spec {
            front.reset_open = false;
        }
    }
    let prepared = prepare(agent, &gentle, seed, base).await?;
    close(agent, &prepared.opened).await;
    let mut lines = vec![format!("{}: {} in all, seed {seed}", experiment.name, experiment.lasts())];
    lines.push(format!("baseline for {}", experiment.steady_state.baseline));
    let mut stage = String::new();
    for (name, start, lasts, plan) in &prepared.plans {
        if *name != stage {
            let length =
                experiment.stages.iter().find(|s| s.name == *name).map(|s| s.lasts).unwrap_or_default();
            lines.push(format!("stage {name} for {length}"));
            stage.clone_from(name);
        }
        let when = match start {
            Start::At(at) => format!("+{at}"),
            Start::After { fault, delay } => format!("{delay} after {fault}"),
        };
        let order = &plan.order;
        lines.push(format!(
            "  {when:>8}  {} on {}{}",
            order.fault.describe(),
            order.fault.target,
            lasts.map_or(String::new(), |l| format!(" for {l}"))
        ));
        for act in &plan.acts {
            lines.push(format!("            do:   {}", act.act));
            lines.push(format!("            undo: {}", act.undo));
        }
        lines.extend(plan.warnings.iter().map(|w| format!("            mind: {w}")));
    }
    lines.push(format!("cooldown for {}", experiment.steady_state.cooldown));
    Ok(lines)
}

fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library's hasher is keyed by the system's random numbers. Six digits are easy to type again.
    std::collections::hash_map::RandomState::new().build_hasher().finish() % 1_000_000
}
