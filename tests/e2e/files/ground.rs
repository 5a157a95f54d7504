//! An agent in a mount namespace of its own: what it mounts is seen by nobody else and is gone when the last process in
//! there ends, however the test ends.

use crate::ground::{Finished, TempDir, eventually, is_root, murphy_in, need, program};
use control::{Client, Endpoint};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A directory that an agent serves.
pub struct Files {
    pub dir: TempDir,
    agent: Child,
    /// Keeps the namespace when the agent is killed.
    keeper: Child,
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Files {
    /// An agent that serves nothing yet; none where that is not possible.
    pub fn agent() -> Option<Files> {
        let fuse = std::fs::File::options().read(true).write(true).open("/dev/fuse").is_ok();
        if !need("root, /dev/fuse and unshare", is_root() && fuse && program("unshare", &[]).is_some()) {
            return None;
        }
        let dir = TempDir::new();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        let keeper = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sleep", "3600"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut files = Files {
            client: Client::new(Endpoint::unix(dir.path().join("agent.sock"))),
            agent: Command::new("true").spawn().unwrap(),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap(),
            dir,
            keeper,
        };
        // It has its namespace once it is not ours any more.
        let ns = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        let keeper = files.keeper.id().to_string();
        assert!(eventually(Duration::from_secs(30), || ns(&keeper).is_some_and(|n| Some(n) != ns("self"))));
        files.start();
        Some(files)
    }

    /// Starts the agent, again if need be.
    pub fn start(&mut self) {
        let _ = self.agent.wait();
        self.agent =
            self.inside(env!("CARGO_BIN_EXE_murphy")).arg("agent").stdout(Stdio::null()).spawn().unwrap();
        let up = eventually(Duration::from_secs(60), || self.ask(async |c| c.status().await.is_ok()));
        assert!(up, "the agent does not answer");
    }

    /// A program in the namespace, with the environment of ours.
    pub fn inside(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = murphy_in(self.dir.path());
        let environment: Vec<_> =
            command.get_envs().map(|(k, v)| (k.to_owned(), v.map(ToOwned::to_owned))).collect();
        command = Command::new("nsenter");
        command.args(["--mount", "--target", &self.keeper.id().to_string(), "--"]).arg(program);
        for (key, value) in environment {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs a line of shell in there, in the served directory.
    pub fn sh(&self, line: &str) -> Finished {
        let line = format!("cd {} && {line}", self.mount().display());
        self.inside("sh").args(["-c", &line]).output().unwrap().into()
    }

    /// `murphy ARGS` in there.
    pub fn murphy(&self, args: &[&str]) -> Finished {
        self.inside(env!("CARGO_BIN_EXE_murphy")).args(args).output().unwrap().into()
    }

    /// The mount point's path in there.
    pub fn mount(&self) -> PathBuf {
        self.dir.path().join("d")
    }

    /// The target's name.
    pub fn target(&self) -> String {
        format!("fs:{}", self.mount().display())
    }

    /// A path in the served directory as it is seen from in there.
    pub fn path(&self, below: &str) -> PathBuf {
        let mount = self.mount();
        let inner = mount.strip_prefix("/").unwrap_or(&mount);
        Path::new(&format!("/proc/{}/root", self.keeper.id())).join(inner).join(below)
    }

    /// Opens the directory with those options of the target.
    pub fn open(&self, options: &serde_json::Value) {
        let mut spec = serde_json::json!({"mount": self.mount()});
        for (key, value) in options.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        let target = serde_json::json!({"name": self.mount(), "fs": spec});
        let target: model::Target = serde_json::from_value(target).unwrap();
        self.ask(async |c| c.open_target(&target).await).unwrap();
    }

    /// Arms a fault by the words of a command line; gives its id.
    pub fn arm(&self, words: &str) -> String {
        let target = self.target();
        let mut args = vec!["arm", &target];
        args.extend(words.split(' '));
        args.extend(["--for", "60s", "--json"]);
        let done = self.murphy(&args);
        assert_eq!(done.code, 0, "{words}: {done:?}");
        let armed: serde_json::Value = serde_json::from_str(&done.out).unwrap();
        armed["id"].as_str().unwrap().to_owned()
    }

    /// Takes it back; gives its evidence.
    pub fn disarm(&self, id: &str) -> model::Evidence {
        self.ask(async |c| c.disarm(id).await).unwrap_or_else(|e| panic!("disarm {id}: {e}")).evidence
    }

    /// The typed client, blocking.
    pub fn ask<T>(&self, call: impl AsyncFnOnce(&Client) -> T) -> T {
        self.runtime.block_on(call(&self.client))
    }

    /// Kills the agent as nothing should be killed.
    pub fn kill(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }

    /// Whether anything is mounted on the directory.
    pub fn is_mounted(&self) -> bool {
        let table = std::fs::read_to_string(format!("/proc/{}/mountinfo", self.keeper.id())).unwrap();
        let mount = self.mount().to_str().unwrap().to_owned();
        table.lines().any(|l| l.split(' ').nth(4) == Some(&mount))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.agent.id()) {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
        }
        if !eventually(Duration::from_secs(20), || matches!(self.agent.try_wait(), Ok(Some(_)) | Err(_))) {
            self.kill();
        }
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
