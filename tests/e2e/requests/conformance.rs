//! Conformance suites, run against a server and against the same behind an idle proxy.

use crate::ground::{Agent, Nginx, Peer, client, free_port, run};
use std::process::Command;

/// Runs a suite with both ports; it says itself which case is worse through the proxy.
fn conforms(mut suite: Command, server: u16, proxy: u16) {
    suite.args([server.to_string(), proxy.to_string()]);
    let done = run(&mut suite);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    print!("{}", done.out);
}

#[test]
fn websockets_conform_through_the_proxy_as_without_it() {
    let Some(server) = Peer::start("http", "ws_peer.py", &["serve"]) else { return };
    let port = free_port();
    let _agent = Agent::start(&[format!("web=127.0.0.1:{port},127.0.0.1:{},http", server.port)]);
    conforms(server.beside("conformance.py"), server.port, port);
}

#[test]
fn http2_conforms_through_the_proxy_as_without_it() {
    let Some(nginx) = Nginx::start() else { return };
    let Some(suite) = client("http", "h2_conformance.py") else { return };
    let port = free_port();
    let _agent = Agent::start(&[format!("web=127.0.0.1:{port},127.0.0.1:{},http", nginx.h2_port)]);
    conforms(suite, nginx.h2_port, port);
}

#[test]
fn http1_conforms_through_the_proxy_as_without_it() {
    let Some(echo) = Peer::start("http", "echo.py", &[]) else { return };
    let Some(nginx) = Nginx::start() else { return };
    let servers = [(echo.port, free_port()), (nginx.port, free_port())];
    let proxies =
        servers.map(|(server, proxy)| format!("p{proxy}=127.0.0.1:{proxy},127.0.0.1:{server},http"));
    let _agent = Agent::start(&proxies);
    for (server, proxy) in servers {
        conforms(echo.beside("h1_conformance.py"), server, proxy);
    }
}
