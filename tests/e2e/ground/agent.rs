use super::statistics::eventually;
use control::{Client, Endpoint};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A directory that is removed when this is dropped.
pub struct TempDir(tempfile::TempDir);

impl TempDir {
    pub fn new() -> TempDir {
        // Short: socket paths have 107 bytes.
        TempDir(tempfile::Builder::new().prefix("mur").tempdir_in("/tmp").unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// A command of ours in a directory of its own: state, sockets and reports stay in there.
pub fn murphy_in(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_murphy"));
    command
        .env("MURPHY_STATE_DIR", dir.join("state"))
        .env("MURPHY_SOCKET", dir.join("agent.sock"))
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .current_dir(dir);
    command
}

/// The same, with no agent but itself: `murphy arm` holds its fault in the foreground.
pub fn foreground_in(dir: &Path) -> Command {
    let mut command = murphy_in(dir);
    command.env_remove("MURPHY_SOCKET").env("XDG_RUNTIME_DIR", dir);
    command
}

/// What a command came to.
#[derive(Debug)]
pub struct Finished {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Finished {
    fn from(o: Output) -> Finished {
        Finished {
            code: o.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&o.stdout).into_owned(),
            err: String::from_utf8_lossy(&o.stderr).into_owned(),
        }
    }
}

/// Runs a command to its end.
pub fn murphy(dir: &Path, args: &[&str]) -> Finished {
    murphy_in(dir).args(args).output().unwrap().into()
}

/// A running `murphy agent`.
pub struct Agent {
    pub dir: TempDir,
    child: Child,
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Agent {
    /// Starts one with these proxies: `name=listen,upstream[,http]`.
    pub fn start(proxies: &[String]) -> Agent {
        Agent::start_with(proxies, &[])
    }

    /// The same with more on its command line.
    pub fn start_with(proxies: &[String], args: &[&str]) -> Agent {
        let dir = TempDir::new();
        let mut command = murphy_in(dir.path());
        command.arg("agent").args(args).stdout(Stdio::null()).stderr(Stdio::null());
        for proxy in proxies {
            command.args(["--proxy", proxy]);
        }
        let child = command.spawn().unwrap();
        let client = Client::new(Endpoint::unix(dir.path().join("agent.sock")));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut agent = Agent { dir, child, runtime, client };
        let up = eventually(Duration::from_secs(30), || {
            assert!(agent.child.try_wait().unwrap().is_none(), "the agent ended at once");
            agent.runtime.block_on(agent.client.status()).is_ok()
        });
        assert!(up, "the agent does not answer");
        agent
    }

    /// The typed client, blocking.
    pub fn ask<T>(&self, call: impl AsyncFnOnce(&Client) -> T) -> T {
        self.runtime.block_on(call(&self.client))
    }

    /// `murphy ARGS` against this agent.
    pub fn murphy(&self, args: &[&str]) -> Finished {
        murphy(self.dir.path(), args)
    }

    /// Arms by the words of a command line; gives the fault's id.
    pub fn arm(&self, line: &str) -> String {
        let fault = fault(line);
        self.ask(async |c| c.arm(&fault, None).await).unwrap_or_else(|e| panic!("{line}: {e}")).id
    }

    /// Disarms; gives how often it applied and how often it was considered.
    pub fn disarm(&self, id: &str) -> (u64, u64) {
        let gone = self.ask(async |c| c.disarm(id).await).unwrap_or_else(|e| panic!("disarm {id}: {e}"));
        (gone.evidence.applied, gone.evidence.considered)
    }
}

impl Agent {
    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // A clean end, so that nothing is left; then for sure.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
        }
        let ended =
            eventually(Duration::from_secs(10), || matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)));
        if !ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// `proxy:web latency delay=20ms percent=30% for=60s when.method=GET`
fn fault(line: &str) -> model::Fault {
    use model::{Injection, Matcher, Share};
    let mut words = line.split_whitespace();
    let target = words.next().unwrap().parse().unwrap();
    let name = words.next().unwrap();
    let (mut params, mut lasts, mut share, mut when, mut seed) =
        (vec![], Some("60s".parse().unwrap()), Share::All, vec![], Some(7));
    let mut per = None;
    for word in words {
        let (key, value) = word.split_once('=').unwrap();
        match key {
            "for" => lasts = (value != "-").then(|| value.parse().unwrap()),
            "percent" => share = Share::Percent(value.parse().unwrap()),
            "nth" => share = Share::Nth(value.parse().unwrap()),
            "first" => share = Share::First(value.parse().unwrap()),
            "per" => per = Some(value.parse().unwrap()),
            "seed" => seed = Some(value.parse().unwrap()),
            _ => match key.strip_prefix("when.") {
                Some(key) => when.push(Matcher::from_pair(key, value).unwrap()),
                None => params.push((key, value)),
            },
        }
    }
    let inject = Injection::from_pairs(name, params).unwrap();
    let when = if when.is_empty() { None } else { Some(Matcher::All(when)) };
    model::Fault { id: None, target, inject, lasts, share, per, when, ramp: None, seed }
}
