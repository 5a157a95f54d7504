//! The key that is too weak: RSA with 768 bits, which ring refuses to use, so its signatures are made here.
//!
//! The key is the same for everyone and in the open: numbers of that size have been factored since 2009, and the
//! certificates that carry it are meant to be refused. So nothing here guards against side channels either.

use host::der;
use num_bigint::BigUint;
use ring::digest::{SHA256, digest};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::sign::{Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};

/// The length of the modulus.
const BYTES: usize = 96;
const MODULUS: &str = "d3da35f62cab6881acdec8e63b222debf722e771f887eed9f3ec0cd4663a27210ff950cde183b2b09dddebc6b8e052c5\
    559a45c1c86c5e309989450c226a4e777b56d692013c5c2f727857d2f82c9812a39bd77b16135d322796e0424cb6b5ef";
const PRIVATE: &str = "19fc8f57f61cc481fb998c5d296dc4e247fb61168adce9c0947a250cbcc96f594fe34e3522ef8bb0bc7ca75a45fd4649\
    b3570de4846a1173ea61b6a733d8d9bf5de8da59329834abeec6681ea24a803c27509d900f3168f7d5a6bb898793bcf1";
const EXPONENT: [u8; 3] = [1, 0, 1];
/// DigestInfo of SHA-256 (RFC 8017, section 9.2, note 1).
const SHA256_INFO: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20];

/// The key, for rustls to sign with and for rcgen to certify.
#[derive(Debug)]
pub(crate) struct WeakKey {
    public: Vec<u8>,
}

impl WeakKey {
    /// The one there is.
    pub(crate) fn new() -> WeakKey {
        let modulus = number(MODULUS).to_bytes_be();
        WeakKey { public: der::of(der::SEQUENCE, &[&der::integer(&modulus), &der::integer(&EXPONENT)]) }
    }
}

impl rcgen::PublicKeyData for WeakKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_RSA_SHA256
    }
}

impl SigningKey for WeakKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        [SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256]
            .into_iter()
            .find(|scheme| offered.contains(scheme))
            .map(|scheme| Box::new(WeakSigner(scheme)) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        None
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::RSA
    }
}

#[derive(Debug)]
struct WeakSigner(SignatureScheme);

impl Signer for WeakSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let encoded = match self.0 {
            SignatureScheme::RSA_PSS_SHA256 => pss(message),
            _ => pkcs1(message),
        };
        let signed =
            BigUint::from_bytes_be(&encoded).modpow(&number(PRIVATE), &number(MODULUS)).to_bytes_be();
        let mut out = vec![0; BYTES - signed.len()];
        out.extend(signed);
        Ok(out)
    }

    fn scheme(&self) -> SignatureScheme {
        self.0
    }
}

fn number(hex: &str) -> BigUint {
    BigUint::parse_bytes(hex.as_bytes(), 16).unwrap_or_default()
}

/// EMSA-PKCS1-v1_5 (RFC 8017, section 9.2).
fn pkcs1(message: &[u8]) -> Vec<u8> {
    let hash = digest(&SHA256, message);
    let mut out = vec![0, 1];
    out.resize(BYTES - SHA256_INFO.len() - hash.as_ref().len() - 1, 0xff);
    out.push(0);
    out.extend(SHA256_INFO);
    out.extend(hash.as_ref());
    out
}

/// EMSA-PSS with SHA-256 (RFC 8017, section 9.1). The salt is fixed: it need not be random for the signature to be right.
fn pss(message: &[u8]) -> Vec<u8> {
    const SALT: [u8; 32] = [0x6d; 32];
    let hash = digest(&SHA256, message);
    let salted = digest(&SHA256, &[&[0; 8], hash.as_ref(), &SALT].concat());
    let mut block = vec![0; BYTES - SALT.len() - 32 - 2];
    block.push(1);
    block.extend(SALT);
    for (counter, part) in block.chunks_mut(32).enumerate() {
        let mask = digest(&SHA256, &[salted.as_ref(), &(counter as u32).to_be_bytes()].concat());
        part.iter_mut().zip(mask.as_ref()).for_each(|(b, m)| *b ^= m);
    }
    // The modulus has 768 bits, and one fewer are encoded.
    block[0] &= 0x7f;
    block.extend(salted.as_ref());
    block.push(0xbc);
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_open_with_the_public_key() {
        for scheme in [SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256] {
            let signer = WeakKey::new().choose_scheme(&[scheme]).unwrap();
            let signature = signer.sign(b"hello").unwrap();
            assert_eq!(signature.len(), BYTES);
            let opened = BigUint::from_bytes_be(&signature)
                .modpow(&BigUint::from_bytes_be(&EXPONENT), &number(MODULUS))
                .to_bytes_be();
            let meant =
                if scheme == SignatureScheme::RSA_PSS_SHA256 { pss(b"hello") } else { pkcs1(b"hello") };
            assert_eq!(BigUint::from_bytes_be(&opened), BigUint::from_bytes_be(&meant));
        }
        assert!(WeakKey::new().choose_scheme(&[SignatureScheme::ED25519]).is_none());
    }
}
