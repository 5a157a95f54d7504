//! The webhook's certificates: an authority of its own, which the API server is told to believe, and what it signs, made
//! anew before it ends.
//!
//! ```text
//! directory/
//!   ca.pem       the authority's certificate
//!   ca.key       its key, 0600
//! ```

use arc_swap::ArcSwap;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// How long an authority is valid.
const AUTHORITY: time::Duration = time::Duration::days(3650);
/// Clocks of a cluster differ a little.
const BEFORE: time::Duration = time::Duration::hours(1);

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read or written.
    #[error(
        "the webhook's certificates in {0} cannot be kept: {1}; name a directory that can be written to with --certs"
    )]
    File(String, io::Error),
    /// What is there makes no sense.
    #[error("the webhook's authority in {0} cannot be used: {1}; remove it and a new one is made")]
    Broken(String, String),
    /// A name that no server has.
    #[error(
        "the webhook's certificate cannot be for {0:?}; name a host or an address: murphy-webhook.murphy.svc"
    )]
    Name(String),
    /// It would have to be made anew all the time, or outlive its authority.
    #[error(
        "the webhook's certificate cannot be valid for {0:?}; give a time between 1s and 3650d, such as 30d"
    )]
    Lifetime(Duration),
    /// Something cannot be signed.
    #[error("the webhook's certificate cannot be made: {0}; look at the names it is for")]
    Sign(String),
}

impl From<rcgen::Error> for CertificateError {
    fn from(e: rcgen::Error) -> CertificateError {
        CertificateError::Sign(e.to_string())
    }
}

/// An authority, and the certificate of the moment.
pub struct Certificates {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    names: Vec<String>,
    lasts: Duration,
    current: ArcSwap<CertifiedKey>,
}

impl Certificates {
    /// Takes the authority in that directory, or makes one there, and a certificate for those names that lasts so long.
    pub fn open(
        dir: &Path,
        names: &[String],
        lasts: Duration,
    ) -> Result<Arc<Certificates>, CertificateError> {
        if !(Duration::from_secs(1)..=AUTHORITY.unsigned_abs()).contains(&lasts) {
            return Err(CertificateError::Lifetime(lasts));
        }
        if let Some(wrong) = names.iter().find(|name| ServerName::try_from(name.as_str()).is_err()) {
            return Err(CertificateError::Name(wrong.clone()));
        }
        let at = dir.display().to_string();
        let file = |e| CertificateError::File(at.clone(), e);
        let (key, pem) = match fs::read_to_string(dir.join("ca.key")) {
            Ok(key) => (key, fs::read_to_string(dir.join("ca.pem")).map_err(file)?),
            Err(e) if e.kind() == io::ErrorKind::NotFound => make(dir).map_err(|e| match e {
                Made::File(e) => file(e),
                Made::Sign(e) => e,
            })?,
            Err(e) => return Err(file(e)),
        };
        let broken = |why: String| CertificateError::Broken(at.clone(), why);
        let key = KeyPair::from_pem(&key).map_err(|e| broken(e.to_string()))?;
        CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| broken(e.to_string()))?;
        // Its name is always the same, and with its key it is all that signing needs.
        let issuer = Issuer::new(authority_params(), key);
        let current = ArcSwap::from_pointee(sign(&issuer, &pem, names, lasts)?);
        Ok(Arc::new(Certificates { issuer, pem, names: names.to_vec(), lasts, current }))
    }

    /// The authority's certificate.
    pub fn authority(&self) -> &str {
        &self.pem
    }

    /// Makes a new certificate whenever two thirds of the last one's time are over, for ever.
    pub async fn keep_fresh(&self, mut tell: impl FnMut(Result<(), CertificateError>)) {
        loop {
            tokio::time::sleep(self.lasts * 2 / 3).await;
            let made = sign(&self.issuer, &self.pem, &self.names, self.lasts);
            tell(made.map(|made| self.current.store(Arc::new(made))));
        }
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("names", &self.names).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

enum Made {
    File(io::Error),
    Sign(CertificateError),
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "murphy webhook authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params.not_before = OffsetDateTime::now_utc() - BEFORE;
    params.not_after = OffsetDateTime::now_utc() + AUTHORITY;
    params
}

/// A new authority, in files: key and certificate.
fn make(dir: &Path) -> Result<(String, String), Made> {
    let signed = || -> Result<_, CertificateError> {
        let key = KeyPair::generate()?;
        let root = authority_params().self_signed(&key)?;
        Ok((key.serialize_pem(), root.pem()))
    };
    let (key, pem) = signed().map_err(Made::Sign)?;
    let write = || -> io::Result<()> {
        fs::create_dir_all(dir)?;
        fs::write(dir.join("ca.pem"), &pem)?;
        // The key last: where it is, both are.
        let part = dir.join("ca.key.part");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(key.as_bytes())?;
        file.sync_all()?;
        fs::rename(part, dir.join("ca.key"))
    };
    write().map_err(Made::File)?;
    Ok((key, pem))
}

fn sign(
    issuer: &Issuer<'static, KeyPair>,
    authority: &str,
    names: &[String],
    lasts: Duration,
) -> Result<CertifiedKey, CertificateError> {
    let mut params = CertificateParams::default();
    for name in names {
        params.subject_alt_names.push(match name.parse::<IpAddr>() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => SanType::DnsName(name.as_str().try_into()?),
        });
    }
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "murphy webhook");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params.not_before = OffsetDateTime::now_utc() - BEFORE;
    params.not_after = OffsetDateTime::now_utc() + lasts;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    let root = CertificateDer::from_pem_slice(authority.as_bytes())
        .map_err(|e| CertificateError::Sign(e.to_string()))?;
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let signs = rustls::crypto::ring::sign::any_supported_type(&der)
        .map_err(|e| CertificateError::Sign(e.to_string()))?;
    Ok(CertifiedKey::new(vec![certificate.der().clone(), root], signs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_stays_and_certificates_change() {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            Certificates::open(
                dir.path(),
                &["hook.shop.svc".into(), "127.0.0.1".into()],
                Duration::from_secs(60),
            )
        };
        let (first, second) = (open().unwrap(), open().unwrap());
        assert_eq!(first.authority(), second.authority());
        assert_ne!(first.current.load().cert[0], second.current.load().cert[0]);
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(dir.path().join("ca.key")).unwrap());
        assert_eq!(mode & 0o777, 0o600);
        fs::write(dir.path().join("ca.key"), "x").unwrap();
        assert!(open().unwrap_err().to_string().contains("remove it"));
        assert!(Certificates::open(Path::new("/proc/none"), &[], Duration::from_secs(1)).is_err());
        // A certificate that is over at once would be made anew without end.
        for (name, lasts) in [("a", 0), ("a", u64::MAX), ("a b", 60), ("", 60)] {
            let (dir, names) = (tempfile::tempdir().unwrap(), [name.to_owned()]);
            let wrong = Certificates::open(dir.path(), &names, Duration::from_secs(lasts)).unwrap_err();
            assert!(wrong.to_string().contains("cannot be"), "{wrong}");
            assert!(!dir.path().join("ca.key").exists());
        }
    }
}
