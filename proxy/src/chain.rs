//! What lies between the two sockets of a connection, per direction: a chain of stages, one per fault that took it.
//!
//! Stages neither read sockets nor clocks; they are pushed what arrives and pulled for what is due, with the time as an
//! argument. A chain without stages is bypassed. Ends of the stream travel through it like data, so that neither an
//! orderly end nor a reset by the other side overtakes the bytes that are held before it.

use crate::conn::Take;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dir {
    /// From the client to the service.
    Up,
    /// From the service to the client.
    Down,
}

/// How a connection or a direction of it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// In order.
    Fin,
    /// By a reset.
    Rst,
    /// In order as far as TCP is concerned, but without TLS saying so. Without TLS the same as `Fin`.
    Bare,
}

/// Bytes on their way.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chunk {
    /// Never empty.
    pub(crate) bytes: Bytes,
    /// When they came to the proxy.
    pub(crate) arrived: Instant,
}

/// What travels through a chain.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    /// Bytes.
    Data(Chunk),
    /// The sender's end, or its reset; the last item.
    End(How),
}

impl Item {
    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        match self {
            Item::Data(chunk) => chunk.bytes.len(),
            Item::End(_) => 0,
        }
    }
}

/// What comes out of a stage or of a chain.
#[derive(Debug, PartialEq)]
pub(crate) enum Pull {
    /// The next item.
    Item(Item),
    /// Nothing before that time, or before something is pushed or changes.
    Wait(Option<Instant>),
    /// The whole connection ends now.
    Kill(How),
}

/// One fault on one direction of one connection.
pub(crate) trait Stage: Send {
    /// Takes an item that came to this stage at `at`.
    fn push(&mut self, item: Item, at: Instant);

    /// Hands on what is due.
    fn pull(&mut self, now: Instant) -> Pull;

    /// Whether more should be pushed now. What is held is bounded by this, and then the sender feels it.
    fn room(&self) -> bool;

    /// Whether nothing is held.
    fn is_empty(&self) -> bool;

    /// Gives up all it holds, in order, each with the time at which it came.
    fn release(&mut self) -> Vec<(Item, Instant)>;

    /// When it ends the whole connection by itself, whatever passes.
    fn deadline(&self) -> Option<(Instant, How)> {
        None
    }

    /// Its deadline has come, and the connection ends by it.
    fn strike(&mut self) {}
}

struct Link {
    take: Arc<Take>,
    version: u64,
    stage: Box<dyn Stage>,
}

/// The stages of one direction, in the order in which they act.
pub(crate) struct Chain {
    dir: Dir,
    links: Vec<Link>,
    /// What has passed all stages.
    out: VecDeque<Item>,
    deadline: Option<(Instant, How)>,
    /// When a ramped share takes or leaves the connection.
    turn: Option<Instant>,
}

/// As many bytes as one stage holds before the sender has to wait.
pub(crate) const HOLD: usize = 4 * 1024 * 1024;

impl Chain {
    /// A chain without stages.
    pub(crate) fn new(dir: Dir) -> Chain {
        Chain { dir, links: Vec::new(), out: VecDeque::new(), deadline: None, turn: None }
    }

    /// Nothing is between the sockets: bytes may pass directly.
    pub(crate) fn is_bypassed(&self) -> bool {
        self.links.is_empty() && self.out.is_empty()
    }

    /// Whether faults act in it.
    pub(crate) fn has_stages(&self) -> bool {
        !self.links.is_empty()
    }

    /// Whether nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.out.is_empty() && self.links.iter().all(|l| l.stage.is_empty())
    }

    /// Whether more should be read.
    pub(crate) fn room(&self) -> bool {
        match self.links.first() {
            Some(link) => link.stage.room(),
            None => self.out.is_empty(),
        }
    }

    /// Whether and how the whole connection ends by itself now.
    pub(crate) fn strike(&mut self, now: Instant) -> Option<How> {
        let (at, how) = self.deadline.filter(|(at, _)| *at <= now)?;
        let due = |l: &&mut Link| l.stage.deadline().is_some_and(|(d, _)| d == at);
        if let Some(link) = self.links.iter_mut().find(due) {
            link.stage.strike();
        }
        Some(how)
    }

    /// When something must be looked at even though nothing passes.
    pub(crate) fn watch(&self) -> Option<Instant> {
        earlier(self.deadline.map(|(at, _)| at), self.turn)
    }

    /// Whether `sync` is due because time has passed.
    pub(crate) fn must_turn(&self, now: Instant) -> bool {
        self.turn.is_some_and(|at| at <= now)
    }

    /// Puts in what has arrived.
    pub(crate) fn push(&mut self, item: Item, now: Instant) {
        match self.links.first_mut() {
            Some(link) => link.stage.push(item, now),
            None => self.out.push_back(item),
        }
    }

    /// Takes out what is due.
    pub(crate) fn pull(&mut self, now: Instant) -> Pull {
        match self.out.pop_front() {
            Some(item) => Pull::Item(item),
            None => pull_from(&mut self.links, now),
        }
    }

    /// Makes the stages those of the faults that have the connection now. What a stage held whose fault is gone moves on.
    pub(crate) fn sync(&mut self, takes: &[Arc<Take>], now: Instant) {
        let mut old: Vec<Link> = std::mem::take(&mut self.links);
        self.turn = None;
        let mut new = Vec::with_capacity(takes.len());
        for take in takes {
            let (on, turn) = take.active(now);
            self.turn = earlier(self.turn, turn);
            if !on {
                continue;
            }
            take.since(now);
            let settings = take.fault.settings();
            if let Some(at) =
                old.iter().position(|l| Arc::ptr_eq(&l.take, take) && l.version == settings.version)
            {
                new.push(old.remove(at));
                continue;
            }
            let Some(mut stage) = settings.stage(take, self.dir, now) else { continue };
            if let Some(at) = old.iter().position(|l| Arc::ptr_eq(&l.take, take)) {
                // Changed parameters count for what is held, too, from when it came.
                for (item, came) in old.remove(at).stage.release() {
                    stage.push(item, came);
                }
            }
            new.push(Link { take: take.clone(), version: settings.version, stage });
        }
        // From the last to the first, so that what is nearer to the receiver stays ahead.
        for mut gone in old.into_iter().rev() {
            let next = new.iter_mut().find(|l| l.take.fault.order > gone.take.fault.order);
            let items = gone.stage.release().into_iter().map(|(item, _)| item);
            match next {
                Some(link) => items.for_each(|item| link.stage.push(item, now)),
                None => self.out.extend(items),
            }
        }
        self.links = new;
        self.deadline = self.links.iter().filter_map(|l| l.stage.deadline()).min_by_key(|(at, _)| *at);
    }
}

fn pull_from(links: &mut [Link], now: Instant) -> Pull {
    let Some((last, before)) = links.split_last_mut() else { return Pull::Wait(None) };
    loop {
        let wait = match last.stage.pull(now) {
            Pull::Wait(at) => at,
            other => return other,
        };
        if before.is_empty() || !last.stage.room() {
            return Pull::Wait(wait);
        }
        match pull_from(before, now) {
            Pull::Item(item) => last.stage.push(item, now),
            Pull::Wait(at) => return Pull::Wait(earlier(wait, at)),
            kill => return kill,
        }
    }
}

/// The earlier of two moments, where none is never.
pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// A queue of items with the time at which each came, and the bytes in it: what most stages hold.
#[derive(Default)]
pub(crate) struct Held {
    items: VecDeque<(Item, Instant)>,
    bytes: usize,
}

impl Held {
    /// Adds at the end.
    pub(crate) fn push(&mut self, item: Item, at: Instant) {
        if let Item::Data(chunk) = &item {
            self.bytes += chunk.bytes.len();
        }
        self.items.push_back((item, at));
    }

    /// The first one.
    pub(crate) fn front(&self) -> Option<&(Item, Instant)> {
        self.items.front()
    }

    /// Takes the first one.
    pub(crate) fn pop(&mut self) -> Option<(Item, Instant)> {
        let (item, at) = self.items.pop_front()?;
        if let Item::Data(chunk) = &item {
            self.bytes -= chunk.bytes.len();
        }
        Some((item, at))
    }

    /// Takes the first one, of its bytes at most `most`; the rest stays first.
    pub(crate) fn pop_bytes(&mut self, most: usize) -> Option<(Item, Instant)> {
        match self.items.front_mut() {
            Some((Item::Data(chunk), at)) if chunk.bytes.len() > most => {
                let bytes = chunk.bytes.split_to(most);
                self.bytes -= most;
                Some((Item::Data(Chunk { bytes, arrived: chunk.arrived }), *at))
            }
            _ => self.pop(),
        }
    }

    /// How many bytes there are.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether it is below what a stage may hold.
    pub(crate) fn room(&self) -> bool {
        self.bytes < HOLD && self.items.len() < HOLD / 64
    }

    /// Everything, in order.
    pub(crate) fn take(&mut self) -> Vec<(Item, Instant)> {
        self.bytes = 0;
        std::mem::take(&mut self.items).into()
    }
}
