//! Programs that tell the time when they are asked, in the languages that services are written in.

use crate::ground::{Postgres, PostgresClient, Redis, RedisClient, TempDir, need, program};
use std::fs;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Something that tells the time, with the process whose clock it is.
pub trait Teller {
    /// What it is, for messages.
    fn name(&self) -> &str;
    /// Whose clock.
    fn pid(&self) -> u32;
    /// The wall clock as it sees it, in nanoseconds.
    fn now(&mut self) -> i64;
    /// The next answer comes from a process that it forks then, if it is of that kind.
    fn afresh(&mut self) {}
}

/// One answer: by how much the clock is ahead at least and at most, and when that was on ours.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    pub at: i64,
    low: i64,
    high: i64,
}

impl Reading {
    pub fn of(teller: &mut (impl Teller + ?Sized)) -> Reading {
        let before = now();
        let told = teller.now();
        let after = now();
        Reading { at: before + (after - before) / 2, low: told - after, high: told - before }
    }

    /// The one of several that is the most certain.
    pub fn best(teller: &mut (impl Teller + ?Sized), tries: usize) -> Reading {
        (0..tries).map(|_| Reading::of(teller)).min_by_key(|r| r.high - r.low).unwrap()
    }

    pub fn ms(&self) -> f64 {
        (self.low + self.high) as f64 / 2e6
    }
}

/// By how much a clock is ahead that does not drift, in milliseconds: what all readings agree on.
pub fn skew_ms(teller: &mut (impl Teller + ?Sized)) -> f64 {
    let all: Vec<Reading> = (0..15).map(|_| Reading::of(teller)).collect();
    let (low, high) = (all.iter().map(|r| r.low).max().unwrap(), all.iter().map(|r| r.high).min().unwrap());
    (low + high) as f64 / 2e6
}

pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

/// The bytes of a process's vDSO.
pub fn vdso(pid: u32) -> Vec<u8> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let line = maps.lines().find(|l| l.ends_with("[vdso]")).expect("a vDSO");
    let (from, to) = line.split_whitespace().next().unwrap().split_once('-').unwrap();
    let number = |text| u64::from_str_radix(text, 16).unwrap();
    let mut bytes = vec![0; (number(to) - number(from)) as usize];
    let mut memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    memory.seek(SeekFrom::Start(number(from))).unwrap();
    memory.read_exact(&mut bytes).unwrap();
    bytes
}

/// A program that answers a line with a line.
pub struct Program {
    name: String,
    child: Child,
    out: BufReader<ChildStdout>,
    _dir: Option<TempDir>,
}

impl Program {
    pub fn start(name: &str, mut command: Command, dir: Option<TempDir>) -> Program {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut program = Program { name: name.to_owned(), child, out, _dir: dir };
        // From now on it is the program that it will be: before, it is being loaded.
        program.ask("t");
        program
    }

    /// Sends a letter and gives the numbers that come back.
    pub fn ask(&mut self, letter: &str) -> Vec<i64> {
        writeln!(self.child.stdin.as_mut().unwrap(), "{letter}").unwrap();
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        let numbers: Vec<i64> = line.split_whitespace().map(|n| n.parse().unwrap()).collect();
        assert!(!numbers.is_empty(), "{} answers {letter} with {line:?}", self.name);
        numbers
    }

    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Teller for Program {
    fn name(&self) -> &str {
        &self.name
    }
    fn pid(&self) -> u32 {
        self.child.id()
    }
    fn now(&mut self) -> i64 {
        self.ask("t")[0]
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Redis and its `TIME`.
pub struct RedisTime {
    client: RedisClient,
    pid: u32,
    _server: Redis,
}

impl Teller for RedisTime {
    fn name(&self) -> &'static str {
        "Redis"
    }
    fn pid(&self) -> u32 {
        self.pid
    }
    fn now(&mut self) -> i64 {
        self.client.ask("TIME").unwrap();
        let mut values = [0; 2];
        for value in &mut values {
            self.client.read().unwrap();
            *value = self.client.read().unwrap().parse::<i64>().unwrap();
        }
        values[0] * 1_000_000_000 + values[1] * 1000
    }
}

/// PostgreSQL and its `clock_timestamp()`, in a process that the one with the changed clock forks afterwards.
pub struct PostgresTime {
    client: Option<PostgresClient>,
    pid: u32,
    server: Postgres,
}

impl Teller for PostgresTime {
    fn name(&self) -> &'static str {
        "PostgreSQL"
    }
    fn pid(&self) -> u32 {
        self.pid
    }
    fn now(&mut self) -> i64 {
        let port = self.server.port;
        let client = self.client.get_or_insert_with(|| PostgresClient::connect(port).unwrap());
        // Microseconds.
        let text = client.query("select (extract(epoch from clock_timestamp())*1000000)::bigint").unwrap();
        text.parse::<i64>().unwrap() * 1000
    }
    fn afresh(&mut self) {
        self.client = None;
    }
}

pub fn redis() -> Option<RedisTime> {
    let server = Redis::start()?;
    let mut client = RedisClient::connect(server.port).unwrap();
    client.ask("CLIENT SETNAME murphy").unwrap();
    let pid = listener(server.port);
    Some(RedisTime { client, pid, _server: server })
}

pub fn postgres() -> Option<PostgresTime> {
    let server = Postgres::start()?;
    let pid = listener(server.port);
    Some(PostgresTime { client: None, pid, server })
}

/// C with the system's library: `-O2`, or also `-static`.
pub fn c(static_too: bool) -> Option<Program> {
    let flags: &[&str] = if static_too { &["-static", "-pthread"] } else { &["-pthread"] };
    let cc = program("cc", &[]);
    if !need("a C compiler (apt-get install gcc libc6-dev)", cc.is_some()) {
        return None;
    }
    let name = if static_too { "C, glibc, static" } else { "C, glibc" };
    Some(compiled(name, cc?, flags, "teller.c"))
}

/// C with musl.
pub fn musl() -> Option<Program> {
    let cc = wish("musl (apt-get install musl-tools)", program("musl-gcc", &[]))?;
    Some(compiled("C, musl, static", cc, &["-static", "-pthread"], "teller.c"))
}

/// A program without a C library that makes system calls itself.
pub fn raw() -> Option<Program> {
    let cc = program("cc", &[]);
    if !need("a C compiler (apt-get install gcc)", cc.is_some()) {
        return None;
    }
    Some(compiled(
        "system calls",
        cc?,
        &["-static", "-nostdlib", "-nostartfiles", "-fno-stack-protector"],
        "raw.c",
    ))
}

fn compiled(name: &str, cc: PathBuf, flags: &[&str], source: &str) -> Program {
    let dir = TempDir::new();
    let file = dir.path().join("teller");
    let mut command = Command::new(cc);
    command.arg("-O2").arg("-o").arg(&file).arg(source_of(source)).args(flags);
    let made = command.output().unwrap();
    assert!(made.status.success(), "{name}: {}", String::from_utf8_lossy(&made.stderr));
    Program::start(name, Command::new(file), Some(dir))
}

pub fn python() -> Option<Program> {
    let python = program("python3", &[]);
    if !need("Python (apt-get install python3)", python.is_some()) {
        return None;
    }
    // Some are a script that starts another one; that one's clock is meant.
    let mut real = Command::new(python?);
    let out = real.args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
    let mut command = Command::new(String::from_utf8_lossy(&out.stdout).trim());
    command.arg(source_of("teller.py"));
    Some(Program::start("Python", command, None))
}

pub fn node() -> Option<Program> {
    let node = program("node", &[]);
    if !need("Node (apt-get install nodejs)", node.is_some()) {
        return None;
    }
    let mut command = Command::new(node?);
    command.arg(source_of("teller.js"));
    Some(Program::start("Node", command, None))
}

pub fn java() -> Option<Program> {
    let what = "a JDK (apt-get install default-jdk-headless)";
    let (javac, java) = (wish(what, program("javac", &[]))?, wish(what, program("java", &[]))?);
    let dir = TempDir::new();
    let made = Command::new(javac).arg("-d").arg(dir.path()).arg(source_of("Teller.java")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut command = Command::new(java);
    command.arg("-cp").arg(dir.path()).arg("Teller");
    Some(Program::start("Java", command, Some(dir)))
}

pub fn go() -> Option<Program> {
    let go = wish("Go (apt-get install golang-go)", program("go", &["/usr/local/go/bin"]))?;
    let dir = TempDir::new();
    let file = dir.path().join("teller");
    let mut command = Command::new(go);
    command.args(["build", "-o"]).arg(&file).arg(source_of("teller.go"));
    command.env("CGO_ENABLED", "0").env("GOTOOLCHAIN", "local").env("GOFLAGS", "-mod=mod");
    if std::env::var_os("HOME").is_none() {
        command.env("GOCACHE", dir.path().join("cache"));
    }
    let made = command.current_dir(dir.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some(Program::start("Go", Command::new(file), Some(dir)))
}

/// Everything that there is here.
pub fn all() -> Vec<Box<dyn Teller>> {
    let programs = [c(false), c(true), musl(), python(), node(), java(), go()];
    let mut all: Vec<Box<dyn Teller>> = Vec::new();
    all.extend(programs.into_iter().flatten().map(|p| Box::new(p) as Box<dyn Teller>));
    all.extend(redis().map(|r| Box::new(r) as Box<dyn Teller>));
    all.extend(postgres().map(|p| Box::new(p) as Box<dyn Teller>));
    all
}

/// What is large enough that a machine which tests need not have it: a skip is said, and no failure.
fn wish<T>(what: &str, there: Option<T>) -> Option<T> {
    if there.is_none() {
        // Past the test runner's capture, so that a skip is seen.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {what} is not here");
    }
    there
}

fn source_of(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/clocks/programs").join(name)
}

/// The process that listens on a port of loopback.
fn listener(port: u16) -> u32 {
    let tcp = fs::read_to_string("/proc/net/tcp").unwrap();
    let wanted = format!(":{port:04X}");
    let inode = tcp
        .lines()
        .map(|l| l.split_whitespace().collect::<Vec<_>>())
        .find(|f| f.len() > 9 && f[1].ends_with(&wanted) && f[3] == "0A")
        .map(|f| format!("socket:[{}]", f[9]))
        .expect("a listener");
    let until = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        for pid in
            fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok())
        {
            let held = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            if held.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|l| l.as_os_str() == inode.as_str()) {
                return top(pid);
            }
        }
        assert!(std::time::Instant::now() < until, "nobody holds the listener of {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The first of a family of processes of one program.
fn top(pid: u32) -> u32 {
    let read = |pid: u32, what: &str| fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default();
    let comm = read(pid, "comm");
    let stat = read(pid, "stat");
    let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
    match parent {
        Some(parent) if !comm.is_empty() && read(parent, "comm") == comm => top(parent),
        _ => pid,
    }
}
