//! Two thousand connections are held while faults come and go; `MURPHY_HELD=9000 MURPHY_ROUNDS=1000` is more. A process of
//! its own, for it counts descriptors; the clients' and the service's ends are in two others, this program again, so that
//! the limit of open files allows more of them.

use inject::{Armed, InjectError, Injector, Order, UndoLog};
use model::{Injection, Target, TargetKind, TargetRef};
use murphy_proxy::ProxyInjector;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Connections and rounds when the environment does not say otherwise.
const CONNECTIONS: usize = 2000;
const ROUNDS: usize = 200;
/// In the environment of the processes with the other ends.
const PART: &str = "MURPHY_HELD_PART";
/// What their answers begin with, among the lines of the test harness.
const ANSWER: &str = "answer: ";
const PATIENCE: Duration = Duration::from_secs(60);

const FAULTS: [&str; 8] = [
    "latency delay=2ms jitter=2ms",
    "bandwidth rate=10MB/s per=target",
    "slice size=1B",
    "slow_close delay=1h",
    "half_open",
    "limit_data bytes=1GB",
    "connect_delay delay=1h",
    "refuse",
];

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

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn from_environment(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

/// So many descriptors, where that is permitted; as many as the limit allows otherwise.
fn raise_limit(wanted: usize) -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let more = hard.max(wanted as u64);
    let limit = if setrlimit(Resource::RLIMIT_NOFILE, more, more).is_ok() { more } else { hard };
    setrlimit(Resource::RLIMIT_NOFILE, limit, limit).unwrap();
    limit as usize
}

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("hangs: {what}"))
}

async fn ping(stream: &mut TcpStream, byte: u8) {
    stream.write_all(&[byte]).await.unwrap();
    let mut back = [0];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(back, [byte]);
}

/// A process with other ends. It ends when its standard input does, so also when this test fails.
struct Other {
    child: Child,
    says: Lines<BufReader<ChildStdout>>,
}

impl Other {
    fn start(part: &str) -> Other {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", part, "--nocapture"])
            .env(PART, part)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let says = BufReader::new(child.stdout.take().unwrap()).lines();
        Other { child, says }
    }

    fn answer(&mut self) -> String {
        let mut lines = self.says.by_ref().map_while(Result::ok);
        lines.find_map(|l| Some(l.split_once(ANSWER)?.1.to_owned())).expect("the other process answers")
    }

    fn ask(&mut self, words: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{words}").unwrap();
        self.answer();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Whether this process is that part; the limit is raised then.
fn is_part(part: &str) -> bool {
    let is = std::env::var(PART).as_deref() == Ok(part);
    if is {
        raise_limit(from_environment("MURPHY_HELD", CONNECTIONS) + 200);
    }
    is
}

fn answer(text: impl std::fmt::Display) {
    println!("\n{ANSWER}{text}");
}

/// Does nothing by itself: `Other` starts it. Says where it is, and echoes.
#[tokio::test]
async fn the_service_when_asked_for() {
    if !is_part("the_service_when_asked_for") {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    answer(listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 512];
                while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..n]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await.unwrap().unwrap();
}

/// Does nothing by itself: `Other` starts it. Connects to an address, or exchanges a byte on a connection, as it is told.
#[tokio::test]
async fn the_clients_when_asked_for() {
    if !is_part("the_clients_when_asked_for") {
        return;
    }
    let mut clients = Vec::new();
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (what, number) = line.split_once(' ').unwrap();
        if what == "connect" {
            let mut client = soon("a connection", TcpStream::connect(number)).await.unwrap();
            client.set_nodelay(true).unwrap();
            soon("its first byte", ping(&mut client, 1)).await;
            clients.push(client);
        } else {
            let client = &mut clients[number.parse::<usize>().unwrap()];
            soon("an exchange", ping(client, what.parse().unwrap())).await;
        }
        answer("done");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_come_and_go_and_nothing_is_lost() {
    let (wanted, rounds) =
        (from_environment("MURPHY_HELD", CONNECTIONS), from_environment("MURPHY_ROUNDS", ROUNDS));
    // Each needs two here.
    let count = wanted.min((raise_limit(wanted * 2 + 200) - 200) / 2);
    if count < wanted {
        eprintln!("with {count} connections: the limit of open files allows no more");
    }
    let mut service = Other::start("the_service_when_asked_for");
    let mut clients = Other::start("the_clients_when_asked_for");
    let upstream = service.answer();
    let target: Target = serde_json::from_value(serde_json::json!({
        "name": "it", "proxy": {"listen": "127.0.0.1:0", "upstream": upstream},
    }))
    .unwrap();
    let proxy = ProxyInjector::new();
    let address = proxy.open(&target).await.unwrap().listen.unwrap();
    let reference = TargetRef::new(TargetKind::Proxy, "it");
    let totals = || proxy.totals()[&reference].clone();
    let (before, started) = (descriptors(), Instant::now());

    for _ in 0..count {
        clients.ask(&format!("connect {address}"));
    }
    assert_eq!(proxy.connections().len(), count);
    let held = descriptors();
    let mut sent = count as u64;
    let mut armed: Vec<Armed> = Vec::new();
    for round in 0..rounds {
        let mut words = FAULTS[round % FAULTS.len()].split_whitespace();
        let name = words.next().unwrap();
        let inject = Injection::from_pairs(name, words.map(|w| w.split_once('=').unwrap())).unwrap();
        let fault = serde_json::from_value(serde_json::json!({
            "target": "proxy:it", "for": "10m", "inject": inject,
        }))
        .unwrap();
        let order = Order { id: format!("f{round}"), fault, target: target.clone(), seed: round as u64 };
        let plan = proxy.plan(&order).await.unwrap();
        proxy.inject(&plan, &NoLog).await.into_iter().for_each(|o| o.unwrap());
        armed.push(Armed { order, acts: plan.acts });
        // Some talk while faults are on, others when they are off again.
        for k in 0..10 {
            clients.ask(&format!("{} {}", round as u8, (round * 37 + k * 101) % count));
            sent += 1;
        }
        if armed.len() > 2 || round + 1 == rounds {
            for fault in armed.drain(..) {
                for act in &fault.acts {
                    soon("disarming", proxy.recover(act)).await;
                }
            }
        }
    }
    for client in 0..count {
        clients.ask(&format!("9 {client}"));
        sent += 1;
    }
    // A byte is counted once it is written, and the client may have read it by then.
    let begun = Instant::now();
    while totals().bytes_down < sent && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let all = totals();
    assert_eq!((all.bytes_up, all.bytes_down, all.open), (sent, sent, count as u64));
    let each: u64 = proxy.connections().iter().map(|c| c.bytes_up).sum();
    assert_eq!(each, sent);
    assert!(proxy.connections().iter().all(|c| c.faults.is_empty()));
    drop(clients);
    let begun = Instant::now();
    // The two pipes to the clients are closed, too.
    let before = before - 2;
    while descriptors() > before || !proxy.connections().is_empty() {
        assert!(begun.elapsed() < PATIENCE, "{} descriptors instead of {before}", descriptors());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let all = totals();
    assert_eq!((all.requests, all.errors, all.open), (count as u64, 0, 0));
    println!(
        "{count} connections, {rounds} rounds: {} bytes up, {} down; descriptors {before}, {held}, {}; {:?}",
        all.bytes_up,
        all.bytes_down,
        descriptors(),
        started.elapsed(),
    );
}
