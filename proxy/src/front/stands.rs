//! All containers that a proxy stands in front of, and going after them when they are started anew.

use super::Front;
use crate::target::Target;
use inject::{Container, Containers, Refusal};
use model::target::Front as Spec;
use model::{Problem, TargetKind, TargetRef};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

/// How often a container that has ended is looked for, at first and after a while.
const SOON: Duration = Duration::from_millis(200);
const LATER: Duration = Duration::from_secs(1);
const A_WHILE: Duration = Duration::from_secs(30);

/// The containers of a target.
pub(crate) struct Stands {
    target: TargetRef,
    spec: Spec,
    containers: Arc<dyn Containers>,
    /// How many there were when it was opened.
    wanted: usize,
    fronts: Mutex<Vec<Arc<Front>>>,
    /// Why one that has ended is not stood in front of again.
    lacking: Mutex<Option<String>>,
}

impl Stands {
    /// Finds the containers and stands in front of all of them, or of none.
    pub(crate) async fn begin(
        name: &str,
        spec: &Spec,
        containers: &Arc<dyn Containers>,
    ) -> Result<Stands, Refusal> {
        let target = TargetRef::new(TargetKind::Proxy, name);
        let found = containers.find(&target, &spec.containers()).await?;
        let mut fronts = Vec::new();
        for container in found {
            let front = Front::install(spec, container).await.map_err(|problem| {
                Refusal(Problem { what: format!("{target}: {}", problem.what), ..problem })
            })?;
            fronts.push(Arc::new(front));
        }
        Ok(Stands {
            target,
            spec: spec.clone(),
            containers: containers.clone(),
            wanted: fronts.len(),
            fronts: Mutex::new(fronts),
            lacking: Mutex::default(),
        })
    }

    /// Those that it stands in front of now.
    pub(crate) fn fronts(&self) -> Vec<Arc<Front>> {
        self.lock().clone()
    }

    /// Whether none is missing.
    pub(crate) fn complete(&self) -> bool {
        self.lock().len() >= self.wanted
    }

    /// In words: `in front of shop-db-1, port 5432`.
    pub(crate) fn about(&self) -> String {
        let fronts = self.fronts();
        let names: Vec<&str> = fronts.iter().map(|front| front.container.name.as_str()).collect();
        let way = if self.spec.outgoing { "what it says to port" } else { "port" };
        let who = if names.is_empty() { self.spec.words() } else { names.join(", ") };
        let mut text = match names.is_empty() {
            true => format!("in front of {who}"),
            false => format!("in front of {who}, {way} {}", self.spec.port),
        };
        if fronts.len() < self.wanted {
            let why = self.lacking.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let missing = self.wanted - fronts.len();
            text.push_str(&format!(
                " · {missing} ended and {} not back{}",
                if missing == 1 { "is" } else { "are" },
                why.map_or(String::new(), |why| format!(": {why}"))
            ));
        }
        text
    }

    /// What is to be said before a fault is armed: some connections are older than the proxy.
    pub(crate) fn gone_past(&self) -> Option<String> {
        let n: usize = self.fronts().iter().map(|front| front.gone_past()).sum();
        (n > 0).then(|| {
            format!(
                "{n} {} before the proxy was there and {} past it: they are hit when they are made anew (reset_open: true on the target resets them, or restart the clients)",
                if n == 1 { "connection was open" } else { "connections were open" },
                if n == 1 { "goes" } else { "go" },
            )
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<Arc<Front>>> {
        self.fronts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more.
    pub(crate) fn add(&self, front: Arc<Front>) {
        self.lock().push(front);
    }

    /// One less.
    pub(crate) fn remove(&self, front: &Arc<Front>) {
        self.lock().retain(|one| !Arc::ptr_eq(one, front));
    }

    /// Waits until one of them has ended; for ever when there is none.
    async fn one_ended(&self) -> Arc<Front> {
        let fronts = self.fronts();
        type Watch<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
        let mut watches: Vec<Watch<'_>> =
            fronts.iter().map(|front| Box::pin(front.ended()) as Watch<'_>).collect();
        let at = std::future::poll_fn(|cx| {
            let ready = watches.iter_mut().position(|watch| watch.as_mut().poll(cx).is_ready());
            ready.map_or(Poll::Pending, Poll::Ready)
        });
        let at = at.await;
        drop(watches);
        fronts[at].clone()
    }

    /// Containers that fit, and that it does not stand in front of.
    async fn others(&self) -> Result<Vec<Container>, Problem> {
        let found = self.containers.find(&self.target, &self.spec.containers()).await.map_err(|r| r.0)?;
        let fronts = self.fronts();
        Ok(found.into_iter().filter(|one| !fronts.iter().any(|front| front.is_of(one))).collect())
    }
}

/// Goes after containers that are started anew, for ever. Does nothing while all run.
pub(crate) async fn follow(target: Arc<Target>) {
    let Some(stands) = target.stands() else { return };
    let mut lost: Option<Instant> = None;
    loop {
        let missing = !stands.complete();
        let pause = match lost {
            Some(since) if since.elapsed() > A_WHILE => LATER,
            _ => SOON,
        };
        tokio::select! {
            ended = stands.one_ended() => {
                target.drop_front(&ended);
                lost.get_or_insert_with(Instant::now);
                continue;
            }
            () = tokio::time::sleep(pause), if missing => {}
        }
        let why = match stands.others().await {
            Err(problem) => Some(problem.what),
            Ok(found) => {
                let mut why = None;
                for container in found {
                    if stands.complete() {
                        break;
                    }
                    match Front::install(&stands.spec, container).await {
                        Ok(front) => target.add_front(Arc::new(front)),
                        Err(problem) => why = Some(problem.what),
                    }
                }
                why
            }
        };
        *stands.lacking.lock().unwrap_or_else(PoisonError::into_inner) = why;
        if stands.complete() {
            lost = None;
        }
    }
}
