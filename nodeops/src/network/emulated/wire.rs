//! A wire: a thread that reads packets from somewhere, holds them, and lets them go on. Where they come from and how they go
//! on is its [`Carrier`]'s.

use super::course::{Course, Ruling, Stage, Tally};
use super::held::{Due, Held};
use super::{Clock, EARLY, Told, be_punctual, wait};
use crate::network::packet::Packet;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How much may be held: as much as 10 s of a third of a gigabit.
const MOST: usize = 512 << 20;
/// How often is read before what is due is looked at again.
const AT_ONCE: usize = 64;
/// Every how often one looks whether there is more than one packet.
const NOW_AND_THEN: u32 = 8;

/// Where packets of a wire come from, and how they go on.
pub(super) trait Carrier: AsFd + Send + 'static {
    /// A packet that waits.
    type Thing: Send;
    /// How much is read at once, at most.
    const BUFFER: usize;

    /// From now on packets come as these faults need them: whole or their headers only, single or as the kernel has them.
    fn show(&self, stages: &[Arc<Stage>]);

    /// Reads once, without waiting. Whether there was something.
    fn read(&mut self, buffer: &mut [u8], desk: &mut Desk<Self::Thing>) -> bool;

    /// Lets a packet go on. Whether it did.
    fn send(&mut self, thing: Self::Thing) -> bool;

    /// Nothing more is sent at this moment: what was gathered for the kernel is handed over.
    fn finish(&mut self) {}
}

/// A wire that is open. Nothing may be led there any more when it is dropped; what is on its way is sent on.
#[derive(Debug)]
pub(super) struct Wire {
    told: Arc<Told>,
    thread: Option<JoinHandle<()>>,
}

impl Wire {
    /// Starts the thread, with no faults.
    pub(super) fn start(name: &str, carrier: impl Carrier) -> io::Result<Wire> {
        let told = Told::new()?;
        let work = Work { told: told.clone(), carrier, desk: Desk::new(), reads: 0, many: false };
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || work.run())?;
        Ok(Wire { told, thread: Some(thread) })
    }

    /// The faults from now on; what those that are gone (by their slots) hold is let go.
    pub(super) fn set(&self, stages: Vec<Arc<Stage>>, gone: u64) {
        self.told.set(stages, gone);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.told.stop();
        if let Some(thread) = self.thread.take() {
            // It only fails when the thread has panicked, which has been reported.
            let _ = thread.join();
        }
    }
}

/// Decides about packets, and holds them.
pub(super) struct Desk<T> {
    pub(super) clock: Clock,
    stages: Arc<Vec<Arc<Stage>>>,
    course: Course,
    held: Held<T>,
}

impl<T> Desk<T> {
    fn new() -> Desk<T> {
        Desk {
            clock: Clock(Instant::now()),
            stages: Arc::default(),
            course: Course::default(),
            held: Held::new(),
        }
    }

    /// Decides about a packet that came at an interface at a moment.
    pub(super) fn rule(&mut self, packet: Option<&Packet>, link: u32, came: u64, length: usize) -> Ruling {
        self.course.rule(&self.stages, packet, link, (came, self.clock.moment(came)), length)
    }

    /// Whether it may go on at once: it is not held, and would overtake nothing that is due.
    pub(super) fn may_pass(&self, ruling: &Ruling, came: u64) -> bool {
        ruling.due <= came && self.held.is_empty()
    }

    /// Holds a packet, or loses it where too much is held already. Whether it is held.
    pub(super) fn hold(&mut self, ruling: &Ruling, size: usize, thing: impl FnOnce() -> T) -> bool {
        let fits = self.held.bytes + size <= MOST;
        if fits {
            self.held.push(ruling.due, ruling.held_by, size, thing());
        } else {
            self.blame(ruling.held_by);
        }
        fits
    }

    /// These faults, by their slots, have lost a packet that was to go on.
    pub(super) fn blame(&self, slots: u64) {
        for stage in self.stages.iter().filter(|s| slots & (1 << s.slot) != 0) {
            Tally::add(&stage.tally.failed, 1);
        }
    }
}

struct Work<C: Carrier> {
    told: Arc<Told>,
    carrier: C,
    desk: Desk<C::Thing>,
    reads: u32,
    /// There was more than one packet to be read the last time.
    many: bool,
}

impl<C: Carrier> Work<C> {
    fn run(mut self) {
        be_punctual();
        let mut buffer = vec![0; C::BUFFER];
        let mut version = u64::MAX;
        loop {
            let now = self.told.version.load(Ordering::Acquire);
            if now != version {
                version = now;
                self.renew();
            }
            let now = self.send_due();
            if self.told.stop.load(Ordering::Acquire) {
                break;
            }
            if wait(&self.carrier, &self.told, self.desk.held.next(), now, self.desk.clock) {
                self.read(&mut buffer);
            }
        }
        // The rules are gone; a packet that was just passing through them may still come.
        std::thread::sleep(Duration::from_millis(2));
        self.desk.stages = Arc::default();
        self.many = true;
        self.read(&mut buffer);
        self.desk.held.release(u64::MAX);
        self.send_due();
    }

    /// Other faults.
    fn renew(&mut self) {
        let desk = &mut self.desk;
        desk.stages = self.told.stages();
        desk.course.keep(&desk.stages);
        desk.held.release(self.told.release.swap(0, Ordering::AcqRel));
        self.carrier.show(&desk.stages);
    }

    /// Reads what there is. Where packets come one by one, whether there is another is asked only now and then: whoever waits
    /// next sees it anyway, and half of all system calls would be for nothing.
    fn read(&mut self, buffer: &mut [u8]) {
        self.reads = self.reads.wrapping_add(1);
        let most = match self.many {
            true => AT_ONCE,
            false if self.reads.is_multiple_of(NOW_AND_THEN) => 2,
            false => 1,
        };
        let read = (0..most).take_while(|_| self.carrier.read(buffer, &mut self.desk)).count();
        self.many = read >= 2;
        self.carrier.finish();
    }

    /// Lets go what is due. Gives the time, when it did not pass with that.
    fn send_due(&mut self) -> Option<u64> {
        let desk = &mut self.desk;
        let began = (!desk.held.is_empty()).then(|| desk.clock.now());
        let mut now = began.unwrap_or(0);
        while let Some(Due { at, by, thing }) = desk.held.pop(now + EARLY) {
            let sent = self.carrier.send(thing);
            now = desk.clock.now();
            let late = now.saturating_sub(at);
            for stage in desk.stages.iter().filter(|s| by & (1 << s.slot) != 0) {
                if !sent {
                    Tally::add(&stage.tally.failed, 1);
                } else if at > 0 {
                    Tally::add(&stage.tally.overdue, late);
                    Tally::add(&stage.tally.sent, 1);
                }
            }
        }
        self.carrier.finish();
        began.filter(|began| *began == now)
    }
}
