//! Where a fault acts: the namespaces behind a target, and the interfaces in them.

use super::filter::{Filter, Peer};
use crate::process::select;
use host::netlink::route::{Link, LinkKind, Route};
use host::{Netns, NetnsId};
use inject::Refusal;
use model::target::NetnsSpec;
use model::{Target, TargetSpec};
use std::path::{Path, PathBuf};

/// A namespace that a target means.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The namespace.
    pub ns: Netns,
    /// The process it was found by, whose files say how names resolve there.
    pub pid: Option<u32>,
    /// In words: `this machine`, `container web-1`.
    pub about: String,
    /// The interface that the target names.
    pub interface: Option<String>,
}

/// The namespaces of a target; never none. Random picks are drawn from the seed.
pub(crate) async fn places(target: &Target, seed: u64) -> Result<Vec<Place>, Refusal> {
    let mut found = match &target.spec {
        TargetSpec::Node(spec) => {
            let ns = Netns::mine().map_err(|e| {
                Refusal::new(
                    format!("this process's network namespace cannot be opened: {e}"),
                    "look whether /proc is mounted",
                )
            })?;
            let interface = spec.interface.clone();
            vec![Place { ns, pid: None, about: "this machine".into(), interface }]
        }
        TargetSpec::Netns(spec) => vec![named(target, spec)?],
        TargetSpec::Process(spec) => {
            let reference = target.reference();
            let found = select::find(&reference, spec).await?;
            let found = select::pick(&reference, &found, spec.pick, seed)?;
            let one =
                |p: host::Process| of_process(p.id.pid, format!("process {} ({})", p.id.pid, p.comm), None);
            found.into_iter().map(one).collect::<Result<_, _>>()?
        }
        TargetSpec::Container(spec) => {
            let found = crate::containers::picked(&target.reference(), spec, seed).await?;
            let one = |c: crate::containers::Found| {
                of_process(c.pid.pid, format!("container {}", c.name), spec.interface.clone())
            };
            found.into_iter().map(one).collect::<Result<_, _>>()?
        }
        other => {
            return Err(Refusal::new(
                format!("{} is a target of kind {}", target.reference(), other.kind()),
                "faults of the network are for node, netns, container and process",
            ));
        }
    };
    // Several processes may share one.
    let mut seen = Vec::<NetnsId>::new();
    found.retain(|place| {
        let new = !seen.contains(&place.ns.id());
        seen.push(place.ns.id());
        new
    });
    Ok(found)
}

fn named(target: &Target, spec: &NetnsSpec) -> Result<Place, Refusal> {
    let (path, pid) = match (&spec.name, &spec.path, spec.pid) {
        (Some(name), None, None) => (Path::new("/run/netns").join(name), None),
        (None, Some(path), None) => (PathBuf::from(path), None),
        (None, None, Some(pid)) => (PathBuf::from(format!("/proc/{pid}/ns/net")), Some(pid)),
        _ => {
            return Err(Refusal::new(
                format!("{} needs exactly one of name, path and pid", target.reference()),
                "write for example name: blue",
            ));
        }
    };
    let ns = match &spec.name {
        Some(name) => Netns::named(name),
        None => Netns::open(&path),
    };
    let ns = ns.map_err(|e| {
        Refusal::new(
            format!("the namespace of {} cannot be opened: {}: {e}", target.reference(), path.display()),
            "`ip netns list` lists those with names; another user's needs root",
        )
    })?;
    let about = match &spec.name {
        Some(name) => format!("namespace {name}"),
        None => format!("namespace {}", path.display()),
    };
    Ok(Place { ns, pid, about, interface: spec.interface.clone() })
}

fn of_process(pid: u32, about: String, interface: Option<String>) -> Result<Place, Refusal> {
    let ns = Netns::of_process(pid).map_err(|e| {
        Refusal::new(
            format!("the network namespace of {about} cannot be opened: {e}"),
            "it may have ended; another user's process needs root (CAP_SYS_PTRACE)",
        )
    })?;
    Ok(Place { ns, pid: Some(pid), about, interface })
}

/// The interfaces that a fault is for: those that are named, else those that are up.
pub(crate) fn links(place: &Place, wanted: Option<&str>, filter: &Filter) -> Result<Vec<Link>, Refusal> {
    let all = all_links(place)?;
    let names = || all.iter().map(|l| l.name.clone()).collect::<Vec<_>>().join(", ");
    if let Some(wanted) = wanted.or(place.interface.as_deref()) {
        let mut out = Vec::new();
        for name in wanted.split(',').map(str::trim) {
            let link = all.iter().find(|l| l.name == name).ok_or_else(|| {
                Refusal::new(
                    format!("{} has no interface {name:?}", place.about),
                    format!("it has {}", names()),
                )
            })?;
            if !link.up {
                return Err(Refusal::new(
                    format!("{name} of {} is down: nothing passes there", place.about),
                    format!("switch it on (ip link set {name} up), or name another"),
                ));
            }
            if !out.contains(link) {
                out.push(link.clone());
            }
        }
        return Ok(out);
    }
    let loopback = |link: &&Link| link.frames == LinkKind::Loopback;
    let here = match &filter.peers {
        Some(peers) => {
            let own = own_addresses(place)?;
            let mine = |peer: &Peer| match peer {
                Peer::Net(net) => {
                    net.is_loopback() || own.iter().any(|(_, ip)| *net == super::filter::Net::host(*ip))
                }
                Peer::Name(name) => name == "localhost",
            };
            peers.iter().all(mine)
        }
        None => false,
    };
    // Ours are no interfaces of the target.
    let ours = |link: &&Link| link.name.starts_with("mfy");
    let up: Vec<Link> = all.iter().filter(|l| l.up && !ours(l) && loopback(l) == here).cloned().collect();
    if up.is_empty() {
        return Err(Refusal::new(
            format!("no interface of {} is up{}", place.about, if here { "" } else { " but lo" }),
            "name one: interface=lo hits what goes through the loopback",
        ));
    }
    Ok(up)
}

/// The addresses of a namespace, with the index of the interface that has them.
pub(crate) fn own_addresses(place: &Place) -> Result<Vec<(u32, std::net::IpAddr)>, Refusal> {
    inside(place, |route| route.addresses())
}

/// All interfaces of a namespace.
pub(crate) fn all_links(place: &Place) -> Result<Vec<Link>, Refusal> {
    inside(place, |route| route.links())
}

/// Asks rtnetlink of a namespace.
pub(crate) fn inside<T: Send>(
    place: &Place,
    ask: impl FnOnce(&mut Route) -> Result<T, host::netlink::NetlinkError> + Send,
) -> Result<T, Refusal> {
    let cannot = |why: String| {
        Refusal::new(
            format!("{} cannot be looked into: {why}", place.about),
            "another network namespace needs CAP_SYS_ADMIN: run as root",
        )
    };
    place
        .ns
        .run(|| Route::open().and_then(|mut route| ask(&mut route)))
        .map_err(|e| cannot(e.to_string()))?
        .map_err(|e| cannot(e.to_string()))
}
