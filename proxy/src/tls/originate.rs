//! TLS with the service.

use super::below::Below;
use super::files;
use crate::net::Stream;
use host::trust::Unchecked;
use model::Problem;
use model::target::{Alpn, OriginateSpec};
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use std::io;
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// What a connection to the service is for: what is offered by ALPN, unless the target says that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Offer {
    /// Bytes: nothing is offered.
    #[default]
    Nothing,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, and HTTP/1.1 so that a service without it can say so instead of giving up.
    Http2,
}

/// How TLS with the service is made. Made once when the target is opened.
#[derive(Debug)]
pub(crate) struct Originate {
    /// By [`Offer`], in that order.
    configs: [Arc<ClientConfig>; 3],
    name: Option<ServerName<'static>>,
}

impl Originate {
    /// As the target says.
    pub(crate) fn new(spec: &OriginateSpec) -> Result<Arc<Originate>, Problem> {
        let name = spec.sni.as_deref().map(server_name).transpose()?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let cannot = |e: rustls::Error| {
            Problem::new(format!("TLS with the service cannot be set up: {e}"))
                .hint("look at the files that tls.upstream names")
        };
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(cannot)?;
        let builder = if spec.insecure {
            builder.dangerous().with_custom_certificate_verifier(Unchecked::new(provider))
        } else {
            let roots = spec.roots.as_deref().map_or_else(files::system_roots, files::roots)?;
            builder.with_root_certificates(roots)
        };
        let config = match &spec.certificate {
            None => builder.with_no_client_auth(),
            Some(given) => {
                // Says what is wrong with the two in its own words.
                files::certified(given)?;
                let (chain, key) = files::pair(given)?;
                builder.with_client_auth_cert(chain, key).map_err(cannot)?
            }
        };
        let configs = [&[][..], &[Alpn::Http1], &[Alpn::H2, Alpn::Http1]].map(|offered| {
            let mut config = config.clone();
            let offered = if spec.alpn.is_empty() { offered } else { &spec.alpn };
            config.alpn_protocols = offered.iter().map(|a| a.word().into()).collect();
            Arc::new(config)
        });
        Ok(Arc::new(Originate { configs, name }))
    }

    /// Shakes hands with the service behind that host. The error says why not and what to do.
    pub(crate) async fn connect(&self, socket: Stream, host: &str, offer: Offer) -> io::Result<Stream> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => {
                server_name(host).map_err(|p| io::Error::new(io::ErrorKind::InvalidInput, p.to_string()))?
            }
        };
        let connector = TlsConnector::from(self.configs[offer as usize].clone());
        match connector.connect(name.clone(), Below::bare(socket)).await {
            Ok(stream) => Ok(Stream::Tls(Box::new(stream.into()))),
            Err(e) => Err(io::Error::new(
                e.kind(),
                format!("TLS with the service failed: {}", explain(&e, &name.to_str())),
            )),
        }
    }
}

fn server_name(text: &str) -> Result<ServerName<'static>, Problem> {
    ServerName::try_from(text.to_owned()).map_err(|_| {
        Problem::new(format!("{text:?} cannot be asked for in a TLS handshake"))
            .hint("give a host name or an address: tls: {upstream: {sni: payments.internal}}")
    })
}

fn explain(e: &io::Error, name: &str) -> String {
    let inner = e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "its certificate is signed by a CA that is not trusted; give the CA with tls.upstream.roots"
                .into()
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => format!("its certificate is not for {name}; give the name it is for with tls.upstream.sni"),
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => "its certificate has expired".into(),
        Some(rustls::Error::AlertReceived(alert)) => format!("it sent the alert {alert:?}"),
        Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => {
            "it does not speak TLS".into()
        }
        _ => e.to_string(),
    }
}
