//! Authorities and what they sign, as files.

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use std::path::{Path, PathBuf};

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// What a certificate is made for.
pub struct Order<'a> {
    pub name: &'a str,
    pub names: &'a [&'a str],
    pub client: bool,
    /// Days from now: from when, until when.
    pub days: [i64; 2],
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// Its certificate in a file.
    pub fn file(&self, path: &Path) -> PathBuf {
        std::fs::write(path, &self.pem).unwrap();
        path.to_owned()
    }

    /// A certificate and its key in one file.
    pub fn sign(&self, path: &Path, order: &Order<'_>) -> PathBuf {
        let names: Vec<String> = order.names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, order.name);
        let usage = if order.client {
            ExtendedKeyUsagePurpose::ClientAuth
        } else {
            ExtendedKeyUsagePurpose::ServerAuth
        };
        params.extended_key_usages = vec![usage];
        let now = std::time::SystemTime::now();
        let at = |days: i64| {
            let span = std::time::Duration::from_secs(days.unsigned_abs() * 86_400);
            if days < 0 { now - span } else { now + span }
        };
        params.not_before = at(order.days[0]).into();
        params.not_after = at(order.days[1]).into();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        // Written aside and moved, as whoever renews them does.
        let part = path.with_extension("part");
        std::fs::write(&part, certificate.pem() + &key.serialize_pem()).unwrap();
        std::fs::rename(part, path).unwrap();
        path.to_owned()
    }

    pub fn server(&self, path: &Path) -> PathBuf {
        let names = &["localhost", "127.0.0.1"];
        self.sign(path, &Order { name: "agent", names, client: false, days: [-1, 1] })
    }

    pub fn client(&self, path: &Path, name: &str) -> PathBuf {
        self.sign(path, &Order { name, names: &[], client: true, days: [-1, 1] })
    }
}
