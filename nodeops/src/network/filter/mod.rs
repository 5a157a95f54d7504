//! Which packets a fault hits: read from its parameters, asked of packets, and written as rules of nf_tables. The two must
//! agree on every packet; a test compares them through the kernel.
//!
//! ```text
//! terms    what people write: networks, names, ports
//! mod      all of it together, as it was written
//! matcher  with names resolved, asked of packets
//! rules    with names resolved, as rules of the kernel's
//! ```

mod matcher;
mod rules;
mod terms;

pub use matcher::Matcher;
pub use rules::Chains;
pub(crate) use rules::version;
pub use terms::{Net, Peer, Ports, peers, ports};

use model::{Injection, Problem};
use std::collections::BTreeMap;
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
