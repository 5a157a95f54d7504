use super::roles::{Roles, caller_name};
use super::{TrustError, provider};
use crate::caller::Caller;
use crate::fresh::{Fresh, News};
use host::{der, trust};
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a client has for its handshake.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long, and how much, is read of a client that was refused: an end while it still sends would be a reset, and it would
/// not see why.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 << 10;

/// The first byte of a record that carries a handshake.
const HANDSHAKE: u8 = 22;

/// TLS of a listener: PEM files, read again when they change.
#[derive(Debug, Clone)]
pub struct TlsOptions {
    /// The certificate that is shown, with its chain.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Whose clients may come in: with it, each must show a certificate of this authority.
    pub client_ca: Option<PathBuf>,
    /// What they may do.
    pub roles: Roles,
    /// Is told that files were read again, and when they cannot be used.
    pub tell: fn(&str),
}

/// What came of a connection.
pub(crate) enum Accepted {
    /// TLS; and who it is, where certificates are asked for.
    Tls(Box<TlsStream<TcpStream>>, Option<Caller>),
    /// It does not speak TLS, and waits for an answer in clear.
    Clear(TcpStream),
    /// There was no handshake, and its reason was told to the client.
    Nothing,
}

/// A listener's TLS.
pub(crate) struct ServerTls {
    config: Fresh<ServerConfig>,
    roles: Roles,
    /// Whether clients must show a certificate.
    asks: bool,
    tell: fn(&str),
}

impl ServerTls {
    pub(crate) fn open(options: TlsOptions) -> Result<ServerTls, TrustError> {
        let TlsOptions { cert, key, client_ca, roles, tell } = options;
        let asks = client_ca.is_some();
        let files = [&cert, &key].into_iter().chain(&client_ca).cloned().collect();
        let text = |file: PathBuf| file.to_string_lossy().into_owned();
        let (cert, key, client_ca) = (text(cert), text(key), client_ca.map(text));
        let config = Fresh::new(files, move || config(&cert, &key, client_ca.as_deref()))?;
        Ok(ServerTls { config, roles, asks, tell })
    }

    /// Whether clients must show a certificate.
    pub(crate) fn asks(&self) -> bool {
        self.asks
    }

    /// What the files are now, or were when they could be used last. Connections that are open go on as they began.
    fn current(&self) -> Arc<ServerConfig> {
        let (config, news) = self.config.get();
        match news {
            News::None => {}
            News::Changed => (self.tell)("the certificates of the control API were read again"),
            News::Failed(e) => (self.tell)(&format!(
                "warning: the certificates of the control API have changed and cannot be used, those of before stay: {}; {}",
                e.what, e.hint
            )),
        }
        config
    }

    /// A client's handshake.
    pub(crate) async fn accept(&self, socket: TcpStream) -> Accepted {
        let mut first = [0];
        match tokio::time::timeout(PATIENCE, socket.peek(&mut first)).await {
            Ok(Ok(1)) if first[0] == HANDSHAKE => {}
            // The first letter of a method.
            Ok(Ok(1)) if first[0].is_ascii_alphabetic() => return Accepted::Clear(socket),
            _ => return Accepted::Nothing,
        }
        let handshake = TlsAcceptor::from(self.current()).accept(socket).into_fallible();
        match tokio::time::timeout(PATIENCE, handshake).await {
            Ok(Ok(stream)) => {
                let caller = self.asks.then(|| self.caller(&stream));
                Accepted::Tls(Box::new(stream), caller)
            }
            Ok(Err((_, socket))) => {
                linger(socket).await;
                Accepted::Nothing
            }
            Err(_) => Accepted::Nothing,
        }
    }

    /// Who shows the certificate that was checked.
    fn caller(&self, stream: &TlsStream<TcpStream>) -> Caller {
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let names = shown.and_then(|cert| der::certificate(cert)).map(|c| c.names).unwrap_or_default();
        Caller { name: caller_name(&names), uid: None, pid: None, role: self.roles.of(&names) }
    }
}

fn config(cert: &str, key: &str, client_ca: Option<&str>) -> Result<ServerConfig, TrustError> {
    let (chain, private) = trust::pair(cert, key)?;
    // What clients of today speak; nothing older is offered.
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| trust::unusable(cert, key, &e))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(trust::roots(file)?), provider());
            builder.with_client_cert_verifier(verifier.build().map_err(|e| TrustError {
                what: format!("the authority of clients in {file} cannot be used: {e}"),
                hint: "give a PEM file with the CA that signs their certificates".into(),
            })?)
        }
    };
    let mut config = builder.with_single_cert(chain, private).map_err(|e| trust::unusable(cert, key, &e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A session that is taken up again is not checked again: whoever may no longer come in could for hours.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Ends a connection so that what was said last is heard.
async fn linger(mut socket: TcpStream) {
    let said = async {
        socket.shutdown().await?;
        tokio::io::copy(&mut (&mut socket).take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    // A client that stays, or went first, is its own business.
    let _ = tokio::time::timeout(LINGER, said).await;
}
