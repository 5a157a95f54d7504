//! TLS: every way of being wrong, as curl, OpenSSL, Python and Node.js see it; sessions that go on; both sides.

mod authority;
mod classes;
mod live;
mod sides;

use crate::ground::{Agent, NginxTls, free_port};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A service, and an agent with a proxy `web` in front of it: bytes, TLS of the clients ends there.
struct Ground {
    nginx: NginxTls,
    agent: Agent,
    port: u16,
    root: String,
}

impl Ground {
    fn start() -> Option<Ground> {
        Ground::with("tls", |nginx| nginx.plain)
    }

    fn with(words: &str, upstream: impl Fn(&NginxTls) -> u16) -> Option<Ground> {
        let nginx = NginxTls::start()?;
        let port = free_port();
        let words = words.replace("DIR/", &nginx.file(""));
        let agent = Agent::start(&[format!("web=127.0.0.1:{port},127.0.0.1:{},{words}", upstream(&nginx))]);
        let root = agent.murphy(&["ca", "path"]).out.trim().to_owned();
        Some(Ground { nginx, agent, port, root })
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/tls").join(name)
}

/// Runs a client of tests/clients/tls to its end; its lines.
fn lines(mut command: Command) -> Vec<String> {
    let done = command.stdin(Stdio::null()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{out}\n{err}");
    out.lines().map(str::to_owned).collect()
}

fn python(mode: &str, port: u16, root: &str, rest: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.arg(script("check.py")).args([mode, &port.to_string(), root]).args(rest);
    command
}

/// A session of a Python client that stays open.
struct Session {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Session {
    fn open(port: u16, root: &str, host: &str) -> Session {
        let mut child = python("hold", port, root, &[host])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (ask, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut session = Session { child, ask, answers };
        assert_eq!(session.line(), "open");
        session
    }

    fn ask(&mut self) -> String {
        self.ask.write_all(b"\n").unwrap();
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
