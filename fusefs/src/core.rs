//! The filesystem's heart: what all operations share, and the gate through which each of them comes.

use crate::call::Call;
use crate::faults::{Bend, errno_name};
use crate::handle::Handles;
use crate::inode::{Inode, Table, lock};
use crate::metrics::{Metrics, Outcome};
use crate::op::Op;
use crate::pool::Pool;
use crate::rule::{Rule, Snapshot, Verdict};
use crate::tail::Tail;
use crate::timers::{Holds, Timers};
use crate::unsynced::Unsynced;
use arc_swap::ArcSwap;
use fuser::{BackingId, Notifier};
use model::{FileOperation, TargetRef};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

/// How a mount was asked to work.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) writeback: bool,
    pub(crate) passthrough: Vec<String>,
    /// How many bytes of unsynced writes are kept.
    pub(crate) track: Option<u64>,
}

/// How long the kernel may believe what it was told while no fault is on.
pub(crate) const TTL: Duration = Duration::from_secs(1);

/// One mounted filesystem.
pub(crate) struct Fs {
    pub(crate) options: Options,
    pub(crate) table: Table,
    pub(crate) handles: Handles,
    pub(crate) rules: ArcSwap<Snapshot>,
    pub(crate) timers: Timers,
    pub(crate) pool: Pool,
    pub(crate) metrics: Metrics,
    pub(crate) tail: Tail,
    pub(crate) notifier: OnceLock<Notifier>,
    pub(crate) unsynced: Option<Unsynced>,
    /// Reads that wait, by inode: their pages are locked and cannot be forgotten until they are through.
    pub(crate) held: Mutex<HashMap<u64, Vec<(u64, u64)>>>,
    /// Write-backs that failed, by inode, and whether there are any.
    pub(crate) failures: Mutex<HashMap<u64, Failure>>,
    pub(crate) has_failures: AtomicBool,
    pub(crate) failure_count: AtomicU64,
    /// Listings that are shown again, by directory.
    pub(crate) frozen: Mutex<HashMap<u64, Arc<crate::listing::Listing>>>,
    /// The kernel is being asked to forget files.
    pub(crate) trimming: Arc<AtomicBool>,
    /// Whether the kernel agreed to read and write files by itself.
    pub(crate) passthrough: AtomicBool,
    /// Files that it does, by inode.
    pub(crate) backings: Mutex<HashMap<u64, Weak<BackingId>>>,
}

impl Fs {
    /// A filesystem that serves that directory.
    pub(crate) fn new(root: OwnedFd, target: TargetRef, options: Options) -> io::Result<Arc<Fs>> {
        let pool = Pool::default();
        Ok(Arc::new(Fs {
            table: Table::new(root, kept_descriptors())?,
            handles: Handles::default(),
            rules: ArcSwap::default(),
            timers: Timers::start(pool.clone())?,
            pool,
            metrics: Metrics::new(),
            tail: Tail::new(target),
            notifier: OnceLock::new(),
            unsynced: options.track.map(Unsynced::new),
            options,
            held: Mutex::default(),
            failures: Mutex::default(),
            has_failures: AtomicBool::new(false),
            failure_count: AtomicU64::new(0),
            frozen: Mutex::default(),
            trimming: Arc::default(),
            passthrough: AtomicBool::new(false),
            backings: Mutex::default(),
        }))
    }
}

/// How many descriptors of directories are kept: what programs open must not run into the limit because of them.
fn kept_descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let soft = limit.current.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    (soft / 8).clamp(16, 4096)
}

/// The last write-back of a file that failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure {
    /// Which in all; descriptors compare it with the last that they reported.
    pub(crate) seq: u64,
    /// How often the file had been written then.
    pub(crate) writes: u32,
    pub(crate) errno: Errno,
}

/// What the gate says.
pub(crate) enum Gate {
    /// Go on.
    Now(Ticket),
    /// Go on when these let go.
    Later(Holds, Ticket),
}

/// An operation under way: when it began, and what faults do with it.
pub(crate) struct Ticket {
    op: Op,
    started: Instant,
    waited: Duration,
    verdict: Option<Box<Verdict>>,
    note: Option<Box<FileOperation>>,
    /// Those that did something.
    touched: Vec<Arc<Rule>>,
    pub(crate) bytes: u64,
    held: Option<(u64, (u64, u64))>,
}

impl Fs {
    /// Every operation comes through here.
    #[inline]
    pub(crate) fn gate(&self, call: &Call<'_>) -> Gate {
        let started = Instant::now();
        let rules = self.rules.load();
        let mut verdict = if rules.concerns(call.op) { rules.judge(call) } else { None };
        let note = (verdict.is_some() || self.tail.records(started)).then(|| Box::new(note(call)));
        let holds = verdict.as_mut().map(|v| std::mem::take(&mut v.holds)).unwrap_or_default();
        let mut ticket = Ticket {
            op: call.op,
            started,
            waited: Duration::ZERO,
            verdict,
            note,
            touched: Vec::new(),
            bytes: 0,
            held: None,
        };
        if holds.is_empty() {
            return Gate::Now(ticket);
        }
        if let (Op::Read, Some(inode), Some(offset), Some(size)) =
            (call.op, &call.inode, call.offset, call.size)
        {
            ticket.held = Some((inode.id, (offset, size)));
            lock(&self.held).entry(inode.id).or_default().push((offset, size));
        }
        Gate::Later(holds, ticket)
    }

    /// Keeps an operation until its holds let go; then it goes on in another thread.
    pub(crate) fn park(
        self: &Arc<Fs>,
        holds: Holds,
        mut ticket: Ticket,
        go_on: impl FnOnce(Ticket) + Send + 'static,
    ) {
        let fs = self.clone();
        let by: Vec<Arc<Rule>> = holds.iter().map(|(rule, _)| rule.clone()).collect();
        let since = ticket.started;
        // It is hit from now on: what hangs for an hour must not look for an hour as if nothing had happened.
        by.iter().filter(|rule| !rule.is_off()).for_each(|rule| ticket.touch(rule));
        self.timers.park(
            since,
            holds,
            Box::new(move || {
                ticket.waited = ticket.started.elapsed();
                for rule in by {
                    rule.meters.late(ticket.waited);
                }
                let held = ticket.held.take();
                go_on(ticket);
                if let Some((inode, range)) = held {
                    fs.let_go(inode, range);
                }
            }),
        );
    }

    fn let_go(&self, inode: u64, range: (u64, u64)) {
        let mut held = lock(&self.held);
        if let Some(ranges) = held.get_mut(&inode) {
            if let Some(at) = ranges.iter().position(|r| *r == range) {
                ranges.swap_remove(at);
            }
            if ranges.is_empty() {
                held.remove(&inode);
            }
        }
    }

    /// How long the kernel may believe names and attributes of an inode.
    pub(crate) fn ttl(&self, inode: &Inode) -> Duration {
        let (data, meta) = self.rules.load().watched(inode);
        if data || meta { Duration::ZERO } else { TTL }
    }

    /// The operation has ended.
    pub(crate) fn end(&self, ticket: Ticket, error: Option<Errno>) {
        let took = ticket.started.elapsed();
        let touched = !ticket.touched.is_empty();
        self.metrics.count(&Outcome {
            op: ticket.op,
            took,
            added: ticket.waited,
            failed: error.is_some_and(is_failure),
            touched,
            bytes: ticket.bytes,
        });
        if let Some(mut note) = ticket.note
            && (touched || self.tail.records(ticket.started))
        {
            note.bytes = ticket.bytes;
            note.micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            note.error = error.map(errno_name);
            note.faults = ticket.touched.iter().map(|r| r.id.clone()).collect();
            self.tail.push(*note);
        }
    }
}

/// Errors that say that something is wrong with the filesystem, not with what was asked for.
fn is_failure(errno: Errno) -> bool {
    [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::STALE, Errno::TIMEDOUT].contains(&errno)
}

impl Ticket {
    /// Why the operation is refused, if it is.
    #[inline]
    pub(crate) fn refused(&mut self) -> Option<Errno> {
        let (errno, rule) = self.verdict.as_mut()?.fail.take()?;
        if rule.is_off() {
            return None;
        }
        self.touch(&rule);
        Some(errno)
    }

    /// What bends the operation; taken out, so that the ticket can be told what came of it.
    #[inline]
    pub(crate) fn bends(&mut self) -> Vec<(Arc<Rule>, u64, Bend)> {
        match &mut self.verdict {
            Some(verdict) => std::mem::take(&mut verdict.bends),
            None => Vec::new(),
        }
    }

    /// A fault did something to it.
    pub(crate) fn touch(&mut self, rule: &Arc<Rule>) {
        if !self.touched.iter().any(|r| r.id == rule.id) {
            rule.meters.apply();
            self.touched.push(rule.clone());
        }
    }
}

fn note(call: &Call<'_>) -> FileOperation {
    FileOperation {
        seq: 0,
        at_ms: host::clock::wall_ms(),
        target: TargetRef::new(model::TargetKind::Fs, ""),
        pid: call.process(),
        uid: call.caller.uid,
        command: call.program().to_owned(),
        op: call.op.word().to_owned(),
        path: call.full_path().to_owned(),
        bytes: 0,
        micros: 0,
        error: None,
        faults: Vec::new(),
    }
}
