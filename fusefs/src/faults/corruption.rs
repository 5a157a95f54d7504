//! `read_corruption` and `write_corruption`: bytes change on their way.

use super::{Bend, Effect, FileFault};
use crate::op::{Op, Ops};
use crate::rule::{Hit, Rule};
use inject::knob::{Dials, Knob};
use model::{Problem, draw};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

pub(super) struct Corrupts {
    op: Op,
    how: Arc<Corruption>,
}

/// How bytes are changed.
pub(crate) struct Corruption {
    per_mb: Knob,
    bytes: bool,
    at_least: u64,
}

/// Bytes that are decided about together; one draw for each.
const BLOCK: u64 = 4096;

impl Corrupts {
    pub(super) fn read(dials: &Dials<'_>, op: Op) -> Result<Corrupts, Problem> {
        let fixed = dials.fixed();
        Ok(Corrupts {
            op,
            how: Arc::new(Corruption {
                per_mb: dials.knob("per_mb")?.unwrap_or(Knob::fixed(0.0)),
                bytes: fixed.text("unit") == Some("bytes"),
                at_least: fixed.int("at_least").and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
            }),
        })
    }
}

impl FileFault for Corrupts {
    fn ops(&self) -> Ops {
        Ops::of(&[self.op])
    }

    fn hit(&self, _hit: &Hit<'_>) -> Effect {
        Effect::Bend(Bend::Corrupt(self.how.clone()))
    }

    fn measured(&self, rule: &Rule) -> BTreeMap<&'static str, f64> {
        BTreeMap::from([("changed", rule.meters.hits.load(Relaxed) as f64)])
    }
}

impl Corruption {
    /// Changes what stands at `offset` of a file; how many bits or bytes.
    pub(crate) fn spoil(&self, data: &mut [u8], offset: u64, seed: u64, elapsed: Duration) -> u64 {
        if data.is_empty() {
            return 0;
        }
        let length = data.len() as u64;
        let mut changed = 0;
        let mean = self.per_mb.at(elapsed) * BLOCK as f64 / 1e6;
        for block in offset / BLOCK..=(offset + length - 1) / BLOCK {
            // A Poisson number for each block, by inversion of one draw: all that lies in it is decided by its place.
            let (mut u, mut p, mut k) = (draw::unit(seed, draw::Lane::Other(1), block), (-mean).exp(), 0_u64);
            while u > p && k < BLOCK * 8 {
                u -= p;
                k += 1;
                p *= mean / k as f64;
                if p <= f64::MIN_POSITIVE {
                    break;
                }
            }
            for i in 0..k {
                let at =
                    block * BLOCK + draw::bits(seed, draw::Lane::Other(2), block * BLOCK * 8 + i) % BLOCK;
                if at >= offset && at < offset + length {
                    self.change(&mut data[(at - offset) as usize], seed, at);
                    changed += 1;
                }
            }
        }
        let missing = changed..self.at_least.min(length);
        for i in missing {
            let at = draw::bits(seed, draw::Lane::Other(3), offset + i) % length;
            self.change(&mut data[at as usize], seed, offset + at);
            changed += 1;
        }
        changed
    }

    fn change(&self, byte: &mut u8, seed: u64, at: u64) {
        let draw = draw::bits(seed, draw::Lane::Other(4), at);
        if self.bytes {
            // Any other byte: adding 1..=255 never gives the same.
            *byte = byte.wrapping_add((draw % 255) as u8 + 1);
        } else {
            *byte ^= 1 << (draw % 8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_and_the_place_decides() {
        let how = Corruption { per_mb: Knob::fixed(100.0), bytes: true, at_least: 0 };
        let mut data = vec![7_u8; 8_000_000];
        let n = how.spoil(&mut data, 0, 5, Duration::ZERO);
        assert!((650..950).contains(&n), "{n}");
        let mut part = vec![7_u8; 100_000];
        how.spoil(&mut part, 1_000_000, 5, Duration::ZERO);
        assert_eq!(part, data[1_000_000..1_100_000]);
        let one = Corruption { per_mb: Knob::fixed(0.0), bytes: false, at_least: 1 };
        let mut data = vec![0_u8; 16];
        assert_eq!(one.spoil(&mut data, 0, 5, Duration::ZERO), 1);
        assert_eq!(data.iter().map(|b| b.count_ones()).sum::<u32>(), 1);
    }
}
