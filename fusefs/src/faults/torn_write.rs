//! `torn_write`: only the first sectors of a write reach the file.

use super::{Bend, Effect, FileFault};
use crate::op::{Op, Ops};
use crate::rule::Hit;
use inject::knob::Dials;
use model::Problem;
use rustix::io::Errno;

pub(super) struct TornWrite {
    sector: u64,
    keep: f64,
    told: Option<Errno>,
}

impl TornWrite {
    pub(super) fn read(dials: &Dials<'_>) -> Result<TornWrite, Problem> {
        let sector = dials.fixed().size("sector").map_or(512, |s| s.0);
        if sector == 0 {
            return Err(Problem::new("a sector of 0B cannot tear").hint("write for example sector=512B"));
        }
        let keep = dials.fixed().percent("keep").map_or(0.5, |p| p.fraction());
        let told = (dials.fixed().text("report") == Some("EIO")).then_some(Errno::IO);
        Ok(TornWrite { sector, keep, told })
    }
}

impl FileFault for TornWrite {
    fn ops(&self) -> Ops {
        Ops::of(&[Op::Write])
    }

    fn hit(&self, _hit: &Hit<'_>) -> Effect {
        Effect::Bend(Bend::Tear { keep: self.keep, sector: self.sector, told: self.told })
    }
}
