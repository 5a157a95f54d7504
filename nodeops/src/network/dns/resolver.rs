//! The resolver that queries are led to: it answers what was ordered for the names that are meant, and asks the target's
//! own name server for all others.

use super::{Names, wire};
use model::Fault;
use model::draw::{self, Lane};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What is answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// An error of the protocol.
    Code(u8),
    /// Nothing.
    Silence,
    /// Come again by TCP; and there too.
    Truncated,
    /// These addresses.
    Addresses(Vec<IpAddr>),
    /// Some address, drawn.
    Random,
}

/// What the resolver does now.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// The names that are meant, as globs.
    pub globs: Vec<String>,
    /// What is answered.
    pub answer: Answer,
    /// How long it may be kept, in seconds.
    pub ttl: u32,
    /// How late all answers are.
    pub delay: Duration,
    /// Who is asked for other names.
    pub upstream: SocketAddr,
    /// What draws begin from.
    pub seed: u64,
}

impl Rules {
    /// Reads a `dns` fault; `own` is what the target knows of names.
    pub(crate) fn read(fault: &Fault, seed: u64, own: &Names) -> Result<Rules, model::Problem> {
        use model::Problem;
        let inject = &fault.inject;
        let answer = match inject.text("answer").unwrap_or("nxdomain") {
            "servfail" => Answer::Code(wire::SERVFAIL),
            "refused" => Answer::Code(wire::REFUSED),
            "timeout" => Answer::Silence,
            "truncate" => Answer::Truncated,
            "random" => Answer::Random,
            "address" => {
                let text = inject.text("address").unwrap_or_default();
                let all: Option<Vec<IpAddr>> = text.split(',').map(|a| a.trim().parse().ok()).collect();
                Answer::Addresses(all.ok_or_else(|| {
                    Problem::new(format!("answer=address needs address, and {text:?} is none"))
                        .hint("for example address=192.0.2.1, or 192.0.2.1,2001:db8::1")
                })?)
            }
            _ => Answer::Code(wire::NXDOMAIN),
        };
        if inject.text("address").is_some() && !matches!(answer, Answer::Addresses(_)) {
            return Err(Problem::new("address says nothing without answer=address")
                .hint("add it, or leave address out"));
        }
        let given = match inject.text("upstream") {
            None => own.servers.first().copied(),
            Some(text) => Some(parse_server(text).ok_or_else(|| {
                Problem::new(format!("upstream: {text:?} is no address of a name server"))
                    .hint("for example 10.0.0.2:53")
            })?),
        };
        let upstream = given.ok_or_else(|| {
            Problem::new("the target's resolv.conf names no server, so other names could not be answered")
                .hint("say who knows them: upstream=10.0.0.2:53")
        })?;
        let globs = inject.text("names").unwrap_or("*").split(',');
        Ok(Rules {
            globs: globs.flat_map(|glob| own.spellings(&glob.trim().to_ascii_lowercase())).collect(),
            answer,
            ttl: inject.span("ttl").map_or(0, |ttl| u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX)),
            delay: inject.span("delay").unwrap_or_default(),
            upstream,
            seed,
        })
    }

    fn means(&self, name: &str) -> bool {
        self.globs.iter().any(|glob| glob_fits(glob.as_bytes(), name.as_bytes()))
    }
}

fn parse_server(text: &str) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| Some(SocketAddr::new(text.parse().ok()?, 53)))
}

/// `*` stands for anything, also with dots.
fn glob_fits(glob: &[u8], name: &[u8]) -> bool {
    let (mut g, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        if g < glob.len() && (glob[g] == name[n] || glob[g] == b'?') && glob[g] != b'*' {
            (g, n) = (g + 1, n + 1);
        } else if g < glob.len() && glob[g] == b'*' {
            star = Some((g, n));
            g += 1;
        } else if let Some((at, from)) = star {
            (g, n) = (at + 1, from + 1);
            star = Some((at, from + 1));
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|c| *c == b'*')
}

/// What it has done.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Queries.
    pub all: AtomicU64,
    /// Of those, for names that are meant.
    pub meant: AtomicU64,
    /// Of the others, asked upstream without an answer.
    pub unanswered: AtomicU64,
}

/// A resolver that runs; with its end its sockets are closed.
#[derive(Debug)]
pub(crate) struct Resolver {
    port: u16,
    rules: Arc<RwLock<Rules>>,
    /// What it has done.
    pub asked: Arc<Asked>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// How often threads look whether it is over.
const GLANCE: Duration = Duration::from_millis(100);
/// How long upstream may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many queries may be under way; more are not answered, as by a server that has too much to do.
const AT_ONCE: u64 = 512;

impl Resolver {
    /// Starts one in the namespace of this thread, on a port of its own of 127.0.0.1 and ::1.
    pub(crate) fn start(rules: Rules, mark: u32) -> io::Result<Resolver> {
        let four: IpAddr = Ipv4Addr::LOCALHOST.into();
        // A port that is free for all of them.
        let mut tries = 0;
        let (udp, tcp, port) = loop {
            let udp = UdpSocket::bind((four, 0))?;
            let port = udp.local_addr()?.port();
            match TcpListener::bind((four, port)) {
                Ok(tcp) => break (udp, tcp, port),
                Err(e) if tries == 32 => return Err(e),
                Err(_) => tries += 1,
            }
        };
        let mut udps = vec![udp];
        let mut tcps = vec![tcp];
        // Without IPv6 nobody asks by it.
        udps.extend(UdpSocket::bind((Ipv6Addr::LOCALHOST, port)));
        tcps.extend(TcpListener::bind((Ipv6Addr::LOCALHOST, port)));
        let mut resolver = Resolver {
            port,
            rules: Arc::new(RwLock::new(rules)),
            asked: Arc::default(),
            stop: Arc::default(),
            threads: Vec::new(),
        };
        let shared = Shared {
            rules: resolver.rules.clone(),
            asked: resolver.asked.clone(),
            stop: resolver.stop.clone(),
            busy: Arc::default(),
            mark,
        };
        for socket in udps {
            socket.set_read_timeout(Some(GLANCE))?;
            let shared = shared.clone();
            resolver.threads.push(thread("murphy-dns", move || shared.serve_udp(&Arc::new(socket)))?);
        }
        for listener in tcps {
            listener.set_nonblocking(true)?;
            let shared = shared.clone();
            resolver.threads.push(thread("murphy-dns-tcp", move || shared.serve_tcp(&listener))?);
        }
        Ok(resolver)
    }

    /// The port that queries are to be led to.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Other rules from now on.
    pub(crate) fn set(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(std::sync::PoisonError::into_inner) = rules;
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            // It only fails when the thread has panicked, which has been reported.
            let _ = thread.join();
        }
    }
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    // A thread made in a namespace is in it, and so are the sockets that it opens.
    std::thread::Builder::new().name(name.into()).stack_size(256 << 10).spawn(work)
}

#[derive(Debug, Clone)]
struct Shared {
    rules: Arc<RwLock<Rules>>,
    asked: Arc<Asked>,
    stop: Arc<AtomicBool>,
    busy: Arc<AtomicU64>,
    mark: u32,
}

impl Shared {
    fn over(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn serve_udp(&self, socket: &Arc<UdpSocket>) {
        let mut buffer = [0; 4096];
        while !self.over() {
            let Ok((n, from)) = socket.recv_from(&mut buffer) else { continue };
            let (bytes, socket) = (buffer[..n].to_vec(), socket.clone());
            self.apart(move |shared| {
                if let Some(reply) = shared.reply(&bytes, false) {
                    // A client that is gone is none of our business.
                    let _ = socket.send_to(&reply, from);
                }
            });
        }
    }

    fn serve_tcp(&self, listener: &TcpListener) {
        while !self.over() {
            match listener.accept() {
                Ok((stream, _)) => self.apart(move |shared| {
                    // The same.
                    let _ = shared.converse(stream);
                }),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// On a thread of its own, when there are not too many.
    fn apart(&self, work: impl FnOnce(&Shared) + Send + 'static) {
        if self.busy.fetch_add(1, Ordering::AcqRel) >= AT_ONCE {
            self.busy.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        let shared = self.clone();
        let started = thread("murphy-dns-query", move || {
            work(&shared);
            shared.busy.fetch_sub(1, Ordering::AcqRel);
        });
        if started.is_err() {
            self.busy.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        while !self.over() {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut bytes = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut bytes)?;
            let Some(reply) = self.reply(&bytes, true) else { continue };
            let length = u16::try_from(reply.len()).unwrap_or(u16::MAX).to_be_bytes();
            stream.write_all(&[&length[..], &reply[..]].concat())?;
        }
        Ok(())
    }

    /// What is answered; none: nothing.
    fn reply(&self, bytes: &[u8], by_tcp: bool) -> Option<Vec<u8>> {
        let n = self.asked.all.fetch_add(1, Ordering::Relaxed);
        let rules = self.rules.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        self.wait(rules.delay);
        let query = wire::query(bytes).filter(|q| rules.means(&q.name));
        let Some(query) = query else {
            let reply = self.forward(bytes, rules.upstream, by_tcp).ok();
            if reply.is_none() {
                self.asked.unanswered.fetch_add(1, Ordering::Relaxed);
            }
            return reply;
        };
        self.asked.meant.fetch_add(1, Ordering::Relaxed);
        match &rules.answer {
            Answer::Silence => None,
            Answer::Code(code) => Some(query.reply(*code, false)),
            Answer::Truncated => Some(query.reply(wire::OK, true)),
            Answer::Addresses(all) => Some(query.addresses(all, rules.ttl)),
            Answer::Random => Some(query.addresses(&random(rules.seed, n), rules.ttl)),
        }
    }

    /// In pieces, so that the end of the fault is not waited for.
    fn wait(&self, delay: Duration) {
        let until = Instant::now() + delay;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
            if self.over() {
                return;
            }
            std::thread::sleep(left.min(GLANCE));
        }
    }

    fn forward(&self, bytes: &[u8], to: SocketAddr, by_tcp: bool) -> io::Result<Vec<u8>> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let kind = if by_tcp { SocketType::STREAM } else { SocketType::DGRAM };
        let fd = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
        // Marked before anything is sent, or it would come back to us.
        if self.mark != 0 {
            host::frames::set_mark(&fd, self.mark)?;
        }
        rustix::net::sockopt::set_socket_timeout(&fd, rustix::net::sockopt::Timeout::Recv, Some(PATIENCE))?;
        rustix::net::sockopt::set_socket_timeout(&fd, rustix::net::sockopt::Timeout::Send, Some(PATIENCE))?;
        rustix::net::connect(&fd, &to)?;
        if by_tcp {
            let mut stream = TcpStream::from(fd);
            let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
            stream.write_all(&[&length[..], bytes].concat())?;
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut reply = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut reply)?;
            return Ok(reply);
        }
        let socket = UdpSocket::from(fd);
        socket.send(bytes)?;
        let mut buffer = vec![0; 65_535];
        loop {
            let n = socket.recv(&mut buffer)?;
            if buffer[..n].get(..2) == bytes.get(..2) {
                buffer.truncate(n);
                return Ok(buffer);
            }
        }
    }
}

/// Some address of each family, from the blocks that documentation may use (RFC 5737, RFC 3849): nobody is there.
fn random(seed: u64, n: u64) -> [IpAddr; 2] {
    let bits = draw::bits(seed, Lane::Amount, n);
    let blocks = [[192, 0, 2], [198, 51, 100], [203, 0, 113]];
    let [a, b, c] = blocks[(bits % 3) as usize];
    let four = Ipv4Addr::new(a, b, c, (bits >> 8) as u8);
    let six = Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(bits));
    [four.into(), six.into()]
}

#[cfg(test)]
mod tests {
    use super::wire::Query;
    use super::*;

    #[test]
    fn globs_are_for_whole_names() {
        let fits = |glob: &str, name: &str| glob_fits(glob.as_bytes(), name.as_bytes());
        assert!(fits("*", "a.b") && fits("*.b", "a.b") && fits("a.?", "a.b") && fits("a*c*", "abcabd"));
        assert!(!fits("*.b", "b") && !fits("a.b", "a.bc") && !fits("", "a"));
    }

    #[test]
    fn others_are_asked_upstream_and_those_meant_are_not() {
        // An upstream that says 192.0.2.9 to everything.
        let upstream = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = upstream.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((n, from)) = upstream.recv_from(&mut buffer) {
                let Some(query) = wire::query(&buffer[..n]) else { break };
                let reply = query.addresses(&["192.0.2.9".parse().unwrap()], 0);
                upstream.send_to(&reply, from).unwrap();
            }
        });
        let rules = Rules {
            globs: vec!["db.*".into()],
            answer: Answer::Code(wire::SERVFAIL),
            ttl: 0,
            delay: Duration::ZERO,
            upstream: at,
            seed: 1,
        };
        // A mark of 0 needs no privilege.
        let resolver = Resolver::start(rules.clone(), 0).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(("127.0.0.1", resolver.port())).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let ask = |id: u16, name: &str| {
            client.send(&Query::ask(id, name, wire::A).unwrap()).unwrap();
            let mut buffer = [0; 512];
            let n = client.recv(&mut buffer).unwrap();
            buffer[..n].to_vec()
        };
        assert_eq!(ask(1, "db.internal")[3] & 15, wire::SERVFAIL);
        assert_eq!(wire::answer(&ask(2, "web.internal"), 2).unwrap().len(), 1);
        resolver.set(Rules { answer: Answer::Random, ..rules });
        let one = wire::answer(&ask(3, "db.internal"), 3).unwrap();
        assert_eq!(one.len(), 1);
        let mut stream = TcpStream::connect(("127.0.0.1", resolver.port())).unwrap();
        let query = Query::ask(4, "db.internal", wire::AAAA).unwrap();
        stream.write_all(&[&(query.len() as u16).to_be_bytes()[..], &query].concat()).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut reply = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut reply).unwrap();
        assert!(wire::answer(&reply, 4).unwrap()[0].is_ipv6());
        assert_eq!(resolver.asked.all.load(Ordering::Relaxed), 4);
        assert_eq!(resolver.asked.meant.load(Ordering::Relaxed), 3);
    }
}
