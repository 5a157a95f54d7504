//! `cut`: ends connections after a time or a number of bytes, by FIN or RST.

use super::{Act, StreamFault, Ways};
use crate::armed::Meters;
use crate::chain::{Dir, Held, How, Item, Pull, Stage};
use crate::conn::Take;
use crate::knob::{Dials, moment};
use model::{Problem, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

struct Cut {
    when: When,
    on_data: bool,
    how: How,
    ways: Ways,
}

enum When {
    After(Duration),
    Bytes(u64),
}

pub(super) fn read(dials: &Dials<'_>) -> Result<Act, Problem> {
    let when = match dials.fixed().get("when") {
        Some(Value::Size(size)) => When::Bytes(size.0),
        Some(Value::Span(span)) => When::After(span.0),
        _ => When::After(Duration::ZERO),
    };
    let how = if dials.fixed().text("how") == Some("fin") { How::Fin } else { How::Rst };
    let on_data = dials.fixed().text("on") == Some("data");
    Ok(Act::Stream(Box::new(Cut { when, on_data, how, ways: Ways::read(dials) })))
}

impl StreamFault for Cut {
    fn stage(&self, take: &Arc<Take>, dir: Dir, now: Instant) -> Option<Box<dyn Stage>> {
        if !self.ways.has(dir) {
            return None;
        }
        let (mut at, mut after, mut most) = (None, None, None);
        match self.when {
            When::After(span) if self.on_data => {
                after = Some(span);
                at = take.begun.get().and_then(|begun| moment(*begun, span));
            }
            When::After(span) => at = moment(take.since(now), span),
            When::Bytes(bytes) => most = Some(bytes),
        }
        Some(Box::new(Knife {
            take: take.clone(),
            dir,
            how: self.how,
            at,
            after,
            most,
            held: Held::default(),
        }))
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        BTreeMap::from([("connections_cut", meters.applied.load(Relaxed) as f64)])
    }
}

struct Knife {
    take: Arc<Take>,
    dir: Dir,
    how: How,
    at: Option<Instant>,
    /// Counted from the first bytes.
    after: Option<Duration>,
    /// Bytes in both directions, counted in the take, which the other direction's stage shares.
    most: Option<u64>,
    held: Held,
}

impl Stage for Knife {
    fn push(&mut self, item: Item, at: Instant) {
        if let Some(after) = self.after {
            self.at = moment(*self.take.begun.get_or_init(|| at), after);
        }
        self.held.push(item, at);
    }

    fn pull(&mut self, now: Instant) -> Pull {
        if self.after.is_some()
            && let Some(at) = self.at
        {
            if at <= now {
                self.take.apply();
                return Pull::Kill(self.how);
            }
            return match self.held.pop() {
                Some((item @ Item::Data(_), _)) => Pull::Item(item),
                // The end would close the connection before its time.
                Some((end, came)) => {
                    self.held.push(end, came);
                    Pull::Wait(Some(at))
                }
                None => Pull::Wait(Some(at)),
            };
        }
        let left = match self.most {
            None => usize::MAX,
            Some(most) => {
                let left = most.saturating_sub(self.take.spent.iter().map(|s| s.load(Relaxed)).sum());
                if left == 0 {
                    self.take.apply();
                    return Pull::Kill(self.how);
                }
                usize::try_from(left).unwrap_or(usize::MAX)
            }
        };
        match self.held.pop_bytes(left) {
            Some((item, _)) => {
                if let Item::Data(chunk) = &item {
                    self.take.spent[self.dir as usize].fetch_add(chunk.bytes.len() as u64, Relaxed);
                }
                Pull::Item(item)
            }
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

    fn deadline(&self) -> Option<(Instant, How)> {
        if self.after.is_some() {
            return None;
        }
        self.at.map(|at| (at, self.how))
    }

    fn strike(&mut self) {
        self.take.apply();
    }
}

#[cfg(test)]
mod tests {
    use crate::chain::How;
    use crate::faults::bench::{Bench, armed};

    #[test]
    fn bytes_before_the_cut_pass_and_none_after() {
        let mut b = Bench::new(&[&armed("cut when=10B", 0)]);
        b.push_down(0, "01234567");
        assert_eq!(b.pull_down(0), "01234567");
        b.push_down(1, "89abcdef");
        assert_eq!(b.pull_down(1), "89<rst>");
        let fault = armed("cut when=10B how=fin", 0);
        let mut b = Bench::new(&[&fault]);
        b.push_down(0, "0123456789");
        assert_eq!(b.pull_down(0), "0123456789<fin>");
        assert_eq!(fault.evidence().applied, 1);
    }

    #[test]
    fn time_can_count_from_the_first_bytes() {
        let fault = armed("cut when=50ms on=data direction=down", 0);
        let mut b = Bench::new(&[&fault]);
        assert_eq!(b.pull_down(1000), "");
        b.push_down(1000, "x");
        assert_eq!(b.pull_down(1000), "x");
        b.push_down(1049, "y");
        b.end_down(1049, How::Fin);
        assert_eq!(b.pull_down(1049), "y");
        assert_eq!(b.pull_down(1050), "<rst>");
        assert!(!b.up.has_stages());
    }

    #[test]
    fn time_counts_from_when_it_was_taken() {
        let fault = armed("cut when=50ms", 0);
        let mut b = Bench::new(&[&fault]);
        let (before, then) = (b.at(49), b.at(50));
        assert_eq!(b.down.strike(before), None);
        b.sync(30);
        assert_eq!(b.down.strike(then), Some(How::Rst));
        assert_eq!(fault.evidence().applied, 1);
    }
}
