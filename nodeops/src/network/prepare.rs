//! What a fault would do in each namespace of its target: read, checked, and fitted with an engine. Touches nothing.

use super::choose::{engine, needs, needs_table};
use super::dns::{self, Names, Rules};
use super::domain::Domain;
use super::exempt;
use super::filter::{Carries, Exempt, Filter, Net, Peer, Ports, ports};
use super::native::Device;
use super::part::{Part, What};
use super::place::{self, Place};
use super::probe::probe;
use super::record::Downed;
use super::shape::Shape;
use super::table::OWN;
use host::netlink::route::{Link, LinkKind};
use inject::{Order, Refusal};
use model::{Fault, Problem};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A fault in one namespace, ready to be armed.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The namespace.
    pub place: Place,
    /// What is to be done.
    pub ready: Ready,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Ready {
    /// Packets are led aside, lost or cut off; with the IFBs of a native one.
    Packets(Box<Part>, Vec<Device>),
    /// Names resolve otherwise.
    Names(Box<Part>, Box<Rules>),
    /// Ports are taken.
    Occupy(Occupy),
    /// Tracked connections are forgotten.
    Forget(Box<Filter>),
    /// Interfaces are switched off.
    Down(Vec<Downed>),
}

/// Ports to be taken.
#[derive(Debug, Clone)]
pub(crate) struct Occupy {
    /// Which.
    pub ports: Vec<u16>,
    /// Of TCP.
    pub tcp: bool,
    /// Of UDP.
    pub udp: bool,
    /// On which address; all when absent.
    pub address: Option<IpAddr>,
    /// Connections are accepted by nobody, instead of refused.
    pub hang: bool,
}

/// How many ports one fault may take.
const MOST_PORTS: usize = 1000;

/// Numbers of parts.
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Prepares a fault in one namespace. `keep` is what is on already, when it is to be changed.
pub(crate) fn prepare(
    order: &Order,
    fault: &Fault,
    place: &Place,
    domain: &Domain,
    control: &[u16],
    keep: Option<&Part>,
) -> Result<Prepared, Refusal> {
    let refuse = |problem: Problem| Refusal(problem);
    let inject = &fault.inject;
    let mut warnings = Vec::new();
    let ready = match inject.name() {
        "port_occupy" => Ready::Occupy(occupy(fault).map_err(refuse)?),
        "interface_down" => Ready::Down(down(fault, place)?),
        "conntrack_flush" => {
            let mut filter = Filter::read(inject).map_err(refuse)?;
            filter.exempt = exemptions(fault, place, control)?;
            Ready::Forget(Box::new(resolve_in_place(filter, place)?))
        }
        "dns" => {
            let names = Names::of(place.pid, &place.ns);
            let rules = Rules::read(fault, order.seed, &names).map_err(refuse)?;
            needs_table(probe())?;
            needs(&probe().redirect, "dns")?;
            let part = part(order, place, keep, What::Redirect(0), Vec::new(), Filter::default());
            Ready::Names(Box::new(part), Box::new(rules))
        }
        name => {
            let mut filter = Filter::read(inject).map_err(refuse)?;
            filter.exempt = exemptions(fault, place, control)?;
            if name == "partition" {
                apply_groups(fault, place, &mut filter)?;
            }
            let links = match keep {
                Some(part) => part.links.clone(),
                None => place::links(place, inject.text("interface"), &filter)?,
            };
            let names: Vec<String> = filter.names().into_iter().map(str::to_owned).collect();
            let known = dns::look_up(&place.ns, place.pid, &names, OWN);
            let unknown: Vec<&String> = names.iter().filter(|n| !known.contains_key(*n)).collect();
            let matcher = filter.resolve(&known);
            if matcher.is_void() {
                let list = unknown.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(", ");
                return Err(Refusal::new(
                    format!("{list} resolves to nothing in {}: no packet would be hit", place.about),
                    "look at the name there, or give its address",
                ));
            }
            for name in unknown {
                warnings.push(format!(
                    "{name} resolves to nothing in {} now; it is looked up again",
                    place.about
                ));
            }
            for (name, ips) in &known {
                let ips = ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
                warnings.push(format!("{name} is {ips} now; it is looked up again while the fault is on"));
            }
            let what = what(fault, &links, &filter)?;
            let mut part = part(order, place, keep, what, links, filter);
            part.matcher = Arc::new(matcher);
            let direction = inject.text("direction").unwrap_or("egress");
            (part.out, part.into) = (direction != "ingress", direction != "egress");
            let (what, devices) = engine(fault, part.clone(), place, domain, &mut warnings)?;
            part.what = what;
            tell_exempt(&part.filter, &mut warnings);
            Ready::Packets(Box::new(part), devices)
        }
    };
    Ok(Prepared { place: place.clone(), ready, warnings })
}

fn part(
    order: &Order,
    place: &Place,
    keep: Option<&Part>,
    what: What,
    links: Vec<Link>,
    filter: Filter,
) -> Part {
    Part {
        id: order.id.clone(),
        number: keep.map_or_else(next_number, |part| part.number),
        links,
        out: true,
        into: true,
        matcher: Arc::default(),
        filter,
        what,
        seed: order.seed,
        pid: place.pid,
        armed: keep.map_or_else(Instant::now, |part| part.armed),
        tally: keep.map(|part| part.tally.clone()).unwrap_or_default(),
    }
}

/// What is done to packets, before an engine is chosen: nf_tables where it can do it.
fn what(fault: &Fault, links: &[Link], filter: &Filter) -> Result<What, Refusal> {
    if fault.inject.name() == "partition" {
        return Ok(What::Cut { reject: fault.inject.text("how") == Some("reject") });
    }
    let shape = Shape::read(fault).map_err(Refusal)?;
    let ramped = fault.ramp.as_ref().is_some_and(|r| !r.tracks.is_empty());
    if let Shape::Rate { .. } = shape
        && links.len() > 8
        && filter.peers.is_none()
    {
        // Each of them gets a queue, and a device or a thread.
        return Err(Refusal::new(
            format!("{} interfaces would each get a queue of their own", links.len()),
            "name those that are meant: interface=eth0",
        ));
    }
    Ok(match shape.plain_loss(ramped) {
        Some(share) => What::Loss(share),
        None => What::Emulated(Arc::new(shape)),
    })
}

/// The connections that are left alone in a namespace: those that reach murphy or whoever gives the orders through it.
fn exemptions(fault: &Fault, place: &Place, control: &[u16]) -> Result<Vec<Exempt>, Refusal> {
    let words = fault.inject.words("exempt");
    let here = place.ns.is_mine()
        || match exempt::connection() {
            Some((_, _, _, server)) => place::own_addresses(place)?.iter().any(|(_, ip)| *ip == server),
            None => false,
        };
    Ok(exempt::exempt(words, here, control))
}

fn tell_exempt(filter: &Filter, warnings: &mut Vec<String>) {
    for one in &filter.exempt {
        warnings.push(match one.peer {
            Some((ip, Some(port))) => {
                format!("left alone: the SSH connection of this session, from {ip} port {port}")
            }
            Some((ip, None)) => format!("left alone: port {} with {ip}", one.local_port),
            None if one.local_port == 22 => "left alone: SSH connections to port 22 of this machine".into(),
            None => format!("left alone: murphy's control connections to port {}", one.local_port),
        });
    }
}

/// Names as they stand now: what happens once does not look again.
fn resolve_in_place(mut filter: Filter, place: &Place) -> Result<Filter, Refusal> {
    let names: Vec<String> = filter.names().into_iter().map(str::to_owned).collect();
    let known = dns::look_up(&place.ns, place.pid, &names, OWN);
    if let Some(name) = names.iter().find(|n| !known.contains_key(*n)) {
        return Err(Refusal::new(
            format!("{name} resolves to nothing in {}", place.about),
            "look at the name there, or give its address",
        ));
    }
    let nets = |peers: Vec<Peer>| -> Vec<Peer> {
        let one = |peer| match peer {
            Peer::Name(name) => known
                .get(&name)
                .into_iter()
                .flatten()
                .map(|ip| Peer::Net(Net::host(ip.to_canonical())))
                .collect(),
            net => vec![net],
        };
        peers.into_iter().flat_map(one).collect()
    };
    filter.peers = filter.peers.map(nets);
    Ok(filter)
}

/// The peers that a partition among groups separates this namespace from.
fn apply_groups(fault: &Fault, place: &Place, filter: &mut Filter) -> Result<(), Refusal> {
    let Some(text) = fault.inject.text("groups") else { return Ok(()) };
    if filter.peers.is_some() {
        return Err(Refusal::new("peer and groups both say who cannot be reached", "leave out one of them"));
    }
    let groups: Vec<Vec<Peer>> = text
        .split('|')
        .map(|group| super::filter::peers("groups", group))
        .collect::<Result<_, _>>()
        .map_err(Refusal)?;
    if groups.len() < 2 {
        return Err(Refusal::new(
            format!("groups: {text:?} is one group, which is separated from nobody"),
            "separate groups by |: 10.0.0.1,10.0.0.2|10.0.0.3",
        ));
    }
    let names: Vec<String> = groups
        .iter()
        .flatten()
        .filter_map(|p| match p {
            Peer::Name(name) => Some(name.clone()),
            Peer::Net(_) => None,
        })
        .collect();
    let known = dns::look_up(&place.ns, place.pid, &names, OWN);
    let own: Vec<IpAddr> = place::own_addresses(place)?.into_iter().map(|(_, ip)| ip).collect();
    let mine = |peer: &Peer| match peer {
        Peer::Net(net) => own.iter().any(|ip| !ip.is_loopback() && net.contains(*ip)),
        Peer::Name(name) => known.get(name).is_some_and(|ips| ips.iter().any(|ip| own.contains(ip))),
    };
    let (with, others): (Vec<_>, Vec<_>) = groups.into_iter().partition(|group| group.iter().any(mine));
    if with.is_empty() {
        let own =
            own.iter().filter(|ip| !ip.is_loopback()).map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
        return Err(Refusal::new(
            format!("no group has an address of {}: nobody would be cut off", place.about),
            format!("it has {own}; every address belongs to a group or is reached by all"),
        ));
    }
    // Whoever is in one group with us is reached, also when another group has them too.
    filter.except_peers.extend(with.into_iter().flatten());
    let others: Vec<Peer> = others.into_iter().flatten().collect();
    if others.is_empty() {
        return Err(Refusal::new(
            format!("{} is in every group: nobody would be cut off", place.about),
            "each address belongs to one group",
        ));
    }
    filter.peers = Some(others);
    Ok(())
}

fn occupy(fault: &Fault) -> Result<Occupy, Problem> {
    let inject = &fault.inject;
    let ranges: Vec<Ports> = ports("port", inject.text("port").unwrap_or_default())?;
    let all: Vec<u16> = ranges.iter().flat_map(|r| r.0..=r.1).collect();
    if all.len() > MOST_PORTS {
        return Err(Problem::new(format!("{} ports are more than one fault takes", all.len()))
            .hint(format!("at most {MOST_PORTS}; arm several for more")));
    }
    let address = inject.text("address").map(|text| {
        text.parse::<IpAddr>().map_err(|_| {
            Problem::new(format!("address: {text:?} is no address")).hint("for example 127.0.0.1 or ::1")
        })
    });
    let protocol = inject.text("protocol").unwrap_or("tcp");
    let hang = inject.text("clients") == Some("hang");
    if hang && protocol == "udp" {
        return Err(
            Problem::new("clients=hang is for TCP").hint("of UDP nobody is told anything: leave it out")
        );
    }
    Ok(Occupy {
        ports: all,
        tcp: protocol != "udp",
        udp: protocol != "tcp",
        address: address.transpose()?,
        hang,
    })
}

fn down(fault: &Fault, place: &Place) -> Result<Vec<Downed>, Refusal> {
    let text = fault.inject.text("interface").unwrap_or_default();
    let filter = Filter { carries: Carries::Any, ..Filter::default() };
    let links = place::links(place, Some(text), &filter)?;
    let own = place::own_addresses(place)?;
    let session = exempt::connection();
    let mut out = Vec::new();
    for link in links {
        if let Some((_, _, _, server)) = session
            && own.contains(&(link.index, server))
        {
            return Err(Refusal::new(
                format!("{} carries the SSH connection of this session: it would be lost", link.name),
                "name another interface, or sit somewhere else",
            ));
        }
        let lo = link.frames == LinkKind::Loopback && place.ns.is_mine();
        if lo {
            return Err(Refusal::new(
                "without lo this machine's own programs do not reach each other, nor murphy its",
                "use net_loss interface=lo chance=100% with a filter instead",
            ));
        }
        let saved = place::inside(place, |route| route.save(&link))?;
        out.push(Downed { index: link.index, name: link.name, saved });
    }
    Ok(out)
}
