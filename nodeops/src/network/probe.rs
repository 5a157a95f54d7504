//! Which engine this kernel has what for, found out by doing it all in an empty namespace that is gone afterwards.

use super::emulated::{Egress, Ingress};
use super::native::{self, Device, Discipline};
use super::table::AGAIN;
use host::netlink::nft::{Batch, Family, Hook, Nft, QueueBy, Rule};
use host::netlink::route::{Netem, Route};
use host::netns;
use std::sync::OnceLock;

/// What was found.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    /// Tables that end with their socket, with chains at interfaces; else what is missing.
    pub table: Result<(), String>,
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
            let all = || Err(why.clone());
            Probe { table: all(), netem: all(), tbf: all(), egress: all(), queue: Err(why.clone()) }
        })
    })
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
        netem: by_kernel(&Discipline::Netem(Box::new(netem)), "mfyprobe0"),
        tbf: by_kernel(&Discipline::Tbf(1_000_000, 10_000, 100_000), "mfyprobe1"),
        egress: Egress::open(&lo, AGAIN).map(drop).map_err(|e| e.to_string()),
        queue: queue(),
    }
}

fn nothing(why: &str) -> Probe {
    let all = || Err(why.to_owned());
    Probe { table: all(), netem: all(), tbf: all(), egress: all(), queue: Err(why.to_owned()) }
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
    })
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
