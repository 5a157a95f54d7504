//! The service sees the client's own address, also when the client does not even know of the proxy (TPROXY). Three
//! networks: the client's, ours between, and the service's.

use crate::spaces::{PATIENCE, block_on, enter, ip, nft, open, ready};
use inject::Injector;
use murphy_proxy::ProxyInjector;
use nix::libc;
use serde_json::json;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Answers of the service come to us though they are for the client, and so do connections to port 9000, for which the
/// client asked the service.
const RULES: &str = "table inet murphy_test {
    chain prerouting {
        type filter hook prerouting priority mangle
        tcp dport 9000 iifname c0 tproxy ip to :7000 meta mark set 1 accept
        tcp dport 9000 iifname c0 tproxy ip6 to :7000 meta mark set 1 accept
        meta l4proto tcp socket transparent 1 meta mark set 1 accept
    }
}
";

/// A thread in a network of its own that does what it is sent.
struct Room {
    tid: i32,
    jobs: Sender<Box<dyn FnOnce() + Send>>,
}

impl Room {
    fn new() -> Result<Room, String> {
        let (jobs, todo): (_, Receiver<Box<dyn FnOnce() + Send>>) = channel();
        let (tell, told) = channel();
        std::thread::spawn(move || {
            tell.send(enter().map(|()| nix::unistd::gettid().as_raw())).unwrap();
            todo.into_iter().for_each(|job| job());
        });
        Ok(Room { tid: told.recv().unwrap()?, jobs })
    }

    /// Does it there; the answer comes when it comes.
    fn start<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
        let (tell, told) = channel();
        self.jobs.send(Box::new(move || drop(tell.send(work())))).unwrap();
        told
    }

    /// Joins it with our network: `10.<net>.0.1` there and `.2` here, `fd<net>::1` and `::2`.
    fn join(&self, name: &str, net: u8) -> Result<(), String> {
        ip(&format!("link add {name}0 type veth peer name {name}1 netns {}", self.tid))?;
        ip(&format!("address add 10.{net}.0.2/24 dev {name}0"))?;
        ip(&format!("address add fd{net}::2/64 dev {name}0 nodad"))?;
        ip(&format!("link set {name}0 up"))?;
        let name = name.to_owned();
        let there = self.start(move || {
            ip(&format!("address add 10.{net}.0.1/24 dev {name}1"))?;
            ip(&format!("address add fd{net}::1/64 dev {name}1 nodad"))?;
            ip(&format!("link set {name}1 up"))?;
            ip(&format!("route add default via 10.{net}.0.2"))?;
            ip(&format!("-6 route add default via fd{net}::2"))
        });
        there.recv_timeout(PATIENCE).map_err(|e| e.to_string())?
    }
}

fn prepare() -> Result<(Room, Room), String> {
    enter()?;
    let (client, service) = (Room::new()?, Room::new()?);
    client.join("c", 77)?;
    service.join("s", 78)?;
    for family in ["-4", "-6"] {
        ip(&format!("{family} rule add fwmark 1 lookup 133"))?;
        ip(&format!("{family} route add local default dev lo table 133"))?;
    }
    nft(RULES)?;
    Ok((client, service))
}

/// Serves one connection: who its client seems to be is the answer to what it says.
fn serve_one(listener: &TcpListener) -> std::io::Result<()> {
    let (mut stream, peer) = listener.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut question = [0; 512];
    let _ = stream.read(&mut question)?;
    let body = peer.ip().to_string();
    write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Asks; its own address, and the answer.
fn ask(service: &str) -> std::io::Result<(SocketAddr, String)> {
    let mut stream = TcpStream::connect(service)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok((stream.local_addr()?, answer))
}

#[test]
fn the_service_sees_the_clients_own_address() {
    let Some((client, service)) = ready(prepare()) else { return };
    // Where the proxy listens, its upstream, where the client connects to, where the service listens.
    let cases = [
        // The client names the service; its connection is ours by TPROXY.
        ("0.0.0.0:7000", "original", "tcp", "10.78.0.1:9000", "10.78.0.1:9000"),
        ("[::]:7000", "original", "tcp", "[fd78::1]:9000", "[fd78::1]:9000"),
        // The client names us.
        ("10.77.0.2:7001", "10.78.0.1:9001", "tcp", "10.77.0.2:7001", "10.78.0.1:9001"),
        ("[::]:7002", "10.78.0.1:9002", "tcp", "10.77.0.2:7002", "10.78.0.1:9002"),
        ("10.77.0.2:7003", "10.78.0.1:9003", "http", "10.77.0.2:7003", "10.78.0.1:9003"),
    ];
    for (listen, upstream, protocol, ask_at, serve_at) in cases {
        block_on(async {
            let proxy = ProxyInjector::new();
            let spec =
                json!({"listen": listen, "upstream": upstream, "protocol": protocol, "keep_source": true});
            open(&proxy, spec).await;
            let listener = service.start(move || TcpListener::bind(serve_at));
            let listener = listener.recv_timeout(PATIENCE).unwrap().unwrap();
            let served = service.start(move || serve_one(&listener));
            let answered = client.start(move || ask(ask_at));
            // The proxy works on this thread meanwhile.
            let answer = loop {
                match answered.try_recv() {
                    Ok(answer) => break answer,
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
                }
            };
            let (own, answer) = answer.unwrap_or_else(|e| panic!("{listen} to {upstream}: {e}"));
            let said = answer.rsplit("\r\n").next().unwrap();
            assert_eq!(said, own.ip().to_string(), "{listen} to {upstream}, {protocol}");
            served.recv_timeout(PATIENCE).unwrap().unwrap();
        });
    }
}

/// Takes all capabilities from this thread alone.
fn give_up_capabilities() {
    // version 3 of the header, this thread; two sets of effective, permitted and inheritable ones.
    let (header, none) = ([0x2008_0522_u32, 0], [0_u32; 6]);
    // SAFETY: both point to as many words as capset(2) reads, and live until it returns.
    let done = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_proxy_that_may_not_keep_the_source_is_refused_at_once() {
    give_up_capabilities();
    block_on(async {
        let target = json!({"name": "it", "proxy": {
            "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1", "keep_source": true,
        }});
        let target = serde_json::from_value(target).unwrap();
        let why = ProxyInjector::new().open(&target).await.unwrap_err().to_string();
        assert!(why.contains("keep_source") && why.contains("CAP_NET_ADMIN"), "{why}");
    });
}
