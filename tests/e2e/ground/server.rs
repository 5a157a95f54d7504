use super::agent::TempDir;
use super::need::{is_root, need, program};
use super::statistics::eventually;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// A port that is free now and that nobody takes by chance: below those that the kernel gives to outgoing connections,
/// never the same twice in this process.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 10_000 + (std::process::id() % 200) as u16 * 100;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A server process; it and all it started are gone when this is dropped.
pub(super) struct Server {
    child: Child,
    _dir: TempDir,
}

impl Server {
    pub(super) fn start(mut command: Command, dir: TempDir, port: u16) -> Server {
        use std::os::unix::process::CommandExt;
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Server { child, _dir: dir };
        let up = eventually(Duration::from_secs(30), || {
            assert!(server.child.try_wait().unwrap().is_none(), "{command:?} ended at once");
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        assert!(up, "{command:?} does not listen on {port}");
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ =
                nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// nginx on a private port: `/` says hello, `/pay` says paid, `/read` reads the request's body before it says hello.
pub struct Nginx {
    pub port: u16,
    /// The same over HTTP/2 with prior knowledge.
    pub h2_port: u16,
    _server: Server,
}

impl Nginx {
    pub fn start() -> Option<Nginx> {
        let nginx = program("nginx", &[]);
        if !need("nginx (apt-get install nginx-light)", nginx.is_some()) {
            return None;
        }
        let (dir, port, h2_port) = (TempDir::new(), free_port(), free_port());
        let root = dir.path().display();
        let conf = format!(
            "daemon off; worker_processes 1; pid {root}/pid; error_log {root}/error.log;\n\
             events {{ worker_connections 2048; }}\n\
             http {{ access_log off; keepalive_requests 1000000; client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n\
             server {{ listen 127.0.0.1:{port}; listen 127.0.0.1:{h2_port} http2; location / {{ return 200 'hello\\n'; }} location /pay {{ return 200 'paid\\n'; }} location /read {{ proxy_pass http://127.0.0.1:{port}/; }} }} }}\n"
        );
        let file = dir.file("nginx.conf", &conf);
        let mut command = Command::new(nginx?);
        command.arg("-c").arg(&file).arg("-e").arg(dir.path().join("error.log"));
        Some(Nginx { port, h2_port, _server: Server::start(command, dir, port) })
    }
}

/// Redis on a private port, keeping nothing.
pub struct Redis {
    pub port: u16,
    _server: Server,
}

impl Redis {
    pub fn start() -> Option<Redis> {
        let redis = program("redis-server", &[]);
        if !need("redis-server (apt-get install redis-server)", redis.is_some()) {
            return None;
        }
        let (dir, port) = (TempDir::new(), free_port());
        let mut command = Command::new(redis?);
        command
            .args([
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--port",
                &port.to_string(),
                "--dir",
            ])
            .arg(dir.path());
        Some(Redis { port, _server: Server::start(command, dir, port) })
    }
}

/// A Redis connection that speaks just enough.
pub struct RedisClient(BufReader<TcpStream>);

impl RedisClient {
    pub fn connect(port: u16) -> io::Result<RedisClient> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(RedisClient(BufReader::new(stream)))
    }

    /// Sends a command and reads the first line of the answer.
    pub fn ask(&mut self, command: &str) -> io::Result<String> {
        let words: Vec<&str> = command.split(' ').collect();
        let mut text = format!("*{}\r\n", words.len());
        words.iter().for_each(|w| text.push_str(&format!("${}\r\n{w}\r\n", w.len())));
        self.0.get_mut().write_all(text.as_bytes())?;
        self.read()
    }

    pub fn read(&mut self) -> io::Result<String> {
        let mut answer = String::new();
        match self.0.read_line(&mut answer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(answer.trim_end().to_owned()),
        }
    }

    pub fn patience(&self, within: Duration) {
        self.0.get_ref().set_read_timeout(Some(within)).unwrap();
    }
}

/// PostgreSQL on a private port, trusting everyone on loopback.
pub struct Postgres {
    pub port: u16,
    _server: Server,
}

impl Postgres {
    pub fn start() -> Option<Postgres> {
        let homes: Vec<String> = (13..=18).rev().map(|v| format!("/usr/lib/postgresql/{v}/bin")).collect();
        let homes: Vec<&str> = homes.iter().map(String::as_str).collect();
        let (initdb, postgres) = (program("initdb", &homes), program("postgres", &homes));
        if !need("PostgreSQL (apt-get install postgresql)", initdb.is_some() && postgres.is_some()) {
            return None;
        }
        let (dir, port) = (TempDir::new(), free_port());
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        // PostgreSQL refuses to run as root; the package made a user for it.
        let as_postgres = |program: &Path| {
            let mut command = Command::new(if is_root() { "setpriv".into() } else { program.to_owned() });
            if is_root() {
                command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
            }
            command.current_dir("/");
            command
        };
        if is_root() {
            let mut chown = Command::new("chown");
            chown.arg("-R").arg("postgres").arg(dir.path());
            assert!(chown.status().unwrap().success());
        }
        let made = as_postgres(&initdb?)
            .args(["-A", "trust", "-U", "postgres", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut command = as_postgres(&postgres?);
        command.arg("-D").arg(&data).args([
            "-h",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-F",
            "-c",
            "shared_buffers=16MB",
            "-c",
        ]);
        command.arg(format!("unix_socket_directories={}", data.display()));
        let server = Server::start(command, dir, port);
        // It listens before it serves.
        let ready = eventually(Duration::from_secs(30), || PostgresClient::connect(port).is_ok());
        assert!(ready, "PostgreSQL listens, but does not serve");
        Some(Postgres { port, _server: server })
    }
}

/// A PostgreSQL connection that speaks just enough of protocol 3.0.
pub struct PostgresClient(TcpStream);

impl PostgresClient {
    pub fn connect(port: u16) -> io::Result<PostgresClient> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut client = PostgresClient(stream);
        let body = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0";
        client.0.write_all(&(body.len() as u32 + 4).to_be_bytes())?;
        client.0.write_all(body)?;
        client.until_ready()?;
        Ok(client)
    }

    /// A simple query; gives the first value of the first row.
    pub fn query(&mut self, sql: &str) -> io::Result<String> {
        let mut message = vec![b'Q'];
        message.extend((sql.len() as u32 + 5).to_be_bytes());
        message.extend(sql.as_bytes());
        message.push(0);
        self.0.write_all(&message)?;
        self.until_ready()
    }

    /// Reads messages up to ReadyForQuery.
    fn until_ready(&mut self) -> io::Result<String> {
        let mut value = String::new();
        loop {
            let mut head = [0; 5];
            self.0.read_exact(&mut head)?;
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let mut body = vec![0; length.saturating_sub(4)];
            self.0.read_exact(&mut body)?;
            match head[0] {
                b'Z' => return Ok(value),
                b'E' => return Err(io::Error::other(String::from_utf8_lossy(&body).into_owned())),
                b'D' if value.is_empty() && body.len() > 6 => {
                    value = String::from_utf8_lossy(&body[6..]).into_owned()
                }
                _ => {}
            }
        }
    }
}
