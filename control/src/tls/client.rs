use super::{TrustError, provider};
use crate::fresh::Fresh;
use host::trust;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::path::PathBuf;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Whom a client believes, and what it shows: PEM files, read again when they change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// The authority of the agent's certificate; none: those that the system trusts.
    pub ca: Option<PathBuf>,
    /// Our certificate, with its chain.
    pub cert: Option<PathBuf>,
    /// Its key; none: it is in the same file.
    pub key: Option<PathBuf>,
    /// A name that the agent's certificate must have, where the address is not what it is for.
    pub name: Option<String>,
}

/// TLS with agents.
pub struct ClientTls {
    shown: Shown,
    config: Fresh<ClientConfig>,
}

/// What is reached by a socket of this machine that leads to an agent elsewhere has no name; this is what it is called.
const HERE: &str = "localhost";

impl ClientTls {
    /// Reads the files.
    pub fn open(shown: Shown) -> Result<ClientTls, TrustError> {
        if let Some(name) = &shown.name
            && ServerName::try_from(name.as_str()).is_err()
        {
            return Err(TrustError {
                what: format!("{name:?} is no name that a certificate could have"),
                hint: "give a host's name or an address".into(),
            });
        }
        let files = [&shown.ca, &shown.cert, &shown.key].into_iter().flatten().cloned().collect();
        let given = shown.clone();
        Ok(ClientTls { config: Fresh::new(files, move || config(&given))?, shown })
    }

    /// What it was made of.
    pub fn shown(&self) -> &Shown {
        &self.shown
    }

    /// A handshake with an agent; `host`: where it was reached, if it was by name or address.
    pub(crate) async fn connect<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: Option<&str>,
        io: IO,
    ) -> io::Result<TlsStream<IO>> {
        let name = self.shown.name.as_deref().or(host).unwrap_or(HERE);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| io::Error::other(format!("{name:?} is no name that a certificate could have")))?;
        // Whether they are good shows in the handshake; when they cannot be read now, those of before are shown.
        let (config, _) = self.config.get();
        TlsConnector::from(config).connect(name, io).await
    }
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.shown.fmt(f)
    }
}

fn config(shown: &Shown) -> Result<ClientConfig, TrustError> {
    let roots = match &shown.ca {
        Some(file) => trust::roots(&file.to_string_lossy())?,
        // Without any, nothing is believed, and the handshake says so.
        None => trust::system_roots()?.unwrap_or_else(rustls::RootCertStore::empty),
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| TrustError { what: format!("TLS cannot be used: {e}"), hint: "report it".into() })?
        .with_root_certificates(roots);
    let mut config = match &shown.cert {
        None => builder.with_no_client_auth(),
        Some(cert) => {
            let key = shown.key.as_ref().unwrap_or(cert);
            let (cert, key) = (cert.to_string_lossy(), key.to_string_lossy());
            let (chain, private) = trust::pair(&cert, &key).map_err(|e| match shown.key {
                None if trust::certificates(&cert, "").is_ok() => {
                    TrustError { hint: "name the file with its key with --key or MURPHY_KEY".into(), ..e }
                }
                _ => e,
            })?;
            builder.with_client_auth_cert(chain, private).map_err(|e| trust::unusable(&cert, &key, &e))?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Agents check each connection anew.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}
