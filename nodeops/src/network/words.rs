//! A plan in words, and as the commands of tc(8) and nft(8) that would do the same.

use super::domain::Domain;
use super::filter::Way;
use super::native::{Device, Discipline};
use super::part::{Part, What};
use super::prepare::{Prepared, Ready};
use super::table::{LEAD, hook_word, lead};
use model::Fault;

/// The act and its undo.
pub(crate) fn act(prepared: &Prepared, fault: &Fault, domain: &Domain) -> (String, String) {
    let about = &prepared.place.about;
    let table = &domain.table;
    match &prepared.ready {
        Ready::Packets(part, devices) => {
            let spots: Vec<String> = part
                .links
                .iter()
                .map(|link| {
                    let ways: Vec<&str> = part
                        .ways(link)
                        .into_iter()
                        .map(|way| match way {
                            Way::Out => "leaving",
                            Way::In => "coming in at",
                            Way::Either => "on",
                        })
                        .collect();
                    format!("{} {}", ways.join(" and "), link.name)
                })
                .collect();
            let who = match &part.what {
                What::Emulated(_) => "held by this program".to_owned(),
                What::Native(shape) => match Discipline::of(shape, part.seed) {
                    Ok(d) => format!("by the kernel's {} on an IFB", d.kind()),
                    Err(_) => "by the kernel".into(),
                },
                What::Cut { reject: true } => "rejected by nf_tables, senders are told".into(),
                _ => "dropped by nf_tables".into(),
            };
            let what = fault.inject.name();
            let act = format!("{what} on {} {} of {about}: {who}", part.filter.describe(), spots.join(", "));
            let undo = match devices.as_slice() {
                [] => format!("take it out of table {table}; what is held is sent on"),
                some => format!(
                    "take it out of table {table}, remove {} and what leads there",
                    some.iter().map(|d| d.ifb.as_str()).collect::<Vec<_>>().join(", ")
                ),
            };
            (act, undo)
        }
        Ready::Names(..) => (
            format!("lead queries of {about} to port 53 to a resolver of murphy there"),
            format!("take the redirect out of table {table}, forget the tracked queries, close the resolver"),
        ),
        Ready::Occupy(o) => (format!("take {} of {about}", ports(&o.ports)), "close the sockets".into()),
        Ready::Forget(filter) => (
            format!("forget tracked connections of {about}: {}", filter.describe()),
            "cannot be undone".into(),
        ),
        Ready::Down(all) => {
            let names = all.iter().map(|d| d.name.as_str()).collect::<Vec<_>>().join(", ");
            let kept: usize = all.iter().map(|d| d.saved.len()).sum();
            (
                format!("switch off {names} of {about}"),
                format!("switch on {names}, put back {kept} addresses and routes that go with it"),
            )
        }
    }
}

fn ports(all: &[u16]) -> String {
    match all {
        [one] => format!("port {one}"),
        [first, .., last] => format!("{} ports from {first} to {last}", all.len()),
        [] => "no port".into(),
    }
}

/// Commands that would do the same by hand.
pub(crate) fn commands(prepared: &Prepared, domain: &Domain) -> Vec<String> {
    let place = &prepared.place;
    let mut out = Vec::new();
    if !place.ns.is_mine() {
        out.push(format!("nsenter --net={} sh # {}", place.ns.path().display(), place.about));
    }
    match &prepared.ready {
        Ready::Packets(part, devices) => packets(part, devices, domain, &mut out),
        Ready::Names(..) => {
            let table = format!("inet {}", domain.table);
            out.push(format!("nft add table {table} '{{ flags owner; }}'"));
            out.push(format!("nft add chain {table} names '{{ type nat hook output priority -110; }}'"));
            out.push(format!("nft add rule {table} names udp dport 53 redirect to :PORT"));
            out.push(format!(
                "nft add rule {table} names tcp dport 53 tcp flags \\& (fin|syn|rst|ack) == syn redirect to :PORT"
            ));
        }
        Ready::Occupy(o) => {
            for port in o.ports.iter().take(8) {
                let at = o.address.map(|a| format!(" {a}")).unwrap_or_default();
                out.push(format!(
                    "nc -l{at} {port} # bound only: {}",
                    if o.hang { "nobody accepts" } else { "not listening" }
                ));
            }
        }
        Ready::Forget(filter) => {
            out.push(format!("conntrack -D # {}", filter.describe()));
        }
        Ready::Down(all) => out.extend(all.iter().map(|d| format!("ip link set {} down", d.name))),
    }
    out
}

fn packets(part: &Part, devices: &[Device], domain: &Domain, out: &mut Vec<String>) {
    for (link, way) in part.spots() {
        let hook = hook_word(&part.what, way);
        let netdev = matches!(hook, "egress" | "ingress");
        let family = if netdev { "netdev" } else { "inet" };
        let table = format!("{family} {}", domain.table);
        let chain = match hook {
            "egress" => format!("out_{}", link.index),
            "ingress" => format!("in_{}", link.index),
            "prerouting" => "pre".into(),
            other => other.to_owned(),
        };
        let device = if netdev { format!(" device {}", link.name) } else { String::new() };
        let priority = if netdev { -10 } else { -310 };
        out.push(format!("nft add table {table} '{{ flags owner; }}'"));
        out.push(format!(
            "nft add chain {table} {chain} '{{ type filter hook {hook}{device} priority {priority}; }}'"
        ));
        for spared in part.filter.spared(way) {
            out.push(format!("nft add rule {table} {chain} {spared} accept"));
        }
        let mut rule = format!("nft add rule {table} {chain}");
        if !netdev {
            let word = if way == Way::Out || hook == "output" { "oifname" } else { "iifname" };
            rule.push_str(&format!(" {word} {}", link.name));
        }
        let expression = part.filter.expression(way);
        if !expression.is_empty() {
            rule.push_str(&format!(" {expression}"));
        }
        let own = devices.iter().find(|d| d.link == link.index && d.leaves == (way != Way::In));
        let verdict = match (&part.what, own) {
            (What::Loss(share), _) => {
                format!(" numgen random mod 1000000 '<' {} drop", (share * 1e6).round())
            }
            (What::Cut { reject: false }, _) => " drop".into(),
            (What::Cut { reject: true }, _) => " reject".into(),
            (What::Emulated(_), _) if netdev => " fwd to mfyN # a TAP device that murphy reads".into(),
            (What::Emulated(_), _) => " queue num N bypass # a queue that murphy reads".into(),
            (What::Native(_), Some(d)) if d.leaves => {
                format!(" meta mark set meta mark '&' {:#x} '|' {:#x}", !LEAD, lead(d.number))
            }
            (What::Native(_), Some(d)) => format!(" fwd to {}", d.ifb),
            (What::Native(_) | What::Redirect(_), _) => continue,
        };
        out.push(rule + &verdict);
        let (What::Native(shape) | What::Emulated(shape)) = &part.what else { continue };
        let discipline = Discipline::of(shape, part.seed);
        match (own, discipline) {
            (Some(d), Ok(discipline)) => {
                out.push(format!("ip link add {} type ifb && ip link set {} up", d.ifb, d.ifb));
                out.push(format!("tc qdisc add dev {} root {}", d.ifb, discipline.words()));
                if d.leaves {
                    out.push(format!("tc qdisc add dev {} clsact # unless it is there", link.name));
                    out.push(format!(
                        "tc filter add dev {} egress prio 19782 bpf bytecode 'mark & {LEAD:#x} == {:#x}' action mirred egress redirect dev {}",
                        link.name,
                        lead(d.number),
                        d.ifb
                    ));
                }
            }
            (_, Ok(discipline)) => {
                out.push(format!(
                    "# what then happens to them is what this would do: tc qdisc … {}",
                    discipline.words()
                ));
            }
            (_, Err(_)) => {}
        }
    }
    // Tables are made once.
    let mut seen = Vec::new();
    out.retain(|line| {
        let new = !seen.contains(line) || !line.starts_with("nft add");
        seen.push(line.clone());
        new
    });
}
