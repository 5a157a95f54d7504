//! The agent: what is open, what is armed, and everything that may end it.

mod arm;
mod end;
mod fault;
mod keep;
mod targets;

pub use end::HaltReport;
pub use fault::{ArmRequest, ArmedFault, Change, FaultPhase};
pub use keep::SamplingGuard;

use crate::claims::Claims;
use crate::config::Config;
use crate::error::EngineError;
use crate::events::{Events, Subscription};
use crate::halt::{self, Halt};
use crate::lease::Lease;
use crate::minder::Minder;
use crate::undo::{self, Log, Reach, RecoverReport};
use fault::Entry;
use host::FileLock;
use inject::Injector;
use model::event::{Ending, Level};
use model::sample::TargetState;
use model::{EventKind, Evidence, Sample, Target, TargetKind, TargetRef};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// How long a new agent waits for a watchdog that still tidies up after the last one.
const TIDYING: Duration = Duration::from_secs(10);

/// An agent. Cheap to clone; all clones are the same agent. It ends by [`Agent::shutdown`] or with its process, and in
/// the latter case the watchdog undoes what it leaves.
#[derive(Debug, Clone)]
pub struct Agent {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    config: Config,
    log: Arc<Log>,
    lease: Arc<Lease>,
    claims: Claims,
    events: Arc<Events>,
    minder: Option<Minder>,
    state: Mutex<State>,
    /// Told when an end may have come nearer.
    wake: Notify,
    undo_failures: AtomicU64,
    found: RecoverReport,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<FileLock>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What changes. Never held across an await.
#[derive(Debug, Default)]
struct State {
    targets: BTreeMap<TargetRef, Target>,
    /// Those of them that nobody asked to open: a fault needed them.
    passing: BTreeSet<TargetRef>,
    faults: BTreeMap<String, Entry>,
    /// How many ids were made up, and how many faults armed, so far.
    named: u64,
    armed: u64,
    halted: Option<Halt>,
    closing: bool,
}

impl Agent {
    /// Starts an agent: takes its state directory, undoes what an earlier one left there, honours a halt that is
    /// still on, starts the watchdog. Needs a tokio runtime.
    pub async fn start(mut config: Config) -> Result<Agent, EngineError> {
        config.state_dir =
            std::path::absolute(&config.state_dir).map_err(|e| EngineError::StateDir(e.to_string()))?;
        let dir = config.state_dir.clone();
        host::dirs::private(&dir, 0o700).map_err(|e| EngineError::StateDir(e.to_string()))?;
        let lock = take(&dir, &config.injectors).await?;
        config.injectors.iter().for_each(|i| i.settle(&dir));
        let unreadable = |e: std::io::Error| EngineError::log(dir.join(undo::FILE), e);
        let found =
            undo::recover_here(&dir, &config.injectors, Reach::Everything).await.map_err(unreadable)?;
        let left = undo::read(&dir).map_err(unreadable)?;
        let log = Log::open(&dir, left.next, left.live.iter().map(|f| f.n)).map_err(unreadable)?;
        let lease = Lease::open(&dir, config.lease).map_err(|e| EngineError::log(dir.join("lease"), e))?;
        let events = Events::new();
        let minder = Minder::start(&config, events.clone()).await?;
        let state = State { halted: halt::read(&dir), ..State::default() };
        let inner = Arc::new(Inner {
            claims: Claims::new(&config.claim_space),
            config,
            log: Arc::new(log),
            lease: Arc::new(lease),
            events,
            minder,
            state: Mutex::new(state),
            wake: Notify::new(),
            undo_failures: AtomicU64::new(0),
            found,
            tasks: Mutex::default(),
            lock: Mutex::new(Some(lock)),
        });
        inner.tell_what_was_found();
        inner.spawn(inner.clone().keep());
        inner.spawn(inner.clone().sample());
        if !left.live.is_empty() {
            inner.spawn(inner.clone().finish_left(left.live));
        }
        Ok(Agent { inner })
    }

    /// What an earlier agent had left, and what came of it.
    pub fn found(&self) -> &RecoverReport {
        &self.inner.found
    }

    /// The stream of events.
    pub fn events(&self) -> &Arc<Events> {
        &self.inner.events
    }

    /// Listens to events from that number on; without one, only to what comes.
    pub fn subscribe(&self, from: Option<u64>) -> Subscription {
        self.inner.events.subscribe(from)
    }

    /// The state directory.
    pub fn state_dir(&self) -> &std::path::Path {
        &self.inner.config.state_dir
    }

    /// How many undos have failed at least once.
    pub fn undo_failures(&self) -> u64 {
        self.inner.undo_failures.load(Ordering::Relaxed)
    }

    /// The watchdog's process, while it runs.
    pub fn watchdog_pid(&self) -> Option<u32> {
        self.inner.minder.as_ref()?.pid()
    }

    /// The faults that are on, oldest first, with their evidence.
    pub fn faults(&self) -> Vec<ArmedFault> {
        let mut list: Vec<_> = {
            let state = self.inner.lock();
            state.faults.values().map(|entry| (entry.order, entry.view(), entry.armed.clone())).collect()
        };
        list.sort_by_key(|(order, ..)| *order);
        // Evidence is asked for without the lock: injectors are not ours to hold up.
        list.into_iter()
            .map(|(_, mut view, armed)| {
                if let Some(armed) = armed {
                    view.evidence = self.inner.evidence(&armed);
                }
                view
            })
            .collect()
    }

    /// The open targets.
    pub fn targets(&self) -> Vec<TargetState> {
        self.inner.config.injectors.iter().flat_map(|i| i.states()).collect()
    }

    /// The processes that a target means now, by their numbers.
    pub(crate) async fn processes(&self, target: &Target) -> Vec<u32> {
        match self.inner.opener(target.spec.kind()) {
            Ok(injector) => injector.processes(target).await,
            Err(_) => Vec::new(),
        }
    }

    /// An open target with what stands behind its name.
    pub fn target(&self, target: &TargetRef) -> Option<Target> {
        self.inner.lock().targets.get(target).cloned()
    }

    /// Counters of all open targets since they were opened.
    pub fn totals(&self) -> BTreeMap<TargetRef, Sample> {
        self.inner.totals()
    }

    /// Whether everything is halted, and by whom.
    pub fn halted(&self) -> Option<Halt> {
        self.inner.lock().halted.clone()
    }

    /// Ends everything in order: faults newest first, targets, watchdog. Afterwards the agent refuses everything.
    /// What could not be undone is left to the watchdog, and named.
    pub async fn shutdown(&self) -> Result<(), EngineError> {
        let inner = &self.inner;
        inner.lock().closing = true;
        let failed = inner.end_all(Ending::Shutdown).await;
        let targets: Vec<TargetRef> = inner.lock().targets.keys().cloned().collect();
        for target in targets {
            inner.close(&target).await;
        }
        if let Some(minder) = &inner.minder {
            minder.stop().await;
        }
        let tasks: Vec<_> = inner.tasks().drain(..).collect();
        for task in tasks {
            task.abort();
        }
        if inner.log.is_idle() {
            let _ = std::fs::remove_file(inner.config.state_dir.join(crate::lease::FILE));
        }
        inner.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        match failed.into_iter().next() {
            Some((id, why)) => Err(EngineError::RecoverFailed { id, why }),
            None => Ok(()),
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is whole before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks().push(tokio::spawn(task));
    }

    pub(crate) fn note(&self, level: Level, text: impl Into<String>) {
        self.events.emit(EventKind::Note { level, text: text.into() });
    }

    /// Who opens and closes targets of a kind.
    fn opener(&self, kind: TargetKind) -> Result<Arc<dyn Injector>, EngineError> {
        let found = self.config.injectors.iter().find(|i| i.kinds().contains(&kind)).cloned();
        found.ok_or_else(|| {
            let mut kinds: Vec<&str> =
                self.config.injectors.iter().flat_map(|i| i.kinds()).map(|k| k.word()).collect();
            kinds.sort_unstable();
            EngineError::refused(
                format!("nothing here injects into targets of kind {kind}"),
                format!("there are {}", kinds.join(", ")),
            )
        })
    }

    /// Who injects a fault into targets of a kind.
    fn injector(&self, kind: TargetKind, fault: &str) -> Result<Arc<dyn Injector>, EngineError> {
        let opener = self.opener(kind)?;
        let mut all = self.config.injectors.iter();
        let found = all.find(|i| i.kinds().contains(&kind) && i.injects(fault)).cloned();
        // Nobody: then the first one says why not.
        Ok(found.unwrap_or(opener))
    }

    /// Who injected what is armed.
    fn injector_of(&self, armed: &inject::Armed) -> Result<Arc<dyn Injector>, EngineError> {
        self.injector(armed.order.target.spec.kind(), armed.order.fault.inject.name())
    }

    fn evidence(&self, armed: &inject::Armed) -> Evidence {
        self.injector_of(armed).map(|i| i.evidence(armed)).unwrap_or_default()
    }

    fn totals(&self) -> BTreeMap<TargetRef, Sample> {
        self.config.injectors.iter().flat_map(|i| i.totals()).collect()
    }

    /// Blocking work on the log, off the runtime's threads.
    async fn with_log<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Log) -> std::io::Result<T> + Send + 'static,
    ) -> std::io::Result<T> {
        let log = self.log.clone();
        tokio::task::spawn_blocking(move || work(&log))
            .await
            .unwrap_or_else(|e| Err(std::io::Error::other(e)))
    }

    fn tell_what_was_found(&self) {
        let found = &self.found;
        let failed = found.problems();
        self.undo_failures.store(failed.len() as u64, Ordering::Relaxed);
        let mut told: Vec<&str> = Vec::new();
        for act in found.acts.iter().rev() {
            if told.contains(&act.id.as_str()) || found.acts.iter().any(|a| a.id == act.id && a.failed) {
                continue;
            }
            told.push(&act.id);
            self.events.emit(EventKind::Recovered {
                id: act.id.clone(),
                target: act.target.clone(),
                why: Ending::Recovered,
                evidence: Evidence::default(),
            });
        }
        for act in found.acts.iter().filter(|a| a.failed) {
            self.events.emit(EventKind::RecoverFailed { id: act.id.clone(), why: act.outcome.clone() });
        }
        for text in failed {
            self.note(Level::Error, text);
        }
        if let Some(halt) = &self.lock().halted {
            self.note(
                Level::Warn,
                format!("everything is still halted by {}; `murphy halt --lift`", halt.by),
            );
        }
    }
}

/// Takes the state directory. A watchdog or a `recover` that still works there is waited for.
async fn take(dir: &std::path::Path, injectors: &[Arc<dyn Injector>]) -> Result<FileLock, EngineError> {
    let began = std::time::Instant::now();
    loop {
        let at = dir.to_owned();
        let taken =
            tokio::task::spawn_blocking(move || undo::lock(&at, "agent", Duration::from_millis(200))).await;
        match taken.map_err(|e| EngineError::StateDir(e.to_string()))? {
            Err(EngineError::InUse { holder, dir }) => {
                // Its name is written right after the lock is had: a name that is not there yet is waited for too.
                let passing = holder.as_ref().is_none_or(|h| h.what != "agent" || !h.process.alive());
                if !passing || began.elapsed() > TIDYING {
                    return Err(EngineError::InUse { dir, holder });
                }
                if holder.is_some_and(|h| h.process.is_stuck_dying()) {
                    undo::let_die(&dir, injectors).await;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => return other,
        }
    }
}
