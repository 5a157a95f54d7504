//! Which service a connection goes to.

use crate::dial::Dial;
use crate::http::Pool;
use crate::listen::split_range;
use crate::net::{Address, Secured};
use crate::original::Originals;
use crate::tls::Originate;
use model::Problem;
use model::draw;
use model::target::{Balance, Protocol, ProxySpec};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Points on the ring per service: with so many the largest part is about a quarter above the mean.
const POINTS: u64 = 100;

/// One service.
pub(crate) struct Member {
    /// Where it is.
    pub(crate) address: Address,
    /// The same as text: what matchers of members see.
    pub(crate) name: Arc<str>,
    /// The connections to it that requests share, with layer 7.
    pub(crate) pool: Option<Arc<Pool>>,
    open: AtomicU64,
}

/// A connection's share in its service, counted while it lives.
pub(crate) struct Chosen(Arc<Member>);

/// How services are found.
pub(crate) enum Route {
    /// One of several, or the only one.
    Group { members: Vec<Arc<Member>>, balance: Balance, next: AtomicU64, ring: Vec<(u64, usize)> },
    /// One for each port that is listened on.
    PerPort(Vec<Arc<Member>>),
    /// Where a redirected connection was going.
    Original(Originals),
}

impl Member {
    /// A service there, with a pool when requests share connections to it.
    pub(crate) fn new(address: Address, http: Option<Dial>, tls: Option<&Arc<Originate>>) -> Member {
        let address = match tls {
            Some(tls) => Address::Tls(Box::new(address), Secured(tls.clone())),
            None => address,
        };
        let pool = http.map(|how| Pool::new(address.clone(), how));
        Member { name: address.to_string().into(), address, pool, open: AtomicU64::new(0) }
    }

    /// Whether a connection has it now.
    pub(crate) fn is_in_use(&self) -> bool {
        self.open.load(Relaxed) > 0
    }
}

impl Chosen {
    /// A share in that service.
    pub(crate) fn new(member: Arc<Member>) -> Chosen {
        member.open.fetch_add(1, Relaxed);
        Chosen(member)
    }
}

impl std::ops::Deref for Chosen {
    type Target = Member;

    fn deref(&self) -> &Member {
        &self.0
    }
}

impl Drop for Chosen {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

impl Route {
    /// For a proxy that listens on so many ports.
    pub(crate) fn read(spec: &ProxySpec, ports: usize) -> Result<Route, Problem> {
        let http = (spec.protocol == Protocol::Http).then(|| Dial::new(spec));
        let tls = spec.tls.as_ref().and_then(|tls| tls.upstream.as_ref());
        let tls = tls.map(Originate::new).transpose()?;
        if spec.upstreams.is_empty() && spec.upstream == "original" {
            if spec.protocol == Protocol::Udp {
                return Err(Problem::new("datagrams do not say where they were going")
                    .hint("name the service, or give the target protocol: tcp or http"));
            }
            return Ok(Route::Original(Originals::new(http, tls)));
        }
        if !spec.upstreams.is_empty() && !spec.upstream.is_empty() {
            return Err(Problem::new("both upstream and upstreams are given").hint("keep one of them"));
        }
        let mut members = Vec::new();
        if spec.is_stub() {
            // Nobody is there, and nobody is dialled: every request is answered before.
            let nowhere = Address::Tcp { host: "stubs".into(), port: 0 };
            members.push(Arc::new(Member { name: "stubs".into(), ..Member::new(nowhere, http, None) }));
        }
        for text in spec.services() {
            let (first, last) = split_range(text)?;
            let address: Address = first.parse()?;
            let (Some(last), Address::Tcp { host, port }) = (last, &address) else {
                members.push(Arc::new(Member::new(address, http, tls.as_ref())));
                continue;
            };
            let range = usize::from(last - port) + 1;
            if range != ports || spec.services().len() > 1 {
                return Err(Problem::new(format!("{text} has {range} ports and the listener has {ports}"))
                    .hint("give both ranges the same length, or the upstream one port"));
            }
            let each =
                |port| Arc::new(Member::new(Address::Tcp { host: host.clone(), port }, http, tls.as_ref()));
            return Ok(Route::PerPort((*port..=last).map(each).collect()));
        }
        if spec.protocol == Protocol::Udp && members.iter().any(|m| matches!(m.address, Address::Unix(_))) {
            return Err(
                Problem::new("datagrams to unix sockets are not in this version").hint("name a host:port")
            );
        }
        let mut ring = Vec::new();
        if spec.balance == Balance::Sticky {
            for (at, member) in members.iter().enumerate() {
                ring.extend((0..POINTS).map(|k| (draw::derive(k, &member.name), at)));
            }
            ring.sort_unstable();
        }
        Ok(Route::Group { members, balance: spec.balance, next: AtomicU64::new(0), ring })
    }

    /// The service for a client that came to the port with that index; none when its own destination says.
    pub(crate) fn choose(&self, port: usize, client: Option<IpAddr>) -> Option<Chosen> {
        let member = match self {
            Route::Original(_) => return None,
            Route::PerPort(members) => members.get(port)?,
            Route::Group { members, .. } if members.len() == 1 => &members[0],
            Route::Group { members, balance, next, ring } => {
                let turn = || next.fetch_add(1, Relaxed) as usize % members.len();
                let at = match (balance, client) {
                    (Balance::Sticky, Some(client)) => {
                        let point = draw::derive(0, &client.to_canonical().to_string());
                        let at = ring.partition_point(|(p, _)| *p < point) % ring.len();
                        ring[at].1
                    }
                    (Balance::LeastConnections, _) => {
                        // Of those with the fewest, the one whose turn it is.
                        let begin = turn();
                        let order = (0..members.len()).map(|i| (begin + i) % members.len());
                        order.min_by_key(|i| members[*i].open.load(Relaxed)).unwrap_or(begin)
                    }
                    _ => turn(),
                };
                &members[at]
            }
        };
        Some(Chosen::new(member.clone()))
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Route::Original(_) => f.write_str("original destination"),
            Route::PerPort(members) => match &members[..] {
                [first, .., last] => match &last.address {
                    Address::Tcp { port, .. } => write!(f, "{}-{port}", first.name),
                    Address::Tls(last, _) => write!(f, "{} … {last}", first.name),
                    Address::Unix(_) | Address::Inside(..) | Address::Nowhere => {
                        write!(f, "{} … {}", first.name, last.name)
                    }
                },
                [only] => f.write_str(&only.name),
                [] => Ok(()),
            },
            Route::Group { members, .. } => {
                let names: Vec<&str> = members.iter().map(|m| &*m.name).collect();
                f.write_str(&names.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(balance: Balance, n: u8) -> Route {
        let upstreams = (1..=n).map(|i| format!("10.0.0.{i}:80")).collect();
        Route::read(&ProxySpec { upstreams, balance, ..ProxySpec::default() }, 1).unwrap()
    }

    fn client(i: u32) -> Option<IpAddr> {
        Some(IpAddr::from(i.to_be_bytes()))
    }

    #[test]
    fn in_turn_and_the_least_busy() {
        let route = group(Balance::RoundRobin, 3);
        let names: Vec<_> = (0..6).map(|_| route.choose(0, None).unwrap().name.to_string()).collect();
        assert_eq!(names[..3], names[3..]);
        assert_eq!(names.iter().collect::<std::collections::HashSet<_>>().len(), 3);

        let route = group(Balance::LeastConnections, 3);
        let mut held: Vec<Chosen> = (0..9).map(|_| route.choose(0, None).unwrap()).collect();
        let count =
            |held: &[Chosen], i: u8| held.iter().filter(|c| *c.name == format!("10.0.0.{i}:80")).count();
        assert_eq!((1..=3).map(|i| count(&held, i)).collect::<Vec<_>>(), [3, 3, 3]);
        held.retain(|c| &*c.name != "10.0.0.2:80");
        held.extend((0..3).map(|_| route.choose(0, None).unwrap()));
        assert_eq!(count(&held, 2), 3);
    }

    #[test]
    fn sticky_stays_when_another_goes() {
        let (all, fewer) = (group(Balance::Sticky, 4), group(Balance::Sticky, 3));
        let mut counts = std::collections::HashMap::new();
        for i in 0..4000 {
            let name = all.choose(0, client(i)).unwrap().name.clone();
            assert_eq!(all.choose(0, client(i)).unwrap().name, name);
            if &*name != "10.0.0.4:80" {
                assert_eq!(fewer.choose(0, client(i)).unwrap().name, name, "moved without need");
            }
            *counts.entry(name).or_insert(0) += 1;
        }
        assert!(counts.len() == 4 && counts.values().all(|n| (500..1700).contains(n)), "{counts:?}");
    }

    #[test]
    fn ranges_must_fit() {
        let range = |upstream: &str, ports| Route::read(&ProxySpec::new("", upstream), ports);
        let route = range("10.0.0.1:7000-7002", 3).unwrap();
        assert_eq!(&*route.choose(2, None).unwrap().name, "10.0.0.1:7002");
        assert_eq!(route.to_string(), "10.0.0.1:7000-7002");
        assert!(range("10.0.0.1:7000-7002", 1).err().unwrap().to_string().contains("3 ports"));
        assert!(matches!(range("original", 1), Ok(Route::Original(_))));
    }
}
