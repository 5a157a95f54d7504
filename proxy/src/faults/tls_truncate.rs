//! `tls_truncate`: ends TLS sessions without close_notify.

use super::{Act, StreamFault};
use crate::armed::Meters;
use crate::chain::{Chunk, Dir, Held, How, Item, Pull, Stage};
use crate::conn::Take;
use crate::knob::{Dials, moment};
use crate::tls::{ALERT, APPLICATION_DATA, HEADER};
use bytes::{Bytes, BytesMut};
use model::{Problem, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// A close_notify of TLS 1.3 is as long as this: two bytes, the content type, the tag. TLS 1.2 shows that it is an alert.
const ENCRYPTED_ALERT: usize = 2 + 1 + 16;

struct Truncate {
    after: Option<Duration>,
    bytes: Option<u64>,
}

pub(super) fn read(dials: &Dials<'_>) -> Result<Act, Problem> {
    let (after, bytes) = match dials.fixed().get("when") {
        Some(Value::Size(size)) => (None, Some(size.0)),
        Some(Value::Span(span)) => (Some(span.0), None),
        _ => (None, None),
    };
    Ok(Act::Stream(Box::new(Truncate { after, bytes })))
}

impl StreamFault for Truncate {
    fn stage(&self, take: &Arc<Take>, dir: Dir, now: Instant) -> Option<Box<dyn Stage>> {
        let at = self.after.and_then(|span| moment(take.since(now), span));
        (dir == Dir::Down).then(|| {
            Box::new(Shears {
                take: take.clone(),
                at,
                most: self.bytes,
                held: Held::default(),
                sealed: take.sealed.then(Records::default),
            }) as Box<dyn Stage>
        })
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        BTreeMap::from([("sessions_truncated", meters.applied.load(Relaxed) as f64)])
    }
}

struct Shears {
    take: Arc<Take>,
    at: Option<Instant>,
    most: Option<u64>,
    held: Held,
    /// For sessions that pass through: what may be the service's close_notify waits until more comes.
    sealed: Option<Records>,
}

impl Stage for Shears {
    fn push(&mut self, item: Item, at: Instant) {
        match (&mut self.sealed, item) {
            (Some(records), Item::Data(chunk)) => {
                let arrived = chunk.arrived;
                if let Some(bytes) = records.pass(&chunk.bytes) {
                    self.held.push(Item::Data(Chunk { bytes, arrived }), at);
                }
            }
            (_, item) => self.held.push(item, at),
        }
    }

    fn pull(&mut self, now: Instant) -> Pull {
        let left = match self.most {
            None => usize::MAX,
            Some(most) => {
                let left = most.saturating_sub(self.take.spent[Dir::Down as usize].load(Relaxed));
                if left == 0 {
                    self.take.apply();
                    return Pull::Kill(How::Bare);
                }
                usize::try_from(left).unwrap_or(usize::MAX)
            }
        };
        match self.held.pop_bytes(left) {
            Some((Item::End(How::Fin | How::Bare), _)) => {
                self.take.apply();
                Pull::Kill(How::Bare)
            }
            Some((item, _)) => {
                self.take.spent[Dir::Down as usize].fetch_add(item.len() as u64, Relaxed);
                Pull::Item(item)
            }
            None => Pull::Wait(self.at.filter(|at| *at > now)),
        }
    }

    fn room(&self) -> bool {
        self.held.room()
    }

    fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn release(&mut self) -> Vec<(Item, Instant)> {
        let mut all = self.held.take();
        if let Some(bytes) = self.sealed.as_mut().and_then(Records::release) {
            let now = Instant::now();
            let at = all.iter().position(|(item, _)| matches!(item, Item::End(_))).unwrap_or(all.len());
            all.insert(at, (Item::Data(Chunk { bytes, arrived: now }), now));
        }
        all
    }

    fn deadline(&self) -> Option<(Instant, How)> {
        self.at.map(|at| (at, How::Bare))
    }

    fn strike(&mut self) {
        self.take.apply();
    }
}

/// Finds the boundaries of records in a stream of them, beginning anywhere.
#[derive(Default)]
struct Records {
    /// The beginning of a record, or a whole one that may be a close_notify.
    kept: BytesMut,
    /// What is to come of a record that may pass.
    left: usize,
}

impl Records {
    /// What may pass now.
    fn pass(&mut self, bytes: &[u8]) -> Option<Bytes> {
        let mut rest = bytes;
        let mut out = BytesMut::new();
        loop {
            let n = self.left.min(rest.len());
            out.extend_from_slice(&rest[..n]);
            self.left -= n;
            rest = &rest[n..];
            if rest.is_empty() {
                break;
            }
            // Something comes after what was kept whole: it was no close_notify.
            if self.kept.len() >= HEADER && self.kept.len() == HEADER + self.announced() {
                out.extend_from_slice(&self.kept.split());
            }
            let want = if self.kept.len() < HEADER { HEADER } else { HEADER + self.announced() };
            let n = (want - self.kept.len()).min(rest.len());
            self.kept.extend_from_slice(&rest[..n]);
            rest = &rest[n..];
            if self.kept.len() >= HEADER && !self.may_be_the_end() {
                self.left = HEADER + self.announced() - self.kept.len();
                out.extend_from_slice(&self.kept.split());
            }
        }
        (!out.is_empty()).then(|| out.freeze())
    }

    fn announced(&self) -> usize {
        usize::from(u16::from_be_bytes([self.kept[3], self.kept[4]]))
    }

    fn may_be_the_end(&self) -> bool {
        let short = self.announced() == ENCRYPTED_ALERT;
        // Alerts of TLS 1.2 are short, too; what is longer is none, whatever it says.
        (self.kept[0] == APPLICATION_DATA && short) || (self.kept[0] == ALERT && self.announced() <= 64)
    }

    fn release(&mut self) -> Option<Bytes> {
        (!self.kept.is_empty()).then(|| self.kept.split().freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Bench, armed};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_end_comes_without_a_word() {
        let fault = armed("tls_truncate", 0);
        let mut bench = Bench::new(&[&fault]);
        bench.push_down(0, "hello");
        assert_eq!(bench.pull_down(0), "hello");
        bench.end_down(1, How::Fin);
        assert_eq!(bench.pull_down(1), "<bare>");
        assert_eq!(fault.evidence().applied, 1);
        let mut bench = Bench::new(&[&armed("tls_truncate when=3B", 0)]);
        bench.push_down(0, "hello");
        assert_eq!(bench.pull_down(0), "hel<bare>");
        let mut bench = Bench::new(&[&armed("tls_truncate when=1s", 0)]);
        bench.push_down(0, "hello");
        assert_eq!(bench.pull_down(0), "hello");
        let late = bench.at(1000);
        assert_eq!(bench.down.strike(late), Some(How::Bare));
    }

    fn record(kind: u8, n: usize) -> Vec<u8> {
        let mut out = vec![kind, 3, 3, 0, n as u8];
        out.extend(std::iter::repeat_n(7, n));
        out
    }

    #[test]
    fn only_the_last_is_lost() {
        let all = [record(23, 19), record(23, 40), record(21, 26), record(22, 9), record(23, 19)].concat();
        for size in 1..all.len() {
            let mut records = Records::default();
            let passed: Vec<u8> = all.chunks(size).filter_map(|part| records.pass(part)).flatten().collect();
            assert_eq!(passed, all[..all.len() - 24], "in parts of {size}");
            assert_eq!(records.release().unwrap(), all[all.len() - 24..]);
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_doubled(bytes in prop::collection::vec(any::<u8>(), 0..500), size in 1_usize..60) {
            let mut records = Records::default();
            let mut passed: Vec<u8> = bytes.chunks(size).filter_map(|part| records.pass(part)).flatten().collect();
            passed.extend(records.release().unwrap_or_default());
            prop_assert_eq!(passed, bytes);
        }
    }
}
