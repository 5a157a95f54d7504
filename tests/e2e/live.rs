//! Arming and disarming acts on what is open, at once, and no control path waits for a fault.

use crate::ground::{Agent, Nginx, Redis, RedisClient, free_port, get_on, median_ms};
use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

#[test]
fn arming_acts_on_open_connections_within_50_ms() {
    let Some(redis) = Redis::start() else { return };
    let port = free_port();
    let agent = Agent::start(&[format!("cache=127.0.0.1:{port},127.0.0.1:{}", redis.port)]);
    // The time from the call until an idle connection sees its reset, the call itself included.
    let times: Vec<f64> = (0..7)
        .map(|_| {
            let mut client = RedisClient::connect(port).unwrap();
            assert_eq!(client.ask("PING").unwrap(), "+PONG");
            let (tell, told) = mpsc::channel();
            let reader = std::thread::spawn(move || {
                let seen = client.read().unwrap_err().kind();
                tell.send((seen, Instant::now())).unwrap();
            });
            let begin = Instant::now();
            let id = agent.arm("proxy:cache cut how=rst");
            let (seen, at) = told.recv_timeout(Duration::from_secs(20)).unwrap();
            assert_eq!(seen, ErrorKind::ConnectionReset);
            reader.join().unwrap();
            agent.disarm(&id);
            (at - begin).as_secs_f64() * 1e3
        })
        .collect();
    let median = crate::ground::median(times.clone());
    assert!(median < 50.0, "{times:?}");
}

#[test]
fn disarming_ten_seconds_of_delay_answers_at_once_and_releases() {
    let (Some(redis), Some(nginx)) = (Redis::start(), Nginx::start()) else { return };
    let (cache, web) = (free_port(), free_port());
    let agent = Agent::start(&[
        format!("cache=127.0.0.1:{cache},127.0.0.1:{}", redis.port),
        format!("web=127.0.0.1:{web},127.0.0.1:{},http", nginx.port),
    ]);
    let check = |arm: &str, ask: Box<dyn FnOnce() + Send>| {
        let id = agent.arm(arm);
        let asking = std::thread::spawn(ask);
        // Until the fault has hold of it.
        let held = crate::ground::eventually(Duration::from_secs(9), || {
            agent.ask(async |c| c.faults().await).unwrap().iter().any(|f| f.evidence.applied > 0)
        });
        assert!(held, "{arm}: nothing was held");
        assert!(!asking.is_finished(), "{arm}: it was not held");
        std::thread::sleep(Duration::from_millis(100));
        let begin = Instant::now();
        agent.disarm(&id);
        let answered = begin.elapsed();
        asking.join().unwrap();
        let released = begin.elapsed();
        assert!(answered < Duration::from_secs(2), "{arm}: the disarm took {answered:?}");
        assert!(released < Duration::from_secs(3), "{arm}: held for {released:?} after it");
    };
    let mut client = RedisClient::connect(cache).unwrap();
    check(
        "proxy:cache latency delay=10s",
        Box::new(move || assert_eq!(client.ask("PING").unwrap(), "+PONG")),
    );
    for point in ["request", "response"] {
        let mut stream = TcpStream::connect(("127.0.0.1", web)).unwrap();
        check(
            &format!("proxy:web delay delay=10s point={point}"),
            Box::new(move || assert_eq!(get_on(&mut stream, "/").unwrap().status, 200)),
        );
    }
}

#[test]
fn a_change_acts_on_what_is_open() {
    let Some(redis) = Redis::start() else { return };
    let port = free_port();
    let agent = Agent::start(&[format!("cache=127.0.0.1:{port},127.0.0.1:{}", redis.port)]);
    let mut client = RedisClient::connect(port).unwrap();
    let id = agent.arm("proxy:cache latency delay=10ms direction=down");
    assert!(median_ms(5, || drop(client.ask("PING").unwrap())) >= 10.0);
    let change = serde_json::from_value(serde_json::json!({"inject": {"delay": "60ms"}})).unwrap();
    agent.ask(async |c| c.adjust(&id, &change).await).unwrap();
    assert!(median_ms(5, || drop(client.ask("PING").unwrap())) >= 60.0);
}

#[test]
fn a_halt_takes_everything_back_and_blocks_until_it_is_lifted() {
    let Some(redis) = Redis::start() else { return };
    let port = free_port();
    let agent = Agent::start(&[format!("cache=127.0.0.1:{port},127.0.0.1:{}", redis.port)]);
    let mut client = RedisClient::connect(port).unwrap();
    agent.arm("proxy:cache latency delay=300ms");
    let halted = agent.murphy(&["halt"]);
    assert_eq!(halted.code, 0, "{halted:?}");
    assert!(halted.out.contains("taken back: A"), "{halted:?}");
    assert!(median_ms(5, || drop(client.ask("PING").unwrap())) < 200.0);
    let refused = agent.murphy(&["arm", "proxy:cache", "latency", "delay=1s", "--for", "5s"]);
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains("halt --lift"), "{refused:?}");
    assert_eq!(agent.murphy(&["halt", "--lift"]).code, 0);
    assert_eq!(agent.murphy(&["arm", "proxy:cache", "latency", "delay=1s", "--for", "5s"]).code, 0);
}
