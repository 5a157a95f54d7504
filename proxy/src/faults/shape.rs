//! `slow_headers`, `malformed`, `h2_reset` and `h2_goaway`: what only the codec can do to a response.

use super::through::{Pass, Through};
use super::{Act, Known, Point, RequestFault};
use crate::armed::Meters;
use crate::chain::Dir;
use crate::http::hit::Hit;
use crate::http::message::{Answer, Piece};
use crate::http::stage::BodyStage;
use crate::http::wire::{Ending, Malformed, Moment, Pace, WirePlan};
use crate::knob::Dials;
use model::catalogue::requests::H2_CODES;
use model::{Injection, Problem};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

struct Shape {
    plan: WirePlan,
    /// What is counted.
    counts: &'static str,
}

pub(super) fn read_slow_headers(dials: &Dials<'_>) -> Result<Act, Problem> {
    let params = dials.fixed();
    let bytes = params.int("bytes").and_then(|n| usize::try_from(n).ok()).unwrap_or(1).max(1);
    let pace = Pace { bytes, every: params.span("delay").unwrap_or_default() };
    let plan = WirePlan { pace: Some(pace), ..WirePlan::default() };
    Ok(Act::Request(Box::new(Shape { plan, counts: "heads_slowed" })))
}

pub(super) fn read_malformed(dials: &Dials<'_>) -> Result<Act, Problem> {
    let kind = match dials.fixed().text("kind") {
        Some("no_last_chunk") => Malformed::NoLastChunk,
        Some("length_too_large") => Malformed::LengthTooLarge,
        Some("length_too_small") => Malformed::LengthTooSmall,
        Some("two_lengths") => Malformed::LengthTwice,
        Some("length_not_a_number") => Malformed::LengthNotANumber,
        Some("no_colon") => Malformed::HeaderWithoutColon,
        Some("status_line") => Malformed::FirstLine,
        Some("chunk_end") => Malformed::ChunkEnd,
        _ => Malformed::ChunkSize,
    };
    let plan = WirePlan { malformed: Some(kind), ..WirePlan::default() };
    Ok(Act::Request(Box::new(Shape { plan, counts: "responses_malformed" })))
}

pub(super) fn read_goaway(dials: &Dials<'_>) -> Result<Act, Problem> {
    let code = h2_code(dials.fixed());
    let moment = if code == 0 { Moment::AfterEnd } else { Moment::BeforeHead };
    let plan = WirePlan { breaks: Some((moment, Ending::GoAway(code))), ..WirePlan::default() };
    Ok(Act::Request(Box::new(Shape { plan, counts: "connections_ended" })))
}

impl RequestFault for Shape {
    fn wire(&self, _hit: &Hit, dir: Dir, _known: &Known<'_>) -> Option<WirePlan> {
        (dir == Dir::Down).then_some(self.plan)
    }

    fn acts_on_responses(&self) -> bool {
        true
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        BTreeMap::from([(self.counts, meters.applied.load(Relaxed) as f64)])
    }
}

struct Reset {
    code: u32,
    /// How many bytes of the response's body pass before; none when the service never sees the request.
    after: Option<u64>,
}

pub(super) fn read_reset(dials: &Dials<'_>) -> Result<Act, Problem> {
    let params = dials.fixed();
    Ok(Act::Request(Box::new(Reset { code: h2_code(params), after: params.size("after").map(|s| s.0) })))
}

impl RequestFault for Reset {
    fn answer(&self, point: Point, _hit: &Hit, _known: &Known<'_>) -> Option<Answer> {
        // It never leaves: the stream is reset before its head.
        (point == Point::Request && self.after.is_none()).then(Answer::default)
    }

    fn wire(&self, _hit: &Hit, dir: Dir, _known: &Known<'_>) -> Option<WirePlan> {
        let breaks = Some((Moment::BeforeHead, Ending::Reset(self.code)));
        (dir == Dir::Down && self.after.is_none()).then(|| WirePlan { breaks, ..WirePlan::default() })
    }

    fn stage(&self, hit: &Arc<Hit>, dir: Dir, _known: &Known<'_>) -> Option<Box<dyn BodyStage>> {
        let left = self.after.filter(|_| dir == Dir::Down)?;
        Through::stage(ResetAfter { left, code: self.code, hit: hit.clone() })
    }

    fn can_ask_for_responses(&self) -> bool {
        self.after.is_some()
    }

    fn acts_on_bodies(&self) -> bool {
        self.after.is_some()
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        BTreeMap::from([("streams_reset", meters.applied.load(Relaxed) as f64)])
    }
}

struct ResetAfter {
    left: u64,
    code: u32,
    hit: Arc<Hit>,
}

impl Pass for ResetAfter {
    fn pass(&mut self, piece: Piece, _now: Instant, out: &mut VecDeque<Piece>) -> Result<(), Ending> {
        let Piece::Data(mut bytes) = piece else {
            out.push_back(piece);
            return Ok(());
        };
        let all = bytes.len() as u64;
        bytes.truncate(self.left.min(all) as usize);
        self.left -= bytes.len() as u64;
        let over = (bytes.len() as u64) < all;
        if !bytes.is_empty() {
            out.push_back(Piece::Data(bytes));
        }
        if over {
            self.hit.apply();
            return Err(Ending::Reset(self.code));
        }
        Ok(())
    }
}

fn h2_code(params: &Injection) -> u32 {
    params.text("code").and_then(|name| H2_CODES.iter().position(|c| *c == name)).unwrap_or(0) as u32
}

#[cfg(test)]
mod tests {
    use super::super::through::bench::{Exchange, data, drain};
    use super::*;

    #[test]
    fn codes_are_those_of_the_names() {
        let x = Exchange::new("h2_reset code=REFUSED_STREAM");
        let plan = x.with(|f, known| f.wire(&x.hit, Dir::Down, known)).unwrap();
        assert_eq!(plan.breaks, Some((Moment::BeforeHead, Ending::Reset(7))));
        let x = Exchange::new("h2_goaway code=ENHANCE_YOUR_CALM");
        let plan = x.with(|f, known| f.wire(&x.hit, Dir::Down, known)).unwrap();
        assert_eq!(plan.breaks, Some((Moment::BeforeHead, Ending::GoAway(11))));
    }

    #[test]
    fn a_stream_is_reset_in_its_body() {
        let x = Exchange::new("h2_reset after=3B code=INTERNAL_ERROR");
        assert!(x.with(|f, known| f.answer(Point::Request, &x.hit, known)).is_none());
        let mut stage = x.stage(Dir::Down);
        [data("ab"), data("cd"), Piece::End].into_iter().for_each(|p| stage.push(p, x.start));
        assert_eq!((drain(&mut *stage, x.start).as_str(), x.applied()), ("abc<Reset(2)>", 1.0));
    }
}
