//! Redis with an append-only file that is synced at every write.

use super::table::Program;
use crate::ground::{Daemon, RedisClient, Served, eventually, free_port, need, program, text_of};
use std::process::Command;
use std::time::Duration;

/// A server that keeps its file in a served directory.
pub(super) struct Aof {
    served: Served,
    port: u16,
    server: Option<Daemon>,
}

impl Aof {
    pub(super) fn new() -> Option<Aof> {
        if !need("redis-server (apt-get install redis-server)", program("redis-server", &[]).is_some()) {
            return None;
        }
        let mut aof = Aof { served: Served::tracked(|_| {})?, port: free_port(), server: None };
        aof.start();
        Some(aof)
    }

    fn start(&mut self) {
        let mut command = Command::new(program("redis-server", &[]).unwrap());
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", ""]);
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--dir", "."]);
        command.current_dir(self.served.dir());
        let mut server = Daemon::start(command, &self.served.beside("redis.log"));
        let up = eventually(Duration::from_secs(60), || {
            assert!(server.ended().is_none(), "{}", self.said());
            RedisClient::connect(self.port).and_then(|mut c| c.ask("PING")).is_ok_and(|a| a == "+PONG")
        });
        assert!(up, "{}", self.said());
        self.server = Some(server);
    }

    fn ask(&self, words: &str) -> Result<String, String> {
        match RedisClient::connect(self.port).and_then(|mut c| c.ask(words)) {
            Ok(answer) if answer.starts_with('-') => Err(answer),
            Ok(answer) => Ok(answer),
            Err(e) => Err(format!("connection: {e}")),
        }
    }
}

impl Program for Aof {
    fn name(&self) -> &'static str {
        "Redis, AOF always"
    }
    fn served(&self) -> &Served {
        &self.served
    }
    fn prepare(&mut self) {
        self.ask("FLUSHALL").unwrap();
    }
    fn write(&mut self, n: u64) -> Result<(), String> {
        self.ask(&format!("SET key{n} {}", "x".repeat(1000))).map(drop)
    }
    fn count(&mut self) -> Result<u64, String> {
        self.ask("DBSIZE").map(|n| n.trim_start_matches(':').parse().unwrap_or(0))
    }
    fn said(&self) -> String {
        text_of(&self.served.beside("redis.log"))
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

#[test]
fn what_redis_has_acknowledged_is_there_after_a_power_cut() {
    let Some(mut aof) = Aof::new() else { return };
    for lie in [false, true] {
        aof.prepare();
        let id = lie.then(|| aof.served.arm("lost_fsync"));
        (0..40).for_each(|n| aof.write(n).unwrap());
        let server = &mut aof.server;
        aof.served.power_cut("lose=all", || *server = None);
        if let Some(id) = &id {
            aof.served.agent.disarm(id);
        }
        aof.start();
        let there = aof.count();
        println!("redis, lying {lie}: 40 acknowledged, {there:?} there");
        assert!(there.as_ref().is_ok_and(|n| (*n == 40) != lie), "lying {lie}: {there:?}");
    }
}
