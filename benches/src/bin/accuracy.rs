//! How exact faults on connections are, seen by a client and a service of its own: one-way delays by one clock.
//!
//! `cargo build --release && cargo run --release -p murphy-benches --bin accuracy`
#![forbid(unsafe_code)]

use murphy_benches::agent::Agent;
use murphy_benches::process::pressure;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

fn main() -> std::io::Result<()> {
    let service = Service::start()?;
    let agent = Agent::start(&[("bench", service.port)])?;
    delays(&agent, &service)?;
    pipelined(&agent, &service)?;
    distributions(&agent, &service)?;
    bandwidth()
}

fn calm() -> String {
    pressure().map_or("?".into(), |p| format!("{p:.1} %"))
}

fn delays(agent: &Agent, service: &Service) -> std::io::Result<()> {
    println!("one way, 200 messages each, by the service's clock; calm is a pressure under 5 %\n");
    println!("| asked | median error ms | p99 error ms | pressure |\n|---|---|---|---|");
    for asked in [0_u64, 1, 5, 20, 100] {
        let mut sender = Sender::connect(agent.port("bench"))?;
        sender.times(service, 5, Duration::from_millis(5))?;
        let id = (asked > 0)
            .then(|| agent.arm("bench", &["latency", &format!("delay={asked}ms"), "direction=up"]))
            .transpose()?;
        let mut errors: Vec<f64> = sender
            .times(service, 200, Duration::from_millis(7))?
            .into_iter()
            .map(|late| late * 1e3 - asked as f64)
            .collect();
        if let Some(id) = id {
            agent.disarm(&id)?;
        }
        errors.sort_by(f64::total_cmp);
        let name = if asked == 0 { "nothing armed".to_owned() } else { format!("{asked} ms") };
        println!(
            "| {name} | {:+.3} | {:+.3} | {} |",
            errors[errors.len() / 2],
            errors[errors.len() * 99 / 100],
            calm()
        );
    }
    Ok(())
}

fn pipelined(agent: &Agent, service: &Service) -> std::io::Result<()> {
    let mut sender = Sender::connect(agent.port("bench"))?;
    sender.times(service, 3, Duration::from_millis(5))?;
    let id = agent.arm("bench", &["latency", "delay=100ms", "direction=up"])?;
    let late = sender.times(service, 50, Duration::from_millis(5))?;
    agent.disarm(&id)?;
    let (least, most) = late.iter().fold((f64::MAX, 0.0_f64), |(a, b), l| (a.min(*l), b.max(*l)));
    println!("\n50 messages 5 ms apart through 100 ms: each {:.2} to {:.2} ms late", least * 1e3, most * 1e3);
    Ok(())
}

/// Kolmogorov–Smirnov at 5 %: the largest distance from the asked distribution that chance explains is 1.358/√n.
fn distributions(agent: &Agent, service: &Service) -> std::io::Result<()> {
    let (connections, each) = (50, 20);
    let n = connections * each;
    let critical = 1.358 / (n as f64).sqrt();
    println!(
        "\ndelay 60 ms ± 15 ms, {n} messages; critical distance {critical:.4}\n\n| distribution | KS distance | | pressure |\n|---|---|---|---|"
    );
    for name in ["uniform", "normal", "pareto"] {
        let id = agent.arm(
            "bench",
            &["latency", "delay=60ms", "jitter=15ms", &format!("distribution={name}"), "direction=up"],
        )?;
        let mut senders = (0..connections)
            .map(|_| Sender::connect(agent.port("bench")))
            .collect::<std::io::Result<Vec<_>>>()?;
        let mut all = Vec::new();
        for _ in 0..each {
            for sender in &mut senders {
                sender.send(service)?;
                std::thread::sleep(Duration::from_micros(500));
            }
            // The next message of a connection must not have to wait for the one before it.
            std::thread::sleep(Duration::from_millis(300));
        }
        for sender in &mut senders {
            all.extend(sender.collect(service, each)?);
        }
        agent.disarm(&id)?;
        all.sort_by(f64::total_cmp);
        let distance = all
            .iter()
            .enumerate()
            .map(|(i, late)| {
                let cdf = cdf(name, (late * 1e3 - 60.0) / 15.0);
                (cdf - i as f64 / n as f64).abs().max((cdf - (i + 1) as f64 / n as f64).abs())
            })
            .fold(0.0, f64::max);
        println!(
            "| {name} | {distance:.4} | {} | {} |",
            if distance <= critical { "fits" } else { "does not fit" },
            calm()
        );
    }
    Ok(())
}

/// The asked distribution, standardised: even in ±1, a bell, a Pareto of shape 3 with mean 0 and deviation 1.
fn cdf(name: &str, x: f64) -> f64 {
    match name {
        "uniform" => f64::midpoint(x, 1.0).clamp(0.0, 1.0),
        "normal" => 0.5 * (1.0 + erf(x / std::f64::consts::SQRT_2)),
        _ => {
            // Pareto(1, 3) has mean 1.5 and variance 0.75.
            let raw = 1.5 + x * 0.75_f64.sqrt();
            if raw <= 1.0 { 0.0 } else { 1.0 - raw.powi(-3) }
        }
    }
}

/// Abramowitz and Stegun 7.1.26, good to 1.5e-7.
fn erf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let poly = t
        * (0.254_829_592
            + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    (1.0 - poly * (-x * x).exp()).copysign(x)
}

fn bandwidth() -> std::io::Result<()> {
    println!("\n| rate asked MB/s | got | of it | pressure |\n|---|---|---|---|");
    let bulk = bulk_service()?;
    let second = Agent::start(&[("bulk", bulk)])?;
    for rate in [0.1, 1.0, 10.0, 100.0] {
        let bytes = (rate * 2e6) as u64;
        let id = second.arm("bulk", &["bandwidth", &format!("rate={rate}MB/s"), "direction=down"])?;
        let mut stream = TcpStream::connect(("127.0.0.1", second.port("bulk")))?;
        stream.write_all(&bytes.to_be_bytes())?;
        let mut buffer = vec![0; 256 * 1024];
        let first = stream.read(&mut buffer)? as u64;
        let begin = Instant::now();
        let mut have = 0;
        while first + have < bytes {
            have += stream.read(&mut buffer)? as u64;
        }
        let got = have as f64 / begin.elapsed().as_secs_f64() / 1e6;
        second.disarm(&id)?;
        println!("| {rate} | {got:.3} | {:.2} % | {} |", got / rate * 100.0, calm());
    }
    Ok(())
}

/// Sends as many bytes as it is asked for.
fn bulk_service() -> std::io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut want = [0; 8];
                if stream.read_exact(&mut want).is_err() {
                    return;
                }
                let mut left = u64::from_be_bytes(want) as usize;
                let block = vec![7; 64 * 1024];
                while left > 0 {
                    let n = left.min(block.len());
                    if stream.write_all(&block[..n]).is_err() {
                        return;
                    }
                    left -= n;
                }
            });
        }
    });
    Ok(port)
}

/// Stamps each message when it comes: (connection, number, when).
struct Service {
    port: u16,
    stamps: std::sync::Mutex<mpsc::Receiver<(u64, u64, Instant)>>,
    early: std::sync::Mutex<Vec<(u64, u64, Instant)>>,
}

impl Service {
    fn start() -> std::io::Result<Service> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (tell, stamps) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let tell = tell.clone();
                std::thread::spawn(move || {
                    let mut stream = stream;
                    let mut message = [0; 16];
                    while stream.read_exact(&mut message).is_ok() {
                        let now = Instant::now();
                        let number = |part: &[u8]| part.iter().fold(0_u64, |n, b| n << 8 | u64::from(*b));
                        if tell.send((number(&message[..8]), number(&message[8..]), now)).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Ok(Service { port, stamps: stamps.into(), early: Default::default() })
    }

    fn stamp(&self, connection: u64) -> std::io::Result<(u64, Instant)> {
        let mut early = self.early.lock().map_err(|_| std::io::Error::other("a thread broke"))?;
        if let Some(at) = early.iter().position(|(c, ..)| *c == connection) {
            let (_, n, when) = early.remove(at);
            return Ok((n, when));
        }
        let stamps = self.stamps.lock().map_err(|_| std::io::Error::other("a thread broke"))?;
        loop {
            let stamp = stamps.recv_timeout(Duration::from_secs(20)).map_err(std::io::Error::other)?;
            if stamp.0 == connection {
                return Ok((stamp.1, stamp.2));
            }
            early.push(stamp);
        }
    }
}

/// One connection through the proxy, with when each message left.
struct Sender {
    stream: TcpStream,
    id: u64,
    left: Vec<Instant>,
    taken: usize,
}

impl Sender {
    fn connect(port: u16) -> std::io::Result<Sender> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Sender { stream, id: NEXT.fetch_add(1, Ordering::Relaxed), left: vec![], taken: 0 })
    }

    fn send(&mut self, _: &Service) -> std::io::Result<()> {
        let mut message = [0; 16];
        message[..8].copy_from_slice(&self.id.to_be_bytes());
        message[8..].copy_from_slice(&(self.left.len() as u64).to_be_bytes());
        self.left.push(Instant::now());
        self.stream.write_all(&message)
    }

    /// How late the next so many messages were, in seconds.
    fn collect(&mut self, service: &Service, n: usize) -> std::io::Result<Vec<f64>> {
        let mut late = Vec::with_capacity(n);
        for _ in 0..n {
            let (number, when) = service.stamp(self.id)?;
            late.push((when - self.left[number as usize]).as_secs_f64());
            self.taken += 1;
        }
        Ok(late)
    }

    fn times(&mut self, service: &Service, n: usize, gap: Duration) -> std::io::Result<Vec<f64>> {
        for _ in 0..n {
            self.send(service)?;
            std::thread::sleep(gap);
        }
        self.collect(service, n)
    }
}
