//! What the server does with requests that no client of ours would send, and with sockets that are not ours.

mod support;

use control::Role;
use control::server::Grant;
use control::{
    Client, ClientError, Code, Endpoint, Options, Server, SocketOptions, StartError, TcpOptions, Token,
};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::Agent;
use tempfile::TempDir;

const JSON: &str = "content-type: application/json";

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

#[tokio::test]
async fn unknown_routes_wrong_methods_and_head() {
    let agent = Agent::start().await;
    let answer = agent.request("GET /api/v1/nothing", &[], "").await;
    assert_eq!(status(&answer), 404);
    assert!(answer.contains("application/json") && answer.contains(r#""code":"not_found""#), "{answer}");
    let answer = agent.request("PUT /api/v1/faults", &[], "").await;
    assert_eq!(status(&answer), 405);
    assert!(answer.to_lowercase().contains("allow: get, head, post"), "{answer}");
    let answer = agent.request("HEAD /api/v1/status", &[], "").await;
    assert_eq!(status(&answer), 200);
    assert!(answer.ends_with("\r\n\r\n"), "no body: {answer}");
    assert_eq!(status(&agent.request("HEAD /api/v1/events?from=0", &[], "").await), 200);
    let answer = agent.request("POST /api/v1/faults?dry_rum=true", &[JSON], "{}").await;
    assert_eq!(status(&answer), 400);
    assert!(answer.contains("dry_rum") && answer.contains("dry_run"), "{answer}");
}

#[tokio::test]
async fn pages_in_a_browser_stay_outside() {
    let agent = Agent::start().await;
    for (headers, want) in [
        (vec!["host: evil.example"], 403),
        (vec!["host: localhost", "origin: http://evil.example"], 403),
        (vec!["host: localhost", "origin: null"], 403),
        (vec!["host: localhost:9", "origin: http://localhost:9"], 200),
        (vec!["host: 127.0.0.1"], 200),
    ] {
        let answer = agent.request("GET /api/v1/status", &headers, "").await;
        assert_eq!(status(&answer), want, "{headers:?} {answer}");
    }
    // What a form can send without asking first.
    let answer = agent.request("POST /api/v1/halt", &["content-type: text/plain"], "{}").await;
    assert_eq!(status(&answer), 415);
    let answer = agent.raw("GET /api/v1/status HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert!(matches!(status(&answer), 400 | 403), "no host: {answer}");
    let answer = agent.request("GET http://evil.example/api/v1/status", &[], "").await;
    assert_eq!(status(&answer), 403, "{answer}");
}

#[tokio::test]
async fn bodies_have_a_type_a_shape_and_a_size() {
    let agent = Agent::start().await;
    let post = "POST /api/v1/faults?dry_run=true";
    let answer = agent.request(post, &[JSON], "{").await;
    assert_eq!(status(&answer), 400);
    assert!(answer.contains("openapi.json"), "{answer}");
    let fault = r#"{"target":"proxy:cart","for":"60s","inject":{"latnecy":{}}}"#;
    assert!(agent.request(post, &[JSON], fault).await.contains("did you mean latency?"));
    assert_eq!(status(&agent.request(post, &[JSON], "").await), 400);
    let big = format!("\"{}\"", "x".repeat(2 * 1024 * 1024));
    assert_eq!(status(&agent.request(post, &[JSON], &big).await), 413);
    let answer = agent.request("POST /api/v1/halt", &[JSON], r#"{"dry_run":true}"#).await;
    assert_eq!(status(&answer), 400, "a body that would be ignored: {answer}");
    assert_eq!(status(&agent.request("POST /api/v1/halt", &[JSON], "{}").await), 200);
}

#[tokio::test]
async fn nonsense_does_no_harm() {
    let agent = Agent::start().await;
    for text in [
        "\r\n\r\n",
        "GET\r\n\r\n",
        "\u{0}\u{1}\u{2}",
        "GET /api/v1/faults/%zz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    ] {
        let asked = tokio::time::timeout(Duration::from_secs(20), agent.raw(text));
        // An unfinished head waits for its rest until the server's time is up; that is no harm.
        let _ = tokio::time::timeout(Duration::from_millis(300), asked).await;
    }
    assert!(agent.client().status().await.is_ok());
}

#[tokio::test]
async fn the_description_and_the_metrics_are_served() {
    let agent = Agent::start().await;
    let answer = agent.request("GET /api/v1/openapi.json", &[], "").await;
    assert!(answer.contains(r#""openapi":"3.1.0""#));
    agent.client().arm(&support::latency(), None).await.unwrap();
    let answer = agent.request("GET /metrics", &[], "").await;
    for line in [
        r#"murphy_fault_active{id="f1",fault="latency",kind="proxy",target="cart"} 1"#,
        r#"murphy_fault_applied_total{id="f1",fault="latency",kind="proxy",target="cart"} 0"#,
        "chaos_experiment_running{experiment=\"\"} 0",
        "murphy_undo_failures_total 0",
    ] {
        assert!(answer.contains(line), "{line} in {answer}");
    }
}

#[tokio::test]
async fn tokens_decide_where_the_kernel_cannot() {
    let token = Token::generate().unwrap();
    let mut tcp = TcpOptions::new("127.0.0.1:0".parse().unwrap());
    tcp.grants.push(Grant { name: "ci".into(), role: Role::Operator, token: token.clone().into() });
    let agent = Agent::with(tcp).await;
    let without = agent.tcp().status().await.unwrap_err();
    assert_eq!(without.code(), Some(Code::Unauthorized));
    assert!(without.to_string().contains("MURPHY_TOKEN_FILE"), "{without}");
    let endpoint = agent.tcp().endpoint().clone();
    let wrong = Client::new(endpoint.clone().with_token(Some(Token::generate().unwrap())));
    assert_eq!(wrong.status().await.unwrap_err().code(), Some(Code::Unauthorized));
    // Whoever has the token may call it as they like: no page in a browser has it.
    let bearer = format!("authorization: Bearer {}", token.reveal());
    let named = agent.request("GET /api/v1/status", &["host: edge-1.lan:7443", &bearer], "").await;
    assert!(named.starts_with("HTTP/1.1 200"), "{named}");
    let right = Client::new(endpoint.with_token(Some(token)));
    let you = right.status().await.unwrap().you;
    assert_eq!((you.name.as_str(), you.role), ("ci", Role::Operator));
    assert_eq!(right.arm(&support::latency(), None).await.unwrap().by, "ci");
}

fn options(path: impl Into<std::path::PathBuf>) -> Options {
    Options { socket: Some(SocketOptions::new(path)), tcp: None }
}

#[tokio::test]
async fn beyond_loopback_only_with_a_token() {
    let memory = support::memory::Memory::new("a");
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let tcp = TcpOptions::new(listen.parse().unwrap());
        let refused =
            Server::start(Options { socket: None, tcp: Some(tcp) }, memory.clone()).await.unwrap_err();
        assert!(matches!(refused, StartError::Unguarded { .. }));
        let text = refused.to_string();
        assert!(text.contains("256 bits") && text.contains("--tls-client-ca"), "{text}");
    }
}

#[tokio::test]
async fn sockets_are_private_and_never_taken_from_anyone() {
    let memory: Arc<support::memory::Memory> = support::memory::Memory::new("a");
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("run/murphy.sock");
    let first = Server::start(options(&path), memory.clone()).await.unwrap();
    let mode = |p: &std::path::Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o660, 0o750));
    let second = Server::start(options(&path), memory.clone()).await.unwrap_err();
    assert!(matches!(second, StartError::InUse { .. }), "{second}");
    first.stop().await;
    assert!(!path.exists(), "an ended server leaves no socket");

    // Left behind by an agent that was killed: nobody listens, so it is replaced.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let third = Server::start(options(&path), memory.clone()).await.unwrap();
    drop(third);

    // Somebody who holds no lock listens.
    let held = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let refused = Server::start(options(&path), memory.clone()).await.unwrap_err();
    assert!(matches!(refused, StartError::InUse { .. }), "{refused}");
    drop(held);
    std::fs::remove_file(&path).unwrap();

    std::fs::write(&path, "precious").unwrap();
    let refused = Server::start(options(&path), memory.clone()).await.unwrap_err();
    assert!(matches!(refused, StartError::NotASocket { .. }), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");

    let long = dir.path().join("x".repeat(120));
    assert!(matches!(
        Server::start(options(long), memory.clone()).await.unwrap_err(),
        StartError::PathTooLong { .. }
    ));
    let open = dir.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let refused = Server::start(options(open.join("s")), memory.clone()).await.unwrap_err();
    assert!(matches!(refused, StartError::OpenDirectory { .. }), "{refused}");
    assert!(matches!(Server::start(Options::default(), memory).await.unwrap_err(), StartError::Nowhere));
}

#[tokio::test]
async fn someone_elses_socket_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: giving a socket to another user needs root");
        assert_ne!(std::env::var("MURPHY_E2E").as_deref(), Ok("require"), "needs root");
        return;
    }
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("murphy.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    nix::unistd::chown(&path, Some(nix::unistd::Uid::from_raw(12345)), None).unwrap();
    let refused = Server::start(options(&path), support::memory::Memory::new("a")).await.unwrap_err();
    assert!(refused.to_string().contains("belongs to uid 12345"), "{refused}");
    assert!(path.exists());
}

#[tokio::test]
async fn unreachable_agents_each_have_their_own_message() {
    let dir = TempDir::new().unwrap();
    let ask = |e: Endpoint| async move { Client::new(e).status().await.unwrap_err() };
    let path = dir.path().join("none.sock");
    let e = ask(Endpoint::unix(&path)).await;
    assert!(
        matches!(e, ClientError::NoSocket { .. }) && e.to_string().contains("murphy agent --socket"),
        "{e}"
    );
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(matches!(ask(Endpoint::unix(&path)).await, ClientError::Refused { .. }));

    // A web server, and something that speaks another language.
    for hello in ["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", "SSH-2.0-OpenSSH_9.9\r\n"] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint: Endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let server = tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(hello.as_bytes()).await;
            let _ = stream.shutdown().await;
            let _ = stream.read(&mut [0; 1]).await;
        });
        let e = ask(endpoint).await;
        assert!(matches!(e, ClientError::NotAnAgent { .. }), "{hello:?}: {e:?}");
        server.abort();
    }
}

#[tokio::test]
async fn stopping_ends_streams_soon() {
    let mut agent = Agent::start().await;
    let mut events = agent.client().events(Some(0));
    use futures::StreamExt;
    assert!(matches!(events.next().await, Some(control::Signal::Connected { .. })));
    let begun = Instant::now();
    agent.server.take().unwrap().stop().await;
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    while !matches!(events.next().await, Some(control::Signal::Lost(_))) {}
}

#[tokio::test]
async fn a_crowd_of_watchers_does_not_keep_a_halt_out() {
    use futures::StreamExt;
    let agent = Agent::start().await;
    let mut crowd = Vec::new();
    for _ in 0..64 {
        let mut events = agent.client().events(Some(0));
        assert!(matches!(events.next().await, Some(control::Signal::Connected { .. })));
        crowd.push(events);
    }
    let one_more = agent.client().events(Some(0)).next().await;
    let Some(control::Signal::Lost(e)) = one_more else { panic!("{one_more:?}") };
    assert_eq!(e.code(), Some(Code::Unavailable));
    agent.client().halt().await.unwrap();
}
