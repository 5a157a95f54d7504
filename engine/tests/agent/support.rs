//! What the tests share: processes to hit, faults to order, waiting.

use host::ProcessId;
use host::process::ProcessSignal;
use inject::Injector;
use model::{Fault, Target};
use murphy_engine::{Agent, Config, Item, Subscription};
use nodeops::{NodeInjector, ProcessInjector};
use serde_json::json;
use std::future::Future;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Long enough for a loaded machine; nothing waits for it when all is well.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn injectors() -> Vec<Arc<dyn Injector>> {
    vec![Arc::new(ProcessInjector::new()), Arc::new(NodeInjector::new())]
}

/// Agents of one test see each other's claims, and those of no other.
pub fn space() -> String {
    use std::hash::{BuildHasher, Hasher};
    format!("murphy-test-{}-{:x}", std::process::id(), std::hash::RandomState::new().build_hasher().finish())
}

pub fn config(dir: &std::path::Path, injectors: Vec<Arc<dyn Injector>>) -> Config {
    let mut config = Config::new(dir, injectors);
    config.claim_space = space();
    config
}

pub fn fault(json: serde_json::Value) -> Fault {
    serde_json::from_value(json).unwrap()
}

pub fn pause(pid: u32, lasts: &str) -> Fault {
    fault(json!({"target": format!("process:{pid}"), "inject": {"pause": {}}, "for": lasts}))
}

pub fn cpu(lasts: &str) -> Fault {
    fault(json!({"target": "node:self", "inject": {"cpu": {"load": "5%", "cores": "1"}}, "for": lasts}))
}

pub fn proxy(name: &str) -> Target {
    serde_json::from_value(
        json!({"name": name, "proxy": {"listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"}}),
    )
    .unwrap()
}

pub fn latency(target: &str, lasts: &str) -> Fault {
    fault(
        json!({"target": format!("proxy:{target}"), "inject": {"latency": {"delay": "10ms"}}, "for": lasts}),
    )
}

/// A child that sleeps, killed when dropped.
pub struct Sleeper(Child);

impl Sleeper {
    pub fn start() -> Sleeper {
        let sleeper = Sleeper(Command::new("sleep").arg("900").spawn().unwrap());
        wait(|| sleeper.state() == 'S');
        sleeper
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn state(&self) -> char {
        ProcessId::of(self.pid()).unwrap().stat().unwrap().state
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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
        std::thread::sleep(Duration::from_millis(3));
    }
}

#[track_caller]
pub fn wait(holds: impl FnMut() -> bool) {
    assert!(within(PATIENCE, holds), "it did not come about in a minute");
}

pub fn kill(pid: u32) {
    if let Ok(held) = ProcessId::of(pid).and_then(ProcessId::open) {
        let _ = held.signal(ProcessSignal::KILL);
        held.wait_exit(PATIENCE);
    }
}

pub fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let value = runtime.block_on(async { tokio::time::timeout(2 * PATIENCE, future).await });
    runtime.shutdown_background();
    value.expect("a test took more than two minutes")
}

/// Reads on until an event fits, as its text.
pub async fn until(sub: &mut Subscription, fits: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    loop {
        if let Item::Event(event) = sub.next().await {
            let json = serde_json::to_value(&*event).unwrap();
            if fits(&json) {
                return json;
            }
        }
    }
}

/// The names of all events so far that are no notes and no measurements, with ids: `armed A`.
pub fn story(agent: &Agent) -> Vec<String> {
    let mut sub = agent.subscribe(Some(1));
    let mut out = Vec::new();
    while let Some(Item::Event(event)) = sub.try_next() {
        let json = serde_json::to_value(&*event).unwrap();
        let name = json["event"].as_str().unwrap().to_owned();
        if !["note", "samples", "evidence"].contains(&name.as_str()) {
            out.push(format!("{name} {}", json["id"].as_str().unwrap_or_default()).trim().to_owned());
        }
    }
    out
}

/// Says why a test is skipped; with MURPHY_E2E=require it may not be.
pub fn skip(why: &str) {
    assert!(std::env::var("MURPHY_E2E").as_deref() != Ok("require"), "cannot run here: {why}");
    println!("skipped: {why}");
}
