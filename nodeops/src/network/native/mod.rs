//! Faults by the kernel's own means: an intermediate functional block (IFB) that carries netem or tbf, and what leads
//! packets through it. The interface's own qdisc is never touched.
//!
//! ```text
//! leaving    nf_tables marks → a filter at clsact leads what has the mark to the IFB → the interface, as if nothing had been
//! coming in  nf_tables leads to the IFB → on, as if it had just come in
//! ```
//!
//! IFB and filter do not end with this process. Without the table nothing is marked, and they do nothing.

mod discipline;

pub(crate) use discipline::Discipline;

use super::table::{LEAD, lead};
use host::netlink::NetlinkError;
use host::netlink::route::{QdiscStats, Route};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// How long what is held in an IFB may take to leave before it is removed.
const DRAINING: Duration = Duration::from_millis(250);

/// How the names of our IFBs begin; the number of the process that made each follows.
const NAME: &str = "mfyi";
/// In the handle of a filter: the place for filters was there before it.
const KEPT: u32 = 0x100;

/// One IFB and what leads to it, by names that are sure also in another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Device {
    /// The interface whose packets it takes.
    pub link: u32,
    /// Its name.
    pub link_name: String,
    /// Packets that leave; else those that come in.
    pub leaves: bool,
    /// The IFB.
    pub ifb: String,
    /// The number of the filter and of the mark.
    pub number: u32,
    /// The place for filters was there before us: it stays.
    pub place_was_there: bool,
}

impl Device {
    /// What the filter is called. It says, without any log, what is to be done with its place.
    fn handle(&self) -> u32 {
        self.number | if self.place_was_there { KEPT } else { 0 }
    }
}

/// A name for an IFB that says who made it; `text` tells it from others.
pub(crate) fn name(text: &str) -> String {
    let hash = model::draw::derive(host::clock::boottime().as_nanos() as u64, text);
    format!("{NAME}{:06x}{:05x}", std::process::id(), hash as u32 & 0xf_ffff)
}

/// What of ours is in the namespace of this thread, each with the process that made it, where that can be told: IFBs, and
/// filters that lead to them.
pub(crate) fn found() -> Result<Vec<(Device, Option<u32>)>, NetlinkError> {
    let mut route = Route::open()?;
    let links = route.links()?;
    let mut out = Vec::new();
    for link in links.iter().filter(|link| link.kind == "ifb") {
        let Some(maker) = maker(&link.name) else { continue };
        let device = Device {
            link: 0,
            link_name: String::new(),
            leaves: false,
            ifb: link.name.clone(),
            number: 0,
            place_was_there: true,
        };
        out.push((device, Some(maker)));
    }
    let places: Vec<u32> =
        route.qdiscs()?.into_iter().filter(|q| q.kind == "clsact").map(|q| q.link).collect();
    for link in links.iter().filter(|link| places.contains(&link.index)) {
        for handle in route.leads(link.index)? {
            let device = Device {
                link: link.index,
                link_name: link.name.clone(),
                leaves: true,
                ifb: String::new(),
                number: handle & !KEPT,
                place_was_there: handle & KEPT != 0,
            };
            out.push((device, None));
        }
    }
    Ok(out)
}

/// Who made an IFB of that name; none when it is not of ours.
fn maker(name: &str) -> Option<u32> {
    let rest = name.strip_prefix(NAME).filter(|rest| rest.len() == 11)?;
    rest.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(&rest[..6], 16).ok())?
}

/// Makes it, in the namespace of this thread. Half made, it is removed again. Gives the IFB's index.
pub(crate) fn make(device: &Device, discipline: &Discipline) -> Result<u32, String> {
    let mut route = Route::open().map_err(|e| e.to_string())?;
    let mut led = false;
    let made = make_with(&mut route, device, discipline, &mut led);
    if made.is_err() {
        // Why it could not be made says more than why it could not be removed. A filter that was there is not ours to remove.
        let _ = remove_with(&mut route, &Device { leaves: led, ..device.clone() });
        if device.leaves && !device.place_was_there {
            let _ = route.remove_clsact_if_empty(device.link);
        }
    }
    made
}

fn make_with(
    route: &mut Route,
    device: &Device,
    discipline: &Discipline,
    led: &mut bool,
) -> Result<u32, String> {
    let step = |what: &str, needs: &str, e: NetlinkError| format!("{what} failed: {e}; it needs {needs}");
    let ifb = &device.ifb;
    route
        .add_ifb(ifb)
        .map_err(|e| step(&format!("making {ifb}"), "CAP_NET_ADMIN and CONFIG_IFB (module ifb)", e))?;
    let link = route
        .link(ifb)
        .map_err(|e| e.to_string())?
        .ok_or_else(|| format!("{ifb} is gone as soon as it was made"))?;
    set(route, link.index, discipline, false)?;
    route.set_quiet(link.index, 1000).map_err(|e| step(&format!("setting up {ifb}"), "CAP_NET_ADMIN", e))?;
    route.set_up(link.index, true).map_err(|e| step(&format!("switching on {ifb}"), "CAP_NET_ADMIN", e))?;
    if device.leaves {
        let at = &device.link_name;
        route
            .add_clsact(device.link)
            .map_err(|e| step(&format!("making clsact at {at}"), "CONFIG_NET_SCH_INGRESS", e))?;
        let made = route.lead_marked(device.link, device.handle(), LEAD, lead(device.number), link.index);
        made.map_err(|e| {
            if e.is(17) {
                // EEXIST
                return format!(
                    "the filter {} of murphy's is at {at} already: a dead agent left it, and `murphy doctor --fix` removes it",
                    device.number
                );
            }
            step(&format!("making a filter at {at}"), "CONFIG_NET_CLS_BPF and CONFIG_NET_ACT_MIRRED", e)
        })?;
        *led = true;
    }
    Ok(link.index)
}

/// Puts the discipline on, or changes it.
pub(crate) fn set(route: &mut Route, ifb: u32, discipline: &Discipline, change: bool) -> Result<(), String> {
    let done = match discipline {
        Discipline::Netem(netem) => route.netem(ifb, netem, change),
        Discipline::Tbf(rate, burst, waiting) => route.tbf(ifb, *rate, *burst, *waiting, change),
    };
    let kind = discipline.kind();
    done.map_err(|e| {
        format!(
            "putting {kind} on an IFB failed: {e}; it needs CONFIG_NET_SCH_{} (module sch_{kind})",
            kind.to_uppercase()
        )
    })
}

/// Removes it, in the namespace of this thread, and looks that it is gone. True when there was something.
pub(crate) fn remove(device: &Device) -> Result<bool, String> {
    let mut route = Route::open().map_err(|e| e.to_string())?;
    remove_with(&mut route, device).map_err(|e| format!("removing {}: {e}", device.ifb))
}

fn remove_with(route: &mut Route, device: &Device) -> Result<bool, NetlinkError> {
    let mut any = false;
    let there = route.links()?.into_iter().any(|l| l.index == device.link && l.name == device.link_name);
    if device.leaves && there {
        any |= route.remove_lead(device.link, device.handle())?;
        if !device.place_was_there {
            route.remove_clsact_if_empty(device.link)?;
        }
    }
    let Some(ifb) = route.link(&device.ifb)?.filter(|link| link.kind == "ifb") else { return Ok(any) };
    // What is in it still leaves in its time, when that is soon.
    let began = Instant::now();
    while began.elapsed() < DRAINING && stats(route, ifb.index)?.is_some_and(|s| s.queued > 0) {
        std::thread::sleep(Duration::from_millis(2));
    }
    match route.remove_link(ifb.index) {
        Err(e) if !e.is(19) => return Err(e), // ENODEV: someone else removed it
        _ => {}
    }
    Ok(true)
}

/// Whether there is a place for filters that is not ours alone: one that someone else made.
pub(crate) fn place_is_foreign(route: &mut Route, link: u32) -> Result<bool, NetlinkError> {
    let there = route.qdiscs()?.iter().any(|q| q.link == link && q.kind == "clsact");
    // With filters of ours in it, it is ours, or its maker wrote down that it is not.
    Ok(there && route.leads(link)?.is_empty())
}

/// What the qdisc of an IFB has done.
pub(crate) fn stats(route: &mut Route, ifb: u32) -> Result<Option<QdiscStats>, NetlinkError> {
    let ours = |kind: &str| kind == "netem" || kind == "tbf";
    Ok(route.qdiscs()?.into_iter().find(|q| q.link == ifb && ours(&q.kind)).map(|q| q.stats))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_who_made_it() {
        let name = name("x");
        assert!(name.len() <= 15, "{name} is too long for an interface");
        assert_eq!(maker(&name), Some(std::process::id()));
        for other in ["ifb0", "mfy0", "mfyprobe0", "mfyi00001", "mfyi00000100zzz"] {
            assert_eq!(maker(other), None, "{other}");
        }
    }
}
