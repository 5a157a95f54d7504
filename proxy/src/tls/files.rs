//! Certificates, keys and roots that the user gives as PEM files; and the roots of the system.

use host::trust::{self, TrustError};
use model::Problem;
use model::target::KeyPair;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// A certificate with its chain, and its key.
pub(super) fn pair(
    pair: &KeyPair,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Problem> {
    trust::pair(&pair.cert, &pair.key).map_err(problem)
}

/// The same, ready to be shown.
pub(super) fn certified(given: &KeyPair) -> Result<CertifiedKey, Problem> {
    let (chain, key) = pair(given)?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider)
        .map_err(|e| problem(trust::unusable(&given.cert, &given.key, &e)))
}

/// The roots in a file.
pub(super) fn roots(file: &str) -> Result<RootCertStore, Problem> {
    trust::roots(file).map_err(problem)
}

/// The roots that the system trusts.
pub(super) fn system_roots() -> Result<RootCertStore, Problem> {
    trust::system_roots().map_err(problem)?.ok_or_else(|| {
        Problem::new("this system has no roots to check the service's certificate with").hint(
            "give them: tls: {upstream: {roots: ca.pem}}; or install ca-certificates; or leave it unchecked with insecure: true",
        )
    })
}

fn problem(e: TrustError) -> Problem {
    Problem::new(e.what).hint(e.hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_files_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let key = rcgen::KeyPair::generate().unwrap();
        let other = rcgen::KeyPair::generate().unwrap();
        let cert = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap().self_signed(&key).unwrap();
        std::fs::write(at("c.pem"), cert.pem()).unwrap();
        std::fs::write(at("k.pem"), key.serialize_pem()).unwrap();
        std::fs::write(at("o.pem"), other.serialize_pem()).unwrap();
        std::fs::write(at("x.pem"), "x").unwrap();
        let give = |cert: &str, key: &str| KeyPair { cert: at(cert), key: at(key) };
        assert!(certified(&give("c.pem", "k.pem")).is_ok());
        let why = |cert: &str, key: &str| certified(&give(cert, key)).unwrap_err().to_string();
        assert!(why("c.pem", "o.pem").contains("is not that of the certificate"));
        assert!(why("x.pem", "k.pem").contains("does not have the certificate"));
        assert!(why("c.pem", "x.pem").contains("does not have the private key"));
        assert!(why("none.pem", "k.pem").contains("cannot be read from"));
        assert!(roots(&at("k.pem")).is_err() && roots(&at("c.pem")).is_ok());
    }
}
