//! Who is cut off, who is left alone, what is refused; ports, tracked connections, interfaces.

use super::hosts::{A4, B4, B6, Echo, Pair, ask, pair};
use crate::ground::{Agent, eventually};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const SOON: Duration = Duration::from_millis(300);

fn on(pair: &Pair, rest: &str) -> String {
    let (name, params) = rest.split_once(' ').unwrap_or((rest, ""));
    format!("process:{} {name} {params}", pair.a.pid())
}

/// Whether the other host is reached.
fn reaches(pair: &Pair, at: SocketAddr) -> bool {
    pair.a.run(|| (0..3).any(|_| !ask(at, 1, SOON).is_empty()))
}

#[test]
fn a_partition_cuts_off_whom_it_names_on_the_way_it_names() {
    let Some(pair) = pair() else { return };
    let agent = Agent::start(&[]);
    let (four, six) = (Echo::start(&pair.b, B4, 0), Echo::start(&pair.b, B6, 0));
    for (params, four_is, six_is) in [
        ("partition", false, false),
        (&format!("partition peer={B4}") as &str, false, true),
        ("partition family=ipv6", true, false),
        ("partition peer=10.99.0.0/16,fd99::/16", true, true),
        (&format!("partition groups={A4},fd87::1|{B4}"), false, true),
        ("partition how=reject", false, false),
    ] {
        let id = agent.arm(&on(&pair, params));
        assert_eq!((reaches(&pair, four.at), reaches(&pair, six.at)), (four_is, six_is), "{params}");
        agent.disarm(&id);
        assert!(reaches(&pair, four.at) && reaches(&pair, six.at), "after {params}");
    }
    // One way: what is sent arrives or not; the answer does not come either way.
    for (direction, arrives) in [("ingress", true), ("egress", false)] {
        let id = agent.arm(&on(&pair, &format!("partition direction={direction}")));
        let before = four.came.load(std::sync::atomic::Ordering::Relaxed);
        assert!(!reaches(&pair, four.at), "{direction}");
        let came = four.came.load(std::sync::atomic::Ordering::Relaxed) > before;
        assert_eq!(came, arrives, "{direction}");
        let (applied, considered) = agent.disarm(&id);
        assert!(applied >= 3 && applied == considered, "{direction}: {applied} of {considered}");
    }
    // Rejecting tells the sender at once; silence does not.
    let listener = pair.b.run(|| TcpListener::bind((B4, 0)).unwrap());
    let at = listener.local_addr().unwrap();
    let id = agent.arm(&on(&pair, "partition how=reject"));
    let refused = pair.a.run(|| TcpStream::connect_timeout(&at, Duration::from_secs(20)));
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    agent.disarm(&id);
    let id = agent.arm(&on(&pair, "partition"));
    let silent = pair.a.run(|| TcpStream::connect_timeout(&at, SOON));
    assert_eq!(silent.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    agent.disarm(&id);
    pair.a.run(|| TcpStream::connect_timeout(&at, Duration::from_secs(20))).unwrap();
}

#[test]
fn with_all_lost_except_ssh_that_connection_and_arp_live() {
    let Some(pair) = pair() else { return };
    let agent = Agent::start(&[]);
    let listener = pair.b.run(|| TcpListener::bind((B4, 22)).unwrap());
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 16];
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            stream.write_all(&buffer[..n]).unwrap();
        }
    });
    let mut session = pair.a.run(|| TcpStream::connect((B4, 22)).unwrap());
    session.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let other = Echo::start(&pair.b, B4, 0);
    let id = agent.arm(&on(&pair, "net_loss chance=100% direction=both except_port=22"));
    for round in 0..3 {
        // Neighbours are asked for anew.
        pair.a.sh("ip neigh flush all");
        session.write_all(b"still here").unwrap();
        let mut buffer = [0; 10];
        session.read_exact(&mut buffer).unwrap_or_else(|e| panic!("round {round}: {e}"));
        assert!(!reaches(&pair, other.at));
    }
    agent.disarm(&id);
    assert!(reaches(&pair, other.at));
    drop(session);
    thread.join().unwrap();
}

#[test]
fn what_cannot_take_effect_is_refused_and_a_plan_touches_nothing() {
    let Some(pair) = pair() else { return };
    let agent = Agent::start(&[]);
    let target = format!("process:{}", pair.a.pid());
    let before = pair.a.sh("nft list ruleset; ip link; tc qdisc");
    let plan = agent.murphy(&[
        "arm",
        &target,
        "net_delay",
        "delay=10ms",
        "remote_port=80",
        "--for",
        "9s",
        "--dry-run",
        "--engine",
        "emulated",
    ]);
    assert_eq!(plan.code, 0, "{}", plan.err);
    for word in
        ["held by this program", "nft add rule netdev", "th dport 80", "netem", "delay 10000us", "undo:"]
    {
        assert!(plan.out.contains(word), "{word} is not in {}", plan.out);
    }
    assert_eq!(pair.a.sh("nft list ruleset; ip link; tc qdisc"), before);
    for (words, says) in [
        (&["net_delay", "delay=9ms", "interface=eth7"] as &[&str], "has no interface \"eth7\""),
        (&["net_loss", "chance=5%", "peer=nobody.invalid"], "resolves to nothing"),
        (&["net_corrupt", "chance=1%", "checksum=fix", "engine=native"], "checksum=fix"),
        (&["net_loss"], "needs chance"),
        (&["net_loss", "chance=5%", "peer=10.0.0.300"], "neither an address"),
        (&["net_delay", "delay=9ms", "protocol=icmp", "port=80"], "ICMP has no ports"),
        (&["partition", "groups=10.1.0.1|10.1.0.2"], "no group has an address"),
        (&["partition", "groups=10.1.0.1"], "separated from nobody"),
        (&["port_occupy", "port=0"], "neither a port"),
        (&["interface_down", "interface=nope"], "has no interface"),
    ] {
        let mut args = vec!["arm", &target];
        args.extend(words);
        args.extend(["--for", "9s"]);
        let out = agent.murphy(&args);
        assert_ne!(out.code, 0, "{words:?}: {}", out.out);
        assert!(out.err.contains(says), "{words:?}: {}", out.err);
    }
    assert_eq!(pair.a.sh("nft list ruleset; ip link; tc qdisc"), before);
}

#[test]
fn ports_are_taken_and_free_again() {
    let Some(pair) = pair() else { return };
    let agent = Agent::start(&[]);
    let bind = |port: u16| pair.a.run(|| TcpListener::bind(("127.0.0.1", port)).map(drop));
    let id = agent.arm(&on(&pair, "port_occupy port=7001-7003 protocol=both"));
    assert_eq!(bind(7002).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    let refused = pair.a.run(|| TcpStream::connect(("127.0.0.1", 7001)).map(drop));
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    bind(7004).unwrap();
    assert_eq!(agent.disarm(&id), (3, 3));
    bind(7002).unwrap();
    let id = agent.arm(&on(&pair, "port_occupy port=7001 clients=hang"));
    let mut hanging = pair.a.run(|| TcpStream::connect(("127.0.0.1", 7001)).unwrap());
    hanging.set_read_timeout(Some(SOON)).unwrap();
    assert!(hanging.read(&mut [0; 1]).is_err());
    let held = pair.a.run(|| TcpListener::bind(("127.0.0.1", 7009)).unwrap());
    let taken = agent.murphy(&[
        "arm",
        &format!("process:{}", pair.a.pid()),
        "port_occupy",
        "port=7009",
        "--for",
        "5s",
    ]);
    assert!(taken.code != 0 && taken.err.contains("in use"), "{}", taken.err);
    drop(held);
    agent.disarm(&id);
}

#[test]
fn an_interface_that_was_down_has_its_routes_again() {
    let Some(pair) = pair() else { return };
    let agent = Agent::start(&[]);
    let far = Echo::start(&pair.b, B4, 0);
    let link = &pair.link;
    pair.a.sh(&format!("ip route add 10.88.0.0/16 via {B4} dev {link} metric 7 && ip -6 route add fd88::/32 via {B6} dev {link}"));
    let look = || {
        pair.a.sh(&format!("ip route | sort; ip -6 route show dev {link} | grep -v fe80 | sort; ip -br addr show {link} | grep -o 'fd87[^ ]*'"))
    };
    let before = look();
    let id = agent.arm(&on(&pair, &format!("interface_down interface={link}")));
    assert!(pair.a.sh(&format!("ip -br link show {link}")).contains("DOWN"));
    assert!(!reaches(&pair, far.at));
    agent.disarm(&id);
    assert!(eventually(Duration::from_secs(20), || reaches(&pair, far.at)));
    let mut after = String::new();
    let same = eventually(Duration::from_secs(20), || {
        after = look();
        after == before
    });
    assert!(same, "before:\n{before}\nafter:\n{after}");
}

#[test]
fn tracked_connections_are_forgotten_as_filtered() {
    let Some(pair) = pair() else { return };
    let agent = Agent::start(&[]);
    // Tracking begins where someone asks for it.
    pair.a.sh("nft add table inet t && nft 'add chain inet t c { type filter hook output priority 0; }' && nft add rule inet t c ct state new counter");
    let (one, two) = (Echo::start(&pair.b, B4, 0), Echo::start(&pair.b, B4, 0));
    assert!(reaches(&pair, one.at) && reaches(&pair, two.at));
    let line = on(&pair, &format!("conntrack_flush port={} for=-", one.at.port()));
    agent.arm(&line);
    let left = pair.a.sh("cat /proc/net/nf_conntrack 2>/dev/null || true");
    assert!(!left.contains(&format!("dport={}", one.at.port())), "{left}");
}
