//! A cluster of the test's own, and what is asked of it.

use crate::ground::{Daemon, Finished, TempDir, eventually, is_root, need, text_of};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long anything here may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// It is gone, with all that ran in it, when it is dropped.
pub struct Cluster {
    daemon: Daemon,
    home: TempDir,
    built: PathBuf,
    door: SocketAddr,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Told to end, it takes its control groups along.
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.daemon.id()),
            nix::sys::signal::Signal::SIGTERM,
        );
        let daemon = &mut self.daemon;
        eventually(Duration::from_secs(30), || daemon.ended().is_some());
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubernetes/cluster")
}

/// A file of `tests/kubernetes` or of the manifests.
pub fn manifest(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

impl Cluster {
    pub fn start() -> Option<Cluster> {
        let built = std::env::var_os("MURPHY_KUBERNETES").map(PathBuf::from).unwrap_or_default();
        let whole = built.join("servers/kubelet").exists() && built.join("images/murphy.tar").exists();
        if !need("root", is_root())
            || !need("MURPHY_KUBERNETES, where tests/kubernetes/cluster has built one", whole)
        {
            return None;
        }
        let home = TempDir::new();
        let mut run = Command::new(script());
        run.arg("run").arg(&built).arg(home.path().join("home"));
        let daemon = Daemon::start(run, &home.path().join("log"));
        let mut cluster = Cluster { daemon, home, built, door: ([127, 0, 0, 1], 0).into() };
        let ready = cluster.place("ready");
        let up = eventually(PATIENCE, || {
            assert!(cluster.daemon.ended().is_none(), "{}", text_of(&cluster.home.path().join("log")));
            ready.exists()
        });
        assert!(
            up,
            "{}\n{}",
            text_of(&cluster.home.path().join("log")),
            text_of(&cluster.place("log/kubelet"))
        );
        cluster.door = cluster.open_door();
        Some(cluster)
    }

    pub fn place(&self, name: &str) -> PathBuf {
        self.home.path().join("home").join(name)
    }

    /// Something that was built for it.
    pub fn built(&self, name: &str) -> String {
        self.built.join(name).display().to_string()
    }

    pub fn dir(&self) -> &Path {
        self.home.path()
    }

    fn pid(&self) -> u32 {
        std::fs::read_to_string(self.place("pid")).unwrap().trim().parse().unwrap()
    }

    /// The node's network.
    pub fn net(&self) -> host::Netns {
        host::Netns::of_process(self.pid()).unwrap()
    }

    /// A port of this machine that leads to the API server.
    fn open_door(&self) -> SocketAddr {
        let (listener, net) = (TcpListener::bind("127.0.0.1:0").unwrap(), self.net());
        let at = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(Ok(server)) = net.run(|| TcpStream::connect("127.0.0.1:6443")) else { return };
                let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { continue };
                for (mut from, mut to) in [(from, server), (to, client)] {
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(std::net::Shutdown::Both);
                    });
                }
            }
        });
        at
    }

    /// A kubeconfig of that user (`admin`, `shopkeeper`), for programs outside.
    pub fn config(&self, user: &str) -> PathBuf {
        let text = text_of(&self.place(&format!("keys/{user}.conf")));
        self.home.file(&format!("{user}.conf"), &text.replace("127.0.0.1:6443", &self.door.to_string()))
    }

    /// A command on the node.
    pub fn on_node(&self, words: &[&str]) -> Finished {
        Command::new(script())
            .arg("in")
            .arg(self.place(""))
            .args(words)
            .stdin(Stdio::null())
            .output()
            .unwrap()
            .into()
    }

    pub fn kubectl(&self, args: &[&str]) -> Finished {
        self.kubectl_in(args, "")
    }

    /// The same with something to read.
    pub fn kubectl_in(&self, args: &[&str], input: &str) -> Finished {
        let mut command = Command::new(self.built.join("kubectl/usr/bin/kubectl"));
        command.arg("--kubeconfig").arg(self.config("admin")).args(args).env("HOME", self.home.path());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Who does not read is told enough.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap().into()
    }

    /// One that must work; what it says.
    pub fn must(&self, args: &[&str]) -> String {
        let done = self.kubectl(args);
        assert_eq!(done.code, 0, "kubectl {args:?}: {}{}", done.out, done.err);
        done.out.trim().to_owned()
    }

    pub fn apply(&self, namespace: &str, manifests: &str) -> Finished {
        let done = self.kubectl_in(&["apply", "-n", namespace, "-f", "-"], manifests);
        assert_eq!(done.code, 0, "{}{}", done.out, done.err);
        done
    }

    /// Waits until all pods with these labels are ready.
    pub fn ready(&self, namespace: &str, selector: &str) {
        let made = eventually(PATIENCE, || {
            !self.must(&["get", "pods", "-n", namespace, "-l", selector, "-o", "name"]).is_empty()
        });
        assert!(made, "{}", self.must(&["get", "events", "-n", namespace]));
        let wait =
            ["wait", "--for=condition=Ready", "pod", "-n", namespace, "-l", selector, "--timeout=120s"];
        let done = self.kubectl(&wait);
        assert_eq!(done.code, 0, "{}{}", done.err, self.must(&["describe", "pods", "-n", namespace]));
    }

    /// A field of something.
    pub fn field(&self, namespace: &str, what: &str, path: &str) -> String {
        self.must(&["get", "-n", namespace, what, "-o", &format!("jsonpath={{{path}}}")])
    }

    /// What a web server of a pod says to someone on the node: its status, then its words.
    pub fn ask(&self, at: &str, path: &str) -> String {
        self.on_node(&[&self.built("files/app/app"), "ask", &format!("http://{at}{path}")]).out
    }

    /// `murphy ARGS` outside of the cluster.
    pub fn murphy(&self, args: &[&str]) -> Finished {
        crate::ground::murphy(self.home.path(), args)
    }

    /// The manifests with a sidecar, as clusters before native ones take them.
    pub fn with_sidecar(&self, manifests: &str) -> String {
        let file = self.home.file("plain.yaml", manifests);
        let done = self.murphy(&["sidecar", "inject", "--sidecar=container", "-f", file.to_str().unwrap()]);
        assert_eq!(done.code, 0, "{}", done.err);
        done.out
    }
}
