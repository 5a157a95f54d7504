//! The Toxiproxy-compatible door, word for word, and what kills or hangs the original.

use crate::ground::{TempDir, eventually, murphy_in};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
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
fn own() -> String {
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

#[test]
fn paths_methods_and_browsers() {
    let server = Server::start(&[]);
    let version = server.call("GET", "/version", "");
    assert_eq!((version.status, version.body.as_str()), (200, "{\"version\": \"2.12.0\"}\n"));
    assert_eq!(version.header("content-type"), Some("application/json;charset=utf-8"));
    assert_eq!(version.header("x-toxiproxy-request-id").map(str::len), Some(20));
    server.call("GET", "/proxies", "").is(200, "{}");

    for path in ["/", "/nothing", "/proxies/", "/proxies/a/b", "/test", "/metrics", "/proxies/a%2Fb/c"] {
        let lost = server.call("GET", path, "");
        assert_eq!((lost.status, lost.body.as_str()), (404, "404 page not found\n"), "{path}");
        assert_eq!(lost.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(lost.header("x-toxiproxy-request-id"), None);
    }
    for (method, path) in [
        ("PUT", "/proxies"),
        ("DELETE", "/proxies"),
        ("OPTIONS", "/proxies"),
        ("GET", "/reset"),
        ("GET", "/populate"),
        ("POST", "/version"),
        ("PUT", "/proxies/a"),
        ("DELETE", "/proxies/a/toxics"),
        ("PUT", "/proxies/a/toxics/b"),
    ] {
        let wrong = server.call(method, path, "");
        wrong.is_empty(405);
        assert_eq!((wrong.header("allow"), wrong.header("x-toxiproxy-request-id")), (None, None));
    }
    server.call("HEAD", "/proxies", "").is_empty(405);
    let moved = server.call("GET", "//proxies", "");
    assert_eq!((moved.status, moved.header("location")), (301, Some("/proxies")));

    let browser = "user-agent: Mozilla/5.0 (X11; Linux x86_64)\r\n";
    let refused = server.send("GET", "/proxies", browser, "");
    assert_eq!((refused.status, refused.body.as_str()), (403, "User agent not allowed\n"));
    assert_eq!(refused.header("content-type"), Some("text/plain; charset=utf-8"));
    let refused =
        server.send("POST", "/proxies", browser, r#"{"name":"a","listen":"127.0.0.1:0","upstream":"x:1"}"#);
    assert_eq!(refused.status, 403);
    server.call("GET", "/proxies", "").is(200, "{}");
    assert_eq!(server.send("GET", "/nothing", browser, "").status, 404);
    assert_eq!(server.send("GET", "/proxies", "user-agent: NotMozilla/5.0\r\n", "").status, 200);
}

#[test]
fn proxies() {
    let server = Server::start(&[]);
    for (body, error) in [
        ("", "bad request body: EOF"),
        ("  ", "bad request body: EOF"),
        ("{", "bad request body: unexpected EOF"),
        ("hello", "bad request body: invalid character 'h' looking for beginning of value"),
        (r#"{"name":}"#, "bad request body: invalid character '}' looking for beginning of value"),
        ("[]", "bad request body: json: cannot unmarshal array into Go value of type toxiproxy.Proxy"),
        (
            r#"{"name":5}"#,
            "bad request body: json: cannot unmarshal number into Go struct field Proxy.name of type string",
        ),
        (
            r#"{"enabled":"yes"}"#,
            "bad request body: json: cannot unmarshal string into Go struct field Proxy.enabled of type bool",
        ),
        ("{}", "missing required field: name"),
        ("null", "missing required field: name"),
        (r#"{"upstream":"x:1"}"#, "missing required field: name"),
        (r#"{"name":"a"}"#, "missing required field: upstream"),
        (r#"{"name":"a","upstream":""}"#, "missing required field: upstream"),
    ] {
        server.call("POST", "/proxies", body).says(400, error);
    }
    server.call("GET", "/proxies/a", "").says(404, "proxy not found");
    server.call("PATCH", "/proxies/a", "{").says(404, "proxy not found");
    server.call("DELETE", "/proxies/a", "").says(404, "proxy not found");

    let made = server.call(
        "POST",
        "/proxies",
        &format!(
            r#"{{"NAME":"a","listen":"{}","upstream":"localhost:7","toxics":[{{"type":"latency"}}],"more":1}} trailing"#,
            own()
        ),
    );
    let taken = address_of(&serde_json::from_str(&made.body).unwrap());
    let a =
        format!(r#"{{"name":"a","listen":"{taken}","upstream":"localhost:7","enabled":true,"toxics":[]}}"#);
    made.is(201, &a);
    server.call("GET", "/proxies/a", "").is(200, &a);
    server.call("GET", "/proxies", "").is(200, &format!(r#"{{"a":{a}}}"#));

    // A clash of names comes before the port is tried, and a port that is taken leaves nothing behind.
    let clash = json!({"name": "a", "listen": taken, "upstream": "x:1"}).to_string();
    server.call("POST", "/proxies", &clash).says(409, "proxy already exists");
    let conflict = json!({"name": "b", "listen": taken, "upstream": "x:1"}).to_string();
    let in_use = format!("listen tcp {taken}: bind: address already in use");
    server.call("POST", "/proxies", &conflict).says(500, &in_use);
    server.call("GET", "/proxies/b", "").says(404, "proxy not found");
    server
        .call("POST", "/proxies", r#"{"name":"b","listen":"bad","upstream":"x:1"}"#)
        .says(500, "listen tcp: address bad: missing port in address");

    let named =
        server.ok("POST", "/proxies", &json!({"name": "l", "listen": "localhost:0", "upstream": "x:1"}));
    assert!(named["listen"].as_str().unwrap().starts_with("127.0.0.1:"), "{named}");
    let open = server.ok("PATCH", "/proxies/l", &json!({"listen": ""}));
    let anywhere = open["listen"].as_str().unwrap();
    assert!(anywhere.starts_with("[::]:") || anywhere.starts_with("0.0.0.0:"), "{open}");
    server.call("DELETE", "/proxies/l", "").is_empty(204);

    // Never started: the words stay as they were sent.
    let off = server.call(
        "POST",
        "/proxies",
        r#"{"name":"b c","listen":"localhost:0","upstream":"nonsense","enabled":false}"#,
    );
    let b = r#"{"name":"b c","listen":"localhost:0","upstream":"nonsense","enabled":false,"toxics":[]}"#;
    off.is(201, b);
    server.call("GET", "/proxies/b%20c", "").is(200, b);
    server
        .call("PATCH", "/proxies/b%20c", r#"{"listen":"bad"}"#)
        .says(500, "address bad: missing port in address");

    // Absent fields stay, the name cannot change, the port is let go and taken again.
    let update = |body: &str| server.call("POST", "/proxies/a", body);
    update("null").is(200, &a);
    update(r#"{"name":"z","enabled":null}"#).is(200, &a);
    update(r#"{"enabled":false}"#).is(200, &a.replace("true", "false"));
    assert_eq!(TcpStream::connect(taken).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    update(r#"{"enabled":false,"upstream":""}"#)
        .is(200, &a.replace("true", "false").replace("localhost:7", ""));
    server
        .call("PATCH", "/proxies/a", r#"{"enabled":true,"upstream":"localhost:8"}"#)
        .is(200, &a.replace("localhost:7", "localhost:8"));
    TcpStream::connect(taken).unwrap();

    // A port that cannot be had stops the proxy, with the new one in the book.
    let holder = TcpListener::bind(own()).unwrap();
    let other = holder.local_addr().unwrap();
    update(&json!({"listen": other.to_string()}).to_string())
        .says(500, &format!("listen tcp {other}: bind: address already in use"));
    let stopped: Value = server.ok("GET", "/proxies/a", &Value::Null);
    assert_eq!((&stopped["listen"], &stopped["enabled"]), (&json!(other.to_string()), &json!(false)));
    drop(holder);
    server.call("POST", "/reset", "not json").is_empty(204);
    let started: Value = server.ok("GET", "/proxies/a", &Value::Null);
    assert_eq!((&started["listen"], &started["enabled"]), (&json!(other.to_string()), &json!(true)));

    server.call("DELETE", "/proxies/a", "").is_empty(204);
    server.call("DELETE", "/proxies/a", "").says(404, "proxy not found");
    assert_eq!(TcpStream::connect(other).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let names = server.ok("GET", "/proxies", &Value::Null);
    assert_eq!(names.as_object().unwrap().keys().collect::<Vec<_>>(), ["b c"]);
}

#[test]
fn toxics() {
    let server = Server::start(&[]);
    server.call("GET", "/proxies/p/toxics", "").says(404, "proxy not found");
    server.call("POST", "/proxies/p/toxics", "{").says(404, "proxy not found");
    server.call("GET", "/proxies/p/toxics/t", "").says(404, "proxy not found");
    server.proxy("p", echo());
    let add = |body: &str| server.call("POST", "/proxies/p/toxics", body);
    server.call("GET", "/proxies/p/toxics", "").is(200, "[]");
    server.call("GET", "/proxies/p/toxics/t", "").says(404, "toxic not found");
    server.call("PATCH", "/proxies/p/toxics/t", "{").says(404, "toxic not found");
    server.call("DELETE", "/proxies/p/toxics/t", "").says(404, "toxic not found");

    // One mistake hides the next: JSON, stream, type, name, attributes.
    let stream = "stream was invalid, can be either upstream or downstream";
    for (body, status, error) in [
        ("", 400, "bad request body: EOF"),
        (r#"{"stream":"sideways","type":"none"}"#, 400, stream),
        (r#"{"stream":"","type":"latency"}"#, 400, stream),
        ("{}", 400, "invalid toxic type"),
        (r#"{"type":"Latency"}"#, 400, "invalid toxic type"),
        (
            r#"{"type":"latency","attributes":{"latency":1.5}}"#,
            400,
            "bad request body: json: cannot unmarshal number 1.5 into Go struct field .attributes.latency of type int64",
        ),
        (
            r#"{"type":"latency","attributes":{"jitter":"5"}}"#,
            400,
            "bad request body: json: cannot unmarshal string into Go struct field .attributes.jitter of type int64",
        ),
        (
            r#"{"type":"latency","toxicity":"much"}"#,
            400,
            "bad request body: json: cannot unmarshal string into Go struct field ToxicWrapper.toxicity of type float32",
        ),
    ] {
        add(body).says(status, error);
    }
    server.call("GET", "/proxies/p/toxics", "").is(200, "[]");

    let show = |attributes: &str, name: &str, kind: &str, stream: &str, toxicity: &str| {
        format!(
            r#"{{"attributes":{{{attributes}}},"name":"{name}","type":"{kind}","stream":"{stream}","toxicity":{toxicity}}}"#
        )
    };
    let mut all = Vec::new();
    for (kind, attributes) in [
        ("latency", r#""latency":0,"jitter":0"#),
        ("bandwidth", r#""rate":0"#),
        ("slow_close", r#""delay":0"#),
        ("timeout", r#""timeout":0"#),
        ("reset_peer", r#""timeout":0"#),
        ("slicer", r#""average_size":0,"size_variation":0,"delay":0"#),
        ("limit_data", r#""bytes":0"#),
        ("noop", ""),
    ] {
        let shown = show(attributes, &format!("{kind}_downstream"), kind, "downstream", "1");
        add(&json!({"type": kind}).to_string()).is(200, &shown);
        all.push(shown);
    }
    add(r#"{"type":"noop","name":"latency_downstream","attributes":{"latency":"x"}}"#)
        .says(409, "toxic already exists");
    // The stream as it was sent, also in the name; numbers as they are, in any range.
    let up = show(r#""latency":-5,"jitter":100"#, "latency_UPSTREAM", "latency", "UPSTREAM", "0.1");
    add(r#"{"type":"latency","stream":"UPSTREAM","toxicity":0.1,"attributes":{"LATENCY":-5,"jitter":100,"odd":"x"}}"#)
        .is(200, &up);
    let odd = show(r#""latency":0,"jitter":0"#, "a b", "latency", "upstream", "7");
    add(r#"{"type":"latency","stream":"upstream","name":"a b","toxicity":7,"attributes":null}"#)
        .is(200, &odd);
    // Upstream first, each in the order in which they came.
    let list = format!(
        "[{}]",
        [&up, &odd].into_iter().chain(&all).map(String::as_str).collect::<Vec<_>>().join(",")
    );
    server.call("GET", "/proxies/p/toxics", "").is(200, &list);
    assert!(server.call("GET", "/proxies/p", "").body.ends_with(&format!("\"toxics\":{list}}}")));
    server.call("GET", "/proxies/p/toxics/a%20b", "").is(200, &odd);

    let edit = |body: &str| server.call("PATCH", "/proxies/p/toxics/latency_UPSTREAM", body);
    let changed = up.replace("\"latency\":-5", "\"latency\":30").replace("0.1", "-1");
    edit(r#"{"name":"z","type":"noop","stream":"downstream","toxicity":-1,"attributes":{"latency":30}}"#)
        .is(200, &changed);
    // A change that is refused changes nothing.
    edit(r#"{"toxicity":0.5,"attributes":{"latency":77,"jitter":"x"}}"#).says(
        400,
        "bad request body: json: cannot unmarshal string into Go struct field .attributes.jitter of type int64",
    );
    edit(r#"{"attributes":{"latency":77},"toxicity":"x"}"#).says(
        400,
        "bad request body: json: cannot unmarshal string into Go struct field .toxicity of type float32",
    );
    edit("").says(400, "bad request body: EOF");
    edit("null").is(200, &changed);
    edit(r#"{"attributes":{}}"#).is(200, &changed);

    server.call("DELETE", "/proxies/p/toxics/a%20b", "").is_empty(204);
    server.call("DELETE", "/proxies/p/toxics/a%20b", "").says(404, "toxic not found");
    // Toxics outlive every change of their proxy but its end.
    let rest = list.replace(&format!("{odd},"), "").replace(&up, &changed);
    for body in [r#"{"enabled":false}"#, r#"{"enabled":true}"#, r#"{"upstream":"127.0.0.1:9"}"#] {
        assert!(
            server.call("PATCH", "/proxies/p", body).body.ends_with(&format!("\"toxics\":{rest}}}")),
            "{body}"
        );
    }
    server.call("POST", "/reset", "").is_empty(204);
    server.call("GET", "/proxies/p/toxics", "").is(200, "[]");
    assert_eq!(server.list()["faults"], json!([]));
}

#[test]
fn populate() {
    let server = Server::start(&[]);
    let populate = |body: &Value| server.call("POST", "/populate", &body.to_string());
    for nothing in ["[]", "null"] {
        server.call("POST", "/populate", nothing).is(201, r#"{"proxies":null}"#);
    }
    let refused = |answer: &Answer, status: u16, error: &str, proxies: &str| {
        answer.is(status, &format!(r#"{{"error":{},"status":{status},"proxies":{proxies}}}"#, json!(error)));
    };
    refused(&server.call("POST", "/populate", ""), 400, "bad request body: EOF", "null");
    let object = server.call("POST", "/populate", "{}");
    assert_eq!(object.status, 400);
    assert!(
        object.body.contains("bad request body: json: cannot unmarshal object into Go value of type"),
        "{object:?}"
    );
    let good = json!({"name": "a", "listen": own(), "upstream": "x:1"});
    refused(
        &populate(&json!([good, {"upstream": "x:1"}])),
        400,
        "missing required field: name at proxy 2",
        "null",
    );
    refused(
        &populate(&json!([{"name": "x"}, good])),
        400,
        "missing required field: upstream at proxy 1",
        "null",
    );
    server.call("GET", "/proxies", "").is(200, "{}");

    let toxic = json!({"type": "latency", "attributes": {"latency": 5}});
    let made = populate(&json!([
        {"name": "a", "listen": own(), "upstream": "x:1", "toxics": [toxic]},
        {"name": "b", "listen": own(), "upstream": "x:2", "enabled": false, "toxics": [toxic]},
    ]));
    assert_eq!(made.status, 201);
    let made: Value = serde_json::from_str(&made.body).unwrap();
    let (a, b) = (&made["proxies"][0], &made["proxies"][1]);
    assert_eq!((a["enabled"].as_bool(), b["enabled"].as_bool()), (Some(true), Some(false)));
    for proxy in [a, b] {
        assert_eq!(proxy["toxics"][0]["name"], "latency_downstream");
        assert_eq!(proxy["toxics"][0]["attributes"]["latency"], 5);
    }

    // Known and the same: what is there stays, and `enabled` is not looked at; named toxics are made to be there.
    let same = json!({"name": "a", "listen": a["listen"], "upstream": "x:1", "enabled": false, "toxics": []});
    populate(&json!([same]))
        .is(201, &format!(r#"{{"proxies":[{}]}}"#, server.call("GET", "/proxies/a", "").body));
    let more = json!({"name": "a", "listen": a["listen"], "upstream": "x:1", "toxics": [
        {"type": "latency", "attributes": {"latency": 9}}, {"type": "noop", "stream": "upstream"}]});
    let more: Value = serde_json::from_str(&populate(&json!([more])).body).unwrap();
    let names: Vec<_> = more["proxies"][0]["toxics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["noop_upstream", "latency_downstream"]);
    assert_eq!(more["proxies"][0]["toxics"][1]["attributes"]["latency"], 9);
    // Known and different: a new one.
    let other = json!({"name": "a", "listen": a["listen"], "upstream": "x:9"});
    let other: Value = serde_json::from_str(&populate(&json!([other])).body).unwrap();
    assert_eq!(
        (&other["proxies"][0]["upstream"], &other["proxies"][0]["toxics"]),
        (&json!("x:9"), &json!([]))
    );

    // The first failure ends it; what was done is told.
    let failed = populate(&json!([
        {"name": "c", "listen": own(), "upstream": "x:1"},
        {"name": "d", "listen": a["listen"], "upstream": "x:1"},
        {"name": "e", "listen": own(), "upstream": "x:1"},
    ]));
    let c = server.call("GET", "/proxies/c", "").body;
    let error = format!("listen tcp {}: bind: address already in use", a["listen"].as_str().unwrap());
    refused(&failed, 500, &error, &format!("[{c}]"));
    server.call("GET", "/proxies/e", "").says(404, "proxy not found");
    // A toxic that makes no sense is told before anything is done.
    let senseless = populate(&json!([
        {"name": "f", "listen": own(), "upstream": "x:1"},
        {"name": "g", "listen": own(), "upstream": "x:1", "toxics": [{"type": "sloth"}]},
    ]));
    refused(&senseless, 400, "invalid toxic type at proxy 2", "null");
    server.call("GET", "/proxies/f", "").says(404, "proxy not found");
}

#[test]
fn a_configuration_file_and_flags_of_the_original() {
    let dir = TempDir::new();
    let upstream = echo();
    let config = json!([
        {"name": "web", "listen": own(), "upstream": format!("127.0.0.1:{upstream}"), "enabled": true,
         "toxics": [{"type": "latency", "stream": "upstream", "attributes": {"latency": 50}}]},
        {"name": "off", "listen": own(), "upstream": "x:1", "enabled": false},
    ]);
    let file = dir.file("toxiproxy.json", &config.to_string());
    let args = [
        "toxiproxy",
        "-host=localhost",
        "-port",
        "0",
        "-config",
        file.to_str().unwrap(),
        "-proxy-metrics",
        "-runtime-metrics=true",
        "-seed",
        "-1",
    ];
    let server = Server::run(dir, &args);
    let all = server.ok("GET", "/proxies", &Value::Null);
    assert_eq!((&all["web"]["enabled"], &all["off"]["enabled"]), (&json!(true), &json!(false)));
    assert_eq!(all["web"]["toxics"][0]["name"], "latency_upstream");
    let mut client = connect(address_of(&all["web"]));
    assert!(ping(&mut client) >= Duration::from_millis(50));

    // Counted while the connection is open, also across a stop.
    let line = format!(
        "toxiproxy_proxy_sent_bytes_total{{direction=\"upstream\",listener=\"{}\",proxy=\"web\",upstream=\"127.0.0.1:{upstream}\"}} 4\n",
        all["web"]["listen"].as_str().unwrap()
    );
    let metrics = || server.call("POST", "/metrics", "");
    assert!(eventually(Duration::from_secs(10), || metrics().body.contains(&line)), "{}", metrics().body);
    assert!(metrics().body.contains("toxiproxy_proxy_received_bytes_total{direction=\"downstream\""));
    assert!(metrics().body.contains("process_resident_memory_bytes"));
    assert!(metrics().header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    server.ok("PATCH", "/proxies/web", &json!({"enabled": false}));
    assert!(metrics().body.contains(&line), "{}", metrics().body);

    // Whatever is wrong with a file, the server is there.
    let dir = TempDir::new();
    let broken = dir.file("broken.json", "{");
    let server = Server::run(dir, &["toxiproxy", "--port", "0", "--config", broken.to_str().unwrap()]);
    server.call("GET", "/proxies", "").is(200, "{}");
}

#[test]
fn latency_adds_up_on_open_connections_and_goes_with_its_toxic() {
    let server = Server::start(&[]);
    let port = server.proxy("p", echo());
    let mut client = connect(port);
    ping(&mut client);
    server.toxic("p", &json!({"type": "latency", "stream": "upstream", "attributes": {"latency": 60}}));
    server.toxic("p", &json!({"type": "latency", "attributes": {"latency": 40, "jitter": 0}}));
    assert!(ping(&mut client) >= Duration::from_millis(100));
    server.ok("PATCH", "/proxies/p/toxics/latency_downstream", &json!({"attributes": {"latency": 160}}));
    assert!(ping(&mut client) >= Duration::from_millis(220));
    // What is held is let go at once, however long it was to be held.
    server.ok(
        "PATCH",
        "/proxies/p/toxics/latency_upstream",
        &json!({"attributes": {"latency": i64::MAX, "jitter": 5}}),
    );
    client.write_all(b"held").unwrap();
    let begin = Instant::now();
    server.ok("DELETE", "/proxies/p/toxics/latency_upstream", &Value::Null);
    server.ok("DELETE", "/proxies/p/toxics/latency_downstream", &Value::Null);
    let mut back = [0; 4];
    client.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"held");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    // More jitter than latency is legal.
    server.toxic("p", &json!({"type": "latency", "attributes": {"latency": 1, "jitter": 20}}));
    for _ in 0..10 {
        ping(&mut client);
    }
}

#[test]
fn a_timeout_swallows_and_closes() {
    let server = Server::start(&[]);
    let port = server.proxy("p", echo());
    let mut client = connect(port);
    server.toxic("p", &json!({"type": "timeout", "attributes": {"timeout": 100}}));
    // Closed on time, also while data trickles.
    let mut writer = client.try_clone().unwrap();
    let begin = Instant::now();
    let trickle = std::thread::spawn(move || {
        while writer.write_all(b"x").is_ok() && begin.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let mut all = Vec::new();
    let _ = client.read_to_end(&mut all);
    assert_eq!(all, b"");
    assert!(begin.elapsed() < Duration::from_secs(15));
    drop(client);
    trickle.join().unwrap();

    // One without an end holds what it has until it is removed, and that closes what it held.
    server.ok("POST", "/proxies/p/toxics/timeout_downstream", &json!({"attributes": {"timeout": 0}}));
    let mut held = connect(port);
    held.write_all(b"lost").unwrap();
    held.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(matches!(
        held.read(&mut [0; 4]).unwrap_err().kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut
    ));
    server.ok("DELETE", "/proxies/p/toxics/timeout_downstream", &Value::Null);
    held.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert!(matches!(held.read(&mut [0; 4]), Ok(0) | Err(_)), "the connection is closed");
    ping(&mut connect(port));
}

#[test]
fn a_reset_reaches_open_connections_and_its_removal_does_not_wait() {
    let server = Server::start(&[]);
    let port = server.proxy("p", echo());
    let mut client = connect(port);
    ping(&mut client);
    server.toxic("p", &json!({"type": "reset_peer"}));
    let _ = client.write_all(b"ping");
    assert_eq!(client.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    server.ok(
        "POST",
        "/proxies/p/toxics/reset_peer_downstream",
        &json!({"attributes": {"timeout": 3_600_000}}),
    );
    let mut client = connect(port);
    ping(&mut client);
    let begin = Instant::now();
    server.ok("DELETE", "/proxies/p/toxics/reset_peer_downstream", &Value::Null);
    assert!(begin.elapsed() < Duration::from_secs(10));
    ping(&mut client);
}

#[test]
fn limits_slices_and_late_ends() {
    let server = Server::start(&[]);
    let port = server.proxy("p", echo());
    server.toxic("p", &json!({"type": "limit_data", "attributes": {"bytes": 10}}));
    let mut client = connect(port);
    client.write_all(&[b'x'; 100]).unwrap();
    let mut all = Vec::new();
    let _ = client.read_to_end(&mut all);
    assert_eq!(all.len(), 10);
    server.ok("DELETE", "/proxies/p/toxics/limit_data_downstream", &Value::Null);

    server.toxic(
        "p",
        &json!({"type": "slicer", "attributes": {"average_size": 64, "size_variation": 32, "delay": 10}}),
    );
    let mut client = connect(port);
    let sent: Vec<u8> = (0..4096_u32).map(|n| n as u8).collect();
    client.write_all(&sent).unwrap();
    let mut back = vec![0; sent.len()];
    client.read_exact(&mut back).unwrap();
    assert_eq!(back, sent);
    server.ok("DELETE", "/proxies/p/toxics/slicer_downstream", &Value::Null);

    // The service closes at once; the client hears of it late.
    let brief = server.proxy("brief", serve(|mut stream| drop(stream.write_all(b"bye"))));
    server.toxic("brief", &json!({"type": "slow_close", "attributes": {"delay": 300}}));
    let begin = Instant::now();
    let mut all = Vec::new();
    connect(brief).read_to_end(&mut all).unwrap();
    assert_eq!(all, b"bye");
    assert!(begin.elapsed() >= Duration::from_millis(300), "{:?}", begin.elapsed());
}

#[test]
fn half_a_connection_is_enough_for_an_answer() {
    let server = Server::start(&[]);
    let counting = serve(|mut stream| {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        let _ = write!(stream, "{}", all.len());
    });
    let port = server.proxy("p", counting);
    let mut client = connect(port);
    client.write_all(b"seven b").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "7");
}

#[test]
fn what_kills_the_original() {
    let server = Server::start(&[]);
    let port = server.proxy("p", echo());
    // A slicer of zeros; a bandwidth of zero and less stalls; numbers at both ends of their range.
    server.toxic("p", &json!({"type": "slicer"}));
    ping(&mut connect(port));
    for rate in [0, -500, i64::MIN] {
        server.toxic("p", &json!({"type": "bandwidth", "attributes": {"rate": rate}}));
        let mut client = connect(port);
        client.write_all(b"ping").unwrap();
        client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert!(matches!(
            client.read(&mut [0; 4]).unwrap_err().kind(),
            ErrorKind::WouldBlock | ErrorKind::TimedOut
        ));
        server.ok("DELETE", "/proxies/p/toxics/bandwidth_downstream", &Value::Null);
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut back = [0; 4];
        client.read_exact(&mut back).unwrap();
    }
    server.ok("DELETE", "/proxies/p/toxics/slicer_downstream", &Value::Null);
    let kinds: [(&str, &[&str]); 7] = [
        ("latency", &["latency", "jitter"]),
        ("bandwidth", &["rate"]),
        ("slow_close", &["delay"]),
        ("timeout", &["timeout"]),
        ("reset_peer", &["timeout"]),
        ("slicer", &["average_size", "size_variation", "delay"]),
        ("limit_data", &["bytes"]),
    ];
    for (kind, names) in kinds {
        for n in [i64::MIN, -1, i64::MAX] {
            let attributes: Value = names
                .iter()
                .map(|name| ((*name).to_owned(), json!(n)))
                .collect::<serde_json::Map<_, _>>()
                .into();
            let toxic = server.toxic(
                "p",
                &json!({"name": "t", "type": kind, "attributes": attributes, "stream": "upstream"}),
            );
            assert_eq!(toxic["attributes"], attributes);
            let _ = connect(port).write_all(b"some data");
            server.ok("DELETE", "/proxies/p/toxics/t", &Value::Null);
        }
    }
    let too_large = r#"{"type":"latency","attributes":{"latency":99999999999999999999}}"#;
    assert_eq!(server.call("POST", "/proxies/p/toxics", too_large).status, 400);
    assert_eq!(server.call("POST", "/proxies/p/toxics", r#"{"type":"noop","toxicity":1e400}"#).status, 400);

    // Bodies that are deep, long, broken off, or never end.
    for deep in ["[".repeat(200_000), r#"{"a":"#.repeat(100_000)] {
        server.call("POST", "/proxies", &deep).says(400, "bad request body: exceeded max depth");
        assert_eq!(server.call("POST", "/populate", &deep).status, 400);
    }
    assert_eq!(
        server.call("POST", "/proxies", &format!("{{\"name\":\"{}", "x".repeat(1_000_000))).status,
        400
    );
    assert!(matches!(server.call("POST", "/proxies", &" ".repeat(17 << 20)).status, 400 | 413));
    let mut slow = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    slow.write_all(b"POST /proxies HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{").unwrap();
    let mut gone = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    gone.write_all(b"POST /proxies HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{").unwrap();
    drop(gone);
    let mut garbage = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    garbage.write_all(b"\x16\x03\x01\x02\0\x01\0\r\n\r\n").unwrap();
    drop(garbage);
    ping(&mut connect(port));
    server.call("GET", "/version", "").body.contains("2.12.0").then_some(()).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
}

#[test]
fn one_state_for_door_and_console() {
    let server = Server::start(&[]);
    let port = server.proxy("p", echo());
    let mut client = connect(port);
    server.toxic("p", &json!({"type": "latency", "attributes": {"latency": 20}}));
    server.toxic("p", &json!({"type": "bandwidth", "name": "slow", "attributes": {"rate": 1000}}));
    server.toxic("p", &json!({"type": "noop"}));
    let list = server.list();
    assert_eq!(list["faults"].as_array().unwrap().len(), 2, "{list}");
    // Disarmed there, gone here.
    let done = server.murphy(&["disarm", "slow"]);
    assert_eq!(done.code, 0, "{done:?}");
    server.call("GET", "/proxies/p/toxics/slow", "").says(404, "toxic not found");
    // Armed there, here.
    let armed = server.murphy(&[
        "arm",
        "proxy:p",
        "latency",
        "delay=30ms",
        "direction=up",
        "--id",
        "theirs",
        "--percent",
        "50%",
        "--for",
        "60s",
    ]);
    assert_eq!(armed.code, 0, "{armed:?}");
    server.call("GET", "/proxies/p/toxics/theirs", "").is(
        200,
        r#"{"attributes":{"latency":30,"jitter":0},"name":"theirs","type":"latency","stream":"upstream","toxicity":0.5}"#,
    );
    server.ok("PATCH", "/proxies/p/toxics/theirs", &json!({"attributes": {"latency": 10}, "toxicity": 1}));
    assert!(server.list().to_string().contains("10ms"));
    server.call("DELETE", "/proxies/p/toxics/theirs", "").is_empty(204);

    // A halt takes everything, also what waits in a stopped proxy.
    server.proxy("waiting", 9);
    server.toxic("waiting", &json!({"type": "latency"}));
    server.ok("PATCH", "/proxies/waiting", &json!({"enabled": false}));
    assert_eq!(server.murphy(&["halt"]).code, 0);
    for proxy in ["p", "waiting"] {
        let gone = || server.call("GET", &format!("/proxies/{proxy}/toxics"), "").body == "[]";
        assert!(eventually(Duration::from_secs(10), gone), "{proxy}");
    }
    ping(&mut client);
    let refused = server.call("POST", "/proxies/p/toxics", r#"{"type":"latency"}"#);
    assert_eq!(refused.status, 500);
    assert!(refused.body.contains("halted") && refused.body.contains("murphy halt --lift"), "{refused:?}");
    assert_eq!(server.murphy(&["halt", "--lift"]).code, 0);
    server.toxic("p", &json!({"type": "latency"}));
}

#[test]
fn the_same_seed_hits_the_same_connections() {
    let upstream = echo();
    let pattern = |seed: &str| {
        let server = Server::start(&["-seed", seed]);
        let port = server.proxy("p", upstream);
        server.toxic("p", &json!({"type": "limit_data", "toxicity": 0.5, "attributes": {"bytes": 0}}));
        let hits: Vec<bool> = (0..24)
            .map(|i| {
                if i == 12 {
                    // An edit does not draw again, nor does another toxic.
                    server.ok(
                        "PATCH",
                        "/proxies/p/toxics/limit_data_downstream",
                        &json!({"attributes": {"bytes": 1}}),
                    );
                    server.toxic("p", &json!({"type": "noop"}));
                }
                let mut client = connect(port);
                let _ = client.write_all(b"ping");
                let mut back = [0; 4];
                client.read_exact(&mut back).is_err()
            })
            .collect();
        hits
    };
    let (one, again, other) = (pattern("1"), pattern("1"), pattern("2"));
    assert_eq!(one, again);
    assert_ne!(one, other);
    assert!(one.contains(&true) && one.contains(&false));
}

#[test]
fn an_agent_with_the_same_door() {
    let dir = TempDir::new();
    let upstream = echo();
    let proxy = format!("web=127.0.0.1:0,127.0.0.1:{upstream}");
    let server = Server::run(dir, &["agent", "--toxiproxy", "127.0.0.1:0", "--proxy", &proxy]);
    let web = server.ok("GET", "/proxies/web", &Value::Null);
    assert_eq!((&web["enabled"], &web["upstream"]), (&json!(true), &json!(format!("127.0.0.1:{upstream}"))));
    server
        .call("POST", "/proxies", r#"{"name":"web","listen":"127.0.0.1:0","upstream":"x:1"}"#)
        .says(409, "proxy already exists");
    server.toxic("web", &json!({"type": "latency", "attributes": {"latency": 50}}));
    assert!(ping(&mut connect(address_of(&web))) >= Duration::from_millis(50));
    // A door that is wide open says so; one that cannot be opened says why.
    let taken = server.murphy(&["toxiproxy", "--port", &server.port.to_string()]);
    assert_eq!(taken.code, 5, "{taken:?}");
    assert!(taken.err.contains("end it, or choose another port"), "{taken:?}");
    let endless = server.murphy(&["toxiproxy", "--max-for", "8d"]);
    assert_eq!(endless.code, 2, "{endless:?}");
}

#[test]
fn toxics_end_when_they_are_told_to() {
    let server = Server::start(&["--max-for", "300ms"]);
    server.proxy("p", 9);
    server.toxic("p", &json!({"type": "latency"}));
    assert!(eventually(Duration::from_secs(20), || server.call("GET", "/proxies/p/toxics", "").body == "[]"));
}
