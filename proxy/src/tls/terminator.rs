//! The server's side of TLS that ends here: a configuration for each name and each way of being wrong, made when it is
//! first needed and kept for a while.

use super::authority::CaError;
use super::files;
use super::mint::{Flaw, Mint, Subject};
use model::Problem;
use model::target::{Alpn, Protocol, ProxySpec, TlsSpec};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache, StoresServerSessions,
};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// As many configurations are kept; with more names than that some are made again.
const KEEP: usize = 512;
/// Certificates and what is stapled to them are made anew after that.
const FRESH: Duration = Duration::from_secs(12 * 3600);
/// Sessions that can be resumed.
const SESSIONS: usize = 1024;

/// How a handshake differs from a right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Shape {
    /// What is wrong with the certificate.
    pub(crate) flaw: Option<Flaw>,
    /// The only version that is spoken.
    pub(crate) only: Option<Version>,
    /// Which certificates of clients are taken; none: they are not asked for one.
    pub(crate) clients: Option<Accept>,
    /// Records are small, so that the handshake can be stopped in the middle of a flight.
    pub(crate) small_records: bool,
}

/// A version that is spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Version {
    Tls12,
    Tls13,
}

/// Which certificates of clients are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Accept {
    Any,
    None,
}

/// Configurations, and when each was made.
type Made = HashMap<(Subject, Shape), (Instant, Arc<ServerConfig>)>;

/// Makes configurations, and keeps them.
pub(crate) struct Terminator {
    mint: Mint,
    /// The user's own certificate.
    own: Option<Arc<CertifiedKey>>,
    alpn: Vec<Vec<u8>>,
    sessions: Arc<dyn StoresServerSessions>,
    provider: Arc<CryptoProvider>,
    made: Mutex<Made>,
}

impl Terminator {
    /// As the target says.
    pub(crate) fn new(spec: &ProxySpec, tls: &TlsSpec, mint: Mint) -> Result<Terminator, Problem> {
        let own = tls.certificate.as_ref().map(files::certified).transpose()?;
        let alpn: &[Alpn] = match (&tls.alpn[..], spec.protocol) {
            ([], Protocol::Http) => &[Alpn::H2, Alpn::Http1],
            (given, _) => given,
        };
        Ok(Terminator {
            mint,
            own: own.map(Arc::new),
            alpn: alpn.iter().map(|a| a.word().into()).collect(),
            sessions: ServerSessionMemoryCache::new(SESSIONS),
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            made: Mutex::default(),
        })
    }

    /// The configuration for a handshake.
    pub(crate) fn config(&self, subject: Subject, shape: Shape) -> Result<Arc<ServerConfig>, CaError> {
        let subject = if self.own.is_some() && shape.flaw.is_none() { Subject::Nobody } else { subject };
        let key = (subject, shape);
        if let Some((at, config)) = self.lock().get(&key)
            && at.elapsed() < FRESH
        {
            return Ok(config.clone());
        }
        let config = Arc::new(self.make(&key.0, shape)?);
        let mut made = self.lock();
        if made.len() >= KEEP {
            // Names come from clients: whoever sends ever new ones pays with signatures, not with our memory.
            let mut ages: Vec<Instant> = made.values().map(|(at, _)| *at).collect();
            ages.sort_unstable();
            let middle = ages[ages.len() / 2];
            made.retain(|_, (at, _)| *at > middle);
        }
        made.insert(key, (Instant::now(), config.clone()));
        Ok(config)
    }

    fn make(&self, subject: &Subject, shape: Shape) -> Result<ServerConfig, CaError> {
        let certified = match (&self.own, shape.flaw) {
            (Some(own), None) => own.clone(),
            (_, flaw) => Arc::new(self.mint.certificate(subject, flaw)?),
        };
        let versions: &[&rustls::SupportedProtocolVersion] = match shape.only {
            Some(Version::Tls12) => &[&rustls::version::TLS12],
            Some(Version::Tls13) => &[&rustls::version::TLS13],
            None => rustls::ALL_VERSIONS,
        };
        let builder = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(versions)
            .map_err(|e| CaError::Sign(e.to_string()))?;
        let builder = match shape.clients {
            Some(accept) => builder
                .with_client_cert_verifier(Arc::new(Clients { accept, provider: self.provider.clone() })),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Always(certified)));
        config.alpn_protocols.clone_from(&self.alpn);
        if shape == Shape::default() {
            config.session_storage = self.sessions.clone();
        } else {
            // A resumed session would show no certificate, and so hide what is wrong.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        if shape.small_records {
            config.max_fragment_size = Some(64);
        }
        Ok(config)
    }

    fn lock(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One certificate for everyone who comes to this configuration.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// Demands a certificate, and looks at nothing in it but that the client has its key.
#[derive(Debug)]
struct Clients {
    accept: Accept,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        match self.accept {
            Accept::Any => Ok(ClientCertVerified::assertion()),
            Accept::None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::authority::Authority;

    #[test]
    fn configurations_are_kept_and_bounded() {
        let base = tempfile::tempdir().unwrap();
        let (authority, _) = Authority::open(&base.path().join("ca")).unwrap();
        let terminator =
            Terminator::new(&ProxySpec::default(), &TlsSpec::default(), Mint::new(authority).unwrap())
                .unwrap();
        let name = |i: usize| Subject::Name(format!("host-{i}.example"));
        let config = |i, shape| terminator.config(name(i), shape).unwrap();
        assert!(Arc::ptr_eq(&config(0, Shape::default()), &config(0, Shape::default())));
        let expired = Shape { flaw: Some(Flaw::Expired), ..Shape::default() };
        assert!(!Arc::ptr_eq(&config(0, Shape::default()), &config(0, expired)));
        for i in 0..KEEP + 10 {
            config(i, Shape::default());
        }
        assert!(terminator.lock().len() <= KEEP);
        // A name that cannot stand in a certificate is refused and not a panic.
        assert!(terminator.config(Subject::Name("schön".into()), Shape::default()).is_err());
    }
}
