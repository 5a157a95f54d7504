//! SQLite: after a power cut, with torn writes and writes out of order, the database is whole and has what it committed.

use super::table::Program;
use crate::ground::{Daemon, Served, eventually, need, program, text_of};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A database with a mode of journal.
pub(super) struct Database {
    served: Served,
    mode: &'static str,
}

impl Database {
    fn new(mode: &'static str) -> Option<Database> {
        if !need("sqlite3 (apt-get install sqlite3)", program("sqlite3", &[]).is_some()) {
            return None;
        }
        Some(Database { served: Served::tracked(|_| {})?, mode })
    }

    fn prepare(&self) {
        for end in ["", "-journal", "-wal", "-shm"] {
            let _ = std::fs::remove_file(self.served.dir().join(format!("db{end}")));
        }
        let made = self.sql("CREATE TABLE t (n INTEGER PRIMARY KEY, x BLOB);");
        made.unwrap();
        // SQLite does not sync the directory of a new database before its first commit is reported.
        assert!(Command::new("sync").arg(self.served.dir().join("db")).status().unwrap().success());
    }

    /// Runs statements; gives what they print.
    fn sql(&self, sql: &str) -> Result<String, String> {
        let mut command = Command::new("sqlite3");
        command.args(["-batch", "-bail", "-cmd", ".output /dev/null"]);
        command.args([
            "-cmd",
            &format!("PRAGMA journal_mode={};", self.mode),
            "-cmd",
            "PRAGMA synchronous=FULL;",
        ]);
        command.args(["-cmd", ".output", "-cmd", ".timeout 5000"]);
        let done = command.arg(self.served.dir().join("db")).arg(sql).stdin(Stdio::null()).output().unwrap();
        match done.status.success() {
            true => Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&done.stderr).trim().to_owned()),
        }
    }

    /// A process that commits one row after another, and says which are committed.
    fn writer(&self, acknowledged: &Path) -> Daemon {
        // Some rows are changed, so that pages in the middle of the file are, too.
        let statements = "BEGIN; INSERT INTO t (x) VALUES (randomblob(3000)); \
             UPDATE t SET x = randomblob(2500) WHERE n % 7 = abs(random()) % 7; COMMIT; SELECT max(n) FROM t;";
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!(
            "(echo '.output /dev/null'; echo 'PRAGMA journal_mode={}; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=20; PRAGMA cache_size=20;'; \
             echo .output; while echo '{statements}'; do sleep 0.002; done) | stdbuf -oL sqlite3 -batch -bail db > {}",
            self.mode,
            acknowledged.display()
        ));
        command.current_dir(self.served.dir());
        Daemon::start(command, &self.served.beside("sqlite.log"))
    }

    /// Commits under a power cut; gives how many rows were acknowledged and what is there, or why it cannot be read.
    fn cut(&self, least: u64, how: &str) -> (u64, Result<u64, String>) {
        let acknowledged = self.served.beside("acknowledged");
        let _ = std::fs::remove_file(&acknowledged);
        let mut writer = self.writer(&acknowledged);
        let last = || text_of(&acknowledged).lines().rev().find_map(|l| l.parse().ok()).unwrap_or(0_u64);
        let came = eventually(Duration::from_secs(60), || {
            assert!(writer.ended().is_none(), "{}", text_of(&self.served.beside("sqlite.log")));
            last() >= least
        });
        assert!(came, "too slow: {} of {least}", last());
        self.served.power_cut(how, || writer.kill());
        let whole = self.sql("PRAGMA integrity_check;");
        let there = match whole.as_deref() {
            Ok("ok") => self.sql("SELECT count(*) FROM t;").map(|n| n.parse().unwrap()),
            Ok(found) => Err(found.to_owned()),
            Err(e) => Err(e.to_owned()),
        };
        (last(), there)
    }
}

#[test]
fn torn_and_reordered_writes_do_no_harm_when_fsync_is_honest() {
    for mode in ["DELETE", "WAL"] {
        let Some(database) = Database::new(mode) else { return };
        for how in ["lose=all", "lose=some seed=5", "lose=torn seed=6"] {
            database.prepare();
            let (told, there) = database.cut(25, how);
            println!("{mode} {how}: {told} acknowledged, {there:?} there");
            assert!(
                there.as_ref().is_ok_and(|n| *n >= told),
                "{mode} {how}: {told} acknowledged, {there:?} there"
            );
        }
    }
}

#[test]
fn a_lying_disk_loses_commits() {
    for mode in ["DELETE", "WAL"] {
        let Some(database) = Database::new(mode) else { return };
        database.prepare();
        let id = database.served.arm("lost_fsync");
        let (told, there) = database.cut(25, "lose=all");
        let (applied, _) = database.served.agent.disarm(&id);
        println!("{mode} lost_fsync: {told} acknowledged, {there:?} there");
        // Lost, or so mixed up that SQLite finds it damaged; both are what such a disk does.
        assert!(
            applied > 0 && there.as_ref().map_or(true, |n| *n < told),
            "{mode}: {told} acknowledged, {there:?} there"
        );
    }
}

pub(super) struct Journal(Database);
pub(super) struct Wal(Database);

macro_rules! program {
    ($type:ident, $mode:literal, $name:literal) => {
        impl $type {
            pub(super) fn new() -> Option<$type> {
                Database::new($mode).map($type)
            }
        }

        impl Program for $type {
            fn name(&self) -> &'static str {
                $name
            }
            fn served(&self) -> &Served {
                &self.0.served
            }
            fn prepare(&mut self) {
                self.0.prepare();
            }
            fn write(&mut self, n: u64) -> Result<(), String> {
                self.0.sql(&format!("INSERT INTO t VALUES ({n}, randomblob(5000));")).map(drop)
            }
            fn count(&mut self) -> Result<u64, String> {
                let whole = self.0.sql("PRAGMA integrity_check;")?;
                let count = self.0.sql("SELECT count(*) FROM t;")?;
                if whole == "ok" { Ok(count.parse().unwrap()) } else { Err(whole) }
            }
            fn said(&self) -> String {
                String::new()
            }
            fn alive(&mut self) -> bool {
                true
            }
            fn kill(&mut self) {}
            fn restart(&mut self) {}
        }
    };
}

program!(Journal, "DELETE", "SQLite, rollback journal");
program!(Wal, "WAL", "SQLite, WAL");
