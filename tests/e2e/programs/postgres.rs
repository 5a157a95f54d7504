//! PostgreSQL: what it has committed is there after a power cut, unless the disk lied about fsync.

use super::table::Program;
use crate::ground::{Daemon, PostgresClient, Served, eventually, free_port, need, program, text_of};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A server whose data directory is served.
pub(super) struct Cluster {
    served: Served,
    port: u16,
    server: Option<Daemon>,
}

/// A program of PostgreSQL's, with the server's where distributions put it.
fn tool(name: &str) -> Option<PathBuf> {
    let homes: Vec<String> = (13..=18).rev().map(|v| format!("/usr/lib/postgresql/{v}/bin")).collect();
    program(name, &homes.iter().map(String::as_str).collect::<Vec<_>>())
}

/// It refuses to run as root; the package has made a user for it.
fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"])
        .arg(program)
        .current_dir("/");
    command
}

impl Cluster {
    pub(super) fn new() -> Option<Cluster> {
        let initdb = tool("initdb");
        if !need("PostgreSQL (apt-get install postgresql)", initdb.is_some() && tool("pgbench").is_some()) {
            return None;
        }
        let served = Served::tracked(|dir| {
            assert!(Command::new("chown").arg("postgres").arg(dir).status().unwrap().success());
            let mut made = as_postgres(&initdb.unwrap());
            made.args(["-A", "trust", "-U", "postgres", "--no-sync", "-D"]).arg(dir);
            let made = made.stdin(Stdio::null()).output().unwrap();
            assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        })?;
        let mut cluster = Cluster { served, port: free_port(), server: None };
        cluster.start();
        Some(cluster)
    }

    fn log(&self) -> PathBuf {
        self.served.beside("postgres.log")
    }

    /// Starts the server and waits until it serves.
    fn start(&mut self) {
        let mut command = as_postgres(&tool("postgres").unwrap());
        command.arg("-D").arg(self.served.dir()).args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        for setting in [
            "unix_socket_directories=",
            "shared_buffers=16MB",
            "max_connections=20",
            "checkpoint_timeout=1h",
            "wal_buffers=1MB",
        ] {
            command.args(["-c", setting]);
        }
        let mut server = Daemon::start(command, &self.log());
        let up = eventually(Duration::from_secs(60), || {
            assert!(server.ended().is_none(), "{}", text_of(&self.log()));
            self.client().is_ok()
        });
        assert!(up, "{}", text_of(&self.log()));
        self.server = Some(server);
    }

    fn client(&self) -> io::Result<PostgresClient> {
        PostgresClient::connect(self.port)
    }

    fn query(&self, sql: &str) -> String {
        self.client().unwrap().query(sql).unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    fn pgbench(&self, args: &[&str]) -> Command {
        let mut command = Command::new(tool("pgbench").unwrap());
        command
            .args(["-h", "127.0.0.1", "-U", "postgres", "-p", &self.port.to_string()])
            .args(args)
            .arg("postgres");
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    /// Commits rows one by one beside pgbench until the power fails, and starts the server again. Gives how many of the
    /// rows and of pgbench's transactions had been acknowledged.
    fn cut_under_load(&mut self, rows: u64, how: &str) -> (u64, u64) {
        let log = self.served.beside("pgbench.log");
        let _ = std::fs::remove_file(&log);
        let mut pgbench = Daemon::start(self.pgbench(&["-n", "-c", "3", "-T", "120"]), &log);
        let mut client = self.client().unwrap();
        let busy = eventually(Duration::from_secs(60), || {
            client.query("select count(*) from pgbench_history").unwrap().parse::<u64>().unwrap() > 5
        });
        assert!(busy, "{}", text_of(&log));
        for n in 1..=rows {
            client.query(&format!("insert into told values ({n})")).unwrap();
        }
        let server = &mut self.server;
        let lost = self.served.power_cut(how, || *server = None);
        assert!(lost > 0, "nothing was in flight under load");
        let ended = eventually(Duration::from_secs(60), || pgbench.ended().is_some());
        assert!(ended, "pgbench goes on without a server: {}", text_of(&log));
        let said = text_of(&log);
        let done = said.lines().find_map(|l| l.strip_prefix("number of transactions actually processed: "));
        let done = done.and_then(|n| n.split('/').next()).and_then(|n| n.trim().parse().ok());
        self.start();
        (rows, done.unwrap_or_else(|| panic!("{said}")))
    }

    /// What is there: rows of ours, and pgbench's transactions.
    fn there(&self) -> (u64, u64) {
        let count = |sql: &str| self.query(sql).parse().unwrap();
        (count("select count(*) from told"), count("select count(*) from pgbench_history"))
    }

    /// pgbench's books: each transaction adds the same to an account, a teller and a branch.
    fn balances(&self) -> bool {
        let sum = |of: &str, table: &str| self.query(&format!("select coalesce(sum({of}), 0) from {table}"));
        let accounts = sum("abalance", "pgbench_accounts");
        accounts == sum("tbalance", "pgbench_tellers") && accounts == sum("bbalance", "pgbench_branches")
    }
}

#[test]
fn a_power_cut_takes_nothing_committed_and_a_lying_disk_lets_it() {
    let Some(mut cluster) = Cluster::new() else { return };
    let made = cluster.pgbench(&["-i", "-q", "-s", "1"]).output().unwrap();
    assert!(made.status.success(), "pgbench: {}", String::from_utf8_lossy(&made.stderr));
    cluster.query("create table told (n int primary key)");
    cluster.query("checkpoint");
    for how in ["lose=all", "lose=torn seed=3"] {
        cluster.query("truncate told, pgbench_history");
        let told = cluster.cut_under_load(60, how);
        let there = cluster.there();
        assert!(
            there.0 == told.0 && there.1 >= told.1,
            "{how}: {told:?} were acknowledged, {there:?} are there"
        );
        println!("honest fsync, {how}: {told:?} acknowledged, {there:?} there");
        assert!(cluster.balances(), "{how}: pgbench's books do not balance");
    }
    cluster.query("truncate told, pgbench_history");
    cluster.query("checkpoint");
    let id = cluster.served.arm("lost_fsync");
    let told = cluster.cut_under_load(60, "lose=all");
    let there = cluster.there();
    let (applied, _) = cluster.served.agent.disarm(&id);
    println!("lost_fsync: {told:?} acknowledged, {there:?} there, {applied} syncs lost");
    assert!(applied > 0 && there.0 < told.0, "{told:?} were acknowledged, {there:?} are there");
    assert!(cluster.balances(), "what is left is of one moment");
}

impl Program for Cluster {
    fn name(&self) -> &'static str {
        "PostgreSQL"
    }

    fn served(&self) -> &Served {
        &self.served
    }

    fn prepare(&mut self) {
        self.query("create table if not exists w (n int, x text)");
        self.query("truncate w");
        self.query("checkpoint");
    }

    fn write(&mut self, n: u64) -> Result<(), String> {
        let said = self.client().and_then(|mut c| {
            c.query(&format!("insert into w select {n}, repeat('x', 20000)"))?;
            if n % 3 == 2 { c.query("checkpoint").map(drop) } else { Ok(()) }
        });
        said.map_err(|e| e.to_string().replace('\0', " "))
    }

    fn count(&mut self) -> Result<u64, String> {
        let said = self.client().and_then(|mut c| c.query("select count(distinct n) from w"));
        said.map_err(|e| e.to_string().replace('\0', " ")).map(|n| n.parse().unwrap_or(0))
    }

    fn said(&self) -> String {
        text_of(&self.log())
    }

    fn alive(&mut self) -> bool {
        self.server.as_mut().is_some_and(|s| s.ended().is_none())
    }

    fn kill(&mut self) {
        self.server = None;
    }

    fn restart(&mut self) {
        self.server = None;
        let dir = self.served.dir();
        eventually(Duration::from_secs(30), || crate::ground::processes_in(&dir).is_empty());
        self.start();
    }
}
