//! What is asked is what packets get: delays, shares, bursts, on egress, ingress and the loopback.

use super::hosts::{A4, B4, B6, Echo, Pair, ask, flood, pair};
use crate::ground::{Agent, binomial_ok, median};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

fn on(pair: &Pair, rest: &str) -> String {
    let (name, params) = rest.split_once(' ').unwrap_or((rest, ""));
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
        let after = median(pair.a.run(|| ask(at, 20, PATIENCE)));
        assert!(after < asked, "{params}: it is still late: {after}");
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
        let id = agent.arm(&on(&pair, fault));
        let came = pair.a.run(|| flood(far.at, n, gap));
        let (applied, considered) = agent.disarm(&id);
        assert!(considered >= n / 2, "{fault}: {considered}");
        let lost = n as usize - came.len();
        assert!(binomial_ok(lost, n as usize, share), "{fault}: {lost} of {n} lost");
        // What it says it did is what was seen to be missing.
        assert_eq!(applied as usize, lost, "{fault}");
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
    let sink = pair.b.run(|| std::net::UdpSocket::bind((B4, 0)).unwrap());
    sink.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
    let at = sink.local_addr().unwrap();
    let id = agent.arm(&on(&pair, "net_rate rate=8Mbit/s queue=50ms engine=emulated"));
    let sender = pair.a.run(|| std::net::UdpSocket::bind((A4, 0)).unwrap());
    let thread = std::thread::spawn(move || {
        // Three times what fits, for a second and a half.
        for _ in 0..4500 {
            let _ = sender.send_to(&[0; 972], at);
            std::thread::sleep(Duration::from_micros(280));
        }
    });
    let (mut bytes, mut first, mut last) = (0_usize, None, std::time::Instant::now());
    let mut buffer = [0; 2048];
    while let Ok(n) = sink.recv(&mut buffer) {
        last = std::time::Instant::now();
        // The first one begins the time; with headers a packet is 1000 bytes.
        match first {
            None => first = Some(last),
            Some(_) => bytes += n + 28,
        }
    }
    thread.join().unwrap();
    agent.disarm(&id);
    let rate = bytes as f64 * 8.0 / (last - first.unwrap()).as_secs_f64() / 1e6;
    assert!((rate / 8.0 - 1.0).abs() < 0.05, "{rate} Mbit/s");
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
