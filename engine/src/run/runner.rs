//! The clock of a run: waits, arms, listens, and ends everything it began.

use super::guards::Guards;
use super::judge::Cause;
use super::load::Running;
use super::prepare::{Prepared, close, seeded};
use super::probes::Probe;
use super::progress::{Options, RunProgress};
use super::record::{Recorder, bounds};
use super::tick::Tick;
use super::windows::Phase;
use crate::report::{self, JournalThread};
use crate::{Agent, Item, Subscription};
use host::machine::{self, ProcessorTime};
use model::event::{Ending, GuardState, Level, WindowResult};
use model::experiment::{Experiment, Otherwise, Planned, Stage, Start};
use model::units::Span;
use model::verdict::WindowRecord;
use model::{Event, EventKind, RunRecord, Sample, TargetKind, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// One run, from its first second to its record.
pub(super) struct Runner {
    agent: Agent,
    experiment: Experiment,
    options: Options,
    prepared: Prepared,
    journal: Option<JournalThread>,
    ended: mpsc::Receiver<String>,
    tell: watch::Sender<RunProgress>,
    recorder: Recorder,
    guards: Guards,
    loads: Vec<(String, Running, Sample)>,
    probes: Vec<Probe>,
    /// The agent's monotonic clock, in ms, when the run began.
    began_ms: f64,
    began: Instant,
    last_tick: f64,
    processors: Option<ProcessorTime>,
    phase: Phase,
    /// No fault is on and none will come; the second that is going on still saw one.
    over: bool,
    /// Faults that have not ended yet, armed or not.
    waiting: BTreeSet<String>,
    ended_at: BTreeMap<String, Instant>,
    /// How each metric's window was last told to be.
    told: BTreeMap<String, WindowResult>,
}

impl Runner {
    pub(super) fn new(
        agent: Agent,
        experiment: Experiment,
        options: Options,
        prepared: Prepared,
        journal: Option<JournalThread>,
        ended: mpsc::Receiver<String>,
        tell: watch::Sender<RunProgress>,
    ) -> Runner {
        Runner {
            recorder: Recorder::new(&experiment, prepared.seed, crate::clock::timestamp()),
            guards: Guards::new(&experiment),
            waiting: experiment.faults().map(|p| p.id.clone()).collect(),
            agent,
            experiment,
            options,
            prepared,
            journal,
            ended,
            tell,
            loads: vec![],
            probes: vec![],
            began_ms: 0.0,
            began: Instant::now(),
            last_tick: 0.0,
            processors: ProcessorTime::now(),
            phase: Phase::Before,
            over: false,
            ended_at: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    pub(super) async fn drive(mut self) -> RunRecord {
        let mut events = self.agent.subscribe(None);
        let stages = self.experiment.stages.iter().map(|s| (s.name.clone(), s.lasts)).collect();
        let bounds = bounds(&self.experiment);
        let name = self.experiment.name.clone();
        let first = self.agent.events().emit(EventKind::RunStarted {
            name,
            seed: self.prepared.seed,
            stages,
            bounds,
        });
        self.began_ms = first.mono_ms;
        self.began = Instant::now();
        let cause = match self.load_and_probe() {
            Ok(()) => self.phases(&mut events).await.err(),
            Err(cause) => Some(cause),
        };
        self.end_faults(&mut events, cause.as_ref()).await;
        self.loads.clear();
        self.probes.clear();
        close(&self.agent, &self.prepared.opened).await;
        self.leave(cause.as_ref(), &mut events)
    }

    fn load_and_probe(&mut self) -> Result<(), Cause> {
        for load in self.experiment.loads.clone() {
            let body = self.prepared.bodies.get(&load.name).cloned().unwrap_or_default();
            let name = load.name.clone();
            let running = Running::start(load, body, &self.options.base)
                .map_err(|e| Cause::Failure(format!("load {name}: {e}")))?;
            self.loads.push((name, running, Sample::default()));
        }
        let metrics = self.experiment.steady_state.metrics.iter();
        self.probes = metrics.filter_map(|m| Probe::start(m, &self.options.base, &self.agent)).collect();
        Ok(())
    }

    async fn phases(&mut self, events: &mut Subscription) -> Result<(), Cause> {
        self.enter("baseline", None, Some(self.experiment.steady_state.baseline));
        self.wait(events, self.began + self.experiment.steady_state.baseline.0).await?;
        self.judge_border();
        if let Some(why) = self.recorder.unsteady() {
            return Err(Cause::NotSteady(why));
        }
        self.phase = Phase::During;
        for (i, stage) in self.experiment.stages.clone().iter().enumerate() {
            if let (true, Some(why)) = (stage.require_steady, self.recorder.unsteady()) {
                match stage.otherwise {
                    Otherwise::Skip => {
                        self.note(Level::Warn, format!("stage {} is left out: {why}", stage.name));
                        self.recorder.phase(&stage.name, self.elapsed(), true);
                        stage.faults.iter().for_each(|p| {
                            self.waiting.remove(&p.id);
                        });
                        continue;
                    }
                    Otherwise::Abort => {
                        return Err(Cause::Guard(format!(
                            "stage {} needs a steady state: {why}",
                            stage.name
                        )));
                    }
                    Otherwise::Continue => {}
                }
            }
            self.enter("stage", Some((stage.name.clone(), i + 1)), Some(stage.lasts));
            self.stage(events, stage).await?;
        }
        self.over = true;
        self.enter("cooldown", None, Some(self.experiment.steady_state.cooldown));
        self.wait(events, Instant::now() + self.experiment.steady_state.cooldown.0).await?;
        self.judge_border();
        Ok(())
    }

    async fn stage(&mut self, events: &mut Subscription, stage: &Stage) -> Result<(), Cause> {
        let begin = Instant::now();
        let end = begin + stage.lasts.0;
        let mut pending: Vec<&Planned> = stage.faults.iter().collect();
        loop {
            let due = |ended: &BTreeMap<String, Instant>, planned: &Planned| match &planned.start {
                Start::At(at) => Some(begin + at.0),
                Start::After { fault, delay } => ended.get(fault).map(|t| *t + delay.0),
            };
            let next = pending.iter().filter_map(|p| due(&self.ended_at, p)).min();
            let until = next.map_or(end, |t| t.min(end));
            if self.wait_or_end(events, until).await? {
                continue;
            }
            let now = Instant::now();
            let (ready, later): (Vec<_>, Vec<_>) =
                pending.into_iter().partition(|p| due(&self.ended_at, p).is_some_and(|t| t <= now));
            pending = later;
            for planned in ready {
                self.arm(planned).await?;
            }
            if Instant::now() >= end {
                break;
            }
        }
        for planned in pending {
            self.recorder.failed(&planned.id, "its turn never came: the fault it waits for ended too late");
            self.waiting.remove(&planned.id);
        }
        // Faults end by their own clock; a stage is over when the last is verified gone.
        let limit = Instant::now() + self.experiment.safety.verify_within.0;
        let left = |waiting: &BTreeSet<String>| -> Vec<String> {
            stage.faults.iter().map(|p| p.id.clone()).filter(|id| waiting.contains(id)).collect()
        };
        while !left(&self.waiting).is_empty() {
            if Instant::now() >= limit {
                let still = left(&self.waiting).join(", ");
                return Err(Cause::Failure(format!("stage {} is over but {still} is not", stage.name)));
            }
            self.wait_or_end(events, limit).await?;
        }
        Ok(())
    }

    async fn arm(&mut self, planned: &Planned) -> Result<(), Cause> {
        let fault = seeded(planned.fault.clone(), self.prepared.seed);
        let by = format!("run {}", self.experiment.name);
        match self.agent.arm(fault, &by).await {
            // Whoever arms by hand is told; whoever reads the run's lines or its journal should know, too.
            Ok(armed) => {
                let mind = |warning: &String| self.note(Level::Warn, format!("{}: {warning}", planned.id));
                armed.warnings.iter().for_each(mind);
                Ok(())
            }
            Err(e) => {
                let why = e.to_string();
                self.recorder.failed(&planned.id, &why);
                self.waiting.remove(&planned.id);
                Err(Cause::Failure(format!("{} could not be armed: {why}", planned.id)))
            }
        }
    }

    /// Waits until a time, whatever happens meanwhile.
    async fn wait(&mut self, events: &mut Subscription, until: Instant) -> Result<(), Cause> {
        while self.wait_or_end(events, until).await? {}
        Ok(())
    }

    /// Waits until a time, or until one of the run's faults has ended: then true.
    async fn wait_or_end(&mut self, events: &mut Subscription, until: Instant) -> Result<bool, Cause> {
        let limit = self.experiment.safety.max_duration.map(|d| self.began + d.0);
        let wake = limit.map_or(until, |l| l.min(until));
        loop {
            tokio::select! {
                biased;
                Some(who) = self.ended.recv() => return Err(Cause::Person(who)),
                item = events.next() => match item {
                    Item::Event(event) => {
                        if self.hear(&event)? {
                            return Ok(true);
                        }
                    }
                    // What happened meanwhile is not known, so what is on is not either.
                    Item::Lost(n) => return Err(Cause::Failure(format!("{n} events were missed: the machine was too busy to follow the run"))),
                },
                () = sleep_until(wake) => {
                    if limit.is_some_and(|l| Instant::now() >= l) {
                        let max = self.experiment.safety.max_duration.unwrap_or_default();
                        return Err(Cause::Guard(format!("max_duration {max} is over")));
                    }
                    return Ok(false);
                }
            }
        }
    }

    /// How busy this machine's processors were since the last tick, and how full its memory is, where a guard asks.
    fn machine(&mut self) -> (Option<f64>, Option<f64>) {
        if !self.guards.ask_for_the_machine() {
            return (None, None);
        }
        let now = ProcessorTime::now();
        let before = std::mem::replace(&mut self.processors, now);
        let cpu = now.zip(before).and_then(|(now, before)| now.busy_since(before));
        (cpu, machine::memory_used())
    }

    /// Takes an event; true when a fault of the run has ended.
    fn hear(&mut self, event: &Event) -> Result<bool, Cause> {
        if let Some(journal) = &self.journal {
            journal.write(event.clone());
            if let Some(why) = journal.failure() {
                return Err(Cause::Failure(format!("the journal cannot be written: {why}")));
            }
        }
        let at = (event.mono_ms - self.began_ms) / 1e3;
        match &event.kind {
            EventKind::Armed { id, .. } => self.recorder.armed(id, at),
            EventKind::ArmFailed { id, why, .. } => self.recorder.failed(id, why),
            EventKind::Evidence { faults } => faults.iter().for_each(|(id, e)| self.recorder.evidence(id, e)),
            EventKind::RecoverFailed { id, why } => self.recorder.undo_failed(id, why),
            EventKind::Recovered { id, why, evidence, .. } if self.waiting.contains(id) => {
                self.recorder.recovered(id, at, *why, evidence.clone());
                self.ended_at.insert(id.clone(), Instant::now());
                self.waiting.remove(id);
                self.over = self.waiting.is_empty();
                return Ok(true);
            }
            EventKind::Halted { by, .. } => return Err(Cause::Person(format!("a halt by {by}"))),
            EventKind::Samples { targets } => self.tick(at, targets)?,
            _ => {}
        }
        Ok(false)
    }

    fn tick(&mut self, at: f64, targets: &BTreeMap<String, Sample>) -> Result<(), Cause> {
        let start = std::mem::replace(&mut self.last_tick, at);
        let seconds = at - start;
        // The tick in which the run began may be a sliver; what came before it is not ours.
        if seconds < 0.2 {
            return Ok(());
        }
        let prefix = format!("{}:", TargetKind::Proxy);
        let proxies = targets
            .iter()
            .filter_map(|(name, s)| Some((name.strip_prefix(&prefix)?.to_owned(), s.clone())))
            .collect();
        let mut loads = BTreeMap::new();
        for (name, running, before) in &mut self.loads {
            let now = running.totals();
            loads.insert(name.clone(), now.since(before, seconds));
            *before = now;
        }
        let probes = self.probes.iter().map(|p| (p.metric.clone(), p.drain())).collect();
        let (cpu, memory) = self.machine();
        let tick = Tick { start, end: at, proxies, loads, probes, cpu, memory };
        let on = self.recorder.any_on();
        let changes = self.guards.look(&tick, on);
        let judged = self.recorder.tick(tick, self.phase);
        self.tell_windows(judged);
        if self.over && self.phase == Phase::During {
            self.judge_border();
            self.phase = Phase::After;
        }
        for change in changes {
            self.agent.events().emit(EventKind::Guard { guard: change.guard, state: change.state });
            if change.state == GuardState::Tripped {
                return Err(Cause::Guard(change.why));
            }
        }
        Ok(())
    }

    fn judge_border(&mut self) {
        let judged = self.recorder.border(self.phase);
        self.tell_windows(judged);
    }

    /// Tells windows that are judged otherwise than the one before; all of them stand in the record.
    fn tell_windows(&mut self, judged: Vec<(String, WindowRecord)>) {
        for (metric, window) in judged {
            if self.told.insert(metric.clone(), window.result) == Some(window.result) {
                continue;
            }
            self.agent.events().emit(EventKind::Window {
                metric,
                value: window.value,
                result: window.result,
            });
        }
    }

    /// Takes back what is still on, and hears that it was.
    async fn end_faults(&mut self, events: &mut Subscription, cause: Option<&Cause>) {
        let why = match cause {
            Some(Cause::Guard(_)) => Ending::Guard,
            _ => Ending::Shutdown,
        };
        let by = format!("run {}", self.experiment.name);
        // By the agent's book: what was armed just now may not have been heard of yet.
        while let Some(item) = events.try_next() {
            if let Item::Event(event) = item {
                // What ended the run has been decided; here only the undo counts.
                let _ = self.hear(&event);
            }
        }
        let ours = |f: &crate::ArmedFault| f.by == by && self.experiment.faults().any(|p| p.id == f.id);
        let mut on: Vec<String> = self.agent.faults().into_iter().filter(ours).map(|f| f.id).collect();
        on.reverse();
        for id in &on {
            // Gone already (halted, elapsed) is as good; its event tells the rest.
            let _ = self.agent.disarm_because(id, &by, why).await;
        }
        let limit = Instant::now() + self.experiment.safety.verify_within.0;
        while self.recorder.any_on() {
            tokio::select! {
                item = events.next() => {
                    if let Item::Event(event) = item {
                        // What ended the run has been decided; here only the undo counts.
                        let _ = self.hear(&event);
                    }
                }
                () = sleep_until(limit) => break,
            }
        }
        let still_on: BTreeSet<String> = self.agent.faults().into_iter().map(|f| f.id).collect();
        for id in self.recorder.on() {
            if still_on.contains(&id) {
                let within = self.experiment.safety.verify_within;
                self.recorder.undo_failed(&id, &format!("not verified within {within}"));
            } else {
                // It is gone, only the event that told of it was missed: the machine was too busy to follow.
                self.recorder.gone(&id, self.elapsed(), why);
            }
        }
    }

    fn leave(self, cause: Option<&Cause>, events: &mut Subscription) -> RunRecord {
        let at = self.elapsed();
        let mut record = self.recorder.finish(at, cause, self.guards.records());
        let mut where_to = None;
        let mut failure = None;
        if let Some(dir) = &self.options.dir {
            match report::write(dir, &record, &self.options.formats) {
                Ok(_) => where_to = Some(dir.display().to_string()),
                Err(e) => {
                    failure = Some(format!("the report in {} could not be written: {e}", dir.display()))
                }
            }
        }
        if let Some(text) = failure {
            // Whoever asked for a report and has none must not take the exit code for an answer to that.
            record.why = format!("{text}; without that: {}, {}", record.verdict, record.why);
            record.verdict = Verdict::Error;
            self.agent.events().emit(EventKind::Note { level: Level::Error, text });
        }
        self.agent.events().emit(EventKind::RunEnded {
            name: record.name.clone(),
            verdict: record.verdict.word().to_owned(),
            why: record.why.clone(),
            report: where_to.clone(),
        });
        if let Some(journal) = self.journal {
            while let Some(item) = events.try_next() {
                if let Item::Event(event) = item {
                    journal.write(Event::clone(&event));
                }
            }
            journal.finish();
        }
        self.tell.send_modify(|p| {
            p.phase = "done".into();
            p.stage = None;
            p.verdict = Some(record.verdict);
            p.why = Some(record.why.clone());
            p.report = where_to;
        });
        record
    }

    fn enter(&mut self, phase: &str, stage: Option<(String, usize)>, lasts: Option<Span>) {
        let name = stage.as_ref().map_or(phase, |(n, _)| n.as_str()).to_owned();
        self.recorder.phase(&name, self.elapsed(), false);
        self.tell.send_modify(|p| {
            p.phase = phase.to_owned();
            p.stage.clone_from(&stage);
        });
        self.agent.events().emit(EventKind::Phase { phase: phase.to_owned(), stage, lasts });
    }

    fn note(&self, level: Level, text: String) {
        self.agent.events().emit(EventKind::Note { level, text });
    }

    fn elapsed(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }
}
