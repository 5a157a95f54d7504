//! What comes in (and everything on lo): the kernel holds it in a queue, and is told when it goes on.

use super::course::{Course, Ruling, Stage, Tally, bend};
use super::egress::named;
use super::held::{Due, Held};
use super::{Clock, EARLY, Told, be_punctual, wait};
use crate::network::packet;
use host::frames::PacketSender;
use host::netlink::queue::{Queue, Verdicts, Waiting};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A wire of packets that come in, at all interfaces of a namespace.
#[derive(Debug)]
pub(crate) struct Ingress {
    told: Arc<Told>,
    thread: Option<JoinHandle<()>>,
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
        let told = Told::new()?;
        let number = queue.number();
        let work = Work {
            told: told.clone(),
            verdicts: queue.verdicts(),
            queue,
            again,
            clock: Clock(Instant::now()),
            course: Course::default(),
            held: Held::new(),
            stages: Arc::default(),
        };
        let thread = std::thread::Builder::new().name("murphy-ingress".into()).spawn(move || work.run())?;
        Ok(Ingress { told, thread: Some(thread), number })
    }

    /// The queue that packets are to be led to.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// The faults from now on; what those that are gone (by their slots) hold is let go.
    pub(crate) fn set(&self, stages: Vec<Arc<Stage>>, gone: u64) {
        self.told.set(stages, gone);
    }
}

impl Drop for Ingress {
    /// Nothing must be led there any more. What still waits goes on.
    fn drop(&mut self) {
        self.told.stop();
        if let Some(thread) = self.thread.take() {
            // It only fails when the thread has panicked, which has been reported.
            let _ = thread.join();
        }
    }
}

/// What waits.
#[derive(Debug)]
enum Kept {
    /// A packet that the kernel holds, and the bytes it goes on with when they are others.
    Packet(u32, Option<Vec<u8>>),
    /// A packet that comes once more. The kernel's queue cannot double one; a raw socket sends it again, marked so that no
    /// rule of ours sees it.
    Again(Vec<u8>),
}

struct Work {
    told: Arc<Told>,
    queue: Queue,
    again: PacketSender,
    verdicts: Verdicts,
    clock: Clock,
    course: Course,
    held: Held<Kept>,
    stages: Arc<Vec<Arc<Stage>>>,
}

impl Work {
    fn run(mut self) {
        be_punctual();
        let mut buffer = vec![0; 256 << 10];
        let mut version = u64::MAX;
        loop {
            let now = self.told.version.load(Ordering::Acquire);
            if now != version {
                version = now;
                self.renew();
            }
            self.let_go();
            if self.told.stop.load(Ordering::Acquire) {
                break;
            }
            if wait(&self.queue, &self.told, self.held.next(), self.clock) {
                self.read(&mut buffer);
            }
        }
        // The rules are gone; a packet that was just passing through them may still come.
        std::thread::sleep(Duration::from_millis(2));
        self.stages = Arc::default();
        self.read(&mut buffer);
        self.held.release(u64::MAX);
        self.let_go();
    }

    fn renew(&mut self) {
        self.stages = self.told.stages();
        self.course.keep(&self.stages);
        self.held.release(self.told.release.swap(0, Ordering::AcqRel));
        let whole = self.stages.iter().any(|s| s.shape.wants_bytes() || s.shape.wants_single_packets());
        let _ = self.queue.show(whole);
    }

    /// Lets go what is due.
    fn let_go(&mut self) {
        while let Some(Due { at, by, thing }) = self.held.pop(self.clock.now() + EARLY) {
            let late = self.clock.now().saturating_sub(at);
            for stage in self.stages.iter().filter(|s| at > 0 && by & (1 << s.slot) != 0) {
                Tally::add(&stage.tally.overdue, late);
                Tally::add(&stage.tally.sent, 1);
            }
            match thing {
                Kept::Packet(id, Some(bytes)) => self.verdicts.replace(id, &bytes),
                Kept::Packet(id, None) => self.verdicts.accept(id),
                Kept::Again(bytes) => {
                    // What cannot be sent comes just once.
                    let _ = self.again.send(&bytes);
                }
            }
            if self.verdicts.is_full() {
                self.tell();
            }
        }
        self.tell();
    }

    fn tell(&mut self) {
        // The kernel refuses a verdict only about what it holds no longer.
        let _ = self.queue.decide(&mut self.verdicts);
    }

    fn read(&mut self, buffer: &mut [u8]) {
        for _ in 0..64 {
            let Work { queue, course, stages, clock, held, verdicts, .. } = self;
            let got = queue.receive(buffer, |waiting| {
                let parsed = packet::parse(waiting.bytes);
                let now = clock.now();
                let ruling = course.rule(stages, parsed.as_ref(), waiting.interface, now, waiting.length);
                pass(&waiting, &ruling, now, held, verdicts);
            });
            match got {
                Ok(_) if self.verdicts.is_full() => self.tell(),
                Ok(_) => {}
                // Nothing more, or an error that the next reading shows again.
                Err(_) => break,
            }
        }
        self.tell();
    }
}

fn pass(waiting: &Waiting<'_>, ruling: &Ruling, now: u64, held: &mut Held<Kept>, verdicts: &mut Verdicts) {
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
    if ruling.due <= now && held.is_empty() && copies.is_empty() {
        match &other {
            Some(bytes) => verdicts.replace(waiting.id, bytes),
            None => verdicts.accept(waiting.id),
        }
        return;
    }
    held.push(ruling.due, ruling.held_by, waiting.bytes.len(), Kept::Packet(waiting.id, other));
    for copy in copies {
        held.push(ruling.due, ruling.held_by, copy.len(), Kept::Again(copy));
    }
}
