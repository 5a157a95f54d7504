//! `bandwidth`: the bytes of a connection, or of all of them together, pass at a rate.
//!
//! Bytes leave when a line of that rate would have carried them: the end of n bytes comes n/rate after their begin. Time
//! is counted on the line, not on the clock that wakes us, so late wake-ups do not add up.

use super::{Act, StreamFault, Ways};
use crate::armed::Meters;
use crate::chain::{Dir, Held, Item, Pull, Stage};
use crate::conn::Take;
use crate::knob::{Dials, Knob};
use model::Problem;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// As much of the line's time as one piece takes, unless that is more than [`LARGEST`] bytes.
const PIECE: f64 = 0.010;
const LARGEST: f64 = 65_536.0;
/// What is held before the sender has to wait.
const HOLD: usize = 256 * 1024;
/// By how much the line may catch up on wake-ups that came late.
const CATCH_UP: Duration = Duration::from_millis(100);
/// Bytes that come so soon after the last had left were waiting for us in the kernel.
const AT_ONCE: Duration = Duration::from_millis(5);
/// How often a rate of zero is looked at again, when it is ramped.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

struct Bandwidth {
    rate: Knob,
    shared: bool,
    ways: Ways,
}

pub(super) fn read(dials: &Dials<'_>) -> Result<Act, Problem> {
    let rate = dials.knob("rate")?.unwrap_or(Knob::fixed(0.0));
    Ok(Act::Stream(Box::new(Bandwidth {
        rate,
        shared: dials.fixed().text("per") == Some("target"),
        ways: Ways::read(dials),
    })))
}

impl StreamFault for Bandwidth {
    fn stage(&self, take: &Arc<Take>, dir: Dir, now: Instant) -> Option<Box<dyn Stage>> {
        self.ways.has(dir).then(|| {
            let free = if self.shared { Free::Shared(take.fault.settings().version) } else { Free::Own(now) };
            let (rate, take, held) = (self.rate, take.clone(), Held::default());
            Box::new(Line { rate, take, dir, held, free, piece: None, pressed: false, emptied: None })
                as Box<dyn Stage>
        })
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        let mut measured = meters.lateness();
        measured.insert("bytes_metered", meters.bytes.load(Relaxed) as f64);
        measured
    }
}

struct Line {
    rate: Knob,
    take: Arc<Take>,
    dir: Dir,
    held: Held,
    free: Free,
    /// The piece that is on the line, and when it is over.
    piece: Option<(usize, Instant)>,
    /// The sender is faster than the line: it had to wait, and has not been idle since.
    pressed: bool,
    /// When the last byte that was held left.
    emptied: Option<Instant>,
}

/// When the line has carried all it was given.
enum Free {
    /// A line of the connection's own.
    Own(Instant),
    /// The fault's line, under these settings.
    Shared(u64),
}

/// A line that all connections of a fault share: when it is free, and under which settings that was reckoned.
#[derive(Debug, Default)]
pub(crate) struct SharedLine(Mutex<(u64, Option<Instant>)>);

impl Line {
    /// Puts a piece on the line that takes so long; when it is over. None when that is beyond the clock.
    fn put(&mut self, came: Instant, now: Instant, takes: Duration) -> Option<Instant> {
        // A line that was idle saves nothing up. It may catch up on wake-ups that came late: what a faster sender has for us
        // was ready long before we read it.
        let latest = now.checked_sub(CATCH_UP).unwrap_or(came);
        let ready = if self.pressed { latest } else { came.max(latest) };
        let begin = |free: Instant| free.max(ready);
        match &mut self.free {
            Free::Own(free) => {
                let due = begin(*free).checked_add(takes)?;
                *free = due;
                Some(due)
            }
            Free::Shared(version) => {
                let line = &self.take.fault.lines[self.dir as usize];
                let mut line = line.0.lock().unwrap_or_else(PoisonError::into_inner);
                // What was reckoned at another rate does not count any more.
                if line.0 < *version {
                    *line = (*version, None);
                }
                let due = begin(line.1.unwrap_or(came)).checked_add(takes)?;
                line.1 = Some(due);
                Some(due)
            }
        }
    }
}

impl Stage for Line {
    fn push(&mut self, item: Item, at: Instant) {
        let idle = |since: Instant| at.saturating_duration_since(since) > AT_ONCE;
        if self.held.is_empty() && self.emptied.is_none_or(idle) {
            self.pressed = false;
        }
        self.held.push(item, at);
        self.pressed |= self.held.bytes() >= HOLD;
    }

    fn pull(&mut self, now: Instant) -> Pull {
        let (len, came) = match self.held.front() {
            None => return Pull::Wait(None),
            Some((Item::Data(chunk), came)) => (chunk.bytes.len(), *came),
            Some((Item::End(_), _)) => (0, now),
        };
        if len == 0 {
            return self.held.pop().map_or(Pull::Wait(None), |(item, _)| Pull::Item(item));
        }
        let (n, due) = match self.piece {
            Some(piece) => piece,
            None => {
                let rate = self.rate.at(self.take.fault.elapsed(now));
                if rate <= 0.0 {
                    self.take.apply();
                    let ramped = self.rate != Knob::fixed(0.0);
                    return Pull::Wait(ramped.then(|| now + LOOK_AGAIN));
                }
                let piece = (rate * PIECE).clamp(1.0, LARGEST) as usize;
                let n = if self.take.datagrams { len } else { len.min(piece) };
                let takes = Duration::try_from_secs_f64(n as f64 / rate).unwrap_or(Duration::MAX);
                let Some(due) = self.put(came, now, takes) else { return Pull::Wait(None) };
                self.piece = Some((n, due));
                (n, due)
            }
        };
        if due > now {
            return Pull::Wait(Some(due));
        }
        self.piece = None;
        self.take.apply();
        self.take.fault.meters.bytes.fetch_add(n as u64, Relaxed);
        match self.held.pop_bytes(n) {
            Some((item, came)) => {
                if self.held.is_empty() {
                    self.emptied = Some(now);
                }
                self.take.fault.meters.add_late(now.saturating_duration_since(came));
                Pull::Item(item)
            }
            None => Pull::Wait(None),
        }
    }

    fn room(&self) -> bool {
        self.held.bytes() < HOLD
    }

    fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn release(&mut self) -> Vec<(Item, Instant)> {
        self.piece = None;
        self.held.take()
    }
}

#[cfg(test)]
mod tests {
    use crate::faults::bench::{Bench, armed};

    #[test]
    fn n_bytes_take_n_over_rate() {
        let mut b = Bench::new(&[&armed("bandwidth rate=1kB/s", 0)]);
        b.push_down(0, "0123456789012345678901234567890123456789");
        assert_eq!(b.pull_down(9), "");
        assert_eq!(b.pull_down(10).len(), 10);
        assert_eq!(b.pull_down(35).len(), 20);
        assert_eq!(b.pull_down(39), "");
        assert_eq!(b.pull_down(40).len(), 10);
        // An idle line saves nothing up.
        b.push_down(500, "01234567890123456789");
        assert_eq!(b.pull_down(509), "");
        assert_eq!(b.pull_down(510).len(), 10);
    }

    #[test]
    fn zero_stalls_until_it_is_gone() {
        let fault = armed("bandwidth rate=0B/s", 0);
        let mut b = Bench::new(&[&fault]);
        b.push_down(0, "x");
        assert_eq!(b.pull_down(60_000), "");
        fault.switch_off();
        b.conn.withdraw(&fault);
        b.sync(60_001);
        assert_eq!(b.pull_down(60_001), "x");
    }

    #[test]
    fn a_line_can_be_shared() {
        let fault = armed("bandwidth rate=1kB/s per=target", 0);
        let (mut a, mut b) = (Bench::new(&[&fault]), Bench::new(&[&fault]));
        a.push_down(0, "0123456789");
        b.push_down(0, "abcdefghij");
        let mut come = (0, 0);
        for ms in 0..=20 {
            come.0 += a.pull_down(ms).len();
            come.1 += b.pull_down(ms).len();
            assert!(come.0 + come.1 <= ms as usize + 1, "{come:?} at {ms}");
        }
        assert_eq!(come, (10, 10));
        assert_eq!(a.pull_down(21), "");
    }

    #[test]
    fn a_limit_acts_on_what_a_latency_lets_out() {
        let (slow, late) = (armed("bandwidth rate=1kB/s", 0), armed("latency delay=100ms", 1));
        let mut b = Bench::new(&[&slow, &late]);
        b.push_down(0, "0123456789");
        assert_eq!(b.pull_down(100), "");
        assert_eq!(b.pull_down(109), "");
        assert_eq!(b.pull_down(110), "0123456789");
    }
}
