//! Certificates made on the fly: for each name a right one, and one for each thing that can be wrong with it.

use super::authority::{self, Authority, CaError};
use super::weak::WeakKey;
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use time::{Duration, OffsetDateTime};

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Flaw {
    Expired,
    NotYetValid,
    WrongHost,
    SelfSigned,
    UnknownCa,
    Revoked,
    WeakKey,
}

impl Flaw {
    /// All with their words.
    const WORDS: [(&str, Flaw); 7] = [
        ("expired", Flaw::Expired),
        ("not_yet_valid", Flaw::NotYetValid),
        ("wrong_host", Flaw::WrongHost),
        ("self_signed", Flaw::SelfSigned),
        ("unknown_ca", Flaw::UnknownCa),
        ("revoked", Flaw::Revoked),
        ("weak_key", Flaw::WeakKey),
    ];

    /// By its word in the catalogue.
    pub(crate) fn find(word: &str) -> Option<Flaw> {
        Flaw::WORDS.iter().find(|(known, _)| *known == word).map(|(_, flaw)| *flaw)
    }
}

/// Whom a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// The name that a client asked for.
    Name(String),
    /// The address it came to, when it named none.
    Address(IpAddr),
    /// Nothing is known: a unix socket.
    Nobody,
}

/// How long certificates are valid; shorter than what the strictest clients allow.
const VALID: Duration = Duration::days(90);

/// Makes certificates. All have one key, which lives as long as the process.
pub(crate) struct Mint {
    authority: Authority,
    key: KeyPair,
    signs: Arc<dyn SigningKey>,
    stranger: OnceLock<Option<Issuer<'static, KeyPair>>>,
    weak: Arc<WeakKey>,
}

impl Mint {
    /// One that signs with that authority.
    pub(crate) fn new(authority: Authority) -> Result<Mint, CaError> {
        let key = KeyPair::generate()?;
        let der = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let signs =
            rustls::crypto::ring::sign::any_ecdsa_type(&der).map_err(|e| CaError::Sign(e.to_string()))?;
        Ok(Mint { authority, key, signs, stranger: OnceLock::new(), weak: Arc::new(WeakKey::new()) })
    }

    /// A certificate for that subject, with its key and what a responder says of it.
    pub(crate) fn certificate(&self, subject: &Subject, flaw: Option<Flaw>) -> Result<CertifiedKey, CaError> {
        let params = self.params(subject, flaw)?;
        let issuer = self.authority.issuer();
        let (certificate, key): (_, Arc<dyn SigningKey>) = match flaw {
            Some(Flaw::SelfSigned) => (params.self_signed(&self.key)?, self.signs.clone()),
            Some(Flaw::UnknownCa) => {
                let stranger = self.stranger.get_or_init(|| stranger().ok());
                let stranger =
                    stranger.as_ref().ok_or_else(|| CaError::Sign("no other CA can be made".into()))?;
                (params.signed_by(&self.key, stranger)?, self.signs.clone())
            }
            Some(Flaw::WeakKey) => (signed(&params, &*self.weak, issuer)?, self.weak.clone()),
            _ => (signed(&params, &self.key, issuer)?, self.signs.clone()),
        };
        let ours = !matches!(flaw, Some(Flaw::SelfSigned | Flaw::UnknownCa));
        let der: CertificateDer<'static> = certificate.der().clone();
        // Some clients look for the signer of a stapled response among what they are shown, and only there.
        let root = ours.then(|| self.authority.root().clone());
        let mut made = CertifiedKey::new(std::iter::once(der).chain(root).collect(), key);
        if let Some(serial) = params.serial_number.filter(|_| ours) {
            made.ocsp = Some(self.authority.ocsp(&serial, flaw == Some(Flaw::Revoked))?);
        }
        Ok(made)
    }

    fn params(&self, subject: &Subject, flaw: Option<Flaw>) -> Result<CertificateParams, CaError> {
        let wrong = Subject::Name("wrong-host.invalid".into());
        let subject = if flaw == Some(Flaw::WrongHost) { &wrong } else { subject };
        let mut params = CertificateParams::default();
        let dns = |name: &str| Ok::<_, CaError>(SanType::DnsName(name.try_into()?));
        let (common, names) = match subject {
            Subject::Name(name) => (name.clone(), vec![dns(name)?]),
            Subject::Address(ip) if ip.is_loopback() => {
                (ip.to_string(), vec![SanType::IpAddress(*ip), dns("localhost")?])
            }
            Subject::Address(ip) => (ip.to_string(), vec![SanType::IpAddress(*ip)]),
            Subject::Nobody => ("localhost".into(), vec![dns("localhost")?]),
        };
        params.subject_alt_names = names;
        params.distinguished_name = DistinguishedName::new();
        // A common name has at most 64 characters (RFC 5280, appendix A); clients look at the other names anyway.
        params.distinguished_name.push(DnType::CommonName, common.chars().take(64).collect::<String>());
        let now = OffsetDateTime::now_utc();
        let day = Duration::days(1);
        (params.not_before, params.not_after) = match flaw {
            Some(Flaw::Expired) => (now - VALID, now - day),
            Some(Flaw::NotYetValid) => (now + day * 7, now + VALID),
            _ => (now - day, now + VALID),
        };
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = flaw != Some(Flaw::SelfSigned);
        params.serial_number = Some(match (flaw, subject) {
            (Some(Flaw::Revoked), _) => authority::revoked_slot(&common),
            _ => random_serial()?,
        });
        if flaw == Some(Flaw::Revoked) {
            // "Must staple" (RFC 7633): a client that knows it looks at the response.
            let feature =
                CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], vec![0x30, 3, 2, 1, 5]);
            params.custom_extensions.push(feature);
        }
        Ok(params)
    }
}

fn signed(
    params: &CertificateParams,
    key: &impl PublicKeyData,
    issuer: &Issuer<'static, KeyPair>,
) -> Result<rcgen::Certificate, CaError> {
    Ok(params.signed_by(key, issuer)?)
}

/// An authority that nobody has heard of; its key is forgotten with the process.
fn stranger() -> Result<Issuer<'static, KeyPair>, CaError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "An unknown CA");
    Ok(Issuer::new(params, KeyPair::generate()?))
}

fn random_serial() -> Result<SerialNumber, CaError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| CaError::Sign("no random numbers".into()))?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from(bytes.to_vec()))
}
