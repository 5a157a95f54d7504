//! Whose certificates are believed: roots from PEM files, those of the system, or anybody's.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::Path;
use std::sync::Arc;

/// Why certificates cannot be had from a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {hint}")]
pub struct TrustError {
    /// What is wrong, and where.
    pub what: String,
    /// What to do.
    pub hint: String,
}

impl TrustError {
    fn new(what: String, hint: &str) -> TrustError {
        TrustError { what, hint: hint.to_owned() }
    }
}

/// Where systems keep the roots that they trust.
const SYSTEM: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The roots in a file.
pub fn roots(file: &str) -> Result<RootCertStore, TrustError> {
    let mut store = RootCertStore::empty();
    let (good, _) = store.add_parsable_certificates(certificates(file, "the roots")?);
    if good == 0 {
        return Err(TrustError::new(
            format!("no certificate in {file} can be a root"),
            "give a PEM file with the CA that signed the service's certificate",
        ));
    }
    Ok(store)
}

/// The roots that the system trusts: the file that SSL_CERT_FILE names, or one of the usual ones. None: it has none.
pub fn system_roots() -> Result<Option<RootCertStore>, TrustError> {
    if let Some(file) = std::env::var_os("SSL_CERT_FILE").filter(|f| !f.is_empty()) {
        return roots(&file.to_string_lossy()).map(Some);
    }
    SYSTEM.into_iter().find(|file| Path::new(file).exists()).map(roots).transpose()
}

/// All certificates in a file; `what` is what they are there for.
pub fn certificates(file: &str, what: &str) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    match all {
        Ok(all) if all.is_empty() => Err(unreadable(file, what, &pem::Error::NoItemsFound)),
        Ok(all) => Ok(all),
        Err(e) => Err(unreadable(file, what, &e)),
    }
}

/// A certificate with its chain, and its key. They may be in one file.
pub fn pair(
    cert: &str,
    key: &str,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TrustError> {
    let chain = certificates(cert, "the certificate")?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable(key, "the private key", &e))?;
    Ok((chain, key))
}

/// Why a certificate and a key that were read cannot be used.
pub fn unusable(cert: &str, key: &str, error: &rustls::Error) -> TrustError {
    match error {
        rustls::Error::InconsistentKeys(_) => TrustError::new(
            format!("the key in {key} is not that of the certificate in {cert}"),
            "give the two that belong together",
        ),
        e => TrustError::new(
            format!("the certificate in {cert} with the key in {key} cannot be used: {e}"),
            "give an ECDSA, Ed25519 or RSA key of at least 2048 bits, and its certificate first in the file",
        ),
    }
}

/// Why a PEM file does not give what is wanted of it.
pub fn unreadable(file: &str, what: &str, error: &pem::Error) -> TrustError {
    let pem = "it must be PEM: text with BEGIN and END lines";
    match error {
        pem::Error::Io(e) => TrustError::new(
            format!("{what} cannot be read from {file}: {e}"),
            "the path is as murphy's process sees it: write it from the root, and let it be readable",
        ),
        pem::Error::NoItemsFound => {
            TrustError::new(format!("{file} does not have {what}: nothing of that kind is in it"), pem)
        }
        e => TrustError::new(format!("{what} in {file} does not read: {e}"), pem),
    }
}

/// Takes any certificate, as `insecure: true` says.
#[derive(Debug)]
pub struct Unchecked(Arc<CryptoProvider>);

impl Unchecked {
    /// With the provider's signatures.
    pub fn new(provider: Arc<CryptoProvider>) -> Arc<Unchecked> {
        Arc::new(Unchecked(provider))
    }
}

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
