//! WebSockets, with the websockets package on both sides.

use crate::ground::{Agent, Peer, free_port};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

/// An open socket: what is said, and what comes back.
struct Talk {
    child: Child,
    say: ChildStdin,
    hear: BufReader<ChildStdout>,
}

impl Talk {
    fn open(peer: &Peer, port: u16) -> Talk {
        let mut command = peer.script();
        command.args(["talk", &port.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (say, hear) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut talk = Talk { child, say, hear };
        assert_eq!(talk.line(), "open");
        talk
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.hear.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn say(&mut self, text: &str) -> String {
        writeln!(self.say, "{text}").unwrap();
        self.line()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn faults_act_on_sockets_that_are_open() {
    let Some(server) = Peer::start("http", "ws_peer.py", &["serve"]) else { return };
    let port = free_port();
    let agent = Agent::start(&[format!("web=127.0.0.1:{port},127.0.0.1:{},http", server.port)]);
    let mut talk = Talk::open(&server, port);
    assert!(talk.say("hello").starts_with("hello "));

    let id = agent.arm("proxy:web websocket_delay delay=100ms direction=down");
    let said = talk.say("late");
    let took: f64 = said.strip_prefix("late ").unwrap_or_else(|| panic!("{said}")).parse().unwrap();
    assert!((99.0..390.0).contains(&took), "{took}");
    assert_eq!(agent.disarm(&id), (1, 1));

    let id = agent.arm("proxy:web websocket_drop direction=up");
    assert_eq!(talk.say("lost"), "nothing");
    assert_eq!(agent.disarm(&id), (1, 1));
    assert!(talk.say("there").starts_with("there "));

    let id = agent.arm("proxy:web websocket_corrupt direction=down when.path=/chat");
    let said = talk.say("aaaaaaaaaaaaaaaa");
    // One byte is another one; when that is no text any more, the client closes with 1007.
    assert!(!said.starts_with("aaaaaaaaaaaaaaaa "), "{said}");
    assert_eq!(agent.disarm(&id), (1, 1));

    let mut talk = Talk::open(&server, port);
    assert!(talk.say("again").starts_with("again "));
    let id = agent.arm("proxy:web websocket_close code=1012 reason=restart");
    assert_eq!(talk.say("anyone?"), "closed 1012 restart");
    assert_eq!(agent.disarm(&id).0, 1);
}
