//! `clock`: other time for live processes, and for what they fork.
//!
//! While a fault is on, a thread renews the deadline in its processes every few seconds; when nobody does any more, the
//! clocks are right again by themselves.

use super::course::{Course, Now, Wanted};
use super::image::{Head, Image};
use super::patch::{self, PatchError, Seen, Stood};
use super::stop::tracer;
use super::{ClockFault, NAME, scan, unaware};
use crate::process::select;
use crate::shared::lock;
use host::{Capabilities, Process, ProcessId};
use inject::{
    Armed, InjectError, Leftover, Order, Outcomes, Plan, Possibility, Recovered, Refusal, UndoRecord,
};
use model::{Evidence, Fault, Problem};
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// How long a changed clock stays so without being renewed, and how often it is renewed.
const LEASE: Duration = Duration::from_secs(20);
const RENEW: Duration = Duration::from_secs(4);
/// So many processes are looked at for evidence.
const LOOKED_AT: usize = 64;
/// How often children are looked for until there are none.
const ROUNDS: usize = 8;

/// The fault.
pub(super) struct Skew {
    shared: Arc<Shared>,
}

/// What the fault and the thread that renews have in common.
#[derive(Default)]
struct Shared {
    book: Mutex<Book>,
    /// Told when the last fault ends, so that the thread ends too.
    changed: Condvar,
    /// Held while processes are written to: nothing is renewed in what is being restored.
    writing: Mutex<()>,
}

#[derive(Default)]
struct Book {
    faults: BTreeMap<String, Running>,
    renewing: bool,
}

/// A fault that is on.
#[derive(Clone)]
struct Running {
    course: Course,
    /// On the clock that counts while suspended too.
    began: Duration,
    lasts: Option<Duration>,
    acts: Vec<ClockAct>,
    considered: u64,
    stood: Vec<Stood>,
    /// As read last, for when nothing is left to read from.
    seen: Evidence,
}

/// The data of an undo record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ClockAct {
    fault: String,
    process: ProcessId,
    comm: String,
    boot: String,
    /// What its stub is marked with, and those of its children. A text, because it uses all 64 bits.
    tag: String,
}

impl ClockAct {
    fn tag(&self) -> u64 {
        u64::from_str_radix(&self.tag, 16).unwrap_or_default()
    }

    fn read(record: &UndoRecord) -> Option<ClockAct> {
        serde_json::from_value(record.data.clone()).ok()
    }

    fn record(self, act: String) -> UndoRecord {
        let ClockAct { process, comm, .. } = &self;
        UndoRecord {
            injector: NAME.into(),
            act,
            undo: format!(
                "put the clock code of process {} ({comm}) and of its children back as the kernel made it",
                process.pid
            ),
            data: serde_json::to_value(&self).unwrap_or_default(),
            ends_with_agent: false,
        }
    }
}

impl Skew {
    pub fn new() -> Skew {
        Skew { shared: Arc::default() }
    }

    /// Begins to renew, unless it is going on.
    fn renew(&self) {
        let mut book = lock(&self.shared.book);
        if book.renewing {
            return;
        }
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new().name("clock-renew".into()).spawn(move || shared.renew());
        // Without it the clocks are right again after the lease: the fault ends early, and its evidence says so.
        book.renewing = thread.is_ok();
    }
}

impl Running {
    /// When clocks that are not renewed are right again.
    fn deadline(&self, now: Now) -> Now {
        let on = host::clock::boottime().saturating_sub(self.began);
        let left = self.lasts.map_or(LEASE, |lasts| lasts.saturating_sub(on));
        now.after(left.min(LEASE))
    }

    fn set(&self, now: Now) -> super::slot::Set {
        self.course.set(self.deadline(now))
    }

    /// Its clocks are right again, or about to be: what they show now tells nothing of what the fault did.
    fn is_over(&self) -> bool {
        let on = host::clock::boottime().saturating_sub(self.began);
        self.acts.is_empty() || self.lasts.is_some_and(|lasts| lasts <= on)
    }
}

impl Shared {
    fn renew(&self) {
        loop {
            {
                let book = lock(&self.book);
                let waited = self.changed.wait_timeout_while(book, RENEW, |b| !b.faults.is_empty());
                let (mut book, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
                if book.faults.is_empty() {
                    book.renewing = false;
                    return;
                }
            }
            let _writing = lock(&self.writing);
            let running: Vec<Running> = lock(&self.book).faults.values().cloned().collect();
            let changed = scan::all();
            for fault in &running {
                let set = fault.set(Now::read());
                for act in &fault.acts {
                    // Children too: they have the same tag. One that is gone needs nothing.
                    for c in changed.iter().filter(|c| c.head.is_some_and(|h| h.tag == act.tag())) {
                        let _ = patch::update(c.id, act.tag(), &set);
                    }
                }
            }
        }
    }
}

impl ClockFault for Skew {
    fn name(&self) -> &'static str {
        "clock"
    }

    fn possible(&self) -> Possibility {
        let mut out = Possibility::yes();
        if let Err(e) = Image::own() {
            out = out.no(format!("{e}; on a usual kernel it works"));
        }
        // Nobody has that number; whatever forbids tracing says so before it looks.
        if let Err(e @ (Errno::EPERM | Errno::ENOSYS | Errno::EACCES)) =
            ptrace::seize(Pid::from_raw(i32::MAX), ptrace::Options::empty())
        {
            out = out.no(format!("ptrace is forbidden ({e}): a seccomp profile that allows it"));
        }
        let caps = Capabilities::mine();
        let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
        match scope.trim() {
            "3" => out = out.no("tracing is forbidden by yama (kernel.yama.ptrace_scope=3) until a reboot"),
            scope @ ("1" | "2") if !caps.has("CAP_SYS_PTRACE") => {
                out = out.no(format!(
                    "CAP_SYS_PTRACE: kernel.yama.ptrace_scope={scope} lets only privileged processes trace others; run as root, or set it to 0"
                ));
            }
            _ => {}
        }
        for cap in ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"] {
            if !caps.has(cap) {
                out = out.partly(format!("{cap} for other users' processes: run as root"));
            }
        }
        out
    }

    fn on_processes(&self) -> bool {
        true
    }

    fn plan(&self, order: &Order, processes: &[Process]) -> Result<Plan, Refusal> {
        let wanted = Wanted::of(&order.fault).map_err(Refusal)?;
        let mut warnings = wanted.check(order.fault.lasts.map(|l| l.0)).map_err(Refusal)?;
        let words = order.fault.inject.describe();
        let (mut acts, mut refused) = (Vec::new(), Vec::new());
        for process in processes {
            match select::allowed(process).and_then(|()| allowed(process, &wanted)) {
                Ok(()) => {
                    let Process { id, comm, .. } = process;
                    warnings.extend(unaware::warning(process));
                    let act = ClockAct {
                        fault: self.name().into(),
                        process: *id,
                        comm: comm.clone(),
                        boot: host::clock::boot_id().to_owned(),
                        tag: format!("{:016x}", tag(order, *id)),
                    };
                    acts.push(
                        act.record(format!("change the clock of process {} ({comm}): {words}", id.pid)),
                    );
                }
                Err(refusal) => refused.push(refusal),
            }
        }
        match refused.into_iter().reduce(|first, next| Refusal(first.0.clone().hint(next.0.to_string()))) {
            Some(refusal) if acts.is_empty() => Err(refusal),
            refused => {
                warnings.extend(refused.map(|r| format!("left out: {}", r.0)));
                Ok(Plan { order: order.clone(), acts, warnings })
            }
        }
    }

    fn claims(&self, plan: &Plan) -> Vec<String> {
        plan.acts.iter().filter_map(ClockAct::read).map(|act| format!("process {}", act.process)).collect()
    }

    fn inject(&self, plan: &Plan) -> Outcomes {
        let order = &plan.order;
        let wanted = match Wanted::of(&order.fault) {
            Ok(wanted) => wanted,
            Err(problem) => return vec![Err(InjectError(problem)); plan.acts.len()],
        };
        let mut running = Running {
            course: Course::new(wanted, Now::read()),
            began: host::clock::boottime(),
            lasts: order.fault.lasts.map(|l| l.0),
            acts: Vec::new(),
            considered: plan.acts.len() as u64,
            stood: Vec::new(),
            seen: Evidence::default(),
        };
        let mut outcomes = Vec::new();
        {
            let _writing = lock(&self.shared.writing);
            for record in &plan.acts {
                let Some(act) = ClockAct::read(record) else {
                    outcomes.push(Err(InjectError::new("the plan does not read").hint("please report this")));
                    continue;
                };
                let head = Head { tag: act.tag(), owner: ProcessId::me() };
                // Anew for each: stopping many takes a while, and the first ones have their deadline already.
                let set = running.set(Now::read());
                match patch::apply(act.process, head, &set) {
                    Ok(stood) => {
                        running.stood.push(stood);
                        running.acts.push(act);
                        outcomes.push(Ok(()));
                    }
                    Err(e) => outcomes.push(Err(InjectError(problem(&act.process, &act.comm, &e)))),
                }
            }
        }
        lock(&self.shared.book).faults.insert(order.id.clone(), running);
        self.renew();
        outcomes
    }

    fn adjust(&self, armed: &Armed, fault: &Fault) -> Result<(), InjectError> {
        let wanted = Wanted::of(fault).map_err(InjectError)?;
        let lasts = fault.lasts.map(|l| l.0);
        wanted.check(lasts).map_err(InjectError)?;
        let _writing = lock(&self.shared.writing);
        let gone =
            || InjectError::new(format!("{} changes no clock any more", armed.order.id)).hint("arm it anew");
        let running = {
            let mut book = lock(&self.shared.book);
            let running = book.faults.get_mut(&armed.order.id).ok_or_else(gone)?;
            running.course = running.course.change(wanted, Now::read());
            running.lasts = lasts;
            running.clone()
        };
        let mut failed = None;
        let mut done = 0;
        for act in &running.acts {
            for c in scan::of(act.tag()) {
                match patch::update(c.id, act.tag(), &running.set(Now::read())) {
                    Ok(()) => done += 1,
                    Err(PatchError::Gone(_)) => {}
                    Err(e) => failed = Some(InjectError(problem(&c.id, &c.comm, &e))),
                }
            }
        }
        match failed {
            Some(e) => Err(e),
            None if done == 0 => Err(gone()),
            None => Ok(()),
        }
    }

    fn recover(&self, record: &UndoRecord) -> Recovered {
        let Some(act) = ClockAct::read(record) else {
            return Recovered::Failed(format!(
                "the record of {:?} does not read: {}; `murphy doctor --fix` finds changed clocks by themselves",
                record.act, record.data
            ));
        };
        if act.boot != host::clock::boot_id() {
            return Recovered::Gone("the machine was started anew since".into());
        }
        let _writing = lock(&self.shared.writing);
        let before = lock(&self.shared.book).faults.values().any(|r| r.acts.contains(&act));
        if before {
            self.read_evidence(&act);
        }
        let outcome = restore(&act);
        if !matches!(outcome, Recovered::Failed(_)) {
            let mut book = lock(&self.shared.book);
            book.faults.values_mut().for_each(|r| r.acts.retain(|a| *a != act));
        }
        outcome
    }

    fn evidence(&self, armed: &Armed) -> Evidence {
        let known = lock(&self.shared.book).faults.get(&armed.order.id).cloned();
        let Some(running) = known else {
            return Evidence { considered: armed.acts.len() as u64, ..Evidence::default() };
        };
        let seen = measure(&running);
        if let Some(kept) = lock(&self.shared.book).faults.get_mut(&armed.order.id) {
            kept.seen = seen.clone();
        }
        seen
    }

    fn forget(&self, id: &str) {
        lock(&self.shared.book).faults.remove(id);
        self.shared.changed.notify_all();
    }

    fn leftovers(&self) -> Vec<Leftover> {
        let one = |c: scan::Changed| {
            let act = ClockAct {
                fault: self.name().into(),
                process: c.id,
                comm: c.comm.clone(),
                boot: host::clock::boot_id().to_owned(),
                tag: c.head.map_or(String::new(), |h| format!("{:016x}", h.tag)),
            };
            let owner = c.head.map(|h| h.owner).filter(|o| o.alive());
            Leftover {
                record: act.record(format!("a changed clock in process {} ({})", c.id.pid, c.comm)),
                owner: owner.map(|o| format!("process {}", o.pid)),
            }
        };
        scan::all().into_iter().map(one).collect()
    }
}

impl Skew {
    /// What the fault of an act does, a last time before it is undone.
    fn read_evidence(&self, act: &ClockAct) {
        let mut book = lock(&self.shared.book);
        for running in book.faults.values_mut().filter(|r| r.acts.contains(act)) {
            running.seen = measure(running);
        }
    }
}

/// The skew as the target has it: computed from the numbers that lie in its memory now; of a fault that is over, as it was
/// read last.
fn measure(running: &Running) -> Evidence {
    if running.is_over() && running.seen.measured.contains_key("skew_ms") {
        return running.seen.clone();
    }
    let now = Now::read();
    let mut changed = 0_u64;
    let mut skew = None;
    for act in running.acts.iter().take(LOOKED_AT) {
        if let Ok(Seen::Changed(head, [real, mono])) = patch::look(act.process)
            && head.tag == act.tag()
        {
            changed += 1;
            let wanted = running.course.wanted();
            let nanos = if wanted.realtime { real.skew_at(now.real) } else { mono.skew_at(now.mono) };
            skew.get_or_insert(nanos as f64 / 1e6);
        }
    }
    let (mut seen, kept) =
        (Evidence { considered: running.considered, ..Evidence::default() }, &running.seen);
    seen.applied = changed.max(kept.applied);
    let stop = running.stood.iter().map(|s| s.time).max().unwrap_or_default();
    let threads: usize = running.stood.iter().map(|s| s.threads).sum();
    seen.measured = BTreeMap::from([
        ("processes_changed".to_owned(), changed as f64),
        ("stop_us".to_owned(), stop.as_secs_f64() * 1e6),
        ("threads".to_owned(), threads as f64),
    ]);
    if let Some(ms) = skew.or(kept.measured.get("skew_ms").copied()) {
        seen.measured.insert("skew_ms".into(), ms);
    }
    seen
}

fn restore(act: &ClockAct) -> Recovered {
    let tag = (!act.tag.is_empty()).then(|| act.tag());
    let (mut undone, mut note) = (false, None);
    match patch::restore(act.process, tag) {
        Ok(Some(_)) => undone = true,
        Ok(None) => note = Some(format!("the clock of process {} is as it should be", act.process.pid)),
        Err(PatchError::Gone(pid)) => note = Some(format!("process {pid} is gone")),
        Err(PatchError::NotOurs) => note = Some("its clock was changed by someone else since".into()),
        Err(e) => return failed(act.process, &act.comm, &e),
    }
    // A child may fork another one while it is looked for.
    for _ in 0..ROUNDS {
        let children = tag.map(scan::of).unwrap_or_default();
        if children.is_empty() {
            return if undone { Recovered::Undone } else { Recovered::Gone(note.unwrap_or_default()) };
        }
        for c in children {
            match patch::restore(c.id, tag) {
                Ok(_) => undone = true,
                Err(PatchError::Gone(_)) => {}
                Err(e) => return failed(c.id, &c.comm, &e),
            }
        }
    }
    Recovered::Failed("its children fork faster than their clocks can be put right; stop them".into())
}

fn failed(id: ProcessId, comm: &str, e: &PatchError) -> Recovered {
    Recovered::Failed(problem(&id, comm, e).to_string())
}

fn problem(id: &ProcessId, comm: &str, e: &PatchError) -> Problem {
    let what = format!("the clock of process {} ({comm}): {e}", id.pid);
    let hint = match e {
        PatchError::Gone(_) => "look whether it runs again under another number",
        PatchError::Machine(_) => "start the program with `murphy exec --clock …` instead",
        PatchError::NoVdso | PatchError::OtherImage => {
            "change the machine's clock instead (system_clock), or run the program on a machine of its own"
        }
        PatchError::Foreign => "detach debuggers and other tools from it, then try again",
        PatchError::Already => "disarm the fault that has changed it, or run `murphy recover`",
        PatchError::NotOurs => "disarm the fault and arm it anew",
        PatchError::NotPermitted(_) => "run the agent as root, and detach debuggers from the process",
        PatchError::Busy | PatchError::Other(_) => "try again",
    };
    Problem::new(what).hint(hint)
}

/// Refuses what cannot be changed, before anything is touched.
fn allowed(process: &Process, wanted: &Wanted) -> Result<(), Refusal> {
    let Process { id, comm, .. } = process;
    if let Some(by) = tracer(id.pid) {
        return Err(Refusal::new(
            format!("process {} ({comm}) is traced by process {by}", id.pid),
            "detach that debugger first",
        ));
    }
    let ns = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/time")).ok();
    if wanted.monotonic && ns("self") != ns(&id.pid.to_string()) {
        return Err(Refusal::new(
            format!("process {} ({comm}) has a monotonic clock of its own (a time namespace)", id.pid),
            "leave out clocks, or give clocks=realtime",
        ));
    }
    patch::can(*id).map_err(|e| Refusal(problem(id, comm, &e)))
}

/// A number for an act that no other act has (FNV-1a).
fn tag(order: &Order, id: ProcessId) -> u64 {
    let me = ProcessId::me();
    let text = format!("{} {} {id} {me} {}", order.id, order.seed, host::clock::boottime().as_nanos());
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}
