//! What was there is there again: after an orderly end, after `kill -9` at random moments, and after an agent that died
//! half way through arming. `MURPHY_NETWORK_ROUNDS` sets how many rounds; 6 without it.

use super::hosts::{B4, Echo, Pair, ask, engine, pair};
use crate::ground::{TempDir, eventually, foreground_in, murphy};
use std::process::Stdio;
use std::time::Duration;

/// Something of someone else's on the wire: a root tbf, clsact with a filter, tables.
pub fn furnish(pair: &Pair) {
    let link = &pair.link;
    for line in [
        format!("tc qdisc add dev {link} root handle 9: tbf rate 900mbit burst 100kb latency 50ms"),
        format!("tc qdisc add dev {link} clsact"),
        format!(
            "tc filter add dev {link} egress prio 7 bpf bytecode '1,6 0 0 0' action mirred egress redirect dev lo"
        ),
        "nft add table inet theirs".into(),
        "nft 'add chain inet theirs c { type filter hook output priority 0; }'".into(),
        "nft add rule inet theirs c tcp dport 9 drop".into(),
        format!(
            "nft add table netdev theirs && nft 'add chain netdev theirs e {{ type filter hook ingress device {link} priority 0; }}'"
        ),
    ] {
        pair.a.sh(&line);
    }
}

/// Everything that a fault could have left, without what counts.
pub fn look(pair: &Pair) -> String {
    pair.a.sh(&format!(
        "nft list ruleset; ip -o link | sed 's/ state .*//'; tc qdisc; tc filter show dev {0} egress; tc filter show dev {0} ingress",
        pair.link
    ))
}

const FAULTS: [&str; 6] = [
    "net_delay delay=20ms jitter=5ms direction=both engine=emulated",
    "net_rate rate=20Mbit/s",
    "net_loss chance=50% direction=both",
    "partition peer=10.87.0.2 port=9",
    "net_delay delay=5ms interface=lo engine=emulated",
    "dns names=x.invalid upstream=10.87.0.2",
];

fn with_engine(fault: &str) -> String {
    fault.replace("engine=emulated", &format!("engine={}", engine()))
}

#[test]
fn an_orderly_end_leaves_what_was_there() {
    let Some(pair) = pair() else { return };
    furnish(&pair);
    let before = look(&pair);
    let agent = crate::ground::Agent::start(&[]);
    let on = |fault: &&str| agent.arm(&format!("process:{} {}", pair.a.pid(), with_engine(fault)));
    let ids: Vec<String> = FAULTS.iter().map(on).collect();
    assert_ne!(look(&pair), before);
    for id in ids.iter().rev() {
        agent.disarm(id);
    }
    assert_eq!(look(&pair), before);
}

#[test]
fn a_kill_at_any_moment_leaves_what_was_there() {
    let Some(pair) = pair() else { return };
    furnish(&pair);
    let before = look(&pair);
    let rounds: usize = std::env::var("MURPHY_NETWORK_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    let far = Echo::start(&pair.b, B4, 0);
    let mut on = 0;
    for round in 0..rounds {
        let dir = TempDir::new();
        let fault = &with_engine(FAULTS[round % FAULTS.len()]);
        let mut words: Vec<String> = vec!["arm".into(), format!("process:{}", pair.a.pid())];
        words.extend(fault.split(' ').map(str::to_owned));
        words.extend(["--for".into(), "60s".into()]);
        let mut child = foreground_in(dir.path())
            .args(&words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Before, while and after it is armed: moments that differ from round to round.
        let moment = (model::draw::unit(11, model::draw::Lane::Amount, round as u64) * 700.0) as u64;
        std::thread::sleep(Duration::from_millis(moment));
        if round + 1 == rounds {
            // One at least is killed with its fault on, however slow this machine is.
            assert!(eventually(Duration::from_secs(60), || look(&pair) != before), "{fault} is never on");
        }
        on += usize::from(look(&pair) != before);
        child.kill().unwrap();
        child.wait().unwrap();
        let mut after = String::new();
        // What does not end with its process, the watchdog undoes.
        let same = eventually(Duration::from_secs(30), || {
            after = look(&pair);
            after == before
        });
        if !same {
            // Killed before it had a watchdog: then `recover` does.
            let out = murphy(dir.path(), &["recover"]);
            after = look(&pair);
            assert_eq!(after, before, "round {round} ({fault}, {moment} ms): {}{}", out.out, out.err);
        }
        let far = far.at;
        assert!(pair.a.run(|| !ask(far, 1, Duration::from_secs(5)).is_empty()), "round {round}: {fault}");
    }
    println!("{rounds} rounds, {on} of them with something on when it was killed");
}
