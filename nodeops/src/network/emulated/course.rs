//! What becomes of a packet under all faults of a wire, one after the other.

use crate::network::filter::{Matcher, Way};
use crate::network::packet::Packet;
use crate::network::shape::{Fate, Memory, Shape};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A fault on a wire.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Its number, unique in this process.
    pub key: u64,
    /// Its bit in masks of faults.
    pub slot: u8,
    /// The interfaces it is on, with the way that packets go there.
    pub on: Vec<(u32, Way)>,
    /// Which packets.
    pub matcher: Arc<Matcher>,
    /// What is done to them.
    pub shape: Arc<Shape>,
    /// What its draws begin from.
    pub seed: u64,
    /// When it was armed.
    pub armed: Instant,
    /// What it did.
    pub tally: Arc<Tally>,
}

/// What a fault did, in all.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Packets that its filter hits.
    pub seen: AtomicU64,
    /// Packets that it changed, held or lost.
    pub applied: AtomicU64,
    /// Of those, lost.
    pub lost: AtomicU64,
    /// Lost because the queue in front of a slow link was full.
    pub crowded: AtomicU64,
    /// Held for a while.
    pub delayed: AtomicU64,
    /// Nanoseconds that were added.
    pub added: AtomicU64,
    /// How late packets went on, after their time, in nanoseconds.
    pub overdue: AtomicU64,
    /// How many of those were measured.
    pub sent: AtomicU64,
    /// Packets that could not be held or sent on: lost without being asked to.
    pub failed: AtomicU64,
}

impl Tally {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ruling {
    /// It vanishes.
    pub lost: bool,
    /// When it goes on.
    pub due: u64,
    /// How often it goes on besides.
    pub copies: u32,
    /// Bits that are flipped.
    pub bends: Vec<(u64, bool)>,
    /// The faults that hold it, by their slots.
    pub held_by: u64,
}

/// The memories of all faults of a wire.
#[derive(Debug, Default)]
pub(super) struct Course {
    memories: HashMap<u64, Memory>,
}

impl Course {
    /// Forgets faults that are gone.
    pub(super) fn keep(&mut self, stages: &[Arc<Stage>]) {
        self.memories.retain(|key, _| stages.iter().any(|s| s.key == *key));
    }

    /// Decides about a packet that passes at an interface at a moment.
    pub(super) fn rule(
        &mut self,
        stages: &[Arc<Stage>],
        packet: Option<&Packet>,
        link: u32,
        (now, moment): (u64, Instant),
        length: usize,
    ) -> Ruling {
        let mut ruling = Ruling { lost: false, due: now, copies: 0, bends: Vec::new(), held_by: 0 };
        let Some(packet) = packet else { return ruling };
        for stage in stages {
            let hit = |(on, way): &(u32, Way)| *on == link && stage.matcher.hits(packet, *way);
            if !stage.on.iter().any(hit) {
                continue;
            }
            let tally = &stage.tally;
            Tally::add(&tally.seen, 1);
            let memory = self.memories.entry(stage.key).or_insert_with(|| Memory::new(stage.seed));
            let fate = memory.decide(
                &stage.shape,
                ruling.due,
                length,
                moment.saturating_duration_since(stage.armed),
            );
            if fate != Fate::Untouched {
                Tally::add(&tally.applied, 1);
            }
            match fate {
                Fate::Untouched => {}
                Fate::Lost | Fate::Crowded => {
                    Tally::add(if fate == Fate::Lost { &tally.lost } else { &tally.crowded }, 1);
                    ruling.lost = true;
                    return ruling;
                }
                Fate::At(at) => {
                    Tally::add(&tally.added, at.saturating_sub(ruling.due));
                    Tally::add(&tally.delayed, 1);
                    ruling.due = ruling.due.max(at);
                    ruling.held_by |= 1 << stage.slot;
                }
                Fate::Twice => ruling.copies += 1,
                Fate::Bent(pick, fix) => ruling.bends.push((pick, fix)),
            }
        }
        ruling
    }
}

/// Flips a bit of a packet, from its IP header on. `partial`: the kernel has left the checksum to be filled in. Whether
/// there was a bit to flip.
pub(super) fn bend(bytes: &mut [u8], pick: u64, fix: bool, partial: bool) -> bool {
    use crate::network::packet::{self, TCP};
    let Some(packet) = packet::parse(bytes) else { return false };
    let from = match (fix, packet.protocol) {
        // What the application reads begins after the header.
        (true, TCP) => {
            let words = bytes.get(packet.transport + 12).map_or(5, |b| b >> 4);
            packet.transport + usize::from(words) * 4
        }
        (true, _) => packet.transport + 8,
        (false, _) => packet.transport,
    };
    if from >= bytes.len() {
        return false;
    }
    if partial && !fix {
        // First made right, so that it is wrong afterwards.
        packet::repair(bytes);
    }
    let at = from + (pick % (bytes.len() - from) as u64) as usize;
    bytes[at] ^= 1 << (pick >> 61);
    if fix && !partial {
        packet::repair(bytes);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::packet::{parse, repair, tests::build};

    fn stage(name: &str, params: &str, slot: u8) -> Arc<Stage> {
        let json = format!(r#"{{"target":"node:self","for":"60s","inject":{{"{name}":{params}}}}}"#);
        let fault: model::Fault = serde_json::from_str(&json).unwrap();
        let filter = crate::network::filter::Filter::read(&fault.inject).unwrap();
        Arc::new(Stage {
            key: slot.into(),
            slot,
            on: vec![(3, Way::Out)],
            matcher: Arc::new(filter.resolve(&Default::default())),
            shape: Arc::new(Shape::read(&fault).unwrap()),
            seed: 7,
            armed: Instant::now(),
            tally: Arc::default(),
        })
    }

    #[test]
    fn faults_add_up_and_each_counts_what_it_hits() {
        let stages = vec![
            stage("net_delay", r#"{"delay":"10ms"}"#, 0),
            stage("net_delay", r#"{"delay":"5ms","remote_port":"80"}"#, 1),
            stage("net_duplicate", r#"{"chance":"100%","peer":"10.9.0.0/16"}"#, 2),
        ];
        let mut course = Course::default();
        let one = build("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap(), 6, (9, 80));
        let packet = parse(&one);
        let ruling = course.rule(&stages, packet.as_ref(), 3, (1_000, Instant::now()), 100);
        assert_eq!((ruling.due, ruling.held_by, ruling.copies), (15_001_000, 0b11, 0));
        let ruling = course.rule(&stages, packet.as_ref(), 4, (1_000, Instant::now()), 100);
        assert_eq!((ruling.due, ruling.held_by), (1_000, 0));
        let seen = |n: usize| stages[n].tally.seen.load(Ordering::Relaxed);
        assert_eq!((seen(0), seen(1), seen(2)), (1, 1, 0));
    }

    #[test]
    fn a_bent_packet_fits_its_checksum_only_when_asked() {
        let mut right = build("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap(), 17, (9, 80));
        right[26..28].copy_from_slice(&[1, 1]);
        repair(&mut right);
        let fits = |bytes: &[u8]| {
            let mut again = bytes.to_vec();
            repair(&mut again);
            again[26..28] == bytes[26..28]
        };
        assert!(fits(&right));
        for pick in (0..200_u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
            for partial in [false, true] {
                let mut wrong = right.clone();
                assert!(bend(&mut wrong, pick, false, partial) && !fits(&wrong));
            }
            let mut other = right.clone();
            assert!(bend(&mut other, pick, true, false) && fits(&other) && other[28..] != right[28..]);
        }
    }
}
