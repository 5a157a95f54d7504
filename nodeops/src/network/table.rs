//! Which packets go where, as one table of nf_tables in each of two families. The kernel removes both with the socket that
//! made them, so nothing of this outlives the agent.
//!
//! ```text
//! netdev  out_N   what leaves at interface N: partition, loss, into a TAP device, marked for an IFB
//!         in_N    what comes in at it: partition, loss, into an IFB
//! inet    pre     what comes in, after the above: into a queue
//!         output, input, forward   partitions that tell the sender
//!         names   queries for names: to our resolver
//! ```
//!
//! Every change writes all chains anew under names of a new generation, and takes effect at once and as a whole.

use super::filter::{Chains, Way, version};
use super::packet::{ICMP6, TCP, UDP};
use super::part::{Part, What};
use host::netlink::nft::{Batch, Compare, Family, Header, Hook, Meta, QueueBy, Rule, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// The mark of what our own sockets send: no fault is for it.
pub(crate) const OWN: u32 = 0x6d66_796f;
/// The mark of packets that were held here and are sent on: what nf_tables and this program do is behind them.
pub(crate) const AGAIN: u32 = 0x6d66_7961;
/// The bits of the mark that say which IFB a packet is for; all others are left as they are.
pub(crate) const LEAD: u32 = 0x1f00_0000;

/// How often each part of [`LEAD`] may be used.
pub(crate) const LEADS: u32 = 31;

/// A number of [`LEAD`] as a mark.
pub(crate) fn lead(number: u32) -> u32 {
    number << LEAD.trailing_zeros()
}

/// Where packets are led to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ends {
    /// TAP devices, by the interface whose packets they take.
    pub taps: BTreeMap<u32, u32>,
    /// The queue.
    pub queue: Option<(QueueBy, u16)>,
    /// IFBs by part, interface and whether packets leave; with the number of their mark.
    pub ifbs: BTreeMap<(u64, u32, bool), (u32, u32)>,
}

/// A chain that sees packets at a hook.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Base {
    family: Family,
    name: String,
    /// The interface, for those of one.
    link: Option<u32>,
}

/// What the tables hold now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// Its name, in both families.
    pub name: String,
    families: BTreeSet<Family>,
    bases: BTreeSet<Base>,
    chains: Vec<(Family, String)>,
    counters: BTreeSet<(Family, String)>,
    generation: u64,
}

impl Table {
    /// Nothing yet.
    pub(crate) fn new(name: &str) -> Table {
        Table { name: name.to_owned(), ..Table::default() }
    }

    /// The families in which there is one.
    pub(crate) fn families(&self) -> impl Iterator<Item = Family> + '_ {
        self.families.iter().copied()
    }

    /// The changes that make it hold just these faults, and what it holds then. `links` are the interfaces that are there:
    /// chains of others went with them.
    pub(crate) fn change(&self, parts: &[Part], ends: &Ends, links: &[(u32, String)]) -> (Batch, Table) {
        let mut next = Table {
            name: self.name.clone(),
            families: self.families.clone(),
            generation: self.generation + 1,
            ..Table::default()
        };
        let mut batch = Batch::new();
        let there = |base: &&Base| base.link.is_none_or(|link| links.iter().any(|(index, _)| *index == link));
        let wanted = wanted(parts, links);
        for family in wanted.keys().map(|base| base.family).collect::<BTreeSet<_>>() {
            if next.families.insert(family) {
                batch.table(family, &self.name);
            }
        }
        for base in self.bases.iter().filter(there) {
            batch.flush(base.family, &self.name, &base.name);
        }
        for (family, chain) in &self.chains {
            batch.flush(*family, &self.name, chain);
        }
        for (family, chain) in &self.chains {
            batch.remove_chain(*family, &self.name, chain);
        }
        for base in self.bases.iter().filter(there).filter(|base| !wanted.contains_key(base)) {
            batch.remove_chain(base.family, &self.name, &base.name);
        }
        let families: Vec<Family> = next.families.iter().copied().collect();
        next.counters = parts
            .iter()
            .filter(|p| !matches!(p.what, What::Emulated(_)))
            .flat_map(|p| families.iter().flat_map(|f| [(*f, p.seen()), (*f, p.hit())]))
            .collect();
        for (family, counter) in self.counters.difference(&next.counters) {
            batch.remove_counter(*family, &self.name, counter);
        }
        for (family, counter) in next.counters.difference(&self.counters) {
            batch.counter(*family, &self.name, counter);
        }
        for (base, hook) in &wanted {
            if !self.bases.contains(base) || !there(&base) {
                let (kind, priority) = match hook {
                    // Before what others redirect (-100), for the first that does decides.
                    Hook::Output if base.name == "names" => ("nat", -110),
                    // After fragments were put together (-400), before anyone else looks (raw is -300).
                    Hook::Prerouting => ("filter", -310),
                    Hook::Ingress(_) | Hook::Egress(_) => ("filter", -10),
                    _ => ("filter", -310),
                };
                batch.base_chain(base.family, &self.name, &base.name, kind, hook, priority);
            }
        }
        for family in families {
            let prefix = format!("g{}_", next.generation);
            let mut chains = Chains::new(&mut batch, family, &self.name);
            for base in wanted.keys().filter(|base| base.family == family) {
                write(&mut chains, base, &prefix, parts, ends);
            }
            next.chains.extend(chains.finish().into_iter().map(|chain| (family, chain)));
        }
        next.bases = wanted.into_keys().collect();
        (batch, next)
    }
}

/// The base chains that these faults need.
fn wanted(parts: &[Part], links: &[(u32, String)]) -> BTreeMap<Base, Hook> {
    let mut out = BTreeMap::new();
    let mut add = |family, name: String, link, hook| {
        out.insert(Base { family, name, link }, hook);
    };
    for part in parts {
        if let What::Redirect(_) = part.what {
            add(Family::Inet, "names".into(), None, Hook::Output);
            continue;
        }
        for (link, way) in part.spots() {
            if !links.iter().any(|(index, name)| *index == link.index && *name == link.name) {
                continue;
            }
            match place_of(&part.what, way) {
                Spot::Out => {
                    let hook = Hook::Egress(link.name.clone());
                    add(Family::Netdev, format!("out_{}", link.index), Some(link.index), hook);
                }
                Spot::In => {
                    let hook = Hook::Ingress(link.name.clone());
                    add(Family::Netdev, format!("in_{}", link.index), Some(link.index), hook);
                }
                Spot::Queue => add(Family::Inet, "pre".into(), None, Hook::Prerouting),
                Spot::Told => {
                    add(Family::Inet, "forward".into(), None, Hook::Forward);
                    match way {
                        Way::In => add(Family::Inet, "input".into(), None, Hook::Input),
                        Way::Out | Way::Either => add(Family::Inet, "output".into(), None, Hook::Output),
                    }
                }
            }
        }
    }
    out
}

/// Where packets of a fault are met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spot {
    Out,
    In,
    Queue,
    Told,
}

fn place_of(what: &What, way: Way) -> Spot {
    match (what, way) {
        (What::Cut { reject: true }, _) => Spot::Told,
        (What::Emulated(_), Way::Out) => Spot::Out,
        (What::Emulated(_), _) => Spot::Queue,
        (What::Native(_), Way::Out | Way::Either) => Spot::Out,
        (_, Way::Out) => Spot::Out,
        _ => Spot::In,
    }
}

/// Writes a base chain and what it leads to.
fn write(chains: &mut Chains<'_>, base: &Base, prefix: &str, parts: &[Part], ends: &Ends) {
    let own = Rule::new().mark(u32::MAX, Compare::Eq, OWN).verdict(Verdict::Accept);
    chains.rule(&base.name, &own.comment("what murphy itself sends"));
    if base.name == "names" {
        names(chains, base, parts);
        return;
    }
    let (first, last) = (format!("{prefix}{}", base.name), format!("{prefix}{}_last", base.name));
    chains.chain(&first);
    chains.chain(&last);
    let six = || version(Compare::Eq, true);
    let neighbours = six()
        .meta(Meta::Transport, Compare::Eq, &[ICMP6])
        .bytes(Header::Transport, 0, Compare::Ge, &[133])
        .bytes(Header::Transport, 0, Compare::Le, &[137])
        .verdict(Verdict::Accept);
    chains.rule(&base.name, &neighbours.comment("neighbour discovery"));
    // Whatever is no IP, ARP first of all, is led nowhere.
    chains.rule(&base.name, &version(Compare::Eq, false).verdict(Verdict::Jump(&first)));
    chains.rule(&base.name, &six().verdict(Verdict::Jump(&first)));
    let again = Rule::new().mark(u32::MAX, Compare::Eq, AGAIN).verdict(Verdict::Goto(&last));
    chains.rule(&first, &again.comment("held before, sent on"));
    let rank = |what: &What| match what {
        What::Cut { .. } => 0,
        What::Loss(_) => 1,
        What::Emulated(_) => 2,
        What::Native(_) => 3,
        What::Redirect(_) => 4,
    };
    let mut sorted: Vec<&Part> = parts.iter().collect();
    sorted.sort_by_key(|part| rank(&part.what));
    let mut cleared = false;
    for part in sorted {
        let kernel = matches!(part.what, What::Native(_));
        for (link, way) in part.spots() {
            let Some(gate) = gate(base, &part.what, link.index, way) else { continue };
            let Some(actions) = actions(part, link.index, way, base, ends) else { continue };
            let name = format!("{prefix}{}_f{}_{}_{way:?}", base.name, part.number, link.index);
            let from = if kernel { &last } else { &first };
            if kernel && !cleared && way != Way::In {
                // What another interface has marked before is not meant here.
                cleared = true;
                let clear = Rule::new().mark(LEAD, Compare::Ne, 0).set_mark(LEAD, 0);
                chains.rule(&last, &clear);
            }
            part.matcher.write(chains, &name, way, &actions);
            chains.rule(
                from,
                &gate.verdict(Verdict::Jump(&name)).comment(&format!("murphy: fault {}", part.id)),
            );
        }
    }
    chains.rule(&first, &Rule::new().verdict(Verdict::Goto(&last)));
}

/// What a packet must fulfil besides, to be one of this fault at this interface in this chain; none when no packet can.
fn gate(base: &Base, what: &What, link: u32, way: Way) -> Option<Rule> {
    let index = link.to_ne_bytes();
    let spot = place_of(what, way);
    let came = || Rule::new().meta(Meta::InIndex, Compare::Eq, &index);
    let goes = || Rule::new().meta(Meta::OutIndex, Compare::Eq, &index);
    match base.name.as_str() {
        "pre" => (spot == Spot::Queue).then(came),
        "output" => (spot == Spot::Told && way != Way::In).then(goes),
        "input" => (spot == Spot::Told && way == Way::In).then(came),
        "forward" => (spot == Spot::Told).then(|| if way == Way::In { came() } else { goes() }),
        name => {
            let here = base.link == Some(link);
            let fits = if name.starts_with("out_") { Spot::Out } else { Spot::In };
            (here && spot == fits).then(Rule::new)
        }
    }
}

fn actions(part: &Part, link: u32, way: Way, base: &Base, ends: &Ends) -> Option<Vec<Rule>> {
    let (seen, hit) = (part.seen(), part.hit());
    let both = |rule: Rule| rule.count(&seen).count(&hit);
    Some(match &part.what {
        What::Loss(share) => {
            let fate = if *share >= 1.0 {
                Rule::new()
            } else {
                Rule::new().chance(host::netlink::route::share32(*share))
            };
            vec![Rule::new().count(&seen), fate.count(&hit).verdict(Verdict::Drop)]
        }
        What::Cut { reject: false } => vec![both(Rule::new()).verdict(Verdict::Drop)],
        What::Cut { reject: true } => {
            let tcp = Rule::new().meta(Meta::Transport, Compare::Eq, &[TCP]);
            vec![both(tcp).reject(true), both(Rule::new()).reject(false)]
        }
        What::Emulated(_) if base.family == Family::Netdev => {
            vec![Rule::new().forward(*ends.taps.get(&link)?)]
        }
        What::Emulated(_) => {
            let (by, number) = ends.queue?;
            vec![Rule::new().queue(by, number)]
        }
        What::Native(_) => {
            let leaves = way != Way::In;
            let (ifb, number) = *ends.ifbs.get(&(part.number, link, leaves))?;
            let counted = both(Rule::new());
            vec![match leaves {
                true => counted.set_mark(LEAD, lead(number)).verdict(Verdict::Accept),
                false => counted.forward(ifb),
            }]
        }
        What::Redirect(_) => return None,
    })
}

/// Queries to our resolver. Of TCP just the first packet is asked: to give connections that live an entry in the table of
/// addresses could reset them.
fn names(chains: &mut Chains<'_>, base: &Base, parts: &[Part]) {
    let port = 53_u16.to_be_bytes();
    for part in parts {
        let What::Redirect(to) = part.what else { continue };
        let udp = Rule::new().meta(Meta::Transport, Compare::Eq, &[UDP]).bytes(
            Header::Transport,
            2,
            Compare::Eq,
            &port,
        );
        let tcp = Rule::new()
            .meta(Meta::Transport, Compare::Eq, &[TCP])
            .bytes(Header::Transport, 2, Compare::Eq, &port)
            .masked(Header::Transport, 13, &[0x17], Compare::Eq, &[0x02]);
        for rule in [udp, tcp] {
            chains.rule(
                &base.name,
                &rule.count(&part.seen()).redirect(to).comment(&format!("murphy: fault {}", part.id)),
            );
        }
    }
}

/// The hook where packets of a fault are met, in the word of nft(8).
pub(crate) fn hook_word(what: &What, way: Way) -> &'static str {
    match place_of(what, way) {
        Spot::Out => "egress",
        Spot::In => "ingress",
        Spot::Queue => "prerouting",
        Spot::Told if way == Way::In => "input",
        Spot::Told => "output",
    }
}
