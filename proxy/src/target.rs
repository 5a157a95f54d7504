//! One open proxy: its listener, its open connections, and the faults armed on it.
//!
//! Connections are numbered and offered to faults under one lock, in the order in which they came, so that the ordinals
//! of a fault are the same on every run that accepts in the same order.

use crate::accept::accept;
use crate::armed::Armed;
use crate::chain::How;
use crate::conn::{Birth, Conn, Open};
use crate::dial::may_keep_source;
use crate::front::{Front, Stands, follow};
use crate::http::message::{Answer, RequestHead};
use crate::http::seams::Stub;
use crate::http::stubs::Stubs;
use crate::listen::{Door, Listener, Place};
use crate::metrics::Metrics;
use crate::route::{Chosen, Route};
use crate::timers::Timers;
use crate::tls::{self, Authority, Downstream, Mint, Terminator};
use crate::udp;
use crate::watch::Watch;
use arc_swap::ArcSwap;
use inject::{Containers, Order, Refusal};
use model::catalogue::Layer;
use model::sample::TargetState;
use model::target::{Protocol, ProxyProtocol, ProxySpec};
use model::{ConnectionView, Fault, Problem, Sample, TargetKind, TargetRef};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::task::JoinSet;

/// How long closing waits for connections to end, which they do by themselves.
const CLOSING: Duration = Duration::from_millis(500);

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

/// In the version of requests: there are faults on them; some are answered in the service's place.
const ARMED: u64 = 1;
const STUBBED: u64 = 2;
const FLAGS: u64 = ARMED | STUBBED;

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
    /// Opens the listener and begins to accept.
    pub(crate) async fn open(
        name: &str,
        spec: &ProxySpec,
        timers: &Timers,
        ca: &Path,
        containers: &Arc<dyn Containers>,
    ) -> Result<Arc<Target>, Refusal> {
        let subject = |e: Problem| {
            let problem = Problem::new(format!("proxy:{name}: {}", e.what));
            Refusal(match e.hint {
                Some(hint) => problem.hint(hint),
                None => problem,
            })
        };
        let place: Option<Place> = match &spec.in_front_of {
            Some(_) => None,
            None => Some(spec.listen.parse().map_err(subject)?),
        };
        let stubs = match spec.stubs.is_empty() {
            true => None,
            false => Some(Stubs::new(&spec.stubs, spec.is_stub()).map_err(subject)?),
        };
        let ports = place.as_ref().map_or(1, Place::ports);
        let route = Route::read(spec, ports).map_err(subject)?;
        check(spec, place.as_ref()).map_err(subject)?;
        let tls = downstream(spec, ca).map_err(subject)?;
        if spec.keep_source {
            may_keep_source().map_err(|e| {
                Refusal::new(
                    format!("proxy:{name} may not dial from its clients' addresses (keep_source): {e}"),
                    "run as root or with CAP_NET_ADMIN, or leave keep_source out",
                )
            })?;
        }
        let refused = |e: io::Error, place: &Place| {
            Refusal::new(
                format!("proxy:{name} cannot listen on {place}: {e}"),
                match (e.kind(), place) {
                    (io::ErrorKind::AddrInUse, Place::Unix(_)) => {
                        "choose another path, or end what uses this one"
                    }
                    (io::ErrorKind::AddrInUse, _) => "choose another port, or end what uses this one",
                    (io::ErrorKind::PermissionDenied, Place::Tcp { .. }) => {
                        "ports below 1024 need CAP_NET_BIND_SERVICE: run as root or choose a higher port"
                    }
                    (_, Place::Unix(_)) => "choose a path in a directory that exists and may be written to",
                    _ => "listen on an address of this machine, such as 127.0.0.1:15432",
                },
            )
        };
        let (mut listeners, mut sockets) = (Vec::new(), Vec::new());
        let mut listen = String::new();
        if let Some(place) = &place {
            if spec.protocol == Protocol::Udp {
                let bound = udp::bind(place).await.map_err(|e| refused(e, place))?;
                sockets = bound.into_iter().map(Arc::new).collect();
            } else {
                let transparent = matches!(route, Route::Original(_));
                let bound = place.listen(transparent).await.map_err(|e| refused(e, place))?;
                listeners = bound.into_iter().map(Arc::new).collect();
            }
            let first = || first_address(&listeners, &sockets).map(|a| a.to_string());
            listen = if ports == 1 { first() } else { None }.unwrap_or_else(|| place.to_string());
        }
        let stands = match &spec.in_front_of {
            None => None,
            Some(front) => Some(Stands::begin(name, front, containers).await?),
        };
        let target = Arc::new(Target {
            spec: spec.clone(),
            name: name.to_owned(),
            listen,
            stands,
            route,
            tls,
            listeners: Mutex::new(listeners.clone()),
            metrics: Arc::new(Metrics::new()),
            timers: timers.clone(),
            watch: Arc::new(Watch::new(TargetRef::new(TargetKind::Proxy, name), timers.clone())),
            registry: Mutex::default(),
            requests: ArcSwap::default(),
            requests_version: AtomicU64::new(if spec.stubs.is_empty() { 0 } else { STUBBED }),
            requests_changed: Notify::new(),
            stubs,
            acceptors: Mutex::default(),
        });
        let mut acceptors = target.lock_acceptors();
        for (port, listener) in listeners.into_iter().enumerate() {
            acceptors.spawn(accept(listener, port, None, target.clone()));
        }
        for (port, socket) in sockets.into_iter().enumerate() {
            acceptors.spawn(udp::serve(socket, port, target.clone()));
        }
        if let Some(stands) = &target.stands {
            for front in stands.fronts() {
                target.admit(&front, &mut acceptors);
            }
            acceptors.spawn(follow(target.clone()));
        }
        drop(acceptors);
        Ok(target)
    }

    /// Accepts what is led to a front.
    fn admit(self: &Arc<Target>, front: &Arc<Front>, acceptors: &mut JoinSet<()>) {
        self.lock_listeners().extend(front.listeners.iter().cloned());
        for listener in &front.listeners {
            let (inside, target) = (front.resident.clone(), self.clone());
            front.accepts(acceptors.spawn(accept(listener.clone(), 0, Some(inside), target)));
        }
    }

    /// Stands in front of another container, or of one that was started anew. The doors are as faults want them.
    pub(crate) fn add_front(self: &Arc<Target>, front: Arc<Front>) {
        let Some(stands) = &self.stands else { return };
        {
            let registry = self.lock();
            if registry.closed {
                return;
            }
            let mut acceptors = self.lock_acceptors();
            self.admit(&front, &mut acceptors);
            stands.add(front);
            self.shut(&registry);
        }
    }

    /// A container has ended, and its namespace with it.
    pub(crate) fn drop_front(&self, front: &Arc<Front>) {
        if let Some(stands) = &self.stands {
            stands.remove(front);
        }
        front.end();
        self.lock_listeners().retain(|one| !front.listeners.iter().any(|its| Arc::ptr_eq(its, one)));
        if let Route::Original(services) = &self.route {
            services.forget(&front.resident);
        }
    }

    /// The containers that it stands in front of.
    pub(crate) fn stands(&self) -> Option<&Stands> {
        self.stands.as_ref()
    }

    /// Closes the listeners and ends its connections in order; the ports are free afterwards.
    pub(crate) async fn close(&self) {
        let fronts = self.stands.as_ref().map(Stands::fronts).unwrap_or_default();
        // Those who come now go to the service, and not to a port where nobody listens any more.
        fronts.iter().for_each(|front| front.lift());
        let mut acceptors = std::mem::take(&mut *self.lock_acceptors());
        // Their end is what frees the ports; that they were aborted is what was asked for.
        acceptors.shutdown().await;
        self.lock_listeners().clear();
        let conns: Vec<_> = {
            let mut registry = self.lock();
            registry.closed = true;
            let armed = std::mem::take(&mut registry.armed);
            for fault in &armed {
                registry.each(|conn| conn.withdraw(fault));
            }
            // Sentenced before what faults hold is let go: a handshake that was stalled must not go on now.
            registry.conns.values().for_each(|conn| conn.sentence(How::Fin));
            armed.iter().for_each(|fault| fault.switch_off());
            self.requests.store(Arc::default());
            self.requests_news(&registry);
            registry.conns.values().cloned().collect()
        };
        conns.iter().for_each(|conn| conn.kill(How::Fin));
        let begun = Instant::now();
        while begun.elapsed() < CLOSING && !self.lock().conns.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // What had been led to us keeps its addresses until it has ended.
        let fronts = self.stands.as_ref().map(Stands::fronts).unwrap_or_default();
        fronts.iter().for_each(|front| self.drop_front(front));
    }

    /// Accepts no more, without waiting for anything: its owner is gone.
    pub(crate) fn abandon(&self) {
        self.lock_acceptors().abort_all();
        self.lock_listeners().clear();
        let fronts = self.stands.as_ref().map(Stands::fronts).unwrap_or_default();
        fronts.iter().for_each(|front| self.drop_front(front));
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
        self.shut(&registry);
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
        self.shut(&registry);
        let woken = match fault.def.layer {
            Layer::Requests => self.publish(&registry),
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
        self.shut(&registry);
        let woken = match fault.def.layer {
            Layer::Requests => self.publish(&registry),
            _ => registry.each(|conn| conn.withdraw(&fault)),
        };
        drop(registry);
        woken.iter().for_each(|conn| conn.wake());
        true
    }

    /// Shuts the doors, or opens them, as the faults say that hit everyone who comes.
    fn shut(&self, registry: &Registry) {
        let wanted =
            registry.armed.iter().filter_map(|f| f.door().map(|door| (door, f))).max_by_key(|(d, _)| *d);
        let door = wanted.map_or(Door::Open, |(door, _)| door);
        for listener in self.lock_listeners().iter() {
            let Some(news) = listener.set(door) else { continue };
            if let Some((_, fault)) = wanted.filter(|_| news) {
                for count in [&fault.meters.considered, &fault.meters.applied, &fault.meters.doors] {
                    count.fetch_add(1, Relaxed);
                }
            }
        }
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

    /// Shows requests what is armed. Those that are under way and wait for such news look for themselves.
    fn publish(&self, registry: &Registry) -> Vec<Arc<Conn>> {
        let requests = registry.armed.iter().filter(|f| f.def.layer == Layer::Requests);
        self.requests.store(Arc::new(requests.cloned().collect()));
        self.requests_news(registry);
        Vec::new()
    }

    fn requests_news(&self, _locked: &Registry) {
        let flag = |on: bool, flag| if on { flag } else { 0 };
        let next = (self.requests_version.load(Relaxed) & !FLAGS) + FLAGS + 1;
        let flags = flag(!self.requests.load().is_empty(), ARMED) | flag(self.stubs.is_some(), STUBBED);
        self.requests_version.store(next | flags, Release);
        self.requests_changed.notify_waiters();
    }

    /// A number that changes whenever the faults on requests do, or their settings.
    pub(crate) fn requests_version(&self) -> u64 {
        self.requests_version.load(Acquire)
    }

    /// Whether that number says that there are faults on requests.
    pub(crate) fn has_requests(version: u64) -> bool {
        version & ARMED != 0
    }

    /// Waits until it changes. Polled once before looking, it misses nothing.
    pub(crate) fn requests_change(&self) -> Notified<'_> {
        self.requests_changed.notified()
    }

    /// The answer that is given in the service's place, and how long that takes.
    pub(crate) fn stub(&self, conn: &Conn, head: &RequestHead) -> Option<(Duration, Answer)> {
        if self.requests_version() & STUBBED == 0 {
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

/// Sets up the clients' TLS; finds murphy's CA, or makes it, when certificates will have to be made.
fn downstream(spec: &ProxySpec, ca: &Path) -> Result<Option<Downstream>, Problem> {
    let Some(given) = &spec.tls else { return Ok(None) };
    Ok(match given.downstream {
        None => None,
        Some(model::target::Downstream::PassThrough) => Some(Downstream::PassThrough),
        Some(model::target::Downstream::Terminate) => {
            let mint = Authority::open(ca).and_then(|(authority, _)| Mint::new(authority));
            let mint = mint.map_err(|e| ca_problem(&e))?;
            Some(Downstream::Terminate(Box::new(Terminator::new(spec, given, mint)?)))
        }
    })
}

fn ca_problem(e: &tls::CaError) -> Problem {
    let text = e.to_string();
    match text.split_once("; ") {
        Some((what, hint)) => Problem::new(what).hint(hint),
        None => Problem::new(text),
    }
}

/// What cannot go together.
fn check(spec: &ProxySpec, place: Option<&Place>) -> Result<(), Problem> {
    if let Some(problem) = spec.front_problem() {
        return Err(problem);
    }
    if let Some(problem) = spec.tls_problem() {
        return Err(problem);
    }
    let proxied = spec.proxy_protocol != ProxyProtocol::default();
    let unix =
        matches!(place, Some(Place::Unix(_))) || spec.services().iter().any(|s| s.starts_with("unix:"));
    if spec.keep_source && (unix || spec.protocol == Protocol::Udp) {
        return Err(Problem::new("keep_source is for TCP connections on both sides")
            .hint("leave it out, or listen on and lead to a host:port with protocol tcp or http"));
    }
    match (spec.protocol, place) {
        (Protocol::Udp, Some(Place::Unix(_))) => {
            Err(Problem::new("datagrams on unix sockets are not in this version")
                .hint("listen on a host:port"))
        }
        (Protocol::Udp, _) if proxied => {
            Err(Problem::new("the PROXY protocol is for connections, not datagrams")
                .hint("leave proxy_protocol out"))
        }
        (Protocol::Tcp | Protocol::Udp, _) if !spec.stubs.is_empty() => {
            Err(Problem::new("stubs answer requests").hint("give the target protocol: http"))
        }
        (Protocol::Http, _) if spec.proxy_protocol.outbound.is_some() => Err(Problem::new(
            "requests of several clients share connections to the service, so no header fits them",
        )
        .hint("leave out proxy_protocol.out, or use protocol: tcp")),
        _ => Ok(()),
    }
}

fn first_address(listeners: &[Arc<Listener>], sockets: &[Arc<UdpSocket>]) -> Option<SocketAddr> {
    match listeners.first() {
        Some(listener) => listener.address(),
        None => sockets.first().and_then(|s| s.local_addr().ok()),
    }
}
