//! The shop, running, and what can be seen of it from outside.

use crate::ground::{Engine, Finished, TempDir, eventually, mounts};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const PATIENCE: Duration = Duration::from_secs(90);
pub const CONTAINERS: [&str; 3] = ["shop-web-1", "shop-cache-1", "shop-db-1"];

/// The project, up; gone with its engine when it is dropped.
pub struct Shop {
    pub engine: Engine,
    /// murphy's state and reports.
    pub dir: TempDir,
}

/// Where the project is.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/compose")
}

impl Shop {
    pub fn open() -> Option<Shop> {
        let engine = Engine::with_networks()?;
        engine.import("murphy-shop", &project().join("image"));
        let shop = Shop { engine, dir: TempDir::new() };
        let file = project().join("compose.yaml");
        shop.engine.must(&["compose", "-f", file.to_str().unwrap(), "up", "-d", "--no-build"]);
        shop.sells();
        Some(shop)
    }

    /// A command in the engine's network, where the shop's port is.
    fn beside(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.engine.pid())).arg(program);
        command
            .env("MURPHY_STATE_DIR", self.dir.path().join("state"))
            .env("DOCKER_HOST", format!("unix://{}", self.engine.socket().display()))
            .env("NO_COLOR", "1")
            .env_remove("MURPHY_SOCKET")
            .stdin(Stdio::null())
            .current_dir(project());
        command
    }

    fn murphy(&self) -> Command {
        self.beside(Path::new(env!("CARGO_BIN_EXE_murphy")))
    }

    /// `murphy ARGS` to its end.
    pub fn run(&self, args: &[&str]) -> Finished {
        self.murphy().args(args).output().unwrap().into()
    }

    /// `murphy run FILE` that goes on; what it says is in the file `out`.
    pub fn start(&self, file: &str) -> Run {
        let out = self.dir.path().join("out");
        let log = fs::File::create(&out).unwrap();
        let mut command = self.murphy();
        command.args(["run", file]).stdout(log.try_clone().unwrap()).stderr(log);
        Run { child: command.spawn().unwrap(), out }
    }

    /// An answer of the shop, and how long it took.
    pub fn ask(&self, method: &str, path: &str) -> (Finished, Duration) {
        let begun = Instant::now();
        let mut curl = self.beside(Path::new("curl"));
        curl.args(["-sS", "-f", "-m", "10", "-X", method]).arg(format!("http://127.0.0.1:8080{path}"));
        (curl.output().unwrap().into(), begun.elapsed())
    }

    /// Waits until an order is taken.
    pub fn sells(&self) {
        let mut last = None;
        let sold = eventually(PATIENCE, || {
            let (answer, _) = self.ask("POST", "/checkout");
            let good = answer.code == 0 && answer.out.contains("order");
            last = Some(answer);
            good
        });
        assert!(sold, "{last:?}\n{}", self.engine.docker(&["logs", "shop-web-1"]).err);
    }

    /// Everything about the containers that murphy could have left changed: what the engine says of them; and in their
    /// namespaces, and the engine's, the rules, queueing disciplines and mounts.
    pub fn seen(&self) -> BTreeMap<String, String> {
        let mut seen = BTreeMap::new();
        for name in CONTAINERS {
            for (what, field) in [("config", ".Config"), ("host", ".HostConfig"), ("mounts", ".Mounts")] {
                let text = self.engine.must(&["inspect", "-f", &format!("{{{{json {field}}}}}"), name]);
                let text = if what == "mounts" { sorted(&text) } else { text };
                seen.insert(format!("{name} inspect {what}"), text);
            }
            let state = "{{.State.Status}} {{.State.Paused}} {{json .NetworkSettings.Networks}}";
            seen.insert(format!("{name} state"), self.engine.must(&["inspect", "-f", state, name]));
            self.look_into(&mut seen, name, self.engine.first_of(name));
        }
        self.look_into(&mut seen, "engine", self.engine.pid());
        seen
    }

    /// That nothing is different from what it was.
    pub fn is_again(&self, before: &BTreeMap<String, String>, after_what: &str) {
        let mut last = String::new();
        let same = eventually(PATIENCE, || {
            let now = self.seen();
            let differs = |key: &&String| now.get(*key) != before.get(*key);
            let keys: Vec<&String> = before.keys().chain(now.keys()).filter(differs).collect();
            last = keys
                .iter()
                .map(|k| format!("{k}:\nbefore {:?}\nafter  {:?}\n", before.get(*k), now.get(*k)))
                .collect();
            keys.is_empty()
        });
        assert!(same, "{after_what} has left something:\n{last}");
    }

    /// The rules in the network of a container.
    pub fn rules(&self, name: &str) -> String {
        inside(self.engine.first_of(name), "nft", &["-s", "list", "ruleset"])
    }

    /// Whether murphy's filesystem is mounted in a container.
    pub fn is_mounted(&self, name: &str) -> bool {
        mounts(self.engine.first_of(name)).contains("fuse.murphy")
    }

    fn look_into(&self, seen: &mut BTreeMap<String, String>, name: &str, pid: u32) {
        seen.insert(format!("{name} rules"), inside(pid, "nft", &["-s", "list", "ruleset"]));
        seen.insert(format!("{name} queues"), inside(pid, "tc", &["qdisc", "show"]));
        seen.insert(format!("{name} links"), inside(pid, "ip", &["-o", "link", "show"]));
        if name != "engine" {
            // The engine's bridge gets and loses addresses of IPv6 by itself.
            seen.insert(format!("{name} routes"), inside(pid, "ip", &["-4", "route", "show"]));
            seen.insert(format!("{name} mounts"), mounts(pid));
        }
    }
}

fn inside(pid: u32, program: &str, args: &[&str]) -> String {
    let net = format!("--net=/proc/{pid}/ns/net");
    let done: Finished = Command::new("nsenter").args([&net, program]).args(args).output().unwrap().into();
    assert_eq!(done.code, 0, "{program}: {done:?}");
    done.out
}

/// A run that goes on.
pub struct Run {
    child: Child,
    out: PathBuf,
}

impl Run {
    pub fn said(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// Waits until it has said that.
    pub fn says(&mut self, what: &str) {
        let said = eventually(PATIENCE, || {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended:\n{}", self.said());
            self.said().contains(what)
        });
        assert!(said, "it does not say {what:?}:\n{}", self.said());
    }

    /// `kill -9`: nsenter has become murphy.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end; its exit code.
    pub fn ends(&mut self) -> i32 {
        let ended = eventually(PATIENCE, || self.child.try_wait().unwrap().is_some());
        assert!(ended, "it does not end:\n{}", self.said());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A list of JSON in an order of its own: the engine gives mounts in any.
fn sorted(list: &str) -> String {
    let mut items: Vec<String> = serde_json::from_str::<Vec<serde_json::Value>>(list)
        .unwrap_or_else(|e| panic!("{list}: {e}"))
        .iter()
        .map(serde_json::Value::to_string)
        .collect();
    items.sort();
    items.join("\n")
}
