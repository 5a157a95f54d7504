//! Layer 7 as clients see it that others wrote: curl with HTTP/1.1 and HTTP/2, grpcio, websockets. A service that says what
//! it was asked stands behind the proxy.

mod conformance;
mod faults;
mod grpc;
mod matchers;
mod streams;
mod watching;
mod websocket;

use crate::ground::{Agent, Peer, free_port, need, program, run};
use std::process::Command;

/// The service, and an agent with a proxy named web in front of it.
struct Ground {
    agent: Agent,
    port: u16,
    curl: std::path::PathBuf,
    _echo: Peer,
}

/// Both versions of HTTP, as curl's flags.
const VERSIONS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];

/// What curl came to.
#[derive(Debug)]
struct Curled {
    /// Its exit code; its manual says what each means.
    exit: i32,
    status: u16,
    head: String,
    body: Vec<u8>,
    seconds: f64,
    /// What it said, for whoever reads a failure.
    #[allow(dead_code)]
    err: String,
}

impl Ground {
    fn new() -> Option<Ground> {
        let curl = program("curl", &[]);
        if !need("curl", curl.is_some()) {
            return None;
        }
        let echo = Peer::start("http", "echo.py", &[])?;
        let port = free_port();
        let agent = Agent::start(&[format!("web=127.0.0.1:{port},127.0.0.1:{},http", echo.port)]);
        Some(Ground { agent, port, curl: curl?, _echo: echo })
    }

    /// Arms a fault, does something, disarms; gives how often it applied.
    fn with<T>(&self, fault: &str, does: impl FnOnce() -> T) -> (T, u64) {
        let id = self.agent.arm(&format!("proxy:web {fault}"));
        let done = does();
        (done, self.agent.disarm(&id).0)
    }

    fn get(&self, version: &str, path: &str) -> Curled {
        self.curl(version, path, &[])
    }

    fn curl(&self, version: &str, path: &str, args: &[&str]) -> Curled {
        let dir = crate::ground::TempDir::new();
        let (head, body) = (dir.path().join("head"), dir.path().join("body"));
        let begun = std::time::Instant::now();
        let mut command = Command::new(&self.curl);
        command.args([version, "-sS", "--max-time", "20", "-D"]).arg(&head).arg("-o").arg(&body).args(args);
        let done = run(command.arg(format!("http://127.0.0.1:{}{path}", self.port)));
        let seconds = begun.elapsed().as_secs_f64();
        let head = String::from_utf8_lossy(&std::fs::read(head).unwrap_or_default()).into_owned();
        let status = head.split_whitespace().nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Curled {
            exit: done.code,
            status,
            head,
            body: std::fs::read(body).unwrap_or_default(),
            seconds,
            err: done.err,
        }
    }
}

impl Curled {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value, by its lower-case name.
    fn header(&self, name: &str) -> Option<String> {
        let lines = self.head.lines().filter_map(|l| l.split_once(':'));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim().to_owned()).next_back()
    }
}
