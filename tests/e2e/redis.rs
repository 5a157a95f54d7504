//! Layer 4 in front of a real Redis, measured from the client's side.

use crate::ground::{Agent, Redis, RedisClient, free_port, median_ms};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

fn ground() -> Option<(Redis, Agent, u16)> {
    let redis = Redis::start()?;
    let port = free_port();
    let agent = Agent::start(&[format!("cache=127.0.0.1:{port},127.0.0.1:{}", redis.port)]);
    Some((redis, agent, port))
}

#[test]
fn latency_is_what_was_asked_on_a_connection_that_was_open() {
    let Some((_redis, agent, port)) = ground() else { return };
    let mut client = RedisClient::connect(port).unwrap();
    assert_eq!(client.ask("PING").unwrap(), "+PONG");
    // Both medians are taken again when the machine was too busy for them; the bound stays.
    let mut tries = Vec::new();
    for _ in 0..5 {
        let before = median_ms(41, || assert_eq!(client.ask("PING").unwrap(), "+PONG"));
        let id = agent.arm("proxy:cache latency delay=20ms direction=down");
        let during = median_ms(41, || assert_eq!(client.ask("PING").unwrap(), "+PONG"));
        let (applied, _) = agent.disarm(&id);
        assert!(applied >= 1, "the connection that was open was hit");
        tries.push(during - before - 20.0);
        if tries.last().is_some_and(|off| off.abs() < 1.0) {
            return;
        }
    }
    panic!("off by {tries:?} ms");
}

#[test]
fn both_directions_add_up() {
    let Some((_redis, agent, port)) = ground() else { return };
    let mut client = RedisClient::connect(port).unwrap();
    agent.arm("proxy:cache latency delay=30ms");
    // A busy machine makes it longer; never shorter.
    let rtts: Vec<f64> =
        (0..5).map(|_| median_ms(11, || assert_eq!(client.ask("PING").unwrap(), "+PONG"))).collect();
    assert!(rtts.iter().all(|rtt| *rtt >= 60.0) && rtts.iter().any(|rtt| *rtt < 75.0), "{rtts:?}");
}

#[test]
fn a_reset_is_seen_by_connections_that_were_open_before() {
    let Some((_redis, agent, port)) = ground() else { return };
    let mut clients: Vec<RedisClient> = (0..8).map(|_| RedisClient::connect(port).unwrap()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("PING").unwrap(), "+PONG");
    }
    let id = agent.arm("proxy:cache cut how=rst");
    for client in &mut clients {
        // Nothing was sent: what is read is the reset itself.
        assert_eq!(client.read().unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    let (applied, _) = agent.disarm(&id);
    assert_eq!(applied, 8);
    assert_eq!(
        RedisClient::connect(port).unwrap().ask("PING").unwrap(),
        "+PONG",
        "new connections are whole again"
    );
}

#[test]
fn a_fin_is_an_orderly_end() {
    let Some((_redis, agent, port)) = ground() else { return };
    let mut client = RedisClient::connect(port).unwrap();
    assert_eq!(client.ask("PING").unwrap(), "+PONG");
    agent.arm("proxy:cache cut how=fin");
    assert_eq!(client.read().unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn a_blackhole_swallows_and_the_connection_lives_on() {
    let Some((_redis, agent, port)) = ground() else { return };
    let mut client = RedisClient::connect(port).unwrap();
    assert_eq!(client.ask("PING").unwrap(), "+PONG");
    let id = agent.arm("proxy:cache blackhole");
    client.patience(Duration::from_millis(300));
    let silence = client.ask("ECHO swallowed").unwrap_err().kind();
    assert!(matches!(silence, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{silence:?}");
    agent.disarm(&id);
    client.patience(Duration::from_secs(20));
    assert_eq!(client.ask("PING").unwrap(), "+PONG");
}

#[test]
fn bandwidth_is_metered() {
    let Some((_redis, agent, port)) = ground() else { return };
    let mut client = RedisClient::connect(port).unwrap();
    let value = "x".repeat(500_000);
    assert_eq!(client.ask(&format!("SET big {value}")).unwrap(), "+OK");
    agent.arm("proxy:cache bandwidth rate=1MB/s direction=down");
    let begin = Instant::now();
    assert!(client.ask("GET big").unwrap().starts_with('$'));
    assert_eq!(client.read().unwrap().len(), 500_000);
    let took = begin.elapsed().as_secs_f64();
    // Half a second at the asked rate; a busy machine may add to it, a burst may take a little off.
    assert!((0.42..1.0).contains(&took), "{took}");
}
