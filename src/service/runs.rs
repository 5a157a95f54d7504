//! The run that the API shows: started here or by a command in this process, watched, ended.

use super::{EngineService, now_ms};
use control::wire::{Code, Failure, RunState, StartRun};
use control::{Answer, Caller};
use engine::run::{self, Options, RunHandle};
use model::TargetRef;
use model::experiment::Confirm;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

/// The run that goes on, or the last one.
#[derive(Debug)]
pub(super) struct Running {
    state: RunState,
    end: tokio::sync::mpsc::Sender<String>,
    progress: tokio::sync::watch::Receiver<run::RunProgress>,
}

impl EngineService {
    /// Makes a run that was started in this process the one that the API shows and ends.
    pub fn adopt(&self, handle: &RunHandle, by: &str) -> RunState {
        let progress = handle.progress.borrow().clone();
        let state = RunState {
            name: progress.name,
            seed: progress.seed,
            by: by.to_owned(),
            started_at_ms: now_ms(),
            started_mono_ms: self.agent.events().mono_ms(),
            stages: progress.stages,
            phase: progress.phase,
            stage: progress.stage,
            steady: Default::default(),
            verdict: None,
            why: None,
            report: None,
        };
        *self.running() = Some(Running {
            state: state.clone(),
            end: handle.end.clone(),
            progress: handle.progress.clone(),
        });
        state
    }

    /// Ends the run that goes on, if one does, and waits until it has taken its faults back.
    pub async fn end_run_if_any(&self, who: &str) {
        let (end, mut progress) = match &*self.running() {
            Some(running) => (running.end.clone(), running.progress.clone()),
            None => return,
        };
        if progress.borrow().verdict.is_none() && end.send(who.to_owned()).await.is_ok() {
            // When its sender is gone it is over, too.
            let _ = progress.wait_for(|p| p.verdict.is_some()).await;
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it is.
    pub(super) fn run_state(&self) -> Option<RunState> {
        let running = self.running();
        let running = running.as_ref()?;
        let progress = running.progress.borrow();
        Some(RunState {
            phase: progress.phase.clone(),
            stage: progress.stage.clone(),
            verdict: progress.verdict.map(|v| v.word().to_owned()),
            why: progress.why.clone(),
            report: progress.report.clone(),
            ..running.state.clone()
        })
    }

    /// Starts one.
    pub(super) async fn begin(&self, order: StartRun, by: Caller) -> Answer<RunState> {
        let Ok(_starting) = self.starting.try_lock() else {
            return Err(Failure::new(Code::Conflict, "a run is being started").hint("wait for it, or end it"));
        };
        if self.run_state().is_some_and(|r| r.verdict.is_none()) {
            return Err(Failure::new(Code::Conflict, "a run is going on").hint("wait for it, or end it"));
        }
        let name = order.file.clone().unwrap_or_else(|| "experiment.yaml".to_owned());
        let experiment = model::experiment::read(&name, &order.yaml, &order.set)
            .map_err(|p| Failure::new(Code::BadRequest, p.to_string()))?;
        if experiment.safety.confirm == Confirm::Typed && order.confirm.as_deref() != Some(&experiment.name) {
            return Err(Failure::new(Code::Impossible, "this experiment wants its name typed")
                .hint(format!("send confirm: {:?}", experiment.name)));
        }
        let base = PathBuf::from(&name).parent().map_or_else(PathBuf::new, PathBuf::from);
        let dir = engine::report::directory(order.report.as_deref().map(Path::new), &experiment);
        let open: Vec<TargetRef> = self.agent.targets().into_iter().map(|t| t.target).collect();
        crate::rights::may_run(by.role, &experiment, dir.is_some(), &open)?;
        let options = Options {
            seed: order.seed,
            dir,
            formats: experiment.report.formats.clone(),
            base,
            by: by.to_string(),
        };
        let handle = run::start(self.agent.clone(), experiment, options).await.map_err(|list| {
            let all: Vec<String> = list.iter().map(ToString::to_string).collect();
            Failure::new(Code::Impossible, all.join("\n"))
        })?;
        let state = self.adopt(&handle, &by.to_string());
        let rollbacks = self.rollbacks.clone();
        tokio::spawn(async move {
            if let Ok(record) = handle.record.await {
                rollbacks.fetch_add(u64::from(record.guards.iter().any(|g| g.tripped)), Ordering::Relaxed);
            }
        });
        Ok(state)
    }
}
