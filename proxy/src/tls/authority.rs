//! murphy's own certificate authority: one root per state directory, made once, that the user's clients can trust.
//!
//! ```text
//! state directory/ca/
//!   ca.key     the private key and the root, 0600; what counts
//!   ca.pem     the root alone, for clients; made again when it is missing
//! ```

use host::der;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber,
    SigningKey,
};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use time::{Duration, OffsetDateTime};

/// How long a root is valid.
const YEARS: i64 = 10;
/// As many serial numbers there are for revoked certificates: all of them are on the list.
const SLOTS: u16 = 1024;
/// How long a revocation list, or an OCSP response, is said to be good for.
const FRESH: Duration = Duration::days(30);

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file cannot be read or written.
    #[error("cannot {verb} murphy's CA at {path}: {source}; {hint}")]
    File {
        /// `read` or `make`.
        verb: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// The directory cannot be used.
    #[error(transparent)]
    Directory(#[from] host::dirs::DirError),
    /// The files are there and make no sense.
    #[error(
        "murphy's CA at {path} cannot be used: {why}; put the right file back, or remove {dir} and a new CA is made, which clients must trust anew"
    )]
    Broken {
        /// Which.
        path: PathBuf,
        /// Where all of it is.
        dir: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Others can read the key.
    #[error(
        "others can read murphy's CA key at {0}, and with it pose as any host to clients that trust the root; chmod 600 it, or remove its directory and a new CA is made"
    )]
    Exposed(PathBuf),
    /// Something cannot be signed.
    #[error("murphy's CA cannot sign: {0}; remove its directory and a new CA is made")]
    Sign(String),
}

impl From<rcgen::Error> for CaError {
    fn from(e: rcgen::Error) -> CaError {
        CaError::Sign(e.to_string())
    }
}

/// The root with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    dir: PathBuf,
    name: String,
}

impl Authority {
    /// Where it lies when nobody says otherwise.
    pub fn default_dir() -> PathBuf {
        host::dirs::state().join("ca")
    }

    /// Takes the one in that directory, or makes it; true when it was made just now.
    pub fn open(dir: &Path) -> Result<(Authority, bool), CaError> {
        host::dirs::private(dir, 0o700)?;
        let made = match fs::symlink_metadata(dir.join("ca.key")) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => make(dir)?,
            _ => false,
        };
        let authority = load(dir)?;
        let shown = authority.path();
        if fs::read_to_string(&shown).is_ok_and(|there| there == authority.pem()) {
            return Ok((authority, made));
        }
        replace(&shown, authority.pem().as_bytes(), 0o644)?;
        Ok((authority, made))
    }

    /// The root's file, for clients.
    pub fn path(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// The root, as PEM.
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", &self.root)
    }

    /// Whose name stands in it.
    pub fn subject(&self) -> String {
        format!("O = murphy, CN = {}", self.name)
    }

    /// SHA-256 of the root, as OpenSSL prints it.
    pub fn fingerprint(&self) -> String {
        hex(digest(&SHA256, &self.root).as_ref(), ":").to_uppercase()
    }

    /// From when to when it is valid: `2026-11-29 00:00:00 UTC`.
    pub fn validity(&self) -> [String; 2] {
        let read = der::certificate(&self.root).map(|c| c.validity).unwrap_or_default();
        read.map(|t| match t.get(..14) {
            Some(t) => {
                format!("{}-{}-{} {}:{}:{} UTC", &t[..4], &t[4..6], &t[6..8], &t[8..10], &t[10..12], &t[12..])
            }
            None => t,
        })
    }

    /// The list of revoked certificates, as PEM: every serial number that the fault `revoked` uses.
    pub fn crl(&self) -> Result<String, CaError> {
        let now = OffsetDateTime::now_utc();
        let revoked = |slot| RevokedCertParams {
            serial_number: revoked_serial(slot),
            revocation_time: now - Duration::days(1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: now - Duration::hours(1),
            next_update: now + FRESH,
            crl_number: SerialNumber::from(now.unix_timestamp().unsigned_abs()),
            issuing_distribution_point: None,
            revoked_certs: (0..SLOTS).map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&self.issuer)?.pem()?)
    }

    /// The root itself.
    pub(super) fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// What signs certificates.
    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// What a responder says about the certificate of that serial number (RFC 6960, section 4.2.1), signed by the root.
    pub(super) fn ocsp(&self, serial: &SerialNumber, revoked: bool) -> Result<Vec<u8>, CaError> {
        const BASIC: [u8; 9] = [0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
        const SHA1: [u8; 5] = [0x2b, 0x0e, 3, 2, 0x1a];
        const ECDSA_SHA256: [u8; 8] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
        let root =
            der::certificate(&self.root).ok_or_else(|| CaError::Sign("its root does not read".into()))?;
        let sha1 = |bytes: &[u8]| der::value(der::OCTETS, digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref());
        let algorithm = der::of(der::SEQUENCE, &[&der::value(der::OID, &SHA1), &der::value(der::NULL, &[])]);
        let id = der::of(
            der::SEQUENCE,
            &[&algorithm, &sha1(root.subject), &sha1(root.key_bits), &der::integer(&serial.to_bytes())],
        );
        let now = OffsetDateTime::now_utc();
        let day = Duration::days(1);
        let status = if revoked {
            let reason = der::of(0xa0, &[&der::value(der::ENUMERATED, &[1])]);
            der::of(0xa1, &[&moment(now - day), &reason])
        } else {
            der::value(0x80, &[])
        };
        let next = der::of(0xa0, &[&moment(now + FRESH)]);
        let single = der::of(der::SEQUENCE, &[&id, &status, &moment(now - Duration::hours(1)), &next]);
        let data = der::of(
            der::SEQUENCE,
            &[&der::of(0xa1, &[root.subject]), &moment(now), &der::of(der::SEQUENCE, &[&single])],
        );
        let signature = self.issuer.key().sign(&data)?;
        let basic = der::of(
            der::SEQUENCE,
            &[
                &data,
                &der::of(der::SEQUENCE, &[&der::value(der::OID, &ECDSA_SHA256)]),
                &der::of(der::BITS, &[&[0], &signature]),
            ],
        );
        let bytes =
            der::of(der::SEQUENCE, &[&der::value(der::OID, &BASIC), &der::value(der::OCTETS, &basic)]);
        Ok(der::of(der::SEQUENCE, &[&der::value(der::ENUMERATED, &[0]), &der::of(0xa0, &[&bytes])]))
    }
}

/// The serial number of a revoked certificate for that name. Each is on the list, whoever made it and when.
pub(super) fn revoked_slot(name: &str) -> SerialNumber {
    let hash = digest(&SHA256, name.as_bytes());
    revoked_serial(u16::from_be_bytes([hash.as_ref()[0], hash.as_ref()[1]]) % SLOTS)
}

fn revoked_serial(slot: u16) -> SerialNumber {
    let mut serial = b"MurphyRevoked".to_vec();
    serial.extend(slot.to_be_bytes());
    SerialNumber::from(serial)
}

/// Makes the key and the root; false when someone else was quicker.
fn make(dir: &Path) -> Result<bool, CaError> {
    let key = KeyPair::generate()?;
    let params = params(&name_of(&key));
    let root = params.self_signed(&key)?;
    let both = format!("{}{}", key.serialize_pem(), root.pem());
    let path = dir.join("ca.key");
    let part = dir.join(format!("ca.key.{}", unique()));
    replace(&part, both.as_bytes(), 0o600)?;
    // A link, unlike a rename, does not replace what is there by now.
    let linked = fs::hard_link(&part, &path);
    let _ = fs::remove_file(&part);
    match linked {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(CaError::File { verb: "make", path, source, hint: ELSEWHERE }),
    }
}

const ELSEWHERE: &str = "choose another state directory with MURPHY_STATE_DIR";

fn load(dir: &Path) -> Result<Authority, CaError> {
    let path = dir.join("ca.key");
    let broken = |why: String| CaError::Broken { path: path.clone(), dir: dir.to_owned(), why };
    let read = |source| CaError::File {
        verb: "read",
        path: path.clone(),
        source,
        hint: "run as the user whose it is, or choose another state directory with MURPHY_STATE_DIR",
    };
    let meta = fs::metadata(&path).map_err(read)?;
    if meta.mode() & 0o077 != 0 {
        return Err(CaError::Exposed(path));
    }
    let bytes = fs::read(&path).map_err(read)?;
    let text = String::from_utf8(bytes).map_err(|_| broken("it is not PEM".into()))?;
    let from = text
        .find("-----BEGIN PRIVATE KEY-----")
        .ok_or_else(|| broken("there is no private key in it".into()))?;
    let end = "-----END PRIVATE KEY-----";
    let to = text[from..].find(end).ok_or_else(|| broken("the private key in it is cut off".into()))?;
    let key = KeyPair::from_pem(&text[from..from + to + end.len()])
        .map_err(|e| broken(format!("the private key in it does not read ({e})")))?;
    let root = CertificateDer::from_pem_slice(text.as_bytes())
        .map_err(|_| broken("there is no certificate in it".into()))?;
    let seen = der::certificate(&root).ok_or_else(|| broken("the certificate in it does not read".into()))?;
    if seen.key_bits != key.public_key_raw() {
        return Err(broken("its certificate is of another key".into()));
    }
    let now = OffsetDateTime::now_utc();
    if seen.validity[1].as_str() < stamp(now).as_str() {
        return Err(broken(format!("the root ended at {}", seen.validity[1])));
    }
    let name = name_of(&key);
    let issuer = Issuer::new(params(&name), key);
    Ok(Authority { issuer, root, dir: dir.to_owned(), name })
}

/// From the key, so that roots of different machines have different names, and the name need not be read back.
fn name_of(key: &KeyPair) -> String {
    format!("murphy CA {}", hex(&digest(&SHA256, key.public_key_raw()).as_ref()[..4], ""))
}

fn params(name: &str) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "murphy");
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = now - Duration::days(1);
    params.not_after = now + Duration::days(365 * YEARS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CaError> {
    let failed = |source| CaError::File { verb: "make", path: path.to_owned(), source, hint: ELSEWHERE };
    let part = path.with_extension(format!("part{}", unique()));
    // Only a crash leaves one of that name.
    let _ = fs::remove_file(&part);
    let written =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&part).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
    written.and_then(|()| fs::rename(&part, path)).map_err(|e| {
        let _ = fs::remove_file(&part);
        failed(e)
    })
}

/// A part of a file's name that nobody else uses at this time.
fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed))
}

fn pem(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(der.len() * 4 / 3 + 4);
    for chunk in der.chunks(3) {
        let n = chunk.iter().chain(&[0, 0]).take(3).fold(0_u32, |n, b| n << 8 | u32::from(*b));
        for i in 0..4 {
            let digit = DIGITS[(n >> (18 - 6 * i) & 63) as usize] as char;
            text.push(if i <= chunk.len() { digit } else { '=' });
        }
    }
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out + &format!("-----END {label}-----\n")
}

fn moment(at: OffsetDateTime) -> Vec<u8> {
    der::value(der::TIME, stamp(at).as_bytes())
}

fn stamp(t: OffsetDateTime) -> String {
    let (year, month, day) = (t.year(), u8::from(t.month()), t.day());
    format!("{year:04}{month:02}{day:02}{:02}{:02}{:02}Z", t.hour(), t.minute(), t.second())
}

fn hex(bytes: &[u8], between: &str) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(between)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn made_once_and_found_again() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("ca");
        let (first, made) = Authority::open(&dir).unwrap();
        assert!(made);
        assert_eq!(fs::metadata(dir.join("ca.key")).unwrap().mode() & 0o777, 0o600);
        fs::remove_file(first.path()).unwrap();
        let (again, made) = Authority::open(&dir).unwrap();
        assert!(!made);
        assert_eq!((first.pem(), first.fingerprint()), (again.pem(), again.fingerprint()));
        assert_eq!(fs::read_to_string(again.path()).unwrap(), again.pem());
        assert!(again.subject().starts_with("O = murphy, CN = murphy CA "));
        assert!(again.validity()[0].ends_with("UTC"), "{:?}", again.validity());
        assert!(again.crl().unwrap().starts_with("-----BEGIN X509 CRL-----"));
        assert_eq!(CertificateDer::from_pem_slice(again.pem().as_bytes()).unwrap(), again.root);
    }

    #[test]
    fn many_at_once_make_one() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("ca");
        let made: Vec<String> = std::thread::scope(|s| {
            let all: Vec<_> =
                (0..4).map(|_| s.spawn(|| Authority::open(&dir).unwrap().0.fingerprint())).collect();
            all.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(made.iter().all(|f| *f == made[0]), "{made:?}");
    }

    #[test]
    fn what_is_broken_teaches() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("ca");
        Authority::open(&dir).unwrap();
        let key = dir.join("ca.key");
        let whole = fs::read_to_string(&key).unwrap();
        let why = |text: &str| {
            fs::write(&key, text).unwrap();
            Authority::open(&dir).err().unwrap().to_string()
        };
        assert!(why("").contains("no private key"), "{}", why(""));
        assert!(why(&whole[..60]).contains("cut off"));
        assert!(why(&whole.replacen("MIG", "AAA", 1)).contains("does not read"));
        let other = base.path().join("other");
        Authority::open(&other).unwrap();
        let other = fs::read_to_string(other.join("ca.key")).unwrap();
        let (mine, theirs) = (whole.find("-----BEGIN CERT").unwrap(), other.find("-----BEGIN CERT").unwrap());
        assert!(why(&(whole[..mine].to_owned() + &other[theirs..])).contains("of another key"));
        assert!(why(&whole[..mine]).contains("no certificate"));
        assert!(why("x").contains("remove"));
        fs::write(&key, &whole).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Authority::open(&dir).err().unwrap().to_string().contains("chmod 600"));
    }
}
