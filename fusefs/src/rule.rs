//! A fault that is on: its settings, its ordinals, and what it has done; and all of them as the handlers read them.

use crate::call::Call;
use crate::faults::{self, Effect, FileFault, State};
use crate::inode::Inode;
use crate::op::{Op, Ops};
use crate::timers::Holds;
use arc_swap::ArcSwap;
use inject::Order;
use inject::knob::{Dials, Knob};
use model::{Evidence, Fault, FaultDef, Matcher, Problem, Share, catalogue, draw};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::time::{Duration, Instant};

/// One armed fault.
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) def: &'static FaultDef,
    pub(crate) seed: u64,
    /// Where it acts among others: the catalogue's order, then the order of arming.
    pub(crate) order: (usize, u64),
    pub(crate) armed_at: Instant,
    pub(crate) meters: Meters,
    /// What it keeps while it is on: a budget, a bucket, listings.
    pub(crate) state: State,
    settings: ArcSwap<Settings>,
    ordinals: AtomicU64,
    off: AtomicBool,
}

/// What can be changed while it is on.
pub(crate) struct Settings {
    share: Share,
    share_ramp: Option<Knob>,
    when: Option<Matcher>,
    pub(crate) fault: Box<dyn FileFault>,
}

impl Settings {
    /// Reads and checks everything about a fault.
    pub(crate) fn read(fault: &Fault) -> Result<Settings, Problem> {
        let dials = Dials::new(fault);
        let act = faults::read(fault.inject.name(), &dials)?;
        let share_ramp = dials.percent()?;
        dials.finish()?;
        Ok(Settings { share: fault.share, share_ramp, when: fault.when.clone(), fault: act })
    }
}

impl Rule {
    /// A fault that is on from now; `sequence` counts the faults of its mount.
    pub(crate) fn new(order: &Order, sequence: u64) -> Result<Rule, Problem> {
        let def = order.fault.inject.def();
        let rank = catalogue::all().position(|d| d.name == def.name).unwrap_or(usize::MAX);
        Ok(Rule {
            id: order.id.clone(),
            def,
            seed: order.seed,
            order: (rank, sequence),
            armed_at: Instant::now(),
            meters: Meters::default(),
            state: State::default(),
            settings: ArcSwap::from_pointee(Settings::read(&order.fault)?),
            ordinals: AtomicU64::new(0),
            off: AtomicBool::new(false),
        })
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    pub(crate) fn adjust(&self, fault: &Fault) -> Result<(), Problem> {
        self.settings.store(Arc::new(Settings::read(fault)?));
        Ok(())
    }

    pub(crate) fn switch_off(&self) {
        self.off.store(true, Release);
    }

    pub(crate) fn is_off(&self) -> bool {
        self.off.load(Acquire)
    }

    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.armed_at)
    }

    /// The operations it concerns.
    fn ops(&self) -> Ops {
        self.settings.load().fault.ops()
    }

    /// Whether it could concern that file or directory, by its path alone.
    fn reaches(&self, inode: &Inode, path: &mut Option<String>) -> bool {
        match &self.settings.load().when {
            None => true,
            Some(when) => may_match(when, path.get_or_insert_with(|| inode.path(None))),
        }
    }

    /// Whether the kernel's caches have to do with it: with what it shows while it is on, or with what it leaves.
    pub(crate) fn touches_caches(&self) -> bool {
        let changes_data = ["write_corruption", "torn_write"].contains(&self.def.name);
        changes_data || self.ops().meets(DATA | META)
    }

    /// Whether it could concern that file or directory.
    pub(crate) fn could_reach(&self, inode: &Inode) -> bool {
        self.reaches(inode, &mut None)
    }

    /// What it does with a call; none when it does not concern it or its share spares it.
    fn consider(&self, call: &Call<'_>, now: Instant) -> Option<(u64, Effect)> {
        let settings = self.settings.load();
        if !settings.fault.ops().has(call.op) || settings.when.as_ref().is_some_and(|m| !m.matches(call)) {
            return None;
        }
        if !settings.fault.counts(call) {
            return Some((0, settings.fault.hit(&Hit { rule: self, call, n: 0, now })));
        }
        self.meters.considered.fetch_add(1, Relaxed);
        let n = self.ordinals.fetch_add(1, Relaxed);
        let takes = match (settings.share, settings.share_ramp) {
            (Share::All | Share::Percent(_), Some(ramp)) => {
                draw::unit(self.seed, draw::Lane::Share, n) < ramp.at(self.elapsed(now))
            }
            (share, _) => share.takes(self.seed, n),
        };
        takes.then(|| (n, settings.fault.hit(&Hit { rule: self, call, n, now })))
    }

    pub(crate) fn evidence(&self) -> Evidence {
        let measured = self.settings.load().fault.measured(self);
        Evidence {
            considered: self.meters.considered.load(Relaxed),
            applied: self.meters.applied.load(Relaxed),
            measured: measured.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        }
    }
}

/// A call that a fault hits.
pub(crate) struct Hit<'a> {
    pub(crate) rule: &'a Rule,
    pub(crate) call: &'a Call<'a>,
    /// Its ordinal among those that matched.
    pub(crate) n: u64,
    pub(crate) now: Instant,
}

/// What a fault counts.
#[derive(Default)]
pub(crate) struct Meters {
    pub(crate) considered: AtomicU64,
    pub(crate) applied: AtomicU64,
    /// Nanoseconds by which operations were late.
    pub(crate) late: AtomicU64,
    /// How many were late.
    pub(crate) delayed: AtomicU64,
    /// Bytes that something was done to.
    pub(crate) bytes: AtomicU64,
    /// How many single things were hit.
    pub(crate) hits: AtomicU64,
}

impl Meters {
    /// It did something.
    pub(crate) fn apply(&self) {
        self.applied.fetch_add(1, Relaxed);
    }

    /// It did something to so many bytes.
    pub(crate) fn add_bytes(&self, n: u64) {
        self.bytes.fetch_add(n, Relaxed);
    }

    /// Something was late by so much.
    pub(crate) fn late(&self, by: Duration) {
        self.late.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        self.delayed.fetch_add(1, Relaxed);
    }

    /// The mean lateness under its usual name.
    pub(crate) fn lateness(&self) -> BTreeMap<&'static str, f64> {
        let n = self.delayed.load(Relaxed);
        let mean = self.late.load(Relaxed) as f64 / 1e6 / n.max(1) as f64;
        if n == 0 { BTreeMap::new() } else { BTreeMap::from([("added_ms_mean", mean)]) }
    }
}

/// All faults of a mount that are on, in the order in which they act.
#[derive(Default)]
pub(crate) struct Snapshot {
    pub(crate) rules: Vec<Arc<Rule>>,
    ops: Ops,
}

/// What faults do with a call, all together.
#[derive(Default)]
pub(crate) struct Verdict {
    /// The first that refuses it.
    pub(crate) fail: Option<(Errno, Arc<Rule>)>,
    /// Those that make it wait.
    pub(crate) holds: Holds,
    /// Those that change what it does.
    pub(crate) bends: Vec<(Arc<Rule>, u64, faults::Bend)>,
}

/// Reads that must come to us, for otherwise the page cache would answer them.
const DATA: Ops = Ops::of(&[Op::Read]);
/// The same for attributes and names.
const META: Ops = Ops::of(&[Op::Lookup, Op::Getattr]);

impl Snapshot {
    pub(crate) fn new(mut rules: Vec<Arc<Rule>>) -> Snapshot {
        rules.sort_by_key(|r| r.order);
        let ops = rules.iter().fold(Ops::NONE, |ops, rule| ops | rule.ops());
        Snapshot { rules, ops }
    }

    /// Whether any fault is on that concerns the operation.
    #[inline]
    pub(crate) fn concerns(&self, op: Op) -> bool {
        self.ops.has(op)
    }

    /// Whether what is read must not come from the kernel's caches.
    pub(crate) fn watches_data(&self) -> bool {
        self.ops.meets(DATA)
    }

    /// Which of an inode's data and attributes must not be cached.
    pub(crate) fn watched(&self, inode: &Inode) -> (bool, bool) {
        if !self.ops.meets(DATA | META) {
            return (false, false);
        }
        let (mut data, mut meta, mut path) = (false, false, None);
        for rule in &self.rules {
            let ops = rule.ops();
            if ops.meets(DATA | META) && rule.reaches(inode, &mut path) {
                data |= ops.meets(DATA);
                meta |= ops.meets(META);
            }
        }
        (data, meta)
    }

    /// What all faults do with a call.
    pub(crate) fn judge(&self, call: &Call<'_>) -> Option<Box<Verdict>> {
        let now = Instant::now();
        let mut verdict: Option<Box<Verdict>> = None;
        for rule in &self.rules {
            let Some((n, effect)) = rule.consider(call, now) else { continue };
            let verdict = verdict.get_or_insert_default();
            match effect {
                Effect::Nothing => {}
                Effect::Fail(errno) => {
                    if verdict.fail.is_none() {
                        verdict.fail = Some((errno, rule.clone()));
                    }
                }
                Effect::Wait(delay) => verdict.holds.push((rule.clone(), Some(delay))),
                Effect::Hang => verdict.holds.push((rule.clone(), None)),
                Effect::Bend(bend) => verdict.bends.push((rule.clone(), n, bend)),
            }
        }
        verdict
    }
}

/// Whether a matcher could hold for something with that path, whatever else is true of it.
fn may_match(matcher: &Matcher, path: &str) -> bool {
    struct Path<'a>(&'a str);
    impl model::matcher::Facts for Path<'_> {
        fn path(&self) -> Option<&str> {
            Some(self.0)
        }
    }
    fn asks_for_path_alone(m: &Matcher) -> bool {
        match m {
            Matcher::Path(_) | Matcher::PathRegex(_) => true,
            Matcher::All(list) | Matcher::Any(list) => list.iter().all(asks_for_path_alone),
            Matcher::Not(inner) => asks_for_path_alone(inner),
            _ => false,
        }
    }
    match matcher {
        m if asks_for_path_alone(m) => m.matches(&Path(path)),
        Matcher::All(list) => list.iter().all(|m| may_match(m, path)),
        Matcher::Any(list) => list.iter().any(|m| may_match(m, path)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_match_is_left_in_the_caches() {
        let may = |json: &str, path: &str| {
            may_match(&Matcher::from_json(&serde_json::from_str(json).unwrap()).unwrap(), path)
        };
        assert!(may(r#"{"path": "/wal/*", "uid": "7"}"#, "/wal/1"));
        assert!(!may(r#"{"path": "/wal/*", "uid": "7"}"#, "/base/1"));
        assert!(may(r#"{"any": [{"path": "/wal/*"}, {"uid": "7"}]}"#, "/base/1"));
        assert!(!may(r#"{"not": {"path": "/base/*"}}"#, "/base/1"));
        assert!(may(r#"{"not": {"uid": "7"}}"#, "/base/1"));
    }
}
