//! The faults that are armed on a proxy: what is open has them when arming returns.

use super::{Registry, Target};
use crate::armed::Armed;
use crate::conn::Conn;
use crate::listen::Door;
use inject::Order;
use model::catalogue::Layer;
use model::{Fault, Problem};
use std::sync::Arc;
use std::sync::atomic::{Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use tokio::sync::futures::Notified;

/// In the version of requests: there are faults on them; some are answered in the service's place.
const ARMED: u64 = 1;
pub(super) const STUBBED: u64 = 2;
const FLAGS: u64 = ARMED | STUBBED;

impl Target {
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

    /// The faults on requests, in the order in which they act.
    pub(crate) fn request_faults(&self) -> Arc<Vec<Arc<Armed>>> {
        self.requests.load_full()
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

    /// Shuts the doors, or opens them, as the faults say that hit everyone who comes.
    pub(super) fn shut(&self, registry: &Registry) {
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

    /// Shows requests what is armed. Those that are under way and wait for such news look for themselves.
    fn publish(&self, registry: &Registry) -> Vec<Arc<Conn>> {
        let requests = registry.armed.iter().filter(|f| f.def.layer == Layer::Requests);
        self.requests.store(Arc::new(requests.cloned().collect()));
        self.requests_news(registry);
        Vec::new()
    }

    pub(super) fn requests_news(&self, _locked: &Registry) {
        let flag = |on: bool, flag| if on { flag } else { 0 };
        let next = (self.requests_version.load(Relaxed) & !FLAGS) + FLAGS + 1;
        let flags = flag(!self.requests.load().is_empty(), ARMED) | flag(self.stubs.is_some(), STUBBED);
        self.requests_version.store(next | flags, Release);
        self.requests_changed.notify_waiters();
    }
}
