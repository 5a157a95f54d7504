//! Open connections as the API, the command line and the console show them, and what is done to one by hand.

use crate::ground::{Agent, Terminal, eventually, free_port};
use control::{Close, Code, ConnectionQuery};
use model::{ConnectionState, ConnectionView};
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Long, for a loaded machine; nothing waits so long when all is well.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends back what it gets, until the test is over.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..n]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// An agent with a proxy `echo` in front of it.
fn ground() -> (Agent, u16) {
    let port = free_port();
    (Agent::start(&[format!("echo=127.0.0.1:{port},{}", echo())]), port)
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn ping(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).unwrap();
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, text);
}

fn list(agent: &Agent) -> Vec<ConnectionView> {
    agent.ask(async |c| c.connections(&ConnectionQuery::default()).await).unwrap().connections
}

/// The connection of a client, as it is now.
fn of(agent: &Agent, client: &TcpStream) -> Option<ConnectionView> {
    let address = client.local_addr().unwrap().to_string();
    list(agent).into_iter().find(|v| v.client.as_deref() == Some(&address))
}

/// Waits until the connection of a client is as it should be.
fn until(
    agent: &Agent,
    client: &TcpStream,
    what: &str,
    is: impl Fn(&ConnectionView) -> bool,
) -> ConnectionView {
    let mut last = None;
    let came = eventually(PATIENCE, || {
        last = of(agent, client);
        last.as_ref().is_some_and(&is)
    });
    assert!(came, "never {what}: {last:?}");
    last.unwrap()
}

/// Nothing comes for a while.
fn silent(client: &mut TcpStream) {
    client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let silence = client.read(&mut [0]).unwrap_err().kind();
    assert!(matches!(silence, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{silence:?}");
    client.set_read_timeout(Some(PATIENCE)).unwrap();
}

#[test]
fn a_connection_is_listed_with_its_bytes_and_the_faults_that_have_it() {
    let (agent, port) = ground();
    let mut client = connect(port);
    ping(&mut client, b"twelve bytes");
    let view = until(&agent, &client, "twelve bytes each way", |v| (v.bytes_up, v.bytes_down) == (12, 12));
    assert_eq!((view.target.to_string().as_str(), view.state), ("proxy:echo", ConnectionState::Open));
    assert!(view.upstream.is_some() && view.faults.is_empty());

    let id = agent.arm("proxy:echo latency delay=5ms");
    ping(&mut client, b"again");
    let view = until(&agent, &client, "under a fault that acted", |v| v.faults.iter().any(|f| f.applied));
    assert_eq!((view.faults[0].id.as_str(), view.faults[0].fault.as_str()), (id.as_str(), "latency"));
    let found = agent.ask(async |c| {
        let query =
            |text: &str| ConnectionQuery { text: text.into(), fault: true, ..ConnectionQuery::default() };
        [c.connections(&query("latency")).await, c.connections(&query("nothing like that")).await]
            .map(|list| list.unwrap().total)
    });
    assert_eq!(found, [1, 0]);

    let text = agent.murphy(&["connections", "--target", "proxy:echo", "--fault"]);
    assert!(
        text.out.contains("latency*") && text.out.contains(&client.local_addr().unwrap().to_string()),
        "{text:?}"
    );
    let json: Value = serde_json::from_str(&agent.murphy(&["connections", "--json"]).out).unwrap();
    assert_eq!((json["total"].as_u64(), json["connections"][0]["bytes_up"].as_u64()), (Some(1), Some(17)));
    let slip = agent.murphy(&["connections", "--target", "proxy:ehco"]);
    assert!(slip.code == 2 && slip.err.contains("there is no target proxy:ehco"), "{slip:?}");

    drop(client);
    assert!(eventually(PATIENCE, || list(&agent).is_empty()), "one that ended is gone");
    assert!(agent.murphy(&["connections"]).out.contains("no connection is open"));
}

#[test]
fn holding_stops_what_passes_and_releasing_lets_all_of_it_go_on() {
    let (agent, port) = ground();
    let (mut client, mut other) = (connect(port), connect(port));
    ping(&mut client, b"before");
    let id = until(&agent, &client, "open", |v| v.bytes_down == 6).id.to_string();
    let held = agent.murphy(&["connections", "hold", &id]);
    assert!(held.code == 0 && held.out.contains("is held"), "{held:?}");
    until(&agent, &client, "held", |v| v.state == ConnectionState::Held);
    client.write_all(b"meanwhile").unwrap();
    silent(&mut client);
    ping(&mut other, b"others go on");
    let released = agent.murphy(&["connections", "release", &id]);
    assert_eq!(released.code, 0, "{released:?}");
    let mut answer = [0; 9];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"meanwhile");
    ping(&mut client, b"after");
    let again = agent.murphy(&["connections", "release", &id]);
    assert!(again.code == 5 && again.err.contains("is not held"), "{again:?}");
}

#[test]
fn a_hold_ends_with_its_lease_and_with_a_halt() {
    let (agent, port) = ground();
    let mut client = connect(port);
    ping(&mut client, b"before");
    let id = until(&agent, &client, "open", |v| v.bytes_down == 6).id;
    let hold = |lease: &str| agent.murphy(&["connections", "hold", &id.to_string(), "--for", lease]);
    assert_eq!(hold("500ms").code, 0);
    // Nobody releases it: it waits for its lease.
    ping(&mut client, b"by itself");
    assert_eq!(hold("1h").code, 0);
    until(&agent, &client, "held", |v| v.state == ConnectionState::Held);
    agent.ask(async |c| c.halt().await).unwrap();
    ping(&mut client, b"halt beats everything");
    assert_eq!(until(&agent, &client, "open", |v| v.state != ConnectionState::Held).id, id);
    let refused = agent.ask(async |c| c.hold_connection(id, None).await).unwrap_err();
    assert_eq!(refused.code(), Some(Code::Halted));
    let refused = agent.ask(async |c| c.close_connection(id, Close::Rst).await).unwrap_err();
    assert_eq!(refused.code(), Some(Code::Halted));
}

#[test]
fn closing_one_is_an_end_or_a_reset_and_leaves_the_others() {
    let (agent, port) = ground();
    let mut clients: Vec<TcpStream> = (0..3).map(|_| connect(port)).collect();
    clients.iter_mut().for_each(|c| ping(c, b"before"));
    let id = |client: &TcpStream| until(&agent, client, "open", |v| v.bytes_down == 6).id.to_string();
    let reset = agent.murphy(&["connections", "close", &id(&clients[0]), "--rst"]);
    assert!(reset.code == 0 && reset.out.contains("is reset"), "{reset:?}");
    assert_eq!(clients[0].read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let closed = agent.murphy(&["connections", "close", &id(&clients[1]), "--json"]);
    let closed: Value = serde_json::from_str(&closed.out).unwrap();
    assert_eq!(closed["done"], "closed");
    assert_eq!(clients[1].read(&mut [0]).unwrap(), 0, "an orderly end");
    ping(&mut clients[2], b"untouched");
    assert!(eventually(PATIENCE, || list(&agent).len() == 1), "{:?}", list(&agent));
    let gone = agent.murphy(&["connections", "close", "999999"]);
    assert!(gone.code == 2 && gone.err.contains("no open connection has the number 999999"), "{gone:?}");
}

#[test]
fn the_console_shows_holds_and_resets_them() {
    let (agent, port) = ground();
    let mut client = connect(port);
    ping(&mut client, b"before");
    let address = client.local_addr().unwrap().to_string();
    let socket = format!("unix:{}", agent.dir.path().join("agent.sock").display());
    let mut terminal = Terminal::open(agent.dir.path(), 120, 36, &["tui", "--attach", &socket]);
    terminal.see("proxy:echo");
    terminal.press("3");
    terminal.see(&address);
    terminal.press("i");
    terminal.see("1 held");
    client.write_all(b"meanwhile").unwrap();
    silent(&mut client);
    terminal.press("r");
    let mut answer = [0; 9];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"meanwhile");
    terminal.until("nothing held", |s| !s.contains("1 held") && s.contains(&address));
    terminal.press("k");
    terminal.see("It cannot be undone.");
    terminal.press("y");
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    terminal.see("no connection is open");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}
