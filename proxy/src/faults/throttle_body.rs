//! `throttle_body`: each body passes at a rate.

use super::{Act, Known, RequestFault, Ways};
use crate::armed::Meters;
use crate::chain::Dir;
use crate::http::hit::Hit;
use crate::http::message::Piece;
use crate::http::stage::{BodyStage, HeldPieces, Pull};
use crate::knob::{Dials, Knob};
use model::Problem;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// As much of the rate's time as one piece takes, unless that is more than [`LARGEST`] bytes.
const PIECE: f64 = 0.010;
const LARGEST: f64 = 65_536.0;
/// By how much a body may catch up on wake-ups that came late.
const CATCH_UP: Duration = Duration::from_millis(100);
/// How often a rate of zero is looked at again, for it may be ramped.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

struct Throttle {
    rate: Knob,
    ways: Ways,
}

pub(super) fn read(dials: &Dials<'_>) -> Result<Act, Problem> {
    let rate = dials.knob("rate")?.unwrap_or(Knob::fixed(0.0));
    Ok(Act::Request(Box::new(Throttle { rate, ways: Ways::read(dials) })))
}

impl RequestFault for Throttle {
    fn stage(&self, hit: &Arc<Hit>, dir: Dir, _known: &Known<'_>) -> Option<Box<dyn BodyStage>> {
        self.ways.has(dir).then(|| Metered::stage(self.rate, hit.clone()))
    }

    fn acts_on_bodies(&self) -> bool {
        true
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        BTreeMap::from([("bytes_metered", meters.bytes.load(Relaxed) as f64)])
    }
}

/// A body on a line of a rate of its own.
pub(super) struct Metered {
    rate: Knob,
    hit: Arc<Hit>,
    held: HeldPieces,
    /// When the line has carried what it was given; none before the first byte.
    free: Option<Instant>,
}

impl Metered {
    pub(super) fn stage(rate: Knob, hit: Arc<Hit>) -> Box<dyn BodyStage> {
        Box::new(Metered { rate, hit, held: HeldPieces::default(), free: None })
    }
}

impl BodyStage for Metered {
    fn push(&mut self, piece: Piece, at: Instant) {
        self.held.push(piece, at);
    }

    fn pull(&mut self, now: Instant) -> Pull {
        let Some((first, came)) = self.held.front() else { return Pull::Wait(None) };
        // The end leaves when the last byte has got there.
        let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
        let free = self.free.map_or(*came, |free| free.max(earliest));
        if free > now {
            return Pull::Wait(Some(free));
        }
        if !matches!(first, Piece::Data(_)) {
            return self.held.pop().map_or(Pull::Wait(None), |(piece, _)| Pull::Piece(piece));
        }
        let rate = self.rate.at(self.hit.fault.elapsed(now));
        if rate <= 0.0 {
            self.hit.apply();
            return Pull::Wait(Some(now + LOOK_AGAIN));
        }
        let most = (rate * PIECE).clamp(1.0, LARGEST) as usize;
        let Some((piece, _)) = self.held.pop_bytes(most) else { return Pull::Wait(None) };
        self.hit.apply();
        self.hit.fault.meters.bytes.fetch_add(piece.len() as u64, Relaxed);
        let takes = Duration::try_from_secs_f64(piece.len() as f64 / rate).unwrap_or(Duration::MAX);
        self.free = free.checked_add(takes);
        Pull::Piece(piece)
    }

    fn room(&self) -> bool {
        // What is held is what the sender is ahead: enough for half a second and no more.
        self.held.bytes() < 64 * 1024 && self.held.room()
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
    fn bytes_come_at_the_rate() {
        let x = Exchange::new("throttle_body rate=1kB/s");
        let mut stage = x.stage(Dir::Down);
        stage.push(data(&"x".repeat(100)), x.start);
        stage.push(Piece::End, x.start);
        let mut got = 0;
        for ms in 0..100 {
            got += drain(&mut *stage, x.at(ms)).len();
            assert!(got as u64 <= ms + 10, "{got} at {ms} ms");
        }
        assert_eq!(got, 100);
        assert_eq!(drain(&mut *stage, x.at(99)), "");
        assert_eq!(drain(&mut *stage, x.at(100)), ".");
        assert_eq!(x.fault.evidence().measured["bytes_metered"], 100.0);
    }

    #[test]
    fn a_rate_of_zero_stalls_and_lets_go() {
        let x = Exchange::new("throttle_body rate=0B/s direction=up");
        let mut stage = x.stage(Dir::Up);
        stage.push(data("abc"), x.start);
        assert_eq!(drain(&mut *stage, x.at(60_000)), "");
        assert_eq!(stage.release().len(), 1);
    }
}
