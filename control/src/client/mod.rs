//! The typed client that the command line and the console use.

mod error;
mod events;
mod transport;
mod trouble;

pub use error::ClientError;
pub use events::Signal;

use crate::connections::{Close, ConnectionList, ConnectionQuery};
use crate::endpoint::Endpoint;
use crate::operations::{OperationList, OperationQuery};
use crate::requests::{HoldOrder, HoldView, RequestList, RequestQuery, TopBy, TopList};
use crate::wire::{
    CatalogueEntry, Change, Check, Disarmed, FaultState, Halted, PlanView, RunState, StartRun, Status,
};
use futures::stream::BoxStream;
use model::percent::encode;
use model::sample::TargetState;
use model::{Fault, Target, TargetRef, units::Span};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How long an ordinary call may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long arming and starting a run may take: listeners open, processes are found, undo logs are synced.
const LONG_PATIENCE: Duration = Duration::from_secs(60);

/// One agent. Cheap to clone; every call has a connection of its own, so that none waits for another.
#[derive(Debug, Clone)]
pub struct Client {
    endpoint: Endpoint,
}

impl Client {
    /// A client of the agent there; nothing is connected yet.
    pub fn new(endpoint: Endpoint) -> Client {
        Client { endpoint }
    }

    /// Where the agent is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What the agent is and does now, and who it takes us for.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/api/v1/status").await
    }

    /// The open targets.
    pub async fn targets(&self) -> Result<Vec<TargetState>, ClientError> {
        self.get("/api/v1/targets").await
    }

    /// Opens a target.
    pub async fn open_target(&self, target: &Target) -> Result<TargetState, ClientError> {
        self.send("POST", "/api/v1/targets", Some(target), LONG_PATIENCE).await
    }

    /// Closes a target.
    pub async fn close_target(&self, target: &TargetRef) -> Result<(), ClientError> {
        let path = format!("/api/v1/targets/{}", encode(&target.to_string()));
        self.bare::<serde_json::Value>("DELETE", &path).await.map(drop)
    }

    /// The faults that are on, oldest first.
    pub async fn faults(&self) -> Result<Vec<FaultState>, ClientError> {
        self.get("/api/v1/faults").await
    }

    /// What arming would do.
    pub async fn plan(&self, fault: &Fault) -> Result<PlanView, ClientError> {
        self.send("POST", "/api/v1/faults?dry_run=true", Some(fault), PATIENCE).await
    }

    /// Arms a fault; with a lease, it ends that long after the last [`Client::renew`].
    pub async fn arm(&self, fault: &Fault, lease: Option<Span>) -> Result<FaultState, ClientError> {
        let path = match lease {
            Some(lease) => format!("/api/v1/faults?lease={lease}"),
            None => "/api/v1/faults".to_owned(),
        };
        self.send("POST", &path, Some(fault), LONG_PATIENCE).await
    }

    /// Changes a fault that is on.
    pub async fn adjust(&self, id: &str, change: &Change) -> Result<FaultState, ClientError> {
        self.send("PATCH", &fault_path(id, ""), Some(change), PATIENCE).await
    }

    /// Takes a fault back.
    pub async fn disarm(&self, id: &str) -> Result<Disarmed, ClientError> {
        self.bare("DELETE", &fault_path(id, "")).await
    }

    /// Renews the lease of a fault.
    pub async fn renew(&self, id: &str) -> Result<FaultState, ClientError> {
        self.bare("POST", &fault_path(id, "/renew")).await
    }

    /// Open connections, chosen by the query.
    pub async fn connections(&self, query: &ConnectionQuery) -> Result<ConnectionList, ClientError> {
        self.get(&format!("/api/v1/connections{}", query.to_query())).await
    }

    /// Ends a connection.
    pub async fn close_connection(&self, id: u64, how: Close) -> Result<(), ClientError> {
        let path = format!("/api/v1/connections/{id}?how={}", how.word());
        self.bare::<serde_json::Value>("DELETE", &path).await.map(drop)
    }

    /// Holds a connection until it is released, or for so long at most; [`crate::connections::HOLD_LEASE`] when none.
    pub async fn hold_connection(&self, id: u64, lease: Option<Span>) -> Result<(), ClientError> {
        let query = lease.map_or_else(String::new, |l| format!("?lease={l}"));
        let path = format!("/api/v1/connections/{id}/hold{query}");
        self.bare::<serde_json::Value>("POST", &path).await.map(drop)
    }

    /// Lets a held connection go on.
    pub async fn release_connection(&self, id: u64) -> Result<(), ClientError> {
        let path = format!("/api/v1/connections/{id}/release");
        self.bare::<serde_json::Value>("POST", &path).await.map(drop)
    }

    /// The last operations on files, chosen by the query.
    pub async fn operations(&self, query: &OperationQuery) -> Result<OperationList, ClientError> {
        self.get(&format!("/api/v1/operations{}", query.to_query())).await
    }

    /// Requests under way and the last that were, chosen by the query.
    pub async fn requests(&self, query: &RequestQuery) -> Result<RequestList, ClientError> {
        self.get(&format!("/api/v1/requests{}", query.to_query())).await
    }

    /// Holds requests that match.
    pub async fn hold_requests(&self, order: &HoldOrder) -> Result<HoldView, ClientError> {
        self.send("POST", "/api/v1/requests/hold", Some(order), PATIENCE).await
    }

    /// Holds no more; what that held goes on.
    pub async fn end_hold(&self, id: u64) -> Result<(), ClientError> {
        let path = format!("/api/v1/requests/hold/{id}");
        self.bare::<serde_json::Value>("DELETE", &path).await.map(drop)
    }

    /// Lets a held request go on.
    pub async fn release_request(&self, id: u64) -> Result<(), ClientError> {
        let path = format!("/api/v1/requests/{id}/release");
        self.bare::<serde_json::Value>("POST", &path).await.map(drop)
    }

    /// Who asks most of a target, or for what.
    pub async fn top(&self, target: &TargetRef, by: TopBy, limit: usize) -> Result<TopList, ClientError> {
        let target = encode(&target.to_string());
        self.get(&format!("/api/v1/top?target={target}&by={}&limit={limit}", by.word())).await
    }

    /// Opens a target that answers every request itself.
    pub async fn open_stubs(&self, stubs: &model::StubServer) -> Result<TargetState, ClientError> {
        self.send("POST", "/api/v1/stubs/http", Some(stubs), PATIENCE).await
    }

    /// Takes everything back and blocks new faults.
    pub async fn halt(&self) -> Result<Halted, ClientError> {
        self.bare("POST", "/api/v1/halt").await
    }

    /// Lifts a halt.
    pub async fn lift(&self) -> Result<(), ClientError> {
        self.bare::<serde_json::Value>("POST", "/api/v1/halt/lift").await.map(drop)
    }

    /// Starts an experiment.
    pub async fn start_run(&self, run: &StartRun) -> Result<RunState, ClientError> {
        self.send("POST", "/api/v1/runs", Some(run), LONG_PATIENCE).await
    }

    /// The run that is going on, or the last one.
    pub async fn run(&self) -> Result<RunState, ClientError> {
        self.get("/api/v1/run").await
    }

    /// Ends the run that is going on.
    pub async fn end_run(&self) -> Result<RunState, ClientError> {
        self.send::<(), _>("DELETE", "/api/v1/run", None, LONG_PATIENCE).await
    }

    /// The catalogue as that agent has it.
    pub async fn catalogue(&self) -> Result<Vec<CatalogueEntry>, ClientError> {
        self.get("/api/v1/catalogue").await
    }

    /// What that machine can do.
    pub async fn doctor(&self) -> Result<Vec<Check>, ClientError> {
        self.get("/api/v1/doctor").await
    }

    /// Events from number `from` on (0 for everything that is kept, none for those from now on), for ever: the stream
    /// connects again by itself after the last event seen, and says when the agent was lost and when it is back.
    pub fn events(&self, from: Option<u64>) -> BoxStream<'static, Signal> {
        events::stream(self.endpoint.clone(), from)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.bare("GET", path).await
    }

    async fn bare<T: DeserializeOwned>(&self, method: &str, path: &str) -> Result<T, ClientError> {
        self.send::<(), T>(method, path, None, PATIENCE).await
    }

    async fn send<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<&B>,
        patience: Duration,
    ) -> Result<T, ClientError> {
        let call = transport::call(&self.endpoint, method, path, body);
        let bytes = tokio::time::timeout(patience, call)
            .await
            .map_err(|_| ClientError::Slow { endpoint: self.endpoint.to_string(), patience })??;
        serde_json::from_slice(&bytes).map_err(|e| ClientError::NotUnderstood {
            endpoint: self.endpoint.to_string(),
            why: e.to_string(),
        })
    }
}

fn fault_path(id: &str, tail: &str) -> String {
    // Ids hold no slash in what the engine makes up; one given by a user might.
    format!("/api/v1/faults/{}{tail}", encode(id).replace('/', "%2F"))
}
