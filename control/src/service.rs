//! What the server calls: implemented over the engine by the command, in memory by tests.

use crate::caller::Caller;
use crate::connections::{Close, ConnectionList, ConnectionQuery};
use crate::operations::{OperationList, OperationQuery, OperationRow};
use crate::requests::{HoldOrder, HoldView, RequestList, RequestQuery, TopBy, TopList};
use crate::wire::{
    AgentStatus, CatalogueEntry, Change, Check, Disarmed, Failure, FaultState, Halted, PlanView, RunState,
    StartRun,
};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use model::sample::TargetState;
use model::{Event, Fault, Sample, Target, TargetRef, units::Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a call comes to.
pub type Answer<T> = Result<T, Failure>;

/// One changing call, for the audit log: made also when it was refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// Who, with uid, pid and role.
    pub caller: Caller,
    /// The operation: `arm`, `disarm`, `halt`, …
    pub action: String,
    /// On what, in a few words: `latency 120ms on proxy:cart`.
    pub what: String,
    /// The HTTP status it was answered with.
    pub status: u16,
    /// The refusal, when it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The agent behind the API. Calls that change something come with who made them; roles were checked before.
pub trait Service: Send + Sync + 'static {
    /// What the agent is and does now.
    fn status(&self) -> BoxFuture<'_, Answer<AgentStatus>>;

    /// The open targets.
    fn targets(&self) -> BoxFuture<'_, Answer<Vec<TargetState>>>;

    /// Makes a target ready. Opening it again as it is changes nothing; otherwise it is a conflict.
    fn open_target(&self, target: Target, by: Caller) -> BoxFuture<'_, Answer<TargetState>>;

    /// Closes a target; a conflict while a fault is armed on it.
    fn close_target(&self, target: TargetRef, by: Caller) -> BoxFuture<'_, Answer<()>>;

    /// The faults that are on, oldest first.
    fn faults(&self) -> BoxFuture<'_, Answer<Vec<FaultState>>>;

    /// What arming would do; touches nothing.
    fn plan(&self, fault: Fault) -> BoxFuture<'_, Answer<PlanView>>;

    /// Arms a fault. With a lease it ends that long after the last [`Service::renew`], whatever its `for` says.
    fn arm(&self, fault: Fault, lease: Option<Span>, by: Caller) -> BoxFuture<'_, Answer<FaultState>>;

    /// Changes what is armed, live. [`Change::apply`] makes the new fault from the old one.
    fn adjust(&self, id: String, change: Change, by: Caller) -> BoxFuture<'_, Answer<FaultState>>;

    /// Takes a fault back; never waits for the fault itself.
    fn disarm(&self, id: String, by: Caller) -> BoxFuture<'_, Answer<Disarmed>>;

    /// Renews the lease of a fault.
    fn renew(&self, id: String, by: Caller) -> BoxFuture<'_, Answer<FaultState>>;

    /// The open connections of the targets that have any.
    fn connections(&self, _query: ConnectionQuery) -> BoxFuture<'_, Answer<ConnectionList>> {
        Box::pin(async { Err(Failure::no_connections()) })
    }

    /// Ends a connection.
    fn close_connection(&self, _id: u64, _how: Close, _by: Caller) -> BoxFuture<'_, Answer<()>> {
        Box::pin(async { Err(Failure::no_connections()) })
    }

    /// Holds a connection until it is released, or for so long at most.
    fn hold_connection(&self, _id: u64, _lease: Span, _by: Caller) -> BoxFuture<'_, Answer<()>> {
        Box::pin(async { Err(Failure::no_connections()) })
    }

    /// Lets a held connection go on; a conflict when it is not held.
    fn release_connection(&self, _id: u64, _by: Caller) -> BoxFuture<'_, Answer<()>> {
        Box::pin(async { Err(Failure::no_connections()) })
    }

    /// The last operations on files, and what there is of them by kind.
    fn operations(&self, _query: OperationQuery) -> BoxFuture<'_, Answer<OperationList>> {
        Box::pin(async { Ok(OperationList::default()) })
    }

    /// Operations on files by kind, since each target was opened; asking does not have them recorded.
    fn operation_kinds(&self) -> Vec<OperationRow> {
        Vec::new()
    }

    /// What each target has done since it was opened, all in all.
    fn totals(&self) -> BTreeMap<TargetRef, Sample> {
        BTreeMap::new()
    }

    /// Requests under way and the last that were.
    fn requests(&self, _query: RequestQuery) -> BoxFuture<'_, Answer<RequestList>> {
        Box::pin(async { Err(Failure::no_requests()) })
    }

    /// Holds requests that match until they are released, or for so long at most.
    fn hold_requests(&self, _order: HoldOrder, _by: Caller) -> BoxFuture<'_, Answer<HoldView>> {
        Box::pin(async { Err(Failure::no_requests()) })
    }

    /// Holds no more; what that held goes on.
    fn end_hold(&self, _id: u64, _by: Caller) -> BoxFuture<'_, Answer<()>> {
        Box::pin(async { Err(Failure::no_requests()) })
    }

    /// Lets a held request go on; a conflict when it is not held.
    fn release_request(&self, _id: u64, _by: Caller) -> BoxFuture<'_, Answer<()>> {
        Box::pin(async { Err(Failure::no_requests()) })
    }

    /// Who asks most of a target, or for what.
    fn top(&self, _target: TargetRef, _by: TopBy, _limit: usize) -> BoxFuture<'_, Answer<TopList>> {
        Box::pin(async { Err(Failure::no_requests()) })
    }

    /// Takes everything back and blocks new faults until it is lifted. Halting what is halted does it again.
    fn halt(&self, by: Caller) -> BoxFuture<'_, Answer<Halted>>;

    /// Lifts a halt; a conflict when there is none.
    fn lift(&self, by: Caller) -> BoxFuture<'_, Answer<()>>;

    /// Starts an experiment.
    fn start_run(&self, run: StartRun, by: Caller) -> BoxFuture<'_, Answer<RunState>>;

    /// The run that is going on, or the last one; not found when there was none.
    fn run(&self) -> BoxFuture<'_, Answer<RunState>>;

    /// Ends the run that is going on and takes its faults back.
    fn end_run(&self, by: Caller) -> BoxFuture<'_, Answer<RunState>>;

    /// The catalogue, with what cannot be done here and why.
    fn catalogue(&self) -> BoxFuture<'_, Answer<Vec<CatalogueEntry>>> {
        Box::pin(async { Ok(CatalogueEntry::all()) })
    }

    /// What this machine can do.
    fn doctor(&self) -> BoxFuture<'_, Answer<Vec<Check>>>;

    /// Events from number `from` on as far as they are kept, then each as it happens. See [`crate::Feed`].
    fn events(&self, from: u64) -> BoxStream<'static, Arc<Event>>;

    /// Receives every changing call after it was answered.
    fn audit(&self, entry: Audit);
}
