//! As much DER (X.690) as is needed here: writing OCSP responses, and reading a few fields of certificates, whose signatures
//! are the business of others.

/// SEQUENCE.
pub const SEQUENCE: u8 = 0x30;
/// OCTET STRING.
pub const OCTETS: u8 = 0x04;
/// BIT STRING.
pub const BITS: u8 = 0x03;
/// INTEGER.
pub const INTEGER: u8 = 0x02;
/// OBJECT IDENTIFIER.
pub const OID: u8 = 0x06;
/// GeneralizedTime.
pub const TIME: u8 = 0x18;
/// UTCTime.
pub const SHORT_TIME: u8 = 0x17;
/// ENUMERATED.
pub const ENUMERATED: u8 = 0x0a;
/// NULL.
pub const NULL: u8 = 0x05;
const SET: u8 = 0x31;
const UTF8: u8 = 0x0c;
const PRINTABLE: u8 = 0x13;
const IA5: u8 = 0x16;
const EXTENSIONS: u8 = 0xa3;
/// 2.5.4.3
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
/// 2.5.29.17
const ALTERNATIVE_NAMES: [u8; 3] = [0x55, 0x1d, 0x11];

/// A value with its tag and length.
pub fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let n = content.len();
    if n < 0x80 {
        out.push(n as u8);
    } else {
        let bytes = n.to_be_bytes();
        let bytes = &bytes[bytes.iter().take_while(|b| **b == 0).count()..];
        out.push(0x80 | bytes.len() as u8);
        out.extend_from_slice(bytes);
    }
    out.extend_from_slice(content);
    out
}

/// A value that consists of others.
pub fn of(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    value(tag, &parts.concat())
}

/// An unsigned number, most significant byte first.
pub fn integer(bytes: &[u8]) -> Vec<u8> {
    let trimmed = &bytes[bytes.iter().take_while(|b| **b == 0).count()..];
    let mut content = Vec::with_capacity(trimmed.len() + 1);
    if trimmed.first().is_none_or(|b| b & 0x80 != 0) {
        content.push(0);
    }
    content.extend_from_slice(trimmed);
    value(INTEGER, &content)
}

/// Takes the first value off: its tag, its content, and itself with both.
pub fn take<'a>(input: &mut &'a [u8]) -> Option<(u8, &'a [u8], &'a [u8])> {
    let whole = *input;
    let (&tag, rest) = whole.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut n = usize::from(first);
    if first & 0x80 != 0 {
        let bytes = usize::from(first & 0x7f);
        if bytes == 0 || bytes > 4 {
            return None;
        }
        n = 0;
        for b in rest.get(..bytes)? {
            n = n << 8 | usize::from(*b);
        }
        rest = &rest[bytes..];
    }
    let content = rest.get(..n)?;
    *input = &rest[n..];
    Some((tag, content, &whole[..whole.len() - input.len()]))
}

/// Takes the first value off, which must have that tag; its content.
pub fn expect<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    take(input).filter(|(found, ..)| *found == tag).map(|(_, content, _)| content)
}

/// What is read of a certificate (RFC 5280, section 4.1).
pub struct Certificate<'a> {
    /// `notBefore` and `notAfter` as they are written: `20260101000000Z`, with the century.
    pub validity: [String; 2],
    /// The subject, whole.
    pub subject: &'a [u8],
    /// The public key's own bytes.
    pub key_bits: &'a [u8],
    /// Whom it is for: common names of the subject, then DNS names, URIs and mail addresses, as they are written.
    pub names: Vec<String>,
}

/// Reads a certificate; none when it is none.
pub fn certificate(der: &[u8]) -> Option<Certificate<'_>> {
    let mut input = der;
    let mut outer = expect(&mut input, SEQUENCE)?;
    let mut tbs = expect(&mut outer, SEQUENCE)?;
    if tbs.first() == Some(&0xa0) {
        take(&mut tbs)?;
    }
    expect(&mut tbs, INTEGER)?;
    expect(&mut tbs, SEQUENCE)?;
    expect(&mut tbs, SEQUENCE)?;
    let mut validity = expect(&mut tbs, SEQUENCE)?;
    let validity = [time(&mut validity)?, time(&mut validity)?];
    let (SEQUENCE, _, subject) = take(&mut tbs)? else { return None };
    let mut inside = expect(&mut tbs, SEQUENCE)?;
    expect(&mut inside, SEQUENCE)?;
    let key_bits = expect(&mut inside, BITS)?.split_first()?.1;
    let mut names = common_names(subject).unwrap_or_default();
    names.extend(alternative_names(tbs).unwrap_or_default());
    Some(Certificate { validity, subject, key_bits, names })
}

/// The common names of a subject (RFC 5280, section 4.1.2.6).
fn common_names(mut subject: &[u8]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut parts = expect(&mut subject, SEQUENCE)?;
    while !parts.is_empty() {
        let mut part = expect(&mut parts, SET)?;
        while !part.is_empty() {
            let mut pair = expect(&mut part, SEQUENCE)?;
            if expect(&mut pair, OID)? != COMMON_NAME {
                continue;
            }
            // Other strings than these have not been made for decades, and read differently.
            if let (UTF8 | PRINTABLE | IA5, text, _) = take(&mut pair)? {
                names.extend(std::str::from_utf8(text).map(str::to_owned));
            }
        }
    }
    Some(names)
}

/// Names among the extensions, which are the last of what is signed (RFC 5280, section 4.2.1.6).
fn alternative_names(mut rest: &[u8]) -> Option<Vec<String>> {
    let mut extensions = loop {
        if let (EXTENSIONS, mut list, _) = take(&mut rest)? {
            break expect(&mut list, SEQUENCE)?;
        }
    };
    while !extensions.is_empty() {
        let mut extension = expect(&mut extensions, SEQUENCE)?;
        if expect(&mut extension, OID)? != ALTERNATIVE_NAMES {
            continue;
        }
        let (tag, content, _) = take(&mut extension)?;
        // Before what it says may stand whether it is critical.
        let mut said = if tag == OCTETS { content } else { expect(&mut extension, OCTETS)? };
        let mut list = expect(&mut said, SEQUENCE)?;
        let (mut hosts, mut addresses, mut mails) = (Vec::new(), Vec::new(), Vec::new());
        while !list.is_empty() {
            let (tag, content, _) = take(&mut list)?;
            let kind = match tag {
                0x82 => &mut hosts,
                0x86 => &mut addresses,
                0x81 => &mut mails,
                _ => continue,
            };
            kind.extend(std::str::from_utf8(content).map(str::to_owned));
        }
        hosts.extend(addresses);
        hosts.extend(mails);
        return Some(hosts);
    }
    None
}

fn time(input: &mut &[u8]) -> Option<String> {
    let (tag, content, _) = take(input)?;
    let text = std::str::from_utf8(content).ok().filter(|t| t.is_ascii() && t.len() >= 13)?;
    match tag {
        TIME => Some(text.to_owned()),
        // RFC 5280, section 4.1.2.5.1: years from 50 on are of the last century.
        SHORT_TIME if text < "50" => Some(format!("20{text}")),
        SHORT_TIME => Some(format!("19{text}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_and_numbers() {
        assert_eq!(value(OCTETS, &[7; 3]), [4, 3, 7, 7, 7]);
        assert_eq!(value(OCTETS, &[0; 200])[..3], [4, 0x81, 200]);
        assert_eq!(value(OCTETS, &[0; 70_000])[..5], [4, 0x83, 1, 0x11, 0x70]);
        assert_eq!(integer(&[0, 0, 0x7f]), [2, 1, 0x7f]);
        assert_eq!(integer(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[]), [2, 1, 0]);
    }

    fn named() -> Vec<u8> {
        let mut params =
            rcgen::CertificateParams::new(vec!["ci.shop.svc".to_owned(), "10.0.0.7".to_owned()]).unwrap();
        let uri = "spiffe://shop/ci".to_owned();
        params.subject_alt_names.push(rcgen::SanType::URI(uri.try_into().unwrap()));
        let mail = "ada@shop.example".to_owned();
        params.subject_alt_names.push(rcgen::SanType::Rfc822Name(mail.try_into().unwrap()));
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Shop");
        params.distinguished_name.push(rcgen::DnType::CommonName, "Ada L");
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn whom_a_certificate_is_for() {
        let der = named();
        let names = certificate(&der).unwrap().names;
        assert_eq!(names, ["Ada L", "ci.shop.svc", "spiffe://shop/ci", "ada@shop.example"]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(tag in any::<u8>(), content in prop::collection::vec(any::<u8>(), 0..400)) {
            let written = value(tag, &content);
            let mut input = &written[..];
            prop_assert_eq!(take(&mut input), Some((tag, &content[..], &written[..])));
            prop_assert!(input.is_empty());
        }

        #[test]
        fn a_broken_certificate_is_none_or_has_names(at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let mut der = named();
            let at = at.index(der.len());
            der[at] = to;
            let _ = certificate(&der);
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = certificate(&bytes);
        }
    }
}
