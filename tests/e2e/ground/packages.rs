use super::agent::Finished;
use super::statistics::eventually;
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
pub fn install(into: &Path, how: impl Fn(&Path) -> Command) -> bool {
    let mut last = None;
    for attempt in 0..3_u64 {
        if into.is_dir() {
            return true;
        }
        std::thread::sleep(Duration::from_secs(attempt * 3));
        let part = into.with_extension(format!("part{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&part);
        std::fs::create_dir_all(&part).unwrap();
        let done = run(&mut how(&part));
        if done.code == 0 {
            // Fails when another run was faster.
            let _ = std::fs::rename(&part, into);
        } else {
            last = Some(done);
        }
        let _ = std::fs::remove_dir_all(&part);
    }
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
