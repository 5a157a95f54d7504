//! `power_cut`: what was not synced is gone, and nothing works until the fault ends.

use super::{Effect, FileFault, Need};
use crate::op::Ops;
use crate::rule::{Hit, Rule};
use inject::knob::Dials;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

/// What becomes of writes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cut {
    /// All are lost.
    All,
    /// Each survives with this probability.
    Some(f64),
    /// Each survives with this probability, torn at a sector.
    Torn(f64),
}

pub(super) struct PowerCut {
    cut: Cut,
}

impl PowerCut {
    pub(super) fn read(dials: &Dials<'_>) -> PowerCut {
        let survive = dials.fixed().percent("survive").map_or(0.5, |p| p.fraction());
        let cut = match dials.fixed().text("lose") {
            Some("some") => Cut::Some(survive),
            Some("torn") => Cut::Torn(survive),
            _ => Cut::All,
        };
        PowerCut { cut }
    }
}

impl FileFault for PowerCut {
    fn ops(&self) -> Ops {
        Ops::all()
    }

    fn hit(&self, _hit: &Hit<'_>) -> Effect {
        Effect::Fail(Errno::IO)
    }

    fn at_once(&self) -> Option<Cut> {
        Some(self.cut)
    }

    fn needs_tracking(&self) -> Need {
        Need::Must
    }

    fn measured(&self, rule: &Rule) -> BTreeMap<&'static str, f64> {
        BTreeMap::from([
            ("writes_lost", rule.meters.hits.load(Relaxed) as f64),
            ("bytes_lost", rule.meters.bytes.load(Relaxed) as f64),
        ])
    }
}
