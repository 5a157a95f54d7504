//! Which packets a fault hits: read from its parameters, asked of packets, and written as rules of nf_tables. The two must
//! agree on every packet; a test compares them through the kernel.

use super::packet::{ICMP, ICMP6, Packet, TCP, UDP};
use host::netlink::nft::{Batch, Compare, Family, Header, Meta, Rule, Verdict};
use model::{Injection, Problem};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// Which way packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Way {
    /// They leave: the other side is where they go.
    Out,
    /// They come in: the other side is where they come from.
    In,
    /// Both at once, as on lo: the other side is either.
    Either,
}

/// A network in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Net {
    address: IpAddr,
    bits: u8,
}

impl Net {
    /// Just that address.
    pub fn host(address: IpAddr) -> Net {
        Net { address, bits: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// Reads `10.0.0.0/8` or an address.
    pub fn parse(text: &str) -> Option<Net> {
        let (address, bits) = match text.split_once('/') {
            Some((a, b)) => (a, Some(b.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let full = Net::host(address).bits;
        let bits = bits.unwrap_or(full);
        (bits <= full).then_some(Net { address, bits })
    }

    /// Whether an address lies in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let same = |a: u128, b: u128, width: u32| {
            let shift = width - u32::from(self.bits);
            self.bits == 0 || (a ^ b) >> shift == 0
        };
        match (self.address, ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }

    /// Whether all of it is this machine's loopback.
    pub fn is_loopback(&self) -> bool {
        self.address.is_loopback() && self.bits >= if self.address.is_ipv4() { 8 } else { 128 }
    }

    /// The address.
    pub fn address(&self) -> IpAddr {
        self.address
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bits == Net::host(self.address).bits {
            true => write!(f, "{}", self.address),
            false => write!(f, "{}/{}", self.address, self.bits),
        }
    }
}

/// The other side, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// An address or a network.
    Net(Net),
    /// A name, which stands for what it resolves to at the moment.
    Name(String),
}

/// Ports from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports(pub u16, pub u16);

impl Ports {
    fn has(self, port: u16) -> bool {
        self.0 <= port && port <= self.1
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == self.1 { write!(f, "{}", self.0) } else { write!(f, "{}-{}", self.0, self.1) }
    }
}

/// Reads `80,443,8000-8099`.
pub fn ports(name: &str, text: &str) -> Result<Vec<Ports>, Problem> {
    let one = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (from.trim().parse::<u16>().ok()?, to.trim().parse::<u16>().ok()?);
        (from > 0 && from <= to).then_some(Ports(from, to))
    };
    let bad = |part: &str| {
        Problem::new(format!("{name}: {part:?} is neither a port nor a range of ports"))
            .hint("write for example 80,443,8000-8099")
    };
    text.split(',').map(str::trim).map(|part| one(part).ok_or_else(|| bad(part))).collect()
}

/// Reads addresses, networks and names.
pub fn peers(name: &str, text: &str) -> Result<Vec<Peer>, Problem> {
    let one = |part: &str| {
        if let Some(net) = Net::parse(part) {
            return Ok(Peer::Net(net));
        }
        let named = part.len() <= 253
            && part.split('.').all(|label| {
                let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                !label.is_empty() && label.len() <= 63 && label.chars().all(fine)
            })
            // 10.0.0.300 is a mistake, not a name.
            && !part.split('.').all(|label| label.bytes().all(|b| b.is_ascii_digit()));
        match named {
            true => Ok(Peer::Name(part.to_ascii_lowercase())),
            false => {
                Err(Problem::new(format!("{name}: {part:?} is neither an address, a network nor a name"))
                    .hint("write for example 10.0.0.7, 10.0.0.0/8, fd00::/8 or db.internal"))
            }
        }
    };
    text.split(',').map(str::trim).map(one).collect()
}

/// What packets carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Carries {
    /// Anything.
    #[default]
    Any,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP of the packet's version of IP.
    Icmp,
}

/// The version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// Both.
    #[default]
    Any,
    /// IPv4.
    Four,
    /// IPv6.
    Six,
}

/// A connection that is left alone: of TCP, with that port on this side, from that peer (all when absent).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exempt {
    /// The port on this side.
    pub local_port: u16,
    /// The other side, and its port where it is known.
    pub peer: Option<(IpAddr, Option<u16>)>,
}

/// Which packets, as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The other side; everyone when none.
    pub peers: Option<Vec<Peer>>,
    /// Ports of either side.
    pub ports: Vec<Ports>,
    /// Ports of this side.
    pub local_ports: Vec<Ports>,
    /// Ports of the other side.
    pub remote_ports: Vec<Ports>,
    /// What they carry.
    pub carries: Carries,
    /// The version of IP.
    pub version: Version,
    /// Left alone.
    pub except_peers: Vec<Peer>,
    /// Left alone.
    pub except_ports: Vec<Ports>,
    /// Left alone.
    pub exempt: Vec<Exempt>,
}

impl Filter {
    /// Reads the parameters of a fault; what is exempt is added by whoever knows.
    pub fn read(inject: &Injection) -> Result<Filter, Problem> {
        let list_of_ports = |name: &str| inject.text(name).map_or(Ok(vec![]), |text| ports(name, text));
        let filter = Filter {
            peers: inject.text("peer").map(|text| peers("peer", text)).transpose()?,
            ports: list_of_ports("port")?,
            local_ports: list_of_ports("local_port")?,
            remote_ports: list_of_ports("remote_port")?,
            carries: match inject.text("protocol") {
                Some("tcp") => Carries::Tcp,
                Some("udp") => Carries::Udp,
                Some("icmp") => Carries::Icmp,
                _ => Carries::Any,
            },
            version: match inject.text("family") {
                Some("ipv4") => Version::Four,
                Some("ipv6") => Version::Six,
                _ => Version::Any,
            },
            except_peers: inject.text("except_peer").map_or(Ok(vec![]), |text| peers("except_peer", text))?,
            except_ports: list_of_ports("except_port")?,
            exempt: Vec::new(),
        };
        let with_ports = [&filter.ports, &filter.local_ports, &filter.remote_ports];
        if filter.carries == Carries::Icmp && with_ports.iter().any(|p| !p.is_empty()) {
            return Err(Problem::new("ICMP has no ports").hint("leave out protocol=icmp or the ports"));
        }
        Ok(filter)
    }

    /// The names in it.
    pub fn names(&self) -> Vec<&str> {
        let all = self.peers.iter().flatten().chain(&self.except_peers);
        all.filter_map(|peer| match peer {
            Peer::Name(name) => Some(name.as_str()),
            Peer::Net(_) => None,
        })
        .collect()
    }

    /// With names replaced by what they stand for now; a name that is not known stands for nothing.
    pub fn resolve(&self, known: &BTreeMap<String, Vec<IpAddr>>) -> Matcher {
        let nets = |peers: &[Peer]| -> Vec<Net> {
            let all = peers.iter().flat_map(|peer| match peer {
                Peer::Net(net) => vec![*net],
                Peer::Name(name) => {
                    known.get(name).into_iter().flatten().map(|ip| Net::host(ip.to_canonical())).collect()
                }
            });
            all.collect()
        };
        Matcher {
            peers: self.peers.as_deref().map(nets),
            except: nets(&self.except_peers),
            filter: Filter { peers: None, except_peers: Vec::new(), ..self.clone() },
        }
    }

    /// In words: `tcp to or from 10.0.0.7, port 5432`.
    pub fn describe(&self) -> String {
        let list = |items: Vec<String>| items.join(", ");
        let peers = |peers: &[Peer]| {
            list(
                peers
                    .iter()
                    .map(|p| match p {
                        Peer::Net(net) => net.to_string(),
                        Peer::Name(name) => name.clone(),
                    })
                    .collect(),
            )
        };
        let some_ports = |ports: &[Ports]| list(ports.iter().map(Ports::to_string).collect());
        let mut text = match self.carries {
            Carries::Any => "packets".to_owned(),
            Carries::Tcp => "TCP packets".into(),
            Carries::Udp => "UDP packets".into(),
            Carries::Icmp => "ICMP packets".into(),
        };
        match self.version {
            Version::Any => {}
            Version::Four => text.push_str(" of IPv4"),
            Version::Six => text.push_str(" of IPv6"),
        }
        if let Some(all) = &self.peers {
            text.push_str(&format!(" with {}", peers(all)));
        }
        for (word, ports) in
            [("port", &self.ports), ("local port", &self.local_ports), ("remote port", &self.remote_ports)]
        {
            if !ports.is_empty() {
                text.push_str(&format!(", {word} {}", some_ports(ports)));
            }
        }
        if !self.except_peers.is_empty() {
            text.push_str(&format!(", not with {}", peers(&self.except_peers)));
        }
        if !self.except_ports.is_empty() {
            text.push_str(&format!(", not port {}", some_ports(&self.except_ports)));
        }
        text
    }

    /// What is left alone whatever the filter says, as expressions of nft(8).
    pub fn spared(&self, way: Way) -> Vec<String> {
        let mut out = vec!["meta protocol arp".to_owned(), "icmpv6 type 133-137".to_owned()];
        for one in &self.exempt {
            for (applies, remote, local) in [(way != Way::In, 'd', 's'), (way != Way::Out, 's', 'd')] {
                if !applies {
                    continue;
                }
                let mut words = String::new();
                if let Some((ip, port)) = one.peer {
                    words = format!("{} {remote}addr {ip} ", if ip.is_ipv6() { "ip6" } else { "ip" });
                    if let Some(port) = port {
                        words.push_str(&format!("tcp {remote}port {port} "));
                    }
                }
                out.push(format!("{words}tcp {local}port {}", one.local_port));
            }
        }
        out
    }

    /// The same as an expression of nft(8), as far as one line says it.
    pub fn expression(&self, way: Way) -> String {
        let set = |items: Vec<String>| match items.len() {
            1 => items.concat(),
            _ => format!("{{ {} }}", items.join(", ")),
        };
        let (remote, local) = if way == Way::In { ('s', 'd') } else { ('d', 's') };
        let mut parts = Vec::new();
        match self.carries {
            Carries::Any => {}
            Carries::Tcp => parts.push("meta l4proto tcp".to_owned()),
            Carries::Udp => parts.push("meta l4proto udp".into()),
            Carries::Icmp => parts.push("meta l4proto { icmp, ipv6-icmp }".into()),
        }
        let address = |peers: &[Peer], negated: &str, parts: &mut Vec<String>| {
            for six in [false, true] {
                let some = peers.iter().filter_map(|p| match p {
                    Peer::Net(net) => (net.address.is_ipv6() == six).then(|| net.to_string()),
                    Peer::Name(name) => (!six).then(|| name.clone()),
                });
                let some: Vec<String> = some.collect();
                if !some.is_empty() {
                    parts.push(format!(
                        "{} {remote}addr {negated}{}",
                        if six { "ip6" } else { "ip" },
                        set(some)
                    ));
                }
            }
        };
        address(self.peers.as_deref().unwrap_or_default(), "", &mut parts);
        address(&self.except_peers, "!= ", &mut parts);
        let list = |ports: &[Ports]| set(ports.iter().map(Ports::to_string).collect());
        if !self.remote_ports.is_empty() {
            parts.push(format!("th {remote}port {}", list(&self.remote_ports)));
        }
        if !self.local_ports.is_empty() {
            parts.push(format!("th {local}port {}", list(&self.local_ports)));
        }
        if !self.ports.is_empty() {
            parts.push(format!("th {remote}port {}", list(&self.ports)));
        }
        if !self.except_ports.is_empty() {
            parts.push(format!("th {remote}port != {}", list(&self.except_ports)));
        }
        parts.join(" ")
    }
}

/// Which packets, with names resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matcher {
    peers: Option<Vec<Net>>,
    except: Vec<Net>,
    filter: Filter,
}

impl Matcher {
    /// Whether it hits that packet.
    pub fn hits(&self, packet: &Packet, way: Way) -> bool {
        let f = &self.filter;
        let six = packet.from.is_ipv6();
        let carries = match f.carries {
            Carries::Any => true,
            Carries::Tcp => packet.protocol == TCP,
            Carries::Udp => packet.protocol == UDP,
            Carries::Icmp => packet.protocol == if six { ICMP6 } else { ICMP },
        };
        let version = match f.version {
            Version::Any => true,
            Version::Four => !six,
            Version::Six => six,
        };
        if packet.neighbour || !carries || !version || f.exempt.iter().any(|e| e.covers(packet, way)) {
            return false;
        }
        let of = |nets: &[Net]| match way {
            Way::Out => nets.iter().any(|n| n.contains(packet.to)),
            Way::In => nets.iter().any(|n| n.contains(packet.from)),
            Way::Either => nets.iter().any(|n| n.contains(packet.to) || n.contains(packet.from)),
        };
        if of(&self.except) || self.peers.as_deref().is_some_and(|peers| !of(peers)) {
            return false;
        }
        let port = |ports: &[Ports], source: bool, destination: bool| {
            let has = |port| ports.iter().any(|p| p.has(port));
            packet.ports.is_some_and(|(from, to)| source && has(from) || destination && has(to))
        };
        let (remote_is_source, remote_is_destination) = (way != Way::Out, way != Way::In);
        !port(&f.except_ports, true, true)
            && (f.ports.is_empty() || port(&f.ports, true, true))
            && (f.remote_ports.is_empty() || port(&f.remote_ports, remote_is_source, remote_is_destination))
            && (f.local_ports.is_empty() || port(&f.local_ports, remote_is_destination, remote_is_source))
    }

    /// Whether no packet can fulfil it: all its names are unknown.
    pub fn is_void(&self) -> bool {
        self.peers.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether surely no packet fulfils both.
    pub fn is_apart_from(&self, other: &Matcher) -> bool {
        let (a, b) = (&self.filter, &other.filter);
        let carries = a.carries != b.carries && a.carries != Carries::Any && b.carries != Carries::Any;
        let version = a.version != b.version && a.version != Version::Any && b.version != Version::Any;
        let nets = match (&self.peers, &other.peers) {
            (Some(a), Some(b)) => {
                !a.iter().any(|x| b.iter().any(|y| x.contains(y.address) || y.contains(x.address)))
            }
            _ => false,
        };
        let ranges = |a: &[Ports], b: &[Ports]| {
            !a.is_empty() && !b.is_empty() && !a.iter().any(|x| b.iter().any(|y| x.0 <= y.1 && y.0 <= x.1))
        };
        carries
            || version
            || nets
            || ranges(&a.remote_ports, &b.remote_ports)
            || ranges(&a.local_ports, &b.local_ports)
    }

    /// Writes chains into a table: `name` and more whose names begin so. A packet that fulfils it gets to `actions`; every
    /// other comes back.
    pub fn write(&self, batch: &mut Chains<'_>, name: &str, way: Way, actions: &[Rule]) {
        let f = &self.filter;
        batch.chain(name);
        let (source, destination) = (way != Way::Out, way != Way::In);
        for exempt in &f.exempt {
            for rule in exempt.rules(way) {
                batch.rule(name, &rule.verdict(Verdict::Return));
            }
        }
        for rule in addresses(&self.except, source, destination) {
            batch.rule(name, &rule.verdict(Verdict::Return));
        }
        for rule in port_rules(&f.except_ports, true, true) {
            batch.rule(name, &rule.verdict(Verdict::Return));
        }
        match f.version {
            Version::Any => {}
            Version::Four => batch.rule(name, &version(Compare::Ne, false).verdict(Verdict::Return)),
            Version::Six => batch.rule(name, &version(Compare::Ne, true).verdict(Verdict::Return)),
        }
        let not = |protocol: u8| Rule::new().meta(Meta::Transport, Compare::Ne, &[protocol]);
        match f.carries {
            Carries::Any => {}
            Carries::Tcp => batch.rule(name, &not(TCP).verdict(Verdict::Return)),
            Carries::Udp => batch.rule(name, &not(UDP).verdict(Verdict::Return)),
            Carries::Icmp => {
                for (six, protocol) in [(false, ICMP), (true, ICMP6)] {
                    let rule = version(Compare::Eq, six).meta(Meta::Transport, Compare::Ne, &[protocol]);
                    batch.rule(name, &rule.verdict(Verdict::Return));
                }
            }
        }
        // What is left to be asked: each a chain of alternatives that leads to the next.
        let mut asked: Vec<Vec<Rule>> = Vec::new();
        if let Some(peers) = &self.peers {
            asked.push(addresses(peers, source, destination));
        }
        for (ports, s, d) in [
            (&f.ports, true, true),
            (&f.remote_ports, source, destination),
            (&f.local_ports, destination, source),
        ] {
            if !ports.is_empty() {
                asked.push(port_rules(ports, s, d));
            }
        }
        let mut at = name.to_owned();
        for (n, alternatives) in asked.into_iter().enumerate() {
            let next = format!("{name}_{n}");
            batch.chain(&next);
            for rule in alternatives {
                batch.rule(&at, &rule.verdict(Verdict::Goto(&next)));
            }
            at = next;
        }
        for action in actions {
            batch.rule(&at, action);
        }
    }
}

impl Exempt {
    fn covers(&self, packet: &Packet, way: Way) -> bool {
        let Some((from, to)) = packet.ports.filter(|_| packet.protocol == TCP) else { return false };
        let is = |local: u16, remote: (IpAddr, u16)| {
            local == self.local_port
                && self.peer.is_none_or(|(ip, port)| ip == remote.0 && port.is_none_or(|p| p == remote.1))
        };
        (way != Way::In && is(from, (packet.to, to))) || (way != Way::Out && is(to, (packet.from, from)))
    }

    fn rules(&self, way: Way) -> Vec<Rule> {
        let mut out = Vec::new();
        for (applies, outward) in [(way != Way::In, true), (way != Way::Out, false)] {
            if !applies {
                continue;
            }
            let (local_at, remote_at) = if outward { (0, 2) } else { (2, 0) };
            let mut rule = Rule::new();
            if let Some((ip, _)) = self.peer {
                rule = address(rule, &Net::host(ip), !outward);
            }
            rule = rule.meta(Meta::Transport, Compare::Eq, &[TCP]);
            rule = port(rule, local_at, Compare::Eq, self.local_port);
            if let Some((_, Some(remote))) = self.peer {
                rule = port(rule, remote_at, Compare::Eq, remote);
            }
            out.push(rule.comment("murphy: left alone"));
        }
        out
    }
}

/// The Ethernet type of a version of IP.
pub(crate) fn version(how: Compare, six: bool) -> Rule {
    let kind: u16 = if six { 0x86dd } else { 0x0800 };
    Rule::new().meta(Meta::Protocol, how, &kind.to_be_bytes())
}

/// Goes on when the source (or the destination) lies in a network.
fn address(rule: Rule, net: &Net, source: bool) -> Rule {
    let six = net.address.is_ipv6();
    let kind: u16 = if six { 0x86dd } else { 0x0800 };
    let rule = rule.meta(Meta::Protocol, Compare::Eq, &kind.to_be_bytes());
    let (at, octets) = match net.address {
        IpAddr::V4(ip) => (if source { 12 } else { 16 }, ip.octets().to_vec()),
        IpAddr::V6(ip) => (if source { 8 } else { 24 }, ip.octets().to_vec()),
    };
    if usize::from(net.bits) == octets.len() * 8 {
        return rule.bytes(Header::Network, at, Compare::Eq, &octets);
    }
    let mask: Vec<u8> = (0..octets.len())
        .map(|n| {
            let kept = usize::from(net.bits).saturating_sub(n * 8).min(8);
            if kept == 0 { 0 } else { 0xff_u8 << (8 - kept) }
        })
        .collect();
    let value: Vec<u8> = octets.iter().zip(&mask).map(|(o, m)| o & m).collect();
    rule.masked(Header::Network, at, &mask, Compare::Eq, &value)
}

fn addresses(nets: &[Net], source: bool, destination: bool) -> Vec<Rule> {
    let sides = [(source, true), (destination, false)];
    nets.iter()
        .flat_map(|net| {
            sides
                .iter()
                .filter(|(on, _)| *on)
                .map(move |(_, is_source)| address(Rule::new(), net, *is_source))
        })
        .collect()
}

fn port_rules(ports: &[Ports], source: bool, destination: bool) -> Vec<Rule> {
    let mut out = Vec::new();
    for Ports(from, to) in ports {
        for protocol in [TCP, UDP] {
            for (on, at) in [(source, 0), (destination, 2)] {
                if !on {
                    continue;
                }
                let rule = Rule::new().meta(Meta::Transport, Compare::Eq, &[protocol]);
                out.push(match from == to {
                    true => port(rule, at, Compare::Eq, *from),
                    false => port(port(rule, at, Compare::Ge, *from), at, Compare::Le, *to),
                });
            }
        }
    }
    out
}

/// Goes on when a port is so. Three bytes are looked at, of which the last does not count: what kernels do with two is a
/// short cut that takes the payload of later fragments for ports.
fn port(rule: Rule, at: u32, how: Compare, value: u16) -> Rule {
    let [high, low] = value.to_be_bytes();
    rule.masked(Header::Transport, at, &[0xff, 0xff, 0], how, &[high, low, 0])
}

/// Chains that are being written into one table.
#[derive(Debug)]
pub struct Chains<'b> {
    /// The changes.
    pub batch: &'b mut Batch,
    /// The table's family.
    pub family: Family,
    /// The table.
    pub table: &'b str,
    /// The chains that were written.
    pub written: Vec<String>,
    rules: Vec<(String, Rule)>,
}

impl<'b> Chains<'b> {
    /// Nothing written yet.
    pub fn new(batch: &'b mut Batch, family: Family, table: &'b str) -> Chains<'b> {
        Chains { batch, family, table, written: Vec::new(), rules: Vec::new() }
    }

    /// Makes a chain.
    pub fn chain(&mut self, name: &str) {
        self.batch.chain(self.family, self.table, name);
        self.written.push(name.to_owned());
    }

    /// Adds a rule, once all chains are there.
    pub fn rule(&mut self, chain: &str, rule: &Rule) {
        self.rules.push((chain.to_owned(), rule.clone()));
    }

    /// Adds the rules; gives the names of the chains.
    pub fn finish(self) -> Vec<String> {
        for (chain, rule) in &self.rules {
            self.batch.rule(self.family, self.table, chain, rule);
        }
        self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spared_is_said_as_nft_takes_it() {
        let sitting = Exempt { local_port: 22, peer: Some(("10.0.0.9".parse().unwrap(), Some(51000))) };
        let filter = Filter { exempt: vec![sitting], ..Filter::default() };
        let out = filter.spared(Way::Out);
        assert_eq!(out[2..], ["ip daddr 10.0.0.9 tcp dport 51000 tcp sport 22"]);
        assert_eq!(filter.spared(Way::In)[2..], ["ip saddr 10.0.0.9 tcp sport 51000 tcp dport 22"]);
    }
}
