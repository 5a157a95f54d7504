//! Which engine this kernel has what for, found out by doing it all in an empty namespace that is gone afterwards.

use super::emulated::{Egress, Ingress};
use super::native::{self, Device, Discipline};
use super::table::AGAIN;
use host::netlink::nft::{Batch, Compare, Family, Hook, Meta, Nft, QueueBy, Rule, Verdict};
use host::netlink::route::{Netem, Route};
use host::netns;
use inject::Possibility;
use std::sync::OnceLock;

/// What was found.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    /// Tables that end with their socket, with chains at interfaces; else what is missing.
    pub table: Result<(), String>,
    /// Rules that send packets out elsewhere.
    pub forward: Result<(), String>,
    /// Rules that lead queries to a port here.
    pub redirect: Result<(), String>,
    /// Rules that tell the sender.
    pub reject: Result<(), String>,
    /// netem on an IFB and what leads there.
    pub netem: Result<(), String>,
    /// tbf, the same.
    pub tbf: Result<(), String>,
    /// TAP device and packet socket.
    pub egress: Result<(), String>,
    /// A queue of netfilter, and how packets get there.
    pub queue: Result<QueueBy, String>,
}

/// What this kernel and this process can do. Looked at once; a module that is loaded later is seen by the next process.
pub(crate) fn probe() -> &'static Probe {
    static FOUND: OnceLock<Probe> = OnceLock::new();
    FOUND.get_or_init(|| {
        netns::in_a_new_one(look).unwrap_or_else(|e| {
            let why = format!(
                "an empty network namespace to try it in cannot be made: {e}; it needs CAP_SYS_ADMIN"
            );
            nothing(&why)
        })
    })
}

/// What the engines need of this machine, each by its name: there, or what is missing and what would help.
pub fn findings() -> Vec<(&'static str, Result<(), String>)> {
    let found = probe();
    vec![
        ("nf_tables with an owner and chains at interfaces", found.table.clone()),
        ("nf_tables: packets out elsewhere", found.forward.clone()),
        ("nf_tables: redirect", found.redirect.clone()),
        ("nf_tables: reject", found.reject.clone()),
        ("engine native: netem", found.netem.clone()),
        ("engine native: tbf", found.tbf.clone()),
        ("engine emulated: what leaves", found.egress.clone()),
        ("engine emulated: what comes in", found.queue.clone().map(drop)),
    ]
}

/// How far a fault can be injected here. None of one that needs none of all this.
pub(super) fn possible(fault: &str) -> Option<Possibility> {
    if matches!(fault, "port_occupy" | "conntrack_flush" | "interface_down") {
        return None;
    }
    Some(with(probe(), fault))
}

fn with(found: &Probe, fault: &str) -> Possibility {
    let all = Possibility::yes();
    if let Err(why) = &found.table {
        return all.no(why);
    }
    let kernels = match fault {
        "net_loss" => return all,
        "partition" => {
            return found
                .reject
                .as_ref()
                .err()
                .map_or(all, |why| Possibility::yes().partly(format!("how=reject: {why}")));
        }
        "dns" => return found.redirect.as_ref().err().map_or(all, |why| Possibility::yes().no(why)),
        "net_rate" => &found.tbf,
        _ => &found.netem,
    };
    match (kernels, &found.egress, &found.queue) {
        (Ok(()), ..) | (Err(_), Ok(()), Ok(_)) => all,
        (Err(native), Err(own), Err(_)) => {
            all.no(format!("engine native: {native}")).no(format!("engine emulated: {own}"))
        }
        (Err(_), Ok(()), Err(why)) => all.partly(format!("what comes in, and the loopback: {why}")),
        (Err(_), Err(why), Ok(_)) => all.partly(format!("what leaves: {why}")),
    }
}

const TABLE: &str = "murphy_probe";

fn look() -> Probe {
    let lo = Route::open().and_then(|mut route| {
        let lo = route.link("lo")?;
        if let Some(lo) = &lo {
            route.set_up(lo.index, true)?;
        }
        Ok(lo)
    });
    let lo = match lo {
        Ok(Some(lo)) => lo,
        Ok(None) => return nothing("a new namespace has no lo"),
        Err(e) => return nothing(&format!("rtnetlink: {e}")),
    };
    let by_kernel = |discipline: &Discipline, ifb: &str| {
        let device = Device {
            link: lo.index,
            link_name: "lo".into(),
            leaves: true,
            ifb: ifb.into(),
            number: 1,
            place_was_there: false,
        };
        native::make(&device, discipline)?;
        native::remove(&device).map(drop)
    };
    let netem = Netem { limit: 1000, delay: 1_000_000, ..Netem::default() };
    Probe {
        table: table(),
        forward: rule(Family::Netdev, &Hook::Ingress("lo".into()), "filter", &Rule::new().forward(lo.index)).map_err(|e| {
            format!("nf_tables cannot send packets out elsewhere: {e}; it needs CONFIG_NFT_FWD_NETDEV (module nft_fwd_netdev)")
        }),
        redirect: rule(Family::Inet, &Hook::Output, "nat", &udp().redirect(53)).map_err(|e| {
            format!("nf_tables cannot redirect: {e}; it needs CONFIG_NFT_REDIR and CONFIG_NFT_NAT (modules nft_redir, nft_chain_nat)")
        }),
        reject: rule(Family::Inet, &Hook::Input, "filter", &Rule::new().reject(false)).map_err(|e| {
            format!("nf_tables cannot reject: {e}; it needs CONFIG_NFT_REJECT_INET (module nft_reject_inet)")
        }),
        netem: by_kernel(&Discipline::Netem(Box::new(netem)), "mfyprobe0"),
        tbf: by_kernel(&Discipline::Tbf(1_000_000, 10_000, 100_000), "mfyprobe1"),
        egress: Egress::open(&lo, AGAIN).map(drop).map_err(|e| e.to_string()),
        queue: queue(),
    }
}

fn nothing(why: &str) -> Probe {
    let all = || Err(why.to_owned());
    Probe {
        table: all(),
        forward: all(),
        redirect: all(),
        reject: all(),
        netem: all(),
        tbf: all(),
        egress: all(),
        queue: Err(why.to_owned()),
    }
}

fn udp() -> Rule {
    Rule::new().meta(Meta::Transport, Compare::Eq, &[17])
}

/// Whether the kernel takes a rule.
fn rule(family: Family, hook: &Hook, kind: &str, rule: &Rule) -> Result<(), String> {
    let mut nft = Nft::open().map_err(|e| e.to_string())?;
    let mut batch = Batch::new();
    batch.table(family, TABLE);
    batch.base_chain(family, TABLE, "try", kind, hook, 0);
    batch.rule(family, TABLE, "try", rule);
    nft.commit(&batch).map_err(|e| e.to_string())
}

fn table() -> Result<(), String> {
    let mut nft = Nft::open().map_err(|e| format!("a netlink socket for nf_tables: {e}"))?;
    let mut batch = Batch::new();
    batch.table(Family::Inet, TABLE);
    nft.commit(&batch).map_err(|e| {
        format!("a table of nf_tables that ends with its owner cannot be made: {e}; it needs CAP_NET_ADMIN, CONFIG_NF_TABLES_INET and Linux 5.12")
    })?;
    let mut batch = Batch::new();
    batch.table(Family::Netdev, TABLE);
    batch.base_chain(Family::Netdev, TABLE, "out", "filter", &Hook::Egress("lo".into()), 0);
    batch.base_chain(Family::Netdev, TABLE, "in", "filter", &Hook::Ingress("lo".into()), 0);
    nft.commit(&batch).map_err(|e| {
        format!("nf_tables has no chain for what leaves at an interface: {e}; it needs CONFIG_NF_TABLES_NETDEV, CONFIG_NETFILTER_EGRESS and Linux 5.16")
    })?;
    let mut batch = Batch::new();
    batch.counter(Family::Netdev, TABLE, "counted");
    batch.rule(Family::Netdev, TABLE, "out", &Rule::new().count("counted"));
    nft.commit(&batch).map_err(|e| {
        format!("nf_tables cannot count by name: {e}; it needs CONFIG_NFT_OBJREF (module nft_objref) before Linux 6.2")
    })?;
    let mut batch = Batch::new();
    batch.rule(Family::Netdev, TABLE, "out", &Rule::new().chance(1).verdict(Verdict::Drop));
    nft.commit(&batch)
        .map_err(|e| format!("nf_tables cannot draw: {e}; it needs CONFIG_NFT_NUMGEN (module nft_numgen)"))
}

fn queue() -> Result<QueueBy, String> {
    // The thread that serves it ends with it.
    let queue = Ingress::open(AGAIN).map_err(|e| e.to_string())?;
    let mut nft = Nft::open().map_err(|e| e.to_string())?;
    let mut why = String::new();
    for by in [QueueBy::Native, QueueBy::Compat] {
        let mut batch = Batch::new();
        batch.table(Family::Inet, TABLE);
        batch.base_chain(Family::Inet, TABLE, "pre", "filter", &Hook::Prerouting, -310);
        batch.rule(Family::Inet, TABLE, "pre", &Rule::new().queue(by, queue.number()));
        match nft.commit(&batch) {
            Ok(()) => return Ok(by),
            Err(e) => why = e.to_string(),
        }
    }
    Err(format!(
        "packets that come in cannot be queued: {why}; it needs CONFIG_NFT_QUEUE (module nft_queue), or CONFIG_NFT_COMPAT and CONFIG_NETFILTER_XT_TARGET_NFQUEUE"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_of_the_faults_that_need_it() {
        use inject::Possible;
        let all = Probe {
            table: Ok(()),
            forward: Ok(()),
            redirect: Ok(()),
            reject: Ok(()),
            netem: Err("no netem".into()),
            tbf: Ok(()),
            egress: Ok(()),
            queue: Err("no queue".into()),
        };
        let is = |found: &Probe, fault: &str| with(found, fault).possible;
        assert_eq!(
            (is(&all, "net_loss"), is(&all, "net_rate"), is(&all, "dns")),
            (Possible::Yes, Possible::Yes, Possible::Yes)
        );
        let late = with(&all, "net_delay");
        assert_eq!(late.possible, Possible::Partly);
        assert!(late.missing[0].contains("no queue"), "{late:?}");
        let less = Probe { egress: Err("no tun".into()), reject: Err("no reject".into()), ..all };
        assert_eq!((is(&less, "net_delay"), is(&less, "partition")), (Possible::No, Possible::Partly));
        assert_eq!(is(&nothing("none"), "net_loss"), Possible::No);
        assert!(possible("port_occupy").is_none());
    }
}
