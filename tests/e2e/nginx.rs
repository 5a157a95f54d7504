//! Layer 7 in front of a real nginx.

use crate::ground::{Agent, Nginx, binomial_ok, free_port, get, get_on, median_ms};
use std::net::TcpStream;

fn ground() -> Option<(Nginx, Agent, u16)> {
    let nginx = Nginx::start()?;
    let port = free_port();
    let agent = Agent::start(&[format!("web=127.0.0.1:{port},127.0.0.1:{},http", nginx.port)]);
    Some((nginx, agent, port))
}

#[test]
fn a_share_of_503s_on_a_connection_that_was_open() {
    let Some((_nginx, agent, port)) = ground() else { return };
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(get_on(&mut stream, "/").unwrap().body, "hello\n");
    let id = agent.arm("proxy:web abort status=503 body=busy headers=retry-after:1 percent=30%");
    let n = 600;
    let answers: Vec<_> = (0..n).map(|_| get_on(&mut stream, "/").unwrap()).collect();
    let hit = answers.iter().filter(|a| a.status == 503).count();
    assert!(binomial_ok(hit, n, 0.3), "{hit} of {n}");
    let one = answers.iter().find(|a| a.status == 503).unwrap();
    assert_eq!(one.body, "busy");
    assert!(one.head.to_lowercase().contains("retry-after: 1"), "{}", one.head);
    assert!(one.head.to_lowercase().contains("x-murphy-fault"), "{}", one.head);
    let (applied, considered) = agent.disarm(&id);
    assert_eq!((applied, considered), (hit as u64, n as u64), "the evidence is what the client saw");
}

#[test]
fn one_seed_hits_the_same_ordinals() {
    let Some((_nginx, agent, port)) = ground() else { return };
    let pattern = || {
        let id = agent.arm("proxy:web abort percent=40% seed=99");
        let hits: Vec<bool> = (0..100).map(|_| get(port, "/").unwrap().status == 503).collect();
        agent.disarm(&id);
        hits
    };
    assert_eq!(pattern(), pattern());
}

#[test]
fn matchers_choose_requests() {
    let Some((_nginx, agent, port)) = ground() else { return };
    let status = |path: &str| get(port, path).unwrap().status;
    let id = agent.arm("proxy:web abort status=500 when.path=/pay*");
    assert_eq!((status("/"), status("/pay"), status("/pay/7")), (200, 500, 500));
    agent.disarm(&id);
    let id = agent.arm("proxy:web abort status=500 when.method=POST");
    assert_eq!(status("/"), 200);
    agent.disarm(&id);
    let id = agent.arm("proxy:web abort status=500 nth=3");
    assert_eq!((0..6).map(|_| status("/")).collect::<Vec<_>>(), [200, 200, 500, 200, 200, 500]);
    agent.disarm(&id);
    let id = agent.arm("proxy:web abort status=500 first=2");
    assert_eq!((0..4).map(|_| status("/")).collect::<Vec<_>>(), [500, 500, 200, 200]);
    agent.disarm(&id);
}

#[test]
fn requests_and_responses_are_delayed() {
    let Some((_nginx, agent, port)) = ground() else { return };
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    for point in ["request", "response"] {
        let mut tries = Vec::new();
        let near = (0..5).any(|_| {
            let before = median_ms(21, || assert_eq!(get_on(&mut stream, "/").unwrap().status, 200));
            let id = agent.arm(&format!("proxy:web delay delay=25ms point={point}"));
            let during = median_ms(21, || assert_eq!(get_on(&mut stream, "/").unwrap().status, 200));
            agent.disarm(&id);
            tries.push(during - before - 25.0);
            tries.last().is_some_and(|off| off.abs() < 1.0)
        });
        assert!(near, "{point}: off by {tries:?} ms");
    }
}

#[test]
fn a_service_that_is_gone_is_a_502_that_says_so() {
    let Some((nginx, agent, port)) = ground() else { return };
    assert_eq!(get(port, "/").unwrap().status, 200);
    drop(nginx);
    let answer = get(port, "/").unwrap();
    assert_eq!(answer.status, 502);
    assert!(answer.head.to_lowercase().contains("x-murphy-error"), "{}", answer.head);
    drop(agent);
}
