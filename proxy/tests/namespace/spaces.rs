//! Network namespaces of threads, and the programs that set them up.

use murphy_proxy::ProxyInjector;
use nix::sched::{CloneFlags, unshare};
use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Nothing here takes so long, on any machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Gives this thread a network of its own, with loopback up.
pub fn enter() -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|e| format!("no network namespace: {e}"))?;
    ip("link set lo up")
}

pub fn ip(words: &str) -> Result<(), String> {
    run("ip", &words.split_whitespace().collect::<Vec<_>>(), "")
}

pub fn nft(rules: &str) -> Result<(), String> {
    run("nft", &["-f", "-"], rules)
}

fn run(program: &str, args: &[&str], input: &str) -> Result<(), String> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{program} does not start: {e}"))?;
    child.stdin.take().unwrap().write_all(input.as_bytes()).map_err(|e| e.to_string())?;
    let status = child.wait().map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("{program} {args:?} fails: {status}: {input}")) }
}

/// What the test needs to go on; says why there is none, which is a failure where all tests are required.
pub fn ready<T>(prepared: Result<T, String>) -> Option<T> {
    let why = match prepared {
        Ok(prepared) => return Some(prepared),
        Err(why) => why,
    };
    assert!(std::env::var("MURPHY_E2E").as_deref() != Ok("require"), "{why}");
    eprintln!("skipped: {why}");
    None
}

/// Runs it on this thread alone: the namespace is that of this thread, and so are the sockets.
pub fn block_on(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await.expect("hangs") });
}

/// Opens a proxy; where it listens.
pub async fn open(proxy: &ProxyInjector, spec: serde_json::Value) -> SocketAddr {
    use inject::Injector;
    let target = serde_json::from_value(serde_json::json!({"name": "it", "proxy": spec})).unwrap();
    proxy.open(&target).await.unwrap().listen.unwrap().parse().unwrap()
}
