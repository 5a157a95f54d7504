//! One connection as the control path sees it: which faults took it, how to wake it, how to end it.
//!
//! The data path compares one number per poll; only when that changed does it look at the list of faults.

use crate::armed::Armed;
use crate::chain::{Dir, How};
use crate::heads::Heads;
use crate::metrics::Metrics;
use crate::route::Chosen;
use crate::target::Target;
use futures::task::AtomicWaker;
use model::draw;
use model::matcher::Facts;
use model::{ConnectionFault, ConnectionState, ConnectionView, TargetRef};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::AcqRel, Ordering::Acquire};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Instant;

/// What is known of a connection when it comes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Birth {
    /// Its number.
    pub(crate) id: u64,
    /// The client's address; none for unix sockets.
    pub(crate) client: Option<SocketAddr>,
    /// The service it was given.
    pub(crate) member: Option<Arc<str>>,
    /// It carries datagrams and not a stream.
    pub(crate) datagrams: bool,
    /// It carries TLS that passes through.
    pub(crate) sealed: bool,
}

/// An open connection.
pub(crate) struct Conn {
    /// Its number, its client, its service.
    pub(crate) birth: Birth,
    /// Bytes from the client, and to it.
    pub(crate) bytes_up: AtomicU64,
    pub(crate) bytes_down: AtomicU64,
    /// Where its numbers go.
    pub(crate) metrics: Arc<Metrics>,
    version: AtomicU64,
    takes: Mutex<Vec<Arc<Take>>>,
    touched: AtomicBool,
    kill: AtomicU8,
    readers: AtomicWaker,
    writers: AtomicWaker,
    heads: Heads,
    born: Instant,
    phase: AtomicU8,
    hold: Mutex<Option<Instant>>,
    sni: OnceLock<String>,
}

/// What a connection is doing by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The service is being dialled, or that is held up.
    Dialling,
    /// Bytes pass both ways.
    Open,
    /// One side has ended.
    HalfClosed,
}

/// A fault and a connection that matches it. Survives changes of the fault's settings, ends with the fault.
pub(crate) struct Take {
    /// The fault.
    pub(crate) fault: Arc<Armed>,
    /// The connection's ordinal among those that match, and the number by which the share decides.
    pub(crate) ordinal: u64,
    share: u64,
    /// Bytes that the fault has counted on this connection, up and down.
    pub(crate) spent: [AtomicU64; 2],
    /// When the first bytes came after the fault took it.
    pub(crate) begun: OnceLock<Instant>,
    /// The connection carries datagrams.
    pub(crate) datagrams: bool,
    /// The connection carries TLS that passes through.
    pub(crate) sealed: bool,
    /// Chunks that the fault has seen, up and down: the ordinals of what it draws per chunk.
    pub(crate) chunks: [AtomicU64; 2],
    since: OnceLock<Instant>,
    applied: AtomicBool,
}

impl Take {
    /// Whether the fault has the connection now, and when that changes by itself.
    pub(crate) fn active(&self, now: Instant) -> (bool, Option<Instant>) {
        if self.fault.is_off() { (false, None) } else { self.fault.takes(self.share, now) }
    }

    /// When the fault first had the connection; `now` when that is now.
    pub(crate) fn since(&self, now: Instant) -> Instant {
        *self.since.get_or_init(|| now)
    }

    /// Counts that the fault did something to the connection, once.
    pub(crate) fn apply(&self) {
        if !self.applied.load(Relaxed) && !self.applied.swap(true, Relaxed) {
            self.fault.meters.applied.fetch_add(1, Relaxed);
        }
    }

    /// Whether it did anything to the connection.
    pub(crate) fn was_applied(&self) -> bool {
        self.applied.load(Relaxed)
    }

    /// The seed of what is drawn for each chunk of a direction.
    pub(crate) fn seed(&self, dir: Dir) -> u64 {
        draw::bits(self.fault.seed, draw::Lane::Other(dir as u16), self.ordinal)
    }
}

impl Conn {
    pub(crate) fn new(birth: Birth, metrics: Arc<Metrics>) -> Conn {
        Conn {
            birth,
            bytes_up: AtomicU64::new(0),
            bytes_down: AtomicU64::new(0),
            metrics,
            version: AtomicU64::new(0),
            takes: Mutex::default(),
            touched: AtomicBool::new(false),
            kill: AtomicU8::new(0),
            readers: AtomicWaker::new(),
            writers: AtomicWaker::new(),
            heads: Heads::default(),
            born: Instant::now(),
            phase: AtomicU8::new(Phase::Dialling as u8),
            hold: Mutex::default(),
            sni: OnceLock::new(),
        }
    }

    /// A number that changes whenever the faults on the connection do.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Acquire)
    }

    /// The faults that match it, in the order in which they act.
    pub(crate) fn takes(&self) -> Vec<Arc<Take>> {
        self.lock_takes().clone()
    }

    /// Considers it for a fault that was just armed or changed, unless that has an ordinal for it already. A connection
    /// that no longer matches is given up. Called by the target, one connection after the other; true when it must be
    /// woken, which the target does when it holds no lock any more.
    pub(crate) fn offer(&self, fault: &Arc<Armed>) -> bool {
        let mut takes = self.lock_takes();
        let known = takes.iter().position(|t| Arc::ptr_eq(&t.fault, fault));
        match known {
            Some(at) if !fault.matches(self) => self.give_up(&takes.remove(at)),
            Some(_) => {}
            None => {
                let Some(turn) = fault.consider(self) else { return false };
                let take = Take {
                    fault: fault.clone(),
                    ordinal: turn.ordinal,
                    share: turn.share,
                    spent: Default::default(),
                    begun: OnceLock::new(),
                    datagrams: self.birth.datagrams,
                    sealed: self.birth.sealed,
                    chunks: Default::default(),
                    since: OnceLock::new(),
                    applied: AtomicBool::new(false),
                };
                let concerned = take.active(Instant::now()) != (false, None);
                let at = takes.partition_point(|t| t.fault.order < fault.order);
                takes.insert(at, Arc::new(take));
                self.version.fetch_add(1, AcqRel);
                return concerned;
            }
        }
        self.version.fetch_add(1, AcqRel);
        true
    }

    /// Whether it is among those that the fault was offered.
    pub(crate) fn has(&self, fault: &Arc<Armed>) -> bool {
        self.lock_takes().iter().any(|t| Arc::ptr_eq(&t.fault, fault))
    }

    /// Gives it up for a fault that is over; true when it must be woken.
    pub(crate) fn withdraw(&self, fault: &Arc<Armed>) -> bool {
        let mut takes = self.lock_takes();
        let Some(at) = takes.iter().position(|t| Arc::ptr_eq(&t.fault, fault)) else { return false };
        let take = takes.remove(at);
        self.give_up(&take);
        if let Some(how) = fault.afterwards().filter(|_| take.was_applied()) {
            self.sentence(how);
        }
        self.version.fetch_add(1, AcqRel);
        // One that the share never gave to the fault holds nothing of it. Asked of the share and not only of `since`: the
        // data path may be about to make a stage at this moment.
        take.since.get().is_some() || fault.takes(take.share, Instant::now()) != (false, None)
    }

    fn give_up(&self, take: &Take) {
        if take.applied.load(Relaxed) {
            self.touched.store(true, Relaxed);
        }
    }

    /// Whether any fault did something to it.
    pub(crate) fn was_touched(&self) -> bool {
        self.touched.load(Relaxed) || self.lock_takes().iter().any(|t| t.applied.load(Relaxed))
    }

    /// Ends it; the first word counts.
    pub(crate) fn kill(&self, how: How) {
        self.sentence(how);
        self.wake();
    }

    /// The same, but nobody is woken yet.
    pub(crate) fn sentence(&self, how: How) {
        let word = match how {
            How::Fin => 1,
            How::Rst => 2,
            How::Bare => 3,
        };
        let _ = self.kill.compare_exchange(0, word, AcqRel, Acquire);
    }

    /// Whether and how it must end.
    pub(crate) fn killed(&self) -> Option<How> {
        match self.kill.load(Acquire) {
            0 => None,
            1 => Some(How::Fin),
            3 => Some(How::Bare),
            _ => Some(How::Rst),
        }
    }

    /// Keeps the name that the client asked for in its TLS handshake.
    pub(crate) fn learn(&self, sni: Option<String>) {
        if let Some(name) = sni {
            // A connection has one handshake.
            let _ = self.sni.set(name);
        }
    }

    /// Says what it does from now on.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    /// Lets nothing pass until that time; true when it must be woken, as always.
    pub(crate) fn hold_until(&self, until: Instant) {
        *self.lock_hold() = Some(until);
        self.version.fetch_add(1, AcqRel);
        self.wake();
    }

    /// Until when nothing passes.
    pub(crate) fn held(&self) -> Option<Instant> {
        self.lock_hold().filter(|until| *until > Instant::now())
    }

    /// Lets it go on. False when it was not held.
    pub(crate) fn release(&self) -> bool {
        let was_held = self.lock_hold().take().is_some();
        if was_held {
            self.version.fetch_add(1, AcqRel);
            self.wake();
        }
        was_held
    }

    fn lock_hold(&self) -> MutexGuard<'_, Option<Instant>> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As it is now, for lists.
    pub(crate) fn view(&self, target: &TargetRef) -> ConnectionView {
        let now = Instant::now();
        let state = if self.killed().is_some() {
            ConnectionState::Closing
        } else if self.held().is_some() {
            ConnectionState::Held
        } else {
            match self.phase.load(Relaxed) {
                p if p == Phase::Dialling as u8 => ConnectionState::Dialling,
                p if p == Phase::Open as u8 => ConnectionState::Open,
                _ => ConnectionState::HalfClosed,
            }
        };
        let takes = self.takes();
        let on = takes.iter().filter(|take| take.active(now).0);
        ConnectionView {
            id: self.birth.id,
            target: target.clone(),
            client: self.birth.client.map(|a| a.to_string()),
            upstream: self.birth.member.as_deref().map(str::to_owned),
            age_ms: now.saturating_duration_since(self.born).as_millis() as u64,
            bytes_up: self.bytes_up.load(Relaxed),
            bytes_down: self.bytes_down.load(Relaxed),
            state,
            faults: on
                .map(|take| ConnectionFault {
                    id: take.fault.id.clone(),
                    fault: take.fault.def.name.to_owned(),
                    applied: take.was_applied(),
                })
                .collect(),
        }
    }

    /// Has the reading side woken on changes. To miss none: register, then look, then wait.
    pub(crate) fn register_reader(&self, waker: &Waker) {
        self.readers.register(waker);
    }

    /// The same for the writing side, which may be another task.
    pub(crate) fn register_writer(&self, waker: &Waker) {
        self.writers.register(waker);
    }

    /// Has both sides look again.
    pub(crate) fn wake(&self) {
        self.readers.wake();
        self.writers.wake();
    }

    fn lock_takes(&self) -> MutexGuard<'_, Vec<Arc<Take>>> {
        // A list of pointers is whole after any step, also one that panicked.
        self.takes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Response heads that are on their way to the client.
    pub(crate) fn heads(&self) -> &Heads {
        &self.heads
    }
}

/// Keeps a connection among its target's open ones.
pub(crate) struct Open {
    conn: Arc<Conn>,
    target: Arc<Target>,
    chosen: Option<Chosen>,
}

impl Open {
    pub(crate) fn new(conn: Arc<Conn>, target: Arc<Target>, chosen: Option<Chosen>) -> Open {
        Open { conn, target, chosen }
    }

    /// The service it was given; none when nothing says which.
    pub(crate) fn chosen(&self) -> Option<&Chosen> {
        self.chosen.as_ref()
    }

    /// The connection itself.
    pub(crate) fn share(&self) -> Arc<Conn> {
        self.conn.clone()
    }
}

impl std::ops::Deref for Open {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.target.ended(self.conn.birth.id);
    }
}

impl Facts for Conn {
    fn client(&self) -> Option<IpAddr> {
        self.birth.client.map(|a| a.ip())
    }

    fn member(&self) -> Option<&str> {
        self.birth.member.as_deref()
    }

    fn sni(&self) -> Option<&str> {
        self.sni.get().map(String::as_str)
    }
}
