//! The Toxiproxy-compatible door over an agent in memory: what its book does when the agent says no, and with time.

mod support;

use control::Service;
use control::toxiproxy::{Door, Ground, Options};
use control::wire::{Change, Code, Failure};
use control::{Answer, Caller};
use futures::future::BoxFuture;
use model::units::Span;
use model::{Injection, Share, Target, TargetRef};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::memory::Memory;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// An agent in memory that also remembers what it opened, and may refuse.
struct Agent {
    memory: Arc<Memory>,
    specs: Mutex<BTreeMap<String, Target>>,
    refuses: Mutex<Option<&'static str>>,
}

impl Agent {
    fn new() -> Arc<Agent> {
        Arc::new(Agent { memory: Memory::new("edge-1"), specs: Mutex::default(), refuses: Mutex::default() })
    }

    fn refuse(&self, what: Option<&'static str>) {
        *self.refuses.lock().unwrap() = what;
    }

    fn willing(&self, what: &str) -> Result<(), Failure> {
        match *self.refuses.lock().unwrap() {
            Some(refused) if refused == what => {
                Err(Failure::new(Code::Internal, format!("{what} is refused")))
            }
            _ => Ok(()),
        }
    }
}

macro_rules! pass {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $out:ty;)*) => {
        $(fn $name(&self, $($arg: $ty),*) -> BoxFuture<'_, Answer<$out>> { self.memory.$name($($arg),*) })*
    };
}

impl Service for Agent {
    pass! {
        status() -> control::wire::AgentStatus;
        targets() -> Vec<model::sample::TargetState>;
        faults() -> Vec<control::wire::FaultState>;
        plan(fault: model::Fault) -> control::wire::PlanView;
        adjust(id: String, change: Change, by: Caller) -> control::wire::FaultState;
        disarm(id: String, by: Caller) -> control::wire::Disarmed;
        renew(id: String, by: Caller) -> control::wire::FaultState;
        close_target(target: TargetRef, by: Caller) -> ();
        halt(by: Caller) -> control::wire::Halted;
        lift(by: Caller) -> ();
        start_run(run: control::wire::StartRun, by: Caller) -> control::wire::RunState;
        run() -> control::wire::RunState;
        end_run(by: Caller) -> control::wire::RunState;
        doctor() -> Vec<control::wire::Check>;
    }

    fn open_target(&self, target: Target, by: Caller) -> BoxFuture<'_, Answer<model::sample::TargetState>> {
        Box::pin(async move {
            self.willing("open")?;
            self.specs.lock().unwrap().insert(target.name.clone(), target.clone());
            let name = target.name.clone();
            let listen = match &target.spec {
                model::TargetSpec::Proxy(spec) => spec.listen.clone(),
                _ => String::new(),
            };
            let mut opened = self.memory.open_target(target, by).await?;
            opened.listen = Some(listen);
            for state in self.memory.state().targets.iter_mut().filter(|t| t.target.name == name) {
                state.listen.clone_from(&opened.listen);
            }
            Ok(opened)
        })
    }

    fn arm(
        &self,
        fault: model::Fault,
        lease: Option<Span>,
        by: Caller,
    ) -> BoxFuture<'_, Answer<control::wire::FaultState>> {
        if let Err(e) = self.willing("arm") {
            return Box::pin(async { Err(e) });
        }
        self.memory.arm(fault, lease, by)
    }

    fn events(&self, from: u64) -> futures::stream::BoxStream<'static, Arc<model::Event>> {
        self.memory.events(from)
    }

    fn audit(&self, entry: control::service::Audit) {
        self.memory.audit(entry);
    }
}

impl Ground for Agent {
    fn spec(&self, target: &TargetRef) -> Option<Target> {
        self.specs.lock().unwrap().get(&target.name).cloned()
    }

    fn shut(&self, target: TargetRef, by: Caller) -> BoxFuture<'_, Answer<()>> {
        Box::pin(async move {
            let faults = self.memory.faults().await?;
            for fault in faults.into_iter().filter(|f| f.fault.target == target) {
                self.memory.disarm(fault.id, by.clone()).await?;
            }
            self.memory.close_target(target, by).await
        })
    }

    fn change(&self, id: String, inject: Injection, share: Share, _by: Caller) -> BoxFuture<'_, Answer<()>> {
        Box::pin(async move {
            self.willing("change")?;
            let mut state = self.memory.state();
            let fault = state.faults.iter_mut().find(|f| f.id == id).ok_or_else(|| Failure::no_fault(&id))?;
            (fault.fault.inject, fault.fault.share) = (inject, share);
            Ok(())
        })
    }
}

async fn door(agent: &Arc<Agent>, options: Options) -> Door {
    Door::open("127.0.0.1:0".parse().unwrap(), agent.clone(), options).await.unwrap()
}

/// Status and body.
async fn call(door: &Door, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(door.address()).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

async fn with_latency(door: &Door) {
    let made =
        call(door, "POST", "/proxies", r#"{"name":"p","listen":"127.0.0.1:0","upstream":"x:1"}"#).await;
    assert_eq!(made.0, 201, "{made:?}");
    let toxic = r#"{"type":"latency","attributes":{"latency":5}}"#;
    let made = call(door, "POST", "/proxies/p/toxics", toxic).await;
    assert_eq!(made.0, 200, "{made:?}");
}

#[tokio::test]
async fn a_toxic_without_an_end_outlasts_what_the_model_allows() {
    let agent = Agent::new();
    let stretch = Span::millis(200);
    let door = door(&agent, Options { stretch, ..Options::default() }).await;
    with_latency(&door).await;
    let armed = || {
        let state = agent.memory.state();
        state.faults.first().map(|f| (f.armed_mono_ms, f.fault.seed, f.id.clone()))
    };
    let (first, seed, id) = armed().unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        // Between disarming and arming anew there is none for a moment.
        if let Some((at, now_seed, now_id)) = armed()
            && at > first + 1000.0
        {
            assert_eq!((now_seed, now_id), (seed, id));
            break;
        }
        assert!(Instant::now() < end, "it was not armed anew");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(call(&door, "GET", "/proxies/p/toxics/latency_downstream", "").await.0, 200);
    door.close().await;
}

#[tokio::test]
async fn what_the_agent_refuses_changes_nothing() {
    let agent = Agent::new();
    let door = door(&agent, Options::default()).await;
    with_latency(&door).await;
    let before = call(&door, "GET", "/proxies", "").await;
    agent.refuse(Some("change"));
    let refused =
        call(&door, "PATCH", "/proxies/p/toxics/latency_downstream", r#"{"attributes":{"latency":9}}"#).await;
    assert_eq!(refused, (500, "{\"error\":\"change is refused\",\"status\":500}\n".to_owned()));
    agent.refuse(Some("arm"));
    let refused = call(&door, "POST", "/proxies/p/toxics", r#"{"type":"bandwidth"}"#).await;
    assert_eq!(refused, (500, "{\"error\":\"arm is refused\",\"status\":500}\n".to_owned()));
    assert_eq!(call(&door, "GET", "/proxies", "").await, before);
    // A proxy that cannot have its toxics back does not start without them.
    assert_eq!(call(&door, "PATCH", "/proxies/p", r#"{"enabled":false}"#).await.0, 200);
    assert_eq!(call(&door, "PATCH", "/proxies/p", r#"{"enabled":true}"#).await.0, 500);
    assert!(agent.memory.state().targets.is_empty());
    agent.refuse(Some("open"));
    let refused =
        call(&door, "POST", "/proxies", r#"{"name":"q","listen":"127.0.0.1:0","upstream":"x:1"}"#).await;
    assert_eq!(refused.0, 500);
    agent.refuse(None);
    let again = call(&door, "PATCH", "/proxies/p", r#"{"enabled":true}"#).await;
    assert_eq!(again.1, call(&door, "GET", "/proxies/p", "").await.1);
    assert!(again.1.contains(r#""enabled":true,"toxics":[{"attributes":{"latency":5"#), "{again:?}");
    assert_eq!(call(&door, "GET", "/proxies/q", "").await.0, 404);
    // Every changing call is in the agent's audit, with its outcome.
    let audit = agent.memory.state().audit.clone();
    assert!(audit.iter().any(|a| a.action == "toxiproxy PATCH" && a.status == 500 && a.what == "/proxies/p"));
}

#[tokio::test]
async fn many_at_once() {
    let agent = Agent::new();
    let door = Arc::new(door(&agent, Options::default()).await);
    with_latency(&door).await;
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..40 {
        let door = door.clone();
        tasks.spawn(async move {
            let toxic = format!(r#"{{"type":"noop","name":"n{i}"}}"#);
            assert_eq!(call(&door, "POST", "/proxies/p/toxics", &toxic).await.0, 200);
            call(
                &door,
                "PATCH",
                "/proxies/p/toxics/latency_downstream",
                &format!(r#"{{"attributes":{{"latency":{i}}}}}"#),
            )
            .await;
            assert_eq!(call(&door, "DELETE", &format!("/proxies/p/toxics/n{i}"), "").await.0, 204);
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let left = call(&door, "GET", "/proxies/p/toxics", "").await.1;
    assert_eq!(left.matches("\"name\"").count(), 1, "{left}");
}
