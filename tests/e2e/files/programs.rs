//! Databases on it: what they promise holds through a power cut, and lying fsyncs are found out.

use super::ground::Files;
use crate::ground::{eventually, need, program};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::time::Duration;

/// SQLite through power cuts that tear what was not synced: what was committed is there, and the file is whole.
#[test]
fn sqlite_survives_torn_power_cuts() {
    let Some(files) = Files::agent() else { return };
    if !need("sqlite3", program("sqlite3", &[]).is_some()) {
        return;
    }
    files.open(&serde_json::json!({"track_unsynced": "64MiB"}));
    for seed in 0..6 {
        let db = files.mount().join(format!("{seed}.db"));
        let mut child = files
            .inside("sqlite3")
            .arg("-bail")
            .arg(&db)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut ask, mut answers) =
            (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()).lines());
        let mut say = |text: &str, wanted: &str| {
            ask.write_all(text.as_bytes()).unwrap();
            loop {
                let line = answers.next().unwrap().unwrap();
                if line == wanted {
                    return;
                }
            }
        };
        let mode = if seed % 2 == 0 { "delete" } else { "wal" };
        say(
            &format!(
                "pragma journal_mode={mode}; pragma synchronous=full; create table t(x integer primary key, b blob); select 'made';\n"
            ),
            "made",
        );
        for k in 1..=10 {
            say(
                &format!("insert into t values({k}, randomblob(5000)); select 'row {k}';\n"),
                &format!("row {k}"),
            );
        }
        say(
            "begin; insert into t select x + 100, randomblob(9000) from t; select 'under way';\n",
            "under way",
        );
        let cut = files.arm(&format!("power_cut lose=torn --seed {seed}"));
        child.kill().unwrap();
        child.wait().unwrap();
        files.disarm(&cut);
        let line =
            format!("sqlite3 {} 'pragma integrity_check; select count(*), max(x) from t'", db.display());
        let found = files.sh(&line);
        assert_eq!(found.out, "ok\n10|10\n", "seed {seed}, {mode}: {found:?}");
    }
}

/// PostgreSQL's own words for starting and stopping.
struct Postgres<'a> {
    files: &'a Files,
    bin: String,
    server: Child,
}

impl<'a> Postgres<'a> {
    fn start(files: &'a Files, bin: &str) -> Postgres<'a> {
        let data = files.mount().join("pg");
        // Programs of a dead server would be in the way.
        let _ = std::fs::remove_file(files.path("pg/postmaster.pid"));
        let server = as_postgres(files, &format!("{bin}/postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=", "-c", "shared_buffers=16MB", "-c", "autovacuum=off", "-k"])
            .arg(files.dir.path().join("socket"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let postgres = Postgres { files, bin: bin.to_owned(), server };
        assert!(
            eventually(Duration::from_secs(60), || postgres.ask("select 1").is_some()),
            "it does not serve"
        );
        postgres
    }

    fn ask(&self, sql: &str) -> Option<String> {
        let socket = self.files.dir.path().join("socket");
        let mut command = as_postgres(self.files, &format!("{}/psql", self.bin));
        let out = command
            .arg("-h")
            .arg(socket)
            .args(["-U", "postgres", "-d", "postgres", "-Atc", sql])
            .output()
            .unwrap();
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    }

    /// As when the power goes: all of its processes at once.
    fn die(mut self) {
        let mut pids = vec![self.server.id()];
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let parent =
                stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<u32>().ok());
            if parent == Some(self.server.id()) {
                pids.push(pid);
            }
        }
        for pid in pids {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid.cast_signed()),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
        self.server.wait().unwrap();
        let sockets = std::fs::read_dir(self.files.dir.path().join("socket")).unwrap().flatten();
        sockets.for_each(|s| drop(std::fs::remove_file(s.path())));
    }
}

fn as_postgres(files: &Files, program: &str) -> std::process::Command {
    let mut command = files.inside("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--", program]);
    command
}

#[test]
fn postgres_keeps_what_it_committed_unless_fsync_lies() {
    let Some(files) = Files::agent() else { return };
    let homes = (13..=18).rev().map(|v| format!("/usr/lib/postgresql/{v}/bin"));
    let bin = homes.into_iter().find(|home| std::path::Path::new(home).join("initdb").exists());
    if !need("PostgreSQL (apt-get install postgresql)", bin.is_some()) {
        return;
    }
    let bin = bin.unwrap_or_default();
    std::fs::create_dir(files.dir.path().join("socket")).unwrap();
    let dirs = [files.dir.path().to_owned(), files.mount(), files.dir.path().join("socket")];
    let chown = std::process::Command::new("chown").arg("postgres").args(&dirs).status().unwrap();
    assert!(chown.success());
    files.open(&serde_json::json!({"track_unsynced": "256MiB"}));
    let data = files.mount().join("pg");
    let made = as_postgres(&files, &format!("{bin}/initdb"))
        .args(["-A", "trust", "-U", "postgres", "-D"])
        .arg(&data)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let postgres = Postgres::start(&files, &bin);
    postgres.ask("create table t(x int)").unwrap();
    let insert = |postgres: &Postgres<'_>, from: i32| {
        for k in from..from + 10 {
            postgres.ask(&format!("insert into t values({k})")).unwrap();
        }
    };
    insert(&postgres, 1);
    let cut = files.arm("power_cut");
    postgres.die();
    files.disarm(&cut);
    let postgres = Postgres::start(&files, &bin);
    assert_eq!(postgres.ask("select count(*), max(x) from t").unwrap(), "10|10", "what was committed");
    postgres.ask("checkpoint").unwrap();

    let lying = files.arm("lost_fsync");
    insert(&postgres, 11);
    let cut = files.arm("power_cut");
    postgres.die();
    files.disarm(&lying);
    files.disarm(&cut);
    let postgres = Postgres::start(&files, &bin);
    let found = postgres.ask("select count(*), max(x) from t");
    assert!(found.as_deref() != Some("20|20"), "fsync lied and nothing was lost");
    postgres.die();
}
