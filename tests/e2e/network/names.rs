//! Names that do not resolve, or wrongly, for whoever asks in the namespace.

use super::hosts::{Pair, pair};
use crate::ground::Agent;
use nodeops::network::dns_wire::{self as wire, Query};
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A name server on the second host that says 192.0.2.9 to everything.
struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    fn start(pair: &Pair) -> Server {
        let socket = pair.b.run(|| UdpSocket::bind((super::hosts::B4, 53)).unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let over = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while !over.load(Ordering::Relaxed) {
                let Ok((n, from)) = socket.recv_from(&mut buffer) else { continue };
                if let Some(query) = wire::query(&buffer[..n]) {
                    let _ = socket.send_to(&query.addresses(&["192.0.2.9".parse().unwrap()], 0), from);
                }
            }
        });
        Server { stop, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the name server answers to a program on the first host: the code and the addresses; none when nothing comes.
fn ask(pair: &Pair, name: &str, patience: Duration) -> Option<(u8, bool, Vec<IpAddr>)> {
    pair.a.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect((super::hosts::B4, 53)).unwrap();
        socket.set_read_timeout(Some(patience)).unwrap();
        socket.send(&Query::ask(77, name, wire::A).unwrap()).unwrap();
        let mut buffer = [0; 512];
        let n = socket.recv(&mut buffer).ok()?;
        let reply = &buffer[..n];
        Some((reply[3] & 15, reply[2] & 2 != 0, wire::answer(reply, 77).unwrap_or_default()))
    })
}

#[test]
fn names_that_are_meant_get_what_was_ordered_and_others_do_not() {
    let Some(pair) = pair() else { return };
    let agent = Agent::start(&[]);
    let _server = Server::start(&pair);
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
        let line =
            format!("process:{} dns names=*.shop upstream={} {answer}", pair.a.pid(), super::hosts::B4);
        let id = agent.arm(&line);
        let patience = if wants.is_none() { short } else { long };
        assert_eq!(ask(&pair, "db.shop", patience), wants, "{answer}");
        assert_eq!(ask(&pair, "web.other", long), Some((0, false, right.clone())), "{answer}");
        let (applied, considered) = agent.disarm(&id);
        assert_eq!((applied, considered), (1, 2), "{answer}");
        assert_eq!(ask(&pair, "db.shop", long), Some((0, false, right.clone())), "after {answer}");
    }
}
