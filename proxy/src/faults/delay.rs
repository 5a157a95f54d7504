//! `delay`: holds requests before the service gets them, responses before the client does, or each piece of their bodies.

use super::{Act, Draw, Known, Point, RequestFault, Spread};
use crate::armed::Meters;
use crate::chain::Dir;
use crate::http::hit::Hit;
use crate::http::message::Piece;
use crate::http::stage::{BodyStage, HeldPieces, Pull};
use crate::knob::{Dials, moment};
use model::{Problem, draw};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Delay {
    spread: Spread,
    /// None for the pieces of bodies.
    point: Option<Point>,
}

pub(super) fn read(dials: &Dials<'_>) -> Result<Act, Problem> {
    let point = match dials.fixed().text("point") {
        Some("response") => Some(Point::Response),
        Some("chunks") => None,
        _ => Some(Point::Request),
    };
    Ok(Act::Request(Box::new(Delay { spread: Spread::read(dials)?, point })))
}

impl RequestFault for Delay {
    fn hold(&self, point: Point, draw: &Draw<'_>) -> Option<Duration> {
        (self.point == Some(point)).then(|| self.spread.draw(draw.seed, draw.ordinal, draw.elapsed))
    }

    fn stage(&self, hit: &Arc<Hit>, dir: Dir, _known: &Known<'_>) -> Option<Box<dyn BodyStage>> {
        if self.point.is_some() || dir != Dir::Down {
            return None;
        }
        let seed = draw::bits(hit.fault.seed, draw::Lane::Other(12), hit.ordinal);
        let (spread, hit, held) = (self.spread.clone(), hit.clone(), HeldPieces::default());
        Some(Box::new(Between { spread, hit, held, seed, passed: 0, last: None }))
    }

    fn acts_on_responses(&self) -> bool {
        self.point == Some(Point::Response)
    }

    fn acts_on_bodies(&self) -> bool {
        self.point.is_none()
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        meters.lateness()
    }
}

/// Each piece leaves a delay after the one before it, or after it came.
struct Between {
    spread: Spread,
    hit: Arc<Hit>,
    held: HeldPieces,
    seed: u64,
    passed: u64,
    last: Option<Instant>,
}

impl BodyStage for Between {
    fn push(&mut self, piece: Piece, at: Instant) {
        self.held.push(piece, at);
    }

    fn pull(&mut self, now: Instant) -> Pull {
        let Some((piece, came)) = self.held.front() else { return Pull::Wait(None) };
        let came = *came;
        if matches!(piece, Piece::Data(_)) {
            let span = self.spread.draw(self.seed, self.passed, self.hit.fault.elapsed(now));
            let from = self.last.map_or(came, |last| last.max(came));
            self.hit.apply();
            let Some(due) = moment(from, span).filter(|due| *due <= now) else {
                return Pull::Wait(moment(from, span));
            };
            self.passed += 1;
            self.last = Some(due);
            self.hit.fault.meters.add_late(now.saturating_duration_since(came));
        }
        self.held.pop().map_or(Pull::Wait(None), |(piece, _)| Pull::Piece(piece))
    }

    fn room(&self) -> bool {
        self.held.room()
    }

    fn release(&mut self) -> Vec<(Piece, Instant)> {
        self.held.take()
    }
}

#[cfg(test)]
mod tests {
    use super::super::through::bench::{Exchange, data, drain};
    use super::*;

    #[test]
    fn pieces_leave_one_delay_after_another() {
        let x = Exchange::new("delay delay=10ms point=chunks");
        let mut stage = x.stage(Dir::Down);
        [data("a"), data("b"), Piece::End].into_iter().for_each(|p| stage.push(p, x.start));
        for (ms, want) in [(9, ""), (10, "a"), (19, ""), (20, "b.")] {
            assert_eq!(drain(&mut *stage, x.at(ms)), want, "{ms}");
        }
        assert!((x.fault.evidence().measured["added_ms_mean"] - 15.0).abs() < 0.01);
    }
}
