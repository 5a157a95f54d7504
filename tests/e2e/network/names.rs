//! Names that do not resolve, or wrongly, for whoever asks in the namespace.

use super::hosts::{B4, B6, Echo, Pair, engine, pair};
use crate::ground::{Agent, TempDir, eventually, median};
use nodeops::network::dns_wire::{self as wire, Query};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A name server on the second host that has one address of each kind for everything, by UDP and by TCP.
struct Server {
    says: Arc<Mutex<[IpAddr; 2]>>,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

const SAYS: [&str; 2] = ["192.0.2.9", "2001:db8::9"];

impl Server {
    fn start(pair: &Pair, at: &str) -> Server {
        let ip: IpAddr = at.parse().unwrap();
        let socket = pair.b.run(|| UdpSocket::bind((ip, 53)).unwrap());
        let listener = pair.b.run(|| TcpListener::bind((ip, 53)).unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        listener.set_nonblocking(true).unwrap();
        let says = Arc::new(Mutex::new(SAYS.map(|text| text.parse().unwrap())));
        let stop = Arc::new(AtomicBool::new(false));
        let reply = |says: &Mutex<[IpAddr; 2]>, bytes: &[u8]| {
            wire::query(bytes).map(|query| query.addresses(&*says.lock().unwrap(), 0))
        };
        let (over, known) = (stop.clone(), says.clone());
        let by_udp = move || {
            let mut buffer = [0; 512];
            while !over.load(Ordering::Relaxed) {
                let Ok((n, from)) = socket.recv_from(&mut buffer) else { continue };
                reply(&known, &buffer[..n]).map(|reply| socket.send_to(&reply, from));
            }
        };
        let (over, known) = (stop.clone(), says.clone());
        let by_tcp = move || {
            while !over.load(Ordering::Relaxed) {
                let Ok((mut stream, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                // Who goes away in the middle has no answer.
                let _ = read_whole(&mut stream)
                    .map(|bytes| reply(&known, &bytes).map(|reply| write_whole(&mut stream, &reply)));
            }
        };
        let threads = vec![std::thread::spawn(by_udp), std::thread::spawn(by_tcp)];
        Server { says, stop, threads }
    }

    /// From now on names stand for other addresses.
    fn say(&self, all: [&str; 2]) {
        *self.says.lock().unwrap() = all.map(|text| text.parse().unwrap());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A message by TCP has its length before it.
fn write_whole(stream: &mut TcpStream, message: &[u8]) -> std::io::Result<()> {
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], message].concat())
}

fn read_whole(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// A code, whether it is cut short, addresses.
type Said = (u8, bool, Vec<IpAddr>);

fn read(reply: &[u8]) -> Said {
    (reply[3] & 15, reply[2] & 2 != 0, wire::answer(reply, 77).unwrap_or_default())
}

/// What the name server answers to a program on the first host; none when nothing comes.
fn ask_at(pair: &Pair, server: &str, name: &str, kind: u16, patience: Duration) -> Option<Said> {
    let server: IpAddr = server.parse().unwrap();
    pair.a.run(|| {
        let any: IpAddr = if server.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
        let socket = UdpSocket::bind((any, 0)).unwrap();
        socket.connect((server, 53)).unwrap();
        socket.set_read_timeout(Some(patience)).unwrap();
        socket.send(&Query::ask(77, name, kind).unwrap()).unwrap();
        let mut buffer = [0; 512];
        let n = socket.recv(&mut buffer).ok()?;
        Some(read(&buffer[..n]))
    })
}

fn ask(pair: &Pair, name: &str, patience: Duration) -> Option<Said> {
    ask_at(pair, B4, name, wire::A, patience)
}

fn ask_by_tcp(pair: &Pair, server: &str, name: &str, kind: u16) -> Option<Said> {
    let server: IpAddr = server.parse().unwrap();
    pair.a.run(|| {
        let mut stream = TcpStream::connect((server, 53)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write_whole(&mut stream, &Query::ask(77, name, kind).unwrap()).unwrap();
        read_whole(&mut stream).ok().map(|reply| read(&reply))
    })
}

#[test]
fn names_that_are_meant_get_what_was_ordered_and_others_do_not() {
    let Some(pair) = pair() else { return };
    let agent = Agent::start(&[]);
    let _server = Server::start(&pair, B4);
    let (long, short) = (Duration::from_secs(30), Duration::from_millis(400));
    let right: Vec<IpAddr> = vec!["192.0.2.9".parse().unwrap()];
    assert_eq!(ask(&pair, "db.shop", long), Some((0, false, right.clone())));
    for (answer, wants) in [
        ("answer=nxdomain", Some((wire::NXDOMAIN, false, vec![]))),
        ("answer=servfail", Some((wire::SERVFAIL, false, vec![]))),
        ("answer=refused", Some((wire::REFUSED, false, vec![]))),
        ("answer=truncate", Some((0, true, vec![]))),
        ("answer=address address=203.0.113.5", Some((0, false, vec!["203.0.113.5".parse().unwrap()]))),
        ("answer=timeout", None),
    ] {
        let line = format!("process:{} dns names=*.shop upstream={} {answer}", pair.a.pid(), B4);
        let id = agent.arm(&line);
        let patience = if wants.is_none() { short } else { long };
        assert_eq!(ask(&pair, "db.shop", patience), wants, "{answer}");
        assert_eq!(ask(&pair, "web.other", long), Some((0, false, right.clone())), "{answer}");
        let (applied, considered) = agent.disarm(&id);
        assert_eq!((applied, considered), (1, 2), "{answer}");
        assert_eq!(ask(&pair, "db.shop", long), Some((0, false, right.clone())), "after {answer}");
    }
}

#[test]
fn names_are_asked_for_by_ipv6_and_by_tcp_as_well() {
    let Some(pair) = pair() else { return };
    let agent = Agent::start(&[]);
    let _server = Server::start(&pair, B6);
    let (long, short) = (Duration::from_secs(30), Duration::from_millis(400));
    let [four, six]: [IpAddr; 2] = SAYS.map(|text| text.parse().unwrap());
    let asked = |name: &str, kind, patience| ask_at(&pair, B6, name, kind, patience);
    for (answer, a, aaaa) in [
        ("answer=nxdomain", Some((wire::NXDOMAIN, false, vec![])), Some((wire::NXDOMAIN, false, vec![]))),
        ("answer=truncate", Some((0, true, vec![])), Some((0, true, vec![]))),
        (
            "answer=address address=203.0.113.5,2001:db8::5",
            Some((0, false, vec!["203.0.113.5".parse().unwrap()])),
            Some((0, false, vec!["2001:db8::5".parse().unwrap()])),
        ),
        ("answer=timeout", None, None),
    ] {
        let id = agent.arm(&format!("process:{} dns names=*.shop upstream={B6} {answer}", pair.a.pid()));
        let patience = if a.is_none() { short } else { long };
        assert_eq!(asked("db.shop", wire::A, patience), a, "{answer}");
        assert_eq!(asked("db.shop", wire::AAAA, patience), aaaa, "{answer}");
        assert_eq!(asked("web.other", wire::AAAA, long), Some((0, false, vec![six])), "{answer}");
        if a.is_some() {
            assert_eq!(ask_by_tcp(&pair, B6, "db.shop", wire::AAAA), aaaa, "{answer}");
        }
        assert_eq!(ask_by_tcp(&pair, B6, "web.other", wire::A), Some((0, false, vec![four])), "{answer}");
        agent.disarm(&id);
        assert_eq!(asked("db.shop", wire::AAAA, long), Some((0, false, vec![six])), "after {answer}");
    }
    // Wrong addresses that are drawn: of the kind that is asked for, and not always the same.
    let id = agent.arm(&format!("process:{} dns names=*.shop upstream={B6} answer=random", pair.a.pid()));
    for (kind, is_four) in [(wire::A, true), (wire::AAAA, false)] {
        let all: Vec<Said> = (0..4).filter_map(|_| asked("db.shop", kind, long)).collect();
        let fits = |said: &Said| said.2.len() == 1 && said.2[0].is_ipv4() == is_four;
        assert!(all.len() == 4 && all.iter().all(fits) && all.iter().any(|s| *s != all[0]), "{all:?}");
    }
    agent.disarm(&id);
}

/// A process in the namespace of a host whose name server is at an address.
struct Asker {
    child: Child,
    _dir: TempDir,
}

impl Asker {
    fn start(pair: &Pair, server: &str) -> Asker {
        let dir = TempDir::new();
        let resolv = dir.file("resolv.conf", &format!("nameserver {server}\n"));
        let hosts = dir.file("hosts", "127.0.0.1 localhost\n");
        let line = format!(
            "mount -t tmpfs none /etc && cp {} {} /etc && exec sleep 3600",
            resolv.display(),
            hosts.display()
        );
        let net = format!("--net=/proc/{}/ns/net", pair.a.pid());
        let mut command = Command::new("nsenter");
        command.args([&net, "unshare", "--mount", "--propagation", "private", "sh", "-c", &line]);
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let asker = Asker { child, _dir: dir };
        let named = || std::fs::read_to_string(format!("/proc/{}/comm", asker.child.id()));
        assert!(eventually(Duration::from_secs(30), || named().is_ok_and(|comm| comm == "sleep\n")));
        asker
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_name_in_a_filter_is_looked_up_again_while_the_fault_is_on() {
    let Some(pair) = pair() else { return };
    let (first, second) = (B4, "10.87.0.3");
    pair.b.sh(&format!("ip addr add {second}/24 dev $(ip -o link | sed -n 's/.*: \\(mb[0-9]*\\)@.*/\\1/p')"));
    let echoes = [first, second].map(|at| Echo::start(&pair.b, at, 0));
    let server = Server::start(&pair, B4);
    server.say([first, "2001:db8::1"]);
    let asker = Asker::start(&pair, B4);
    let agent = Agent::start(&[]);
    let id = agent.arm(&format!(
        "process:{} net_delay delay=60ms peer=db.test engine={}",
        asker.child.id(),
        engine()
    ));
    let late = |n: usize| {
        let at: std::net::SocketAddr = echoes[n].at;
        let all = pair.a.run(|| super::hosts::ask(at, 3, Duration::from_secs(10)));
        assert_eq!(all.len(), 3, "packets were lost");
        median(all) >= 60.0
    };
    let before = (late(0), eventually(Duration::from_secs(30), || !late(1)));
    assert_eq!(before, (true, true), "the first is meant, and the second is not");
    server.say([second, "2001:db8::1"]);
    // It is asked again every five seconds.
    assert!(eventually(Duration::from_secs(60), || late(1)), "what the name stands for now is not meant");
    assert!(eventually(Duration::from_secs(30), || !late(0)), "what it stood for is still meant");
    // A name server that does not answer is no reason to forget.
    drop(server);
    std::thread::sleep(Duration::from_secs(8));
    assert!(late(1), "it is forgotten because nobody answers");
    agent.disarm(&id);
    assert!(eventually(Duration::from_secs(30), || !late(1)));
}
