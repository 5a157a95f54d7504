//! What agents left when nobody was there to undo it, and their logs are lost: `murphy doctor` finds it, `--fix` removes it,
//! and what others have stays.

use super::crash::{furnish, look};
use super::hosts::{Pair, engine, pair};
use crate::ground::{Agent, Finished, TempDir, kill_both, murphy_in, need, one_fixes};
use std::process::Command;

/// `murphy ARGS` with no state of its own, in a host and among processes that nobody else is in: it sees what is there, and
/// no other test's.
fn alone(pair: &Pair, args: &[&str]) -> Finished {
    let dir = TempDir::new();
    let environment = murphy_in(dir.path());
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{}/ns/net", pair.a.pid()));
    command.args(["unshare", "--pid", "--fork", "--mount-proc", "--propagation", "private"]);
    command.arg(env!("CARGO_BIN_EXE_murphy")).args(args);
    for (key, value) in environment.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    command.output().unwrap().into()
}

/// How the pair's first host is called. Hosts with names are seen from everywhere, and so are mounts: what others who are at
/// work meanwhile have left is none of ours.
fn here(pair: &Pair) -> String {
    format!("net:[{}]", host::Netns::of_process(pair.a.pid()).unwrap().id().inode)
}

/// How much of that was fixed there.
fn fixed(pair: &Pair, done: &Finished) -> usize {
    done.out.lines().filter(|line| line.starts_with('✔') && line.contains(&here(pair))).count()
}

/// The leftovers in the pair's first host that doctor names, and whether each is somebody's.
fn leftovers(pair: &Pair, done: &Finished) -> Vec<(String, bool)> {
    let here = here(pair);
    let all: Vec<serde_json::Value> =
        serde_json::from_str(&done.out).unwrap_or_else(|e| panic!("{e}: {done:?}"));
    let left = all.iter().filter(|c| c["name"] == "leftover");
    let left = left.map(|c| (c["found"].as_str().unwrap().to_owned(), c["ok"].as_bool().unwrap()));
    left.filter(|(what, _)| what.contains(&here)).collect()
}

#[test]
fn what_an_agent_without_a_log_left_is_found_and_removed() {
    let Some(pair) = pair() else { return };
    let _one = one_fixes();
    furnish(&pair);
    let before = look(&pair);
    let mut agent = Agent::start(&[]);
    // Where there is no netem there may be tbf: it is held the same way.
    let fault = if engine() == "native" { "net_delay delay=20ms" } else { "net_rate rate=20Mbit/s" };
    let target = format!("process:{}", pair.a.pid());
    let mut words = vec!["arm", &target];
    words.extend(fault.split(' '));
    words.extend(["direction=both", "engine=native", "--for", "10m"]);
    let armed = agent.murphy(&words);
    if armed.err.contains("engine=native is not possible") && engine() != "native" {
        need("a kernel with tbf, IFB, cls_bpf and act_mirred", false);
        return;
    }
    assert_eq!(armed.code, 0, "{armed:?}");
    // While its agent lives it is that one's.
    let seen = leftovers(&pair, &alone(&pair, &["doctor", "--json"]));
    assert!(seen.len() >= 3 && seen.iter().all(|(_, owned)| *owned), "{seen:?}");
    let done = alone(&pair, &["doctor", "--fix"]);
    assert_eq!(fixed(&pair, &done), 0, "{done:?}");
    let state = agent.dir.path().join("state");
    let home = agent.dir.path().to_owned();
    kill_both(&home, || agent.kill());
    std::fs::remove_dir_all(&state).unwrap();
    assert_ne!(look(&pair), before);
    let seen = leftovers(&pair, &alone(&pair, &["doctor", "--json"]));
    let (filters, devices): (Vec<_>, Vec<_>) =
        seen.iter().partition(|(what, _)| what.contains("a filter of"));
    assert_eq!((filters.len(), devices.len()), (1, 2), "{seen:?}");
    assert!(seen.iter().all(|(_, owned)| !owned), "{seen:?}");
    assert!(
        filters[0].0.contains(&pair.link) && devices.iter().all(|(what, _)| what.contains("mfyi")),
        "{seen:?}"
    );
    let done = alone(&pair, &["doctor", "--fix"]);
    assert_eq!(fixed(&pair, &done), 3, "{done:?}");
    assert_eq!(look(&pair), before);
    assert_eq!(leftovers(&pair, &alone(&pair, &["doctor", "--json"])), []);
}

#[test]
fn names_alone_make_nothing_of_others_a_leftover() {
    let Some(pair) = pair() else { return };
    let _one = one_fixes();
    furnish(&pair);
    // Like ours but not: an interface of another kind, a table of another namespace, a filter with another priority.
    for line in [
        "ip link add mfyi00000100001 type veth peer name other",
        "ip link add mfyother type ifb",
        "nft add table inet murphy_1_2",
        "nft add table inet murphy",
    ] {
        pair.a.sh(line);
    }
    let theirs = look(&pair);
    // And what only looks like a dead agent's: its number is one that no process can have.
    let inode = host::Netns::of_process(pair.a.pid()).unwrap().id().inode;
    pair.a.sh("ip link add mfyi7fffff00001 type ifb");
    pair.a.sh(&format!("nft add table netdev murphy_8388607_{inode}"));
    let seen = leftovers(&pair, &alone(&pair, &["doctor", "--json"]));
    assert_eq!(seen.len(), 2, "{seen:?}");
    let done = alone(&pair, &["doctor", "--fix"]);
    assert_eq!(fixed(&pair, &done), 2, "{done:?}");
    assert_eq!(look(&pair), theirs);
}
