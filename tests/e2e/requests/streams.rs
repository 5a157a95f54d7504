//! Many streams on one connection of HTTP/2, counted by h2load.

use crate::ground::{Agent, Nginx, TempDir, free_port, need, program, run};
use std::process::Command;

const STREAMS: usize = 1000;
const DELAY: f64 = 4.0;

/// One line of h2load's log: the status, and the seconds until the response had ended.
fn answers(log: &str) -> Vec<(u16, f64)> {
    let line = |l: &str| {
        let mut words = l.split('\t').skip(1);
        Some((words.next()?.parse().ok()?, words.next()?.trim().parse::<f64>().ok()? / 1e6))
    };
    log.lines().filter_map(line).collect()
}

#[test]
fn a_tenth_of_a_thousand_streams_is_late_and_no_other() {
    let h2load = program("h2load", &[]);
    if !need("h2load (apt-get install nghttp2-client)", h2load.is_some()) {
        return;
    }
    let Some(nginx) = Nginx::start() else { return };
    let (port, dir) = (free_port(), TempDir::new());
    let agent = Agent::start(&[format!("web=127.0.0.1:{port},127.0.0.1:{},http", nginx.port)]);
    let load = |file: &str| {
        let log = dir.path().join(file);
        let mut command = Command::new(h2load.as_ref().unwrap());
        let streams = STREAMS.to_string();
        command.args(["-n", &streams, "-c", "1", "-m", &streams, "--log-file"]).arg(&log);
        let done = run(command.arg(format!("http://127.0.0.1:{port}/")));
        assert_eq!(done.code, 0, "{done:?}");
        let all = answers(&std::fs::read_to_string(log).unwrap());
        assert_eq!(all.len(), STREAMS, "{done:?}");
        assert!(all.iter().all(|(status, _)| *status == 200), "{done:?}");
        all
    };
    assert!(load("before").iter().all(|(_, seconds)| *seconds < DELAY / 2.0));
    let id = agent.arm(&format!("proxy:web delay delay={DELAY}s percent=10%"));
    let all = load("with");
    let (applied, considered) = agent.disarm(&id);
    let late = all.iter().filter(|(_, seconds)| *seconds >= DELAY).count();
    assert_eq!((late as u64, considered), (applied, STREAMS as u64));
    assert!(crate::ground::binomial_ok(late, STREAMS, 0.1), "{late}");
    // Those that are not late are not a little late either: they are back long before the first of the late ones.
    let slowest = all.iter().map(|(_, s)| *s).filter(|s| *s < DELAY).fold(0.0, f64::max);
    assert!(slowest < DELAY / 2.0, "{slowest}");
}
