//! One namespace and everything that is wired in it. Each change is computed from the list of faults that are to be on:
//! first what packets are led to, then, in one step, the tables that lead them.

use super::emulated::{Egress, Ingress, Stage, Tally};
use super::filter::Way;
use super::native::{self, Device, Discipline};
use super::part::{Part, What};
use super::probe::probe;
use super::table::{AGAIN, Ends, OWN, Table};
use host::Netns;
use host::netlink::nft::{Batch, Count, Family, Nft};
use host::netlink::route::{Link, LinkKind, QdiscStats, Route};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A namespace in which faults are.
#[derive(Debug)]
pub(crate) struct Domain {
    /// It stays as long as this does.
    pub ns: Netns,
    /// The name of our tables in it.
    pub table: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    parts: Vec<Part>,
    nft: Option<Nft>,
    table: Table,
    egress: BTreeMap<u32, Egress>,
    ingress: Option<Ingress>,
    /// IFBs by part, interface and whether packets leave.
    devices: BTreeMap<(u64, u32, bool), (Device, u32)>,
}

/// What is counted for a fault in a namespace, from whoever does it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counted {
    /// Packets that its filter hit.
    pub seen: u64,
    /// Packets that something was done to.
    pub applied: u64,
    /// Lost on purpose.
    pub lost: u64,
    /// Dropped by a full queue in front of a slow link.
    pub crowded: u64,
    /// Held for a while.
    pub delayed: u64,
    /// Seconds that were added, in all.
    pub added: f64,
    /// Seconds that packets went on after their time, in all, and how many were measured.
    pub overdue: (f64, u64),
    /// Packets that could not be held or sent on.
    pub failed: u64,
}

impl Counted {
    /// Both together.
    pub(crate) fn add(&mut self, other: &Counted) {
        self.seen += other.seen;
        self.applied += other.applied;
        self.lost += other.lost;
        self.crowded += other.crowded;
        self.delayed += other.delayed;
        self.added += other.added;
        self.overdue = (self.overdue.0 + other.overdue.0, self.overdue.1 + other.overdue.1);
        self.failed += other.failed;
    }
}

impl Domain {
    pub(crate) fn new(ns: Netns, table: String) -> Domain {
        let state = State {
            parts: Vec::new(),
            nft: None,
            table: Table::new(&table),
            egress: BTreeMap::new(),
            ingress: None,
            devices: BTreeMap::new(),
        };
        Domain { ns, table, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A change that panicked half way leaves wires that the next one completes or removes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The faults that are on.
    pub(crate) fn parts(&self) -> Vec<Part> {
        self.lock().parts.clone()
    }

    /// The numbers of IFBs that are taken.
    pub(crate) fn leads(&self) -> BTreeSet<u32> {
        self.lock().devices.values().map(|(device, _)| device.number).collect()
    }

    /// The IFBs of a fault.
    pub(crate) fn devices(&self, part: u64) -> Vec<Device> {
        let state = self.lock();
        let own = state.devices.iter().filter(|((number, ..), _)| *number == part);
        own.map(|(_, (device, _))| device.clone()).collect()
    }

    /// Whether the place for filters at an interface was made by us.
    pub(crate) fn made_place(&self, link: u32) -> bool {
        let state = self.lock();
        state.devices.values().any(|(d, _)| d.link == link && d.leaves && !d.place_was_there)
    }

    /// Puts a fault on. `devices` are those of a native one.
    pub(crate) fn add(&self, part: &Part, devices: &[Device]) -> Result<(), String> {
        self.enter(|state| {
            let mut parts = state.parts.clone();
            parts.push(part.clone());
            if let What::Native(shape) = &part.what {
                let discipline = Discipline::of(shape, part.seed)?;
                for device in devices {
                    match native::make(device, &discipline) {
                        Ok(index) => {
                            let key = (part.number, device.link, device.leaves);
                            state.devices.insert(key, (device.clone(), index));
                        }
                        Err(why) => {
                            state.remove_devices(&[part.number]);
                            return Err(why);
                        }
                    }
                }
            }
            let done = state.become_(parts);
            if done.is_err() {
                state.remove_devices(&[part.number]);
            }
            done
        })
    }

    /// Changes faults that are on: those with the number of one that is given.
    pub(crate) fn change(&self, changed: &[Part]) -> Result<(), String> {
        self.enter(|state| {
            let mut parts = state.parts.clone();
            for part in &mut parts {
                if let Some(new) = changed.iter().find(|new| new.number == part.number) {
                    *part = new.clone();
                }
            }
            for part in changed {
                let What::Native(shape) = &part.what else { continue };
                let discipline = Discipline::of(shape, part.seed)?;
                let mut route = Route::open().map_err(|e| e.to_string())?;
                for ((number, ..), (_, ifb)) in &state.devices {
                    if *number == part.number {
                        native::set(&mut route, *ifb, &discipline, true)?;
                    }
                }
            }
            state.become_(parts)
        })
    }

    /// Takes a fault off. True when it was on.
    pub(crate) fn remove(&self, id: &str) -> Result<bool, String> {
        self.enter(|state| {
            let gone: Vec<u64> = state.parts.iter().filter(|p| p.id == id).map(|p| p.number).collect();
            if gone.is_empty() {
                return Ok(false);
            }
            state.count();
            let parts: Vec<Part> = state.parts.iter().filter(|p| p.id != id).cloned().collect();
            state.become_(parts)?;
            state.remove_devices(&gone);
            Ok(true)
        })
    }

    /// Whether nothing is on.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().parts.is_empty()
    }

    /// Looks names in filters up again, and changes the filters whose names stand for something else now.
    pub(crate) fn look_again(&self) {
        let named: Vec<Part> = self.parts().into_iter().filter(|p| !p.filter.names().is_empty()).collect();
        for part in named {
            let names: Vec<String> = part.filter.names().into_iter().map(str::to_owned).collect();
            let known = super::dns::look_up(&self.ns, part.pid, &names, OWN);
            // A name server that does not answer for a moment is no reason to let go of what is known.
            if names.iter().any(|name| !known.contains_key(name)) {
                continue;
            }
            let matcher = Arc::new(part.filter.resolve(&known));
            if *matcher == *part.matcher {
                continue;
            }
            // Fails only when the namespace or the interface is going, and the fault with it.
            let _ = self.enter(|state| {
                let mut parts = state.parts.clone();
                let same = |p: &&mut Part| p.number == part.number && p.filter == part.filter;
                if let Some(p) = parts.iter_mut().find(same) {
                    p.matcher = matcher;
                }
                state.become_(parts)
            });
        }
    }

    /// What a fault has counted; none while the namespace is being changed.
    pub(crate) fn counted(&self, part: u64) -> Option<Counted> {
        let mut state = self.state.try_lock().ok()?;
        let state = &mut *state;
        // The sockets are in the namespace already; rtnetlink needs one there, which a thread of ours opens.
        state.count_nft();
        if state.devices.keys().any(|(number, ..)| *number == part) {
            let held = &mut *state;
            // What is counted later says so then.
            let _ = self.ns.run(move || held.count_devices());
        }
        state.parts.iter().find(|p| p.number == part).map(|p| read(&p.tally))
    }

    /// Does it inside the namespace, with the state held.
    fn enter<T: Send>(&self, work: impl FnOnce(&mut State) -> Result<T, String> + Send) -> Result<T, String> {
        let mut state = self.lock();
        let state = &mut *state;
        self.ns.run(move || work(state)).map_err(|e| {
            format!("the namespace {} cannot be entered: {e}; it needs CAP_SYS_ADMIN", self.ns.id())
        })?
    }
}

/// A tally as it is now.
pub(crate) fn read(tally: &Tally) -> Counted {
    let of = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
    Counted {
        seen: of(&tally.seen),
        applied: of(&tally.applied),
        lost: of(&tally.lost),
        crowded: of(&tally.crowded),
        delayed: of(&tally.delayed),
        added: of(&tally.added) as f64 / 1e9,
        overdue: (of(&tally.overdue) as f64 / 1e9, of(&tally.sent)),
        failed: of(&tally.failed),
    }
}

impl State {
    /// Makes these faults the ones that are on. Where that fails, everything is as before.
    fn become_(&mut self, parts: Vec<Part>) -> Result<(), String> {
        let links = if parts.is_empty() && self.nft.is_none() { Vec::new() } else { links()? };
        let new = self.open_wires(&parts, &links)?;
        let before = std::mem::take(&mut self.parts);
        let gone = mask(&before) & !mask(&parts);
        // Those that are new are known to the wires before the first packet comes.
        self.tell(&parts, 0);
        let done = match parts.is_empty() {
            // The socket's end is the tables' end.
            true => self.end_table(),
            false => self.commit(&parts, &links),
        };
        if let Err(why) = done {
            self.tell(&before, 0);
            self.close_wires(&new);
            self.parts = before;
            return Err(why);
        }
        self.tell(&parts, gone);
        let needed = needed(&parts);
        let idle: Vec<Option<u32>> = self
            .egress
            .keys()
            .map(|link| Some(*link))
            .chain(self.ingress.is_some().then_some(None))
            .filter(|wire| !needed.contains(wire))
            .collect();
        self.close_wires(&idle);
        self.parts = parts;
        Ok(())
    }

    /// Opens what these faults need and is not there; gives what was opened.
    fn open_wires(&mut self, parts: &[Part], links: &[Link]) -> Result<Vec<Option<u32>>, String> {
        let mut new = Vec::new();
        for wire in needed(parts) {
            let opened = match wire {
                Some(index) if self.egress.contains_key(&index) => continue,
                None if self.ingress.is_some() => continue,
                Some(index) => match links.iter().find(|l| l.index == index) {
                    // The interface went while the fault was on.
                    None => continue,
                    Some(link) => Egress::open(link, AGAIN).map(|wire| {
                        self.egress.insert(index, wire);
                    }),
                },
                None => Ingress::open(AGAIN).map(|wire| self.ingress = Some(wire)),
            };
            match opened {
                Ok(()) => new.push(wire),
                Err(e) => {
                    self.close_wires(&new);
                    return Err(e.to_string());
                }
            }
        }
        Ok(new)
    }

    fn close_wires(&mut self, wires: &[Option<u32>]) {
        for wire in wires {
            match wire {
                Some(link) => drop(self.egress.remove(link)),
                None => drop(self.ingress.take()),
            }
        }
    }

    /// Tells each wire its faults.
    fn tell(&self, parts: &[Part], gone: u64) {
        for (link, wire) in &self.egress {
            wire.set(stages(parts, |l, way| l.index == *link && way == Way::Out), gone);
        }
        if let Some(wire) = &self.ingress {
            wire.set(stages(parts, |_, way| way != Way::Out), gone);
        }
    }

    fn commit(&mut self, parts: &[Part], links: &[Link]) -> Result<(), String> {
        let ends = Ends {
            taps: self.egress.iter().map(|(link, wire)| (*link, wire.index())).collect(),
            queue: match &self.ingress {
                Some(wire) => Some((probe().queue.clone()?, wire.number())),
                None => None,
            },
            ifbs: self.devices.iter().map(|(key, (device, ifb))| (*key, (*ifb, device.number))).collect(),
        };
        let nft = match &mut self.nft {
            Some(nft) => nft,
            none => none.insert(Nft::open().map_err(|e| format!("a netlink socket for nf_tables: {e}"))?),
        };
        let there: Vec<(u32, String)> = links.iter().map(|l| (l.index, l.name.clone())).collect();
        let (batch, next) = self.table.change(parts, &ends, &there);
        nft.commit(&batch).map_err(|e| {
            format!(
                "nf_tables refused the rules of table {}: {e}; `murphy doctor` shows what this kernel lacks",
                self.table.name
            )
        })?;
        self.table = next;
        Ok(())
    }

    fn end_table(&mut self) -> Result<(), String> {
        let Some(mut nft) = self.nft.take() else { return Ok(()) };
        let mut batch = Batch::new();
        for family in self.table.families() {
            batch.remove_table(family, &self.table.name);
        }
        // Removed rather than left to the socket's end, so that it is gone when this returns.
        if let Err(e) = nft.commit(&batch)
            && !e.is(2)
        {
            self.nft = Some(nft);
            return Err(format!("removing table {} failed: {e}", self.table.name));
        }
        for family in [Family::Inet, Family::Netdev] {
            if nft.has_table(family, &self.table.name).unwrap_or(false) {
                return Err(format!("table {} is still there", self.table.name));
            }
        }
        self.table = Table::new(&self.table.name);
        Ok(())
    }

    fn remove_devices(&mut self, parts: &[u64]) {
        let keys: Vec<_> =
            self.devices.keys().filter(|(number, ..)| parts.contains(number)).copied().collect();
        if !keys.is_empty() {
            self.count_devices();
        }
        for key in keys {
            if let Some((device, _)) = self.devices.remove(&key) {
                // Whether it is gone is looked at by whoever undoes the act.
                let _ = native::remove(&device);
            }
        }
    }

    /// Brings what the kernel has counted into the tallies.
    fn count(&mut self) {
        self.count_nft();
        self.count_devices();
    }

    fn count_nft(&mut self) {
        let Some(nft) = &mut self.nft else { return };
        if self.parts.iter().all(|p| matches!(p.what, What::Emulated(_))) {
            return;
        }
        let mut all = BTreeMap::<String, u64>::new();
        for family in self.table.families() {
            for (name, Count { packets, .. }) in nft.counts(family, &self.table.name).unwrap_or_default() {
                *all.entry(name).or_default() += packets;
            }
        }
        for part in &self.parts {
            let of = |name: String| all.get(&name).copied().unwrap_or(0);
            let (seen, hit) = (of(part.seen()), of(part.hit()));
            let tally = &part.tally;
            match part.what {
                What::Emulated(_) | What::Redirect(_) => continue,
                What::Loss(_) | What::Cut { .. } => {
                    tally.lost.fetch_max(hit, Ordering::Relaxed);
                    tally.applied.fetch_max(hit, Ordering::Relaxed);
                }
                What::Native(_) => {}
            }
            tally.seen.fetch_max(seen, Ordering::Relaxed);
        }
    }

    fn count_devices(&mut self) {
        if self.devices.is_empty() {
            return;
        }
        let Ok(qdiscs) = Route::open().and_then(|mut route| route.qdiscs()) else { return };
        for part in &self.parts {
            let What::Native(shape) = &part.what else { continue };
            let mut sum = QdiscStats::default();
            for ((number, ..), (_, ifb)) in &self.devices {
                let qdisc = qdiscs.iter().find(|q| q.link == *ifb && (q.kind == "netem" || q.kind == "tbf"));
                if let Some(qdisc) = qdisc.filter(|_| *number == part.number) {
                    sum.packets += qdisc.stats.packets;
                    sum.drops += qdisc.stats.drops;
                }
            }
            let tally = &part.tally;
            let holds = shape.holds();
            tally.lost.fetch_max(if holds { 0 } else { sum.drops }, Ordering::Relaxed);
            tally.crowded.fetch_max(if holds { sum.drops } else { 0 }, Ordering::Relaxed);
            tally.delayed.fetch_max(if holds { sum.packets } else { 0 }, Ordering::Relaxed);
            // What became of the others (doubled, bent) is not told by netem.
            let applied = if holds { sum.packets + sum.drops } else { sum.drops };
            tally.applied.fetch_max(applied, Ordering::Relaxed);
        }
    }
}

/// The interfaces of the namespace of this thread.
fn links() -> Result<Vec<Link>, String> {
    Route::open().and_then(|mut route| route.links()).map_err(|e| format!("listing interfaces: {e}"))
}

/// The wires that these faults need: an interface's, or the queue (none).
fn needed(parts: &[Part]) -> BTreeSet<Option<u32>> {
    let emulated = parts.iter().filter(|p| matches!(p.what, What::Emulated(_)));
    emulated.flat_map(|p| p.spots()).map(|(link, way)| (way == Way::Out).then_some(link.index)).collect()
}

/// The bits of emulated faults, as wires know them: by their order.
fn slot(part: &Part) -> u8 {
    (part.number % 64) as u8
}

fn mask(parts: &[Part]) -> u64 {
    parts.iter().filter(|p| matches!(p.what, What::Emulated(_))).map(|p| 1 << slot(p)).fold(0, |a, b| a | b)
}

/// The faults of a wire; each interface and way with a memory of its own.
fn stages(parts: &[Part], fits: impl Fn(&Link, Way) -> bool) -> Vec<Arc<Stage>> {
    let mut out = Vec::new();
    for part in parts {
        let What::Emulated(shape) = &part.what else { continue };
        for (n, (link, way)) in (0_u64..).zip(part.spots()) {
            if !fits(link, way) {
                continue;
            }
            out.push(Arc::new(Stage {
                key: part.number << 16 | n,
                slot: slot(part),
                on: vec![(link.index, way)],
                matcher: part.matcher.clone(),
                shape: shape.clone(),
                seed: model::draw::derive(part.seed, &format!("{} {way:?}", link.name)),
                armed: part.armed,
                tally: part.tally.clone(),
            }));
        }
    }
    out
}

/// Whether packets of an interface can be held by this program, and sent on: they must look like Ethernet.
pub(crate) fn can_hold(link: &Link) -> bool {
    !matches!(link.frames, LinkKind::Other(_))
}
