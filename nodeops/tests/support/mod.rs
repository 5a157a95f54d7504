//! Processes to hit, orders to give, a log that only remembers.

use host::ProcessId;
use host::process::ProcessSignal;
use inject::{Armed, BoxFuture, InjectError, Order, Plan, UndoLog, UndoRecord};
use model::{Fault, Injection, Target};
use std::future::Future;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A child that sleeps, killed when dropped.
pub struct Sleeper(Child);

impl Sleeper {
    pub fn start() -> Sleeper {
        let sleeper = Sleeper(Command::new("sleep").arg("600").spawn().unwrap());
        assert!(within(Duration::from_secs(30), || sleeper.state() == 'S'));
        sleeper
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn id(&self) -> ProcessId {
        ProcessId::of(self.pid()).unwrap()
    }

    pub fn state(&self) -> char {
        self.id().stat().unwrap().state
    }

    pub fn stop(&self) {
        let held = self.id().open().unwrap();
        held.signal(ProcessSignal::STOP).unwrap();
        assert_eq!(held.wait_state(Duration::from_secs(30), |s| s == 'T'), Some('T'));
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A sleeping process that is no child of ours: its parent, a shell, has ended.
pub struct Orphan(ProcessId);

impl Orphan {
    pub fn start(seconds: &str) -> Orphan {
        let out = Command::new("sh")
            .args(["-c", &format!("sleep {seconds} >/dev/null 2>&1 & echo $!")])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let pid: u32 = String::from_utf8(out.stdout).unwrap().trim().parse().unwrap();
        let orphan = Orphan(ProcessId::of(pid).unwrap());
        // Until it has become sleep, its command line is the shell's.
        assert!(within(Duration::from_secs(30), || host::process::arguments(pid)
            .first()
            .is_some_and(|a| a == "sleep")));
        orphan
    }

    pub fn id(&self) -> ProcessId {
        self.0
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        if let Ok(held) = self.0.open() {
            let _ = held.signal(ProcessSignal::KILL);
        }
    }
}

/// A log that remembers effects, or refuses them (after remembering).
pub struct NoLog {
    effects: Mutex<Vec<(usize, serde_json::Value)>>,
    fails: bool,
}

impl NoLog {
    pub fn new() -> NoLog {
        NoLog { effects: Mutex::default(), fails: false }
    }

    pub fn failing() -> NoLog {
        NoLog { effects: Mutex::default(), fails: true }
    }

    /// The plan's acts with what became known.
    pub fn armed(&self, plan: &Plan) -> Armed {
        let mut armed = armed(plan);
        for (act, data) in self.effects.lock().unwrap().iter() {
            armed.acts[*act].data = data.clone();
        }
        armed
    }
}

impl UndoLog for NoLog {
    fn effect<'a>(&'a self, act: usize, data: serde_json::Value) -> BoxFuture<'a, Result<(), InjectError>> {
        Box::pin(async move {
            self.effects.lock().unwrap().push((act, data));
            if self.fails { Err(InjectError::new("the disk is full")) } else { Ok(()) }
        })
    }
}

pub fn armed(plan: &Plan) -> Armed {
    Armed { order: plan.order.clone(), acts: plan.acts.clone() }
}

pub fn fault(target: &str, name: &str, pairs: &[(&str, &str)], lasts: &str) -> Fault {
    Fault {
        id: None,
        target: target.parse().unwrap(),
        inject: Injection::from_pairs(name, pairs.iter().copied()).unwrap(),
        lasts: lasts.parse().ok(),
        share: Default::default(),
        per: None,
        when: None,
        ramp: None,
        seed: None,
    }
}

pub fn order(id: &str, fault: Fault, target: &Target) -> Order {
    Order { id: id.into(), fault, target: target.clone(), seed: 7 }
}

pub fn process_target(name: &str, pid: u32) -> Target {
    serde_json::from_value(serde_json::json!({"name": name, "process": {"pid": pid}})).unwrap()
}

pub fn node() -> Target {
    serde_json::from_value(serde_json::json!({"name": "self", "node": {}})).unwrap()
}

pub fn process_of(act: &UndoRecord) -> ProcessId {
    serde_json::from_value(act.data["process"].clone()).unwrap()
}

pub fn cpu_ms(id: ProcessId) -> f64 {
    id.stat().unwrap().cpu.as_secs_f64() * 1e3
}

pub fn within(most: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + most;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Waiting for a process to be gone.
pub trait Waits {
    fn waits_to_be_gone(&self) -> bool;
}

impl Waits for ProcessId {
    fn waits_to_be_gone(&self) -> bool {
        within(Duration::from_secs(30), || !self.alive())
    }
}
