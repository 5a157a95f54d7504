use super::agent::Finished;
use super::statistics::eventually;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long installing, building or running a client may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Where the scripts and lists of a kind of client are.
pub fn sources(client: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(client)
}

/// Where what belongs to these sources is kept between runs; another place when they change.
pub fn cache(client: &str, sources: &[&Path]) -> PathBuf {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    sources.iter().for_each(|file| std::fs::read(file).unwrap().hash(&mut hasher));
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients").join(format!("{client}-{:x}", hasher.finish()))
}

/// Runs a command to its end, which comes; the machine's other work goes first.
pub fn run(command: &mut Command) -> Finished {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let drain = |mut pipe: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut all = Vec::new();
            let _ = pipe.read_to_end(&mut all);
            String::from_utf8_lossy(&all).into_owned()
        })
    };
    let out = drain(Box::new(child.stdout.take().unwrap()));
    let err = drain(Box::new(child.stderr.take().unwrap()));
    let mut code = -1;
    let ended = eventually(PATIENCE, || match child.try_wait() {
        Ok(Some(status)) => {
            code = status.code().unwrap_or(-1);
            true
        }
        _ => false,
    });
    if !ended {
        let _ = child.kill();
        let _ = child.wait();
    }
    Finished { code, out: out.join().unwrap(), err: err.join().unwrap() }
}

/// Installs into a directory that is there afterwards, whole or not at all; some tries, for registries have bad moments.
/// Tests that ask for the same at the same time, of this process or another, wait for the first.
pub fn install(into: &Path, how: impl Fn(&Path) -> Command) -> bool {
    let beside = |end: &str| {
        let mut name = into.file_name().unwrap().to_owned();
        name.push(end);
        into.with_file_name(name)
    };
    std::fs::create_dir_all(into.parent().unwrap()).unwrap();
    let one = File::options().create(true).append(true).open(beside(".lock")).unwrap();
    one.lock().unwrap();
    let part = beside(".part");
    let mut last = None;
    for attempt in 0..3_u64 {
        if into.is_dir() {
            return true;
        }
        std::thread::sleep(Duration::from_secs(attempt * 3));
        // What is there was left by one that was killed.
        let _ = std::fs::remove_dir_all(&part);
        std::fs::create_dir(&part).unwrap();
        let done = run(&mut how(&part));
        if done.code == 0 {
            std::fs::rename(&part, into).unwrap();
        } else {
            last = Some(done);
        }
    }
    let _ = std::fs::remove_dir_all(&part);
    if !into.is_dir() {
        eprintln!("{last:?}");
    }
    into.is_dir()
}

/// Installs what a list of requirements names from PyPI into a directory.
pub fn pip(python: &Path, into: &Path, requirements: &Path) -> Command {
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"])
        .args(["--root-user-action=ignore", "--only-binary", ":all:", "--no-deps", "--target"])
        .arg(into)
        .arg("-r")
        .arg(requirements);
    pip
}

/// Tests of one process once installed the same packages into one another's directory.
#[test]
fn what_several_ask_for_at_once_is_installed_once() {
    let dir = super::agent::TempDir::new();
    let (into, log) = (dir.path().join("packages-1.0"), dir.path().join("log"));
    let line = format!("echo begun >> {}; touch first; sleep 0.2; touch last", log.display());
    let whole = || {
        let there = install(&into, |part| {
            let mut command = Command::new("sh");
            command.args(["-ec", &line]).current_dir(part);
            command
        });
        there && into.join("first").exists() && into.join("last").exists()
    };
    std::thread::scope(|all| {
        let asked: Vec<_> = (0..8).map(|_| all.spawn(whole)).collect();
        assert!(asked.into_iter().all(|one| one.join().unwrap()));
    });
    assert_eq!(std::fs::read_to_string(log).unwrap(), "begun\n");
}
