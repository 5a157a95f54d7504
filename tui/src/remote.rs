//! The agents' side: listens to their events, asks them now and then, carries out effects. All of it in tasks of its own,
//! so that neither a slow agent nor a dead one holds up a key.

use crate::update::{AboutRequests, ByHand, Effect, Msg, News, Snapshot};
use control::{Client, ClientError, Endpoint, Signal};
use futures::StreamExt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

/// How often an agent is asked for its status.
const EVERY: Duration = Duration::from_secs(2);

/// Messages under way to the screen.
const QUEUE: usize = 1024;

/// The agents, and the tasks that talk with them.
pub struct Remote {
    clients: Vec<Client>,
    refresh: Vec<Arc<Notify>>,
    out: mpsc::Sender<Msg>,
    start: Instant,
    /// Listening and asking, for as long as the console is there.
    watching: JoinSet<()>,
    /// Calls that are under way.
    calls: JoinSet<()>,
}

impl Remote {
    /// Begins to listen. Times are counted from `start`.
    pub fn start(endpoints: Vec<Endpoint>, start: Instant) -> (Remote, mpsc::Receiver<Msg>) {
        let (out, messages) = mpsc::channel(QUEUE);
        let clients: Vec<Client> = endpoints.into_iter().map(Client::new).collect();
        let refresh: Vec<Arc<Notify>> = clients.iter().map(|_| Arc::default()).collect();
        let mut watching = JoinSet::new();
        for (agent, client) in clients.iter().enumerate() {
            watching.spawn(listen(agent, client.clone(), out.clone(), refresh[agent].clone()));
            watching.spawn(ask(agent, client.clone(), out.clone(), refresh[agent].clone(), start));
        }
        (Remote { clients, refresh, out, start, watching, calls: JoinSet::new() }, messages)
    }

    /// Carries out what concerns an agent.
    pub fn carry_out(&mut self, effect: Effect) {
        while self.calls.try_join_next().is_some() {}
        let agent = match &effect {
            Effect::Halt(a) | Effect::Lift(a) | Effect::EndRun(a) | Effect::Refresh(a) => *a,
            Effect::Plan { agent, .. } | Effect::Arm { agent, .. } | Effect::Adjust { agent, .. } => *agent,
            Effect::Disarm(a, _) | Effect::Renew(a, _) => *a,
            Effect::Connections(a, _) | Effect::Connection(a, ..) => *a,
            Effect::Requests(a, _) | Effect::AboutRequests(a, _) | Effect::Operations(a, _) => *a,
            Effect::Copy(_) | Effect::Leave => return,
        };
        let Some(client) = self.clients.get(agent).cloned() else { return };
        if let Effect::Refresh(_) = effect {
            return self.refresh[agent].notify_one();
        }
        let out = self.out.clone();
        self.calls.spawn(async move {
            if let Some(news) = call(&client, effect).await {
                // The screen is gone when this fails, and nobody waits for the answer.
                let _ = out.send(Msg::Agent(agent, Box::new(news))).await;
            }
        });
    }

    /// Waits for calls that are under way, but not for ever.
    pub async fn finish(mut self, patience: Duration) {
        self.watching.abort_all();
        let _ =
            tokio::time::timeout(patience, async { while self.calls.join_next().await.is_some() {} }).await;
    }

    /// Milliseconds since the start.
    pub fn now_ms(&self) -> f64 {
        ms(self.start)
    }
}

fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

async fn call(client: &Client, effect: Effect) -> Option<News> {
    Some(match effect {
        Effect::Halt(_) => {
            let begun = Instant::now();
            let result = client.halt().await;
            News::Halted(ms(begun), result)
        }
        Effect::Plan { fault, ask, .. } => News::Planned(ask, Box::new(client.plan(&fault).await)),
        Effect::Adjust { id, change, .. } => {
            let now = client.adjust(&id, &change).await.map(Box::new);
            News::Adjusted(id, now)
        }
        Effect::Arm { fault, lease, .. } => News::Armed(client.arm(&fault, lease).await.map(Box::new)),
        Effect::Disarm(_, id) => {
            let result = client.disarm(&id).await;
            News::Disarmed(id, result)
        }
        Effect::Renew(_, id) => {
            let result = client.renew(&id).await.map(Box::new);
            News::Renewed(id, result)
        }
        Effect::Lift(_) => News::Lifted(client.lift().await),
        Effect::EndRun(_) => News::RunEnded(client.end_run().await.map(Box::new)),
        Effect::Operations(_, query) => News::Operations(client.operations(&query).await),
        Effect::Requests(_, query) => News::Requests(client.requests(&query).await),
        Effect::AboutRequests(_, what) => {
            let result = match &what {
                AboutRequests::Hold(order) => client.hold_requests(order).await.map(drop),
                AboutRequests::Release(id) => client.release_request(*id).await,
                AboutRequests::Resume(id) => client.end_hold(*id).await,
            };
            News::RequestsDone(what, result)
        }
        Effect::Connections(_, query) => News::Connections(client.connections(&query).await),
        Effect::Connection(_, what, id) => {
            let result = match what {
                ByHand::Close(how) => client.close_connection(id, how).await,
                ByHand::Hold => client.hold_connection(id, None).await,
                ByHand::Release => client.release_connection(id).await,
            };
            News::ConnectionDone(what, id, result)
        }
        Effect::Refresh(_) | Effect::Copy(_) | Effect::Leave => return None,
    })
}

async fn listen(agent: usize, client: Client, out: mpsc::Sender<Msg>, refresh: Arc<Notify>) {
    let mut events = client.events(Some(0));
    while let Some(signal) = events.next().await {
        if let Signal::Connected { .. } = signal {
            refresh.notify_one();
        }
        if out.send(Msg::Agent(agent, Box::new(News::Signal(signal)))).await.is_err() {
            return;
        }
    }
}

async fn ask(agent: usize, client: Client, out: mpsc::Sender<Msg>, refresh: Arc<Notify>, start: Instant) {
    let mut rounds = 0_u64;
    loop {
        // What cannot be armed there changes rarely.
        match snapshot(&client, start, rounds.is_multiple_of(30)).await {
            Ok(snapshot) => {
                rounds += 1;
                if out.send(Msg::Agent(agent, Box::new(News::Snapshot(Box::new(snapshot))))).await.is_err() {
                    return;
                }
            }
            // The stream of events says what is wrong, and when it is over.
            Err(_) => rounds = 0,
        }
        let _ = tokio::time::timeout(EVERY, refresh.notified()).await;
    }
}

async fn snapshot(client: &Client, start: Instant, whole: bool) -> Result<Snapshot, ClientError> {
    let asked_ms = ms(start);
    let status = client.status().await?;
    let answered_ms = ms(start);
    let targets = client.targets().await?;
    let faults = client.faults().await?;
    let unavailable = if whole {
        let entries = client.catalogue().await?;
        Some(entries.into_iter().filter_map(|e| e.unavailable.map(|why| (e.name, why))).collect())
    } else {
        None
    };
    Ok(Snapshot { asked_ms, answered_ms, status, targets, faults, unavailable })
}
