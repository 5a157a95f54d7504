//! Who may: the socket's owner and modes, TCP on loopback only, tokens.

use crate::ground::{Agent, TempDir, free_port, is_root, murphy, need};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

#[test]
fn the_socket_is_for_its_owner() {
    let agent = Agent::start(&[]);
    let meta = std::fs::metadata(agent.dir.path().join("agent.sock")).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o660);
    assert_eq!(meta.uid(), nix::unistd::geteuid().as_raw());
}

#[test]
fn beyond_loopback_only_with_a_token() {
    let dir = TempDir::new();
    let open = murphy(dir.path(), &["agent", "--listen", "0.0.0.0:0"]);
    assert_eq!(open.code, 2, "{open:?}");
    assert!(open.err.contains("--token-file") && open.err.contains("--tls-client-ca"), "{open:?}");
    let short = dir.file("short", "secret\n");
    let weak =
        murphy(dir.path(), &["agent", "--listen", "127.0.0.1:0", "--token-file", short.to_str().unwrap()]);
    assert_eq!(weak.code, 2, "{weak:?}");
    assert!(weak.err.contains("256"), "{weak:?}");
}

#[test]
fn a_socket_that_someone_else_owns_is_left_alone() {
    if !need("root, to give a file away", is_root()) {
        return;
    }
    let dir = TempDir::new();
    let path = dir.path().join("theirs.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
    drop(listener);
    let done = murphy(dir.path(), &["agent", "--socket", path.to_str().unwrap()]);
    assert_eq!(done.code, 5, "{done:?}");
    assert!(done.err.contains("belongs to uid 65534"), "{done:?}");
    assert!(path.exists(), "it is still there");
}

#[test]
fn a_browser_or_a_rebound_name_is_refused() {
    use std::io::{Read, Write};
    let port = free_port();
    let dir = TempDir::new();
    let mut child = crate::ground::murphy_in(dir.path())
        .args(["agent", "--listen", &format!("127.0.0.1:{port}")])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let ask = |extra: &str, host: &str| {
        let mut s = std::net::TcpStream::connect(("127.0.0.1", port))?;
        write!(s, "GET /api/v1/status HTTP/1.1\r\nhost: {host}\r\n{extra}connection: close\r\n\r\n")?;
        let mut text = String::new();
        s.read_to_string(&mut text)?;
        std::io::Result::Ok(text.split(' ').nth(1).unwrap_or("").to_owned())
    };
    let up = crate::ground::eventually(std::time::Duration::from_secs(20), || ask("", "127.0.0.1").is_ok());
    let results = [
        ask("", &format!("127.0.0.1:{port}")),
        ask("", "evil.example"),
        ask("origin: http://evil.example\r\n", "127.0.0.1"),
    ];
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    child.wait().unwrap();
    assert!(up);
    let codes: Vec<String> = results.into_iter().map(Result::unwrap).collect();
    assert_eq!(codes, ["200", "403", "403"]);
}

#[test]
fn the_agent_that_a_variable_names_is_halted_and_told_when_it_cannot_be() {
    let agent = Agent::start(&[]);
    let halt = |socket: &str, args: &[&str]| {
        let mut command = crate::ground::murphy_in(agent.dir.path());
        // Halts of others are not its business.
        command.env("MURPHY_STATE_DIR", agent.dir.path().join("else")).env("MURPHY_SOCKET", socket);
        crate::ground::Finished::from(command.arg("halt").args(args).output().unwrap())
    };
    let unix = format!("unix:{}", agent.dir.path().join("agent.sock").display());
    let done = halt(&unix, &[]);
    assert!(done.code == 0 && done.out.contains("halted"), "{done:?}");
    assert!(agent.ask(async |c| c.status().await.unwrap().agent.halted.is_some()));
    assert_eq!(halt(&unix, &["--lift"]).code, 0);
    // One elsewhere that does not answer may have everything armed.
    let gone = halt(&format!("http://127.0.0.1:{}", free_port()), &[]);
    assert!(gone.code == 5 && gone.err.contains("nothing listens there"), "{gone:?}");
    let wrong = halt("ftp://x", &[]);
    assert!(wrong.err.contains("is not an agent's address"), "{wrong:?}");
}
