//! `reorder`: datagrams that later ones overtake.

use super::chance::Chance;
use super::{Act, StreamFault, Ways};
use crate::armed::Meters;
use crate::chain::{Dir, Held, Item, Pull, Stage, earlier};
use crate::conn::Take;
use crate::knob::{Dials, moment};
use model::Problem;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

struct Reorder {
    chance: Chance,
    gap: u64,
    hold: Duration,
    ways: Ways,
}

pub(super) fn read(dials: &Dials<'_>) -> Result<Act, Problem> {
    let given = dials.fixed();
    Ok(Act::Stream(Box::new(Reorder {
        chance: Chance::read(dials)?,
        gap: given.int("gap").and_then(|n| u64::try_from(n).ok()).unwrap_or(1),
        hold: given.span("hold").unwrap_or_default(),
        ways: Ways::read(dials),
    })))
}

impl StreamFault for Reorder {
    fn stage(&self, take: &Arc<Take>, dir: Dir, _now: Instant) -> Option<Box<dyn Stage>> {
        self.ways.has(dir).then(|| {
            Box::new(Aside {
                chance: self.chance.clone(),
                gap: self.gap,
                hold: self.hold,
                take: take.clone(),
                dir,
                aside: Vec::new(),
                out: Held::default(),
            }) as Box<dyn Stage>
        })
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        BTreeMap::from([("datagrams_reordered", meters.hits.load(Relaxed) as f64)])
    }
}

struct Aside {
    chance: Chance,
    gap: u64,
    hold: Duration,
    take: Arc<Take>,
    dir: Dir,
    /// Ones that wait, in the order in which they came.
    aside: Vec<Waiting>,
    out: Held,
}

struct Waiting {
    item: Item,
    came: Instant,
    /// How many must still pass it.
    gap: u64,
    due: Option<Instant>,
}

impl Aside {
    fn let_go(&mut self, gone: impl Fn(&Waiting) -> bool) {
        for waiting in self.aside.extract_if(.., |w| gone(w)) {
            self.out.push(waiting.item, waiting.came);
        }
    }
}

impl Stage for Aside {
    fn push(&mut self, item: Item, at: Instant) {
        if self.chance.hits(&self.take, self.dir, at) {
            self.aside.push(Waiting { item, came: at, gap: self.gap, due: moment(at, self.hold) });
            return;
        }
        self.out.push(item, at);
        self.aside.iter_mut().for_each(|w| w.gap -= 1);
        self.let_go(|w| w.gap == 0);
    }

    fn pull(&mut self, now: Instant) -> Pull {
        self.let_go(|w| w.due.is_none_or(|due| due <= now));
        match self.out.pop() {
            Some((item, _)) => Pull::Item(item),
            None => Pull::Wait(self.aside.iter().fold(None, |at, w| earlier(at, w.due))),
        }
    }

    fn room(&self) -> bool {
        self.out.room() && self.aside.len() < 4096
    }

    fn is_empty(&self) -> bool {
        self.out.is_empty() && self.aside.is_empty()
    }

    fn release(&mut self) -> Vec<(Item, Instant)> {
        self.let_go(|_| true);
        self.out.take()
    }
}

#[cfg(test)]
mod tests {
    use crate::faults::bench::{Bench, armed};

    #[test]
    fn ones_that_are_hit_come_one_later_or_after_the_hold() {
        let fault = armed("reorder chance=30% hold=50ms", 0);
        let mut b = Bench::datagrams(&[&fault]);
        let letters = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];
        let mut out = String::new();
        for letter in letters {
            b.push_down(0, letter);
            out += &b.pull_down(0);
        }
        out += &b.pull_down(50);
        let mut sorted: Vec<char> = out.chars().collect();
        sorted.sort_unstable();
        assert_eq!(sorted.iter().collect::<String>(), letters.concat(), "{out}");
        assert_ne!(out, letters.concat());
        assert!(fault.evidence().measured["datagrams_reordered"] >= 1.0);
    }

    #[test]
    fn the_last_one_is_not_held_for_ever() {
        let mut b = Bench::datagrams(&[&armed("reorder chance=100% hold=20ms", 0)]);
        b.push_down(0, "x");
        assert_eq!(b.pull_down(19), "");
        assert_eq!(b.pull_down(20), "x");
    }
}
