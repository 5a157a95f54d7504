//! Two hosts: network namespaces on a veth pair, held by processes of ours, so that nothing is left however a test ends.

use crate::ground::{eventually, is_root, need, program};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A host: a namespace that lives as long as this.
pub struct Host {
    keeper: Child,
    ns: host::Netns,
}

impl Host {
    /// A new one. Needs root and unshare.
    pub fn start() -> Host {
        let keeper = Command::new("unshare")
            .args(["--net", "sleep", "3600"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mine = host::Netns::mine().unwrap().id();
        let own = || host::Netns::of_process(keeper.id()).ok().filter(|ns| ns.id() != mine);
        assert!(eventually(Duration::from_secs(30), || own().is_some()), "no namespace");
        let ns = own().unwrap();
        Host { keeper, ns }
    }

    /// Its process, by which it is a target: `netns:…` needs a name, a process has none.
    pub fn pid(&self) -> u32 {
        self.keeper.id()
    }

    /// Does something in it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.ns.run(work).unwrap()
    }

    /// A line of shell in it; what it printed.
    pub fn sh(&self, line: &str) -> String {
        let net = format!("--net=/proc/{}/ns/net", self.pid());
        let out = Command::new("nsenter").args([&net, "sh", "-c", line]).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
        text
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// Two hosts on one wire: 10.87.0.1 and 10.87.0.2, fd87::1 and fd87::2.
pub struct Pair {
    pub a: Host,
    pub b: Host,
    /// The interface of the first.
    pub link: String,
}

/// The addresses of the second host.
pub const B4: &str = "10.87.0.2";
pub const B6: &str = "fd87::2";
pub const A4: &str = "10.87.0.1";

/// The engine that these tests ask for: `MURPHY_NETWORK_ENGINE`, else the one that every kernel has.
pub fn engine() -> String {
    std::env::var("MURPHY_NETWORK_ENGINE").unwrap_or_else(|_| "emulated".into())
}

/// Two hosts; none where that is not possible.
pub fn pair() -> Option<Pair> {
    let tools = ["ip", "nsenter", "unshare", "nft", "tc"].iter().all(|t| program(t, &[]).is_some());
    if !need("root and the programs ip, nsenter, unshare, nft and tc", is_root() && tools) {
        return None;
    }
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (a, b) = (Host::start(), Host::start());
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let link = format!("ma{n}");
    a.sh(&format!(
        "ip link set lo up && ip link add {link} type veth peer name mb{n} netns /proc/{}/ns/net && \
         ip addr add {A4}/24 dev {link} && ip -6 addr add fd87::1/64 dev {link} nodad && ip link set {link} up",
        b.pid()
    ));
    b.sh(&format!(
        "ip link set lo up && ip addr add {B4}/24 dev mb{n} && ip -6 addr add fd87::2/64 dev mb{n} nodad && ip link set mb{n} up"
    ));
    let pair = Pair { a, b, link };
    // The wire is ready when a packet went both ways.
    let echo = Echo::start(&pair.b, B4, 0);
    let up = eventually(Duration::from_secs(30), || {
        !pair.a.run(|| ask(echo.at, 1, Duration::from_millis(200))).is_empty()
    });
    assert!(up, "the two hosts do not reach each other");
    Some(pair)
}

/// A server that sends back what it gets, in a namespace.
pub struct Echo {
    pub at: SocketAddr,
    /// How much came.
    pub came: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    pub fn start(host: &Host, address: &str, port: u16) -> Echo {
        let ip: IpAddr = address.parse().unwrap();
        let socket = host.run(|| UdpSocket::bind((ip, port)).unwrap());
        roomy(&socket);
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let at = socket.local_addr().unwrap();
        let (stop, came) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (over, count) = (stop.clone(), came.clone());
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !over.load(Ordering::Relaxed) {
                if let Ok((n, from)) = socket.recv_from(&mut buffer) {
                    count.fetch_add(1, Ordering::Relaxed);
                    let _ = socket.send_to(&buffer[..n], from);
                }
            }
        });
        Echo { at, came, stop, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Room for everything that a test sends: on a busy machine the reader may not be there for a while.
fn roomy(socket: &UdpSocket) {
    rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, 64 << 20).unwrap();
}

/// Asks an echo so often, one after the other; the round trips that came back, in milliseconds.
pub fn ask(at: SocketAddr, n: usize, patience: Duration) -> Vec<f64> {
    let any: IpAddr = if at.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    socket.set_read_timeout(Some(patience)).unwrap();
    let mut out = Vec::new();
    for i in 0..n as u64 {
        let begin = Instant::now();
        if socket.send_to(&i.to_be_bytes(), at).is_err() {
            continue;
        }
        let mut buffer = [0; 64];
        while let Ok(n) = socket.recv(&mut buffer) {
            if buffer[..n] == i.to_be_bytes() {
                out.push(begin.elapsed().as_secs_f64() * 1e3);
                break;
            }
        }
    }
    out
}

/// Sends so many packets, numbered, evenly spaced; which came back, in the order they came, until nothing more does.
pub fn flood(at: SocketAddr, n: u64, gap: Duration) -> Vec<u64> {
    let any: IpAddr = if at.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    roomy(&socket);
    let sender = socket.try_clone().unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
    let thread = std::thread::spawn(move || {
        for i in 0..n {
            let _ = sender.send_to(&i.to_be_bytes(), at);
            std::thread::sleep(gap);
        }
    });
    let mut out = Vec::new();
    let mut buffer = [0; 64];
    loop {
        match socket.recv(&mut buffer) {
            Ok(8) => out.push(u64::from_be_bytes(buffer[..8].try_into().unwrap())),
            Ok(_) => {}
            Err(_) if !thread.is_finished() => {}
            Err(_) => break,
        }
    }
    thread.join().unwrap();
    out
}
