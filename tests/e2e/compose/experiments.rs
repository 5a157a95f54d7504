use super::shop::{PATIENCE, Shop};
use crate::ground::eventually;

#[test]
#[ignore = "by hand: downloads a Docker engine"]
fn from_a_clean_start_to_a_clean_end() {
    let Some(shop) = Shop::open() else { return };
    let before = shop.seen();
    let dry = shop.run(&["run", "slow-database.yaml", "--dry-run"]);
    assert!(dry.code == 0 && dry.out.contains("in front of service shop/db, port 5432"), "{dry:?}");
    shop.is_again(&before, "a dry run");
    for (file, evidence) in [
        ("slow-database.yaml", "added ms mean"),
        ("flaky-cache.yaml", "connections cut"),
        ("full-disk.yaml", "bytes free 0"),
    ] {
        let done = shop.run(&["run", file]);
        println!("{}", done.out.lines().filter(|l| !l.contains("sample")).collect::<Vec<_>>().join("\n"));
        assert_eq!(done.code, 0, "{file}: {done:?}");
        assert!(done.out.contains("HELD") && done.out.contains(evidence), "{file}: {done:?}");
        shop.is_again(&before, file);
        shop.sells();
    }
    // What could not be written for want of room was written in the end.
    let (health, _) = shop.ask("GET", "/health");
    assert!(health.out.contains("\"behind\": 0") && !health.out.contains("\"late\": 0"), "{health:?}");
}

#[test]
#[ignore = "by hand: downloads a Docker engine"]
fn killed_in_the_middle() {
    let Some(shop) = Shop::open() else { return };
    let before = shop.seen();
    let mut run = shop.start("slow-database.yaml");
    run.says("very-late latency");
    assert!(shop.rules("shop-db-1").contains("murphy-front-in-5432"), "{}", shop.rules("shop-db-1"));
    run.kill();
    shop.is_again(&before, "a killed murphy with a proxy in front of a container");
    shop.sells();

    let mut run = shop.start("full-disk.yaml");
    run.says("full disk_full");
    assert!(shop.is_mounted("shop-web-1"));
    run.kill();
    shop.is_again(&before, "a killed murphy with a filesystem in a container");
    shop.sells();
    let caught_up = eventually(PATIENCE, || shop.ask("GET", "/health").0.out.contains("\"behind\": 0"));
    assert!(caught_up, "receipts are not written again");
    let recovered = shop.run(&["recover"]);
    assert_eq!(recovered.code, 0, "{recovered:?}");
}

#[test]
#[ignore = "by hand: downloads a Docker engine"]
fn started_anew_in_the_middle() {
    let Some(shop) = Shop::open() else { return };
    let mut run = shop.start("slow-database.yaml");
    run.says("very-late latency");
    shop.engine.must(&["restart", "-t", "5", "shop-db-1"]);
    // The proxy stands in front of it again, in its new namespace, and the faults are on there.
    let follows = eventually(PATIENCE, || shop.rules("shop-db-1").contains("murphy-front-in-5432"));
    assert!(follows, "{}", run.said());
    let code = run.ends();
    println!("database started anew: exit {code}: {}", run.said().lines().last().unwrap_or_default());
    assert!(run.said().contains("late on proxy:db: its time was up"), "{}", run.said());
    assert!(!shop.rules("shop-db-1").contains("murphy"), "{}", shop.rules("shop-db-1"));
    shop.sells();

    let mut run = shop.start("full-disk.yaml");
    run.says("full disk_full");
    shop.engine.must(&["restart", "-t", "5", "shop-web-1"]);
    let follows = eventually(PATIENCE, || shop.is_mounted("shop-web-1"));
    assert!(follows, "{}", run.said());
    let code = run.ends();
    println!("shop started anew: exit {code}: {}", run.said().lines().last().unwrap_or_default());
    assert!(run.said().contains("full on fs:receipts: its time was up"), "{}", run.said());
    assert!(!shop.is_mounted("shop-web-1"));
    shop.sells();
}
