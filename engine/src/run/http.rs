//! A small HTTP client, with TLS or without: enough for probes and load, without retries that would hide a fault.

use bytes::Bytes;
use host::trust::TrustError;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use model::experiment::Trust;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The address cannot be used.
    #[error("{0:?} is not an http:// or https:// address")]
    Address(String),
    /// There is nothing to check certificates with.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// A header, the method or the path cannot be sent.
    #[error("{0} cannot be sent: {1}")]
    Request(String, http::Error),
    /// No connection.
    #[error("cannot connect to {0}: {1}")]
    Connect(String, std::io::Error),
    /// The connection broke, or what came was no HTTP.
    #[error("{0}")]
    Http(#[from] hyper::Error),
}

/// Where requests go: `host:port`, the path with its query, and whether by TLS.
#[derive(Debug, Clone)]
pub struct Origin {
    /// `host:port`.
    pub authority: String,
    /// Path and query.
    pub path: String,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Origin {
    /// `host:port` and a path, without TLS.
    pub fn plain(authority: impl Into<String>, path: impl Into<String>) -> Origin {
        Origin { authority: authority.into(), path: path.into(), tls: None }
    }

    /// From an `http://` or `https://` address. Roots named by a relative path are beside the experiment's file, in `base`.
    pub fn parse(url: &str, trust: &Trust, base: &Path) -> Result<Origin, Failure> {
        let bad = || Failure::Address(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let host = uri.host().ok_or_else(bad)?;
        let path = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
        let (port, tls) = match uri.scheme_str() {
            Some("http") => (80, None),
            Some("https") => {
                let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                (443, Some((client(trust, base)?, ServerName::try_from(bare).map_err(|_| bad())?)))
            }
            _ => return Err(bad()),
        };
        Ok(Origin { authority: format!("{host}:{}", uri.port_u16().unwrap_or(port)), path, tls })
    }

    /// A new connection.
    pub async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let cannot = |e| Failure::Connect(self.authority.clone(), e);
        let tcp = TcpStream::connect(&self.authority).await.map_err(cannot)?;
        tcp.set_nodelay(true).map_err(cannot)?;
        match &self.tls {
            None => start(tcp).await,
            Some((config, name)) => {
                let connector = TlsConnector::from(config.clone());
                start(connector.connect(name.clone(), tcp).await.map_err(cannot)?).await
            }
        }
    }
}

async fn start(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // Its error comes to whoever waits for the answer.
        let _ = connection.await;
    });
    Ok(sender)
}

/// How TLS is spoken: HTTP/1.1 over it, and certificates checked as `trust` says.
fn client(trust: &Trust, base: &Path) -> Result<Arc<ClientConfig>, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = if trust.insecure {
        builder.dangerous().with_custom_certificate_verifier(host::trust::Unchecked::new(provider))
    } else {
        builder.with_root_certificates(match &trust.roots {
            Some(file) => host::trust::roots(&base.join(file).to_string_lossy())?,
            None => usual_roots()?,
        })
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Those of the system, and murphy's own CA where there is one: proxies that end TLS show certificates of it.
fn usual_roots() -> Result<RootCertStore, TrustError> {
    let mut all = host::trust::system_roots()?.unwrap_or_else(RootCertStore::empty);
    let own = host::dirs::state().join("ca/ca.pem");
    if own.exists() {
        all.extend(host::trust::roots(&own.to_string_lossy())?.roots);
    }
    Ok(all)
}

/// Connections kept between requests.
#[derive(Debug, Default)]
pub struct Pool {
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Pool {
    /// Sends a request on an idle connection or a new one and reads the whole answer: its status and body.
    /// A connection that the other side closed while it was idle is replaced; nothing is sent twice.
    pub async fn send(
        &self,
        origin: &Origin,
        request: Request<Full<Bytes>>,
    ) -> Result<(u16, Bytes), Failure> {
        let mut request = request;
        while let Some(mut sender) = self.take() {
            match sender.try_send_request(request).await {
                Ok(response) => return self.finish(sender, response).await,
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        let mut sender = origin.connect().await?;
        let response = sender.send_request(request).await?;
        self.finish(sender, response).await
    }

    async fn finish(
        &self,
        sender: SendRequest<Full<Bytes>>,
        response: Response<Incoming>,
    ) -> Result<(u16, Bytes), Failure> {
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        Ok((status, body))
    }

    fn take(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|s| !s.is_closed());
        // The most recently used one, so that the others can go idle for good.
        let ready = idle.iter().rposition(SendRequest::is_ready)?;
        Some(idle.remove(ready))
    }
}

/// A request to an origin.
pub fn request(
    origin: &Origin,
    method: &str,
    headers: &[(String, String)],
    body: Bytes,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let mut builder = Request::builder().method(method).uri(&origin.path);
    if !headers.iter().any(|(k, _)| k.eq_ignore_ascii_case("host")) {
        builder = builder.header("host", &origin.authority);
    }
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    builder.body(Full::new(body))
}
