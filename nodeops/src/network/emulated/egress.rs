//! What leaves at one interface: read from a TAP device, held, sent on through the interface's own qdisc.

use super::course::{Course, Ruling, Stage, Tally, bend};
use super::held::{Due, Held};
use super::{Clock, EARLY, Told, be_punctual, wait};
use crate::network::packet;
use host::frames::{FrameSender, HEAD, Tap};
use host::netlink::route::{Link, Route};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How much may be held: as much as 10 s of a third of a gigabit.
const MOST: usize = 512 << 20;
/// How many frames are read before those that are due are looked at again.
const AT_ONCE: usize = 64;
/// struct virtio_net_hdr: the checksum is to be filled in.
const NEEDS_CHECKSUM: u8 = 1;

/// A wire of packets that leave.
#[derive(Debug)]
pub(crate) struct Egress {
    told: Arc<Told>,
    thread: Option<JoinHandle<()>>,
    device: Link,
}

impl Egress {
    /// Makes the device and the socket, in the namespace of this thread, and starts the thread that serves them. Nothing is
    /// led there yet.
    pub(crate) fn open(link: &Link, mark: u32) -> io::Result<Egress> {
        let sender = FrameSender::open(link.index, mark)
            .map_err(|e| named("opening a packet socket", "CAP_NET_RAW and CONFIG_PACKET", &e))?;
        let tap = Tap::open().map_err(|e| named("making a TAP device", "/dev/net/tun and CONFIG_TUN", &e))?;
        let mut route = Route::open().map_err(io::Error::other)?;
        let find = |route: &mut Route| -> io::Result<Link> {
            route
                .link(tap.name())
                .map_err(io::Error::other)?
                .ok_or_else(|| io::Error::other(format!("{} is gone as soon as it was made", tap.name())))
        };
        let device = find(&mut route)?;
        route.set_quiet(device.index, 20_000).map_err(io::Error::other)?;
        route.set_up(device.index, true).map_err(io::Error::other)?;
        tap.show(false)?;
        let told = Told::new()?;
        let work = Work {
            told: told.clone(),
            tap,
            sender,
            link: link.index,
            own: device.address.clone(),
            clock: Clock(Instant::now()),
            course: Course::default(),
            held: Held::new(),
            spare: Vec::new(),
            stages: Arc::default(),
        };
        let thread = std::thread::Builder::new().name("murphy-egress".into()).spawn(move || work.run())?;
        Ok(Egress { told, thread: Some(thread), device })
    }

    /// The index of the device that packets are to be led to.
    pub(crate) fn index(&self) -> u32 {
        self.device.index
    }

    /// The faults from now on; what those that are gone (by their slots) hold is let go.
    pub(crate) fn set(&self, stages: Vec<Arc<Stage>>, gone: u64) {
        self.told.set(stages, gone);
    }
}

impl Drop for Egress {
    /// Nothing must be led there any more. What is still on its way is sent on.
    fn drop(&mut self) {
        self.told.stop();
        if let Some(thread) = self.thread.take() {
            // It only fails when the thread has panicked, which has been reported.
            let _ = thread.join();
        }
    }
}

pub(super) fn named(what: &str, needs: &str, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{what} failed: {e}; it needs {needs}"))
}

struct Work {
    told: Arc<Told>,
    tap: Tap,
    sender: FrameSender,
    link: u32,
    own: Vec<u8>,
    clock: Clock,
    course: Course,
    held: Held<Vec<u8>>,
    /// Buffers to be used again.
    spare: Vec<Vec<u8>>,
    stages: Arc<Vec<Arc<Stage>>>,
}

impl Work {
    fn run(mut self) {
        be_punctual();
        let mut buffer = vec![0; 70_000];
        let mut version = u64::MAX;
        loop {
            let now = self.told.version.load(Ordering::Acquire);
            if now != version {
                version = now;
                self.renew();
            }
            self.send_due();
            if self.told.stop.load(Ordering::Acquire) {
                break;
            }
            if wait(&self.tap, &self.told, self.held.next(), self.clock) {
                self.read(&mut buffer);
            }
        }
        // The rules are gone; a packet that was just passing through them may still come.
        std::thread::sleep(Duration::from_millis(2));
        self.stages = Arc::default();
        self.read(&mut buffer);
        self.held.release(u64::MAX);
        while let Some(due) = self.held.pop(u64::MAX) {
            let _ = self.sender.send(&due.thing);
        }
    }

    /// Other faults.
    fn renew(&mut self) {
        self.stages = self.told.stages();
        self.course.keep(&self.stages);
        self.held.release(self.told.release.swap(0, Ordering::AcqRel));
        let single = self.stages.iter().any(|s| s.shape.wants_single_packets());
        // A kernel that refuses hands over what it likes; decisions are then for larger pieces.
        let _ = self.tap.show(single);
    }

    fn send_due(&mut self) {
        while let Some(Due { at, by, thing }) = self.held.pop(self.clock.now() + EARLY) {
            let sent = self.sender.send(&thing).is_ok();
            let late = self.clock.now().saturating_sub(at);
            for stage in self.stages.iter().filter(|s| by & (1 << s.slot) != 0) {
                if !sent {
                    Tally::add(&stage.tally.failed, 1);
                } else if at > 0 {
                    Tally::add(&stage.tally.overdue, late);
                    Tally::add(&stage.tally.sent, 1);
                }
            }
            self.keep_buffer(thing);
        }
    }

    fn keep_buffer(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < 4096 {
            self.spare.push(buffer);
        }
    }

    fn read(&mut self, buffer: &mut [u8]) {
        for _ in 0..AT_ONCE {
            let Ok(n) = self.tap.read(buffer) else { return };
            let frame = &mut buffer[..n];
            // What the device itself says (IPv6 likes to talk) is no packet of anyone.
            if n < HEAD + 14 || frame[HEAD + 6..HEAD + 12] == self.own[..] {
                continue;
            }
            let start = packet::ip_in_frame(&frame[HEAD..]).map(|at| at + HEAD);
            let parsed = start.and_then(|at| packet::parse(&frame[at..]));
            let length = start.map_or(n, |at| n - at);
            let now = self.clock.now();
            let ruling = self.course.rule(&self.stages, parsed.as_ref(), self.link, now, length);
            if !ruling.lost {
                self.pass(frame, start, &ruling, now);
            }
        }
    }

    fn pass(&mut self, frame: &mut [u8], start: Option<usize>, ruling: &Ruling, now: u64) {
        // What was verified before is not to be said to the kernel.
        frame[0] &= NEEDS_CHECKSUM;
        for (pick, fix) in &ruling.bends {
            let Some(at) = start else { break };
            let partial = frame[0] & NEEDS_CHECKSUM != 0;
            if bend(&mut frame[at..], *pick, *fix, partial) && partial && !*fix {
                frame[..HEAD].fill(0);
            }
        }
        for _ in 0..=ruling.copies {
            if ruling.due <= now && self.held.is_empty() {
                if self.sender.send(frame).is_err() {
                    self.blame(u64::MAX);
                }
            } else if self.held.bytes + frame.len() > MOST {
                self.blame(ruling.held_by);
            } else {
                let mut kept = self.spare.pop().unwrap_or_default();
                kept.clear();
                kept.extend_from_slice(frame);
                let size = kept.len();
                self.held.push(ruling.due, ruling.held_by, size, kept);
            }
        }
    }

    fn blame(&self, slots: u64) {
        for stage in self.stages.iter().filter(|s| slots & (1 << s.slot) != 0) {
            Tally::add(&stage.tally.failed, 1);
        }
    }
}
