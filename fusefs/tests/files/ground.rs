//! A directory that is served, and faults on it.

use fusefs::FsInjector;
use inject::{Armed, BoxFuture, InjectError, Injector, Order, Recovered, UndoLog};
use model::target::FsSpec;
use model::{Evidence, Fault, Target, TargetKind, TargetRef, TargetSpec};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

/// A test with its name.
pub type Test = (&'static str, fn());

/// Goes to a mount namespace of its own. Before any thread is started.
pub fn enter() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("needs root".into());
    }
    if std::fs::File::options().read(true).write(true).open("/dev/fuse").is_err() {
        return Err("needs /dev/fuse".into());
    }
    unshare(CloneFlags::CLONE_NEWNS).map_err(|e| format!("needs a mount namespace: {e}"))?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(|e| format!("needs private mounts: {e}"))
}

/// Every injector there is. A test that fails must not leave threads that hang: they would keep this process from ending,
/// and with it the device whose closing would release them.
static ALL: Mutex<Vec<Weak<FsInjector>>> = Mutex::new(Vec::new());

/// When something panics, everything is taken away, whoever's it is.
pub fn release_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        let _ = std::thread::spawn(|| {
            let all: Vec<_> = ALL.lock().unwrap().iter().filter_map(Weak::upgrade).collect();
            let runtime = tokio::runtime::Runtime::new().unwrap();
            for injector in all {
                runtime.block_on(injector.close(&TargetRef::new(TargetKind::Fs, "t")));
            }
        })
        .join();
    }));
}

/// A mounted directory. Values in JSON are given away, which reads better where they are written.
pub struct Ground {
    pub runtime: tokio::runtime::Runtime,
    pub injector: Arc<FsInjector>,
    pub target: Target,
    dir: tempfile::TempDir,
    next: AtomicU64,
}

struct NoLog;
impl UndoLog for NoLog {
    fn effect<'a>(&'a self, _: usize, _: Value) -> BoxFuture<'a, Result<(), InjectError>> {
        Box::pin(async { Ok(()) })
    }
}

impl Ground {
    /// Served as it is.
    pub fn new() -> Ground {
        Ground::with(FsSpec::default())
    }

    /// Served with those options; the mount point is filled in.
    pub fn with(mut spec: FsSpec) -> Ground {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap().join("d");
        std::fs::create_dir(&at).unwrap();
        std::fs::create_dir(dir.path().join("state")).unwrap();
        spec.mount = at.to_str().unwrap().to_owned();
        let target = Target { name: "t".into(), spec: TargetSpec::Fs(spec) };
        let injector = Arc::new(FsInjector::new());
        ALL.lock().unwrap().push(Arc::downgrade(&injector));
        injector.settle(&dir.path().join("state"));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let state = runtime.block_on(injector.open(&target)).unwrap();
        assert!(state.up, "{state:?}");
        Ground { runtime, injector, target, dir, next: AtomicU64::new(0) }
    }

    /// A path below the mount.
    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join("d").join(below)
    }

    /// The state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn reference(&self) -> TargetRef {
        TargetRef::new(TargetKind::Fs, "t")
    }

    fn order(&self, name: &str, params: &Value, more: &Value) -> Order {
        let mut json = json!({"target": "fs:t", "for": "60s", "inject": {name: params}});
        for (key, value) in more.as_object().into_iter().flatten() {
            json[key] = value.clone();
        }
        let fault: Fault = serde_json::from_value(json).unwrap();
        let problems = fault.problems();
        assert!(problems.is_empty(), "{problems:?}");
        let id = format!("f{}", self.next.fetch_add(1, Ordering::Relaxed));
        Order { id, fault, target: self.target.clone(), seed: 7 }
    }

    /// A fault that is on. `more`: `share`, `when`, …
    #[allow(clippy::needless_pass_by_value)]
    pub fn arm_with(&self, name: &str, params: Value, more: Value) -> Armed {
        let order = self.order(name, &params, &more);
        self.runtime.block_on(async {
            let plan = self.injector.plan(&order).await.unwrap();
            let outcomes = self.injector.inject(&plan, &NoLog).await;
            outcomes.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
            Armed { order, acts: plan.acts }
        })
    }

    pub fn arm(&self, name: &str, params: Value) -> Armed {
        self.arm_with(name, params, json!({}))
    }

    /// Why a fault cannot be armed.
    #[allow(clippy::needless_pass_by_value)]
    pub fn refused(&self, name: &str, params: Value) -> String {
        let order = self.order(name, &params, &json!({}));
        let plan = self.runtime.block_on(self.injector.plan(&order));
        plan.err().map(|e| e.to_string()).unwrap_or_default()
    }

    pub fn disarm(&self, armed: &Armed) -> Evidence {
        for act in &armed.acts {
            let outcome = self.runtime.block_on(self.injector.recover(act));
            assert_eq!(outcome, Recovered::Undone);
        }
        self.injector.evidence(armed)
    }

    /// The last operations that were recorded.
    pub fn injector_operations(&self) -> Vec<model::FileOperation> {
        self.injector.operations(&self.reference(), 0).unwrap()
    }

    /// How many operations a fault holds.
    pub fn waiting(&self) -> usize {
        let about = self.injector.states()[0].about.clone();
        let (_, rest) = about.rsplit_once(" · ").unwrap_or_default();
        rest.strip_suffix(" waiting").and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    /// How many operations of a kind there were.
    pub fn count(&self, op: &str) -> u64 {
        self.injector.totals()[&self.reference()].operations.get(op).map_or(0, |arm| arm.requests)
    }

    pub fn close(&self) {
        self.runtime.block_on(self.injector.close(&self.reference()));
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.close();
    }
}

/// Waits until it is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The error of the kernel's, by number.
pub fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> i32 {
    result.expect_err("it went well").raw_os_error().unwrap_or(0)
}

/// How long it takes.
pub fn timed<T>(act: impl FnOnce() -> T) -> (Duration, T) {
    let began = Instant::now();
    let value = act();
    (began.elapsed(), value)
}
