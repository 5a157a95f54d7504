//! The requests through the agent's proxies, for the API.

use control::{HoldOrder, HoldView};
use model::units::Span;
use model::{RequestView, Talker, TargetKind, TargetRef};
use proxy::{Hold, ProxyInjector};

/// What has requests that can be looked at and held by hand.
pub trait Requests: Send + Sync {
    /// Those under way and the last ones, oldest first.
    fn list(&self) -> Vec<RequestView>;

    /// What holds requests.
    fn holds(&self) -> Vec<HoldView>;

    /// Holds requests. None when there is no such target, or it has no requests.
    fn hold(&self, order: &HoldOrder, lease: Span) -> Option<HoldView>;

    /// Ends a hold. False when there is none of that number.
    fn end_hold(&self, id: u64) -> bool;

    /// Lets one request go on. False when it was not held.
    fn release(&self, id: u64) -> bool;

    /// Ends all holds.
    fn release_all(&self);

    /// Who asks most. None when there is no such target, or it has no requests.
    fn top(&self, target: &TargetRef, by: control::TopBy, most: usize) -> Option<Vec<Talker>>;
}

impl Requests for ProxyInjector {
    fn list(&self) -> Vec<RequestView> {
        self.requests()
    }

    fn holds(&self) -> Vec<HoldView> {
        ProxyInjector::holds(self).into_iter().map(|(name, hold)| view(name, hold)).collect()
    }

    fn hold(&self, order: &HoldOrder, lease: Span) -> Option<HoldView> {
        let name = proxy_name(&order.target)?;
        self.hold_requests(name, order.when.clone(), lease.0).map(|hold| view(name.to_owned(), hold))
    }

    fn end_hold(&self, id: u64) -> bool {
        ProxyInjector::end_hold(self, id)
    }

    fn release(&self, id: u64) -> bool {
        self.release_request(id)
    }

    fn release_all(&self) {
        self.release_requests();
    }

    fn top(&self, target: &TargetRef, by: control::TopBy, most: usize) -> Option<Vec<Talker>> {
        let by = match by {
            control::TopBy::Client => proxy::TopBy::Client,
            control::TopBy::Route => proxy::TopBy::Route,
        };
        ProxyInjector::top(self, proxy_name(target)?, by, most)
    }
}

fn proxy_name(target: &TargetRef) -> Option<&str> {
    (target.kind == TargetKind::Proxy).then_some(&*target.name)
}

fn view(name: String, hold: Hold) -> HoldView {
    // To the millisecond, as people read it.
    let left = Span::millis(hold.left.as_millis() as u64);
    HoldView {
        id: hold.id,
        target: TargetRef::new(TargetKind::Proxy, name),
        when: hold.when,
        left,
        requests: hold.requests,
    }
}
