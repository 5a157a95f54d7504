//! One open proxy: its listeners, its open connections, and the faults armed on it.
//!
//! Connections are numbered and offered to faults under one lock, in the order in which they came, so that the ordinals
//! of a fault are the same on every run that accepts in the same order.

mod faults;
mod open;

use crate::armed::Armed;
use crate::chain::How;
use crate::conn::{Birth, Conn, Open};
use crate::front::Stands;
use crate::http::message::{Answer, RequestHead};
use crate::http::seams::Stub;
use crate::http::stubs::Stubs;
use crate::listen::Listener;
use crate::metrics::Metrics;
use crate::route::{Chosen, Route};
use crate::timers::Timers;
use crate::tls::Downstream;
use crate::udp;
use crate::watch::Watch;
use arc_swap::ArcSwap;
use model::catalogue::Layer;
use model::sample::TargetState;
use model::target::{Protocol, ProxySpec};
use model::{ConnectionView, Sample, TargetKind, TargetRef};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// An open proxy.
pub(crate) struct Target {
    /// As it was asked for.
    pub(crate) spec: ProxySpec,
    name: String,
    /// As it really is, with the port that the kernel chose.
    listen: String,
    /// The containers that it stands in front of.
    stands: Option<Stands>,
    route: Route,
    /// What is done about the clients' TLS.
    tls: Option<Downstream>,
    /// None once it is closed: what is open keeps the target and must not keep the port.
    listeners: Mutex<Vec<Arc<Listener>>>,
    metrics: Arc<Metrics>,
    timers: Timers,
    watch: Arc<Watch>,
    registry: Mutex<Registry>,
    /// The faults on requests, in the order in which they act.
    requests: ArcSwap<Vec<Arc<Armed>>>,
    /// Changes with them: their count of changes, and what requests must look at.
    requests_version: AtomicU64,
    requests_changed: Notify,
    stubs: Option<Stubs>,
    acceptors: Mutex<JoinSet<()>>,
}

/// The numbers of connections, the same for all targets.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

#[derive(Default)]
struct Registry {
    sequence: u64,
    conns: BTreeMap<u64, Arc<Conn>>,
    /// In the order in which they act.
    armed: Vec<Arc<Armed>>,
    closed: bool,
}

impl Registry {
    /// Does something to each connection in the order in which they came; gives those for which it is true. They are
    /// woken once the lock is released: a task that is woken while its runtime ends is dropped on the spot, and then
    /// takes itself out of this registry.
    fn each(&self, mut does: impl FnMut(&Arc<Conn>) -> bool) -> Vec<Arc<Conn>> {
        self.conns.values().filter(|conn| does(conn)).cloned().collect()
    }
}

impl Target {
    /// The containers that it stands in front of.
    pub(crate) fn stands(&self) -> Option<&Stands> {
        self.stands.as_ref()
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// As it is now, for lists.
    pub(crate) fn state(&self) -> TargetState {
        let (about, up, listen) = match &self.stands {
            Some(stands) => (format!("{} {}", stands.about(), self.spec.speaks()), stands.complete(), None),
            None => {
                let about = format!("{} → {} {}", self.listen, self.route, self.spec.speaks());
                (about, true, Some(self.listen.clone()))
            }
        };
        TargetState {
            target: self.reference(),
            about,
            up,
            listen,
            http: self.spec.protocol == Protocol::Http,
        }
    }

    fn reference(&self) -> TargetRef {
        TargetRef::new(TargetKind::Proxy, self.name.clone())
    }

    /// Its open connections.
    pub(crate) fn connections(&self) -> Vec<ConnectionView> {
        let conns: Vec<_> = self.lock().conns.values().cloned().collect();
        let reference = self.reference();
        conns.iter().map(|conn| conn.view(&reference)).collect()
    }

    /// The open connection of that number.
    pub(crate) fn connection(&self, id: u64) -> Option<Arc<Conn>> {
        self.lock().conns.get(&id).cloned()
    }

    /// How services are found.
    pub(crate) fn route(&self) -> &Route {
        &self.route
    }

    /// What is done about the clients' TLS.
    pub(crate) fn tls(&self) -> Option<&Downstream> {
        self.tls.as_ref()
    }

    /// The service for a client that came to the port with that index.
    pub(crate) fn choose(&self, port: usize, client: Option<SocketAddr>) -> Option<Chosen> {
        self.route.choose(port, client.map(|c| c.ip()))
    }

    /// How long a sender of datagrams may be silent.
    pub(crate) fn idle(&self) -> Duration {
        self.spec.idle_timeout.map_or(udp::IDLE, |span| span.0)
    }

    /// Everything counted since it was opened.
    pub(crate) fn totals(&self) -> Sample {
        let open = self.lock().conns.len() as u64;
        self.metrics.totals(open)
    }

    /// Who looks at its requests.
    pub(crate) fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }

    /// The clock of all delays.
    pub(crate) fn timers(&self) -> &Timers {
        &self.timers
    }

    /// Counts a connection that has ended.
    pub(crate) fn ended_with(&self, conn: &Conn, failed: bool) {
        self.metrics.ended(failed, conn.was_touched());
    }

    /// Counts a connection that was not served, for it did not say who it is.
    pub(crate) fn turned_away(&self) {
        self.metrics.accepted();
        self.metrics.ended(true, false);
    }

    /// A connection has ended.
    pub(crate) fn ended(&self, conn: u64) {
        self.lock().conns.remove(&conn);
    }

    /// The answer that is given in the service's place, and how long that takes.
    pub(crate) fn stub(&self, conn: &Conn, head: &RequestHead) -> Option<(Duration, Answer)> {
        if self.requests_version() & faults::STUBBED == 0 {
            return None;
        }
        self.stubs.as_ref().and_then(|stubs| stubs.answer(conn, head))
    }

    /// Numbers a new connection and offers it to what is armed.
    pub(crate) fn welcome(self: &Arc<Target>, client: Option<SocketAddr>, chosen: Option<Chosen>) -> Open {
        let mut registry = self.lock();
        let id = NUMBERS.fetch_add(1, Relaxed);
        let birth = Birth {
            id,
            client,
            member: chosen.as_ref().map(|c| c.name.clone()),
            datagrams: self.spec.protocol == Protocol::Udp,
            sealed: self.spec.downstream_tls() == Some(model::target::Downstream::PassThrough),
        };
        let conn = Arc::new(Conn::new(birth, self.metrics.clone()));
        for fault in registry.armed.iter().filter(|f| f.knows_arrivals()) {
            conn.offer(fault);
        }
        if registry.closed {
            conn.kill(How::Fin);
        }
        registry.conns.insert(id, conn.clone());
        self.metrics.accepted();
        Open::new(conn, self.clone(), chosen)
    }

    /// A connection has said which name it wants: it is offered to the faults that ask for it, and to those on handshakes.
    pub(crate) fn learned(&self, open: &Open) {
        let registry = self.lock();
        let conn = open.share();
        for fault in registry.armed.iter().filter(|f| f.def.layer != Layer::Requests) {
            // The connection itself asks, so it need not be woken.
            conn.offer(fault);
        }
    }

    fn lock_listeners(&self) -> MutexGuard<'_, Vec<Arc<Listener>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_acceptors(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.acceptors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        // Each step leaves it whole; a panic elsewhere must not take the control path along.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
