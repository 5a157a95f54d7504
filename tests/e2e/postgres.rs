//! Layer 4 in front of a real PostgreSQL.

use crate::ground::{Agent, Postgres, PostgresClient, free_port, median_ms};
use std::io::ErrorKind;

#[test]
fn latency_and_resets_under_a_session() {
    let Some(postgres) = Postgres::start() else { return };
    let port = free_port();
    let agent = Agent::start(&[format!("db=127.0.0.1:{port},127.0.0.1:{}", postgres.port)]);
    let mut session = PostgresClient::connect(port).unwrap();
    assert_eq!(session.query("select 6 * 7").unwrap(), "42");

    let mut tries = Vec::new();
    let near = (0..5).any(|_| {
        let before = median_ms(31, || assert_eq!(session.query("select 1").unwrap(), "1"));
        let id = agent.arm("proxy:db latency delay=15ms direction=up");
        let during = median_ms(31, || assert_eq!(session.query("select 1").unwrap(), "1"));
        agent.disarm(&id);
        tries.push(during - before - 15.0);
        tries.last().is_some_and(|off| off.abs() < 1.0)
    });
    assert!(near, "off by {tries:?} ms");

    // A large answer arrives whole through a slow line.
    agent.arm("proxy:db bandwidth rate=4MB/s direction=down");
    let text = session.query("select repeat('murphy', 200000)").unwrap();
    assert_eq!(text.len(), 1_200_000);

    agent.arm("proxy:db cut how=rst");
    let seen = session.query("select 1").unwrap_err().kind();
    assert!(matches!(seen, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{seen:?}");
}
