//! What the tests share: a proxy in front of a service, and faults armed on it as the engine does.

use inject::{Armed, InjectError, Injector, Order, Recovered, UndoLog};
use model::{Evidence, Injection, Sample, Target, TargetKind, TargetRef};
use murphy_proxy::ProxyInjector;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Longer than anything here takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A proxy named `it`, opened on a port of its own.
pub struct Bench {
    pub proxy: Arc<ProxyInjector>,
    pub address: SocketAddr,
    target: Target,
    named: AtomicU64,
}

struct NoLog;

impl UndoLog for NoLog {
    fn effect<'a>(
        &'a self,
        _act: usize,
        _data: serde_json::Value,
    ) -> inject::BoxFuture<'a, Result<(), InjectError>> {
        Box::pin(async { Ok(()) })
    }
}

impl Bench {
    /// In front of that service, layer 4.
    pub async fn tcp(upstream: SocketAddr) -> Bench {
        Bench::open(&upstream.to_string(), "tcp").await
    }

    /// In front of that service, layer 7.
    pub async fn http(upstream: SocketAddr) -> Bench {
        Bench::open(&upstream.to_string(), "http").await
    }

    pub async fn open(upstream: &str, protocol: &str) -> Bench {
        Bench::with(serde_json::json!({"listen": "127.0.0.1:0", "upstream": upstream, "protocol": protocol}))
            .await
    }

    /// As the specification says. The address is that of port 0 when it listens elsewhere.
    pub async fn with(proxy: serde_json::Value) -> Bench {
        Bench::of(ProxyInjector::new(), proxy).await
    }

    /// The same, of an injector that was set up for it.
    pub async fn of(injector: ProxyInjector, proxy: serde_json::Value) -> Bench {
        let target: Target =
            serde_json::from_value(serde_json::json!({"name": "it", "proxy": proxy})).unwrap();
        let proxy = Arc::new(injector);
        let state = proxy.open(&target).await.unwrap();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let address = state.listen.unwrap().parse().unwrap_or(nowhere);
        Bench { proxy, address, target, named: AtomicU64::new(0) }
    }

    /// Closes the target.
    pub async fn close(&self) {
        self.proxy.close(&self.target.reference()).await;
    }

    /// Whether it understands requests.
    pub fn proxy_is_http(&self) -> bool {
        self.proxy.states()[0].http
    }

    pub fn order(&self, fault: serde_json::Value) -> Order {
        let mut fault = fault;
        let object = fault.as_object_mut().unwrap();
        object.entry("target").or_insert("proxy:it".into());
        object.entry("for").or_insert("10m".into());
        Order {
            id: format!("f{}", self.named.fetch_add(1, Relaxed)),
            fault: serde_json::from_value(fault).unwrap(),
            target: self.target.clone(),
            seed: 7,
        }
    }

    /// Arms `name key=value …` on everything.
    pub async fn arm(&self, words: &str) -> Armed {
        self.arm_fault(serde_json::json!({"inject": injection(words)})).await
    }

    /// Arms a fault given as JSON; target and length may be left out.
    pub async fn arm_fault(&self, fault: serde_json::Value) -> Armed {
        let order = self.order(fault);
        let plan = self.proxy.plan(&order).await.unwrap();
        let outcomes = self.proxy.inject(&plan, &NoLog).await;
        assert_eq!(outcomes.len(), plan.acts.len());
        outcomes.into_iter().for_each(|o| o.unwrap());
        Armed { order, acts: plan.acts }
    }

    /// Disarms, and sees that this takes no time.
    pub async fn disarm(&self, armed: &Armed) {
        let begun = Instant::now();
        for act in armed.acts.iter().rev() {
            assert_eq!(self.proxy.recover(act).await, Recovered::Undone);
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "disarming waited for the fault");
    }

    pub fn evidence(&self, armed: &Armed) -> Evidence {
        self.proxy.evidence(armed)
    }

    pub fn totals(&self) -> Sample {
        let totals: BTreeMap<TargetRef, Sample> = self.proxy.totals();
        totals[&TargetRef::new(TargetKind::Proxy, "it")].clone()
    }

    pub async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// One exchange on a new connection. With a cut armed even connecting may fail, when the reset comes quickly.
    pub async fn try_once(&self) -> std::io::Result<Duration> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        ping(&mut stream).await
    }
}

pub fn injection(words: &str) -> Injection {
    let mut words = words.split_whitespace();
    let name = words.next().unwrap();
    Injection::from_pairs(name, words.map(|w| w.split_once('=').unwrap())).unwrap()
}

/// Waits until it holds.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The work's result; a failure when it takes longer than anything should.
pub async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("hangs")
}

/// The smallest of some tries: a bound that a calm moment must meet.
pub async fn best_of<F: Future<Output = Duration>>(tries: usize, mut run: impl FnMut() -> F) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..tries {
        best = best.min(run().await);
    }
    best
}

/// The best median of some rounds of so many: what a calm moment shows. Ends with the first round below `enough`.
pub async fn best_median<F: Future<Output = Duration>>(
    each: usize,
    enough: Duration,
    mut run: impl FnMut() -> F,
) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..8 {
        let mut all = Vec::new();
        for _ in 0..each {
            all.push(run().await);
        }
        all.sort();
        best = best.min(all[all.len() / 2]);
        if best < enough {
            break;
        }
    }
    best
}

/// A service that sends back what it gets, and ends when the client has.
pub async fn echo() -> SocketAddr {
    serve(|mut stream| async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(n) = stream.read(&mut buffer).await {
            if n == 0 || stream.write_all(&buffer[..n]).await.is_err() {
                break;
            }
        }
        let _ = stream.shutdown().await;
    })
    .await
}

/// A service that does this with each connection.
pub async fn serve<F, W>(work: W) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
    W: Fn(TcpStream) -> F + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(work(stream));
        }
    });
    address
}

/// An address at which nothing listens.
pub async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// Sends a byte and waits for it to come back.
pub async fn ping(stream: &mut TcpStream) -> std::io::Result<Duration> {
    let begun = Instant::now();
    stream.write_all(b"x").await?;
    let mut byte = [0];
    soon(stream.read_exact(&mut byte)).await?;
    Ok(begun.elapsed())
}

/// What reading ends with: the bytes, and the error if it was not an end.
pub async fn drain(stream: &mut TcpStream) -> (Vec<u8>, Option<std::io::ErrorKind>) {
    let mut all = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match soon(stream.read(&mut buffer)).await {
            Ok(0) => return (all, None),
            Ok(n) => all.extend_from_slice(&buffer[..n]),
            Err(e) => return (all, Some(e.kind())),
        }
    }
}
