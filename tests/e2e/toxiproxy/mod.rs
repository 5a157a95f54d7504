//! The Toxiproxy-compatible door: its words, what toxics do, what kills or hangs the original.

mod state;
mod traffic;
mod words;

use crate::ground::{TempDir, eventually, murphy_in};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// A running `murphy toxiproxy`, or an agent with the same door.
pub struct Server {
    pub dir: TempDir,
    pub port: u16,
    child: Child,
}

impl Server {
    pub fn start(args: &[&str]) -> Server {
        Server::run(TempDir::new(), &[&["toxiproxy", "-port", "0"], args].concat())
    }

    /// Runs a verb that opens the door, and waits until it tells where.
    pub fn run(dir: TempDir, args: &[&str]) -> Server {
        let mut command = murphy_in(dir.path());
        command.args(args);
        Server::wait(dir, command)
    }

    pub fn wait(dir: TempDir, mut command: Command) -> Server {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut server = Server { dir, port: 0, child };
        for line in out.lines().map_while(Result::ok) {
            if let Some(port) =
                line.strip_prefix("murphy toxiproxy on http://").and_then(|a| a.rsplit(':').next())
            {
                server.port = port.parse().unwrap();
                return server;
            }
        }
        panic!("the server ended at once");
    }

    fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // The server may answer, and close, before it has read everything.
        let _ = stream.write_all(body.as_bytes());
        Answer::read(stream)
    }

    pub fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        self.send(method, path, "", body)
    }

    /// Sends what must be accepted; gives the JSON of the answer.
    pub fn ok(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.call(method, path, &body);
        assert!((200..300).contains(&answer.status), "{method} {path} {body}: {answer:?}");
        if answer.body.is_empty() { Value::Null } else { serde_json::from_str(&answer.body).unwrap() }
    }

    /// A proxy to that port, on an address of its own.
    fn proxy(&self, name: &str, upstream: u16) -> SocketAddr {
        let body = json!({"name": name, "listen": own(), "upstream": format!("127.0.0.1:{upstream}")});
        address_of(&self.ok("POST", "/proxies", &body))
    }

    fn toxic(&self, proxy: &str, body: &Value) -> Value {
        self.ok("POST", &format!("/proxies/{proxy}/toxics"), body)
    }

    fn murphy(&self, args: &[&str]) -> crate::ground::Finished {
        crate::ground::murphy(self.dir.path(), args)
    }

    /// `murphy list --json`
    fn list(&self) -> Value {
        let listed = self.murphy(&["list", "--json"]);
        assert_eq!(listed.code, 0, "{listed:?}");
        serde_json::from_str(&listed.out).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
        }
        let ended =
            eventually(Duration::from_secs(10), || matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)));
        if !ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn address_of(proxy: &Value) -> SocketAddr {
    proxy["listen"].as_str().unwrap().parse().unwrap()
}

/// Any port of a loopback address that nothing else on this machine listens on: it stays free when it is let go.
pub fn own() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    format!("127.{}.{}.{low}:0", 1 + std::process::id() % 250, 100 + high)
}

/// An answer as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn read(mut stream: TcpStream) -> Answer {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        let all = String::from_utf8(all).unwrap();
        let (head, body) = all.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {all:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn says(&self, status: u16, error: &str) {
        let expected = format!("{{\"error\":{},\"status\":{status}}}\n", json!(error));
        assert_eq!((self.status, self.body.as_str()), (status, expected.as_str()));
        assert_eq!(self.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(self.header("x-toxiproxy-request-id").map(str::len), Some(20));
    }

    fn is(&self, status: u16, body: &str) {
        assert_eq!((self.status, self.body.as_str()), (status, body));
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(self.header("x-toxiproxy-request-id").map(str::len), Some(20));
    }

    fn is_empty(&self, status: u16) {
        assert_eq!((self.status, self.body.as_str()), (status, ""));
        assert_eq!(self.header("content-type"), None);
    }
}

/// Gives back what it gets, and closes when the other side has.
fn echo() -> u16 {
    serve(|mut stream| {
        let mut buffer = [0; 16 * 1024];
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..n]).is_err() {
                return;
            }
        }
    })
}

/// A service on a port of its own, for as long as the tests run.
fn serve(each: impl Fn(TcpStream) + Send + Copy + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || each(stream));
        }
    });
    port
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Sends a word and waits until it is back; how long that took.
fn ping(stream: &mut TcpStream) -> Duration {
    let begin = Instant::now();
    stream.write_all(b"ping").unwrap();
    let mut back = [0; 4];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"ping");
    begin.elapsed()
}
