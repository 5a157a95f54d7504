//! Faults on a network, by either engine, beside a plain `tc netem`: two namespaces on a veth pair, and
//! the loopback of one; one-way times by one clock.
//!
//! `cargo build --release && cargo run --release -p murphy-benches --bin network -- [--murphy FILE] [--quick] [ENGINE…]`
//!
//! Engines are `emulated`, `native` and `plain`; what is not possible here is left out and said. In a guest of
//! `tests/vm`, whose time is virtual, the times are exact whatever the host is doing, and the throughput says nothing.
#![forbid(unsafe_code)]

use host::Netns;
use murphy_benches::process::pressure;
use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, SystemTimeError, UNIX_EPOCH};

const A: &str = "10.86.0.1";
const B: &str = "10.86.0.2";

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let (mut murphy, mut quick, mut engines) = (None, false, Vec::new());
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--murphy" => murphy = args.next(),
            "--quick" => quick = true,
            _ => engines.push(arg),
        }
    }
    if engines.is_empty() {
        engines = ["emulated", "native", "plain"].map(String::from).to_vec();
    }
    let near = std::env::current_exe()?.with_file_name("murphy");
    let bench = Bench { pair: Pair::start()?, murphy: murphy.map_or(near, Into::into) };
    println!("kernel {}", std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim());
    let engines: Vec<String> = engines.into_iter().filter(|engine| bench.possible(engine)).collect();
    bench.delays(&engines)?;
    bench.losses(&engines)?;
    bench.rates(&engines)?;
    if !quick {
        bench.throughput(&engines)?;
    }
    Ok(())
}

struct Bench {
    pair: Pair,
    murphy: std::path::PathBuf,
}

/// A fault that is on.
enum On {
    Murphy(Child),
    Plain(String),
}

impl Bench {
    fn possible(&self, engine: &str) -> bool {
        let armed = self.arm(engine, "egress", "net_delay delay=1ms", "delay 1ms");
        match armed {
            Ok(on) => {
                self.end(on);
                true
            }
            Err(e) => {
                println!("{engine} is left out: {e}");
                false
            }
        }
    }

    /// Arms by an engine; `tc` are the words for a plain netem.
    fn arm(&self, engine: &str, direction: &str, fault: &str, tc: &str) -> io::Result<On> {
        // What comes in is met at the second host, what leaves at the first; the packets are the same.
        let host = if direction == "ingress" { &self.pair.b } else { &self.pair.a };
        let link = if direction == "lo" { "lo" } else { &host.link };
        if engine == "plain" {
            host.sh(&format!("tc qdisc add dev {link} root netem limit 1000000 {tc}"))?;
            return Ok(On::Plain(link.to_owned()));
        }
        let which = match direction {
            "lo" => "interface=lo".to_owned(),
            direction => format!("direction={direction}"),
        };
        let mut child = Command::new(&self.murphy)
            .args(["arm", &format!("process:{}", host.keeper.id())])
            .args(fault.split(' '))
            .args([&which, &format!("engine={engine}"), "--for", "10m"])
            .env("MURPHY_STATE_DIR", format!("/tmp/murphy-bench-{}", std::process::id()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut said = String::new();
        if let Some(out) = child.stdout.take() {
            let mut lines = BufReader::new(out);
            lines.read_line(&mut said)?;
            // Read on, so that it is never stopped by a full pipe.
            std::thread::spawn(move || lines.lines().for_each(drop));
        }
        if said.contains(" is on") {
            return Ok(On::Murphy(child));
        }
        child.wait()?;
        if let Some(mut err) = child.stderr.take() {
            err.read_to_string(&mut said)?;
        }
        Err(io::Error::other(said.trim().to_owned()))
    }

    fn end(&self, on: On) {
        match on {
            On::Plain(link) => {
                // Plain ones are on what leaves, or on the loopback: always at the first host.
                self.pair.a.sh(&format!("tc qdisc del dev {link} root")).ok();
            }
            On::Murphy(mut child) => {
                let pid = child.id().to_string();
                Command::new("sh").args(["-c", &format!("kill -INT {pid}")]).status().ok();
                child.wait().ok();
            }
        }
    }

    fn cases(engines: &[String]) -> Vec<(&str, &str)> {
        let both = |engine: &String| engine != "plain";
        let out = engines.iter().map(|e| (e.as_str(), "egress"));
        let out = out.chain(engines.iter().filter(|e| both(e)).map(|e| (e.as_str(), "ingress")));
        out.chain(engines.iter().map(|e| (e.as_str(), "lo"))).collect()
    }

    fn delays(&self, engines: &[String]) -> io::Result<()> {
        println!(
            "\none way, 300 packets each; without a fault {:.3} ms, on lo {:.3} ms\n",
            median(&of(&self.one_way("", 300)?, Seen::read)),
            median(&of(&self.one_way("lo", 300)?, Seen::read))
        );
        println!(
            "Error: when the receiver's kernel had the packet; and when the receiver, which sleeps, had it.\n"
        );
        println!(
            "| engine | direction | asked ms | median error ms | p99 error ms | median read ms | p99 read ms | lost | pressure |"
        );
        println!("|---|---|---|---|---|---|---|---|---|");
        for (engine, direction) in Self::cases(engines) {
            for asked in [1_u32, 10, 100] {
                let fault = format!("net_delay delay={asked}ms");
                let on = self.arm(engine, direction, &fault, &format!("delay {asked}ms"))?;
                let seen = self.one_way(direction, 300)?;
                self.end(on);
                let error = |which: fn(&Seen) -> f64, q: f64| {
                    let mut late = of(&seen, which);
                    late.sort_by(f64::total_cmp);
                    late[((late.len() - 1) as f64 * q) as usize] - f64::from(asked)
                };
                // What is held behind the receiver's own interface had its stamp before it was held.
                let came = |q: f64| match error(Seen::came, q) {
                    early if early < -0.5 => "-".to_owned(),
                    error => format!("{error:+.3}"),
                };
                println!(
                    "| {engine} | {direction} | {asked} | {} | {} | {:+.3} | {:+.3} | {} | {} |",
                    came(0.5),
                    came(0.99),
                    error(Seen::read, 0.5),
                    error(Seen::read, 0.99),
                    300 - seen.len(),
                    calm()
                );
            }
        }
        Ok(())
    }

    fn losses(&self, engines: &[String]) -> io::Result<()> {
        println!(
            "\n| engine | direction | loss asked | packets | lost | standard deviations off | mean burst |"
        );
        println!("|---|---|---|---|---|---|---|");
        for (engine, direction) in Self::cases(engines) {
            for (fault, tc, share, burst) in [
                ("net_loss chance=1%", "loss 1%", 0.01, None),
                ("net_loss chance=10%", "loss 10%", 0.1, None),
                ("net_loss chance=50%", "loss 50%", 0.5, None),
                ("net_loss model=gemodel p=2% r=25%", "loss gemodel 2% 25% 100% 0%", 0.02 / 0.27, Some(4.0)),
            ] {
                let on = self.arm(engine, direction, fault, tc)?;
                let n = 10_000;
                let came = self.flood(direction, n, 20_000, 100)?;
                self.end(on);
                let lost = n - came.len() as u64;
                let sd = (n as f64 * share * (1.0 - share)).sqrt();
                let off = (lost as f64 - n as f64 * share) / sd;
                let gaps: Vec<f64> =
                    came.windows(2).filter(|w| w[1] > w[0] + 1).map(|w| (w[1] - w[0] - 1) as f64).collect();
                let mean = gaps.iter().sum::<f64>() / gaps.len().max(1) as f64;
                let (asked, off) = match burst {
                    // Losses that come in bursts spread more than independent ones.
                    Some(burst) => (format!("bursts of {burst}"), "-".to_owned()),
                    None => (format!("{} %", share * 100.0), format!("{off:+.1}")),
                };
                println!("| {engine} | {direction} | {asked} | {n} | {lost} | {off} | {mean:.2} |");
            }
        }
        Ok(())
    }

    fn rates(&self, engines: &[String]) -> io::Result<()> {
        println!("\n| engine | direction | asked Mbit/s | got Mbit/s |\n|---|---|---|---|");
        for (engine, direction) in Self::cases(engines) {
            for asked in [8_u32, 100] {
                let fault = format!("net_rate rate={asked}Mbit/s queue=50ms");
                let on = self.arm(engine, direction, &fault, &format!("rate {asked}mbit"))?;
                let got = self.fill(direction, f64::from(asked) * 1.5, Duration::from_secs(2))?;
                self.end(on);
                println!("| {engine} | {direction} | {asked} | {got:.2} |");
            }
        }
        Ok(())
    }

    fn throughput(&self, engines: &[String]) -> io::Result<()> {
        println!(
            "\nwith 10 ms\n\n| engine | direction | TCP Gbit/s | of 100,000 packets at 50,000/s lost | pressure |"
        );
        println!("|---|---|---|---|---|");
        for direction in ["-", "lo"] {
            let bare = self.blast(direction, Duration::from_secs(3))?;
            let lost = 100_000 - self.flood(direction, 100_000, 50_000, 0)?.len();
            println!("| nothing | {direction} | {bare:.2} | {lost} | {} |", calm());
        }
        for (engine, direction) in Self::cases(engines) {
            let on = self.arm(engine, direction, "net_delay delay=10ms", "delay 10ms")?;
            let gbit = self.blast(direction, Duration::from_secs(4))?;
            let lost = 100_000 - self.flood(direction, 100_000, 50_000, 0)?.len();
            self.end(on);
            println!("| {engine} | {direction} | {gbit:.2} | {lost} | {} |", calm());
        }
        Ok(())
    }

    /// Times of packets from the first host to the second.
    fn one_way(&self, direction: &str, n: usize) -> io::Result<Vec<Seen>> {
        let (sender, receiver) = self.sockets(direction)?;
        setsockopt(&receiver, ReceiveTimestampns, &true)?;
        let mut out = Vec::new();
        for _ in 0..n {
            let sent = SystemTime::now();
            sender.send(&[0; 8])?;
            let mut space = nix::cmsg_space!(nix::sys::time::TimeSpec);
            let mut bytes = [0; 8];
            let mut into = [io::IoSliceMut::new(&mut bytes)];
            let fd = receiver.as_raw_fd();
            if let Ok(got) = recvmsg::<()>(fd, &mut into, Some(&mut space), MsgFlags::empty()) {
                let read = milliseconds(sent.elapsed());
                let stamp = got.cmsgs()?.find_map(|c| match c {
                    ControlMessageOwned::ScmTimestampns(at) => Some(UNIX_EPOCH + Duration::from(at)),
                    _ => None,
                });
                let came = stamp.map_or(f64::NAN, |at| milliseconds(at.duration_since(sent)));
                out.push(Seen { came, read });
            }
            std::thread::sleep(Duration::from_micros(300));
        }
        if out.is_empty() { Err(io::Error::other("no packet came through")) } else { Ok(out) }
    }

    /// Sends numbered packets at a rate; those that came, in their order.
    fn flood(&self, direction: &str, n: u64, per_second: u64, padding: usize) -> io::Result<Vec<u64>> {
        let (sender, receiver) = self.sockets(direction)?;
        let thread = std::thread::spawn(move || {
            let began = Instant::now();
            let mut bytes = vec![0; 8 + padding];
            for i in 0..n {
                let due = Duration::from_nanos(i * 1_000_000_000 / per_second);
                if let Some(early) =
                    due.checked_sub(began.elapsed()).filter(|e| *e > Duration::from_millis(1))
                {
                    std::thread::sleep(early);
                }
                bytes[..8].copy_from_slice(&i.to_be_bytes());
                // What does not fit is sent again: it was not lost on the way.
                while sender.send(&bytes).is_err() {
                    std::thread::yield_now();
                }
            }
        });
        let mut out = Vec::with_capacity(n as usize);
        let mut buffer = [0; 2048];
        loop {
            match receiver.recv(&mut buffer) {
                Ok(8..) => out.push(buffer[..8].iter().fold(0, |n, b| n << 8 | u64::from(*b))),
                Ok(_) => {}
                Err(_) if !thread.is_finished() => {}
                Err(_) => return Ok(out),
            }
        }
    }

    /// Fills a link at so many Mbit/s; gives what passed, headers counted.
    fn fill(&self, direction: &str, mbit: f64, lasts: Duration) -> io::Result<f64> {
        let (sender, receiver) = self.sockets(direction)?;
        let thread = std::thread::spawn(move || {
            let began = Instant::now();
            let mut sent = 0.0;
            while began.elapsed() < lasts {
                if sent * 8.0 < mbit * 1e6 * began.elapsed().as_secs_f64() {
                    sender.send(&[0; 1172]).ok();
                    sent += 1200.0;
                } else {
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        });
        let (mut bytes, mut first, mut last) = (0_usize, None, Instant::now());
        let mut buffer = [0; 2048];
        loop {
            match receiver.recv(&mut buffer) {
                Ok(n) if first.is_some() => {
                    bytes += n + 28;
                    last = Instant::now();
                }
                Ok(_) => first = Some(Instant::now()),
                Err(_) if !thread.is_finished() => {}
                Err(_) => break,
            }
        }
        let took = first.map_or(1.0, |first| (last - first).as_secs_f64());
        Ok(bytes as f64 * 8.0 / took / 1e6)
    }

    /// What one TCP connection carries, in Gbit/s, after its first second.
    fn blast(&self, direction: &str, lasts: Duration) -> io::Result<f64> {
        let (to, address) = self.receiver(direction);
        let listener = to.run(|| TcpListener::bind((address, 0)))??;
        let at = listener.local_addr()?;
        let mut sender = self.pair.a.run(|| TcpStream::connect(at))??;
        let (mut receiver, _) = listener.accept()?;
        std::thread::spawn(move || {
            let bytes = vec![0; 1 << 20];
            while sender.write_all(&bytes).is_ok() {}
        });
        let mut buffer = vec![0; 1 << 20];
        let began = Instant::now();
        let (mut bytes, mut from) = (0, None);
        while began.elapsed() < lasts {
            let n = receiver.read(&mut buffer)?;
            if began.elapsed() > Duration::from_secs(1) {
                from.get_or_insert_with(Instant::now);
                bytes += n;
            }
        }
        let took = from.map_or(1.0, |from: Instant| from.elapsed().as_secs_f64());
        Ok(bytes as f64 * 8.0 / took / 1e9)
    }

    /// Who receives, and where.
    fn receiver(&self, direction: &str) -> (&Host, &'static str) {
        if direction == "lo" { (&self.pair.a, "127.0.0.1") } else { (&self.pair.b, B) }
    }

    /// A sender on the first host and a receiver on the second, or on the first as well.
    fn sockets(&self, direction: &str) -> io::Result<(UdpSocket, UdpSocket)> {
        let (to, address) = self.receiver(direction);
        let receiver = to.run(|| UdpSocket::bind((address, 0)))??;
        receiver.set_read_timeout(Some(Duration::from_millis(700)))?;
        // Two seconds of packets must have room, or the receiver itself loses some.
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&receiver, 256 << 20).ok();
        let at = receiver.local_addr()?;
        let from = if direction == "lo" { address } else { A };
        let sender = self.pair.a.run(|| UdpSocket::bind((from, 0)))??;
        rustix::net::sockopt::set_socket_send_buffer_size_force(&sender, 256 << 20).ok();
        sender.connect(at)?;
        Ok((sender, receiver))
    }
}

struct Host {
    keeper: Child,
    ns: Netns,
    link: String,
}

impl Host {
    fn start(link: &str) -> io::Result<Host> {
        let keeper =
            Command::new("unshare").args(["--net", "sleep", "36000"]).stdin(Stdio::null()).spawn()?;
        let mine = Netns::mine()?.id();
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            match Netns::of_process(keeper.id()) {
                Ok(ns) if ns.id() != mine => return Ok(Host { keeper, ns, link: link.into() }),
                _ if Instant::now() > until => return Err(io::Error::other("no namespace: are you root?")),
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        self.ns.run(work)
    }

    fn sh(&self, line: &str) -> io::Result<()> {
        let net = format!("--net=/proc/{}/ns/net", self.keeper.id());
        let out = Command::new("nsenter").args([&net, "sh", "-c", line]).output()?;
        match out.status.success() {
            true => Ok(()),
            false => Err(io::Error::other(String::from_utf8_lossy(&out.stderr).trim().to_owned())),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.keeper.kill().ok();
        self.keeper.wait().ok();
    }
}

struct Pair {
    a: Host,
    b: Host,
}

impl Pair {
    fn start() -> io::Result<Pair> {
        let (a, b) = (Host::start("va")?, Host::start("vb")?);
        a.sh(&format!(
            "ip link set lo up && ip link add va type veth peer name vb netns /proc/{}/ns/net && ip addr add {A}/24 dev va && ip link set va up",
            b.keeper.id()
        ))?;
        b.sh(&format!("ip addr add {B}/24 dev vb && ip link set vb up"))?;
        // Windows that are large enough for what is measured: the usual ones end at some 2.5 Gbit/s at 10 ms.
        for host in [&a, &b] {
            let set = |name: &str| {
                host.sh(&format!("echo '4096 131072 67108864' > /proc/sys/net/ipv4/tcp_{name}mem"))
            };
            set("r").and_then(|()| set("w")).ok();
        }
        std::thread::sleep(Duration::from_millis(300));
        Ok(Pair { a, b })
    }
}

/// How long a packet was on its way, in milliseconds.
struct Seen {
    /// Until the receiver's kernel had it.
    came: f64,
    /// Until the receiver had it, which had to be woken.
    read: f64,
}

impl Seen {
    fn came(&self) -> f64 {
        self.came
    }

    fn read(&self) -> f64 {
        self.read
    }
}

fn of(seen: &[Seen], which: fn(&Seen) -> f64) -> Vec<f64> {
    seen.iter().map(which).collect()
}

/// A clock that is set back meanwhile gives nonsense, which is seen.
fn milliseconds(span: Result<Duration, SystemTimeError>) -> f64 {
    span.map_or_else(|e| -e.duration().as_secs_f64(), |span| span.as_secs_f64()) * 1e3
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn calm() -> String {
    pressure().map_or("?".into(), |p| format!("{p:.1} %"))
}
