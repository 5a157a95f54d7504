//! A shop under load that feels its faults: traffic made up for an agent in memory.

use super::memory::Memory;
use control::wire::RunState;
use model::event::{GuardState, WindowResult};
use model::units::Span;
use model::{
    ConnectionFault, ConnectionState, ConnectionView, EventKind, Fault, Sample, TargetKind, TargetRef,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A number in 0..1 for a place in time, the same on every run.
pub fn noise(second: u64, k: u64) -> f64 {
    model::draw::unit(k, model::draw::Lane::Amount, second)
}

/// A fault from its JSON.
pub fn fault(json: &str) -> Fault {
    serde_json::from_str(json).unwrap()
}

/// One second of a target with these faults on it.
pub fn sample(second: u64, base_rate: f64, faults: &[Fault]) -> Sample {
    let mut s = Sample { seconds: 1.0, open: 24, ..Sample::default() };
    let rate = base_rate * (0.95 + 0.1 * noise(second, 5));
    let mut lost = 0.0_f64;
    for n in 0..rate as u64 {
        let draw = noise(second * 10_000 + n, 1);
        let mut ms = 14.0 + 8.0 * noise(second * 10_000 + n, 2) + if draw > 0.985 { 40.0 } else { 0.0 };
        let mut failed = draw < 0.002;
        for (i, f) in faults.iter().enumerate() {
            let hit = noise(second * 10_000 + n, 100 + i as u64) < f.share.at_most();
            if !hit {
                continue;
            }
            match f.inject.name() {
                "latency" | "delay" => {
                    let delay = f.inject.span("delay").unwrap_or_default().as_secs_f64() * 1e3;
                    let jitter = f.inject.span("jitter").unwrap_or_default().as_secs_f64() * 1e3;
                    ms += delay + jitter * (2.0 * noise(second * 10_000 + n, 7) - 1.0);
                    lost += 0.0005;
                }
                "abort" => failed = true,
                "cut" => {
                    failed = true;
                    lost += 0.0005;
                }
                _ => {}
            }
        }
        s.requests += 1;
        s.errors += u64::from(failed);
        s.latency.record((ms * 1e6) as u64);
    }
    let _ = lost;
    s
}

/// Emits one second of every proxy, and what the faults did.
pub fn second(memory: &Memory, second: u64, rates: &[(&str, f64)]) {
    memory.expire();
    let mut targets = BTreeMap::new();
    for (name, rate) in rates {
        let on: Vec<Fault> = memory
            .state()
            .faults
            .iter()
            .filter(|f| f.fault.target.name == *name)
            .map(|f| f.fault.clone())
            .collect();
        targets.insert(format!("proxy:{name}"), sample(second, *rate, &on));
    }
    let mut evidence = BTreeMap::new();
    for f in &mut memory.state().faults {
        let seen = targets.get(&f.fault.target.to_string()).map_or(0, |s| s.requests);
        f.evidence.considered += seen;
        f.evidence.applied += (seen as f64 * f.fault.share.at_most()) as u64;
        if let Some(delay) = f.inject_delay() {
            f.evidence.measured.insert("added_ms_mean".into(), delay);
        }
        evidence.insert(f.id.clone(), f.evidence.clone());
    }
    memory.event(EventKind::Samples { targets });
    if !evidence.is_empty() {
        memory.event(EventKind::Evidence { faults: evidence });
    }
}

trait Delay {
    fn inject_delay(&self) -> Option<f64>;
}
impl Delay for control::wire::FaultState {
    fn inject_delay(&self) -> Option<f64> {
        self.fault.inject.span("delay").map(|d| d.as_secs_f64() * 1e3)
    }
}

/// A history that ends now: `script` is called before each second with its number.
pub fn history(memory: &Memory, seconds: u64, rates: &[(&str, f64)], mut script: impl FnMut(&Memory, u64)) {
    for t in 0..seconds {
        {
            let mut state = memory.state();
            state.ahead_ms = t as f64 * 1000.0;
            state.behind_ms = (seconds - t) * 1000;
        }
        script(memory, t);
        second(memory, t, rates);
    }
    let mut state = memory.state();
    state.ahead_ms = seconds as f64 * 1000.0;
    state.behind_ms = 0;
}

/// The agent of the prototype's pictures: a run in its third stage, three faults on, one bound broken.
pub fn shop() -> Arc<Memory> {
    let memory = Memory::new("edge-1").with_proxy("cart", true).with_proxy("pg", false).with_target(
        TargetKind::Node,
        "self",
        "this machine, 4 cores",
    );
    run_history(&memory, 300);
    memory
}

pub const RATES: [(&str, f64); 2] = [("cart", 412.0), ("pg", 188.0)];

/// Five minutes of a run.
pub fn run_history(memory: &Memory, seconds: u64) {
    history(memory, seconds, &RATES, |m, t| match t {
        0 => {
            let stages = [("baseline", 60), ("warm", 35), ("inject", 265), ("recover", 60), ("verify", 30)]
                .map(|(n, s)| (n.to_owned(), Span::secs(s)))
                .to_vec();
            m.state().run = Some(RunState {
                name: "checkout-latency".into(),
                seed: 7,
                by: "sre (uid 1000)".into(),
                started_at_ms: 0,
                started_mono_ms: 0.0,
                stages: stages.clone(),
                phase: "stage".into(),
                stage: Some(("inject".into(), 3)),
                steady: BTreeMap::new(),
                verdict: None,
                why: None,
                report: None,
            });
            m.event(EventKind::RunStarted {
                name: "checkout-latency".into(),
                seed: 7,
                stages,
                bounds: [
                    ("cart_p99", ("proxy:cart latency p99", "< 250ms")),
                    ("cart_ok", ("proxy:cart errors", "< 3%")),
                    ("cart_rate", ("proxy:cart rate", "> 300/s")),
                ]
                .map(|(k, (a, b))| (k.to_owned(), (a.to_owned(), b.to_owned())))
                .into(),
            });
        }
        60 => stage(m, "warm", 2, 35),
        95 => {
            stage(m, "inject", 3, 265);
            m.arm_now(
                fault(r#"{"target":"proxy:cart","for":"40s","share":{"percent":"10%"},"inject":{"latency":{"delay":"80ms"}}}"#),
                None,
                "run checkout-latency",
            );
        }
        215 => {
            m.arm_now(
                fault(r#"{"target":"proxy:cart","for":"170s","share":{"percent":"30%"},"inject":{"latency":{"delay":"220ms","jitter":"40ms"}}}"#),
                None,
                "sre (uid 1000)",
            );
        }
        253 => {
            m.arm_now(
                fault(r#"{"target":"proxy:cart","for":"90s","share":{"percent":"2%"},"when":{"path":"/pay*"},"inject":{"abort":{}}}"#),
                None,
                "run checkout-latency",
            );
        }
        258 => {
            m.event(EventKind::Guard { guard: "cart_p99 > 250ms for 60s".into(), state: GuardState::Pending })
        }
        270 => {
            m.arm_now(
                fault(r#"{"target":"proxy:pg","for":"160s","share":{"percent":"5%"},"inject":{"cut":{"when":"4KiB"}}}"#),
                Some(Span::secs(15)),
                "run checkout-latency",
            );
        }
        _ => {}
    });
}

/// A run of two stages, and a third one to come: 60 s of baseline, one stage over, in the middle of the next.
#[allow(dead_code, reason = "not of every one that includes this")]
pub fn staged(memory: &Memory, seconds: u64) {
    let stages =
        [("slow", 60), ("errors", 120), ("worse", 60)].map(|(n, s)| (n.to_owned(), Span::secs(s))).to_vec();
    let bounds = [
        ("checkout_ok", ("load users success", ">= 99%")),
        ("checkout_p99", ("load users latency p99", "< 250ms")),
        ("orders", ("./count-orders.sh", "increasing")),
    ]
    .map(|(k, (a, b))| (k.to_owned(), (a.to_owned(), b.to_owned())));
    let phase = |m: &Memory, phase: &str, stage: Option<(&str, usize)>, secs| {
        m.event(EventKind::Phase {
            phase: phase.into(),
            stage: stage.map(|(name, n)| (name.to_owned(), n)),
            lasts: Some(Span::secs(secs)),
        });
    };
    let window = |m: &Memory, metric: &str, value, result| {
        m.event(EventKind::Window { metric: metric.into(), value, result });
    };
    history(memory, seconds, &[("cart", 412.0)], |m, t| match t {
        0 => {
            m.event(EventKind::RunStarted {
                name: "checkout".into(),
                seed: 42,
                stages: stages.clone(),
                bounds: bounds.clone().into(),
            });
            phase(m, "baseline", None, 60);
        }
        5 => {
            window(m, "checkout_ok", Some(99.8), WindowResult::Pass);
            window(m, "checkout_p99", Some(31.0), WindowResult::Pass);
        }
        60 => {
            phase(m, "stage", Some(("slow", 1)), 60);
            m.arm_now(
                fault(r#"{"target":"proxy:cart","for":"50s","share":{"percent":"10%"},"inject":{"latency":{"delay":"80ms"}}}"#),
                None,
                "run checkout",
            );
        }
        120 => phase(m, "stage", Some(("errors", 2)), 120),
        125 => {
            m.arm_now(
                fault(r#"{"target":"proxy:cart","for":"90s","share":{"percent":"30%"},"inject":{"latency":{"delay":"300ms"}}}"#),
                None,
                "run checkout",
            );
        }
        130 => {
            window(m, "checkout_p99", Some(341.0), WindowResult::Fail);
            m.event(EventKind::Guard {
                guard: "checkout_p99 > 250ms for 90s".into(),
                state: GuardState::Pending,
            });
        }
        _ => {}
    });
}

fn stage(m: &Memory, name: &str, n: usize, secs: u64) {
    m.event(EventKind::Phase {
        phase: "stage".into(),
        stage: Some((name.into(), n)),
        lasts: Some(Span::secs(secs)),
    });
}

/// Open connections of the shop: some under its faults, one held.
#[allow(dead_code)]
pub fn connections(memory: &Memory) {
    let faults = memory.state().faults.clone();
    let of = |name: &str, n: u64| -> Vec<ConnectionFault> {
        let on = faults.iter().filter(|f| f.fault.target.name == name && f.fault.inject.name() != "abort");
        on.map(|f| ConnectionFault {
            id: f.id.clone(),
            fault: f.fault.inject.name().to_owned(),
            applied: n.is_multiple_of(4),
        })
        .collect()
    };
    let all = (1..=40_u64).map(|n| {
        let (name, port) = if n % 3 == 0 { ("pg", 5432) } else { ("cart", 8080) };
        ConnectionView {
            id: 100 + n,
            target: TargetRef::new(TargetKind::Proxy, name),
            client: (n != 9).then(|| format!("10.0.{}.{}:{}", n % 5, 7 + n, 41_000 + 7 * n)),
            upstream: (n != 12).then(|| format!("10.0.9.{}:{port}", n % 2 + 1)),
            age_ms: 3_700_000 / n,
            bytes_up: n * n * n * 37,
            bytes_down: (n % 7) * (n % 7) * (n % 7) * 182_000,
            state: match n {
                6 => ConnectionState::Held,
                12 => ConnectionState::Dialling,
                15 => ConnectionState::HalfClosed,
                22 => ConnectionState::Closing,
                _ => ConnectionState::Open,
            },
            faults: if n % 2 == 0 { of(name, n) } else { Vec::new() },
        }
    });
    memory.state().connections = all.collect();
}

/// The last requests of the shop: some hit by its faults, some spared, one held by hand.
#[allow(dead_code)]
pub fn requests(memory: &Memory) -> control::RequestList {
    let faults = memory.state().faults.clone();
    let one = |n: u64| {
        let hit = n.is_multiple_of(3);
        let of = faults.iter().filter(|f| f.fault.target.name == "cart").map(|f| model::RequestFault {
            id: f.id.clone(),
            fault: f.fault.inject.name().to_owned(),
            ordinal: n,
            draw: Some(if hit { 0.2431 } else { 0.8125 }),
            taken: hit,
            applied: hit,
        });
        model::RequestView {
            id: 900 + n,
            target: TargetRef::new(TargetKind::Proxy, "cart"),
            connection: 100 + n % 7,
            client: (n != 9).then(|| format!("10.0.{}.{}:{}", n % 5, 7 + n, 41_000 + 7 * n)),
            at_ms: 1_764_380_000_000 + n * 137,
            method: if n.is_multiple_of(4) { "POST" } else { "GET" }.to_owned(),
            path: if n.is_multiple_of(4) { "/pay".to_owned() } else { format!("/cart/{n}/items") },
            host: Some("shop".to_owned()),
            http: if n.is_multiple_of(5) { "2" } else { "1.1" }.to_owned(),
            state: match n {
                28 => model::RequestState::Held,
                27 => model::RequestState::Waiting,
                13 => model::RequestState::Broken,
                _ => model::RequestState::Done,
            },
            status: (![13, 27, 28].contains(&n)).then_some(if n.is_multiple_of(6) { 503 } else { 200 }),
            total_ms: 3.0 * n as f64 + if hit { 118.0 } else { 0.0 },
            injected_ms: if hit { 118.0 } else { 0.0 },
            upstream_ms: (![6, 27, 28].contains(&n)).then_some(2.9 * n as f64),
            bytes_up: if n.is_multiple_of(4) { 214 } else { 0 },
            bytes_down: n * n * 31,
            trace: None,
            error: None,
            faults: of.collect(),
        }
    };
    let hold = control::HoldView {
        id: 3,
        target: TargetRef::new(TargetKind::Proxy, "cart"),
        when: Some("method=POST path=/pay".parse().unwrap()),
        left: Span::secs(48),
        requests: 1,
    };
    control::RequestList { total: 30, held: 1, requests: (1..=30).map(one).collect(), holds: vec![hold] }
}

/// Operations of a database on its files: some hit by a fault.
#[allow(dead_code)]
pub fn operations(second: u64) -> control::OperationList {
    let target = TargetRef::new(TargetKind::Fs, "/var/lib/pg");
    let one = |n: u64| {
        let (op, path) = match n % 4 {
            0 => ("fsync", "/pg_wal/0000000100000000000000A1"),
            1 => ("write", "/pg_wal/0000000100000000000000A1"),
            _ => ("read", "/base/16384/2619"),
        };
        let hit = op == "fsync" && n.is_multiple_of(8);
        model::FileOperation {
            seq: second * 40 + n,
            at_ms: 1_764_380_000_000 + second * 1000 + n * 23,
            target: target.clone(),
            pid: 812,
            uid: 105,
            command: "postgres".into(),
            op: op.into(),
            path: path.into(),
            bytes: if op == "fsync" { 0 } else { 8192 },
            micros: if op == "fsync" { 3102 + n } else { 12 + n },
            error: hit.then(|| "EIO".into()),
            faults: if hit { vec!["io".into()] } else { vec![] },
        }
    };
    let kind = |op: &str, count: u64, errors: u64, us: f64| control::operations::OperationRow {
        target: target.clone(),
        op: op.into(),
        count,
        errors,
        p50_us: Some(us),
        p99_us: Some(us * 12.5),
    };
    let kinds = vec![
        kind("read", 6100 + 61 * second, 0, 12.0),
        kind("write", 2200 + 22 * second, 0, 30.0),
        kind("fsync", 900 + 9 * second, 3 + second, 4000.0),
    ];
    control::OperationList { total: 40, operations: (0..40).map(one).collect(), kinds }
}
