//! The SSH connection that one is sitting on lives whatever is armed by it: with a real sshd, which is downloaded once and
//! not installed.

use super::hosts::{A4, Pair, ask, pair};
use crate::ground::{TempDir, eventually, foreground_in, install, need, program, text_of, this_machine};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

const PORT: u16 = 2222;

/// An sshd on the first host that lets root in by a key.
struct Sshd {
    child: Child,
    dir: TempDir,
}

impl Sshd {
    fn start(pair: &Pair) -> Option<Sshd> {
        let tools = ["ssh", "ssh-keygen", "apt-get", "dpkg"].iter().all(|name| program(name, &[]).is_some());
        if !need("ssh and ssh-keygen (apt-get install openssh-client), apt-get and dpkg", tools) {
            return None;
        }
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openssh-server");
        let there = install(&root, |into: &Path| {
            let mut fetch = Command::new("sh");
            let line = "apt-get -qq -o APT::Sandbox::User=root download openssh-server libwrap0 && \
                        for p in *.deb; do dpkg -x $p .; done && test -x usr/sbin/sshd";
            fetch.args(["-ec", line]).current_dir(into);
            fetch
        });
        if !need("openssh-server from the distribution's archive", there) {
            return None;
        }
        let dir = TempDir::new();
        for key in ["host", "mine"] {
            let mut make = Command::new("ssh-keygen");
            make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.path().join(key));
            assert!(make.status().unwrap().success());
        }
        // Whom sshd asks for: itself without rights, and us.
        dir.file("passwd", "root:x:0:0:root:/root:/bin/sh\nsshd:x:99:99::/:/bin/false\n");
        dir.file("shadow", "root:*:19000::::::\n");
        let at = |name: &str| dir.path().join(name).display().to_string();
        let line = format!(
            "mount --bind {} /etc/passwd; mount --bind {} /etc/shadow; mount -t tmpfs none /run; mkdir -m 755 /run/sshd; \
             exec {} -D -e -f /dev/null -p {PORT} -h {} -o AuthorizedKeysFile={} -o StrictModes=no -o UsePAM=no \
             -o PidFile=none -o PermitRootLogin=yes -o UseDNS=no",
            at("passwd"),
            at("shadow"),
            root.join("usr/sbin/sshd").display(),
            at("host"),
            at("mine.pub"),
        );
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", pair.a.pid()));
        command.args(["unshare", "--mount", "--propagation", "private", "sh", "-ec", &line]);
        command
            .env("LD_LIBRARY_PATH", libraries(&root))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap());
        let sshd = Sshd { child: command.stderr(log).spawn().unwrap(), dir };
        let up = eventually(Duration::from_secs(30), || reaches(pair));
        assert!(up, "sshd does not listen: {}", sshd.said());
        Some(sshd)
    }

    fn said(&self) -> String {
        text_of(&self.dir.path().join("log"))
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn libraries(root: &Path) -> PathBuf {
    let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
    root.join("usr/lib").join(triple)
}

/// Whether a new connection comes about from the second host to the first.
fn reaches(pair: &Pair) -> bool {
    let at = format!("{A4}:{PORT}").parse().unwrap();
    pair.b.run(|| TcpStream::connect_timeout(&at, Duration::from_millis(700)).is_ok())
}

/// A shell on the first host, by SSH from the second.
struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Session {
    fn open(pair: &Pair, sshd: &Sshd) -> Session {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", pair.b.pid()));
        command
            .args(["ssh", "-F", "/dev/null", "-p", &PORT.to_string(), "-i"])
            .arg(sshd.dir.path().join("mine"));
        command.args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
        ]);
        command.args(["-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", &format!("root@{A4}"), "sh"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Session { child, input, output }
    }

    /// Runs a line; the last line of what it says.
    fn sh(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").unwrap();
        let mut said = String::new();
        self.output.read_line(&mut said).unwrap();
        said.trim_end().to_owned()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn who_arms_by_ssh_does_not_lose_that_connection() {
    let _whole = this_machine();
    let Some(pair) = pair() else { return };
    let Some(sshd) = Sshd::start(&pair) else { return };
    let echo = super::hosts::Echo::start(&pair.a, A4, 0);
    let mut session = Session::open(&pair, &sshd);
    assert_eq!(session.sh("echo here"), "here", "{}", sshd.said());
    let home = TempDir::new();
    let mut exports = String::new();
    for (key, value) in foreground_in(home.path()).get_envs() {
        if let Some(value) = value {
            exports.push_str(&format!("export {}='{}'; ", key.display(), value.display()));
        }
    }
    let murphy = env!("CARGO_BIN_EXE_murphy");
    for fault in [
        "net_loss chance=100% direction=both",
        "partition peer=0.0.0.0/0",
        "net_delay delay=3s direction=both",
    ] {
        let file = home.path().join(fault.split(' ').next().unwrap());
        let begin = format!(
            "{exports} unset MURPHY_SOCKET; {murphy} arm node:self {fault} --for 10m > {} 2>&1 & echo started",
            file.display()
        );
        assert_eq!(session.sh(&begin), "started");
        let said = || text_of(&file);
        assert!(eventually(Duration::from_secs(60), || said().contains(" is on:")), "{fault}: {}", said());
        assert!(said().contains("left alone: the SSH connection of this session"), "{fault}: {}", said());
        let mut took = Vec::new();
        for n in 0..5 {
            // Neighbours are asked for anew.
            pair.a.sh("ip neigh flush all");
            let began = std::time::Instant::now();
            assert_eq!(session.sh(&format!("echo {n}")), n.to_string());
            took.push(began.elapsed());
        }
        assert!(
            took.iter().any(|took| *took < Duration::from_secs(3)),
            "{fault}: answers by SSH took {took:?}"
        );
        // All others are hit, also on that port.
        let other = pair.b.run(|| ask(echo.at, 1, Duration::from_millis(600)));
        assert!(other.is_empty() && !reaches(&pair), "{fault} hits nobody");
        assert_eq!(session.sh("kill %1 2> /dev/null || kill $!; wait; echo over"), "over");
        assert!(eventually(Duration::from_secs(60), || reaches(&pair)), "{fault} stays");
    }
}
