//! A pod and the world outside: two namespaces on a wire, an application and a service that say who asked them.

use crate::ground::{Finished, TempDir, eventually, need, program};
use crate::network::hosts::{A4, B4, B6, Host, Pair, pair};
use control::{Client, Endpoint};
use rustix::fs::Mode;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The user that the proxy runs as.
pub const USER: u32 = 2102;
/// The pod's addresses, and those of the world outside.
pub const POD: [&str; 2] = [A4, "fd87::1"];
pub const WORLD: [&str; 2] = [B4, B6];
/// What the application listens on: lines, and HTTP.
pub const LINES: u16 = 8080;
pub const HTTP: u16 = 8081;
/// What the service outside listens on.
pub const SERVICE: u16 = 5432;
/// How long anything here may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The ports that lead through murphy.
pub const WAYS: [&str; 4] = ["--inbound", "web=8080,site=8081/http", "--outbound", "db=5432"];

pub struct Pod {
    pub pair: Pair,
    dir: TempDir,
    program: PathBuf,
    stop: Arc<AtomicBool>,
    proxy: Option<Child>,
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Pod {
    /// A pod with its application, without a proxy; none where that is not possible.
    pub fn start() -> Option<Pod> {
        if !need("the program setpriv", program("setpriv", &[]).is_some()) {
            return None;
        }
        let pair = pair()?;
        let dir = TempDir::new();
        rustix::fs::chmod(dir.path(), Mode::from_raw_mode(0o755)).unwrap();
        // Another user may not reach the place where we were built.
        let program = dir.path().join("murphy");
        if std::fs::hard_link(env!("CARGO_BIN_EXE_murphy"), &program).is_err() {
            std::fs::copy(env!("CARGO_BIN_EXE_murphy"), &program).unwrap();
        }
        let own = dir.path().join("own");
        std::fs::create_dir(&own).unwrap();
        // As the kubelet makes an emptyDir: root's, and everyone may write.
        rustix::fs::chmod(&own, Mode::from_raw_mode(0o777)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        for port in [LINES, HTTP] {
            serve(&pair.a, port, port == HTTP, &stop);
        }
        serve(&pair.b, SERVICE, false, &stop);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = Client::new(Endpoint::unix(own.join("control/murphy.sock")));
        Some(Pod { pair, dir, program, stop, proxy: None, runtime, client })
    }

    /// Murphy in the pod's network, behind `setpriv WORDS`.
    fn murphy(&self, words: &[&str], args: &[&str]) -> Command {
        let own = self.dir.path().join("own");
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.pair.a.pid()))
            .arg("setpriv")
            .args(["--no-new-privs", "--clear-groups"])
            .args(words)
            .arg(&self.program)
            .args(args)
            .env("MURPHY_STATE_DIR", own.join("state"))
            .env("MURPHY_SOCKET", own.join("control/murphy.sock"))
            .stdin(Stdio::null());
        command
    }

    /// `murphy sidecar init` as its container runs it: root, with CAP_NET_ADMIN and nothing else.
    pub fn init(&self, args: &[&str]) -> Finished {
        let all = [&["sidecar", "init"], args].concat();
        self.murphy(&["--bounding-set", "-all,+net_admin"], &all).output().unwrap().into()
    }

    /// The proxy as its container runs it: a user of its own, with no capability.
    pub fn proxy(&mut self) {
        self.proxy_with(&[]);
    }

    /// The same with more on its command line.
    pub fn proxy_with(&mut self, more: &[&str]) {
        let user = USER.to_string();
        let words = ["--reuid", &user, "--regid", &user, "--bounding-set", "-all", "--inh-caps", "-all"];
        self.run(&words, &[&["sidecar", "run"][..], &WAYS, more].concat());
    }

    /// The proxy as an ephemeral container runs it: root that may do three things, until it has done them.
    pub fn attached(&mut self) {
        let words = ["--bounding-set", "-all,+net_admin,+setuid,+setgid"];
        self.run(&words, &[&["sidecar", "run", "--owned", "--for", "1h"][..], &WAYS].concat());
    }

    fn run(&mut self, words: &[&str], args: &[&str]) {
        let command = self.murphy(words, args).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.proxy = Some(command.unwrap());
        assert!(
            eventually(PATIENCE, || self.ask(async |c| c.status().await).is_ok()),
            "the proxy does not answer"
        );
    }

    /// A file that everyone here may read.
    pub fn file(&self, name: &str, text: &str) -> String {
        self.dir.file(name, text).to_str().unwrap().to_owned()
    }

    /// Murphy of someone else: from outside, or in the pod's network.
    pub fn someone(&self, outside: bool, args: &[&str]) -> Finished {
        let host = if outside { &self.pair.b } else { &self.pair.a };
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", host.pid())).arg(&self.program).args(args);
        command
            .env("MURPHY_STATE_DIR", self.dir.path().join("else"))
            .stdin(Stdio::null())
            .output()
            .unwrap()
            .into()
    }

    /// What the startup probe asks.
    pub fn ready(&self) -> i32 {
        let user = USER.to_string();
        let words = ["--reuid", &user, "--regid", &user, "--bounding-set", "-all", "--inh-caps", "-all"];
        Finished::from(self.murphy(&words, &["sidecar", "ready"]).output().unwrap()).code
    }

    pub fn proxy_pid(&self) -> u32 {
        self.proxy.as_ref().unwrap().id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut proxy = self.proxy.take().unwrap();
        proxy.kill().unwrap();
        proxy.wait().unwrap();
    }

    /// SIGTERM, and the end that follows.
    pub fn end(&mut self) {
        let mut proxy = self.proxy.take().unwrap();
        let pid = nix::unistd::Pid::from_raw(proxy.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        assert!(eventually(PATIENCE, || proxy.try_wait().unwrap().is_some()), "it does not end");
    }

    pub fn ask<T>(&self, call: impl AsyncFnOnce(&Client) -> T) -> T {
        self.runtime.block_on(call(&self.client))
    }

    /// Arms a fault; gives its id.
    pub fn arm(&self, target: &str, name: &str, params: &[(&str, &str)]) -> String {
        let fault = model::Fault {
            id: None,
            target: target.parse().unwrap(),
            inject: model::Injection::from_pairs(name, params.iter().copied()).unwrap(),
            lasts: Some("60s".parse().unwrap()),
            share: model::Share::All,
            per: None,
            when: None,
            ramp: None,
            seed: Some(7),
        };
        self.ask(async |c| c.arm(&fault, None).await).unwrap().id
    }

    /// Disarms; how often it applied.
    pub fn disarm(&self, id: &str) -> u64 {
        self.ask(async |c| c.disarm(id).await).unwrap().evidence.applied
    }

    /// From outside into the pod.
    pub fn inward(&self, ip: &str, port: u16) -> std::io::Result<Talk> {
        Talk::open(&self.pair.b, ip, port)
    }

    /// The same, apart from the pod.
    pub fn caller(&self, ip: &str, port: u16) -> Caller {
        let from = host::Netns::of_process(self.pair.b.pid()).unwrap();
        Caller { from, to: SocketAddr::new(ip.parse().unwrap(), port) }
    }

    /// From the pod to the outside.
    pub fn outward(&self, ip: &str) -> std::io::Result<Talk> {
        Talk::open(&self.pair.a, ip, SERVICE)
    }

    /// Whom the application sees when it is asked from outside; an error says so.
    pub fn seen(&self, ip: &str, port: u16) -> String {
        self.inward(ip, port).and_then(|mut talk| talk.who()).unwrap_or_else(|e| format!("{e}"))
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(mut proxy) = self.proxy.take() {
            let _ = proxy.kill();
            let _ = proxy.wait();
        }
    }
}

/// Someone outside who connects and asks once, again and again, while the pod is worked on.
pub struct Caller {
    from: host::Netns,
    to: SocketAddr,
}

impl Caller {
    pub fn ask(&self) -> std::io::Result<String> {
        let stream = self.from.run(|| TcpStream::connect_timeout(&self.to, Duration::from_secs(5)))??;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Talk(BufReader::new(stream)).who()
    }
}

/// A connection on which lines are answered.
pub struct Talk(BufReader<TcpStream>);

impl Talk {
    fn open(from: &Host, ip: &str, port: u16) -> std::io::Result<Talk> {
        let to = SocketAddr::new(ip.parse().unwrap(), port);
        let stream = from.run(|| TcpStream::connect_timeout(&to, Duration::from_secs(5)))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_nodelay(true)?;
        Ok(Talk(BufReader::new(stream)))
    }

    /// Asks who we are to the other side.
    pub fn who(&mut self) -> std::io::Result<String> {
        self.0.get_mut().write_all(b"who\n")?;
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim().to_owned()),
        }
    }

    /// Sends a request; everything that comes back until its end.
    pub fn get(mut self) -> std::io::Result<String> {
        self.0.get_mut().write_all(b"GET / HTTP/1.1\r\nhost: pod\r\nconnection: close\r\n\r\n")?;
        let mut all = String::new();
        self.0.read_to_string(&mut all)?;
        Ok(all)
    }
}

/// Serves both families on a port of a host: each line, or request, is answered with the address it came from.
fn serve(host: &Host, port: u16, http: bool, stop: &Arc<AtomicBool>) {
    let listener = host.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap());
    listener.set_nonblocking(true).unwrap();
    let stop = stop.clone();
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((stream, from)) => drop(std::thread::spawn(move || answer(stream, from.ip(), http))),
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    });
}

fn answer(stream: TcpStream, from: IpAddr, http: bool) {
    // Accepted sockets do not inherit that here; said so that it does not matter.
    stream.set_nonblocking(false).unwrap();
    stream.set_nodelay(true).unwrap();
    let from = from.to_canonical();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while matches!(reader.read_line(&mut line), Ok(n) if n > 0) {
        let blank = line.trim().is_empty();
        line.clear();
        let said = match (http, blank) {
            (true, false) => continue,
            (true, true) => {
                let body = from.to_string();
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            }
            (false, _) => format!("{from}\n"),
        };
        if reader.get_mut().write_all(said.as_bytes()).is_err() {
            return;
        }
    }
}
