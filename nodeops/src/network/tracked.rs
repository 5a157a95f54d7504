//! Connection tracking that forgets.

use super::filter::{Filter, Matcher, Way};
use super::packet::{Packet, UDP};
use host::netlink::conntrack::{Conntrack, Tracked};

/// Forgets what a filter hits, in the namespace of this thread: how many there were, and how many were forgotten.
pub(crate) fn forget(filter: &Filter) -> Result<(u64, u64), String> {
    let matcher: Matcher = filter.resolve(&Default::default());
    let fits = |tracked: &Tracked| {
        // Which side is here is not known of one that is passed on: either may be meant.
        let packet = Packet {
            from: tracked.from,
            to: tracked.to,
            protocol: tracked.protocol,
            ports: tracked.ports,
            neighbour: false,
            transport: 0,
        };
        matcher.hits(&packet, Way::Either)
    };
    forget_those(fits)
}

/// Forgets queries for names: connection tracking would send the next one of a socket where the last one went.
pub(crate) fn forget_queries() -> Result<(u64, u64), String> {
    forget_those(|tracked| tracked.protocol == UDP && tracked.ports.is_some_and(|(_, to)| to == 53))
}

fn forget_those(fits: impl Fn(&Tracked) -> bool) -> Result<(u64, u64), String> {
    let failed = |what: &str, e: &dyn std::fmt::Display| {
        format!(
            "{what} failed: {e}; it needs CAP_NET_ADMIN and CONFIG_NF_CT_NETLINK (module nf_conntrack_netlink)"
        )
    };
    let mut conntrack = Conntrack::open().map_err(|e| failed("asking connection tracking", &e))?;
    let all = conntrack.list().map_err(|e| failed("listing tracked connections", &e))?;
    let (mut seen, mut gone) = (0, 0);
    for tracked in all.iter().filter(|t| fits(t)) {
        seen += 1;
        if conntrack.forget(tracked).map_err(|e| failed("forgetting a tracked connection", &e))? {
            gone += 1;
        }
    }
    Ok((seen, gone))
}
