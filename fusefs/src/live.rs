//! A target that is open: a filesystem that is mounted, with its faults.

use crate::check;
use crate::clones;
use crate::core::{Fs, Options};
use crate::dispatch::Face;
use crate::faults::Need;
use crate::in_use;
use crate::inode::ROOT;
use crate::mount::{MountId, Place, detached};
use crate::record::Record;
use crate::rule::{Rule, Settings, Snapshot};
use crate::sys;
use fuser::{Config, Session, SessionACL};
use host::ProcessId;
use inject::{Container, Order, Refusal};
use model::sample::TargetState;
use model::target::FsSpec;
use model::{Fault, FileOperation, Problem, Sample, TargetKind, TargetRef};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Threads that serve the kernel; each reads calls from a queue of its own.
const THREADS: usize = 4;

/// A mounted filesystem.
pub(crate) struct Live {
    pub(crate) spec: FsSpec,
    /// The container that it is in, as it was found.
    pub(crate) container: Option<Container>,
    /// Who had files open before it, which go past it.
    pub(crate) before: Vec<in_use::Held>,
    target: TargetRef,
    fs: Arc<Fs>,
    place: Place,
    id: MountId,
    record: Option<PathBuf>,
    /// Set when the kernel has nothing more to ask: it was unmounted, and the last descriptor was closed.
    ended: Arc<AtomicBool>,
    arming: Mutex<u64>,
    /// Another one has taken its place, and its faults.
    superseded: AtomicBool,
}

impl Live {
    /// Mounts. `state_dir` is where what must be undone is written down first.
    pub(crate) fn open(
        name: &str,
        spec: &FsSpec,
        container: Option<Container>,
        state_dir: Option<&Path>,
    ) -> Result<Live, Refusal> {
        let target = TargetRef::new(TargetKind::Fs, name);
        let pid = container.as_ref().map(|c| c.pid).or(spec.pid);
        let found = check::check(&target, spec, pid, state_dir)?;
        if let (Some(container), false) = (&container, spec.in_use_passes) {
            in_use::refuse(&target, container, &found.place.path)?;
        }
        let before = match &container {
            None => in_use::before(pid, &found.place.path),
            // Nobody, or someone who was told so.
            Some(_) => Vec::new(),
        };
        let mut live = Live::mount(target, spec, container, found, state_dir, None)?;
        live.before = before;
        Ok(live)
    }

    /// Mounts in a container that was started anew, with the faults that were on in the one before.
    pub(crate) fn follow(
        old: &Live,
        container: Container,
        state_dir: Option<&Path>,
    ) -> Result<Live, Refusal> {
        let found = check::check(&old.target, &old.spec, Some(container.pid), state_dir)?;
        let new = Live::mount(old.target.clone(), &old.spec, Some(container), found, state_dir, None)?;
        let mut sequence = old.lock();
        old.superseded.store(true, Relaxed);
        *new.lock() = *sequence;
        *sequence += 1;
        let rules = old.fs.rules.load_full();
        new.fs.rules.store(rules.clone());
        for rule in &rules.rules {
            new.look_anew(rule, true);
        }
        drop(sequence);
        Ok(new)
    }

    /// Takes the place of an open target, of which only the options differ. Programs see no moment without a mount where
    /// the kernel can mount beneath; what they have open goes on with the old one.
    pub(crate) fn replace(old: &Live, spec: &FsSpec, state_dir: Option<&Path>) -> Result<Live, Refusal> {
        let target = old.target.clone();
        check::options(&target, spec)?;
        let root = old.fs.table.get(ROOT).and_then(|root| old.fs.table.path_fd(&root));
        let source = root
            .map_err(std::io::Error::from)
            .and_then(|fd| fd.try_clone())
            .map_err(|e| Refusal::new(format!("{target}: opening the source again: {e}"), check::hint(&e)))?;
        let shown = spec.source.as_ref().unwrap_or(&spec.mount).clone();
        let found = check::Found { source, shown, place: old.place.clone() };
        let mut live = Live::mount(target, spec, old.container.clone(), found, state_dir, Some(old))?;
        live.before.clone_from(&old.before);
        Ok(live)
    }

    fn mount(
        target: TargetRef,
        spec: &FsSpec,
        container: Option<Container>,
        found: check::Found,
        state_dir: Option<&Path>,
        over: Option<&Live>,
    ) -> Result<Live, Refusal> {
        let cannot =
            |what: &str, e: std::io::Error| Refusal::new(format!("{target}: {what}: {e}"), check::hint(&e));
        raise_descriptors();
        let options = Options {
            writeback: spec.writeback,
            passthrough: spec.passthrough.clone(),
            track: spec.track_unsynced.map(|s| s.0),
        };
        let fs = Fs::new(found.source, target.clone(), options)
            .map_err(|e| cannot(&format!("serving {}", found.shown), e))?;
        let mark = MountId::mark();
        let mount = detached(&format!("{mark}:{}", found.shown), libc::S_IFDIR)
            .map_err(|e| cannot("making a mount", e))?;
        let dev = mount.dev().map_err(|e| cannot("looking at the mount", e))?;
        let id = MountId { mark, dev };
        let mut config = Config::default();
        config.acl = SessionACL::All;
        config.n_threads = Some(THREADS);
        config.clone_fd = true;
        let session = Session::from_fd(Face(fs.clone()), mount.device, SessionACL::All, config)
            .map_err(|e| cannot("talking to the kernel's FUSE", e))?;
        // It cannot be set: this is the first and only time.
        let _ = fs.notifier.set(session.notifier());
        let ended = Arc::new(AtomicBool::new(false));
        serve(session, ended.clone()).map_err(|e| cannot("starting threads", e))?;
        let record = match state_dir {
            None => None,
            Some(dir) => Some(
                Record::new(&target, &found.place, &id)
                    .and_then(|record| record.write(dir))
                    .map_err(|e| cannot("writing down what is to be undone", e))?,
            ),
        };
        let live = Live {
            spec: spec.clone(),
            container,
            before: Vec::new(),
            target,
            fs,
            place: found.place,
            id,
            record,
            ended,
            arming: Mutex::default(),
            superseded: AtomicBool::new(false),
        };
        let attached = match over {
            None => live.place.attach(&mount.mount),
            Some(old) => match live.place.attach_beneath(&mount.mount) {
                Ok(()) => old.gone_or(std::io::ErrorKind::ResourceBusy),
                // Before Linux 6.5 there is an instant without a mount.
                Err(_) => old
                    .gone_or(std::io::ErrorKind::ResourceBusy)
                    .and_then(|()| live.place.attach(&mount.mount)),
            },
        };
        match attached {
            Ok(()) if live.place.shows(&live.id) => Ok(live),
            Ok(()) => {
                live.close();
                Err(Refusal::new(
                    format!("{}: the mount is not what {} shows", live.target, spec.mount),
                    "something else was mounted there in the same moment: try again",
                ))
            }
            Err(e) => {
                live.close();
                Err(cannot_attach(&live.target, spec, &e))
            }
        }
    }

    fn gone_or(&self, otherwise: std::io::ErrorKind) -> std::io::Result<()> {
        if self.close() { Ok(()) } else { Err(otherwise.into()) }
    }

    /// Whether that spec differs from this one's in its options alone.
    pub(crate) fn is_place_of(&self, spec: &FsSpec) -> bool {
        let place = |s: &FsSpec| (s.mount.clone(), s.source.clone(), s.pid, s.container.clone());
        place(&self.spec) == place(spec)
    }

    /// Its name.
    pub(crate) fn target(&self) -> &TargetRef {
        &self.target
    }

    /// Whether it was in a container whose first process has ended, and the mount with its namespace.
    pub(crate) fn has_lost_its_container(&self) -> bool {
        self.container.as_ref().is_some_and(|c| !ProcessId { pid: c.pid, start: c.start }.alive())
    }

    /// Whether faults are on.
    pub(crate) fn is_faulty(&self) -> bool {
        !self.fs.rules.load().rules.is_empty()
    }

    /// Takes the mount away and lets everything go on that waits. Descriptors that are open are served until they are
    /// closed or this process ends.
    pub(crate) fn close(&self) -> bool {
        if !self.superseded.load(Relaxed) {
            for rule in &self.fs.rules.load().rules {
                rule.switch_off();
            }
        }
        self.fs.rules.store(Arc::default());
        self.fs.timers.close();
        if let Some(log) = &self.fs.unsynced {
            log.revive();
        }
        let gone = (!self.place.knows(&self.id) || matches!(self.place.detach(&self.id), Ok(true)))
            && clones::replace(&self.place, &self.id).is_ok();
        if gone && let Some(record) = &self.record {
            let _ = std::fs::remove_file(record);
        }
        gone
    }

    /// How many files and directories programs have open through it.
    pub(crate) fn in_use(&self) -> usize {
        self.fs.handles.len()
    }

    pub(crate) fn state(&self) -> TargetState {
        let up = !self.ended.load(Relaxed) && self.place.knows(&self.id);
        let mut about = match (&self.spec.source, self.spec.pid) {
            (Some(source), _) => format!("{} → {source}", self.spec.mount),
            (None, _) => self.spec.mount.clone(),
        };
        if let Some(pid) = self.spec.pid {
            about.push_str(&format!(" of process {pid}"));
        }
        if let Some(container) = &self.container {
            about.push_str(&format!(" of container {}", container.name));
        }
        if let Some(log) = &self.fs.unsynced {
            let (writes, ..) = log.state();
            about.push_str(&format!(" · {writes} writes not synced"));
        }
        if self.fs.timers.len() > 0 {
            about.push_str(&format!(" · {} waiting", self.fs.timers.len()));
        }
        TargetState { target: self.target.clone(), about, up, listen: None, http: false }
    }

    pub(crate) fn totals(&self) -> Sample {
        self.fs.metrics.totals(self.fs.handles.len() as u64)
    }

    pub(crate) fn operations(&self, after: u64) -> Vec<FileOperation> {
        self.fs.tail.after(after)
    }

    /// Whether a fault can be armed here; what a person should know before.
    pub(crate) fn fit(spec: &FsSpec, fault: &Fault) -> Result<Vec<String>, Problem> {
        let settings = Settings::read(fault)?;
        let name = fault.inject.name();
        let mut warnings = Vec::new();
        match settings.fault.needs_tracking() {
            Need::Must if spec.track_unsynced.is_none() => {
                return Err(Problem::new(format!(
                    "{name} on {}: what is not synced is not known there",
                    fault.target
                ))
                .hint("open the target with track_unsynced (murphy mount DIR --track-unsynced 256MiB)"));
            }
            Need::Better(without) if spec.track_unsynced.is_none() => {
                warnings.push(format!("{name}: {without}"))
            }
            _ => {}
        }
        if !spec.passthrough.is_empty() {
            warnings.push(format!(
                "files that match {} are read and written by the kernel itself: no fault on reading or writing reaches them",
                spec.passthrough.join(", ")
            ));
        }
        let def = fault.inject.def();
        if def.irreversible {
            let real = match &spec.source {
                Some(source) => format!("{source} is the real source unless it is a copy"),
                None => format!("{} is the real directory", spec.mount),
            };
            warnings.push(format!("{name}: {}; {real}", def.ends));
        }
        Ok(warnings)
    }

    /// Puts a fault on. What is open already has it when this returns.
    pub(crate) fn arm(&self, order: &Order) -> Result<Arc<Rule>, Problem> {
        let mut sequence = self.lock();
        if self.ended.load(Relaxed) || !self.place.knows(&self.id) {
            return Err(Problem::new(format!("{} was unmounted by someone else", self.target))
                .hint("close the target and open it again"));
        }
        *sequence += 1;
        let rule = Arc::new(Rule::new(order, *sequence)?);
        let mut rules = self.fs.rules.load().rules.clone();
        rules.push(rule.clone());
        self.fs.rules.store(Arc::new(Snapshot::new(rules)));
        if let (Some(cut), Some(log)) = (rule.settings().fault.at_once(), &self.fs.unsynced) {
            let lost = log.cut(cut, rule.seed);
            rule.meters.hits.store(lost.writes, Relaxed);
            rule.meters.bytes.store(lost.bytes, Relaxed);
            rule.meters.considered.fetch_add(1, Relaxed);
            rule.meters.apply();
        }
        self.look_anew(&rule, true);
        Ok(rule)
    }

    /// Takes a fault off; what it holds goes on at once.
    pub(crate) fn disarm(&self, id: &str) -> bool {
        let _one = self.lock();
        let mut rules = self.fs.rules.load().rules.clone();
        let Some(at) = rules.iter().position(|r| r.id == id) else { return false };
        let rule = rules.remove(at);
        rule.switch_off();
        let others_are_cut = rules.iter().any(|r| r.settings().fault.at_once().is_some());
        self.fs.rules.store(Arc::new(Snapshot::new(rules)));
        self.fs.timers.release(&rule);
        if rule.settings().fault.at_once().is_some()
            && !others_are_cut
            && let Some(log) = &self.fs.unsynced
        {
            log.revive();
        }
        crate::inode::lock(&self.fs.frozen).clear();
        self.look_anew(&rule, false);
        true
    }

    /// Changes a fault that is on.
    pub(crate) fn adjust(&self, id: &str, fault: &Fault) -> Result<(), Problem> {
        Self::fit(&self.spec, fault)?;
        let _one = self.lock();
        let rules = self.fs.rules.load().rules.clone();
        let rule = rules
            .iter()
            .find(|r| r.id == id)
            .cloned()
            .ok_or_else(|| Problem::new(format!("{id} is not on any more")).hint("arm it anew"))?;
        rule.adjust(fault)?;
        self.fs.rules.store(Arc::new(Snapshot::new(rules)));
        // What it held was held by other settings.
        self.fs.timers.release(&rule);
        self.look_anew(&rule, true);
        Ok(())
    }

    /// Has the kernel forget what it has cached and the fault has, or had, something to say about.
    fn look_anew(&self, rule: &Arc<Rule>, wait: bool) {
        if !rule.touches_caches() {
            return;
        }
        let (fs, rule) = (self.fs.clone(), rule.clone());
        let forget = move || fs.forget_all(|inode| rule.could_reach(inode));
        if wait {
            forget();
        } else {
            self.fs.pool.run(Box::new(move || {
                forget();
            }));
        }
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.arming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.close();
    }
}

/// Serves the kernel until it is through.
fn serve(session: Session<Face>, ended: Arc<AtomicBool>) -> std::io::Result<()> {
    std::thread::Builder::new().name("murphy-fs".into()).spawn(move || {
        // The threads that it starts share this one's umask and rights.
        let _ = sys::stand_alone();
        sys::clear_set_id_on_write();
        // It ends when nothing is mounted and open any more, in whatever way.
        let _ = session.run();
        ended.store(true, Relaxed);
    })?;
    Ok(())
}

fn cannot_attach(target: &TargetRef, spec: &FsSpec, e: &std::io::Error) -> Refusal {
    Refusal::new(format!("{target}: mounting on {}: {e}", spec.mount), check::hint(e))
}

/// Programs open files through us: what they may have open together is what we may.
fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where that is not allowed, fewer files can be open at a time.
    let _ = setrlimit(Resource::Nofile, limit);
}
