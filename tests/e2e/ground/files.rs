use super::agent::{Agent, TempDir};
use super::need::{is_root, need};
use super::statistics::eventually;
use model::target::FsSpec;
use model::units::Size;
use model::{Target, TargetSpec};
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Whether directories can be served here.
pub fn can_serve() -> bool {
    need("root and /dev/fuse", is_root() && std::fs::File::open("/dev/fuse").is_ok())
}

/// A directory that is served through an agent of its own, as `fs:d`. When it is dropped, the mount is gone.
pub struct Served {
    pub agent: Agent,
    _mount: Unmounted,
    home: TempDir,
}

impl Served {
    /// A directory that `prepare` has filled before, with a log of unsynced writes.
    pub fn tracked(prepare: impl FnOnce(&Path)) -> Option<Served> {
        Served::with(FsSpec { track_unsynced: Some(Size(512 << 20)), ..FsSpec::default() }, prepare)
    }

    /// The same, with other options.
    pub fn with(options: FsSpec, prepare: impl FnOnce(&Path)) -> Option<Served> {
        if !can_serve() {
            return None;
        }
        let home = TempDir::new();
        open_to_all(home.path());
        let dir = home.path().join("d");
        std::fs::create_dir(&dir).unwrap();
        prepare(&dir);
        let agent = Agent::start(&[]);
        let mount = Unmounted(dir.clone());
        let spec = FsSpec { mount: dir.display().to_string(), ..options };
        let target = Target { name: "d".into(), spec: TargetSpec::Fs(spec) };
        agent.ask(async |c| c.open_target(&target).await).unwrap();
        assert!(is_served(&dir));
        Some(Served { agent, _mount: mount, home })
    }

    /// The directory, through the mount.
    pub fn dir(&self) -> PathBuf {
        self.home.path().join("d")
    }

    /// A file that is not in the directory, but goes with it.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Arms a fault for a while.
    pub fn arm(&self, words: &str) -> String {
        self.agent.arm(&format!("fs:d {words}"))
    }

    /// The power fails, and comes back when everything that works in the directory is dead. Gives how many writes were
    /// lost.
    pub fn power_cut(&self, words: &str, dies: impl FnOnce()) -> u64 {
        let id = self.arm(&format!("power_cut {words}"));
        dies();
        // No power, no processes: what a server has started and waits for another one would outlive it.
        let all_gone = eventually(Duration::from_secs(30), || {
            let left = processes_in(&self.dir());
            for pid in &left {
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(*pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
            left.is_empty()
        });
        let left = processes_in(&self.dir()).into_iter().map(|pid| {
            let of = |what: &str| std::fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default();
            format!(
                "{pid} {} {} {}{}",
                state(pid),
                of("cmdline").replace('\0', " "),
                of("stack"),
                of("syscall")
            )
        });
        assert!(all_gone, "still there: {:#?}", left.collect::<Vec<_>>());
        let gone = self.agent.ask(async |c| c.disarm(&id).await).unwrap();
        gone.evidence.measured.get("writes_lost").copied().unwrap_or(0.0) as u64
    }
}

/// Takes a mount of ours away when it is still there; never anyone else's.
pub struct Unmounted(pub PathBuf);

impl Drop for Unmounted {
    fn drop(&mut self) {
        while is_served(&self.0) && nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH).is_ok() {}
    }
}

/// Lets users other than root go through a directory.
pub fn open_to_all(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).unwrap();
}

/// Whether one of murphy's mounts is on that directory.
pub fn is_served(dir: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().any(|line| line.split(' ').nth(4) == dir.to_str() && line.contains(" - fuse.murphy "))
}

/// Processes that work in a directory.
pub fn processes_in(dir: &Path) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        // Reading the link asks no filesystem, so a dead one cannot hold us.
        if std::fs::read_link(entry.path().join("cwd")).is_ok_and(|at| at.starts_with(dir)) {
            found.push(pid);
        }
    }
    found
}

/// A program that runs on; it and what it started are gone when this is dropped.
pub struct Daemon(Child);

impl Daemon {
    /// Starts it in a process group of its own; what it says goes to a file.
    pub fn start(mut command: Command, log: &Path) -> Daemon {
        use std::os::unix::process::CommandExt;
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Daemon(command.spawn().unwrap())
    }

    /// Whether it has ended by itself, and how.
    pub fn ended(&mut self) -> Option<impl Display + use<>> {
        self.0.try_wait().unwrap()
    }

    pub fn id(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    /// `kill -9`, without waiting for its end.
    pub fn shoot(&self) {
        use nix::sys::signal::{Signal, killpg};
        let _ = killpg(nix::unistd::Pid::from_raw(self.id()), Signal::SIGKILL);
    }

    /// `kill -9`, to its end.
    pub fn kill(&mut self) {
        self.shoot();
        let gone = eventually(Duration::from_secs(30), || !matches!(self.0.try_wait(), Ok(None)));
        assert!(gone || std::thread::panicking(), "{} does not die: state {}", self.0.id(), state(self.id()));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The state of a process as the kernel shows it: R, S, D …; `?` when there is none.
pub fn state(pid: i32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('?')
}

/// What a file has, or nothing.
pub fn text_of(file: &Path) -> String {
    let bytes = match std::fs::read(file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        bytes => bytes.unwrap(),
    };
    String::from_utf8_lossy(&bytes).into_owned()
}
