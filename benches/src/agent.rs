//! A murphy agent with proxies in front of services, driven by its command line.

use crate::contestant::{free_port, murphy_binary};
use std::io;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running agent. It ends when this is dropped.
#[derive(Debug)]
pub struct Agent {
    dir: tempfile::TempDir,
    ports: Vec<(String, u16)>,
    child: Child,
}

impl Agent {
    /// Starts one with a proxy in front of each service.
    pub fn start(services: &[(&str, u16)]) -> io::Result<Agent> {
        let dir = tempfile::Builder::new().prefix("bench").tempdir()?;
        let mut command = Command::new(murphy_binary()?);
        command
            .env("MURPHY_STATE_DIR", dir.path().join("state"))
            .arg("agent")
            .arg("--socket")
            .arg(dir.path().join("s"));
        let mut ports = Vec::new();
        for (name, upstream) in services {
            let port = free_port()?;
            command.arg("--proxy").arg(format!("{name}=127.0.0.1:{port},127.0.0.1:{upstream}"));
            ports.push(((*name).to_owned(), port));
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let end = Instant::now() + Duration::from_secs(20);
        let socket = dir.path().join("s");
        while !socket.exists()
            || ports.iter().any(|(_, port)| TcpStream::connect(("127.0.0.1", *port)).is_err())
        {
            if Instant::now() > end {
                return Err(io::Error::other("the agent does not listen"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Agent { dir, ports, child })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where a proxy listens; 0 when there is none of that name.
    pub fn port(&self, name: &str) -> u16 {
        self.ports.iter().find(|(n, _)| n == name).map_or(0, |(_, port)| *port)
    }

    /// Arms a fault on a proxy for ten minutes; gives its id.
    pub fn arm(&self, proxy: &str, words: &[&str]) -> io::Result<String> {
        self.arm_on(&format!("proxy:{proxy}"), words)
    }

    /// The same on any target that needs no opening: `node:self`.
    pub fn arm_on(&self, target: &str, words: &[&str]) -> io::Result<String> {
        let out = self.murphy(&[&["arm", target], words, &["--for", "10m", "--json"]].concat())?;
        let id = out.split("\"id\": \"").nth(1).and_then(|s| s.split('"').next());
        id.map(str::to_owned).ok_or_else(|| io::Error::other(out.clone()))
    }

    /// Takes a fault back.
    pub fn disarm(&self, id: &str) -> io::Result<()> {
        self.murphy(&["disarm", id]).map(drop)
    }

    /// A number of the evidence of the only fault that is on.
    pub fn number(&self, name: &str) -> io::Result<f64> {
        let out = self.murphy(&["list", "--json"])?;
        let rest = out.split(&format!("\"{name}\":")).nth(1).unwrap_or_default().trim_start();
        let end = rest.find([',', '}', '\n']).unwrap_or(rest.len());
        rest[..end].trim().parse().map_err(|_| io::Error::other(format!("no {name} in {out}")))
    }

    fn murphy(&self, args: &[&str]) -> io::Result<String> {
        let done = Command::new(murphy_binary()?)
            .args(args)
            .env("MURPHY_SOCKET", self.dir.path().join("s"))
            .output()?;
        if !done.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&done.stderr).into_owned()));
        }
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
