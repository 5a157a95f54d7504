//! The life of a pod with a redirect: nothing changes until the proxy lives, faults act both ways, its end is no one's
//! outage, and what was open before stays open throughout.

use super::pod::{HTTP, LINES, PATIENCE, POD, Pod, Talk, USER, WAYS, WORLD};
use crate::ground::{TempDir, control_certificates, eventually, need, open_to_all, program};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Whether what comes in is redirected, which shows in whom the application sees: the pod itself.
fn redirected(pod: &Pod) -> bool {
    (0..2).all(|f| pod.seen(POD[f], LINES) == POD[f])
}

/// The application sees its clients' own addresses.
fn direct(pod: &Pod) -> bool {
    (0..2).all(|f| pod.seen(POD[f], LINES) == WORLD[f])
}

/// Connections in and out by both families, that must never break.
struct Held(Vec<(Talk, String)>);

impl Held {
    fn open(pod: &Pod) -> Held {
        let mut all = Vec::new();
        for f in 0..2 {
            for mut talk in [pod.inward(POD[f], LINES).unwrap(), pod.outward(WORLD[f]).unwrap()] {
                let who = talk.who().unwrap();
                all.push((talk, who));
            }
        }
        Held(all)
    }

    fn check(&mut self, when: &str) {
        for (talk, who) in &mut self.0 {
            assert_eq!(talk.who().as_ref().ok(), Some(&*who), "{when}");
        }
    }
}

/// How long an exchange takes, in milliseconds.
fn took(talk: std::io::Result<Talk>) -> f64 {
    let mut talk = talk.unwrap();
    let begin = Instant::now();
    talk.who().unwrap();
    begin.elapsed().as_secs_f64() * 1e3
}

#[test]
fn a_pod_lives_with_it_and_without_it() {
    let Some(mut pod) = Pod::start() else { return };
    let mut before = Held::open(&pod);
    let done = pod.init(&[&WAYS[..], &["--probe", "15300:8080"]].concat());
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.out.contains("proxy:web") && done.out.contains("proxy:db"), "{}", done.out);
    before.check("the rules came");
    // Nobody beats, and who is not the proxy's user cannot.
    let faked =
        pod.pair.a.run(|| std::net::UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&[1], "127.0.0.1:15099"));
    assert!(faked.is_ok(), "{faked:?}");
    assert!(direct(&pod));

    assert_ne!(pod.ready(), 0);
    pod.proxy();
    assert_eq!(pod.ready(), 0);
    assert!(
        eventually(PATIENCE, || redirected(&pod)),
        "v4 {} v6 {}",
        pod.seen(POD[0], LINES),
        pod.seen(POD[1], LINES)
    );
    before.check("the proxy came");
    faults_act_both_ways(&pod);
    probes_and_directs(&pod);
    before.check("faults were on");

    let mut gone = until_direct(&mut pod);
    for _ in 0..4 {
        if gone > 2.0 {
            // A busy machine is not what is measured.
            pod.proxy();
            assert!(eventually(PATIENCE, || redirected(&pod)));
            gone = until_direct(&mut pod);
        }
    }
    eprintln!("proxy killed: direct after at most {gone:.2} s");
    assert!(gone <= 2.0, "{gone}");
    before.check("the proxy was killed");
    let mut between = Held::open(&pod);
    pod.proxy();
    assert!(eventually(PATIENCE, || redirected(&pod)));
    before.check("the proxy came back");
    between.check("the proxy came back");

    ends_without_a_break(&mut pod);
    before.check("the proxy ended");
    between.check("the proxy ended");
    // Installed once more, as after a restart of the init container; then taken away.
    assert_eq!(pod.init(&WAYS).code, 0);
    assert_eq!(pod.init(&["--remove"]).out, "the redirect is gone: traffic goes direct\n");
    before.check("the rules went");
    assert!(direct(&pod));
}

fn faults_act_both_ways(pod: &Pod) {
    // Who is where, as murphy sees it.
    let mut held: Vec<Talk> = Vec::new();
    for f in 0..2 {
        held.push(pod.inward(POD[f], LINES).unwrap());
        held.push(pod.outward(WORLD[f]).unwrap());
    }
    for talk in &mut held {
        talk.who().unwrap();
    }
    let seen = pod.ask(async |c| c.connections(&control::ConnectionQuery::default()).await).unwrap();
    for f in 0..2 {
        for (client, port) in [(WORLD[f], LINES), (POD[f], 5432)] {
            let found = seen.connections.iter().any(|c| {
                let from = c.client.as_deref().unwrap_or_default();
                let to = c.upstream.as_deref().unwrap_or_default();
                from.contains(client) && to.ends_with(&format!(":{port}"))
            });
            assert!(found, "{client} to {port}: {:?}", seen.connections);
        }
    }
    drop(held);
    for (target, way) in [("proxy:web", true), ("proxy:db", false)] {
        let id = pod.arm(target, "latency", &[("delay", "80ms")]);
        for f in 0..2 {
            let talk = if way { pod.inward(POD[f], LINES) } else { pod.outward(WORLD[f]) };
            let ms = took(talk);
            assert!(ms >= 79.0, "{target} {f}: {ms} ms");
        }
        assert!(pod.disarm(&id) >= 2, "{target}");
    }
    let id = pod.arm("proxy:site", "abort", &[("status", "503")]);
    for ip in POD {
        let answer = pod.inward(ip, HTTP).unwrap().get().unwrap();
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    }
    assert_eq!(pod.disarm(&id), 2);
    for ip in POD {
        let answer = pod.inward(ip, HTTP).unwrap().get().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(ip), "{answer}");
    }
}

fn probes_and_directs(pod: &Pod) {
    let id = pod.arm("proxy:web", "refuse", &[]);
    assert!(eventually(PATIENCE, || pod.inward(POD[0], LINES).and_then(|mut t| t.who()).is_err()));
    for f in 0..2 {
        assert_eq!(pod.seen(POD[f], 15300), WORLD[f], "a probe");
    }
    pod.disarm(&id);
    // Whoever comes to the proxy's own port was not redirected, and gets nowhere.
    for ip in POD {
        assert!(pod.inward(ip, 15100).and_then(|mut t| t.who()).is_err(), "{ip}");
    }
}

/// Kills the proxy; how many seconds until everything goes direct.
fn until_direct(pod: &mut Pod) -> f64 {
    pod.kill();
    let begin = Instant::now();
    assert!(eventually(PATIENCE, || direct(pod) && pod.outward(WORLD[0]).and_then(|mut t| t.who()).is_ok()));
    begin.elapsed().as_secs_f64()
}

/// SIGTERM while clients come without a pause: none of them notices.
fn ends_without_a_break(pod: &mut Pod) {
    let (over, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let client = pod.caller(POD[0], LINES);
    let mut failed = Vec::new();
    std::thread::scope(|scope| {
        let (over, asked) = (&over, &asked);
        let clients = scope.spawn(move || {
            let mut failed = Vec::new();
            while !over.load(Ordering::Relaxed) {
                if let Err(e) = client.ask() {
                    failed.push(e.to_string());
                }
                asked.fetch_add(1, Ordering::Relaxed);
            }
            failed
        });
        assert!(eventually(PATIENCE, || asked.load(Ordering::Relaxed) > 20));
        pod.end();
        let last = asked.load(Ordering::Relaxed);
        assert!(eventually(PATIENCE, || asked.load(Ordering::Relaxed) > last + 20));
        over.store(true, Ordering::Relaxed);
        failed = clients.join().unwrap();
    });
    assert!(failed.is_empty(), "{} of {}: {:?}", failed.len(), asked.load(Ordering::Relaxed), failed.first());
    assert!(direct(pod));
}

#[test]
fn what_is_attached_takes_its_rules_along() {
    let Some(mut pod) = Pod::start() else { return };
    let mut before = Held::open(&pod);
    pod.attached();
    assert!(eventually(PATIENCE, || redirected(&pod)));
    before.check("it came");
    let status = std::fs::read_to_string(format!("/proc/{}/status", pod.proxy_pid())).unwrap();
    assert!(status.contains(&format!("\nUid:\t{USER}\t{USER}\t{USER}\t{USER}")), "{status}");
    assert!(
        status.contains("\nCapEff:\t0000000000000000") && status.contains("\nCapPrm:\t0000000000000000"),
        "{status}"
    );
    let id = pod.arm("proxy:db", "latency", &[("delay", "80ms")]);
    let ms = took(pod.outward(WORLD[1]));
    assert!(ms >= 79.0 && pod.disarm(&id) >= 1, "{ms}");
    // Rules of a sidecar and of this do not mix.
    let rules = pod.pair.a.sh("nft list tables");
    assert_eq!(rules.trim(), "table inet murphy_sidecar");
    pod.kill();
    assert!(eventually(PATIENCE, || direct(&pod)));
    assert_eq!(pod.pair.a.sh("nft list tables").trim(), "");
    before.check("it was killed");
    assert_eq!(pod.init(&WAYS).code, 0);
    let done = pod.someone(false, &["sidecar", "run", "--owned", "--inbound", "8080"]);
    assert!(done.code == 5 && done.err.contains("has murphy's already"), "{done:?}");
}

#[test]
fn control_from_outside_takes_the_token_and_loopback_is_none() {
    let Some(mut pod) = Pod::start() else { return };
    let token = control::Token::generate().unwrap();
    let (right, wrong) =
        (pod.file("token", token.reveal()), pod.file("wrong", &token.reveal().replace(['0', '1'], "f")));
    pod.proxy_with(&["--control", "15090", "--token-file", &right]);
    for (outside, ip) in [(true, POD[0]), (true, "[fd87::1]"), (false, "127.0.0.1"), (false, "[::1]")] {
        let at = format!("http://{ip}:15090");
        let list = |more: &[&str]| pod.someone(outside, &[&["list", "--socket", &at], more].concat());
        let done = list(&["--token-file", &right]);
        assert!(done.code == 0 && done.out.contains("proxy:web"), "{at}: {done:?}");
        for refused in [list(&[]), list(&["--token-file", &wrong])] {
            assert!(
                refused.code == 5 && refused.err.contains("token") && refused.out.is_empty(),
                "{at}: {refused:?}"
            );
        }
    }
    // Beyond loopback there is no door without one.
    let done = pod.someone(false, &["sidecar", "run", "--inbound", "8080", "--control", "15090"]);
    assert_eq!(done.code, 2, "{done:?}");
}

#[test]
fn control_from_outside_takes_a_certificate() {
    if !need("the program openssl", program("openssl", &[]).is_some()) {
        return;
    }
    let Some(mut pod) = Pod::start() else { return };
    let dir = TempDir::new();
    control_certificates(dir.path(), &["ada", "ci"]);
    open_to_all(dir.path());
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    for name in ["tls.crt", "tls.key", "ca.crt"] {
        // The kubelet's files are for every user of the container.
        rustix::fs::chmod(at(name), rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
    }
    let (cert, key, ca) = (at("tls.crt"), at("tls.key"), at("ca.crt"));
    let tls = ["--control", "15090", "--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &ca];
    pod.proxy_with(&[&tls[..], &["--role", "ada=operator,ci=viewer"]].concat());
    for (outside, ip) in [(true, POD[0]), (true, "[fd87::1]"), (false, "127.0.0.1"), (false, "[::1]")] {
        let url = format!("https://{ip}:15090");
        // In its pod it has the address that others reach it by, so it is believed by another name.
        let murphy = |args: &[&str], more: &[&str]| {
            let there = ["--socket", &url, "--ca", &ca, "--server-name", "localhost"];
            pod.someone(outside, &[args, &there, more].concat())
        };
        let done = murphy(&["list"], &["--cert", &at("ci.pem")]);
        assert!(done.code == 0 && done.out.contains("proxy:web"), "{url}: {done:?}");
        let arm = ["arm", "proxy:db", "latency", "delay=1ms", "--for", "60s", "--dry-run"];
        assert_eq!(murphy(&arm, &["--cert", &at("ada.pem")]).code, 0, "{url}");
        let refused = murphy(&["list"], &[]);
        assert!(refused.code == 5 && refused.err.contains("asks for a certificate"), "{url}: {refused:?}");
    }
}

#[test]
fn an_idle_proxy_wakes_for_its_heart_alone() {
    let Some(mut pod) = Pod::start() else { return };
    assert_eq!(pod.init(&WAYS).code, 0);
    pod.proxy();
    assert!(eventually(PATIENCE, || redirected(&pod)));
    let pid = pod.proxy_pid();
    const SECONDS: u64 = 5;
    let mut last = f64::INFINITY;
    for _ in 0..5 {
        let begin = switches(pid);
        std::thread::sleep(Duration::from_secs(SECONDS));
        last = last.min((switches(pid) - begin) as f64 / SECONDS as f64);
        if last <= 2.2 {
            break;
        }
    }
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let memory = status.lines().find(|l| l.starts_with("VmRSS")).unwrap_or_default();
    eprintln!("idle: {last:.2} wakeups/s as user {USER}, {memory}");
    // Twice a second is what its heart needs; on a busy machine a thread also waits for others now and then.
    assert!(last <= 3.0, "{last} wakeups a second");
    let caps = status.lines().filter(|l| l.starts_with("CapEff") || l.starts_with("CapPrm"));
    assert!(
        caps.clone().count() == 2 && caps.into_iter().all(|l| l.ends_with("0000000000000000")),
        "{status}"
    );
}

/// How often all threads of a process have gone to sleep so far.
fn switches(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok())
        .filter_map(|s| {
            s.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"))?.trim().parse::<u64>().ok()
        })
        .sum()
}
