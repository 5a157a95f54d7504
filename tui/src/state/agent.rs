//! What is known of one agent.

use super::series::Series;
use control::Role;
use control::wire::{FaultState, HaltState, RunState, Status};
use control::{ConnectionList, ConnectionQuery, OperationList, OperationQuery, RequestList, RequestQuery};
use model::event::WindowResult;
use model::sample::TargetState;
use model::{Event, Evidence, Fault, TargetRef, units::Span};
use std::collections::BTreeMap;

/// Whether an agent can be reached.
#[derive(Debug, Clone, PartialEq)]
pub enum Link {
    /// Not yet.
    Connecting,
    /// It answers.
    Up,
    /// It did answer, or never did; in a few words and in whole, since when on the console's clock.
    Lost {
        /// In a few words.
        brief: String,
        /// With what to do about it.
        whole: String,
        /// Since when.
        since_ms: f64,
    },
}

/// A fault that is on, with its times on the console's clock.
#[derive(Debug, Clone, PartialEq)]
pub struct ArmedFault {
    /// Its id.
    pub id: String,
    /// The letter by which table, plots and lanes name it.
    pub tag: String,
    /// What was ordered.
    pub fault: Fault,
    /// Who ordered it.
    pub by: String,
    /// When it was on.
    pub since_ms: f64,
    /// When its time is up.
    pub ends_ms: Option<f64>,
    /// Its own lease.
    pub lease: Option<Span>,
    /// When that lease runs out, unless it is renewed.
    pub lease_ends_ms: Option<f64>,
    /// What it did so far.
    pub evidence: Evidence,
    /// It is being disarmed.
    pub leaving: bool,
}

impl ArmedFault {
    /// When it ends if nobody is heard of again: its time or its lease, whichever comes first.
    pub fn lapses_ms(&self) -> Option<f64> {
        match (self.ends_ms, self.lease_ends_ms) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

/// A run as the events tell it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The experiment's name.
    pub name: String,
    /// When it began.
    pub since_ms: f64,
    /// Its seed.
    pub seed: u64,
    /// Its stages with their lengths, as planned.
    pub plan: Vec<(String, Span)>,
    /// The phases that it has entered, oldest first.
    pub steps: Vec<Step>,
    /// What is judged, by metric.
    pub checks: BTreeMap<String, Check>,
    /// `baseline`, `stage`, `cooldown`, `verify`, `done`.
    pub phase: String,
    /// The stage's name and number from 1.
    pub stage: Option<(String, usize)>,
    /// When the phase began, and how long it lasts.
    pub phase_since_ms: f64,
    /// How long the phase lasts.
    pub lasts: Option<Span>,
    /// Guards whose condition holds, with since when.
    pub breaches: BTreeMap<String, f64>,
    /// How it ended, and when.
    pub verdict: Option<(String, f64)>,
    /// Why it ended so.
    pub why: Option<String>,
    /// Where its report lies.
    pub report: Option<String>,
}

impl Run {
    /// How many stages it has.
    pub fn stages(&self) -> usize {
        self.plan.len()
    }

    /// A phase begins, and the one before has ended.
    pub fn enter(&mut self, phase: &str, stage: Option<&(String, usize)>, lasts: Option<Span>, at_ms: f64) {
        if let Some(last) = self.steps.last_mut() {
            let began_again = stage.is_none() && last.name == phase;
            // The first is known from the run's beginning, and told once more with its length.
            if began_again {
                last.lasts = lasts.or(last.lasts);
                return;
            }
            last.to_ms.get_or_insert(at_ms);
        }
        let name = stage.map_or_else(|| phase.to_owned(), |(name, _)| name.clone());
        self.steps.push(Step { name, stage: stage.map(|(_, n)| *n), from_ms: at_ms, to_ms: None, lasts });
    }
}

/// A phase of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The phase, or the stage's name.
    pub name: String,
    /// The stage's number, from 1.
    pub stage: Option<usize>,
    /// When it began.
    pub from_ms: f64,
    /// When it ended.
    pub to_ms: Option<f64>,
    /// How long it was to last.
    pub lasts: Option<Span>,
}

impl Step {
    /// Whether it came after the first stage.
    pub fn after(&self, run: &Run) -> bool {
        run.steps.iter().any(|s| s.stage.is_some() && s.from_ms <= self.from_ms)
    }
}

/// What is judged of a metric.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Check {
    /// Where its number comes from.
    pub source: String,
    /// What it must be.
    pub expect: String,
    /// The number of the window that was judged otherwise than the one before.
    pub value: Option<f64>,
    /// How it was judged; none yet.
    pub result: Option<WindowResult>,
    /// Since when.
    pub since_ms: Option<f64>,
}

/// One agent.
#[derive(Debug)]
pub struct Agent {
    /// Its address, as given.
    pub address: String,
    /// The name it gives itself, or its address until then.
    pub name: String,
    /// Whether it can be reached.
    pub link: Link,
    /// Its version.
    pub version: String,
    /// Its process, on its own machine.
    pub pid: Option<u32>,
    /// What we may do there.
    pub role: Option<Role>,
    /// Who it takes us for.
    pub you: String,
    /// How long an answer takes, smoothed, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// What to add to the agent's monotonic clock to have the console's.
    pub offset_ms: Option<f64>,
    /// Targets.
    pub targets: Vec<TargetState>,
    /// Faults that are on, oldest first.
    pub faults: Vec<ArmedFault>,
    /// Who halted it.
    pub halted: Option<HaltState>,
    /// The run that is going on, or the last one.
    pub run: Option<Run>,
    /// How metrics were last judged.
    pub judged: BTreeMap<String, WindowResult>,
    /// Measurements by target.
    pub series: BTreeMap<String, Series>,
    /// Its open connections, as far as they were asked for, or why they are not known.
    pub connections: Option<Result<ConnectionList, String>>,
    /// What was asked about its connections and is not answered yet.
    pub connections_asked: Option<ConnectionQuery>,
    /// Its requests, as far as they were asked for, or why they are not known.
    pub requests: Option<Result<RequestList, String>>,
    /// What was asked about its requests and is not answered yet.
    pub requests_asked: Option<RequestQuery>,
    /// Operations on its files, as far as they were asked for, or why they are not known.
    pub operations: Option<Result<OperationList, String>>,
    /// What was asked about them and is not answered yet.
    pub operations_asked: Option<OperationQuery>,
    /// Faults of the catalogue that cannot be armed there, with why.
    pub unavailable: BTreeMap<String, String>,
    /// Events up to this number happened before the last snapshot: history, which changes nothing that is.
    pub snapshot_seq: u64,
    /// The newest event that changed what is.
    pub changed_seq: u64,
    /// The newest event seen.
    pub seen_seq: u64,
    /// The faults of the first snapshot, until its history has been told: they get their letters in their order.
    pub listed: Option<Vec<FaultState>>,
    /// Events that came before the first snapshot, when times could not be placed yet.
    pub waiting: Vec<Event>,
    /// The first tick of samples: (agent's clock, second on the console's). Later ones count from it, so that
    /// a tick that comes a little early or late does not fall into its neighbour's second.
    pub tick: Option<(f64, i64)>,
}

impl Agent {
    /// An agent that was not heard of yet.
    pub fn new(address: String) -> Agent {
        Agent {
            name: address.clone(),
            address,
            link: Link::Connecting,
            version: String::new(),
            pid: None,
            role: None,
            you: String::new(),
            rtt_ms: None,
            offset_ms: None,
            targets: Vec::new(),
            faults: Vec::new(),
            halted: None,
            run: None,
            judged: BTreeMap::new(),
            series: BTreeMap::new(),
            connections: None,
            connections_asked: None,
            requests: None,
            requests_asked: None,
            operations: None,
            operations_asked: None,
            unavailable: BTreeMap::new(),
            snapshot_seq: 0,
            changed_seq: 0,
            seen_seq: 0,
            listed: None,
            waiting: Vec::new(),
            tick: None,
        }
    }

    /// Whether it answers.
    pub fn up(&self) -> bool {
        self.link == Link::Up
    }

    /// Forgets everything but the address: another life of the agent answers.
    pub fn begin_anew(&mut self) {
        let fresh = Agent::new(std::mem::take(&mut self.address));
        *self = Agent { name: std::mem::take(&mut self.name), link: self.link.clone(), ..fresh };
    }

    /// A time of the agent's on the console's clock.
    pub fn local(&self, mono_ms: f64) -> f64 {
        mono_ms + self.offset_ms.unwrap_or(0.0)
    }

    /// The state of a target.
    pub fn target(&self, target: &TargetRef) -> Option<&TargetState> {
        self.targets.iter().find(|t| t.target == *target)
    }

    /// The run that is going on.
    pub fn running(&self) -> Option<&Run> {
        self.run.as_ref().filter(|r| r.verdict.is_none())
    }

    /// Takes over who and where it is from a status.
    pub fn introduce(&mut self, status: &Status) {
        self.name.clone_from(&status.agent.agent);
        self.pid = Some(status.agent.pid);
        self.version.clone_from(&status.agent.version);
        self.role = Some(status.you.role);
        self.you = status.you.to_string();
        self.halted.clone_from(&status.agent.halted);
    }

    /// A fault as the agent lists it; `tag` is the letter it has or gets.
    pub fn armed(&self, state: FaultState, tag: String, now_ms: f64) -> ArmedFault {
        let from_now = |left: Option<Span>| left.map(|l| now_ms + l.as_millis_f64());
        ArmedFault {
            tag,
            since_ms: self.local(state.armed_mono_ms),
            ends_ms: from_now(state.left),
            lease_ends_ms: from_now(state.lease_left),
            id: state.id,
            fault: state.fault,
            by: state.by,
            lease: state.lease,
            evidence: state.evidence,
            leaving: false,
        }
    }

    /// The run from a status, for an agent whose events no longer tell of its beginning.
    pub fn run_from(&self, run: &RunState, now_ms: f64) -> Run {
        let since_ms = self.local(run.started_mono_ms);
        let mut out = Run {
            name: run.name.clone(),
            since_ms,
            seed: run.seed,
            plan: run.stages.clone(),
            steps: Vec::new(),
            checks: run.steady.iter().map(|(metric, result)| (metric.clone(), judged(*result))).collect(),
            phase: run.phase.clone(),
            stage: run.stage.clone(),
            phase_since_ms: since_ms,
            lasts: None,
            breaches: BTreeMap::new(),
            verdict: run.verdict.clone().map(|v| (v, now_ms)),
            why: run.why.clone(),
            report: run.report.clone(),
        };
        // When what it is in began is not known any more.
        out.enter(&run.phase, run.stage.as_ref(), None, since_ms);
        out
    }
}

/// A check of which only the last judgement is known.
fn judged(result: WindowResult) -> Check {
    Check { result: Some(result), ..Check::default() }
}
