//! Ports of pods, reached through the API server: `pods/portforward` by WebSocket (v4.channel.k8s.io), one connection each.

use super::socket::{Reader, Said, close, pong, send};
use super::{Cluster, KubeError};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{
    ACCEPT, CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixListener;

/// What is spoken: each message begins with the number of a channel.
const PROTOCOL: &str = "v4.channel.k8s.io";
/// The channels of the only port.
const DATA: u8 = 0;
const ERROR: u8 = 1;
/// How long the API server may take to open a way.
const PATIENCE: Duration = Duration::from_secs(15);

impl Cluster {
    /// The pods of a namespace that have these labels and run: `app=web,tier!=db`.
    pub async fn running_pods(&self, namespace: &str, selector: &str) -> Result<Vec<Value>, KubeError> {
        let path =
            format!("/api/v1/namespaces/{}/pods?labelSelector={}", encode(namespace), encode(selector));
        let list = self.get(&path).await?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        Ok(items.into_iter().filter(|pod| pod["status"]["phase"] == "Running").collect())
    }

    /// Carries a connection to a port of a pod, until one side ends it.
    pub async fn forward(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
        local: impl AsyncRead + AsyncWrite + Unpin,
    ) -> Result<(), KubeError> {
        let remote = self.open(namespace, pod, port).await?;
        carry(remote, local)
            .await
            .map_err(|e| KubeError::Reach(format!("{} (port {port} of {pod})", self.address()), e))
    }

    /// Whether a way to a port of a pod is opened to us; what listens there is not asked.
    pub async fn may_forward(&self, namespace: &str, pod: &str, port: u16) -> Result<(), KubeError> {
        let mut remote = self.open(namespace, pod, port).await?;
        // Whether it hears that nothing follows is its affair.
        let _ = close(&mut remote).await;
        Ok(())
    }

    async fn open(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + use<>, KubeError> {
        let path =
            format!("/api/v1/namespaces/{}/pods/{}/portforward?ports={port}", encode(namespace), encode(pod));
        tokio::time::timeout(PATIENCE, self.upgrade(&path)).await.unwrap_or_else(|_| {
            let late = io::Error::new(io::ErrorKind::TimedOut, "no answer within 15s");
            Err(KubeError::Reach(self.address(), late))
        })
    }

    /// Asks for a way of channels.
    async fn upgrade(&self, path: &str) -> Result<impl AsyncRead + AsyncWrite + Unpin + use<>, KubeError> {
        let unreached = |e: io::Error| KubeError::Reach(self.address(), e);
        let io = TokioIo::new(self.connect().await.map_err(unreached)?);
        let handshake = hyper::client::conn::http1::handshake(io).await;
        let (mut sender, connection) = handshake.map_err(|e| unreached(io::Error::other(e)))?;
        tokio::spawn(connection.with_upgrades());
        let mut request = self.request(Method::GET, path).map_err(unreached)?;
        let mut key = [0; 16];
        // Only its shape counts.
        let _ = rustls::crypto::ring::default_provider().secure_random.fill(&mut key);
        let key = BASE64_STANDARD.encode(key);
        let headers = request.headers_mut();
        // What says that it takes JSON alone, a kubelet refuses (406).
        headers.remove(ACCEPT);
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
        headers.insert(
            SEC_WEBSOCKET_KEY,
            HeaderValue::try_from(key).map_err(|e| unreached(io::Error::other(e)))?,
        );
        let response = sender.send_request(request).await.map_err(|e| unreached(io::Error::other(e)))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status = response.status();
            let body = Limited::new(response.into_body(), 64 << 10).collect().await.map(|b| b.to_bytes());
            let body = body.unwrap_or_default();
            let said = serde_json::from_slice::<Value>(&body)
                .ok()
                .and_then(|v| v["message"].as_str().map(str::to_owned));
            let said = said.unwrap_or_else(|| String::from_utf8_lossy(&body).chars().take(200).collect());
            return Err(KubeError::Refused { what: format!("GET {path}"), status, said });
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(|e| unreached(io::Error::other(e)))?;
        Ok(TokioIo::new(upgraded))
    }

    /// Serves a unix socket whose connections go to a port of a pod, for ever. What goes wrong with one is told.
    pub async fn serve_port(
        self: Arc<Cluster>,
        listener: UnixListener,
        namespace: String,
        pod: String,
        port: u16,
        tell: impl Fn(KubeError) + Send + Sync + 'static,
    ) {
        let tell = Arc::new(tell);
        loop {
            let Ok((local, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let (cluster, namespace, pod, tell) =
                (self.clone(), namespace.clone(), pod.clone(), tell.clone());
            tokio::spawn(async move {
                if let Err(e) = cluster.forward(&namespace, &pod, port, local).await {
                    tell(e);
                }
            });
        }
    }
}

/// Copies both ways.
async fn carry(
    remote: impl AsyncRead + AsyncWrite + Unpin,
    mut local: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<()> {
    let (read, mut write) = tokio::io::split(remote);
    let mut reader = Reader::new(read);
    // The first message of each channel names its port, and nothing else.
    let mut fresh = [true; 2];
    let mut buffer = vec![0; 32 << 10];
    loop {
        tokio::select! {
            said = reader.next() => match said? {
                Said::Ping(data) => pong(&mut write, &data).await?,
                Said::Close(why) if why.is_empty() => return local.shutdown().await,
                Said::Close(why) => return Err(io::Error::other(why)),
                Said::Message(message) => {
                    let Some((&channel @ (DATA | ERROR), data)) = message.split_first() else { continue };
                    let data = match std::mem::replace(&mut fresh[usize::from(channel)], false) {
                        true => data.get(2..).unwrap_or_default(),
                        false => data,
                    };
                    if channel == DATA {
                        local.write_all(data).await?;
                    } else if !data.is_empty() {
                        return Err(io::Error::other(String::from_utf8_lossy(data).trim().to_owned()));
                    }
                }
            },
            n = local.read(&mut buffer) => match n? {
                // Our clients end both ways at once; one way alone a WebSocket cannot end.
                0 => return close(&mut write).await,
                n => send(&mut write, &[DATA], &buffer[..n]).await?,
            },
        }
    }
}

/// A part of a path or a query, in which everything but letters and digits is escaped.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => out.push(byte as char),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// A directory for sockets that nobody else can reach; gone with this.
#[derive(Debug)]
pub struct SocketDir(PathBuf);

impl SocketDir {
    /// A new one in the user's runtime directory, or in the one for temporary files.
    pub fn new() -> io::Result<SocketDir> {
        use std::os::unix::fs::DirBuilderExt;
        let parent = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let dir = parent.join(format!("murphy-kube-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&dir)?;
        Ok(SocketDir(dir))
    }

    /// Listens on a socket in it.
    pub fn listen(&self, name: &str) -> io::Result<(UnixListener, PathBuf)> {
        // Socket paths are short, and names of pods may be long; what tells them apart is at their end.
        let short: String = name.chars().rev().take(40).collect::<Vec<_>>().into_iter().rev().collect();
        let path = self.0.join(short);
        Ok((UnixListener::bind(&path)?, path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SocketDir {
    fn drop(&mut self) {
        // Nothing is in it but sockets of ours.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
