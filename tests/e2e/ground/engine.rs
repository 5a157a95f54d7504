use super::agent::{Finished, TempDir};
use super::files::{Daemon, can_serve, text_of};
use super::need::{need, program};
use super::statistics::eventually;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// An engine; when it is dropped, all of its containers are gone.
pub struct Engine {
    pub daemon: Daemon,
    cgroup: String,
    packages: PathBuf,
    pub home: TempDir,
}

impl Engine {
    /// Starts one, from packages that are downloaded once.
    pub fn start() -> Option<Engine> {
        Engine::begin("run")
    }

    /// Starts one with networks and compose; `docker compose` is a command of its client.
    pub fn with_networks() -> Option<Engine> {
        Engine::begin("serve")
    }

    /// Starts Podman instead, which Docker's client can speak to.
    pub fn podman() -> Option<Engine> {
        Engine::begin("pods")
    }

    fn begin(how: &str) -> Option<Engine> {
        if !can_serve() || !need("apt-get and dpkg", program("apt-get", &[]).is_some()) {
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/docker/engine");
        let packages = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docker");
        let all = match how {
            "run" => &["fetch"][..],
            "serve" => &["fetch", "compose"],
            _ => &["fetch", "compose", "podman"],
        };
        for what in all {
            let fetched = Command::new(&script).arg(what).arg(&packages).output().unwrap();
            assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
        }
        let home = TempDir::new();
        let cgroup = format!("murphy-test-{}", home.path().file_name().unwrap().to_string_lossy());
        let mut run = Command::new(&script);
        run.arg(how).arg(&packages).arg(home.path()).arg(format!("/{cgroup}"));
        let daemon = Daemon::start(run, &home.path().join("log"));
        let mut engine = Engine { daemon, cgroup, packages, home };
        let up = eventually(PATIENCE, || {
            assert!(engine.daemon.ended().is_none(), "{}", text_of(&engine.home.path().join("log")));
            engine.docker(&["version"]).code == 0
        });
        assert!(up, "{}", text_of(&engine.home.path().join("log")));
        let mut image =
            Command::new(&script).arg("image").arg(&engine.packages).stdout(Stdio::piped()).spawn().unwrap();
        let root = image.stdout.take().unwrap();
        let imported = engine.command(&["import", "-", "box"]).stdin(root).output().unwrap();
        assert!(imported.status.success() && image.wait().unwrap().success(), "{imported:?}");
        Some(engine)
    }

    /// A command of its client.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.packages.join("root/usr/bin/docker"));
        command.arg("-H").arg(format!("unix://{}/docker.sock", self.home.path().display())).args(args);
        command.env("DOCKER_CONFIG", self.packages.join("config"));
        command.stdin(Stdio::null());
        command
    }

    /// Runs one.
    pub fn docker(&self, args: &[&str]) -> Finished {
        self.command(args).output().unwrap().into()
    }

    /// Runs one that must work; what it says.
    pub fn must(&self, args: &[&str]) -> String {
        let done = self.docker(args);
        assert_eq!(done.code, 0, "docker {args:?}: {done:?}");
        done.out.trim().to_owned()
    }

    /// The first process of the engine, as this process sees it.
    pub fn pid(&self) -> u32 {
        let children = format!("/proc/{0}/task/{0}/children", self.daemon.id());
        fs::read_to_string(children).unwrap().trim().parse().unwrap()
    }

    /// Starts a container of that name that runs a script.
    pub fn run(&self, name: &str, options: &[&str], script: &str) {
        let head = ["run", "-d", "--name", name, "--network", "none"];
        self.must(&[&head[..], options, &["box", "sh", "-c", script]].concat());
    }

    /// Below which group its containers' are; Podman has to be told for each.
    pub fn parent(&self) -> String {
        format!("/{}", self.cgroup)
    }

    /// Imports the archive of a root that a script makes, which is kept for next time, as an image.
    pub fn import(&self, name: &str, script: &Path) {
        let archive = self.packages.join(format!("{name}.tar"));
        if !archive.exists() {
            // What it is to be is told by the end of its name.
            let partial = self.packages.join(format!("{name}.part.tar"));
            let made = Command::new(script).arg(&partial).output().unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            fs::rename(partial, &archive).unwrap();
        }
        self.must(&["import", archive.to_str().unwrap(), name]);
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.home.path().join("docker.sock")
    }

    /// The first process of the container `app`, likewise.
    pub fn container(&self) -> u32 {
        self.first_of("app")
    }

    /// The first process of a container.
    pub fn first_of(&self, name: &str) -> u32 {
        let inner = self.must(&["inspect", "-f", "{{.State.Pid}}", name]);
        let numbers = format!("\t{inner}\t1");
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let mut pids = pids.filter_map(|e| e.file_name().to_string_lossy().parse::<u32>().ok());
        let is = |pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let mine = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            mine.contains(&self.cgroup)
                && status.lines().any(|l| l.starts_with("NSpid:") && l.ends_with(&numbers))
        };
        pids.find(is).unwrap_or_else(|| panic!("{inner} is not found"))
    }

    /// The directories of a container's control group, by its whole id.
    pub fn groups_of(&self, id: &str) -> Vec<PathBuf> {
        let roots = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|e| e.path());
        let roots = roots.chain([PathBuf::from("/sys/fs/cgroup")]);
        roots.map(|root| root.join(&self.cgroup).join(id)).filter(|dir| dir.is_dir()).collect()
    }

    /// What the container `app` has said.
    pub fn logs(&self) -> String {
        self.must(&["logs", "app"])
    }

    /// Waits until the container has said that again.
    pub fn says(&self, what: &str) {
        let before = self.logs().matches(what).count();
        let said = eventually(PATIENCE, || self.logs().matches(what).count() > before + 2);
        assert!(said, "it does not say {what:?} any more:\n{}", self.logs());
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.daemon.kill();
        // Groups outlive what was in them.
        let roots = fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.path().join(&self.cgroup));
        for root in roots.chain([Path::new("/sys/fs/cgroup").join(&self.cgroup)]) {
            eventually(Duration::from_secs(5), || {
                let groups = fs::read_dir(&root).into_iter().flatten().flatten();
                groups.filter(|e| e.path().is_dir()).for_each(|e| drop(fs::remove_dir(e.path())));
                fs::remove_dir(&root).is_ok() || !root.exists()
            });
        }
    }
}

/// What a process has mounted where, and of what type.
pub fn mounts(pid: u32) -> String {
    let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    let one = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        Some(format!("{} {}\n", left.split(' ').nth(4)?, right.split(' ').next()?))
    };
    table.lines().filter_map(one).collect()
}
