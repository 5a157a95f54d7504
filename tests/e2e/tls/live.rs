//! Faults come and go while sessions are open; which handshakes they hit.

use super::{Ground, Session, lines, python};
use crate::ground::{binomial_ok, curl, eventually, murphy, need, program};
use std::time::{Duration, Instant};

#[test]
fn open_sessions_go_on_while_new_handshakes_fail() {
    if !need("python3", program("python3", &[]).is_some()) {
        return;
    }
    let Some(Ground { agent, port, root, nginx: _nginx }) = Ground::start() else { return };
    let mut session = Session::open(port, &root, "a.test");
    assert_eq!(session.ask(), "ok");
    for fault in
        ["tls_certificate problem=expired", "tls_alert", "tls_version only=tls1.0", "tls_client_certificate"]
    {
        let id = agent.arm(&format!("proxy:web {fault}"));
        assert_ne!(curl("a.test", port, &root, &[]).code, 0, "{fault}");
        assert_eq!(session.ask(), "ok", "{fault}");
        agent.disarm(&id);
        assert_eq!(curl("a.test", port, &root, &[]).code, 0, "{fault}");
        assert_eq!(session.ask(), "ok", "{fault}");
    }
}

#[test]
fn a_stalled_handshake_goes_on_when_the_fault_is_gone() {
    let Some(Ground { agent, port, root, nginx: _nginx }) = Ground::start() else { return };
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        for step in ["client_hello", "server_hello", "certificate", "finished"] {
            let id = agent.arm(&format!("proxy:web tls_stall step={step} delay=200ms"));
            let begun = Instant::now();
            let late = curl("a.test", port, &root, version);
            assert!(late.code == 0 && begun.elapsed() >= Duration::from_millis(200), "{step}: {late:?}");
            agent.disarm(&id);

            let id = agent.arm(&format!("proxy:web tls_stall step={step}"));
            std::thread::scope(|s| {
                let held = s.spawn(|| curl("a.test", port, &root, version));
                let applied = || {
                    let faults = agent.ask(async |c| c.faults().await).unwrap();
                    faults.iter().any(|f| f.id == id && f.evidence.applied > 0)
                };
                assert!(eventually(Duration::from_secs(20), applied), "{step}");
                std::thread::sleep(Duration::from_millis(100));
                assert!(!held.is_finished(), "{step} does not hold");
                agent.disarm(&id);
                let done = held.join().unwrap();
                assert_eq!(done.code, 0, "{step}: {done:?}");
            });
        }
    }
}

#[test]
fn a_stalled_handshake_can_be_closed_by_hand() {
    let Some(Ground { agent, port, root, nginx: _nginx }) = Ground::start() else { return };
    agent.arm("proxy:web tls_stall step=server_hello");
    std::thread::scope(|s| {
        let held = s.spawn(|| curl("a.test", port, &root, &[]));
        let mut id = None;
        let listed = || {
            let list = agent.murphy(&["connections", "--json"]).out;
            let list: serde_json::Value = serde_json::from_str(&list).unwrap();
            id = list["connections"][0]["id"].as_u64();
            list["connections"][0]["faults"][0]["fault"] == "tls_stall"
        };
        assert!(eventually(Duration::from_secs(20), listed));
        let id = id.unwrap().to_string();
        assert_eq!(murphy(agent.dir.path(), &["connections", "close", &id, "--rst"]).code, 0);
        let done = held.join().unwrap();
        assert!(done.code != 0 && done.code != 28, "{done:?}");
    });
}

#[test]
fn a_share_of_handshakes() {
    if !need("python3", program("python3", &[]).is_some()) {
        return;
    }
    let Some(Ground { agent, port, root, nginx: _nginx }) = Ground::start() else { return };
    let n = 300;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let id = agent.arm("proxy:web tls_alert percent=30% seed=11");
        let good: usize =
            lines(python("share", port, &root, &["a.test", &n.to_string()]))[0].parse().unwrap();
        assert!(binomial_ok(n - good, n, 0.3), "{good} of {n}");
        assert_eq!(agent.disarm(&id), ((n - good) as u64, n as u64));
        seen.push(good);
    }
    assert_eq!(seen[0], seen[1], "one seed, the same decisions");
}

#[test]
fn handshakes_are_chosen_by_name_client_and_count() {
    let Some(Ground { agent, port, root, nginx: _nginx }) = Ground::start() else { return };
    let fails = |host: &str, more: &[&str]| curl(host, port, &root, more).code == 35;
    let id = agent.arm("proxy:web tls_alert when.sni=*.shop.test");
    assert!(fails("a.shop.test", &[]) && fails("B.SHOP.test", &[]) && !fails("shop.test", &[]));
    agent.disarm(&id);
    let id = agent.arm("proxy:web tls_alert when.client=127.0.0.2");
    assert!(fails("a.test", &["--interface", "127.0.0.2"]) && !fails("a.test", &[]));
    agent.disarm(&id);
    let id = agent.arm("proxy:web tls_alert nth=2");
    assert_eq!((0..4).map(|_| fails("a.test", &[])).collect::<Vec<_>>(), [false, true, false, true]);
    agent.disarm(&id);
    let id = agent.arm("proxy:web tls_alert first=1");
    assert!(fails("a.test", &[]) && !fails("a.test", &[]));
    agent.disarm(&id);
    // Faults on connections may ask for the name, too.
    let id = agent.arm("proxy:web refuse when.sni=a.test");
    assert!(curl("a.test", port, &root, &[]).code != 0 && curl("b.test", port, &root, &[]).code == 0);
    agent.disarm(&id);
    // And act on what TLS carries: what is changed is what the application reads.
    let id = agent.arm("proxy:web latency delay=150ms direction=down");
    let begun = Instant::now();
    assert_eq!(curl("a.test", port, &root, &[]).code, 0);
    assert!(begun.elapsed() >= Duration::from_millis(150));
    agent.disarm(&id);
}
