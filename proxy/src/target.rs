//! One open proxy: its listener, its open connections, and the faults armed on it.
//!
//! Connections are numbered and offered to faults under one lock, in the order in which they came, so that the ordinals
//! of a fault are the same on every run that accepts in the same order.

use crate::admission::admit;
use crate::armed::Armed;
use crate::chain::How;
use crate::conn::{Birth, Conn, Open, attend};
use crate::http::{self, Pool};
use crate::metrics::Metrics;
use crate::net::{Address, Stream};
use crate::relay::{Ended, relay};
use crate::timers::Timers;
use arc_swap::ArcSwap;
use inject::{Order, Refusal};
use model::catalogue::Layer;
use model::sample::TargetState;
use model::target::{Protocol, ProxySpec};
use model::{Fault, Problem, Sample, TargetKind, TargetRef};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How long to wait when the machine has no descriptor left for another connection.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(20);
/// How long closing waits for connections to end, which they do by themselves.
const CLOSING: Duration = Duration::from_millis(500);

/// An open proxy.
pub(crate) struct Target {
    /// As it was asked for.
    pub(crate) spec: ProxySpec,
    name: String,
    listen: SocketAddr,
    upstream: Address,
    metrics: Arc<Metrics>,
    timers: Timers,
    registry: Mutex<Registry>,
    /// The faults on requests, in the order in which they act.
    requests: ArcSwap<Vec<Arc<Armed>>>,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Registry {
    accepted: u64,
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
    /// Opens the listener and begins to accept.
    pub(crate) async fn open(name: &str, spec: &ProxySpec, timers: &Timers) -> Result<Arc<Target>, Refusal> {
        let subject = |e: Problem| {
            let problem = Problem::new(format!("proxy:{name}: {}", e.what));
            Refusal(match e.hint {
                Some(hint) => problem.hint(hint),
                None => problem,
            })
        };
        let listen: Address = spec.listen.parse().map_err(subject)?;
        let upstream: Address = spec.upstream.parse().map_err(subject)?;
        let refused = |e: std::io::Error| {
            Refusal::new(
                format!("proxy:{name} cannot listen on {listen}: {e}"),
                match e.kind() {
                    std::io::ErrorKind::AddrInUse => "choose another port, or end what uses this one",
                    std::io::ErrorKind::PermissionDenied => {
                        "ports below 1024 need CAP_NET_BIND_SERVICE: run as root or choose a higher port"
                    }
                    _ => "listen on an address of this machine, such as 127.0.0.1:15432",
                },
            )
        };
        let listener = listen.listen().await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let target = Arc::new(Target {
            spec: spec.clone(),
            name: name.to_owned(),
            listen: address,
            upstream: upstream.clone(),
            metrics: Arc::new(Metrics::new()),
            timers: timers.clone(),
            registry: Mutex::default(),
            requests: ArcSwap::default(),
            acceptor: Mutex::default(),
        });
        let pool = (spec.protocol == Protocol::Http).then(|| Pool::new(upstream));
        let acceptor = tokio::spawn(accept(listener, target.clone(), pool));
        *target.acceptor.lock().unwrap_or_else(PoisonError::into_inner) = Some(acceptor);
        Ok(target)
    }

    /// Closes the listener and ends its connections in order; the port is free afterwards.
    pub(crate) async fn close(&self) {
        let acceptor = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(acceptor) = acceptor {
            acceptor.abort();
            // Its end is what frees the port; that it was aborted is what was asked for.
            let _ = acceptor.await;
        }
        let conns: Vec<_> = {
            let mut registry = self.lock();
            registry.closed = true;
            for fault in std::mem::take(&mut registry.armed) {
                fault.switch_off();
                registry.each(|conn| conn.withdraw(&fault));
            }
            self.requests.store(Arc::default());
            registry.conns.values().cloned().collect()
        };
        conns.iter().for_each(|conn| conn.kill(How::Fin));
        let begun = std::time::Instant::now();
        while begun.elapsed() < CLOSING && !self.lock().conns.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Accepts no more, without waiting for anything: its owner is gone.
    pub(crate) fn abandon(&self) {
        if let Some(acceptor) = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner).take() {
            acceptor.abort();
        }
    }

    /// As it is now, for lists.
    pub(crate) fn state(&self) -> TargetState {
        let http = self.spec.protocol == Protocol::Http;
        let word = if http { "http" } else { "tcp" };
        TargetState {
            target: TargetRef::new(TargetKind::Proxy, self.name.clone()),
            about: format!("{} → {} {word}", self.listen, self.upstream),
            up: true,
            listen: Some(self.listen.to_string()),
            http,
        }
    }

    /// Everything counted since it was opened.
    pub(crate) fn totals(&self) -> Sample {
        let open = self.lock().conns.len() as u64;
        self.metrics.totals(open)
    }

    /// The clock of all delays.
    pub(crate) fn timers(&self) -> &Timers {
        &self.timers
    }

    /// The faults on requests, in the order in which they act.
    pub(crate) fn request_faults(&self) -> Arc<Vec<Arc<Armed>>> {
        self.requests.load_full()
    }

    /// Arms a fault: when this returns, everything that is open has it.
    pub(crate) fn arm(&self, order: &Order) -> Result<Arc<Armed>, Problem> {
        let mut registry = self.lock();
        if registry.closed {
            return Err(Problem::new(format!("proxy:{} was just closed", self.name)).hint("open it again"));
        }
        if registry.armed.iter().any(|f| f.id == order.id) {
            return Err(Problem::new(format!("a fault named {} is on already", order.id))
                .hint("disarm it first, or choose another name"));
        }
        let fault = Arc::new(Armed::new(order, registry.sequence)?);
        registry.sequence += 1;
        let at = registry.armed.partition_point(|f| f.order < fault.order);
        registry.armed.insert(at, fault.clone());
        let woken = match fault.def.layer {
            Layer::Requests => self.publish(&registry),
            _ if fault.is_for_new_connections() => Vec::new(),
            _ => registry.each(|conn| conn.offer(&fault)),
        };
        drop(registry);
        woken.iter().for_each(|conn| conn.wake());
        Ok(fault)
    }

    /// Changes an armed fault. One that is over is not found, and stays over.
    pub(crate) fn adjust(&self, id: &str, changed: &Fault) -> Result<(), Problem> {
        let registry = self.lock();
        let Some(fault) = registry.armed.iter().find(|f| f.id == id) else {
            return Err(Problem::new(format!("{id} is not on any more")).hint("arm it anew"));
        };
        if fault.def.name != changed.inject.name() {
            let (was, name) = (fault.def.name, changed.inject.name());
            return Err(Problem::new(format!("{id} is a {was} and cannot become a {name}"))
                .hint("disarm it and arm the other"));
        }
        fault.adjust(changed)?;
        let woken = match fault.def.layer {
            Layer::Requests => Vec::new(),
            _ => {
                let new_only = fault.is_for_new_connections();
                registry.each(|conn| (!new_only || conn.has(fault)) && conn.offer(fault))
            }
        };
        drop(registry);
        woken.iter().for_each(|conn| conn.wake());
        Ok(())
    }

    /// Disarms a fault and releases what it held. False when it was not on.
    pub(crate) fn disarm(&self, id: &str) -> bool {
        let mut registry = self.lock();
        let Some(at) = registry.armed.iter().position(|f| f.id == id) else { return false };
        let fault = registry.armed.remove(at);
        fault.switch_off();
        let woken = match fault.def.layer {
            Layer::Requests => self.publish(&registry),
            _ => registry.each(|conn| conn.withdraw(&fault)),
        };
        drop(registry);
        woken.iter().for_each(|conn| conn.wake());
        true
    }

    /// A connection was sent away before any request.
    pub(crate) fn refused(&self, conn: &Conn) {
        self.metrics.ended(true, conn.was_touched());
    }

    /// A connection has ended.
    pub(crate) fn ended(&self, conn: u64) {
        self.lock().conns.remove(&conn);
    }

    /// Shows requests what is armed. They look for themselves, so nobody has to be woken.
    fn publish(&self, registry: &Registry) -> Vec<Arc<Conn>> {
        let requests = registry.armed.iter().filter(|f| f.def.layer == Layer::Requests);
        self.requests.store(Arc::new(requests.cloned().collect()));
        Vec::new()
    }

    /// Numbers a new connection and offers it to what is armed.
    fn welcome(self: &Arc<Target>, client: Option<SocketAddr>) -> Open {
        let mut registry = self.lock();
        registry.accepted += 1;
        let id = registry.accepted;
        let conn = Arc::new(Conn::new(Birth { id, client, ..Birth::default() }, self.metrics.clone()));
        for fault in registry.armed.iter().filter(|f| f.def.layer == Layer::Connections) {
            conn.offer(fault);
        }
        if registry.closed {
            conn.kill(How::Fin);
        }
        registry.conns.insert(id, conn.clone());
        self.metrics.accepted();
        Open::new(conn, self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        // Each step leaves it whole; a panic elsewhere must not take the control path along.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, target: Arc<Target>, pool: Option<Arc<Pool>>) {
    loop {
        match listener.accept().await {
            Ok((socket, client)) => {
                let socket = Stream::Tcp(socket);
                socket.no_delay();
                let open = target.welcome(Some(client));
                match &pool {
                    Some(pool) => drop(tokio::spawn(http::serve(target.clone(), open, socket, pool.clone()))),
                    None => drop(tokio::spawn(serve(target.clone(), open, socket))),
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionAborted => {}
            Err(_) => tokio::time::sleep(OUT_OF_DESCRIPTORS).await,
        }
    }
}

/// Layer 4: dials and copies.
async fn serve(target: Arc<Target>, open: Open, client: Stream) {
    let dialled = match admit(&open, target.timers()).await {
        Ok(()) => attend(&open, target.timers(), target.upstream.dial()).await,
        Err(how) => Err(how),
    };
    let failed = match dialled {
        Ok(Ok(service)) => {
            let ended = relay(&open, client, service, target.timers()).await;
            matches!(ended, Ended::Killed | Ended::Reset { by: crate::chain::Dir::Down })
        }
        Ok(Err(_)) => {
            // What a client sees of a service that is not there.
            client.end(How::Rst);
            true
        }
        Err(how) => {
            client.end(how);
            true
        }
    };
    target.metrics.ended(failed, open.was_touched());
}
