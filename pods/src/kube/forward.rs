//! Ports of pods, reached through the API server: `pods/portforward` by WebSocket (v4.channel.k8s.io), one connection each.

use super::{Cluster, KubeError};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::{SinkExt, StreamExt};
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
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// What is spoken: each message begins with the number of a channel.
const PROTOCOL: &str = "v4.channel.k8s.io";
/// The channels of the only port.
const DATA: u8 = 0;
const ERROR: u8 = 1;
/// No message of a channel is that long.
const LARGEST: usize = 16 << 20;
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
        let path =
            format!("/api/v1/namespaces/{}/pods/{}/portforward?ports={port}", encode(namespace), encode(pod));
        let remote = tokio::time::timeout(PATIENCE, self.upgrade(&path)).await.unwrap_or_else(|_| {
            let late = io::Error::new(io::ErrorKind::TimedOut, "no answer within 15s");
            Err(KubeError::Reach(self.address(), late))
        })?;
        carry(remote, local).await.map_err(|why| KubeError::Port { port, pod: pod.to_owned(), why })
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
            let mut local = local;
            tokio::spawn(async move {
                if let Err(e) = cluster.forward(&namespace, &pod, port, &mut local).await {
                    tell(e);
                }
                // Whoever sees the end of the connection finds told why.
                drop(local);
            });
        }
    }
}

/// Whether murphy's control API in a pod speaks TLS, as the arguments of its container say.
pub fn speaks_tls(pod: &Value) -> bool {
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let containers = lists.iter().flat_map(|list| pod["spec"][list].as_array().into_iter().flatten());
    let args = containers.flat_map(|c| c["args"].as_array().into_iter().flatten().filter_map(Value::as_str));
    // A pod has one that serves it; only murphy has an argument of that name.
    args.into_iter().any(|arg| arg.starts_with("--tls-cert="))
}

/// Copies both ways.
async fn carry(
    remote: impl AsyncRead + AsyncWrite + Unpin,
    mut local: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<()> {
    let bounds = WebSocketConfig::default().max_message_size(Some(LARGEST)).max_frame_size(Some(LARGEST));
    let mut remote = WebSocketStream::from_raw_socket(remote, Role::Client, Some(bounds)).await;
    // The first message of each channel names its port, and nothing else.
    let mut fresh = [true; 2];
    let mut buffer = vec![0; 32 << 10];
    loop {
        tokio::select! {
            said = remote.next() => match said.transpose().map_err(io::Error::other)? {
                None => return local.shutdown().await,
                Some(Message::Close(end)) => match end.filter(|end| !end.reason.is_empty()) {
                    None => return local.shutdown().await,
                    Some(end) => return Err(io::Error::other(end.reason.to_string())),
                },
                Some(message @ (Message::Binary(_) | Message::Text(_))) => {
                    let message = message.into_data();
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
                // Questions whether we are there are answered below.
                Some(_) => remote.flush().await.map_err(io::Error::other)?,
            },
            n = local.read(&mut buffer) => match n? {
                // Our clients end both ways at once; one way alone a WebSocket cannot end.
                0 => return remote.close(None).await.map_err(io::Error::other),
                n => {
                    let message = Message::binary([&[DATA], &buffer[..n]].concat());
                    remote.send(message).await.map_err(io::Error::other)?;
                }
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
        // One of a process that was killed, and had our number, may be left.
        let mut made = Err(io::ErrorKind::AlreadyExists.into());
        for n in 0..100 {
            let dir = parent.join(format!("murphy-kube-{}-{n}", std::process::id()));
            made = std::fs::DirBuilder::new().mode(0o700).create(&dir).map(|()| SocketDir(dir));
            if !matches!(&made, Err(e) if e.kind() == io::ErrorKind::AlreadyExists) {
                break;
            }
        }
        made
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_tungstenite::tungstenite::protocol::CloseFrame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

    /// What an API server says on a way of channels, what the client there gets, and how it ends.
    async fn said(messages: Vec<Message>) -> (Vec<u8>, Vec<Message>, io::Result<()>) {
        let ((near, far), (client, local)) = (tokio::io::duplex(1 << 20), tokio::io::duplex(1 << 20));
        let carrying = tokio::spawn(carry(near, local));
        let mut server = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
        let (mut reads, mut writes) = tokio::io::split(client);
        writes.write_all(b"asked").await.unwrap();
        let mut heard = Vec::new();
        while !heard.iter().any(Message::is_binary) {
            heard.push(server.next().await.unwrap().unwrap());
        }
        for message in messages {
            server.send(message).await.unwrap();
        }
        let _ = server.close(None).await;
        while let Some(Ok(message)) = server.next().await {
            heard.push(message);
        }
        let mut got = Vec::new();
        let ended = carrying.await.unwrap();
        reads.read_to_end(&mut got).await.unwrap();
        (got, heard, ended)
    }

    #[tokio::test]
    async fn channels_carry_bytes_and_errors() {
        let data = |text: &[u8]| Message::binary([&[DATA], text].concat());
        let ports = || vec![data(&[0x90, 0x1f]), Message::binary(vec![ERROR, 0x90, 0x1f])];
        let ping = Message::Ping(bytes::Bytes::from_static(b"?"));
        let (got, heard, ended) = said([ports(), vec![data(b"an"), ping, data(b"swer")]].concat()).await;
        assert!(ended.is_ok() && got == b"answer", "{ended:?} {got:?}");
        assert_eq!(heard[0], data(b"asked"));
        assert!(heard.iter().any(|m| matches!(m, Message::Pong(said) if said == "?")), "{heard:?}");
        let refused = Message::binary([&[ERROR][..], b"nobody listens on 15090\n"].concat());
        let (_, _, ended) = said([ports(), vec![refused]].concat()).await;
        assert_eq!(ended.unwrap_err().to_string(), "nobody listens on 15090");
        let reason = CloseFrame { code: CloseCode::Policy, reason: "too many".into() };
        let (_, _, ended) = said([ports(), vec![Message::Close(Some(reason))]].concat()).await;
        assert_eq!(ended.unwrap_err().to_string(), "too many");
    }
}
