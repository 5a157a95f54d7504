//! In front of a container: a process in a network of its own stands for one, joined to ours by a pair of interfaces.

use crate::spaces::{PATIENCE, block_on, enter, ip, ready};
use host::{Netns, ProcessId};
use inject::{Armed, BoxFuture, Container, Containers, Injector, Order, Refusal, UndoLog};
use model::target::ContainerSpec;
use model::{Fault, Target, TargetRef};
use murphy_proxy::ProxyInjector;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const V4: &str = "10.78.0.2:9000";
const V6: &str = "[fd78::2]:9000";

/// A process in a namespace with a service; both end when it is dropped.
struct Box {
    process: Child,
    ns: Netns,
    services: Vec<JoinHandle<()>>,
}

impl Box {
    /// Starts the process, joins its network to this thread's, and serves there.
    fn start() -> Result<Box, String> {
        let process = Command::new("unshare").args(["--net", "sleep", "600"]).stdin(Stdio::null()).spawn();
        let process = process.map_err(|e| e.to_string())?;
        let pid = process.id();
        let mine = Netns::open("/proc/thread-self/ns/net".as_ref()).map_err(|e| e.to_string())?;
        let until = Instant::now() + PATIENCE;
        // It is still ours until unshare(1) has come to its point.
        let ns = loop {
            match Netns::of_process(pid) {
                Ok(ns) if ns.id() != mine.id() => break ns,
                _ if Instant::now() > until => return Err("no namespace for a process".into()),
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let mut this = Box { process, ns, services: Vec::new() };
        ip(&format!("link add v0 type veth peer name v1 netns {pid}"))?;
        ip("address add 10.78.0.1/24 dev v0")?;
        ip("address add fd78::1/64 dev v0 nodad")?;
        ip("link set v0 up")?;
        let inside = this.ns.run(|| {
            ip("link set lo up")?;
            ip("address add 10.78.0.2/24 dev v1")?;
            ip("address add fd78::2/64 dev v1 nodad")?;
            ip("link set v1 up")
        });
        inside.map_err(|e| e.to_string())??;
        for address in [V4, V6] {
            let listener = this.ns.run(|| std::net::TcpListener::bind(address));
            let listener = listener.and_then(|l| l).map_err(|e| format!("{address}: {e}"))?;
            listener.set_nonblocking(true).map_err(|e| e.to_string())?;
            let listener = TcpListener::from_std(listener).map_err(|e| e.to_string())?;
            this.services.push(tokio::spawn(serve(listener)));
        }
        Ok(this)
    }

    fn as_container(&self) -> Container {
        let id = ProcessId::of(self.process.id()).unwrap();
        Container { id: "0123456789abcdef".into(), name: "shop-db-1".into(), pid: id.pid, start: id.start }
    }

    /// The tables of nf_tables inside.
    fn tables(&self) -> String {
        let list = || Command::new("nft").args(["list", "tables"]).output().unwrap().stdout;
        String::from_utf8(self.ns.run(list).unwrap()).unwrap()
    }
}

impl Drop for Box {
    fn drop(&mut self) {
        self.services.iter().for_each(|task| task.abort());
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Says who it sees, then everything again that it is told.
async fn serve(listener: TcpListener) {
    while let Ok((mut stream, peer)) = listener.accept().await {
        tokio::spawn(async move {
            stream.write_all(format!("{}\n", peer.ip()).as_bytes()).await.unwrap();
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
    }
}

/// Finds the one that runs now.
#[derive(Clone, Default)]
struct Engine(Arc<Mutex<Option<Container>>>);

impl Containers for Engine {
    fn find<'a>(
        &'a self,
        target: &'a TargetRef,
        _spec: &'a ContainerSpec,
    ) -> BoxFuture<'a, Result<Vec<Container>, Refusal>> {
        let found = self.0.lock().unwrap().clone();
        let none = move || Refusal::new(format!("{target}: it does not run"), "start it");
        std::boxed::Box::pin(async move { Ok(vec![found.ok_or_else(none)?]) })
    }
}

fn target(outgoing: bool) -> Target {
    let front = serde_json::json!({"service": "shop/db", "port": 9000, "outgoing": outgoing});
    let proxy = serde_json::json!({"in_front_of": front, "upstream": "original"});
    serde_json::from_value(serde_json::json!({"name": "db", "proxy": proxy})).unwrap()
}

async fn word(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while text.last() != Some(&b'\n') {
        text.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(text).unwrap().trim().to_owned()
}

/// Says something on a connection and hears it again.
async fn echoes(stream: &mut TcpStream) {
    stream.write_all(b"again\n").await.unwrap();
    assert_eq!(word(stream).await, "again");
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

struct NoLog;

impl UndoLog for NoLog {
    fn effect<'a>(
        &'a self,
        _act: usize,
        _data: serde_json::Value,
    ) -> BoxFuture<'a, Result<(), inject::InjectError>> {
        std::boxed::Box::pin(async { Ok(()) })
    }
}

async fn arm(proxy: &ProxyInjector, target: &Target, inject: serde_json::Value) -> Armed {
    let fault: Fault = serde_json::from_value(
        serde_json::json!({"target": target.reference(), "inject": inject, "for": "10m"}),
    )
    .unwrap();
    let order = Order { id: "f1".into(), fault, target: target.clone(), seed: 1 };
    let plan = proxy.plan(&order).await.unwrap();
    let done = proxy.inject(&plan, &NoLog).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    Armed { order, acts: plan.acts }
}

#[test]
fn connections_come_to_the_proxy_and_old_ones_stay() {
    if ready(enter()).is_none() {
        return;
    }
    block_on(async {
        let Some(inside) = ready(Box::start()) else { return };
        let engine = Engine::default();
        *engine.0.lock().unwrap() = Some(inside.as_container());
        let proxy = ProxyInjector::new().with_containers(Arc::new(engine.clone()));
        let mut old = TcpStream::connect(V4).await.unwrap();
        assert_eq!(word(&mut old).await, "10.78.0.1");
        echoes(&mut old).await;

        let db = target(false);
        let state = proxy.open(&db).await.unwrap();
        assert!(state.up && state.about.contains("in front of shop-db-1, port 9000"), "{state:?}");
        // What was open goes on, past the proxy; whoever arms a fault is told.
        echoes(&mut old).await;
        let (mut four, mut six) =
            (TcpStream::connect(V4).await.unwrap(), TcpStream::connect(V6).await.unwrap());
        // The proxy dials from inside.
        assert_eq!(word(&mut four).await, "10.78.0.2");
        assert_eq!(word(&mut six).await, "fd78::2");
        let mut upstreams: Vec<_> = proxy.connections().into_iter().filter_map(|c| c.upstream).collect();
        upstreams.sort();
        assert_eq!(upstreams, [V4, V6]);
        let inject = serde_json::json!({"latency": {"delay": "300ms"}});
        let order = Order {
            id: "f0".into(),
            fault: serde_json::from_value(
                serde_json::json!({"target": "proxy:db", "inject": inject, "for": "1m"}),
            )
            .unwrap(),
            target: db.clone(),
            seed: 1,
        };
        let plan = proxy.plan(&order).await.unwrap();
        assert!(plan.warnings.iter().any(|w| w.contains("1 connection was open before")), "{plan:?}");
        assert!(plan.acts[0].act.contains("in front of service shop/db, port 9000"), "{plan:?}");

        let armed = arm(&proxy, &db, inject).await;
        let begun = Instant::now();
        echoes(&mut four).await;
        assert!(begun.elapsed() >= Duration::from_millis(290), "{:?}", begun.elapsed());
        for act in &armed.acts {
            proxy.recover(act).await;
        }

        // A second one in the same place is refused by the kernel.
        let rival = ProxyInjector::new().with_containers(Arc::new(engine.clone()));
        let why = rival.open(&db).await.unwrap_err().to_string();
        assert!(why.contains("another proxy of murphy stands there already"), "{why}");

        assert!(inside.tables().contains("murphy-front-in-9000"));
        proxy.close(&db.reference()).await;
        assert_eq!(inside.tables(), "");
        echoes(&mut old).await;
        let mut direct = TcpStream::connect(V4).await.unwrap();
        assert_eq!(word(&mut direct).await, "10.78.0.1");
    });
}

#[test]
fn old_connections_are_reset_where_that_is_wanted() {
    if ready(enter()).is_none() {
        return;
    }
    block_on(async {
        let Some(inside) = ready(Box::start()) else { return };
        let engine = Engine::default();
        *engine.0.lock().unwrap() = Some(inside.as_container());
        let proxy = ProxyInjector::new().with_containers(Arc::new(engine));
        let mut old = TcpStream::connect(V4).await.unwrap();
        assert_eq!(word(&mut old).await, "10.78.0.1");
        let mut db = target(false);
        if let model::TargetSpec::Proxy(spec) = &mut db.spec {
            spec.in_front_of.as_mut().unwrap().reset_open = true;
        }
        match proxy.open(&db).await {
            Err(why) if why.to_string().contains("CONFIG_INET_DIAG_DESTROY") => {
                eprintln!("skipped: {why}");
                return;
            }
            opened => drop(opened.unwrap()),
        }
        let read = old.read_u8().await;
        assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        let mut new = TcpStream::connect(V4).await.unwrap();
        assert_eq!(word(&mut new).await, "10.78.0.2");
        proxy.close(&db.reference()).await;
    });
}

#[test]
fn it_follows_a_container_that_is_started_anew() {
    if ready(enter()).is_none() {
        return;
    }
    block_on(async {
        let Some(first) = ready(Box::start()) else { return };
        let engine = Engine::default();
        *engine.0.lock().unwrap() = Some(first.as_container());
        let proxy = ProxyInjector::new().with_containers(Arc::new(engine.clone()));
        let db = target(false);
        proxy.open(&db).await.unwrap();
        let armed = arm(&proxy, &db, serde_json::json!({"refuse": {}})).await;
        assert!(TcpStream::connect(V4).await.is_err());

        *engine.0.lock().unwrap() = None;
        drop(first);
        eventually("it is seen to have ended", async || !proxy.states()[0].up).await;
        let about = proxy.states()[0].about.clone();
        assert!(about.contains("1 ended and is not back"), "{about}");
        // The pair of interfaces goes with the namespace, which goes when nothing of ours holds it any more.
        let mut second = None;
        eventually("a second one", async || {
            second = Box::start().ok();
            second.is_some()
        })
        .await;
        let second = second.unwrap();
        *engine.0.lock().unwrap() = Some(second.as_container());
        eventually("it stands in front of the second", async || proxy.states()[0].up).await;
        // The fault is on there, too, until it is taken back.
        assert!(TcpStream::connect(V4).await.is_err());
        for act in &armed.acts {
            proxy.recover(act).await;
        }
        let mut through = TcpStream::connect(V4).await.unwrap();
        assert_eq!(word(&mut through).await, "10.78.0.2");
        proxy.close(&db.reference()).await;
        assert_eq!(second.tables(), "");
    });
}

#[test]
fn what_it_says_to_others_is_led_too() {
    if ready(enter()).is_none() {
        return;
    }
    block_on(async {
        let Some(inside) = ready(Box::start()) else { return };
        let outside = TcpListener::bind("10.78.0.1:9000").await.unwrap();
        tokio::spawn(serve(outside));
        let engine = Engine::default();
        *engine.0.lock().unwrap() = Some(inside.as_container());
        let proxy = ProxyInjector::new().with_containers(Arc::new(engine));
        let out = target(true);
        proxy.open(&out).await.unwrap();
        let dial = || {
            let stream = inside.ns.run(|| std::net::TcpStream::connect("10.78.0.1:9000"));
            let stream = stream.unwrap().unwrap();
            stream.set_nonblocking(true).unwrap();
            TcpStream::from_std(stream).unwrap()
        };
        let mut led = dial();
        assert_eq!(word(&mut led).await, "10.78.0.2");
        let seen: Vec<_> = proxy.connections().into_iter().filter_map(|c| c.upstream).collect();
        assert_eq!(seen, ["10.78.0.1:9000"]);
        // What others say to it passes.
        let mut passes = TcpStream::connect(V4).await.unwrap();
        assert_eq!(word(&mut passes).await, "10.78.0.1");
        proxy.close(&out.reference()).await;
        assert_eq!(word(&mut dial()).await, "10.78.0.2");
        assert_eq!(inside.tables(), "");
    });
}
