#![allow(dead_code)]
pub mod certificates;
pub mod memory;

use control::{Client, Endpoint, Options, Server, Service, SocketOptions, TcpOptions};
use memory::Memory;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// An agent in memory behind a real server, on a unix socket and on TCP.
pub struct Agent {
    pub memory: Arc<Memory>,
    pub server: Option<Server>,
    pub dir: TempDir,
}

impl Agent {
    pub async fn start() -> Agent {
        Agent::with(TcpOptions::new("127.0.0.1:0".parse().unwrap())).await
    }

    pub async fn with(tcp: TcpOptions) -> Agent {
        let memory = Memory::new("edge-1").with_proxy("cart", true);
        let dir = TempDir::new().unwrap();
        let socket = SocketOptions::new(dir.path().join("run/murphy.sock"));
        let options = Options { socket: Some(socket), tcp: Some(tcp) };
        let service: Arc<dyn Service> = memory.clone();
        let server = Server::start(options, service).await.unwrap();
        Agent { memory, server: Some(server), dir }
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::unix(self.server().socket().unwrap())
    }

    pub fn client(&self) -> Client {
        Client::new(self.endpoint())
    }

    pub fn tcp(&self) -> Client {
        Client::new(format!("http://{}", self.server().address().unwrap()).parse().unwrap())
    }

    /// Sends bytes over TCP as they are and reads the answer to its end.
    pub async fn raw(&self, request: &str) -> String {
        let address = self.server().address().unwrap();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        // The server may answer, and close, before it has read everything.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A request with the usual head and an end of the connection after it.
    pub async fn request(&self, line: &str, headers: &[&str], body: &str) -> String {
        let mut text = format!("{line} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|h| h.starts_with("host:")) {
            text.push_str("host: localhost\r\n");
        }
        for header in headers {
            text.push_str(header);
            text.push_str("\r\n");
        }
        if !body.is_empty() {
            text.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        self.raw(&format!("{text}\r\n{body}")).await
    }
}

pub fn latency() -> model::Fault {
    serde_json::from_str(
        r#"{"target": "proxy:cart", "for": "60s", "inject": {"latency": {"delay": "120ms"}}}"#,
    )
    .unwrap()
}
