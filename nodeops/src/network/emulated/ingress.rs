//! What comes in (and everything on lo): the kernel holds it in a queue, and is told when it goes on.

use super::course::{Ruling, Stage, bend};
use super::wire::{Carrier, Desk, Wire};
use super::{Clock, named};
use crate::network::packet;
use host::frames::PacketSender;
use host::netlink::queue::{Queue, Verdicts, Waiting};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A wire of packets that come in, at all interfaces of a namespace.
#[derive(Debug)]
pub(crate) struct Ingress {
    wire: Wire,
    number: u16,
}

impl Ingress {
    /// Takes a queue, in the namespace of this thread, and starts the thread that serves it. Nothing is led there yet.
    pub(crate) fn open(mark: u32) -> io::Result<Ingress> {
        let queue = Queue::open().map_err(|e| {
            let needs = "CAP_NET_ADMIN and CONFIG_NETFILTER_NETLINK_QUEUE (module nfnetlink_queue)";
            named("taking a queue of netfilter", needs, &io::Error::other(e))
        })?;
        let again = PacketSender::open(mark).map_err(|e| named("opening a raw socket", "CAP_NET_RAW", &e))?;
        let number = queue.number();
        let queued = Queued { verdicts: queue.verdicts(), queue, again, wall: Wall::default() };
        Ok(Ingress { wire: Wire::start("murphy-ingress", queued)?, number })
    }

    /// The number of the queue that packets are to be led to.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// The faults from now on; what those that are gone (by their slots) hold is let go.
    pub(crate) fn set(&self, stages: Vec<Arc<Stage>>, gone: u64) {
        self.wire.set(stages, gone);
    }
}

/// How long in nanoseconds it is believed how much the clocks differ.
const SURE: u64 = 100_000_000;
/// What came longer ago than this did not.
const OLDEST: u64 = 20_000_000;

/// What waits.
#[derive(Debug)]
enum Kept {
    /// A packet that the kernel holds, and the bytes it goes on with when they are others.
    Packet(u32, Option<Vec<u8>>),
    /// A packet that comes once more. The kernel's queue cannot double one; a raw socket sends it again, marked so that no
    /// rule of ours sees it.
    Again(Vec<u8>),
}

struct Queued {
    queue: Queue,
    again: PacketSender,
    verdicts: Verdicts,
    wall: Wall,
}

impl AsFd for Queued {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

impl Carrier for Queued {
    type Thing = Kept;
    const BUFFER: usize = 256 << 10;

    fn show(&self, stages: &[Arc<Stage>]) {
        let whole = stages.iter().any(|s| s.shape.wants_bytes() || s.shape.wants_single_packets());
        let _ = self.queue.show(whole);
    }

    fn read(&mut self, buffer: &mut [u8], desk: &mut Desk<Kept>) -> bool {
        let Queued { queue, verdicts, wall, .. } = self;
        let got = queue.receive(buffer, |waiting| {
            let parsed = packet::parse(waiting.bytes);
            let now = desk.clock.now();
            let came = waiting.came.map_or(now, |stamp| wall.here(stamp, now, desk.clock));
            let ruling = desk.rule(parsed.as_ref(), waiting.interface, came, waiting.length);
            pass(&waiting, &ruling, came, desk, verdicts);
        });
        if self.verdicts.is_full() {
            self.finish();
        }
        // Nothing more, or an error that the next reading shows again.
        got.is_ok()
    }

    fn send(&mut self, thing: Kept) -> bool {
        match thing {
            Kept::Packet(id, Some(bytes)) => self.verdicts.replace(id, &bytes),
            Kept::Packet(id, None) => self.verdicts.accept(id),
            Kept::Again(bytes) => {
                // What cannot be sent comes just once.
                let _ = self.again.send(&bytes);
            }
        }
        if self.verdicts.is_full() {
            self.finish();
        }
        true
    }

    fn finish(&mut self) {
        // The kernel refuses a verdict only about what it holds no longer.
        let _ = self.queue.decide(&mut self.verdicts);
    }
}

/// Moments of the wall clock as those of this wire's.
#[derive(Debug, Default)]
struct Wall {
    /// What the wall clock has more than ours.
    ahead: Duration,
    /// When that was found.
    at: Option<u64>,
}

impl Wall {
    /// When a packet came that is met now. Since it came, not since we were told: that is later when this thread had to be
    /// woken first. What cannot be is now: someone has set the clock.
    fn here(&mut self, stamp: Duration, now: u64, clock: Clock) -> u64 {
        if self.at.is_none_or(|at| now - at > SURE) {
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            // Read after it: who is interrupted in between takes packets for later than they are, and lets none go early.
            let after = Duration::from_nanos(clock.now());
            (self.ahead, self.at) = (wall.saturating_sub(after), Some(now));
        }
        let came = stamp.checked_sub(self.ahead).and_then(|came| u64::try_from(came.as_nanos()).ok());
        came.filter(|came| *came <= now && now - *came < OLDEST).unwrap_or(now)
    }
}

fn pass(waiting: &Waiting<'_>, ruling: &Ruling, came: u64, desk: &mut Desk<Kept>, verdicts: &mut Verdicts) {
    if ruling.lost {
        verdicts.drop(waiting.id);
        return;
    }
    let mut other = None;
    if !ruling.bends.is_empty() {
        let bytes: &mut Vec<u8> = other.insert(waiting.bytes.to_vec());
        for (pick, fix) in &ruling.bends {
            bend(bytes, *pick, *fix, false);
        }
    }
    let copies = (0..ruling.copies).map(|_| other.clone().unwrap_or_else(|| waiting.bytes.to_vec()));
    let copies: Vec<Vec<u8>> = copies.collect();
    if copies.is_empty() && desk.may_pass(ruling, came) {
        match &other {
            Some(bytes) => verdicts.replace(waiting.id, bytes),
            None => verdicts.accept(waiting.id),
        }
        return;
    }
    if !desk.hold(ruling, waiting.bytes.len(), || Kept::Packet(waiting.id, other)) {
        verdicts.drop(waiting.id);
    }
    for copy in copies {
        desk.hold(ruling, copy.len(), || Kept::Again(copy));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_of_the_wall_clock_is_one_of_ours_unless_it_cannot_be() {
        let mut wall = Wall { ahead: Duration::from_secs(100), at: Some(5_000_000_000) };
        let now = 5_050_000_000;
        let at = |nanos: u64| Duration::from_secs(100) + Duration::from_nanos(nanos);
        let clock = Clock(std::time::Instant::now());
        assert_eq!(wall.here(at(5_049_950_000), now, clock), 5_049_950_000);
        // Later than now, long ago, before our clock began.
        for impossible in [at(5_050_000_001), at(4_000_000_000), Duration::from_secs(7)] {
            assert_eq!(wall.here(impossible, now, clock), now);
        }
        // After a while it is looked again.
        wall.here(at(0), now + 200_000_000, clock);
        assert_eq!(wall.at, Some(now + 200_000_000));
    }
}
