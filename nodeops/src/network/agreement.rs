//! What filters say of packets, and what the kernel does with the rules that are made of them, is the same: random filters,
//! random packets, five faults at once that come and go, in a namespace of its own.

use super::filter::{Filter, Way};
use super::packet::tests::build;
use super::packet::{ICMP, ICMP6, Packet, TCP, UDP, parse};
use super::part::{Part, What};
use super::table::{Ends, Table};
use host::frames::{FrameSender, HEAD, Tap};
use host::netlink::nft::{Family, Nft};
use host::netlink::route::{Link, LinkKind, Route};
use model::Injection;
use model::draw::{self, Lane};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Draws, one after the other.
struct Dice(u64, u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.1 += 1;
        draw::bits(self.0, Lane::Amount, self.1) % n
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

const ADDRESSES: [&str; 8] =
    ["10.0.0.1", "10.0.0.2", "10.0.1.1", "10.128.0.9", "fd00::1", "fd00::2", "fd00:1::1", "fe80::9"];
const PORTS: [u16; 6] = [53, 80, 81, 443, 8000, 8099];

fn packet(dice: &mut Dice) -> Vec<u8> {
    let from: IpAddr = dice.one(&ADDRESSES).parse().unwrap();
    let alike: Vec<IpAddr> = ADDRESSES
        .iter()
        .map(|a| a.parse::<IpAddr>().unwrap())
        .filter(|a| a.is_ipv4() == from.is_ipv4())
        .collect();
    let to = dice.one(&alike);
    let six = from.is_ipv6();
    let protocol = dice.one(&[TCP, TCP, UDP, UDP, if six { ICMP6 } else { ICMP }, 47]);
    let ports = match protocol {
        ICMP6 => (dice.one(&[128_u16, 129, 135, 136, 1]) << 8, 0),
        _ => (dice.one(&PORTS), dice.one(&PORTS)),
    };
    let mut bytes = build(from, to, protocol, ports);
    match (six, dice.below(6)) {
        // A later fragment.
        (false, 0) => bytes[7] = 3,
        (true, 0) => {
            bytes[6] = 44;
            bytes.splice(40..40, [protocol, 0, 0, 0x10, 0, 0, 0, 7]);
        }
        // A first one.
        (false, 1) => bytes[6] = 0x20,
        (true, 1) => {
            bytes[6] = 60;
            bytes.splice(40..40, [protocol, 0, 1, 4, 0, 0, 0, 0]);
        }
        _ => {}
    }
    let length = (bytes.len() - if six { 40 } else { 0 }) as u16;
    let at = if six { 4 } else { 2 };
    bytes[at..at + 2].copy_from_slice(&length.to_be_bytes());
    if !six {
        bytes[10..12].fill(0);
        let sum: u32 = bytes[..20].chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

fn filter(dice: &mut Dice) -> Filter {
    let mut pairs: Vec<(&str, &str)> = vec![("chance", "1%")];
    let peers =
        ["10.0.0.2", "10.0.0.0/24", "10.0.0.0/9", "fd00::/32", "fd00::2", "10.0.1.1,fd00::1", "0.0.0.0/0"];
    let ports = ["53", "80-81", "443,8000-8099", "1-65535"];
    for (name, from) in [
        ("peer", &peers[..]),
        ("except_peer", &peers),
        ("port", &ports),
        ("local_port", &ports),
        ("remote_port", &ports),
        ("except_port", &ports),
    ] {
        if dice.below(4) == 0 {
            pairs.push((name, dice.one(from)));
        }
    }
    let with_ports = pairs.iter().any(|(name, _)| matches!(*name, "port" | "local_port" | "remote_port"));
    pairs.push((
        "protocol",
        dice.one(if with_ports { &["any", "tcp", "udp"] } else { &["any", "tcp", "udp", "icmp"] }),
    ));
    pairs.push(("family", dice.one(&["any", "any", "ipv4", "ipv6"])));
    let mut filter = Filter::read(&Injection::from_pairs("net_loss", pairs).unwrap()).unwrap();
    if dice.below(3) == 0 {
        let peer = (dice.below(2) == 0).then(|| (ADDRESSES[1].parse().unwrap(), Some(dice.one(&PORTS))));
        filter.exempt.push(super::filter::Exempt { local_port: dice.one(&PORTS), peer });
    }
    filter
}

/// A fault that loses nothing and counts what it is for.
fn part(number: u64, filter: &Filter, link: &Link, out: bool) -> Part {
    Part {
        id: format!("f{number}"),
        number,
        links: vec![link.clone()],
        out,
        into: !out,
        filter: filter.clone(),
        matcher: Arc::new(filter.resolve(&Default::default())),
        what: What::Loss(0.0),
        seed: 1,
        armed: Instant::now(),
        pid: None,
        tally: Arc::default(),
    }
}

fn way(part: &Part) -> Way {
    part.spots()[0].1
}

fn compare(seed: u64, packets: usize) {
    let mut dice = Dice(seed, 0);
    let tap = Tap::open().unwrap();
    let mut route = Route::open().unwrap();
    let lo = route.link("lo").unwrap().unwrap();
    let tap_link = route.link(tap.name()).unwrap().unwrap();
    for link in [&lo, &tap_link] {
        route.set_quiet(link.index, 100).ok();
        route.set_up(link.index, true).unwrap();
    }
    // The loopback as if it were a wire, for packets that come in.
    let wire = Link { frames: LinkKind::Ethernet, ..lo.clone() };
    let senders = [&lo, &tap_link].map(|link| FrameSender::open(link.index, 0).unwrap());
    let mut nft = Nft::open().unwrap();
    let mut table = Table::new("agree");
    let links = [(lo.index, "lo".to_owned()), (tap_link.index, tap_link.name.clone())];
    let mut parts: Vec<Part> = Vec::new();
    let mut number = 0;
    for _ in 0..8 {
        // Five filters on three ways; one of them goes and another comes.
        parts.retain(|_| dice.below(4) > 0);
        while parts.len() < 15 {
            number += 1;
            let (link, out) = [(&tap_link, true), (&wire, false), (&lo, false)][parts.len() % 3];
            parts.push(part(number, &filter(&mut dice), link, out));
        }
        let (batch, next) = table.change(&parts, &Ends::default(), &links);
        nft.commit(&batch).unwrap();
        table = next;
        let counts = |nft: &mut Nft| nft.counts(Family::Netdev, "agree").unwrap();
        let mut before = counts(&mut nft);
        for _ in 0..packets {
            let bytes = packet(&mut dice);
            let kind: [u8; 2] = if bytes[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
            let frame = [vec![0; HEAD], vec![2; 12], kind.to_vec(), bytes.clone()].concat();
            for sender in &senders {
                sender.send(&frame).unwrap();
            }
            let parsed: Packet = parse(&bytes).unwrap();
            let wanted = |part: &Part| u64::from(part.matcher.hits(&parsed, way(part)));
            // What is sent to the loopback comes in a moment later, on another thread of the kernel.
            let until = Instant::now() + std::time::Duration::from_secs(5);
            let mut now = counts(&mut nft);
            let differs = |now: &std::collections::BTreeMap<String, host::netlink::nft::Count>| {
                parts
                    .iter()
                    .find(|p| now[&p.seen()].packets - before[&p.seen()].packets != wanted(p))
                    .cloned()
            };
            while differs(&now).is_some() && Instant::now() < until {
                std::thread::sleep(std::time::Duration::from_micros(200));
                now = counts(&mut nft);
            }
            if let Some(p) = differs(&now) {
                panic!(
                    "the kernel and the filter disagree: {parsed:?} {bytes:02x?}\n{:?} {:?}\nthe filter says {}",
                    way(&p),
                    p.matcher,
                    wanted(&p)
                );
            }
            before = now;
        }
    }
}

#[test]
fn the_kernel_and_the_filter_agree_on_every_packet() {
    if host::netns::in_a_new_one(|| ()).is_err() || super::probe::probe().table.is_err() {
        eprintln!("SKIPPED: needs root and nf_tables with chains at interfaces");
        return;
    }
    for seed in 0..4 {
        host::netns::in_a_new_one(|| compare(seed, 40)).unwrap();
    }
}
