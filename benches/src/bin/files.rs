//! What it costs to stand between programs and their files: murphy with no fault on, with faults that match nothing, with
//! its options, beside the directory itself and libfuse's examples.
//!
//! `cargo build --release && cargo run --release -p murphy-benches --bin files [ROUNDS]`, as root. Everything happens in a
//! mount namespace of its own. `MURPHY_LIBFUSE=DIR` names a directory with libfuse's `passthrough_ll` and
//! `passthrough_hp`; git and sqlite3 are taken from the path.
#![forbid(unsafe_code)]

use murphy_benches::process;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
/// Bytes of the file that is read and written.
const SIZE: usize = 128 * MIB;
/// Files of the tree that is unpacked and walked.
const TREE: usize = 3000;

/// One way to serve a directory.
struct Way {
    name: &'static str,
    start: Box<Start>,
}

/// Serves a source at a place; no child when nothing has to be started.
type Start = dyn Fn(&Path, &Path) -> io::Result<Option<Child>>;

/// A measurement: a name and what it takes, in seconds or per operation; smaller is better.
type Measure = (&'static str, fn(&Path) -> io::Result<f64>);

const MEASURES: &[Measure] = &[
    ("seq write", seq_write),
    ("seq read cold", seq_read_cold),
    ("seq read warm", seq_read_warm),
    ("4k read warm", random_read),
    ("4k write", random_write),
    ("untar", untar),
    ("walk", walk),
    ("git clone", git_clone),
    ("sqlite", sqlite),
    ("4k fsync", fsync),
];

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    if first.as_deref() != Some("inside") {
        let own = std::env::current_exe()?;
        let rounds = first.unwrap_or_else(|| "5".into());
        let status = Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .arg(own)
            .args(["inside", &rounds])
            .status()?;
        std::process::exit(status.code().unwrap_or(1));
    }
    let rounds = arguments.next().and_then(|s| s.parse().ok()).unwrap_or(5);
    let load = fs::read_to_string("/proc/loadavg")?;
    println!("load before: {}", load.trim());
    for ground in ["tmpfs", "ext4"] {
        if let Err(e) = compare(ground, rounds) {
            println!("{ground}: {e}");
        }
    }
    Ok(())
}

fn compare(ground: &str, rounds: usize) -> io::Result<()> {
    let dir = tempfile::Builder::new().prefix("files").tempdir()?;
    let at = dir.path().join("ground");
    fs::create_dir(&at)?;
    mount(ground, dir.path(), &at)?;
    prepare(dir.path())?;
    println!(
        "\n{ground}: part of the directory's own speed, median of {rounds}; CPU of the server in ms per 1000 4k writes"
    );
    print!("{:<24}", "");
    MEASURES.iter().for_each(|(name, _)| print!("{name:>15}"));
    println!("{:>12}", "CPU");
    let mut native: Vec<f64> = Vec::new();
    for way in ways() {
        let (source, shown) = (at.join(format!("s-{}", native.len())), at.join("shown"));
        let _ = fs::remove_dir_all(&source);
        fs::create_dir_all(&source)?;
        fs::create_dir_all(&shown)?;
        let server = (way.start)(&source, &shown)?;
        let place = if server.is_some() { &shown } else { &source };
        let mut row = Vec::new();
        let mut cpu = 0.0;
        for (name, measure) in MEASURES {
            let before = server.as_ref().map_or(0.0, |s| process::cpu_seconds(s.id()));
            let mut times = Vec::new();
            for _ in 0..rounds {
                // What one of them cannot do is no reason to know nothing of the others.
                times.push(measure(place).unwrap_or(f64::NAN));
            }
            times.sort_by(f64::total_cmp);
            row.push(times[times.len() / 2]);
            if *name == "4k write" {
                let used = server.as_ref().map_or(0.0, |s| process::cpu_seconds(s.id())) - before;
                cpu = used * 1e6 / (rounds * WRITES) as f64;
            }
        }
        if let Some(mut server) = server {
            let _ = Command::new("umount").arg("-l").arg(&shown).status();
            let _ = Command::new("kill").arg("-INT").arg(server.id().to_string()).status();
            let _ = server.wait();
        }
        print!("{:<24}", way.name);
        if native.is_empty() {
            row.iter().for_each(|t| print!("{:>13.3}ms", t * 1e3));
            native = row;
            println!();
        } else {
            for (t, own) in row.iter().zip(&native) {
                match t.is_nan() {
                    true => print!("{:>15}", "fails"),
                    false => print!("{:>15.3}", own / t),
                }
            }
            println!("{cpu:>12.1}");
        }
        let _ = fs::remove_dir_all(&source);
    }
    Ok(())
}

fn mount(ground: &str, dir: &Path, at: &Path) -> io::Result<()> {
    let mut command = Command::new("mount");
    match ground {
        "ext4" => {
            let image = dir.join("image");
            File::create(&image)?.set_len(1 << 31)?;
            let made = Command::new("mkfs.ext4").arg("-q").arg(&image).status()?;
            if !made.success() {
                return Err(io::Error::other("mkfs.ext4 failed"));
            }
            command.args(["-o", "loop"]).arg(&image).arg(at)
        }
        _ => command.args(["-t", "tmpfs", "tmpfs"]).arg(at),
    };
    if command.status()?.success() { Ok(()) } else { Err(io::Error::other("it cannot be mounted here")) }
}

/// A tar file and a repository to begin with.
fn prepare(dir: &Path) -> io::Result<()> {
    let tree = dir.join("tree");
    for i in 0..TREE {
        let folder = tree.join(format!("{}", i / 50));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("file-{i}")), vec![b'x'; 500 + i % 8000])?;
    }
    run(Command::new("tar").arg("-cf").arg(dir.join("tree.tar")).arg("-C").arg(dir).arg("tree"))?;
    run(Command::new("git").args(["init", "-q"]).arg(&tree))?;
    run(Command::new("git").arg("-C").arg(&tree).args(["add", "."]))?;
    run(Command::new("git").arg("-C").arg(&tree).args([
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b",
        "commit",
        "-qm",
        "a",
    ]))
}

fn run(command: &mut Command) -> io::Result<()> {
    let done = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if done.success() { Ok(()) } else { Err(io::Error::other(format!("{command:?} failed"))) }
}

fn ways() -> Vec<Way> {
    let way =
        |name, start: fn(&Path, &Path) -> io::Result<Option<Child>>| Way { name, start: Box::new(start) };
    let mut all = vec![
        way("the directory itself", |_, _| Ok(None)),
        way("murphy", |s, d| murphy(s, d, &[], false)),
        way("murphy, 20 idle faults", |s, d| murphy(s, d, &[], true)),
        way("murphy --writeback", |s, d| murphy(s, d, &["--writeback"], false)),
        way("murphy --passthrough *", |s, d| murphy(s, d, &["--passthrough", "*"], false)),
        way("murphy --track-unsynced", |s, d| murphy(s, d, &["--track-unsynced"], false)),
    ];
    if let Some(dir) = std::env::var_os("MURPHY_LIBFUSE").map(PathBuf::from) {
        for (name, cache) in [("passthrough_ll", true), ("passthrough_hp", false)] {
            let program = dir.join(name);
            if program.exists() {
                let start = move |s: &Path, d: &Path| libfuse(&program, s, d, cache).map(Some);
                all.push(Way { name, start: Box::new(start) });
            }
        }
    }
    all
}

fn murphy(source: &Path, shown: &Path, options: &[&str], faults: bool) -> io::Result<Option<Child>> {
    let binary = std::env::current_exe()?.with_file_name("murphy");
    let state = source.parent().and_then(Path::parent).unwrap_or(source).join("state");
    let socket = state.join("bench.sock");
    fs::create_dir_all(&state)?;
    let child = Command::new(&binary)
        .env("MURPHY_STATE_DIR", &state)
        .arg("mount")
        .arg(shown)
        .arg("--source")
        .arg(source)
        .args(options)
        .arg("--socket")
        .arg(&socket)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    mounted(shown)?;
    if faults {
        for i in 0..20 {
            run(Command::new(&binary)
                .arg("arm")
                .arg("--socket")
                .arg(&socket)
                .arg(format!("fs:{}", shown.display()))
                .args(["io_error", "--for", "1h", "--when"])
                .arg(format!("path=/nowhere/{i}/*")))?;
        }
    }
    Ok(Some(child))
}

fn libfuse(program: &Path, source: &Path, shown: &Path, cached: bool) -> io::Result<Child> {
    let mut command = Command::new(program);
    if cached {
        let options = format!("source={},cache=always,allow_other,default_permissions", source.display());
        command.args(["-f", "-o", &options]).arg(shown);
    } else {
        command.args(["--foreground", "--clone-fd"]).arg(source).arg(shown);
    }
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    mounted(shown)?;
    Ok(child)
}

fn mounted(at: &Path) -> io::Result<()> {
    let until = Instant::now() + Duration::from_secs(20);
    let path = at.to_string_lossy().into_owned();
    while Instant::now() < until {
        let table = fs::read_to_string("/proc/self/mountinfo")?;
        if table.lines().any(|l| l.split(' ').nth(4) == Some(&path) && l.contains(" - fuse")) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(io::Error::other(format!("nothing was mounted on {path}")))
}

fn timed(act: impl FnOnce() -> io::Result<()>) -> io::Result<f64> {
    let began = Instant::now();
    act()?;
    Ok(began.elapsed().as_secs_f64())
}

fn seq_write(d: &Path) -> io::Result<f64> {
    let block = vec![7; MIB];
    let _ = fs::remove_file(d.join("big"));
    timed(|| {
        let mut f = File::create(d.join("big"))?;
        (0..SIZE / MIB).try_for_each(|_| f.write_all(&block))
    })
}

fn read_all(d: &Path) -> io::Result<()> {
    let f = File::open(d.join("big"))?;
    let mut block = vec![0; MIB];
    (0..SIZE / MIB).try_for_each(|i| f.read_exact_at(&mut block, (i * MIB) as u64))
}

fn seq_read_cold(d: &Path) -> io::Result<f64> {
    // Of the source's pages only clean ones go.
    run(Command::new("sync").arg(d.join("big")))?;
    fs::write("/proc/sys/vm/drop_caches", "1")?;
    timed(|| read_all(d))
}

fn seq_read_warm(d: &Path) -> io::Result<f64> {
    read_all(d)?;
    // Once is over in a few milliseconds, which says more about the moment.
    let all = timed(|| (0..PASSES).try_for_each(|_| read_all(d)))?;
    Ok(all / f64::from(PASSES))
}

const PASSES: u32 = 8;

/// Pages in an order that jumps about.
fn pages(n: usize) -> impl Iterator<Item = u64> {
    (0..n).map(|i| ((i * 7919) % (SIZE / 4096) * 4096) as u64)
}

fn random_read(d: &Path) -> io::Result<f64> {
    read_all(d)?;
    let f = File::open(d.join("big"))?;
    let mut page = [0; 4096];
    timed(|| pages(100_000).try_for_each(|at| f.read_exact_at(&mut page, at)))
}

const WRITES: usize = 20_000;

fn random_write(d: &Path) -> io::Result<f64> {
    let f = File::options().write(true).open(d.join("big"))?;
    timed(|| pages(WRITES).try_for_each(|at| f.write_all_at(&[3; 4096], at)))
}

fn untar(d: &Path) -> io::Result<f64> {
    let _ = fs::remove_dir_all(d.join("tree"));
    let tar = top(d).join("tree.tar");
    timed(|| run(Command::new("tar").arg("-xf").arg(tar).arg("-C").arg(d)))
}

fn walk(d: &Path) -> io::Result<f64> {
    timed(|| run(Command::new("find").arg(d.join("tree")).args(["-type", "f", "-size", "+100k"])))
}

fn git_clone(d: &Path) -> io::Result<f64> {
    let _ = fs::remove_dir_all(d.join("clone"));
    let from = format!("file://{}", top(d).join("tree").display());
    timed(|| run(Command::new("git").args(["clone", "-q", &from]).arg(d.join("clone"))))
}

fn sqlite(d: &Path) -> io::Result<f64> {
    let _ = fs::remove_file(d.join("db"));
    let rows = "insert into t values(randomblob(500));".repeat(300);
    let script = format!("pragma synchronous=full; create table t(x); {rows}");
    timed(|| run(Command::new("sqlite3").arg(d.join("db")).arg(script)))
}

fn fsync(d: &Path) -> io::Result<f64> {
    let f = File::options().write(true).open(d.join("big"))?;
    timed(|| {
        pages(200).try_for_each(|at| {
            f.write_all_at(&[5; 4096], at)?;
            f.sync_data()
        })
    })
}

fn top(d: &Path) -> PathBuf {
    d.parent().and_then(Path::parent).unwrap_or(d).to_owned()
}
