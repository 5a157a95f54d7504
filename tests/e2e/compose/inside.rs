//! Faults of networks, processors, clocks and descriptors inside of the shop's containers, and what its buyers see of them.

use super::shop::{CONTAINERS, PATIENCE, Shop};
use crate::ground::{eventually, median, need, program};
use crate::machine::rig::Rig;
use model::target::{ContainerSpec, Front, Protocol, ProxySpec};
use model::{Target, TargetSpec};
use std::time::Duration;

/// An agent on this machine that knows the shop's containers.
fn rig(shop: &Shop) -> Rig {
    let rig = Rig::start();
    for name in CONTAINERS {
        let engine = Some(shop.engine.socket().display().to_string());
        let spec = ContainerSpec { name: Some(name.into()), engine, ..ContainerSpec::default() };
        let target = Target { name: name.into(), spec: TargetSpec::Container(spec) };
        rig.agent.ask(async |c| c.open_target(&target).await).unwrap();
    }
    rig
}

/// How long an order takes, as a rule.
fn takes(shop: &Shop) -> f64 {
    median((0..5).map(|_| shop.ask("POST", "/checkout").1.as_secs_f64()).collect())
}

/// Arms one, waits until the buyers see it, takes it back, and waits until the shop sells as before.
fn with(shop: &Shop, rig: &Rig, words: &[&str], seen: impl Fn() -> bool) {
    let id = rig.arm(words);
    assert!(eventually(PATIENCE, &seen), "{words:?} is not seen: {:?}", rig.numbers(&id));
    println!("{words:?}: {:?}", rig.numbers(&id));
    rig.disarm(&id);
    shop.sells();
    assert!(eventually(PATIENCE, || !seen()), "{words:?} is still seen");
}

#[test]
#[ignore = "by hand: downloads a Docker engine"]
fn networks() {
    let Some(shop) = Shop::open() else { return };
    let before = shop.seen();
    let rig = rig(&shop);
    let normal = takes(&shop);
    println!("an order takes {normal:.3} s");
    let fails = || shop.ask("POST", "/checkout").0.code != 0;
    let db = "container:shop-db-1";
    with(&shop, &rig, &[db, "net_delay", "delay=200ms"], || takes(&shop) > normal.max(0.05) + 0.15);
    with(&shop, &rig, &[db, "net_loss", "chance=100%"], fails);
    with(&shop, &rig, &[db, "partition", "how=reject", "port=5432"], fails);
    with(&shop, &rig, &["container:shop-web-1", "partition", "remote_port=5432"], fails);
    with(&shop, &rig, &["container:shop-web-1", "dns", "names=db"], fails);
    with(&shop, &rig, &[db, "interface_down", "interface=eth0"], fails);
    let id = rig.arm(&["container:shop-web-1", "port_occupy", "port=9999"]);
    let why = rig.try_arm(&["container:shop-web-1", "port_occupy", "port=8080"]).unwrap_err();
    assert!(why.contains("8080"), "{why}");
    rig.disarm(&id);
    drop(rig);
    shop.is_again(&before, "faults of networks");
}

#[test]
#[ignore = "by hand: downloads a Docker engine"]
fn requests_of_a_published_port() {
    let Some(shop) = Shop::open() else { return };
    let before = shop.seen();
    let rig = rig(&shop);
    let engine = Some(shop.engine.socket().display().to_string());
    let front = Front { service: Some("shop/web".into()), port: 8080, engine, ..Front::default() };
    let spec = TargetSpec::Proxy(ProxySpec::in_front_of(front, Protocol::Http));
    let target = Target { name: "web".into(), spec };
    rig.agent.ask(async |c| c.open_target(&target).await).unwrap();
    shop.sells();
    let health = || shop.ask("GET", "/health").0;
    assert_eq!(health().code, 0);
    let id = rig.arm(&["proxy:web", "abort", "status=503", "--when", "path=/health"]);
    assert!(health().err.contains("503"), "{:?}", health());
    // Only the requests that were meant.
    shop.sells();
    println!("abort: {:?}", rig.numbers(&id));
    rig.disarm(&id);
    assert_eq!(health().code, 0);
    let id = rig.arm(&["proxy:web", "replace", "status=418", "--when", "path=/health"]);
    assert!(health().err.contains("418"), "{:?}", health());
    rig.disarm(&id);
    drop(rig);
    shop.is_again(&before, "a proxy in front of a published port");
}

#[test]
#[ignore = "by hand: downloads a Docker engine"]
fn processors_clocks_and_descriptors() {
    let Some(shop) = Shop::open() else { return };
    let rig = rig(&shop);
    let web = "container:shop-web-1";
    let id = rig.arm(&[web, "cpu", "load=20%", "cores=1"]);
    rig.until(&id, "cpu_percent_now", |p| (p - 20.0).abs() < 8.0);
    rig.disarm(&id);

    // PostgreSQL's clock, and that of the processes that it forks for new connections.
    let ahead = || {
        let now = "select extract(epoch from clock_timestamp())::bigint";
        let args = ["exec", "shop-db-1", "psql", "-h", "127.0.0.1", "-U", "postgres", "-Atc", now];
        let told: i64 = shop.engine.must(&args).parse().unwrap();
        let here = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        told - here.as_secs() as i64
    };
    assert!(ahead().abs() < 5, "{}", ahead());
    let id = rig.arm(&["container:shop-db-1", "clock", "offset=1h"]);
    assert!((ahead() - 3600).abs() < 5, "{}", ahead());
    println!("clock: {:?}", rig.numbers(&id));
    shop.sells();
    rig.disarm(&id);
    assert!(ahead().abs() < 5, "{}", ahead());

    // The shop takes no new buyers while it has no descriptor for them.
    let refused = || shop.ask("GET", "/health").0.code != 0;
    let id = rig.arm(&[web, "fd_fill"]);
    assert!(eventually(PATIENCE, refused), "{:?}", rig.numbers(&id));
    println!("fd_fill: {:?}", rig.numbers(&id));
    rig.disarm(&id);
    assert!(eventually(PATIENCE, || !refused()));

    if need("stress-ng", program("stress-ng", &[]).is_some()) {
        let id = rig.arm(&[web, "stress_ng", "args=--cpu 1 --cpu-load 20"]);
        rig.until(&id, "applied", |n| n >= 1.0);
        std::thread::sleep(Duration::from_millis(500));
        println!("stress_ng: {:?}", rig.numbers(&id));
        rig.disarm(&id);
    }
    shop.sells();
}
