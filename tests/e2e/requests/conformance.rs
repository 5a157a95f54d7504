//! Conformance suites, run against a server and against the same behind an idle proxy.

use crate::ground::{Agent, Peer, free_port, run};

#[test]
fn websockets_conform_through_the_proxy_as_without_it() {
    let Some(server) = Peer::start("http", "ws_peer.py", &["serve"]) else { return };
    let port = free_port();
    let _agent = Agent::start(&[format!("web=127.0.0.1:{port},127.0.0.1:{},http", server.port)]);
    let mut suite = server.beside("conformance.py");
    suite.args([server.port.to_string(), port.to_string()]);
    let done = run(&mut suite);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    print!("{}", done.out);
}
