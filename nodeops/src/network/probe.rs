//! Which engine this kernel has what for, found out by doing it all in an empty namespace that is gone afterwards; where
//! none can be made (CAP_NET_ADMIN without CAP_SYS_ADMIN, as a container may have it), in the one where we are: with rules
//! that hit a mark which nobody has, and with interfaces of our own alone.

use super::emulated::{Egress, Ingress};
use super::native::{self, Device, Discipline};
use super::table::AGAIN;
use host::netlink::nft::{Batch, Compare, Family, Hook, Meta, Nft, QueueBy, Rule, Verdict};
use host::netlink::route::{Link, Netem, Route};
use host::netns;
use inject::{Possibility, Possible};
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
    /// Other namespaces than ours can be entered.
    pub elsewhere: bool,
}

/// What this kernel and this process can do. Looked at once; a module that is loaded later is seen by the next process.
pub(crate) fn probe() -> &'static Probe {
    static FOUND: OnceLock<Probe> = OnceLock::new();
    FOUND.get_or_init(|| match netns::in_a_new_one(|| look(true)) {
        Ok(found) => found,
        Err(_) if host::Capabilities::mine().has("CAP_NET_ADMIN") => {
            Probe { elsewhere: false, ..look(false) }
        }
        Err(e) => nothing(&format!(
            "an empty network namespace to try it in cannot be made: {e}; it needs CAP_SYS_ADMIN, or CAP_NET_ADMIN for the \
             namespace where murphy is"
        )),
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
    let found = probe();
    let said = with(found, fault);
    Some(match found.elsewhere || said.possible == Possible::No {
        true => said,
        false => said.partly("containers, processes and namespaces elsewhere: CAP_SYS_ADMIN, to enter them"),
    })
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

/// Rules hit packets with this mark, which nobody has: not even a moment's traffic is changed.
const NOBODY: u32 = 0x6d66_7970;

/// The name of tables of this process.
fn name() -> String {
    format!("murphy_probe_{}", std::process::id())
}

fn ours() -> Rule {
    Rule::new().mark(u32::MAX, Compare::Eq, NOBODY)
}

/// Looks in the namespace of this thread, which is empty or not.
fn look(empty: bool) -> Probe {
    let lo = match Route::open().and_then(|mut route| route.link("lo")) {
        Ok(Some(lo)) => lo,
        Ok(None) => return nothing("this network namespace has no lo"),
        Err(e) => return nothing(&format!("rtnetlink: {e}")),
    };
    // Not at lo, which may be someone's: at an interface of our own.
    let by_kernel = |discipline: &Discipline| -> Result<(), String> {
        let at = Own::make()?;
        let device = Device {
            link: at.0.index,
            link_name: at.0.name.clone(),
            leaves: true,
            ifb: native::name("probe"),
            number: 1,
            place_was_there: false,
        };
        native::make(&device, discipline)?;
        native::remove(&device).map(drop)
    };
    let netem = Netem { limit: 1000, delay: 1_000_000, ..Netem::default() };
    Probe {
        table: table(),
        forward: rule(Family::Netdev, &Hook::Ingress("lo".into()), "filter", &ours().forward(lo.index)).map_err(|e| {
            format!("nf_tables cannot send packets out elsewhere: {e}; it needs CONFIG_NFT_FWD_NETDEV (module nft_fwd_netdev)")
        }),
        redirect: redirect(empty).map_err(|e| {
            format!("nf_tables cannot redirect: {e}; it needs CONFIG_NFT_REDIR and CONFIG_NFT_NAT (modules nft_redir, nft_chain_nat)")
        }),
        reject: rule(Family::Inet, &Hook::Input, "filter", &ours().reject(false)).map_err(|e| {
            format!("nf_tables cannot reject: {e}; it needs CONFIG_NFT_REJECT_INET (module nft_reject_inet)")
        }),
        netem: by_kernel(&Discipline::Netem(Box::new(netem))),
        tbf: by_kernel(&Discipline::Tbf(1_000_000, 10_000, 100_000)),
        egress: Egress::open(&lo, AGAIN).map(drop).map_err(|e| e.to_string()),
        queue: queue(),
        elsewhere: true,
    }
}

/// An interface that is gone with this.
struct Own(Link);

impl Own {
    fn make() -> Result<Own, String> {
        let name = native::name("a place for filters");
        let mut route = Route::open().map_err(|e| e.to_string())?;
        route.add_ifb(&name).map_err(|e| {
            format!("making {name} failed: {e}; it needs CAP_NET_ADMIN and CONFIG_IFB (module ifb)")
        })?;
        let found = route.link(&name).map_err(|e| e.to_string())?;
        found.map(Own).ok_or_else(|| format!("{name} is gone as soon as it was made"))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Ok(mut route) = Route::open() {
            // What made it can remove it.
            let _ = route.remove_link(self.0.index);
        }
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
        elsewhere: true,
    }
}

fn udp() -> Rule {
    ours().meta(Meta::Transport, Compare::Eq, &[17])
}

/// Whether the kernel takes a rule.
fn rule(family: Family, hook: &Hook, kind: &str, rule: &Rule) -> Result<(), String> {
    let name = name();
    let mut nft = Nft::open().map_err(|e| e.to_string())?;
    let mut batch = Batch::new();
    batch.table(family, &name);
    batch.base_chain(family, &name, "try", kind, hook, 0);
    batch.rule(family, &name, "try", rule);
    nft.commit(&batch).map_err(|e| e.to_string())
}

/// Whether queries can be led to a port. A chain that changes addresses concerns connections that live, so that one is made
/// only where there are none.
fn redirect(empty: bool) -> Result<(), String> {
    let to_a_port = udp().redirect(53);
    if empty {
        return rule(Family::Inet, &Hook::Output, "nat", &to_a_port);
    }
    let name = name();
    let mut nft = Nft::open().map_err(|e| e.to_string())?;
    let mut batch = Batch::new();
    batch.table(Family::Inet, &name);
    batch.chain(Family::Inet, &name, "try");
    batch.rule(Family::Inet, &name, "try", &to_a_port);
    nft.commit(&batch).map_err(|e| e.to_string())
}

fn table() -> Result<(), String> {
    let name = name();
    let mut nft = Nft::open().map_err(|e| format!("a netlink socket for nf_tables: {e}"))?;
    let mut batch = Batch::new();
    batch.table(Family::Inet, &name);
    nft.commit(&batch).map_err(|e| {
        format!("a table of nf_tables that ends with its owner cannot be made: {e}; it needs CAP_NET_ADMIN, CONFIG_NF_TABLES_INET and Linux 5.12")
    })?;
    let mut batch = Batch::new();
    batch.table(Family::Netdev, &name);
    batch.base_chain(Family::Netdev, &name, "out", "filter", &Hook::Egress("lo".into()), 0);
    batch.base_chain(Family::Netdev, &name, "in", "filter", &Hook::Ingress("lo".into()), 0);
    nft.commit(&batch).map_err(|e| {
        format!("nf_tables has no chain for what leaves at an interface: {e}; it needs CONFIG_NF_TABLES_NETDEV, CONFIG_NETFILTER_EGRESS and Linux 5.16")
    })?;
    let mut batch = Batch::new();
    batch.counter(Family::Netdev, &name, "counted");
    batch.rule(Family::Netdev, &name, "out", &ours().count("counted"));
    nft.commit(&batch).map_err(|e| {
        format!("nf_tables cannot count by name: {e}; it needs CONFIG_NFT_OBJREF (module nft_objref) before Linux 6.2")
    })?;
    let mut batch = Batch::new();
    batch.rule(Family::Netdev, &name, "out", &ours().chance(1).verdict(Verdict::Drop));
    nft.commit(&batch)
        .map_err(|e| format!("nf_tables cannot draw: {e}; it needs CONFIG_NFT_NUMGEN (module nft_numgen)"))
}

fn queue() -> Result<QueueBy, String> {
    let name = name();
    // The thread that serves it ends with it.
    let queue = Ingress::open(AGAIN).map_err(|e| e.to_string())?;
    let mut nft = Nft::open().map_err(|e| e.to_string())?;
    let mut why = String::new();
    for by in [QueueBy::Native, QueueBy::Compat] {
        let mut batch = Batch::new();
        batch.table(Family::Inet, &name);
        batch.base_chain(Family::Inet, &name, "pre", "filter", &Hook::Prerouting, -310);
        batch.rule(Family::Inet, &name, "pre", &ours().queue(by, queue.number()));
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
        let all = Probe {
            table: Ok(()),
            forward: Ok(()),
            redirect: Ok(()),
            reject: Ok(()),
            netem: Err("no netem".into()),
            tbf: Ok(()),
            egress: Ok(()),
            queue: Err("no queue".into()),
            elsewhere: true,
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
