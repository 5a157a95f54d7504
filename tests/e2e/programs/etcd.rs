//! etcd, one member.

use super::table::Program;
use crate::ground::{Daemon, Finished, Served, eventually, free_port, need, program, text_of};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A member whose data directory is served.
pub(super) struct Etcd {
    served: Served,
    client: u16,
    peer: u16,
    server: Option<Daemon>,
}

impl Etcd {
    pub(super) fn new() -> Option<Etcd> {
        let there = program("etcd", &[]).is_some() && program("etcdctl", &[]).is_some();
        if !need("etcd (apt-get install etcd-server etcd-client)", there) {
            return None;
        }
        let served = Served::tracked(|_| {})?;
        let mut etcd = Etcd { served, client: free_port(), peer: free_port(), server: None };
        etcd.start();
        Some(etcd)
    }

    fn start(&mut self) {
        let (client, peer) =
            (format!("http://127.0.0.1:{}", self.client), format!("http://127.0.0.1:{}", self.peer));
        let mut command = Command::new(program("etcd", &[]).unwrap());
        command.args(["--name", "m", "--data-dir", "data", "--logger", "zap", "--log-level", "warn"]);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("m={peer}")]).current_dir(self.served.dir());
        let mut server = Daemon::start(command, &self.served.beside("etcd.log"));
        let up = eventually(Duration::from_secs(60), || {
            assert!(server.ended().is_none(), "{}", self.said());
            self.ctl(&["endpoint", "health"]).code == 0
        });
        assert!(up, "{}", self.said());
        self.server = Some(server);
    }

    fn ctl(&self, args: &[&str]) -> Finished {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").stdin(Stdio::null());
        command
            .args(["--endpoints", &format!("127.0.0.1:{}", self.client), "--command-timeout", "4s"])
            .args(args);
        command.output().unwrap().into()
    }
}

impl Program for Etcd {
    fn name(&self) -> &'static str {
        "etcd"
    }
    fn served(&self) -> &Served {
        &self.served
    }
    fn prepare(&mut self) {
        let gone = self.ctl(&["del", "--prefix", "key"]);
        assert_eq!(gone.code, 0, "{gone:?}");
    }
    fn write(&mut self, n: u64) -> Result<(), String> {
        let done = self.ctl(&["put", &format!("key{n}"), &"x".repeat(1000)]);
        if done.code == 0 { Ok(()) } else { Err(done.err) }
    }
    fn count(&mut self) -> Result<u64, String> {
        let done = self.ctl(&["get", "--prefix", "key", "--keys-only"]);
        if done.code == 0 { Ok(done.out.matches("key").count() as u64) } else { Err(done.err) }
    }
    fn said(&self) -> String {
        text_of(&self.served.beside("etcd.log"))
    }
    fn alive(&mut self) -> bool {
        self.server.as_mut().is_some_and(|s| s.ended().is_none())
    }
    fn kill(&mut self) {
        self.server = None;
    }
    fn restart(&mut self) {
        self.server = None;
        self.start();
    }
}
