//! How exact a changed clock is as its process reads it, how long the process stands still for that, and what a call then
//! costs; beside libfaketime, which must be there from the process's start.
//!
//! `cargo build --release && cargo run --release -p murphy-benches --bin clock -- [FAKETIME.so]`
#![forbid(unsafe_code)]

use murphy_benches::agent::Agent;
use murphy_benches::process::pressure;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where Debian has it.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
/// Calls of which the time is taken together.
const CALLS: u32 = 100_000;
/// How often each figure is taken.
const TIMES: usize = 20;

fn main() -> io::Result<()> {
    let first = std::env::args().nth(1);
    if first.as_deref() == Some("--teller") {
        return tell();
    }
    let faketime = Some(first.map_or(FAKETIME.into(), PathBuf::from)).filter(|file| file.exists());
    let agent = Agent::start(&[])?;
    let bench = Bench { agent, faketime };
    bench.offsets()?;
    bench.drift()?;
    bench.strobe()?;
    bench.stops()?;
    bench.cost()
}

/// The process whose clock it is: tells the time when asked by a line, in nanoseconds.
fn tell() -> io::Result<()> {
    let mut out = io::stdout();
    for line in io::stdin().lock().lines() {
        match line?.split_once(' ') {
            // So many more threads that read the clock, as services do: often, and not all the time.
            // With `spin` all the time.
            Some((how @ ("threads" | "spin"), n)) => {
                let pauses = how == "threads";
                for _ in 0..n.parse().unwrap_or(0) {
                    std::thread::spawn(move || {
                        loop {
                            for _ in 0..1000 {
                                std::hint::black_box(SystemTime::now());
                            }
                            if pauses {
                                sleep(Duration::from_millis(1));
                            }
                        }
                    });
                }
                writeln!(out, "0")?;
            }
            Some(("cost", _)) => {
                let began = Instant::now();
                for _ in 0..CALLS {
                    std::hint::black_box(SystemTime::now());
                }
                writeln!(out, "{}", began.elapsed().as_nanos() / u128::from(CALLS / 1000))?;
            }
            _ => writeln!(out, "{}", now())?,
        }
        out.flush()?;
    }
    Ok(())
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i64)
}

struct Teller {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Teller {
    /// With that faketime in it, set to that.
    fn start(faketime: Option<(&Path, &str)>) -> io::Result<Teller> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--teller").stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some((library, spec)) = faketime {
            command.env("LD_PRELOAD", library).env("FAKETIME", spec).env("DONT_FAKE_MONOTONIC", "1");
        }
        let mut child = command.spawn()?;
        let out = child.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?;
        let mut teller = Teller { child, out: BufReader::new(out) };
        teller.ask("now")?;
        Ok(teller)
    }

    fn ask(&mut self, what: &str) -> io::Result<i64> {
        let input = self.child.stdin.as_mut().ok_or_else(|| io::Error::other("no pipe"))?;
        writeln!(input, "{what}")?;
        let mut line = String::new();
        self.out.read_line(&mut line)?;
        line.trim().parse().map_err(|_| io::Error::other(format!("{what}: {line:?}")))
    }

    /// By how much it is ahead, in nanoseconds, with the moment on our clock: of many readings the one that is the most
    /// certain.
    fn skew(&mut self, readings: usize) -> io::Result<(i64, f64)> {
        let mut best = (i64::MAX, 0, 0.0);
        for _ in 0..readings {
            let before = now();
            let told = self.ask("now")?;
            let after = now();
            if after - before < best.0 {
                let middle = before + (after - before) / 2;
                best = (after - before, middle, (told - middle) as f64);
            }
        }
        Ok((best.1, best.2))
    }

    fn target(&self) -> String {
        format!("process:{}", self.child.id())
    }

    /// Nanoseconds for a call.
    fn cost(&mut self) -> io::Result<f64> {
        Ok(self.ask("cost 1")? as f64 / 1000.0)
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Bench {
    agent: Agent,
    faketime: Option<PathBuf>,
}

impl Bench {
    /// A teller with that clock by libfaketime, where there is one.
    fn faked(&self, spec: &str) -> io::Result<Option<Teller>> {
        self.faketime.as_deref().map(|library| Teller::start(Some((library, spec)))).transpose()
    }

    fn offsets(&self) -> io::Result<()> {
        println!("as the process reads it, microseconds off\n");
        println!("| offset | murphy | and afterwards | libfaketime | pressure |\n|---|---|---|---|---|");
        for (words, fake, seconds) in [
            ("offset=500ms", "+0.5", 0.5),
            ("offset=1h", "+3600", 3600.0),
            ("offset=-100d", "-8640000", -8.64e6),
        ] {
            let before = calm();
            let mut teller = Teller::start(None)?;
            let id = self.agent.arm_on(&teller.target(), &["clock", words])?;
            let off = |(_, skew): (i64, f64), asked: f64| (skew - asked * 1e9) / 1e3;
            let on = off(teller.skew(2000)?, seconds);
            self.agent.disarm(&id)?;
            let after = off(teller.skew(2000)?, 0.0);
            let theirs = match self.faked(fake)? {
                Some(mut faked) => format!("{:+.1}", off(faked.skew(2000)?, seconds)),
                None => "not here".into(),
            };
            println!("| {words} | {on:+.1} | {after:+.1} | {theirs} | {before} |");
        }
        Ok(())
    }

    fn drift(&self) -> io::Result<()> {
        println!("\n| drift over 10 s | murphy | libfaketime | pressure |\n|---|---|---|---|");
        for (words, fake) in [("drift=10%", "+0 x1.1"), ("drift=-25%", "+0 x0.75")] {
            let before = calm();
            let mut teller = Teller::start(None)?;
            let id = self.agent.arm_on(&teller.target(), &["clock", words])?;
            let ours = rate(&mut teller)?;
            self.agent.disarm(&id)?;
            let theirs = match self.faked(fake)? {
                Some(mut faked) => format!("{:+.4} %", rate(&mut faked)?),
                None => "not here".into(),
            };
            println!("| {words} | {ours:+.4} % | {theirs} | {before} |");
        }
        Ok(())
    }

    fn strobe(&self) -> io::Result<()> {
        let mut teller = Teller::start(None)?;
        let id = self.agent.arm_on(&teller.target(), &["clock", "offset=-30s", "strobe=500ms"])?;
        let (began, mut changes, mut last) = (Instant::now(), Vec::new(), None);
        while began.elapsed() < Duration::from_secs(10) {
            let (at, skew) = teller.skew(1)?;
            let back = skew < -15e9;
            if last.is_some_and(|l| l != back) {
                changes.push(at);
            }
            last = Some(back);
        }
        self.agent.disarm(&id)?;
        // On for half of it, off for the other.
        let spans = changes.windows(2).map(|w| (w[1] - w[0]) as f64 / 1e6);
        let (middle, most) = middle_and_most(spans.map(|ms| (ms - 250.0).abs()).collect());
        println!(
            "\nstrobe=500ms: {} changes in 10 s; halves are off by {middle:.3} ms in the middle, {most:.3} ms at most",
            changes.len()
        );
        Ok(())
    }

    fn stops(&self) -> io::Result<()> {
        println!("\nhow long the process stood still, microseconds, {TIMES} times\n");
        println!("| threads | in the middle | at most | pressure |\n|---|---|---|---|");
        for (how, more, what) in [
            ("threads", 0, ""),
            ("threads", 4, ", 4 of which read the clock"),
            ("threads", 31, ", 31 of which read the clock"),
            ("spin", 31, ", 31 of which do nothing else"),
        ] {
            let mut teller = Teller::start(None)?;
            teller.ask(&format!("{how} {more}"))?;
            let mut stood = Vec::new();
            for _ in 0..TIMES {
                let id = self.agent.arm_on(&teller.target(), &["clock", "offset=1h"])?;
                stood.push(self.agent.number("stop_us")?);
                self.agent.disarm(&id)?;
            }
            let (middle, most) = middle_and_most(stood);
            println!("| {}{what} | {middle:.0} | {most:.0} | {} |", more + 1, calm());
        }
        Ok(())
    }

    /// Turn by turn, so that what the machine does otherwise is the same for all.
    fn cost(&self) -> io::Result<()> {
        let (mut plain, mut changed) = (Teller::start(None)?, Teller::start(None)?);
        let mut faked = self.faked("+3600")?;
        let id = self.agent.arm_on(&changed.target(), &["clock", "offset=1h"])?;
        let mut all: [Vec<f64>; 3] = Default::default();
        for _ in 0..TIMES {
            all[0].push(plain.cost()?);
            all[1].push(changed.cost()?);
            if let Some(faked) = &mut faked {
                all[2].push(faked.cost()?);
            }
        }
        self.agent.disarm(&id)?;
        let after: Vec<f64> = (0..TIMES).map(|_| changed.cost()).collect::<io::Result<_>>()?;
        let more = all[1].iter().zip(&all[0]).map(|(changed, plain)| changed - plain).collect();
        let middle = |values: &Vec<f64>| middle_and_most(values.clone()).0;
        println!("\na reading of the wall clock, nanoseconds, the middle of {TIMES} times {CALLS}\n");
        println!(
            "| true | changed | difference, paired | changed back | libfaketime | pressure |\n|---|---|---|---|---|---|"
        );
        let theirs = if all[2].is_empty() { "not here".into() } else { format!("{:.1}", middle(&all[2])) };
        println!(
            "| {:.1} | {:.1} | {:+.1} | {:.1} | {theirs} | {} |",
            middle(&all[0]),
            middle(&all[1]),
            middle_and_most(more).0,
            middle(&after),
            calm()
        );
        Ok(())
    }
}

/// Percent by which a clock is faster, over ten seconds.
fn rate(teller: &mut Teller) -> io::Result<f64> {
    let (from, before) = teller.skew(2000)?;
    sleep(Duration::from_secs(10));
    let (to, after) = teller.skew(2000)?;
    Ok((after - before) / (to - from) as f64 * 100.0)
}

fn middle_and_most(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |n: usize| values.get(n).copied().unwrap_or(f64::NAN);
    (at(values.len() / 2), at(values.len().saturating_sub(1)))
}

fn calm() -> String {
    pressure().map_or("?".into(), |p| format!("{p:.1} %"))
}
