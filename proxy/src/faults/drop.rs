//! `drop` and `duplicate`: datagrams that never come, and ones that come twice.

use super::chance::Chance;
use super::{Act, StreamFault, Ways};
use crate::armed::Meters;
use crate::chain::{Dir, Held, Item, Pull, Stage};
use crate::conn::Take;
use crate::knob::Dials;
use model::Problem;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

struct Copies {
    chance: Chance,
    /// How often one that is hit is sent: not at all, or twice.
    copies: u8,
    ways: Ways,
}

pub(super) fn read_drop(dials: &Dials<'_>) -> Result<Act, Problem> {
    Ok(Act::Stream(Box::new(Copies { chance: Chance::read(dials)?, copies: 0, ways: Ways::read(dials) })))
}

pub(super) fn read_duplicate(dials: &Dials<'_>) -> Result<Act, Problem> {
    Ok(Act::Stream(Box::new(Copies { chance: Chance::read(dials)?, copies: 2, ways: Ways::read(dials) })))
}

impl StreamFault for Copies {
    fn stage(&self, take: &Arc<Take>, dir: Dir, _now: Instant) -> Option<Box<dyn Stage>> {
        self.ways.has(dir).then(|| {
            let (chance, copies, take) = (self.chance.clone(), self.copies, take.clone());
            Box::new(Copier { chance, copies, take, dir, again: None, held: Held::default() })
                as Box<dyn Stage>
        })
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        let name = if self.copies == 0 { "datagrams_dropped" } else { "datagrams_duplicated" };
        BTreeMap::from([(name, meters.hits.load(Relaxed) as f64)])
    }
}

struct Copier {
    chance: Chance,
    copies: u8,
    take: Arc<Take>,
    dir: Dir,
    /// The copy of the one that has just left.
    again: Option<(Item, Instant)>,
    held: Held,
}

impl Stage for Copier {
    fn push(&mut self, item: Item, at: Instant) {
        self.held.push(item, at);
    }

    fn pull(&mut self, now: Instant) -> Pull {
        if let Some((item, _)) = self.again.take() {
            return Pull::Item(item);
        }
        while let Some((item, came)) = self.held.pop() {
            match if self.chance.hits(&self.take, self.dir, now) { self.copies } else { 1 } {
                0 => continue,
                1 => {}
                _ => self.again = Some((item.clone(), came)),
            }
            return Pull::Item(item);
        }
        Pull::Wait(None)
    }

    fn room(&self) -> bool {
        self.held.room()
    }

    fn is_empty(&self) -> bool {
        self.held.is_empty() && self.again.is_none()
    }

    fn release(&mut self) -> Vec<(Item, Instant)> {
        self.again.take().into_iter().chain(self.held.take()).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::faults::bench::{Bench, armed};

    fn run(words: &str) -> (String, f64) {
        let fault = armed(words, 0);
        let mut b = Bench::datagrams(&[&fault]);
        let mut out = String::new();
        for i in 0..4000 {
            b.push_down(i, "x");
            out += &b.pull_down(i);
            out.push(',');
        }
        (out, *fault.evidence().measured.values().next().unwrap())
    }

    #[test]
    fn as_many_as_was_said_and_the_same_each_time() {
        let (out, lost) = run("drop chance=25%");
        let came = out.matches('x').count() as f64;
        assert_eq!(came + lost, 4000.0);
        // Four sigma of a binomial with n = 4000 and p = 0.25 are 110.
        assert!((lost - 1000.0).abs() < 110.0, "{lost}");
        assert_eq!(run("drop chance=25%").0, out);
        let (out, twice) = run("duplicate chance=25%");
        assert_eq!(out.matches('x').count() as f64, 4000.0 + twice);
        assert!((twice - 1000.0).abs() < 110.0, "{twice}");
    }

    #[test]
    fn correlated_losses_come_in_bursts() {
        let bursts = |out: &str| out.split('x').filter(|gap| gap.len() > 3).count();
        let (alone, _) = run("drop chance=20%");
        let (together, lost) = run("drop chance=20% correlation=90%");
        assert!(bursts(&together) > 2 * bursts(&alone), "{} {}", bursts(&together), bursts(&alone));
        assert!((lost - 800.0).abs() < 400.0, "{lost}");
    }
}
