//! What `murphy doctor` says of a fault, against trying it: as root, as an ordinary user, and as root with no more
//! capabilities than a container has by default.

use crate::ground::{TempDir, is_root, need, program};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What Docker and podman leave to root in a container.
const CONTAINER: &str = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,\
                         +net_raw,+sys_chroot,+mknod,+audit_write,+setfcap";

/// Someone who runs murphy, with a copy of it that anyone may run.
struct Someone {
    name: &'static str,
    setpriv: Vec<String>,
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
        Someone { name, setpriv: setpriv.iter().map(|w| (*w).to_owned()).collect(), dir, binary }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = match self.setpriv.is_empty() {
            true => Command::new(program),
            false => Command::new("setpriv"),
        };
        if !self.setpriv.is_empty() {
            command.args(&self.setpriv).arg("--").arg(program);
        }
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
        command.arg("arm").args(words).args(["--for", "300ms"]);
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

#[test]
fn what_doctor_says_is_what_happens() {
    let setpriv = program("setpriv", &[]);
    if !need("root and setpriv (apt-get install util-linux)", is_root() && setpriv.is_some()) {
        return;
    }
    let _one = crate::ground::this_machine();
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"];
    let container = [format!("--bounding-set={CONTAINER}"), "--inh-caps=-all".to_owned()];
    let container: Vec<&str> = container.iter().map(String::as_str).collect();
    for someone in [
        Someone::new("root", &[]),
        Someone::new("an ordinary user", &nobody),
        Someone::new("root of a container", &container),
    ] {
        let says = someone.doctor();
        assert!(says.len() > 60, "{}: {} faults", someone.name, says.len());
        let sleep = program("sleep", &[]).unwrap();
        let victim = Victim(someone.command(&sleep).arg("600").spawn().unwrap());
        // It is that program, and no longer setpriv, when its name says so.
        let is = || fs::read_to_string(format!("/proc/{}/comm", victim.0.id())).is_ok_and(|c| c == "sleep\n");
        assert!(crate::ground::eventually(std::time::Duration::from_secs(20), is));
        let target = format!("process:{}", victim.0.id());
        let file = someone.dir.file("a-file", "x");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        if someone.setpriv.first().is_some_and(|w| w.starts_with("--reuid")) {
            std::os::unix::fs::chown(&file, Some(65534), Some(65534)).unwrap();
        }
        let file = format!("path={}", file.display());
        // What would touch the machine is tried only where doctor says that it is impossible.
        let cases: [(&str, Vec<&str>, bool); 9] = [
            ("clock", vec![&target, "clock", "offset=5s"], true),
            ("pause", vec![&target, "pause"], true),
            ("cpu", vec!["node:self", "cpu", "load=1%"], true),
            ("file_chmod", vec!["node:self", "file_chmod", &file, "mode=0600"], true),
            ("system_clock", vec!["node:self", "system_clock", "offset=1s"], false),
            ("ntp_stop", vec!["node:self", "ntp_stop"], false),
            ("stress_ng", vec!["node:self", "stress_ng", "args=--cpu 1"], false),
            ("container_stop", vec!["container:none-of-that-name", "container_stop"], false),
            ("net_delay", vec!["node:self", "net_delay", "delay=10ms"], false),
        ];
        for (fault, words, harmless) in cases {
            let (possible, why) = &says[fault];
            if *possible && !harmless {
                continue;
            }
            // Another agent on this machine may have the same target for a while: that is no answer.
            let (mut done, mut told) = someone.tries(&words);
            crate::ground::eventually(std::time::Duration::from_secs(60), || {
                let held = told.contains("end those first");
                if held {
                    (done, told) = someone.tries(&words);
                }
                !held
            });
            eprintln!("{}: {fault}: says {possible} ({why}), is {done}", someone.name);
            assert_eq!(done, *possible, "{}: {fault}: doctor says {why:?}, trying says {told}", someone.name);
            assert!(*possible || !why.is_empty(), "{}: {fault}: no reason", someone.name);
        }
    }
}
