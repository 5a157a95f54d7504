//! Talking to the API server of a cluster: as a pod of it, or as a person with a kubeconfig. As much as is needed here, which
//! is a handful of calls.
//!
//! ```text
//! config    who we are and where it is
//! forward   ports of pods
//! ```

mod config;
mod forward;

pub use config::ConfigError;
pub use forward::{SocketDir, speaks_tls};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A patch that adds to lists what they have not.
const MERGE: &str = "application/strategic-merge-patch+json";
/// No list here is that long.
const LARGEST: usize = 64 << 20;

/// A cluster's API server, and who we are to it.
#[derive(Debug, Clone)]
pub struct Cluster {
    host: String,
    port: u16,
    /// What stands before every path, for servers behind others.
    prefix: String,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    who: Who,
    namespace: String,
}

/// How we say who we are, besides a certificate.
#[derive(Clone, Default)]
enum Who {
    #[default]
    Nobody,
    Token(String),
    /// Read each time: it changes.
    TokenFile(PathBuf),
    /// Name and password.
    Basic(String),
}

impl std::fmt::Debug for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Who::Nobody => "Nobody",
            Who::Token(_) => "Token(…)",
            Who::TokenFile(_) => "TokenFile",
            Who::Basic(_) => "Basic(…)",
        })
    }
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum KubeError {
    /// The server was not reached, or the exchange broke.
    #[error("the API server at {0} was not reached: {1}; is it up, and may it be reached from here?")]
    Reach(String, io::Error),
    /// It let us, and the port does not answer.
    #[error(
        "port {port} of the pod {pod} was not reached: {why}; does its sidecar run, and does murphy.dev/token-secret or \
         murphy.dev/tls-secret have it serve there?"
    )]
    Port {
        /// Which.
        port: u16,
        /// Whose.
        pod: String,
        /// What was said.
        why: io::Error,
    },
    /// It said no.
    #[error("the API server refused {what}: {status} {said}; {}", hint(.status))]
    Refused {
        /// What was asked.
        what: String,
        /// Its status.
        status: StatusCode,
        /// Its words.
        said: String,
    },
    /// Its answer was no JSON.
    #[error("the API server answered {0} with something that is not JSON; is it an API server?")]
    Answer(String),
}

fn hint(status: &StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "it does not know who asks: look at the token or the certificate",
        403 => {
            "who asks may not do that: look at the Role and its binding (deploy/kubernetes has those that are needed)"
        }
        404 => "is the name right, and the namespace?",
        _ => "its log may say more",
    }
}

/// A connection, plain or with TLS.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

impl Cluster {
    /// The namespace that is meant when nobody names one.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Where it is, for people.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Asks for something.
    pub async fn get(&self, path: &str) -> Result<Value, KubeError> {
        self.call(Method::GET, path, None).await
    }

    /// Changes something by a patch, whose kind is its content type.
    pub async fn patch(&self, path: &str, kind: &'static str, patch: &Value) -> Result<Value, KubeError> {
        self.call(Method::PATCH, path, Some((kind, patch))).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, &Value)>,
    ) -> Result<Value, KubeError> {
        let what = format!("{method} {path}");
        let unreached = |e: io::Error| KubeError::Reach(self.address(), e);
        let exchange = async {
            let (mut send, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(self.connect().await?))
                    .await
                    .map_err(io::Error::other)?;
            tokio::spawn(connection);
            let mut request = self.request(method, path)?;
            if let Some((kind, value)) = body {
                request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
                *request.body_mut() = Full::new(Bytes::from(value.to_string()));
            }
            let response = send.send_request(request).await.map_err(io::Error::other)?;
            let status = response.status();
            let bytes =
                Limited::new(response.into_body(), LARGEST).collect().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((status, bytes.to_bytes()))
        };
        let (status, bytes) = tokio::time::timeout(PATIENCE, exchange)
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 30s")))
            .map_err(unreached)?;
        let answer: Result<Value, _> = serde_json::from_slice(&bytes);
        if !status.is_success() {
            let said = answer.ok().and_then(|a| a["message"].as_str().map(str::to_owned));
            let said = said.unwrap_or_else(|| String::from_utf8_lossy(&bytes).chars().take(200).collect());
            return Err(KubeError::Refused { what, status, said });
        }
        answer.map_err(|_| KubeError::Answer(what))
    }

    /// A request that says who asks.
    fn request(&self, method: Method, path: &str) -> io::Result<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.prefix))
            .header(HOST, self.address())
            .header(ACCEPT, "application/json");
        let authorization = match &self.who {
            Who::Nobody => None,
            Who::Token(token) => Some(format!("Bearer {token}")),
            Who::TokenFile(file) => {
                let token = std::fs::read_to_string(file)
                    .map_err(|e| io::Error::new(e.kind(), format!("the token in {}: {e}", file.display())))?;
                Some(format!("Bearer {}", token.trim()))
            }
            Who::Basic(both) => Some(format!("Basic {}", BASE64_STANDARD.encode(both))),
        };
        if let Some(text) = authorization {
            let mut value = HeaderValue::try_from(text).map_err(io::Error::other)?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request.body(Full::default()).map_err(io::Error::other)
    }

    /// A connection to it.
    async fn connect(&self) -> io::Result<Box<dyn Wire>> {
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await?;
        socket.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Box::new(socket)),
            Some((config, name)) => {
                let stream = TlsConnector::from(config.clone()).connect(name.clone(), socket).await?;
                Ok(Box::new(stream))
            }
        }
    }

    /// Its version: 1 and 29 of 1.29.
    pub async fn version(&self) -> Result<(u32, u32), KubeError> {
        let said = self.get("/version").await?;
        // Some providers have a sign behind their numbers: 29+.
        let number =
            |key: &str| said[key].as_str()?.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok();
        number("major").zip(number("minor")).ok_or_else(|| KubeError::Answer("GET /version".to_owned()))
    }

    /// A pod.
    pub async fn pod(&self, namespace: &str, name: &str) -> Result<Value, KubeError> {
        self.get(&format!("/api/v1/namespaces/{}/pods/{}", forward::encode(namespace), forward::encode(name)))
            .await
    }

    /// Adds a container to a pod that runs. It stays there until the pod is gone.
    pub async fn attach(&self, namespace: &str, pod: &str, container: &Value) -> Result<(), KubeError> {
        let (namespace, pod) = (forward::encode(namespace), forward::encode(pod));
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/ephemeralcontainers");
        let whole = serde_json::json!({"ephemeralContainers": [container]});
        let patch = serde_json::json!({"spec": whole});
        let answer = self.patch(&path, MERGE, &patch).await?;
        if answer["kind"] == "EphemeralContainers" {
            // Before 1.22 that list is an object of its own, and of the patch nothing was in it.
            self.patch(&path, MERGE, &whole).await?;
        }
        Ok(())
    }

    /// Tells the API server whom it shall believe to be the webhooks of a configuration; whether that was news to it.
    pub async fn trust_webhook(&self, configuration: &str, authority: &str) -> Result<bool, KubeError> {
        let path =
            format!("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{configuration}");
        let found = self.get(&path).await?;
        let wanted = Value::from(BASE64_STANDARD.encode(authority));
        let webhooks = found["webhooks"].as_array().map(Vec::as_slice).unwrap_or_default();
        let patch =
            webhooks.iter().enumerate().filter(|(_, hook)| hook["clientConfig"]["caBundle"] != wanted);
        let patch: Vec<Value> = patch
            .map(|(n, _)| {
                serde_json::json!({"op": "add", "path": format!("/webhooks/{n}/clientConfig/caBundle"), "value": wanted})
            })
            .collect();
        if patch.is_empty() {
            return Ok(false);
        }
        self.patch(&path, "application/json-patch+json", &Value::from(patch)).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
