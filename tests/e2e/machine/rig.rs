//! An agent with something to hit.

use crate::ground::{Agent, Finished, WholeMachine, eventually, need, program, this_machine};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long anything may take on a machine that is busy with everything else.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An agent, and faults armed by the words of a command line.
pub struct Rig {
    pub agent: Agent,
    armed: Cell<u32>,
    /// Taken with the first fault of the machine as a whole, given back after the agent's end.
    whole: RefCell<Option<WholeMachine>>,
}

impl Rig {
    pub fn start() -> Rig {
        Rig { agent: Agent::start(&[]), armed: Cell::new(0), whole: RefCell::new(None) }
    }

    /// `murphy arm` with these words; `--for 10m` unless it happens once.
    pub fn try_arm(&self, words: &[&str]) -> Result<String, String> {
        if words[0] == "node:self" {
            self.whole.borrow_mut().get_or_insert_with(this_machine);
        }
        let n = self.armed.get() + 1;
        self.armed.set(n);
        let id = format!("f{n}");
        let once = ["kill", "oom_kill", "container_restart", "service_restart"].contains(&words[1]);
        let mut args = vec!["arm"];
        args.extend(words);
        args.extend(["--id", &id]);
        if !once {
            args.extend(["--for", "10m"]);
        }
        let done: Finished = self.agent.murphy(&args);
        if done.code == 0 { Ok(id) } else { Err(done.err) }
    }

    pub fn arm(&self, words: &[&str]) -> String {
        self.try_arm(words).unwrap_or_else(|e| panic!("{words:?}: {e}"))
    }

    /// What the fault has measured, with `applied` among it.
    pub fn numbers(&self, id: &str) -> BTreeMap<String, f64> {
        let faults = self.agent.ask(async |c| c.faults().await).unwrap();
        let fault = faults.into_iter().find(|f| f.id == id).unwrap_or_else(|| panic!("{id} is not armed"));
        let mut all = fault.evidence.measured;
        all.insert("applied".into(), fault.evidence.applied as f64);
        all
    }

    pub fn number(&self, id: &str, name: &str) -> f64 {
        let all = self.numbers(id);
        *all.get(name).unwrap_or_else(|| panic!("{name} is not in {all:?}"))
    }

    /// Waits for a number to be as it should.
    pub fn until(&self, id: &str, name: &str, holds: impl Fn(f64) -> bool) -> f64 {
        let mut last = f64::NAN;
        let seen = eventually(PATIENCE, || {
            last = self.numbers(id).get(name).copied().unwrap_or(f64::NAN);
            holds(last)
        });
        assert!(seen, "{name} stays at {last}: {:?}", self.numbers(id));
        last
    }

    /// Takes it back; its last numbers.
    pub fn disarm(&self, id: &str) -> BTreeMap<String, f64> {
        let gone =
            self.agent.ask(async |c| c.disarm(id).await).unwrap_or_else(|e| panic!("disarm {id}: {e}"));
        let mut all = gone.evidence.measured;
        all.insert("applied".into(), gone.evidence.applied as f64);
        all
    }
}

/// A name that no other test has.
pub fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A process that does what it is told and says how that went.
pub struct Probe {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

const SCRIPT: &str = r"
import errno, mmap, os, socket, sys, threading
kept = []
def fork():
    pid = os.fork()
    if pid == 0: os._exit(0)
    os.waitpid(pid, 0)
def child():
    pid = os.fork()
    if pid == 0:
        import time
        while True: time.sleep(60)
    kept.append(pid); return pid
print('ready', flush=True)
for line in sys.stdin:
    try: print('ok', eval(line), flush=True)
    except OSError as e: print(errno.errorcode.get(e.errno, e.errno), flush=True)
    except MemoryError: print('ENOMEM', flush=True)
    except RuntimeError: print('EAGAIN', flush=True)
";

impl Probe {
    pub fn start() -> Option<Probe> {
        Probe::start_as(Command::new("python3"))
    }

    /// Started by another command that leads to Python.
    pub fn start_as(mut command: Command) -> Option<Probe> {
        if !need("python3", program("python3", &[]).is_some()) {
            return None;
        }
        command.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut probe = Probe { child, input, output };
        assert_eq!(probe.line(), "ready");
        Some(probe)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn target(&self) -> String {
        format!("process:{}", self.pid())
    }

    /// `ok VALUE`, or the name of the errno.
    pub fn does(&mut self, expression: &str) -> String {
        writeln!(self.input, "{expression}").unwrap();
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub fn is_gone(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    pub fn limits(&self) -> String {
        fs::read_to_string(format!("/proc/{}/limits", self.pid())).unwrap()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The state letter of a process; `?` when it is gone.
pub fn state(pid: u32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('?')
}

/// Sleepers of one name, each killed when it is dropped.
pub struct Sleepers {
    pub mark: String,
    children: Vec<Child>,
}

impl Sleepers {
    pub fn start(n: usize) -> Sleepers {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // What sleep takes as a number, and nobody else has.
        let mark = format!("86{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed) + 1);
        let mut sleepers = Sleepers { mark, children: vec![] };
        (0..n).for_each(|_| sleepers.more());
        sleepers
    }

    pub fn more(&mut self) {
        self.children.push(Command::new("sleep").arg(&self.mark).spawn().unwrap());
        let pid = self.children.last().unwrap().id();
        let named = || fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c.trim() == "sleep");
        assert!(eventually(PATIENCE, named));
    }

    pub fn pids(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }

    /// How many run.
    pub fn running(&mut self) -> usize {
        self.children.iter_mut().filter_map(|c| c.try_wait().ok()).filter(Option::is_none).count()
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A control group of our own, in every hierarchy that has limits; removed with all that is in it.
pub struct Group {
    /// Its path from the root of a hierarchy.
    pub path: String,
    dirs: Vec<PathBuf>,
}

impl Group {
    /// None, with the reason, where none can be made or one of these controllers is missing.
    pub fn make(controllers: &[&str]) -> Option<Group> {
        let path = format!("/{}", unique("murphy-test"));
        let root = Path::new("/sys/fs/cgroup");
        let unified = root.join("cgroup.controllers").exists();
        let mut group = Group { path, dirs: vec![] };
        if unified {
            let words = fs::read_to_string(root.join("cgroup.subtree_control")).unwrap_or_default();
            let there =
                controllers.iter().all(|c| *c == "freezer" || words.split_whitespace().any(|w| w == *c));
            if !need(&format!("the controllers {controllers:?} for groups"), there) {
                return None;
            }
            group.add(root);
        } else {
            for controller in ["memory", "pids", "cpu", "freezer"] {
                let hierarchy = root.join(controller);
                if hierarchy.join("cgroup.procs").exists() {
                    group.add(&hierarchy);
                } else if !need(&format!("the controller {controller}"), !controllers.contains(&controller)) {
                    return None;
                }
            }
        }
        need("root, for control groups of its own", !group.dirs.is_empty()).then_some(group)
    }

    fn add(&mut self, hierarchy: &Path) {
        let dir = hierarchy.join(&self.path[1..]);
        if fs::create_dir(&dir).is_ok() {
            self.dirs.push(dir);
        }
    }

    pub fn target(&self) -> String {
        format!("cgroup:{}", self.path)
    }

    /// Puts a process in.
    pub fn take(&self, pid: u32) {
        for dir in &self.dirs {
            fs::write(dir.join("cgroup.procs"), pid.to_string()).unwrap();
        }
    }

    /// The file of that name, in whichever hierarchy has one of these.
    pub fn file(&self, names: &[&str]) -> PathBuf {
        let mut all = self.dirs.iter().flat_map(|dir| names.iter().map(move |name| dir.join(name)));
        all.find(|file| file.exists()).unwrap_or_else(|| panic!("{} has none of {names:?}", self.path))
    }

    pub fn read(&self, names: &[&str]) -> String {
        fs::read_to_string(self.file(names)).unwrap().trim().to_owned()
    }

    pub fn write(&self, names: &[&str], value: &str) {
        fs::write(self.file(names), value).unwrap();
    }

    pub fn set_memory(&self, bytes: u64) {
        self.write(&["memory.limit_in_bytes", "memory.max"], &bytes.to_string());
    }

    pub fn processes(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.dirs[0].join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|l| l.parse().ok()).collect()
    }

    /// A command that is started in it: a shell that joins first.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("sh");
        let files: Vec<String> =
            self.dirs.iter().map(|d| format!("echo $$ > {}", d.join("cgroup.procs").display())).collect();
        command.args(["-c", &format!("{}; exec {program} \"$@\"", files.join("; ")), "sh"]);
        command
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for dir in &self.dirs {
            let thaw = [("freezer.state", "THAWED"), ("cgroup.freeze", "0")];
            thaw.iter().for_each(|(file, word)| drop(fs::write(dir.join(file), word)));
            eventually(Duration::from_secs(10), || {
                let inside = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
                for pid in inside.lines().filter_map(|l| l.parse().ok()) {
                    let _ =
                        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL);
                }
                fs::remove_dir(dir).is_ok() || !dir.exists()
            });
        }
    }
}

/// A filesystem in memory with limits, unmounted when it is dropped.
pub struct Tmpfs(pub PathBuf);

impl Tmpfs {
    pub fn mount(at: &Path, options: &str) -> Option<Tmpfs> {
        fs::create_dir_all(at).unwrap();
        let done = nix::mount::mount(
            Some("murphy-test"),
            at,
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            Some(options),
        );
        need("root, to mount a filesystem", done.is_ok()).then(|| Tmpfs(at.to_owned()))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}
