//! What faults have left in any network namespace, found by looking there, without a log.
//!
//! Only engine=native leaves something: an IFB, and a filter that leads to it. What leads packets there is a table that its
//! agent's socket owns, so where there is such a table, its agent lives, and all of it is that one's. A TAP device and a
//! queue end with their descriptors, and so does a table; one without an owner was copied by someone (`nft -f`).

use super::native::{self, Device};
use super::record::{Act, Done};
use host::Netns;
use host::netlink::nft::{Family, Nft};
use host::process::is_murphy;
use inject::{Leftover, UndoRecord};
use std::collections::BTreeMap;

/// All of it. A namespace that cannot be entered is passed over: what would undo something there could not either.
pub(super) fn all() -> Vec<Leftover> {
    let all = Netns::all().into_iter();
    all.flat_map(|ns| ns.run(|| look(&ns)).unwrap_or_default()).collect()
}

/// In the namespace of this thread, which is that one.
fn look(ns: &Netns) -> Vec<Leftover> {
    let tables = tables(ns);
    let alive = |pid: Option<u32>| pid.filter(|pid| is_murphy(*pid)).map(|pid| format!("process {pid}"));
    let mut out = Vec::new();
    for (table, owned) in &tables {
        let owner = alive(maker(table)).or_else(|| owned.then(unseen));
        out.push(Leftover {
            record: record(
                ns,
                format!("the table {table} of nf_tables in {}", ns.id()),
                format!("nft delete table inet {table}; nft delete table netdev {table}"),
                Done::Ownerless(table.clone()),
            ),
            owner,
        });
    }
    // One agent at a time has faults in a namespace; where its table is, it lives.
    let owners = tables.iter().filter(|(_, owned)| **owned).map(|(table, _)| maker(table));
    let (seen, hidden): (Vec<_>, Vec<_>) = owners.map(alive).partition(Option::is_some);
    let hidden = (!hidden.is_empty()).then(unseen);
    let found = native::found().unwrap_or_default();
    // A filter is made after its IFB, by the same agent, and before there is a table.
    let arming = found.iter().find_map(|(_, maker)| alive(*maker));
    let anyone = seen.into_iter().flatten().next().or_else(|| hidden.clone()).or(arming);
    for (device, maker) in found {
        let owner = match maker {
            // Its maker is dead, or cannot be seen from here.
            Some(_) => alive(maker).or_else(|| hidden.clone()),
            None => anyone.clone(),
        };
        out.push(Leftover { record: of_device(ns, device), owner });
    }
    out
}

/// An agent lives in another namespace of processes, where it has another number: its table would be gone else.
fn unseen() -> String {
    "an agent that cannot be seen from here".to_owned()
}

fn of_device(ns: &Netns, device: Device) -> UndoRecord {
    let (act, undo) = if device.leaves {
        let at = &device.link_name;
        (
            format!("a filter of murphy's at {at} in {}", ns.id()),
            format!("tc filter del dev {at} egress prio {}", host::netlink::route::OURS),
        )
    } else {
        (format!("the interface {} in {}", device.ifb, ns.id()), format!("ip link del {}", device.ifb))
    };
    record(ns, act, undo, Done::Native { table: String::new(), devices: vec![device] })
}

fn record(ns: &Netns, act: String, undo: String, done: Done) -> UndoRecord {
    UndoRecord {
        injector: "network".into(),
        act,
        undo,
        data: Act::new("", ns, done).json(),
        ends_with_agent: false,
    }
}

/// Tables with names as ours have them in that namespace, and whether a socket owns each.
fn tables(ns: &Netns) -> BTreeMap<String, bool> {
    let mut out = BTreeMap::new();
    let Ok(mut nft) = Nft::open() else { return out };
    for family in [Family::Inet, Family::Netdev] {
        for (name, owned) in nft.tables(family).unwrap_or_default() {
            let inode = name.rsplit_once('_').and_then(|(_, inode)| inode.parse::<u64>().ok());
            if maker(&name).is_some() && inode == Some(ns.id().inode) {
                *out.entry(name).or_default() |= owned;
            }
        }
    }
    out
}

/// The process in the name of a table of ours.
fn maker(table: &str) -> Option<u32> {
    table.strip_prefix("murphy_")?.split_once('_')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::netlink::route::Route;
    use inject::Recovered;

    /// A namespace with what an agent that died might have left, and what others have there.
    fn inside(work: impl FnOnce(&Netns, &mut Route) + Send) {
        let entered = host::netns::in_a_new_one(|| {
            let ns = Netns::open(std::path::Path::new("/proc/thread-self/ns/net")).unwrap();
            let mut route = Route::open().unwrap();
            // Without CAP_NET_ADMIN or the module there is nothing to look for.
            if route.add_ifb("mfyi3ffff0abcde").is_ok() {
                route.add_ifb("ifb7").unwrap();
                work(&ns, &mut route);
            }
        });
        // Not root.
        let _ = entered;
    }

    #[test]
    fn what_a_dead_agent_left_is_found_and_what_others_have_is_not() {
        inside(|ns, route| {
            let lo = route.links().unwrap().into_iter().find(|l| l.name == "lo").unwrap();
            let ifb = route.link("mfyi3ffff0abcde").unwrap().unwrap();
            route.set_queue(lo.index, 0).unwrap();
            let has_filters = route.add_clsact(lo.index).is_ok()
                && route.lead_marked(lo.index, 3, super::super::table::LEAD, 0x30_0000, ifb.index).is_ok();
            let left = look(ns);
            assert_eq!(left.len(), if has_filters { 2 } else { 1 }, "{left:?}");
            let inner = super::super::Inner::default();
            for one in &left {
                assert_eq!(one.owner, None);
                // This namespace is only that of this thread, where no one finds it by looking for processes.
                let mut record = one.record.clone();
                record.data["path"] = format!("/proc/self/task/{}/ns/net", rustix::thread::gettid()).into();
                assert_eq!(super::super::undo::undo(&inner, &record), Recovered::Undone, "{one:?}");
            }
            assert!(look(ns).is_empty());
            assert!(route.link("ifb7").unwrap().is_some());
            assert!(!route.qdiscs().unwrap().iter().any(|q| q.kind == "clsact"));
            // What the kernel changes by itself for a place for filters is as it was, too.
            assert_eq!(route.links().unwrap().into_iter().find(|l| l.name == "lo").unwrap().queue, 0);
        });
    }

    #[test]
    fn names_of_tables_are_read() {
        assert_eq!(maker("murphy_4711_4026531840"), Some(4711));
        for other in ["murphy", "murphy_x_1", "filter", "murphy_4711"] {
            assert_eq!(maker(other), None, "{other}");
        }
        assert!(is_murphy(std::process::id()) && !is_murphy(1));
    }
}
