//! What `murphy doctor` says of a fault, against trying it: as root, as an ordinary user, and as root with no more
//! capabilities than a container has by default.

mod inside;

use crate::ground::{TempDir, eventually, is_root, need, program};
use crate::network::hosts::Host;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What Docker and podman leave to root in a container.
const CONTAINER: &str = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,\
                         +net_raw,+sys_chroot,+mknod,+audit_write,+setfcap";

/// Faults that can be tried: on a process of one's own (VICTIM), in a network that is nobody's (NET), on files of one's own.
/// What would touch the machine is tried only where doctor says that it is impossible (!). ~ is a space.
const CASES: &str = "
    VICTIM clock offset=5s
    VICTIM pause
    VICTIM rlimit_squeeze nofile=500
    VICTIM fd_fill count=10
    VICTIM kill_loop every=100ms signal=SIGCONT
    node:self cpu load=1%
    node:self memory size=1MiB
    node:self io DIR size=64KiB rate=64KB/s direct=false
    node:self stress_ng args=--cpu~1
    node:self disk_fill DIR size=64KiB
    node:self inode_fill DIR count=5
    node:self file_chmod FILE mode=0600
    node:self file_append FILE text=more
    node:self file_replace FILE text=other
    node:self file_truncate FILE size=0B
    node:self file_move FILE to=away
    node:self file_delete FILE
    node:self hosts HOSTS names=db
    node:self env_file ENV set=A:2
    NET net_delay delay=10ms interface=lo
    NET net_loss chance=1% interface=lo
    NET net_duplicate chance=1% interface=lo
    NET net_corrupt chance=1% interface=lo
    NET net_reorder chance=1% interface=lo
    NET net_rate rate=1Mbit/s interface=lo
    NET net_slot every=10ms interface=lo
    NET partition peer=127.0.0.9 interface=lo
    NET dns names=x.invalid answer=nxdomain upstream=127.0.0.1
    node:self port_occupy port=20077 address=127.0.0.77
    !node:self system_clock offset=1s
    !node:self ntp_stop
    !node:self service_stop unit=nobody.service
    container:none-of-that-name container_stop
    container:none-of-that-name container_limits memory=64MiB
";

/// Someone who runs murphy, with a copy of it that anyone may run.
struct Someone {
    name: &'static str,
    /// A command that leads to the next.
    before: Vec<String>,
    setpriv: Vec<String>,
    /// Who is not root.
    user: Option<u32>,
    dir: TempDir,
    binary: PathBuf,
}

impl Someone {
    fn new(name: &'static str, setpriv: &[&str]) -> Someone {
        let dir = TempDir::new();
        let binary = dir.path().join("murphy");
        fs::copy(env!("CARGO_BIN_EXE_murphy"), &binary).unwrap();
        for path in [dir.path(), &binary] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        }
        Someone {
            name,
            before: vec![],
            setpriv: setpriv.iter().map(|w| (*w).to_owned()).collect(),
            user: None,
            dir,
            binary,
        }
    }

    fn of_user(self, user: u32) -> Someone {
        Someone { user: Some(user), ..self }
    }

    /// A file of theirs, as a parameter.
    fn own(&self, name: &str, text: &str) -> String {
        let file = self.dir.file(name, text);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        if let Some(user) = self.user {
            std::os::unix::fs::chown(&file, Some(user), Some(user)).unwrap();
        }
        format!("path={}", file.display())
    }

    fn command(&self, program: &Path) -> Command {
        let mut words: Vec<&std::ffi::OsStr> = self.before.iter().map(AsRef::as_ref).collect();
        if !self.setpriv.is_empty() {
            words.push("setpriv".as_ref());
            words.extend(self.setpriv.iter().map(AsRef::<std::ffi::OsStr>::as_ref));
            words.push("--".as_ref());
        }
        words.push(program.as_os_str());
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        let dir = self.dir.path();
        command.current_dir(dir).env("MURPHY_STATE_DIR", dir.join("state")).env("XDG_RUNTIME_DIR", dir);
        command.env_remove("MURPHY_SOCKET").env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    /// Every fault, with whether it is possible and what is missing.
    fn doctor(&self) -> BTreeMap<String, (bool, String)> {
        let out = self.command(&self.binary).args(["doctor", "--json"]).output().unwrap();
        let all: Vec<serde_json::Value> = serde_json::from_slice(&out.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)));
        all.iter()
            .filter_map(|c| {
                let name = c["name"].as_str()?.strip_prefix("fault ")?.to_owned();
                let hint = c["hint"].as_str().unwrap_or_default().to_owned();
                Some((name, (c["ok"].as_bool()?, hint)))
            })
            .collect()
    }

    /// Arms it for a moment; whether that was possible, and what was said.
    fn tries(&self, words: &[&str]) -> (bool, String) {
        let mut command = self.command(&self.binary);
        command.arg("arm").args(words);
        if !model::catalogue::find(words[1]).unwrap().one_shot {
            command.args(["--for", "60ms"]);
        }
        let out = command.output().unwrap();
        (
            out.status.success(),
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)),
        )
    }
}

/// A process of someone's.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Tries each of these; how many, and what was said that is not so.
fn check(someone: &Someone, cases: &str, victim: &str, net: &str) -> (usize, Vec<String>) {
    let says = someone.doctor();
    assert!(says.len() > 60, "{}: {} faults", someone.name, says.len());
    let (file, hosts) = (someone.own("a-file", "x"), someone.own("hosts", "127.0.0.1 localhost db\n"));
    let (env, dir) = (someone.own("env", "A=1\n"), format!("path={}", someone.dir.path().display()));
    let words = |line: &str| {
        let line = line.replace("VICTIM", victim).replace("NET", net).replace("DIR", &dir);
        let line = line.replace("FILE", &file).replace("HOSTS", &hosts).replace("ENV", &env);
        let line = line.replace("to=away", &format!("to={}", someone.dir.path().join("away").display()));
        line.split(' ').map(|word| word.replace('~', " ")).collect::<Vec<_>>()
    };
    let (mut tried, mut wrong) = (0, Vec::new());
    for line in cases.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let harmless = !line.starts_with('!');
        let words = words(line.trim_start_matches('!'));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let fault = words[1];
        let (possible, why) = &says[fault];
        if *possible && !harmless {
            continue;
        }
        // Another agent on this machine may have the same target for a while: that is no answer.
        let (mut done, mut told) = someone.tries(&words);
        eventually(Duration::from_secs(60), || {
            let held = told.contains("end those first");
            if held {
                (done, told) = someone.tries(&words);
            }
            !held
        });
        tried += 1;
        eprintln!("{}: {fault}: says {possible} ({why}), is {done}", someone.name);
        if done != *possible || (!possible && why.is_empty()) {
            wrong.push(format!("{}: {fault}: says {possible}: {why:?}; is {done}: {told}", someone.name));
        }
    }
    (tried, wrong)
}

#[test]
fn what_doctor_says_is_what_happens() {
    let setpriv = program("setpriv", &[]);
    if !need("root and setpriv (apt-get install util-linux)", is_root() && setpriv.is_some()) {
        return;
    }
    let _one = crate::ground::this_machine();
    // A network that is nobody's, for faults on packets.
    let apart = Host::start();
    apart.sh("ip link set lo up");
    let net = format!("process:{}", apart.pid());
    let (mut tried, mut wrong) = (0, Vec::new());
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"];
    let container = [format!("--bounding-set={CONTAINER}"), "--inh-caps=-all".to_owned()];
    let container: Vec<&str> = container.iter().map(String::as_str).collect();
    for someone in [
        Someone::new("root", &[]),
        Someone::new("an ordinary user", &nobody).of_user(65534),
        Someone::new("root of a container", &container),
    ] {
        let sleep = program("sleep", &[]).unwrap();
        let victim = Victim(someone.command(&sleep).arg("600").spawn().unwrap());
        // It is that program, and no longer setpriv, when its name says so.
        let is = || fs::read_to_string(format!("/proc/{}/comm", victim.0.id())).is_ok_and(|c| c == "sleep\n");
        assert!(eventually(Duration::from_secs(20), is));
        let (n, lies) = check(&someone, CASES, &format!("process:{}", victim.0.id()), &net);
        tried += n;
        wrong.extend(lies);
    }
    eprintln!("{tried} lines tried");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What a container has that was started with --cap-add NET_ADMIN --cap-add NET_RAW, in its own network.
#[test]
fn networks_are_possible_where_one_is_without_the_right_to_enter_others() {
    let there = program("setpriv", &[]).is_some() && program("nsenter", &[]).is_some();
    if !need("root, setpriv and nsenter (apt-get install util-linux)", is_root() && there) {
        return;
    }
    let _one = crate::ground::this_machine();
    let (own, other) = (Host::start(), Host::start());
    own.sh("ip link set lo up");
    let before = own.sh("nft list ruleset; ip -o link; tc qdisc");
    let bound = format!("--bounding-set={CONTAINER},+net_admin");
    let mut someone = Someone::new("root of a container with NET_ADMIN", &[&bound, "--inh-caps=-all"]);
    // It gets there before it loses the right to.
    let net = format!("--net=/proc/{}/ns/net", own.pid());
    someone.before = vec!["nsenter".into(), net];
    let says = someone.doctor();
    let elsewhere = format!("process:{}", other.pid());
    for line in [
        "net_loss chance=1% interface=lo",
        "net_delay delay=10ms interface=lo",
        "net_rate rate=1Mbit/s interface=lo",
        "partition peer=127.0.0.9 interface=lo",
        "dns names=x.invalid answer=nxdomain upstream=127.0.0.1",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let (possible, why) = &says[words[0]];
        let (done, told) = someone.tries(&[&["node:self"], &words[..]].concat());
        eprintln!("{}: {}: says {possible} ({why}), is {done}", someone.name, words[0]);
        assert_eq!(done, *possible, "{line}: doctor says {why:?}, trying says {told}");
        assert!(!possible || why.contains("elsewhere"), "{line}: {why}");
        let (done, told) = someone.tries(&[&[elsewhere.as_str()], &words[..]].concat());
        assert!(
            !done && told.contains("cannot be opened") || told.contains("CAP_SYS_ADMIN"),
            "{line}: {told}"
        );
    }
    assert!(says["net_loss"].0, "{}", says["net_loss"].1);
    assert_eq!(own.sh("nft list ruleset; ip -o link; tc qdisc"), before);
}
