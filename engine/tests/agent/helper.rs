//! An agent in a process of its own, told what to do line by line.

use crate::support;
use host::ProcessId;
use host::process::ProcessSignal;
use murphy_engine::{Agent, Config, WatchdogCommand};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;

pub const VERB: &str = "__agent";

/// The agent's side. Arguments: state directory, claim space, lease in milliseconds.
pub fn main(args: &[String]) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut config = Config::new(&args[0], support::injectors()).watchdog(WatchdogCommand::this_program());
    config.claim_space = args[1].clone();
    config.lease = Duration::from_millis(args[2].parse().unwrap());
    config.leftovers = vec![Path::new(&args[0]).join("socket")];
    let agent = match runtime.block_on(Agent::start(config)) {
        Ok(agent) => agent,
        Err(e) => {
            println!("error {e}");
            return ExitCode::FAILURE;
        }
    };
    say(&format!("started {}", agent.watchdog_pid().unwrap_or(0)));
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = runtime.block_on(async {
            match word {
                "arm" => match agent.arm(serde_json::from_str(rest).unwrap(), "test").await {
                    Ok(fault) => format!("armed {}", fault.id),
                    Err(e) => format!("error {e}"),
                },
                "list" => format!("list {}", agent.faults().len()),
                "events" => {
                    let mut sub = agent.subscribe(Some(1));
                    let mut all = Vec::new();
                    while let Some(item) = sub.try_next() {
                        all.push(format!("{item:?}"));
                    }
                    format!("events {}", all.join(" ").replace('\n', " "))
                }
                "shutdown" => format!("ended {:?}", agent.shutdown().await),
                other => format!("error no command {other}"),
            }
        });
        say(&answer);
    }
    ExitCode::SUCCESS
}

fn say(text: &str) {
    println!("{text}");
    std::io::stdout().flush().unwrap();
}

/// The test's side. Killed when dropped.
pub struct Helper {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pub watchdog: u32,
}

impl Helper {
    pub fn start(state_dir: &Path, space: &str, lease: Duration) -> Helper {
        let (mut helper, line) = Helper::try_start(state_dir, space, lease);
        helper.watchdog = line.strip_prefix("started ").unwrap_or_else(|| panic!("{line}")).parse().unwrap();
        helper
    }

    pub fn try_start(state_dir: &Path, space: &str, lease: Duration) -> (Helper, String) {
        let mut child = Command::new("/proc/self/exe")
            .arg(VERB)
            .arg(state_dir)
            .args([space, &lease.as_millis().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut helper = Helper { child, input, output: BufReader::new(output), watchdog: 0 };
        let line = helper.read();
        (helper, line)
    }

    pub fn id(&self) -> ProcessId {
        ProcessId::of(self.child.id()).unwrap()
    }

    /// Tells it without waiting for an answer; it may be dead.
    pub fn tell(&mut self, line: &str) {
        let _ = writeln!(self.input, "{line}");
    }

    pub fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.read()
    }

    fn read(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub fn signal(&self, signal: ProcessSignal) {
        self.id().open().unwrap().signal(signal).unwrap();
    }

    /// SIGKILL, and reaped.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.kill();
    }
}
