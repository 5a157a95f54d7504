//! A filter whose names are resolved, written as rules of nf_tables.

use super::matcher::Matcher;
use super::terms::{Net, Ports};
use super::{Carries, Exempt, Version, Way};
use crate::network::packet::{ICMP, ICMP6, TCP, UDP};
use host::netlink::nft::{Batch, Compare, Family, Header, Meta, Rule, Verdict};
use std::net::IpAddr;

impl Matcher {
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
