//! What is undone, also by another process after a crash; and looked at, whether it is.

use super::Inner;
use super::native;
use super::record::{Act, Done, Downed};
use super::tracked;
use crate::shared::lock;
use host::Netns;
use host::netlink::nft::{Batch, Family, Nft};
use host::netlink::route::Route;
use inject::{Recovered, UndoRecord};
use std::time::{Duration, Instant};

/// How long the kernel may take to remove what a process owned that has just ended.
const ENDING: Duration = Duration::from_secs(3);

/// Undoes one act.
pub(super) fn undo(inner: &Inner, record: &UndoRecord) -> Recovered {
    let (act, ns) = match Act::find(record) {
        Ok(found) => found,
        Err(outcome) => return outcome,
    };
    let was_on = match take_out(inner, &act) {
        Ok(was_on) => was_on,
        Err(why) => return Recovered::Failed(why),
    };
    let outcome = match &act.done {
        Done::Table(table) => look_for_table(&ns, table, was_on),
        Done::Native { table, devices } => look_for_table(&ns, table, was_on).and_then(|any| {
            let mut any = any;
            for device in devices {
                any |= inside(&ns, || native::remove(device))?;
            }
            Ok(any)
        }),
        Done::Names(table) => look_for_table(&ns, table, was_on).inspect(|_| {
            // Without connection tracking there is nothing that could be remembered.
            let _ = inside(&ns, tracked::forget_queries);
        }),
        Done::Ports | Done::Forgotten => Ok(was_on),
        Done::Ownerless(table) => inside(&ns, || remove_table(table)),
        Done::Down(all) => inside(&ns, || switch_on(all)),
    };
    match outcome {
        Ok(true) => Recovered::Undone,
        Ok(false) => Recovered::Gone("it ended with the agent that had armed it".into()),
        Err(why) => Recovered::Failed(why),
    }
}

/// Takes out what this process has on. True when there was something.
fn take_out(inner: &Inner, act: &Act) -> Result<bool, String> {
    let domain = lock(&inner.domains).get(&act.ns).cloned();
    let mut was_on = match &domain {
        Some(domain) => domain.remove(&act.fault)?,
        None => false,
    };
    // What nobody needs any more is let go, and the namespace with it.
    lock(&inner.domains).retain(|_, domain| !domain.is_empty());
    let (mut resolvers, mut sockets) = (Vec::new(), Vec::new());
    for kept in lock(&inner.kept).get_mut(&act.fault).into_iter().flatten() {
        if kept.place.ns.id() == act.ns {
            resolvers.extend(kept.resolver.take());
            sockets.extend(kept.occupied.take());
        }
    }
    was_on |= !resolvers.is_empty() || !sockets.is_empty();
    Ok(was_on)
}

/// Whether something was undone. A table that nobody here has is its owner's; it is gone when the owner is.
fn look_for_table(ns: &Netns, table: &str, was_on: bool) -> Result<bool, String> {
    if was_on || table.is_empty() {
        return Ok(was_on);
    }
    let owner = table.split('_').nth(1).and_then(|pid| pid.parse::<u32>().ok());
    if owner == Some(std::process::id()) {
        // Another fault of ours may be in it.
        return Ok(false);
    }
    let began = Instant::now();
    loop {
        let there = inside(ns, || {
            let mut nft = Nft::open().map_err(|e| e.to_string())?;
            let mut there = false;
            for family in [Family::Inet, Family::Netdev] {
                there |=
                    nft.has_table(family, table).map_err(|e| format!("looking for table {table}: {e}"))?;
            }
            Ok(there)
        })?;
        if !there {
            return Ok(false);
        }
        if began.elapsed() > ENDING {
            return Err(format!(
                "table {table} is still there: its owner, process {}, lives; end it, and the kernel removes the table",
                owner.unwrap_or(0)
            ));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Removes a table, unless someone owns it.
fn remove_table(table: &str) -> Result<bool, String> {
    let mut nft = Nft::open().map_err(|e| e.to_string())?;
    let mut batch = Batch::new();
    for family in [Family::Inet, Family::Netdev] {
        let all = nft.tables(family).map_err(|e| format!("listing tables: {e}"))?;
        if all.iter().any(|(name, owned)| name == table && !owned) {
            batch.remove_table(family, table);
        }
    }
    let any = !batch.is_empty();
    nft.commit(&batch).map_err(|e| format!("removing table {table}: {e}"))?;
    Ok(any)
}

fn inside<T: Send>(ns: &Netns, work: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    ns.run(work)
        .map_err(|e| format!("the namespace {} cannot be entered: {e}; it needs CAP_SYS_ADMIN", ns.id()))?
}

/// Switches interfaces off, in the namespace of this thread: all or none.
pub(super) fn switch_off(all: &[Downed]) -> Result<(), String> {
    let mut route = Route::open().map_err(|e| e.to_string())?;
    for (n, one) in all.iter().enumerate() {
        if let Err(e) = route.set_up(one.index, false) {
            // Why it failed says more than what could not be taken back, which the record still knows.
            let _ = switch_on(&all[..n]);
            return Err(format!("switching off {} failed: {e}", one.name));
        }
    }
    Ok(())
}

/// Switches them on and gives them back what they had.
fn switch_on(all: &[Downed]) -> Result<bool, String> {
    let mut route = Route::open().map_err(|e| e.to_string())?;
    let (mut any, mut failed) = (false, Vec::new());
    for one in all {
        let links = route.links().map_err(|e| e.to_string())?;
        let Some(link) = links.into_iter().find(|l| l.index == one.index && l.name == one.name) else {
            continue;
        };
        any = true;
        if let Err(e) = route.set_up(link.index, true) {
            failed
                .push(format!("switching on {} failed: {e}; by hand: ip link set {} up", one.name, one.name));
            continue;
        }
        if let Err(e) = route.restore(&one.saved) {
            failed.push(format!(
                "{} is on, but an address or route of it was refused: {e}; `ip route` shows which",
                one.name
            ));
        }
    }
    if failed.is_empty() { Ok(any) } else { Err(failed.join("; ")) }
}
