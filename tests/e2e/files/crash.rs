//! `kill -9` at random moments under load on a served directory: no dead mount point, no lost original, nobody stuck.
//!
//! `MURPHY_CRASH_ROUNDS` sets how many rounds; a few without it.

use crate::ground::{
    Daemon, TempDir, Unmounted, can_serve, eventually, is_served, murphy, murphy_in, need, open_to_all,
    program, state, text_of,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Long, for a loaded machine; nothing waits so long when all is well.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is in the original directory before anything is mounted over it.
const ORIGINAL: &str = "this was here before\n";

/// Faults that may be on in that moment; some rounds have none.
const FAULTS: &[&[&str]] = &[
    &[],
    &["latency", "delay=300ms"],
    &["hang", "ops=fsync"],
    &["hang", "ops=read,write,open,getattr"],
    &["throttle", "iops=50/s"],
];

/// A directory that is served, with a database and a fio at work in it.
struct Round {
    murphy: Daemon,
    fio: Option<Daemon>,
    database: Daemon,
    faults: &'static [&'static str],
    /// When the mount was seen to be gone.
    gone: Option<Instant>,
    _mount: Unmounted,
    home: TempDir,
}

impl Round {
    fn start(n: usize) -> Round {
        let home = TempDir::new();
        open_to_all(home.path());
        let dir = home.path().join("d");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("original"), ORIGINAL).unwrap();
        sqlite(&dir, "PRAGMA journal_mode=WAL; CREATE TABLE t (n INTEGER PRIMARY KEY, x BLOB);").unwrap();
        let mount = Unmounted(dir.clone());
        let mut command = murphy_in(home.path());
        command.arg("mount").arg(&dir).arg("--socket").arg(home.path().join("agent.sock"));
        if n % 2 == 1 {
            command.arg("--track-unsynced");
        }
        let mut murphy = Daemon::start(command, &home.path().join("murphy.log"));
        let up = eventually(PATIENCE, || {
            assert!(murphy.ended().is_none(), "{}", text_of(&home.path().join("murphy.log")));
            is_served(&dir) && home.path().join("agent.sock").exists()
        });
        assert!(up, "round {n}: never mounted");
        let fio = program("fio", &[]).map(|fio| Daemon::start(load(fio, &dir), &home.path().join("fio.log")));
        let database =
            Daemon::start(writer(&dir, &home.path().join("acknowledged")), &home.path().join("sqlite.log"));
        Round { murphy, fio, database, faults: FAULTS[n % FAULTS.len()], gone: None, _mount: mount, home }
    }

    fn dir(&self) -> PathBuf {
        self.home.path().join("d")
    }

    /// Puts the round's fault on, as someone would by hand.
    fn arm(&self) {
        if !self.faults.is_empty() {
            let target = format!("fs:{}", self.dir().display());
            let mut words = vec!["arm", "--for", "60s", &target];
            words.extend(self.faults);
            let done = murphy(self.home.path(), &words);
            assert_eq!(done.code, 0, "{done:?}");
        }
    }

    /// The highest number that the database has acknowledged.
    fn acknowledged(&self) -> u64 {
        let text = text_of(&self.home.path().join("acknowledged"));
        text.lines().rev().find_map(|line| line.parse().ok()).unwrap_or(0)
    }

    fn watchdogs(&self) -> Vec<i32> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            if line.contains("__watchdog") && line.contains(self.home.path().to_str().unwrap()) {
                found.push(pid);
            }
        }
        found
    }

    /// Everything that must be true when murphy was killed and someone has tidied up.
    fn check(&mut self, n: usize) {
        let gone = eventually(PATIENCE, || !is_served(&self.dir()));
        assert!(gone, "round {n}, {:?}: the mount is still there", self.faults);
        self.gone = Some(Instant::now());
        let original = fs::read_to_string(self.dir().join("original"));
        assert_eq!(original.unwrap(), ORIGINAL, "round {n}, {:?}", self.faults);
        // Whoever was in the middle of something can be ended; D is what a process that cannot is in.
        if let Some(fio) = &mut self.fio {
            fio.kill();
        }
        self.database.kill();
        for pid in self.fio.iter().map(Daemon::id).chain([self.database.id()]) {
            assert_ne!(state(pid), 'D', "round {n}, {:?}", self.faults);
        }
        // The application goes on in the original directory, and has everything that it was told is written.
        let whole = sqlite(&self.dir(), "PRAGMA integrity_check;");
        assert_eq!(whole.as_deref(), Ok("ok\n"), "round {n}, {:?}", self.faults);
        let rows =
            sqlite(&self.dir(), "SELECT ifnull(max(n), 0) FROM t; INSERT INTO t (x) VALUES ('on');").unwrap();
        let rows: u64 = rows.trim().parse().unwrap();
        assert!(rows >= self.acknowledged(), "round {n}: {rows} of {}", self.acknowledged());
        fs::write(self.dir().join("new"), "x").unwrap();
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        // Whatever a failed round has left, nobody may stay in the kernel for it.
        self.murphy.shoot();
        let _ = murphy_in(self.home.path()).arg("recover").output();
    }
}

/// Random reads and writes with syncs in several files.
fn load(fio: PathBuf, dir: &Path) -> Command {
    let mut command = Command::new(fio);
    command.args([
        "--name=load",
        "--thread",
        "--numjobs=2",
        "--rw=randrw",
        "--bs=4k",
        "--size=2m",
        "--fsync=16",
    ]);
    command.args(["--time_based", "--runtime=120", "--ioengine=psync", "--rate_iops=2000"]);
    command.arg(format!("--directory={}", dir.display())).current_dir("/");
    command
}

/// A database that writes one transaction after another, and says which are committed.
fn writer(dir: &Path, acknowledged: &Path) -> Command {
    let mut command = Command::new("sh");
    let statement = "INSERT INTO t (x) VALUES (randomblob(2000)); SELECT max(n) FROM t;";
    command.arg("-c").arg(format!(
        "while echo \"{statement}\"; do sleep 0.005; done | stdbuf -oL sqlite3 -batch -bail {}/db > {}",
        dir.display(),
        acknowledged.display()
    ));
    command.current_dir("/");
    command
}

/// Runs statements in the database of a directory.
fn sqlite(dir: &Path, sql: &str) -> Result<String, String> {
    let mut command = Command::new("sqlite3");
    command.args(["-batch", "-bail"]).arg(dir.join("db")).arg(sql).stdin(Stdio::null());
    let done = command.output().unwrap();
    match done.status.success() {
        true => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
    }
}

/// The moment of the kill: the same on every run of the test.
fn moment(n: usize) -> Duration {
    Duration::from_millis(model::draw::bits(12, model::draw::Lane::Other(1), n as u64) % 900)
}

fn rounds(default: usize) -> usize {
    std::env::var("MURPHY_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

fn ground() -> bool {
    can_serve()
        && need("fio (apt-get install fio)", program("fio", &[]).is_some())
        && need("sqlite3 (apt-get install sqlite3)", program("sqlite3", &[]).is_some())
}

#[test]
fn killed_under_load_the_directory_is_there_and_goes_on() {
    if !ground() {
        return;
    }
    let (mut written, mut times) = (0, Vec::new());
    for n in 0..rounds(5) {
        let mut round = Round::start(n);
        if n == 0 {
            // However busy the machine is, one round is under load for sure.
            assert!(eventually(PATIENCE, || round.acknowledged() > 0), "the database does not commit");
        }
        std::thread::sleep(moment(n) / 2);
        round.arm();
        std::thread::sleep(moment(n) / 2);
        let begin = Instant::now();
        round.murphy.kill();
        round.check(n);
        times.push((round.gone.unwrap_or(begin) - begin).as_secs_f64() * 1e3);
        written += round.acknowledged();
        assert!(eventually(PATIENCE, || round.watchdogs().is_empty()), "round {n}: the watchdog stays");
    }
    assert!(written > 0, "no round got as far as committing");
    times.sort_by(f64::total_cmp);
    println!(
        "{} rounds, {written} commits; mount gone after {:.0} ms (median), {:.0} ms (most)",
        times.len(),
        times[times.len() / 2],
        times[times.len() - 1]
    );
}

#[test]
fn killed_with_its_watchdog_recover_brings_the_directory_back() {
    if !ground() {
        return;
    }
    let mut dead = 0;
    for n in 0..rounds(5).div_ceil(2) {
        let mut round = Round::start(n);
        std::thread::sleep(moment(1000 + n) / 2);
        round.arm();
        std::thread::sleep(moment(1000 + n) / 2);
        for pid in round.watchdogs() {
            // It may be gone already.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        // It may wait for itself in the kernel; then only `recover` lets it end.
        round.murphy.shoot();
        dead += usize::from(is_served(&round.dir()));
        let done = murphy(round.home.path(), &["recover"]);
        assert_eq!(done.code, 0, "round {n}: {done:?}");
        round.murphy.kill();
        round.check(n);
        let again = murphy(round.home.path(), &["recover"]);
        assert!(again.out.contains("nothing was left behind"), "round {n}: {again:?}");
    }
    assert!(dead > 0, "no mount was left to recover from");
    println!("{dead} mounts were dead before recover");
}

/// Whatever has a mount namespace of its own made while a directory is served has a copy of the mount: a container, a
/// service with private mounts.
#[test]
fn a_copy_of_the_mount_elsewhere_is_replaced_by_the_directory() {
    if !ground() {
        return;
    }
    for n in 0..2 {
        let mut round = Round::start(n);
        let mut apart = Command::new("unshare");
        apart.args(["--mount", "--propagation", "private", "sleep", "1000"]).current_dir("/");
        let apart = Daemon::start(apart, &round.home.path().join("apart.log"));
        let seen =
            |what: &str| fs::read_to_string(format!("/proc/{}/{what}", apart.id())).unwrap_or_default();
        let dir = round.dir();
        let copied = || {
            let table = seen("mountinfo");
            table.lines().any(|l| l.split(' ').nth(4) == dir.to_str() && l.contains(" - fuse.murphy "))
        };
        assert!(eventually(PATIENCE, || seen("comm").trim() == "sleep") && copied());
        if n == 0 {
            round.murphy.kill();
        } else {
            let _ = kill(Pid::from_raw(round.murphy.id()), Signal::SIGTERM);
        }
        assert!(eventually(PATIENCE, || !copied()), "a dead mount is left in another namespace");
        let original = format!("/proc/{}/root{}/original", apart.id(), dir.display());
        assert_eq!(fs::read_to_string(original).unwrap(), ORIGINAL);
    }
}
