//! `murphy` in front of a container's port, without an engine: a process in a network of its own stands for the container,
//! and a few lines of HTTP for the engine. What real ones do is in `compose/`.

use crate::ground::{Agent, TempDir, eventually};
use crate::network::hosts::{A4, B4, Host, pair};
use model::target::{Front, ProxySpec};
use model::{Target, TargetSpec};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const PORT: u16 = 5432;

/// An engine with one container, whose first process is that one. Its thread ends with the test.
fn engine(dir: &Path, pid: u32) -> PathBuf {
    let socket = dir.join("engine.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    // A container's process is known by its id in the names of its control groups: this is in all of them.
    let labels = r#"{"com.docker.compose.project":"shop","com.docker.compose.service":"db"}"#;
    let list =
        format!(r#"[{{"Id":":/","Names":["/shop-db-1"],"State":"running","Created":1,"Labels":{labels}}}]"#);
    let one = format!(
        r#"{{"Id":":/","Name":"/shop-db-1","State":{{"Running":true,"Status":"running","Pid":{pid}}},"HostConfig":{{}}}}"#
    );
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut head = String::new();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            if lines.read_line(&mut head).is_err() {
                continue;
            }
            let body = match head.split(' ').nth(1).unwrap_or_default() {
                path if path.starts_with("/containers/json") => list.as_str(),
                path if path.starts_with("/containers/") => one.as_str(),
                _ => "OK",
            };
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all((head + body).as_bytes());
        }
    });
    socket
}

/// Tells everyone who comes by which address it sees him, and then says what he says.
fn serve(host: &Host) {
    let listener = host.run(|| TcpListener::bind((B4, PORT)).unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let peer = stream.peer_addr().unwrap().ip();
                let _ = writeln!(stream, "{peer}");
                let mut buffer = [0; 64];
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..n]).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// A connection from the other host, and the address by which the service sees it.
fn connect(from: &Host) -> Option<(BufReader<TcpStream>, String)> {
    let stream = from.run(|| TcpStream::connect((B4, PORT))).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut lines = BufReader::new(stream);
    let mut seen = String::new();
    lines.read_line(&mut seen).ok()?;
    (!seen.is_empty()).then(|| (lines, seen.trim().to_owned()))
}

fn seen_as(from: &Host) -> Option<String> {
    connect(from).map(|(_, address)| address)
}

fn goes_on(old: &mut BufReader<TcpStream>) {
    old.get_mut().write_all(b"still there\n").unwrap();
    let mut said = String::new();
    old.read_line(&mut said).unwrap();
    assert_eq!(said, "still there\n");
}

#[test]
fn a_container_is_stood_in_front_of_and_left_alone_again() {
    let Some(pair) = pair() else { return };
    let dir = TempDir::new();
    let socket = engine(dir.path(), pair.b.pid());
    serve(&pair.b);
    let rules = || pair.b.sh("nft list ruleset");
    let before = rules();
    let (mut old, address) = connect(&pair.a).unwrap();
    assert_eq!(address, A4);

    let mut agent = Agent::start(&[]);
    let front = Front {
        service: Some("shop/db".into()),
        engine: Some(socket.display().to_string()),
        port: PORT,
        ..Front::default()
    };
    let spec = TargetSpec::Proxy(ProxySpec::in_front_of(front, model::target::Protocol::Tcp));
    let target = Target { name: "db".into(), spec };
    let open = || agent.ask(async |c| c.open_target(&target).await).unwrap();
    let about = open().about;
    assert!(about.contains("in front of shop-db-1, port 5432"), "{about}");
    // The service is dialled from inside now; who was there before goes past.
    assert_eq!(seen_as(&pair.a).as_deref(), Some(B4));
    goes_on(&mut old);
    let id = agent.arm("proxy:db refuse");
    assert_eq!(seen_as(&pair.a), None);
    goes_on(&mut old);
    agent.disarm(&id);
    assert_eq!(seen_as(&pair.a).as_deref(), Some(B4));

    agent.ask(async |c| c.close_target(&target.reference()).await).unwrap();
    assert_eq!(seen_as(&pair.a).as_deref(), Some(A4));
    assert_eq!(rules(), before);

    open();
    let (mut through, address) = connect(&pair.a).unwrap();
    assert_eq!(address, B4);
    agent.arm("proxy:db refuse");
    assert_eq!(seen_as(&pair.a), None);
    // The kernel takes the rules away with the agent, and nobody has to know of it.
    agent.kill();
    assert!(eventually(PATIENCE, || seen_as(&pair.a).as_deref() == Some(A4)), "{}", rules());
    assert_eq!(rules(), before);
    goes_on(&mut old);
    through.get_mut().set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    // Who was connected through it hears of its end, and does not wait for ever.
    let heard = through.read(&mut [0; 8]);
    assert!(
        matches!(&heard, Ok(0)) || heard.as_ref().is_err_and(|e| e.kind() == ErrorKind::ConnectionReset),
        "{heard:?}"
    );
}
