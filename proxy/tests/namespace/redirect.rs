//! Connections that nf_tables redirects go where they were going. In a network namespace of its own, so a process of its
//! own: needs root, `ip` and `nft`.

use inject::Injector;
use model::Target;
use murphy_proxy::ProxyInjector;
use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Socket, Type};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SERVICE: &str = "10.77.0.1:9000";
/// Connections with this mark are redirected; the proxy's own are not.
const MARK: u32 = 7;

const RULES: &str = "table ip murphy_test {
    chain output {
        type nat hook output priority -100
        meta mark 7 tcp dport 9000 redirect to :7000
    }
}
";

/// Why it cannot run here; the namespace is made and set up otherwise.
fn prepare() -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|e| format!("no network namespace: {e}"))?;
    run("ip", &["link", "set", "lo", "up"], "")?;
    run("ip", &["address", "add", "10.77.0.1/32", "dev", "lo"], "")?;
    run("nft", &["-f", "-"], RULES)
}

fn run(program: &str, args: &[&str], input: &str) -> Result<(), String> {
    use std::io::Write;
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{program} does not start: {e}"))?;
    child.stdin.take().unwrap().write_all(input.as_bytes()).map_err(|e| e.to_string())?;
    let status = child.wait().map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("{program} {args:?} fails: {status}")) }
}

#[test]
fn redirected_connections_go_where_they_were_going() {
    if let Err(why) = prepare() {
        assert!(std::env::var("MURPHY_E2E").as_deref() != Ok("require"), "{why}");
        eprintln!("skipped: {why}");
        return;
    }
    // One thread: the namespace is that of this thread, and so are the sockets.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let work = async {
        let service = TcpListener::bind(SERVICE).await.unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = service.accept().await {
                stream.write_all(b"here").await.unwrap();
            }
        });
        let target: Target = serde_json::from_value(serde_json::json!({
            "name": "it", "proxy": {"listen": "127.0.0.1:7000", "upstream": "original"},
        }))
        .unwrap();
        let proxy = ProxyInjector::new();
        proxy.open(&target).await.unwrap();
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        client.set_mark(MARK).unwrap();
        client.connect(&SERVICE.parse::<SocketAddr>().unwrap().into()).unwrap();
        client.set_nonblocking(true).unwrap();
        let mut client = TcpStream::from_std(client.into()).unwrap();
        let mut said = [0; 4];
        client.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"here");
        let seen = proxy.connections();
        assert_eq!(seen.iter().map(|c| c.upstream.as_deref()).collect::<Vec<_>>(), [Some(SERVICE)]);
    };
    runtime.block_on(async {
        tokio::time::timeout(std::time::Duration::from_secs(20), work).await.expect("hangs");
    });
}
