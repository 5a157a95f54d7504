//! A fault that is on: its settings, its ordinals, and what it has done.

use crate::chain::{Dir, How, Stage};
use crate::compare::Compared;
use crate::conn::Take;
use crate::faults::{self, Act, Asked, Entry, Handshake, SharedLine};
use crate::knob::{Dials, Knob, moment};
use crate::listen::Door;
use arc_swap::ArcSwap;
use inject::Order;
use model::matcher::Facts;
use model::{Evidence, Fault, FaultDef, Matcher, Per, Problem, Share, catalogue, draw};
use pingora_limits::estimator::Estimator;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// One armed fault. Shared by everything that it took; its settings can be swapped while it is on.
pub(crate) struct Armed {
    /// Its id.
    pub(crate) id: String,
    /// The catalogue's row.
    pub(crate) def: &'static FaultDef,
    /// The seed of all its decisions.
    pub(crate) seed: u64,
    /// Where it acts among others: the catalogue's order, then the order of arming.
    pub(crate) order: (usize, u64),
    /// When it was armed; ramps count from here.
    pub(crate) armed_at: Instant,
    /// What it did.
    pub(crate) meters: Meters,
    /// Requests that it hit against those that it spared.
    pub(crate) compared: Compared,
    /// What all its connections share of a bandwidth, up and down.
    pub(crate) lines: [SharedLine; 2],
    settings: ArcSwap<Settings>,
    /// What the settings say of it, where every request can look for less than what loading them costs.
    asks_for_response: AtomicBool,
    ordinals: AtomicU64,
    /// How often each client (or whatever the share counts by) has come, in bounded memory; made when first asked.
    visits: OnceLock<Estimator>,
    off: AtomicBool,
    changed: Notify,
}

/// Rows and columns of the count-min sketch that counts visits: 1 MiB. A visitor is counted with another's visits when
/// it shares a column with someone in every row: one in a million of 1,000 visitors, one in 200 of 10,000.
const HASHES: usize = 4;
const SLOTS: usize = 32_768;

/// The numbers of something that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Its place among all that matched: what its amounts are drawn from.
    pub(crate) ordinal: u64,
    /// What its share is decided by: the same, or the place among its client's, or its client itself.
    pub(crate) share: u64,
}

/// What can be changed while a fault is on.
pub(crate) struct Settings {
    /// Grows with each change.
    pub(crate) version: u64,
    share: Share,
    share_ramp: Option<Knob>,
    per: Option<Per>,
    when: Option<Matcher>,
    /// What it does, with its parameters.
    pub(crate) act: Act,
}

impl Settings {
    /// Reads and checks everything about a fault that the proxy must understand.
    pub(crate) fn read(fault: &Fault, version: u64) -> Result<Settings, Problem> {
        let dials = Dials::new(fault);
        let act = faults::read(fault.inject.name(), &dials)?;
        let share_ramp = dials.percent()?;
        dials.finish()?;
        if let (Some(word), Act::Request(request)) =
            (fault.when.as_ref().and_then(Matcher::needs_response), &act)
            && !request.can_ask_for_responses()
        {
            let name = fault.inject.name();
            return Err(Problem::new(format!(
                "{name} acts before there is a response and cannot match on {word}"
            ))
            .hint("add point=response where the fault has it, or match on the request"));
        }
        Ok(Settings {
            version,
            share: fault.share,
            share_ramp,
            per: fault.per.clone(),
            when: fault.when.clone(),
            act,
        })
    }

    /// The stage for one direction of a connection that the fault has; none when that direction is spared.
    pub(crate) fn stage(&self, take: &Arc<Take>, dir: Dir, now: Instant) -> Option<Box<dyn Stage>> {
        match &self.act {
            Act::Stream(fault) => fault.stage(take, dir, now),
            _ => None,
        }
    }

    fn matches(&self, facts: &dyn Facts) -> bool {
        self.when.as_ref().is_none_or(|m| m.matches(facts))
    }

    /// Whether the matcher asks for what only the response tells.
    fn asks_for_response(&self) -> bool {
        self.when.as_ref().and_then(Matcher::needs_response).is_some()
    }
}

impl Armed {
    /// A fault that is on from now; `sequence` counts the faults of its target.
    pub(crate) fn new(order: &Order, sequence: u64) -> Result<Armed, Problem> {
        let def = order.fault.inject.def();
        let rank = catalogue::all().position(|d| d.name == def.name).unwrap_or(usize::MAX);
        let settings = Settings::read(&order.fault, 0)?;
        Ok(Armed {
            id: order.id.clone(),
            def,
            seed: order.seed,
            order: (rank, sequence),
            armed_at: Instant::now(),
            meters: Meters::default(),
            compared: Compared::default(),
            lines: Default::default(),
            asks_for_response: AtomicBool::new(settings.asks_for_response()),
            settings: ArcSwap::from_pointee(settings),
            ordinals: AtomicU64::new(0),
            visits: OnceLock::new(),
            off: AtomicBool::new(false),
            changed: Notify::new(),
        })
    }

    /// The settings as they are now.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Changes the settings; whoever waits for the fault looks again.
    pub(crate) fn adjust(&self, fault: &Fault) -> Result<(), Problem> {
        let version = self.settings.load().version + 1;
        let settings = Settings::read(fault, version)?;
        self.asks_for_response.store(settings.asks_for_response(), Release);
        self.settings.store(Arc::new(settings));
        self.changed.notify_waiters();
        Ok(())
    }

    /// It is over: whoever waits for the fault goes on.
    pub(crate) fn switch_off(&self) {
        self.off.store(true, Release);
        self.changed.notify_waiters();
    }

    /// Whether it is over.
    pub(crate) fn is_off(&self) -> bool {
        self.off.load(Acquire)
    }

    /// Waits until the settings change or the fault is over. To miss nothing, make it before looking at them.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// How long it has been on.
    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.armed_at)
    }

    /// The turn of something that matches; counts it as considered.
    pub(crate) fn consider(&self, facts: &dyn Facts) -> Option<Turn> {
        let settings = self.settings.load();
        if !settings.matches(facts) || !settings.act.is_for(facts) {
            return None;
        }
        let key = match &settings.per {
            Some(per) => Some(per.key(facts)?),
            None => None,
        };
        self.meters.considered.fetch_add(1, Relaxed);
        let ordinal = self.ordinals.fetch_add(1, Relaxed);
        let share = match (key, settings.share) {
            (None, _) => ordinal,
            // Drawn from whom it is, so that one has the fault always or never.
            (Some(key), Share::All | Share::Percent(_)) => key,
            (Some(key), Share::Nth(_) | Share::First(_)) => {
                let visits = self.visits.get_or_init(|| Estimator::new(HASHES, SLOTS));
                // Never negative: it only counts up.
                visits.incr(key, 1).max(1) as u64 - 1
            }
        };
        Some(Turn { ordinal, share })
    }

    /// What a request says that the fault needs later on.
    pub(crate) fn note(&self, facts: &dyn Facts, ordinal: u64) -> Option<Asked> {
        match &self.settings.load().act {
            Act::Request(fault) => fault.note(facts, self.seed, ordinal),
            Act::Stream(_) | Act::Handshake(_) => None,
        }
    }

    /// Whether its matcher holds.
    pub(crate) fn matches(&self, facts: &dyn Facts) -> bool {
        self.settings.load().matches(facts)
    }

    /// Whether only connections concern it that come while it is on.
    pub(crate) fn is_for_new_connections(&self) -> bool {
        match &self.settings.load().act {
            Act::Stream(fault) => fault.is_for_new_connections(),
            Act::Request(_) => false,
            Act::Handshake(_) => true,
        }
    }

    /// Whether it hits every new connection, so that the door itself can be shut.
    pub(crate) fn door(&self) -> Option<Door> {
        let settings = self.settings.load();
        let everyone =
            settings.share == Share::All && settings.share_ramp.is_none() && settings.when.is_none();
        match &settings.act {
            Act::Stream(fault) if everyone => fault.door(),
            _ => None,
        }
    }

    /// What it makes of a handshake that it has; none when it is not about handshakes.
    pub(crate) fn handshake(&self) -> Option<Handshake> {
        match &self.settings.load().act {
            Act::Handshake(fault) => Some(*fault),
            _ => None,
        }
    }

    /// Whether it can be asked about a connection that has said nothing yet.
    pub(crate) fn knows_arrivals(&self) -> bool {
        matches!(&self.settings.load().act, Act::Stream(_))
    }

    /// What it says to a new connection that it has.
    pub(crate) fn entry(&self, take: &Take, now: Instant) -> Entry {
        match &self.settings.load().act {
            Act::Stream(fault) => fault.entry(take, now),
            _ => Entry::Pass,
        }
    }

    /// How connections end that it did something to, once it is over.
    pub(crate) fn afterwards(&self) -> Option<How> {
        match &self.settings.load().act {
            Act::Stream(fault) => fault.afterwards(),
            _ => None,
        }
    }

    /// Whether it can take requests that were already with the service when it was armed.
    pub(crate) fn takes_late_requests(&self) -> bool {
        matches!(&self.settings.load().act, Act::Request(fault) if fault.acts_on_responses())
    }

    /// Whether it can take requests whose bodies were already passing when it was armed.
    pub(crate) fn acts_on_bodies(&self) -> bool {
        matches!(&self.settings.load().act, Act::Request(fault) if fault.acts_on_bodies())
    }

    /// Whether its matcher asks for what only the response tells, so that it decides when there is one.
    pub(crate) fn asks_for_response(&self) -> bool {
        self.asks_for_response.load(Acquire)
    }

    /// Whether the one with that number for the share has the fault now, and when that changes by itself.
    pub(crate) fn takes(&self, n: u64, now: Instant) -> (bool, Option<Instant>) {
        let settings = self.settings.load();
        match (settings.share, settings.share_ramp) {
            (Share::All | Share::Percent(_), Some(ramp)) => {
                let elapsed = self.elapsed(now);
                let draw = draw::unit(self.seed, draw::Lane::Share, n);
                let turn = ramp.crosses(draw, elapsed).and_then(|at| moment(self.armed_at, at));
                (draw < ramp.at(elapsed), turn)
            }
            (share, _) => (share.takes(self.seed, n), None),
        }
    }

    /// What was drawn for that number of the share; none when the share is not drawn.
    pub(crate) fn drawn(&self, share: u64) -> Option<f64> {
        let settings = self.settings.load();
        let draws = matches!(settings.share, Share::Percent(_)) || settings.share_ramp.is_some();
        draws.then(|| draw::unit(self.seed, draw::Lane::Share, share))
    }

    /// What it has done so far.
    pub(crate) fn evidence(&self) -> Evidence {
        let measured = match &self.settings.load().act {
            Act::Stream(fault) => fault.measured(&self.meters),
            Act::Request(fault) => fault.measured(&self.meters),
            Act::Handshake(fault) => fault.measured(&self.meters),
        };
        let own = measured.into_iter().map(|(name, value)| (name.to_owned(), value));
        Evidence {
            considered: self.meters.considered.load(Relaxed),
            applied: self.meters.applied.load(Relaxed),
            measured: own.chain(self.compared.measured()).collect(),
        }
    }
}

/// What a fault counts. Which of the sums it uses, and what they are called, is its own business.
#[derive(Default)]
pub(crate) struct Meters {
    /// Connections or requests that matched.
    pub(crate) considered: AtomicU64,
    /// Of those, the ones it did something to.
    pub(crate) applied: AtomicU64,
    /// Nanoseconds by which things were late, summed.
    pub(crate) late: AtomicU64,
    /// How many things were late.
    pub(crate) delayed: AtomicU64,
    /// Bytes that it did something to.
    pub(crate) bytes: AtomicU64,
    /// How many single things were hit: bits, datagrams, pieces.
    pub(crate) hits: AtomicU64,
    /// Listeners that were shut.
    pub(crate) doors: AtomicU64,
}

impl Meters {
    /// Counts one thing that was late by so much.
    pub(crate) fn add_late(&self, by: Duration) {
        self.late.fetch_add(by.as_nanos() as u64, Relaxed);
        self.delayed.fetch_add(1, Relaxed);
    }

    /// The mean lateness in milliseconds under its usual name; nothing when nothing was late.
    pub(crate) fn lateness(&self) -> BTreeMap<&'static str, f64> {
        let n = self.delayed.load(Relaxed);
        let mean = self.late.load(Relaxed) as f64 / 1e6 / n.max(1) as f64;
        if n == 0 { BTreeMap::new() } else { BTreeMap::from([("added_ms_mean", mean)]) }
    }
}
