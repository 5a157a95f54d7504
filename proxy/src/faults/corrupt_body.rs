//! `corrupt_body`: bits of bodies are flipped, or bytes become other bytes.
//!
//! As with `corrupt`, which ones depends on the seed and on the place in the body, not on how it is cut into pieces.

use super::through::{Pass, Through};
use super::{Act, Known, RequestFault, Ways};
use crate::armed::Meters;
use crate::chain::Dir;
use crate::http::hit::Hit;
use crate::http::message::Piece;
use crate::http::stage::BodyStage;
use crate::http::wire::Ending;
use crate::knob::{Dials, Knob};
use bytes::{Bytes, BytesMut};
use model::{Problem, draw};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

struct CorruptBody {
    per_mb: Knob,
    bits: bool,
    ways: Ways,
}

pub(super) fn read(dials: &Dials<'_>) -> Result<Act, Problem> {
    let per_mb = dials.knob("per_mb")?.unwrap_or(Knob::fixed(0.0));
    let bits = dials.fixed().text("unit") != Some("bytes");
    Ok(Act::Request(Box::new(CorruptBody { per_mb, bits, ways: Ways::read(dials) })))
}

impl RequestFault for CorruptBody {
    fn stage(&self, hit: &Arc<Hit>, dir: Dir, _known: &Known<'_>) -> Option<Box<dyn BodyStage>> {
        if !self.ways.has(dir) {
            return None;
        }
        let seed = draw::bits(hit.fault.seed, draw::Lane::Other(8 + dir as u16), hit.ordinal);
        let mut noise =
            Noise { per_mb: self.per_mb, bits: self.bits, hit: hit.clone(), seed, hits: 0, left: 0.0 };
        noise.left = noise.exposure();
        Through::stage(noise)
    }

    fn acts_on_bodies(&self) -> bool {
        true
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        let name = if self.bits { "bits_flipped" } else { "bytes_changed" };
        BTreeMap::from([(name, meters.hits.load(Relaxed) as f64)])
    }
}

struct Noise {
    per_mb: Knob,
    bits: bool,
    hit: Arc<Hit>,
    seed: u64,
    hits: u64,
    /// Exposure until the next hit.
    left: f64,
}

impl Noise {
    fn exposure(&self) -> f64 {
        -(1.0 - draw::unit(self.seed, draw::Lane::Amount, self.hits)).ln()
    }

    fn change(&mut self, bytes: Bytes, now: Instant) -> Bytes {
        let units = if self.bits { 8.0 } else { 1.0 };
        let rate = self.per_mb.at(self.hit.fault.elapsed(now)) / 1e6 / units;
        if rate <= 0.0 {
            return bytes;
        }
        // A rate of one hits everything.
        let step = -(1.0 - rate.min(1.0 - 1e-12)).ln();
        let end = bytes.len() as f64 * units;
        let mut changed = BytesMut::from(bytes);
        let mut at = 0.0;
        loop {
            let skip = (self.left / step).floor();
            if at + skip >= end {
                self.left -= (end - at) * step;
                return changed.freeze();
            }
            at += skip;
            let unit = at as usize;
            if self.bits {
                changed[unit / 8] ^= 1 << (unit % 8);
            } else {
                changed[unit] ^= (draw::bits(self.seed, draw::Lane::Share, self.hits) % 255 + 1) as u8;
            }
            self.hits += 1;
            self.hit.fault.meters.hits.fetch_add(1, Relaxed);
            self.hit.apply();
            at += 1.0;
            self.left = self.exposure();
        }
    }
}

impl Pass for Noise {
    fn pass(&mut self, piece: Piece, now: Instant, out: &mut VecDeque<Piece>) -> Result<(), Ending> {
        out.push_back(match piece {
            Piece::Data(bytes) => Piece::Data(self.change(bytes, now)),
            other => other,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::through::bench::Exchange;
    use super::*;
    use crate::http::stage::Pull;

    fn corrupted(words: &str, pieces: &[usize]) -> (Vec<u8>, f64) {
        let x = Exchange::new(words);
        let mut stage = x.stage(Dir::Down);
        for size in pieces {
            stage.push(Piece::Data(Bytes::from(vec![0; *size])), x.start);
        }
        let mut all = Vec::new();
        while let Pull::Piece(Piece::Data(bytes)) = stage.pull(x.start) {
            all.extend_from_slice(&bytes);
        }
        let hits = x.fault.meters.hits.load(Relaxed) as f64;
        (all, hits)
    }

    #[test]
    fn as_many_as_asked_and_the_same_however_it_is_cut() {
        let (whole, hits) = corrupted("corrupt_body per_mb=1000", &[4_000_000]);
        let flipped: u32 = whole.iter().map(|b| b.count_ones()).sum();
        assert_eq!(f64::from(flipped), hits);
        assert!((hits - 4000.0).abs() < 4.5 * 63.3, "{hits}");
        assert_eq!(corrupted("corrupt_body per_mb=1000", &[1, 999_999, 3_000_000]).0, whole);
        let (all, _) = corrupted("corrupt_body per_mb=1000000 unit=bytes", &[100]);
        assert!(all.iter().all(|b| *b != 0));
    }
}
