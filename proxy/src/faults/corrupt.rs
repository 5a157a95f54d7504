//! `corrupt`: bits are flipped, or bytes become other bytes.
//!
//! Which ones depends on the seed and on the place in the stream: between two hits lies an exponentially distributed
//! amount of exposure, and each bit (or byte) that passes exposes the stream as much as the rate says. So a rate can
//! ramp, and how the stream is cut into pieces does not matter.

use super::{Act, StreamFault, Ways};
use crate::armed::Meters;
use crate::chain::{Chunk, Dir, Held, Item, Pull, Stage};
use crate::conn::Take;
use crate::knob::{Dials, Knob};
use bytes::{Bytes, BytesMut};
use model::{Problem, draw};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

#[derive(Clone, Copy)]
struct Corrupt {
    per_mb: Knob,
    bits: bool,
    from: u64,
    until: u64,
    ways: Ways,
}

pub(super) fn read(dials: &Dials<'_>) -> Result<Act, Problem> {
    let given = dials.fixed();
    let from = given.size("from").map_or(0, |s| s.0);
    let until = given.size("until").map_or(u64::MAX, |s| s.0);
    if until <= from {
        return Err(Problem::new(format!("corrupt ends at byte {until} and begins at byte {from}"))
            .hint("until must lie behind from"));
    }
    let bits = given.text("unit") != Some("bytes");
    let per_mb = dials.knob("per_mb")?.unwrap_or(Knob::fixed(0.0));
    Ok(Act::Stream(Box::new(Corrupt { per_mb, bits, from, until, ways: Ways::read(dials) })))
}

impl StreamFault for Corrupt {
    fn stage(&self, take: &Arc<Take>, dir: Dir, _now: Instant) -> Option<Box<dyn Stage>> {
        self.ways.has(dir).then(|| {
            let mut noise = Noise { fault: *self, take: take.clone(), dir, left: 0.0, held: Held::default() };
            noise.left = noise.exposure(take.chunks[dir as usize].load(Relaxed));
            Box::new(noise) as Box<dyn Stage>
        })
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        let name = if self.bits { "bits_flipped" } else { "bytes_changed" };
        BTreeMap::from([(name, meters.hits.load(Relaxed) as f64)])
    }
}

struct Noise {
    fault: Corrupt,
    take: Arc<Take>,
    dir: Dir,
    /// Exposure until the next hit. The take counts hits in `chunks` and the place in the stream in `spent`.
    left: f64,
    held: Held,
}

impl Noise {
    /// The exposure before hit number `k`.
    fn exposure(&self, k: u64) -> f64 {
        -(1.0 - draw::unit(self.take.seed(self.dir), draw::Lane::Amount, k)).ln()
    }

    fn pass(&mut self, bytes: Bytes, now: Instant) -> Bytes {
        let begin = self.take.spent[self.dir as usize].fetch_add(bytes.len() as u64, Relaxed);
        let inside = |offset: u64| offset.saturating_sub(begin).min(bytes.len() as u64) as usize;
        let (first, last) = (inside(self.fault.from), inside(self.fault.until));
        let units = if self.fault.bits { 8.0 } else { 1.0 };
        let rate = self.fault.per_mb.at(self.take.fault.elapsed(now)) / 1e6 / units;
        if last <= first || rate <= 0.0 {
            return bytes;
        }
        // A rate of one hits everything.
        let step = -(1.0 - rate.min(1.0 - 1e-12)).ln();
        let end = (last - first) as f64 * units;
        let mut at = 0.0;
        let mut changed: Option<BytesMut> = None;
        loop {
            let skip = (self.left / step).floor();
            if at + skip >= end {
                self.left -= (end - at) * step;
                break;
            }
            at += skip;
            let unit = at as usize;
            let k = self.take.chunks[self.dir as usize].fetch_add(1, Relaxed);
            let changed = changed.get_or_insert_with(|| BytesMut::from(&bytes[..]));
            if self.fault.bits {
                changed[first + unit / 8] ^= 1 << (unit % 8);
            } else {
                let other = draw::bits(self.take.seed(self.dir), draw::Lane::Other(2), k) % 255 + 1;
                changed[first + unit] ^= other as u8;
            }
            self.take.fault.meters.hits.fetch_add(1, Relaxed);
            self.take.apply();
            at += 1.0;
            self.left = self.exposure(k + 1);
        }
        changed.map_or(bytes, BytesMut::freeze)
    }
}

impl Stage for Noise {
    fn push(&mut self, item: Item, at: Instant) {
        self.held.push(item, at);
    }

    fn pull(&mut self, now: Instant) -> Pull {
        // Here and not when it comes: what is held when the fault is changed must not be hit twice.
        match self.held.pop() {
            Some((Item::Data(Chunk { bytes, arrived }), _)) => {
                Pull::Item(Item::Data(Chunk { bytes: self.pass(bytes, now), arrived }))
            }
            Some((end, _)) => Pull::Item(end),
            None => Pull::Wait(None),
        }
    }

    fn room(&self) -> bool {
        self.held.room()
    }

    fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn release(&mut self) -> Vec<(Item, Instant)> {
        self.held.take()
    }
}

#[cfg(test)]
mod tests {
    use crate::faults::bench::{Bench, armed};

    const SIZE: usize = 1_000_000;

    /// What becomes of zeros that come in pieces of that size, and the number of hits that were counted.
    fn zeros(words: &str, piece: usize) -> (Vec<u8>, f64) {
        let fault = armed(words, 0);
        let mut b = Bench::new(&[&fault]);
        let data = vec![0; SIZE];
        let mut out = Vec::new();
        for part in data.chunks(piece) {
            b.push_down_bytes(0, part);
            out.extend(b.pull_down_bytes(0));
        }
        (out, *fault.evidence().measured.values().next().unwrap())
    }

    #[test]
    fn as_many_as_was_said_whatever_the_pieces() {
        for (words, want) in [("corrupt per_mb=400", 400.0), ("corrupt per_mb=400 unit=bytes", 400.0)] {
            let (out, counted) = zeros(words, 1000);
            assert_eq!(out.len(), SIZE);
            let bits: u32 = out.iter().map(|b| b.count_ones()).sum();
            let bytes = out.iter().filter(|b| **b != 0).count() as f64;
            let hits = if words.ends_with("bytes") { bytes } else { f64::from(bits) };
            assert_eq!(hits, counted, "{words}");
            // Five sigma of a Poisson number around 400.
            assert!((hits - want).abs() < 100.0, "{words}: {hits}");
            for piece in [1, 77, 65_536] {
                assert!(zeros(words, piece).0 == out, "{words} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn spares_what_is_outside_and_may_change_everything() {
        let (out, hits) = zeros("corrupt per_mb=8000000 from=10B until=20B", 7);
        assert_eq!(hits, 80.0);
        let want: Vec<u8> = (0..SIZE).map(|i| if (10..20).contains(&i) { 0xff } else { 0 }).collect();
        assert!(out == want);
        assert_eq!(zeros("corrupt per_mb=0", 1000).1, 0.0);
    }

    #[test]
    fn what_is_adjusted_goes_on_where_it_was() {
        let fault = armed("corrupt per_mb=8000000 until=4B", 0);
        let mut b = Bench::new(&[&fault]);
        b.push_down_bytes(0, &[0; 3]);
        assert_eq!(b.pull_down_bytes(0), [255; 3]);
        fault.adjust(&crate::faults::bench::ordered("corrupt per_mb=8000000 until=5B")).unwrap();
        b.sync(1);
        b.push_down_bytes(1, &[0; 3]);
        assert_eq!(b.pull_down_bytes(1), [255, 255, 0]);
    }
}
