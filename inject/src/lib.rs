//! The contract between the engine and whatever injects: Init → Inject → Recover → Verify.
//!
//! ```text
//! plan     what would be done, to what exactly, and how it is undone; touches nothing
//! (log)    the engine writes the plan's undo records to its log and syncs them
//! inject   acts, and says for each part what was acknowledged
//! adjust   changes what is armed, live
//! recover  undoes one record, from the record alone, also in another process after a crash; verified by looking
//! ```
//!
//! [`knob`] and [`spread`] are what all rooms read parameters with that change over time or are drawn.
#![forbid(unsafe_code)]

mod containers;
pub mod knob;
pub mod spread;

pub use containers::{Container, Containers, NoContainers};

use model::{Evidence, Fault, Problem, Sample, Target, TargetKind, TargetRef, sample::TargetState};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;

/// A future that can be sent and stored.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A fault to be armed, complete: every choice that was left open has been made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The fault's id, unique in the agent.
    pub id: String,
    /// What is ordered.
    pub fault: Fault,
    /// The target with what stands behind its name.
    pub target: Target,
    /// The seed of every decision of this fault.
    pub seed: u64,
}

/// What will happen. Made without touching anything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What it was made for.
    pub order: Order,
    /// The acts, one per part of the target that is hit (a process, a listener), each with its undo.
    pub acts: Vec<UndoRecord>,
    /// What a person should know before saying yes.
    pub warnings: Vec<String>,
}

/// One act and its undo, as written to the log before the act. It must be enough to undo the act in another process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UndoRecord {
    /// The injector that can undo it: the word of [`Injector::name`].
    pub injector: String,
    /// The act in words: `stop process 4711 (nginx)`.
    pub act: String,
    /// Its undo in words: `continue process 4711 with SIGCONT`.
    pub undo: String,
    /// What identifies the thing beyond confusion: pid with start time, mount id, boot id, …
    pub data: serde_json::Value,
    /// The act ends by itself when the agent's process ends; nothing needs to be done for it by anyone else.
    pub ends_with_agent: bool,
}

/// Where records go that are known only while acting. Every call returns after the record is on disk.
pub trait UndoLog: Send + Sync {
    /// Replaces the data of the act with that index in the plan, now that an id (child, mount, interface) is known.
    fn effect<'a>(&'a self, act: usize, data: serde_json::Value) -> BoxFuture<'a, Result<(), InjectError>>;
}

/// What came of each act of a plan, in its order; as long as the plan's acts.
pub type Outcomes = Vec<Result<(), InjectError>>;

/// A fault that is on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Armed {
    /// What was ordered.
    pub order: Order,
    /// What undoes it, with everything that became known while acting; only acts that were done.
    pub acts: Vec<UndoRecord>,
}

/// What came of an undo.
#[derive(Debug, Clone, PartialEq)]
pub enum Recovered {
    /// Undone, and seen to be undone.
    Undone,
    /// There was nothing left to undo: `process 4711 is gone`. As good as undone.
    Gone(String),
    /// It could not be undone, or not be seen to be: why, as a sentence.
    Failed(String),
}

/// Why an order cannot be carried out; nothing was touched.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub Problem);

impl Refusal {
    /// What is wrong and what to do.
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Refusal {
        Refusal(Problem::new(what).hint(hint))
    }
}

/// Why an act failed: what was attempted, on what, why, and what to do next.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct InjectError(pub Problem);

impl InjectError {
    /// What was attempted and why it failed.
    pub fn new(what: impl Into<String>) -> InjectError {
        InjectError(Problem::new(what))
    }

    /// The same with advice.
    pub fn hint(self, hint: impl Into<String>) -> InjectError {
        InjectError(self.0.hint(hint))
    }
}

/// What a dead agent had left of an open target, and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Swept {
    /// The target.
    pub target: TargetRef,
    /// What was left, in words: `a mount on /srv/db`.
    pub act: String,
    /// Its undo in words.
    pub undo: String,
    /// What came of undoing it.
    pub outcome: Recovered,
}

/// How far something is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Possible {
    /// Altogether.
    Yes,
    /// On some targets, or with some parameters.
    Partly,
    /// Not at all.
    No,
}

/// Whether a fault can be injected on this machine by this process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Possibility {
    /// How far.
    pub possible: Possible,
    /// What is missing for the rest, each with how to get it.
    pub missing: Vec<String>,
}

impl Possibility {
    /// Nothing is missing.
    pub fn yes() -> Possibility {
        Possibility { possible: Possible::Yes, missing: Vec::new() }
    }

    /// The same without something that some targets or parameters need.
    pub fn partly(mut self, missing: impl Into<String>) -> Possibility {
        if self.possible == Possible::Yes {
            self.possible = Possible::Partly;
        }
        self.missing.push(missing.into());
        self
    }

    /// The same without something that is always needed.
    pub fn no(mut self, missing: impl Into<String>) -> Possibility {
        self.possible = Possible::No;
        self.missing.push(missing.into());
        self
    }
}

/// Something that a fault does to this machine, found by looking at the machine and not at a log.
#[derive(Debug, Clone, PartialEq)]
pub struct Leftover {
    /// What it is and what undoes it; [`Injector::recover`] takes it as it takes one from a log.
    pub record: UndoRecord,
    /// The agent that has it on, while that lives: then it is that one's to undo.
    pub owner: Option<String>,
}

/// What injects faults into targets of some kinds.
pub trait Injector: Send + Sync {
    /// The word under which undo records name it.
    fn name(&self) -> &'static str;

    /// The kinds of targets it serves. The first injector that serves a kind opens, closes and lists targets of it.
    fn kinds(&self) -> &'static [TargetKind];

    /// Whether it injects this fault. Several injectors may serve a kind; the first that serves the target's kind and
    /// injects the fault gets it, and finds what stands behind the target's name by itself.
    fn injects(&self, _fault: &str) -> bool {
        true
    }

    /// Makes a target ready: opens a listener, looks that processes are there. Opening it again as it is changes nothing;
    /// opening it otherwise is refused.
    fn open<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<TargetState, Refusal>>;

    /// Closes a target and whatever it holds; unknown ones are ignored.
    fn close<'a>(&'a self, target: &'a TargetRef) -> BoxFuture<'a, ()>;

    /// The open targets.
    fn states(&self) -> Vec<TargetState>;

    /// Counters of the open targets since they were opened; whoever samples subtracts. Empty when there is nothing to count.
    fn totals(&self) -> BTreeMap<TargetRef, Sample> {
        BTreeMap::new()
    }

    /// The processes that a target means now, by their numbers, for who measures what they take. Empty where none fits, and
    /// for targets that are not processes.
    fn processes<'a>(&'a self, _target: &'a Target) -> BoxFuture<'a, Vec<u32>> {
        Box::pin(async { Vec::new() })
    }

    /// Whether a fault of its own can be injected here: probed, cheaply, and touching nothing. None: what the catalogue says
    /// that it needs is all there is to say.
    fn possible(&self, _fault: &str) -> Option<Possibility> {
        None
    }

    /// What of its acts is on this machine, whoever did them and whether or not a log tells of it. May be slow.
    fn leftovers(&self) -> Vec<Leftover> {
        Vec::new()
    }

    /// What would be done. Checks everything that can be checked, touches nothing.
    fn plan<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Plan, Refusal>>;

    /// Commands of well-known tools that would do the same by hand, for those who want to know exactly. Touches nothing.
    fn commands<'a>(&'a self, _plan: &'a Plan) -> BoxFuture<'a, Vec<String>> {
        Box::pin(async { Vec::new() })
    }

    /// What the plan takes hold of, as keys that are the same in every agent on this machine: `process 4711@8812`. The
    /// engine lets one agent at a time hold a key. Empty when the kernel already sees to that (a listening port).
    fn claims(&self, _plan: &Plan) -> Vec<String> {
        Vec::new()
    }

    /// Acts. Must be complete when it returns: what is open already has the fault.
    fn inject<'a>(&'a self, plan: &'a Plan, log: &'a dyn UndoLog) -> BoxFuture<'a, Outcomes>;

    /// Changes parameters, share, matcher or ramp of what is armed, live.
    fn adjust<'a>(&'a self, armed: &'a Armed, fault: &'a Fault) -> BoxFuture<'a, Result<(), InjectError>>;

    /// Undoes one act, newest first, idempotently, and looks that it is undone. Never waits for the fault itself.
    fn recover<'a>(&'a self, act: &'a UndoRecord) -> BoxFuture<'a, Recovered>;

    /// What an armed fault has done so far. Numbers of this moment only are named `…_now`: in the record of a fault that has
    /// ended they stand as they were right before it was undone.
    fn evidence(&self, armed: &Armed) -> Evidence;

    /// The fault has ended and its evidence was read for the last time; what was kept for that may go.
    fn forget(&self, _armed: &Armed) {}

    /// The agent that it serves works in this state directory: the place for records of what opening a target does
    /// outside the agent. Called once, before anything is opened.
    fn settle(&self, _state_dir: &Path) {}

    /// Undoes what targets that were opened by a dead agent of that state directory have left outside it, and looks that
    /// it is undone. One report for each thing that was recorded; nothing recorded, nothing reported.
    fn sweep<'a>(&'a self, _state_dir: &'a Path) -> BoxFuture<'a, Vec<Swept>> {
        Box::pin(async { Vec::new() })
    }
}
