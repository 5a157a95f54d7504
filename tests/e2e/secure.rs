//! The control API over TLS: every verb through it, foreign clients, certificates that are renewed while it runs.

use crate::ground::{
    Agent, Finished, TempDir, Terminal, control_certificates, curl, eventually, free_port, murphy, murphy_in,
    need, program,
};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent whose certificates lie as the kubelet mounts a Secret: links to `..data`, which is a link itself.
struct Ground {
    agent: Agent,
    certs: TempDir,
    port: u16,
}

impl Ground {
    fn start(more: &[&str]) -> Option<Ground> {
        if !need("the program openssl", program("openssl", &[]).is_some()) {
            return None;
        }
        let (certs, port) = (TempDir::new(), free_port());
        control_certificates(&certs.path().join("1"), &["ada", "ci"]);
        mount(certs.path(), "1");
        let at = |name: &str| certs.path().join(name).to_str().unwrap().to_owned();
        let (listen, proxy) = (format!("127.0.0.1:{port}"), free_port());
        let (cert, key, ca) = (at("tls.crt"), at("tls.key"), at("ca.crt"));
        let args = [
            &["--listen", &listen, "--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &ca],
            &["--role", "ada=admin,ci=viewer"][..],
            more,
        ];
        let agent = Agent::start_with(&[format!("cart=127.0.0.1:{proxy},127.0.0.1:1")], &args.concat());
        Some(Ground { agent, certs, port })
    }

    fn at(&self, name: &str) -> String {
        self.certs.path().join(name).to_str().unwrap().to_owned()
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// A verb as someone with the certificate of that name and of that generation.
    fn murphy_as(&self, who: &str, args: &[&str]) -> Finished {
        let (url, ca, cert) = (self.url(), self.at("1/ca.crt"), self.at(&format!("1/{who}.pem")));
        murphy(self.agent.dir.path(), &[args, &["--socket", &url, "--ca", &ca, "--cert", &cert]].concat())
    }

    fn curl(&self, more: &[&str]) -> Finished {
        curl("localhost", self.port, &self.at("ca.crt"), more)
    }
}

/// Swaps what the files are, as the kubelet does: in one step, below a link.
fn mount(dir: &Path, generation: &str) {
    use std::os::unix::fs::symlink;
    symlink(generation, dir.join("..next")).unwrap();
    std::fs::rename(dir.join("..next"), dir.join("..data")).unwrap();
    for name in ["tls.crt", "tls.key", "ca.crt"] {
        if dir.join(name).symlink_metadata().is_err() {
            symlink(format!("..data/{name}"), dir.join(name)).unwrap();
        }
    }
}

#[test]
fn every_verb_goes_through_it_and_names_give_rights() {
    let Some(ground) = Ground::start(&[]) else { return };
    let ok = |who: &str, args: &[&str], want: &str| {
        let done = ground.murphy_as(who, args);
        assert!(done.code == 0 && done.out.contains(want), "{who} {args:?}: {done:?}");
    };
    ok("ada", &["health"], "answers");
    ok("ada", &["list"], "proxy:cart");
    ok("ada", &["connections"], "");
    ok("ci", &["targets"], "proxy:cart");
    let arm = ["arm", "proxy:cart", "latency", "delay=5ms", "--for", "60s", "--id", "slow"];
    let refused = ground.murphy_as("ci", &arm);
    assert!(refused.code != 0 && refused.err.contains("ci (certificate) is viewer"), "{refused:?}");
    let faults = ground.agent.ask(async |c| {
        let fault = serde_json::from_str(
            r#"{"id": "slow", "target": "proxy:cart", "for": "60s", "inject": {"latency": {"delay": "5ms"}}}"#,
        );
        c.arm(&fault.unwrap(), None).await.unwrap();
        c.faults().await.unwrap()
    });
    assert_eq!(faults.len(), 1);
    ok("ada", &["disarm", "slow"], "slow");
    // By variables, as in a pod of someone's tools.
    let mut command = murphy_in(ground.agent.dir.path());
    command.args(["list", "--json"]).env("MURPHY_SOCKET", ground.url());
    command.env("MURPHY_CA", ground.at("ca.crt")).env("MURPHY_CERT", ground.at("1/ada.pem"));
    let done = Finished::from(command.output().unwrap());
    assert!(done.code == 0 && done.out.contains("proxy:cart"), "{done:?}");
    // The console.
    let (url, ca, cert) = (ground.url(), ground.at("ca.crt"), ground.at("1/ada.pem"));
    let words = ["tui", "--attach", &url, "--ca", &ca, "--cert", &cert];
    let mut console = Terminal::open(ground.agent.dir.path(), 140, 36, &words);
    console.see("proxy:cart");
    drop(console);
    // Anyone may halt, and an admin lifts it.
    ok("ci", &["halt"], "halted");
    let refused = ground.murphy_as("ci", &["halt", "--lift"]);
    assert!(refused.code != 0 && refused.err.contains("needs the role admin"), "{refused:?}");
    ok("ada", &["halt", "--lift"], "lifted");
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let Some(ground) = Ground::start(&[]) else { return };
    control_certificates(&ground.certs.path().join("other"), &["eve"]);
    let (url, ca, ada) = (ground.url(), ground.at("ca.crt"), ground.at("1/ada.pem"));
    let (eve, other) = (ground.at("other/eve.pem"), ground.at("other/ca.crt"));
    let clear = format!("http://127.0.0.1:{}", ground.port);
    for (socket, shown, want) in [
        (&url, &[][..], "--ca or MURPHY_CA"),
        (&url, &["--ca", &ca], "--cert and --key"),
        (&url, &["--ca", &other, "--cert", &ada], "is not signed by the authority in"),
        (&url, &["--ca", &ca, "--cert", &eve], "does not know the authority of your certificate"),
        (&url, &["--ca", &ca, "--cert", &ada, "--server-name", "web"], "for web"),
        (&url, &["--ca", &ada, "--cert", &ca], "does not have the private key"),
        (&url, &["--ca", &ca, "--key", &ada], "--cert <FILE>"),
        (&clear, &[], "write https:// in place of http://"),
        // Without TLS at all.
        (&"https://localhost".to_owned(), &[], "the port is missing"),
    ] {
        let done = ground.agent.murphy(&[&["list", "--socket", socket], shown].concat());
        assert!(done.code != 0 && done.err.contains(want), "{socket} {shown:?}: {done:?}");
    }
    let plain = free_port();
    let dir = TempDir::new();
    let mut sidecar = murphy_in(dir.path());
    let proxy = format!("a=127.0.0.1:{},127.0.0.1:1", free_port());
    sidecar.args(["sidecar", "run", "--listen", &format!("127.0.0.1:{plain}"), "--proxy", &proxy]);
    let child = sidecar.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut running = Ended(child);
    assert!(eventually(PATIENCE, || TcpStream::connect(("127.0.0.1", plain)).is_ok()));
    let done = ground.agent.murphy(&["list", "--socket", &format!("https://127.0.0.1:{plain}"), "--ca", &ca]);
    assert!(done.code != 0 && done.err.contains("does not speak TLS"), "{done:?}");
    running.0.kill().unwrap();
    // Half of what is needed, on the agent's side.
    let (cert, key) = (ground.at("tls.crt"), ground.at("tls.key"));
    for (args, want) in [
        (&["agent", "--listen", "127.0.0.1:0", "--tls-cert", &cert][..], "--tls-key"),
        (&["agent", "--tls-cert", &cert, "--tls-key", &key], "nothing listens there"),
        (&["agent", "--listen", "127.0.0.1:0", "--tls-client-ca", &ca], "--tls-cert"),
        (&["agent", "--listen", "127.0.0.1:0", "--role", "ada=admin"], "--tls-client-ca"),
        (&["agent", "--listen", "0.0.0.0:0", "--tls-cert", &cert, "--tls-key", &key], "--tls-client-ca"),
        (&["agent", "--listen", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &eve], "is not that of"),
        (&["agent", "--listen", "127.0.0.1:0", "--tls-cert", &key, "--tls-key", &key], "the certificate"),
    ] {
        let done = murphy(dir.path(), args);
        assert!((done.code == 2 || done.code == 5) && done.err.contains(want), "{args:?}: {done:?}");
    }
}

/// Killed at the end.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn foreign_clients_speak_with_it() {
    let Some(ground) = Ground::start(&[]) else { return };
    if !need("the program curl", program("curl", &[]).is_some()) {
        return;
    }
    let status = ["-w", "%{http_code}", "-o", "/dev/null"];
    let ada = ground.at("1/ada.pem");
    let with = |more: &[&str]| ground.curl(&[&status[..], &["--cert", &ada], more].concat());
    assert_eq!(with(&[]).out, "404");
    let without = ground.curl(&status);
    assert!(without.code != 0 && without.out != "404", "{without:?}");
    // A page that a browser was shown elsewhere may not call.
    assert_eq!(with(&["-H", "origin: https://evil.example"]).out, "403");
    assert_eq!(with(&["-H", "origin: https://localhost"]).out, "404");
    // What openssl makes of it: TLS 1.3 and nothing older, and no session to take up again.
    let s_client = |more: &[&str]| {
        let mut command = Command::new("timeout");
        command.args(["20", "openssl", "s_client", "-connect", &format!("127.0.0.1:{}", ground.port)]);
        command.args(["-verify_hostname", "localhost", "-verify_return_error", "-CAfile"]);
        command.arg(ground.at("ca.crt")).args(["-cert", &ada, "-key", &ada, "-ign_eof"]).args(more);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let asked = b"GET /api/v1/status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        // It may have ended before it was asked to say anything.
        let _ = child.stdin.take().unwrap().write_all(asked);
        Finished::from(child.wait_with_output().unwrap())
    };
    let done = s_client(&[]);
    assert!(
        done.out.contains("TLSv1.3")
            && done.out.contains("Verify return code: 0")
            && done.out.contains(r#""name":"ada (certificate)""#)
            && done.out.contains("murphy control authority")
            && !done.out.contains("Post-Handshake New Session Ticket"),
        "{done:?}"
    );
    let old = s_client(&["-tls1_2"]);
    assert!(!old.out.contains("HTTP/1.1 200"), "{old:?}");
    // Someone who says nothing, or nonsense, holds up nobody.
    let _silent = TcpStream::connect(("127.0.0.1", ground.port)).unwrap();
    let mut nonsense = TcpStream::connect(("127.0.0.1", ground.port)).unwrap();
    nonsense.write_all(b"\x16\x03\x01\xff\xff nonsense").unwrap();
    nonsense.shutdown(std::net::Shutdown::Write).unwrap();
    nonsense.set_read_timeout(Some(PATIENCE)).unwrap();
    // An alert, or the end.
    let _ = nonsense.read_to_end(&mut Vec::new());
    assert_eq!(with(&[]).out, "404");
}

#[test]
fn certificates_are_renewed_while_connections_go_on() {
    let Some(ground) = Ground::start(&[]) else { return };
    // Someone follows what happens, over a connection of before.
    let mut watch = murphy_in(ground.agent.dir.path());
    watch.args(["watch", "--plain", "--new", "--socket", &ground.url(), "--ca", &ground.at("1/ca.crt")]);
    watch.args(["--cert", &ground.at("1/ada.pem")]);
    let child = watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut watch = Ended(child);
    let (lines, said) = std::sync::mpsc::channel();
    let out = BufReader::new(watch.0.stdout.take().unwrap());
    std::thread::spawn(move || out.lines().map_while(Result::ok).all(|line| lines.send(line).is_ok()));
    let mut number = 0;
    let mut arm = || {
        number += 1;
        let id = format!("again-{number}");
        let text = format!(
            r#"{{"id": "{id}", "target": "proxy:cart", "for": "60s", "inject": {{"latency": {{"delay": "5ms"}}}}}}"#
        );
        ground.agent.ask(async |c| c.arm(&serde_json::from_str(&text).unwrap(), None).await.unwrap());
        let come = said.recv_timeout(Duration::from_millis(200));
        let mut come: Vec<String> = come.into_iter().collect();
        come.extend(said.try_iter());
        ground.agent.disarm(&id);
        come.iter().any(|line| line.contains(&id))
    };
    // It may still be on its way to the agent.
    assert!(eventually(PATIENCE, &mut arm), "nothing is told");
    // Another authority altogether.
    control_certificates(&ground.certs.path().join("2"), &["ada"]);
    mount(ground.certs.path(), "2");
    let old = ground.murphy_as("ada", &["list"]);
    assert!(old.code != 0 && old.err.contains("is not signed by the authority in"), "{old:?}");
    let (url, ca, cert) = (ground.url(), ground.at("ca.crt"), ground.at("2/ada.pem"));
    let new = ground.agent.murphy(&["list", "--socket", &url, "--ca", &ca, "--cert", &cert]);
    assert!(new.code == 0 && new.out.contains("proxy:cart"), "{new:?}");
    // A certificate of before is not let in by the new authority.
    let stale = ground.at("1/ada.pem");
    let stale = ground.agent.murphy(&["list", "--socket", &url, "--ca", &ca, "--cert", &stale]);
    assert!(stale.code != 0 && stale.err.contains("does not know the authority"), "{stale:?}");
    // Files that cannot be used are not used.
    std::fs::create_dir(ground.certs.path().join("3")).unwrap();
    mount(ground.certs.path(), "3");
    let ca = ground.at("2/ca.crt");
    let still = ground.agent.murphy(&["list", "--socket", &url, "--ca", &ca, "--cert", &cert]);
    assert_eq!(still.code, 0, "{still:?}");
    // Whoever followed from before still does, and never lost the agent.
    assert!(eventually(PATIENCE, &mut arm), "the connection of before is gone");
    watch.0.kill().unwrap();
    let mut err = String::new();
    watch.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert!(!err.contains("lost"), "{err}");
}

#[test]
fn with_a_token_too_both_are_asked_for() {
    let dir = TempDir::new();
    let token = control::Token::generate().unwrap();
    let file = dir.file("token", token.reveal());
    let file = file.to_str().unwrap();
    let Some(ground) = Ground::start(&["--token-file", file]) else { return };
    let refused = ground.murphy_as("ada", &["list"]);
    assert!(refused.code != 0 && refused.err.contains("asks for a token"), "{refused:?}");
    let done = ground.murphy_as("ada", &["list", "--token-file", file]);
    assert!(done.code == 0 && done.out.contains("proxy:cart"), "{done:?}");
    // Another token, put in the place of the first: who has that has none.
    let first = dir.file("first", token.reveal());
    let next = dir.file("next", control::Token::generate().unwrap().reveal());
    std::fs::rename(next, file).unwrap();
    let refused = ground.murphy_as("ada", &["list", "--token-file", first.to_str().unwrap()]);
    assert!(refused.code != 0 && refused.err.contains("not known here"), "{refused:?}");
    let done = ground.murphy_as("ada", &["list", "--token-file", file]);
    assert_eq!(done.code, 0, "{done:?}");
}
