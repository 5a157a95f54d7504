//! What is asked is what packets get: delays, shares, bursts, on egress, ingress and the loopback.

use super::hosts::{A4, B4, B6, Echo, Pair, ask, engine, flood, pair};
use crate::ground::{Agent, binomial_ok, median};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

fn on(pair: &Pair, rest: &str) -> String {
    let rest = rest.replace("engine=emulated", &format!("engine={}", engine()));
    let (name, params) = rest.split_once(' ').unwrap_or((&rest, ""));
    format!("process:{} {name} {params}", pair.a.pid())
}

#[test]
fn a_delay_is_as_long_as_asked_everywhere() {
    let Some(pair) = pair() else { return };
    let agent = Agent::start(&[]);
    let (far, near) = (Echo::start(&pair.b, B4, 0), Echo::start(&pair.a, "127.0.0.1", 0));
    let six = Echo::start(&pair.b, B6, 0);
    for (params, at, asked) in [
        ("delay=10ms direction=egress", far.at, 10.0),
        ("delay=10ms direction=ingress", far.at, 10.0),
        ("delay=1ms direction=egress", six.at, 1.0),
        ("delay=30ms direction=both", six.at, 60.0),
        ("delay=10ms interface=lo", near.at, 20.0),
    ] {
        let line = on(&pair, &format!("net_delay {params} engine=emulated"));
        // On a busy machine a try may be late; the bound stays the same.
        let mut tries = Vec::new();
        let close = (0..5).any(|_| {
            let before = median(pair.a.run(|| ask(at, 40, PATIENCE)));
            let id = agent.arm(&line);
            let during = pair.a.run(|| ask(at, 40, PATIENCE));
            let (applied, considered) = agent.disarm(&id);
            assert!(applied >= 40 && applied == considered, "{params}: {applied} of {considered}");
            assert_eq!(during.len(), 40, "{params}: packets were lost");
            assert!(during.iter().all(|ms| *ms >= asked - 0.01), "{params}: too early: {during:?}");
            let added = median(during) - before;
            tries.push(added);
            (added - asked).abs() <= 1.0
        });
        assert!(close, "{params}: asked {asked} ms, got {tries:?}");
        let gone = (0..5).any(|_| median(pair.a.run(|| ask(at, 20, PATIENCE))) < asked);
        assert!(gone, "{params}: it is still late");
    }
}

#[test]
fn shares_of_loss_doubles_and_changed_bits_are_as_asked() {
    let Some(pair) = pair() else { return };
    let agent = Agent::start(&[]);
    let far = Echo::start(&pair.b, B4, 0);
    let n = 3000;
    let gap = Duration::from_micros(100);
    for (fault, share) in [
        ("net_loss chance=10%", 0.1),
        ("net_loss chance=50% direction=ingress", 0.5),
        ("net_loss chance=10% correlation=0.001% engine=emulated", 0.1),
        ("net_corrupt chance=10% engine=emulated", 0.1),
    ] {
        // Hosts say things by themselves (multicast, over IPv6): those do not count.
        let id = agent.arm(&on(&pair, &format!("{fault} protocol=udp")));
        let came = pair.a.run(|| flood(far.at, n, gap));
        let (applied, considered) = agent.disarm(&id);
        assert!(considered >= n / 2, "{fault}: {considered}");
        let lost = n as usize - came.len();
        // A bit that netem flips may be in the sender's hardware address, 6 of 50 bytes here, which nobody looks at.
        let unseen = if engine() == "native" && fault.contains("corrupt") { 6.0 / 50.0 } else { 0.0 };
        let share = share * (1.0 - unseen);
        assert!(binomial_ok(lost, n as usize, share), "{fault}: {lost} of {n} lost");
        // What it says it did is what was seen to be missing; netem does not count what it has changed.
        if engine() == "emulated" || !fault.contains("corrupt") {
            assert_eq!(applied as usize, lost, "{fault}");
        }
    }
    let id = agent.arm(&on(&pair, "net_duplicate chance=10% engine=emulated"));
    let came = pair.a.run(|| flood(far.at, n, gap));
    agent.disarm(&id);
    let doubles = came.len() - n as usize;
    assert!(binomial_ok(doubles, n as usize, 0.1), "{doubles} of {n} doubled");
    let id = agent.arm(&on(&pair, "net_reorder chance=25% delay=5ms engine=emulated"));
    let came = pair.a.run(|| flood(far.at, 500, gap));
    agent.disarm(&id);
    assert_eq!(came.len(), 500);
    assert!(came.windows(2).any(|w| w[0] > w[1]), "nothing was overtaken");
}

#[test]
fn loss_comes_in_bursts_when_it_has_a_memory() {
    let Some(pair) = pair() else { return };
    let agent = Agent::start(&[]);
    let far = Echo::start(&pair.b, B4, 0);
    let id = agent.arm(&on(&pair, "net_loss model=gemodel p=2% r=25% engine=emulated"));
    let came = pair.a.run(|| flood(far.at, 12_000, Duration::from_micros(20)));
    agent.disarm(&id);
    let gaps: Vec<u64> = came.windows(2).filter(|w| w[1] > w[0] + 1).map(|w| w[1] - w[0] - 1).collect();
    let mean = gaps.iter().sum::<u64>() as f64 / gaps.len() as f64;
    // Bad times last 1/r = 4 packets, geometrically: some 220 of them, with a deviation of 3.5 each.
    assert!((mean - 4.0).abs() < 4.5 * 3.5 / (gaps.len() as f64).sqrt(), "{mean} over {} bursts", gaps.len());
}

#[test]
fn a_rate_is_kept_within_five_percent() {
    let Some(pair) = pair() else { return };
    let agent = Agent::start(&[]);
    let id = agent.arm(&on(&pair, "net_rate rate=8Mbit/s queue=50ms engine=emulated"));
    // On a busy machine the sender may not fill the link; then it is tried again.
    let tries: Vec<f64> =
        (0..5).map(|_| fill(&pair)).take_while(|rate| (rate / 8.0 - 1.0).abs() >= 0.05).collect();
    agent.disarm(&id);
    assert!(tries.len() < 5, "asked 8 Mbit/s, got {tries:?}");
}

/// What passes, in Mbit/s with headers, when three times 8 Mbit/s are sent for a second and a half.
fn fill(pair: &Pair) -> f64 {
    let sink = pair.b.run(|| std::net::UdpSocket::bind((B4, 0)).unwrap());
    sink.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
    let at = sink.local_addr().unwrap();
    let sender = pair.a.run(|| std::net::UdpSocket::bind((A4, 0)).unwrap());
    let thread = std::thread::spawn(move || {
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_millis(1500) {
            let _ = sender.send_to(&[0; 972], at);
            std::thread::sleep(Duration::from_micros(280));
        }
    });
    let (mut bytes, mut first, mut last) = (0_usize, None, std::time::Instant::now());
    let mut buffer = [0; 2048];
    loop {
        match sink.recv(&mut buffer) {
            // The first one begins the time; with headers a packet is 1000 bytes.
            Ok(n) => {
                last = std::time::Instant::now();
                match first {
                    None => first = Some(last),
                    Some(_) => bytes += n + 28,
                }
            }
            Err(_) if !thread.is_finished() => {}
            Err(_) => break,
        }
    }
    bytes as f64 * 8.0 / first.map_or(1.0, |first| (last - first).as_secs_f64()) / 1e6
}

#[test]
fn five_faults_hit_what_they_name_while_others_come_and_go() {
    let Some(pair) = pair() else { return };
    let agent = Agent::start(&[]);
    let echoes: Vec<Echo> = (0..5).map(|_| Echo::start(&pair.b, B4, 0)).collect();
    let mut armed: Vec<Option<(String, f64)>> = vec![None; 5];
    // A fixed walk through arming, changing and removing; each step looks at all ports.
    for (step, n) in [0, 3, 1, 4, 2, 1, 0, 3, 2, 4, 1].into_iter().enumerate() {
        armed[n] = match armed[n].take() {
            Some((id, _)) => {
                agent.disarm(&id);
                None
            }
            None => {
                let ms = 20.0 * (n + 1) as f64;
                let port = echoes[n].at.port();
                let line = format!("net_delay delay={ms}ms remote_port={port} engine=emulated");
                Some((agent.arm(&on(&pair, &line)), ms))
            }
        };
        for (port, state) in armed.iter().enumerate() {
            let asked = state.as_ref().map_or(0.0, |(_, ms)| *ms);
            let fits = (0..5).any(|_| {
                let got = pair.a.run(|| ask(echoes[port].at, 3, PATIENCE));
                assert_eq!(got.len(), 3, "step {step}: port {port} lost packets");
                assert!(
                    got.iter().all(|ms| *ms >= asked - 0.01),
                    "step {step}: port {port} was too early: {got:?}"
                );
                median(got) < asked + 15.0
            });
            assert!(fits, "step {step}: port {port} should be {asked} ms late");
        }
    }
}

#[test]
fn changes_leave_no_gap() {
    let Some(pair) = pair() else { return };
    let agent = Agent::start(&[]);
    let far = Echo::start(&pair.b, B4, 0);
    let id = agent.arm(&on(&pair, "net_delay delay=5ms direction=both engine=emulated"));
    let came = std::thread::scope(|scope| {
        let flood = scope.spawn(|| pair.a.run(|| flood(far.at, 4000, Duration::from_micros(200))));
        let mut rounds = 0;
        while !flood.is_finished() && rounds < 40 {
            for delay in ["15ms", "1ms"] {
                let change = serde_json::json!({"inject": {"delay": delay}});
                let change = serde_json::from_value(change).unwrap();
                agent.ask(async |c| c.adjust(&id, &change).await).unwrap();
                let other = agent.arm(&on(&pair, "net_loss chance=50% remote_port=9"));
                agent.disarm(&other);
            }
            rounds += 1;
        }
        flood.join().unwrap()
    });
    let mut numbers = came.clone();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!((numbers.len(), came.len()), (4000, 4000), "packets were lost or doubled");
    let change = serde_json::from_value(serde_json::json!({"inject": {"delay": "20ms"}})).unwrap();
    agent.ask(async |c| c.adjust(&id, &change).await).unwrap();
    assert!(pair.a.run(|| ask(far.at, 5, PATIENCE)).iter().all(|ms| *ms >= 40.0));
    agent.disarm(&id);
}

#[test]
fn a_ramp_is_where_it_should_be_at_each_moment() {
    let Some(pair) = pair() else { return };
    if engine() != "emulated" {
        // A native fault has no ramps, and says so.
        return;
    }
    let agent = Agent::start(&[]);
    let far = Echo::start(&pair.b, B4, 0);
    let before = median(pair.a.run(|| ask(far.at, 20, PATIENCE)));
    let fault: model::Fault = serde_json::from_value(serde_json::json!({
        "target": format!("process:{}", pair.a.pid()), "for": "60s",
        "inject": {"net_delay": {"delay": "10ms", "engine": "emulated"}},
        "ramp": {"delay": ["10ms", "90ms"], "over": "4s"},
    }))
    .unwrap();
    let ramp = |seconds: f64| (10.0 + 20.0 * seconds).clamp(10.0, 90.0);
    // It began some time in this call.
    let asked = std::time::Instant::now();
    let id = agent.ask(async |c| c.arm(&fault, None).await).unwrap().id;
    let on = std::time::Instant::now();
    let mut above = Vec::new();
    while on.elapsed() < Duration::from_millis(4500) {
        let (since_asked, since_on) = (asked.elapsed().as_secs_f64(), on.elapsed().as_secs_f64());
        let took = pair.a.run(|| ask(far.at, 1, PATIENCE))[0];
        let least = ramp(since_on);
        assert!(took >= least - 0.1, "{since_on} s after it was on: {took} ms, and {least} at least");
        above.push(took - before - ramp(since_asked));
    }
    assert!(above.len() > 20, "{above:?}");
    // Late only as far as this machine is.
    assert!(median(above.clone()) < 8.0, "{above:?}");
    assert!(pair.a.run(|| ask(far.at, 3, PATIENCE)).iter().all(|ms| *ms >= 90.0));
    // What is changed live goes on from there.
    let change =
        serde_json::from_value(serde_json::json!({"inject": {"delay": "5ms"}, "ramp": null})).unwrap();
    agent.ask(async |c| c.adjust(&id, &change).await).unwrap();
    agent.disarm(&id);
}
