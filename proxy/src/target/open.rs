//! How a proxy is opened and closed, and what it stands in front of meanwhile.

use super::Target;
use crate::accept::accept;
use crate::chain::How;
use crate::dial::may_keep_source;
use crate::front::{Front, Stands, follow};
use crate::http::stubs::Stubs;
use crate::listen::{Listener, Place};
use crate::metrics::Metrics;
use crate::route::Route;
use crate::timers::Timers;
use crate::tls::{self, Authority, Downstream, Mint, Terminator};
use crate::udp;
use crate::watch::Watch;
use arc_swap::ArcSwap;
use inject::{Containers, Refusal};
use model::target::{Protocol, ProxyProtocol, ProxySpec};
use model::{Problem, TargetKind, TargetRef};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// How long closing waits for connections to end, which they do by themselves.
const CLOSING: Duration = Duration::from_millis(500);

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
            requests_version: AtomicU64::new(if spec.stubs.is_empty() { 0 } else { super::faults::STUBBED }),
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
