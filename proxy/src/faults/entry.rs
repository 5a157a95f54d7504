//! `refuse`, `hang_connect` and `connect_delay`: what happens to a connection before the service is dialled.

use super::{Act, Entry, Spread, StreamFault};
use crate::armed::Meters;
use crate::chain::{Dir, Stage};
use crate::conn::Take;
use crate::knob::{Dials, moment};
use crate::listen::Door;
use model::{Problem, draw};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

enum Gate {
    Refuse,
    Hang,
    Delay(Spread),
}

pub(super) fn read_refuse(_dials: &Dials<'_>) -> Result<Act, Problem> {
    Ok(Act::Stream(Box::new(Gate::Refuse)))
}

pub(super) fn read_hang(_dials: &Dials<'_>) -> Result<Act, Problem> {
    Ok(Act::Stream(Box::new(Gate::Hang)))
}

pub(super) fn read_delay(dials: &Dials<'_>) -> Result<Act, Problem> {
    Ok(Act::Stream(Box::new(Gate::Delay(Spread::read(dials)?))))
}

impl StreamFault for Gate {
    fn stage(&self, _take: &Arc<Take>, _dir: Dir, _now: Instant) -> Option<Box<dyn Stage>> {
        None
    }

    fn entry(&self, take: &Take, now: Instant) -> Entry {
        match self {
            Gate::Refuse => Entry::Refused,
            Gate::Hang => Entry::At(None),
            Gate::Delay(spread) => {
                let since = take.since(now);
                let n = take.ordinal;
                // The draw is of the moment at which the connection came, so that it does not move while it waits.
                let delay = spread
                    .quantile(draw::unit(take.fault.seed, draw::Lane::Amount, n), take.fault.elapsed(since));
                match moment(since, delay) {
                    Some(at) if at <= now => {
                        take.apply();
                        if take.chunks[0].swap(1, Relaxed) == 0 {
                            take.fault.meters.add_late(now.saturating_duration_since(since));
                        }
                        Entry::Pass
                    }
                    at => Entry::At(at),
                }
            }
        }
    }

    fn door(&self) -> Option<Door> {
        match self {
            Gate::Refuse => Some(Door::Refusing),
            Gate::Hang => Some(Door::Hanging),
            Gate::Delay(_) => None,
        }
    }

    fn is_for_new_connections(&self) -> bool {
        true
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        // Who knocks at a shut door is not known to us, so the door itself is what it was applied to.
        let doors = meters.doors.load(Relaxed);
        let hit = meters.applied.load(Relaxed).saturating_sub(doors) as f64;
        match self {
            Gate::Refuse => BTreeMap::from([("connections_refused", hit), ("listeners_shut", doors as f64)]),
            Gate::Hang => BTreeMap::from([("connections_hung", hit), ("listeners_shut", doors as f64)]),
            Gate::Delay(_) => meters.lateness(),
        }
    }
}
