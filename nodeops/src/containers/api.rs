//! The engine's API over its unix socket: Docker's, which Podman speaks too.
//!
//! A handful of calls on HTTP/1.1. A client library of the field brings some forty crates for them; hyper, which the program
//! has anyway, does.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(3);
/// How long an answer may take, beyond what the call itself was told to wait.
const ANSWER: Duration = Duration::from_secs(11);
/// The largest answer that is read: a machine with thousands of containers stays far below.
const LARGEST: usize = 64 * 1024 * 1024;

/// A container engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    socket: PathBuf,
}

/// Why the engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No engine is to be found at all.
    #[error("no container engine answers: looked at {looked}")]
    None {
        /// The sockets that were tried.
        looked: String,
    },
    /// Its socket does not answer.
    #[error("the container engine at {socket} does not answer: {why}")]
    Down {
        /// Where.
        socket: String,
        /// Why.
        why: String,
    },
    /// It answered that it cannot.
    #[error("the container engine refused {call}: {why} (status {status})")]
    Refused {
        /// What was asked.
        call: String,
        /// The status of the answer.
        status: u16,
        /// Its words.
        why: String,
    },
}

impl EngineError {
    /// The container does not exist (any more).
    pub fn is_missing(&self) -> bool {
        matches!(self, EngineError::Refused { status: 404, .. })
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            EngineError::None { .. } => {
                "start Docker or Podman's service (systemctl start docker, podman system service), or name its socket: engine: /path/docker.sock"
            }
            EngineError::Down { .. } => "look whether it runs, and whether this user may use its socket",
            EngineError::Refused { .. } => "look at the container with `docker ps -a` and `docker inspect`",
        }
    }
}

impl Engine {
    /// The engine of that socket.
    pub fn new(socket: PathBuf) -> Engine {
        Engine { socket }
    }

    /// The engine of a container.
    pub fn of(found: &super::Found) -> Engine {
        Engine { socket: found.engine.clone() }
    }

    /// The engine of that socket: a path, or `unix:///path`.
    pub fn at(socket: &str) -> Engine {
        let path = socket.strip_prefix("unix://").unwrap_or(socket);
        Engine { socket: path.into() }
    }

    /// The engine that is meant when nobody says which: that of `DOCKER_HOST`, else the first of the usual sockets that
    /// answers.
    pub async fn usual() -> Result<Engine, EngineError> {
        let candidates = usual_sockets(|name| std::env::var(name).ok());
        let mut last = None;
        for socket in &candidates {
            if !Path::new(socket).exists() {
                continue;
            }
            let engine = Engine::at(socket);
            match engine.get("/_ping").await {
                Ok(_) => return Ok(engine),
                Err(e) => last = Some(e),
            }
        }
        Err(last.unwrap_or(EngineError::None { looked: candidates.join(", ") }))
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether it is Podman, which speaks Docker's API but for some calls.
    pub async fn is_podman(&self) -> bool {
        let version = self.get("/version").await.unwrap_or_default();
        let parts = version["Components"].as_array().map(Vec::as_slice).unwrap_or_default();
        parts.iter().any(|part| part["Name"].as_str().is_some_and(|name| name.contains("Podman")))
    }

    /// Asks for something.
    pub async fn get(&self, path: &str) -> Result<Value, EngineError> {
        self.call("GET", path, None, Duration::ZERO).await
    }

    /// Has something done; `patience` is how long that may take by itself. Being done already is fine.
    pub async fn post(
        &self,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<Value, EngineError> {
        self.call("POST", path, body, patience).await
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<Value, EngineError> {
        let down = |why: String| EngineError::Down { socket: self.socket.display().to_string(), why };
        let stream = tokio::time::timeout(CONNECT, UnixStream::connect(&self.socket))
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no connection within 3 s")))
            .map_err(|e| down(e.to_string()))?;
        let exchange = async {
            let (mut sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(|e| down(e.to_string()))?;
            let connection = tokio::spawn(connection);
            let mut request = Request::builder().method(method).uri(path).header(HOST, "localhost");
            if body.is_some() {
                request = request.header(CONTENT_TYPE, "application/json");
            }
            let bytes = body.map_or_else(Vec::new, |b| b.to_string().into_bytes());
            let request =
                request.body(Full::new(Bytes::from(bytes))).map_err(|e| down(format!("{path}: {e}")))?;
            let response = sender.send_request(request).await.map_err(|e| down(e.to_string()))?;
            let status = response.status().as_u16();
            let whole = Limited::new(response.into_body(), LARGEST)
                .collect()
                .await
                .map_err(|e| down(format!("its answer broke off: {e}")))?
                .to_bytes();
            connection.abort();
            // An empty answer and plain text (`OK`) are no JSON, and not needed.
            let value = serde_json::from_slice::<Value>(&whole).unwrap_or_default();
            if (200..400).contains(&status) {
                return Ok(value);
            }
            let words = value.get("message").and_then(Value::as_str).map(str::to_owned);
            let why = words.unwrap_or_else(|| String::from_utf8_lossy(&whole).trim().to_owned());
            Err(EngineError::Refused { call: format!("{method} {path}"), status, why })
        };
        tokio::time::timeout(ANSWER + patience, exchange)
            .await
            .unwrap_or_else(|_| Err(down(format!("no answer to {method} {path} in time"))))
    }
}

/// Where engines are when nobody says otherwise.
pub(crate) fn usual_sockets(env: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let host = env("DOCKER_HOST").or_else(|| env("CONTAINER_HOST"));
    if let Some(socket) = host.as_deref().and_then(|h| h.strip_prefix("unix://")) {
        return vec![socket.to_owned()];
    }
    let mut all = vec!["/var/run/docker.sock".to_owned(), "/run/podman/podman.sock".to_owned()];
    if let Some(dir) = env("XDG_RUNTIME_DIR") {
        all.push(format!("{dir}/docker.sock"));
        all.push(format!("{dir}/podman/podman.sock"));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    #[test]
    fn the_environment_says_which_engine() {
        let none = usual_sockets(|_| None);
        assert_eq!(none, ["/var/run/docker.sock", "/run/podman/podman.sock"]);
        let own = usual_sockets(|n| (n == "DOCKER_HOST").then(|| "unix:///x/docker.sock".into()));
        assert_eq!(own, ["/x/docker.sock"]);
        let user = usual_sockets(|n| (n == "XDG_RUNTIME_DIR").then(|| "/run/user/7".into()));
        assert_eq!(user[3], "/run/user/7/podman/podman.sock");
    }

    #[tokio::test]
    async fn refusals_carry_the_engines_words() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            let n = stream.read(&mut buffer).await.unwrap();
            let body = r#"{"message":"No such container: x"}"#;
            let head = format!("HTTP/1.1 404 Not Found\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(head.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&buffer[..n]).into_owned()
        });
        let engine = Engine::at(&format!("unix://{}", socket.display()));
        let error = engine.post("/containers/x/pause", None, Duration::ZERO).await.unwrap_err();
        assert!(error.is_missing() && error.to_string().contains("No such container: x"), "{error}");
        assert!(served.await.unwrap().starts_with("POST /containers/x/pause HTTP/1.1\r\n"));
        let down = Engine::at("/nowhere/at/all").get("/_ping").await.unwrap_err();
        assert!(down.to_string().contains("/nowhere/at/all does not answer"), "{down}");
    }
}
