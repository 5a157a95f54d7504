//! As much DER (X.690) as the proxy needs: writing OCSP responses, and reading a few fields of certificates.

/// SEQUENCE.
pub(crate) const SEQUENCE: u8 = 0x30;
/// OCTET STRING.
pub(crate) const OCTETS: u8 = 0x04;
/// BIT STRING.
pub(crate) const BITS: u8 = 0x03;
/// INTEGER.
pub(crate) const INTEGER: u8 = 0x02;
/// OBJECT IDENTIFIER.
pub(crate) const OID: u8 = 0x06;
/// GeneralizedTime.
pub(crate) const TIME: u8 = 0x18;
/// UTCTime.
pub(crate) const SHORT_TIME: u8 = 0x17;
/// ENUMERATED.
pub(crate) const ENUMERATED: u8 = 0x0a;
/// NULL.
pub(crate) const NULL: u8 = 0x05;

/// A value with its tag and length.
pub(crate) fn value(tag: u8, content: &[u8]) -> Vec<u8> {
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
pub(crate) fn of(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    value(tag, &parts.concat())
}

/// An unsigned number, most significant byte first.
pub(crate) fn integer(bytes: &[u8]) -> Vec<u8> {
    let trimmed = &bytes[bytes.iter().take_while(|b| **b == 0).count()..];
    let mut content = Vec::with_capacity(trimmed.len() + 1);
    if trimmed.first().is_none_or(|b| b & 0x80 != 0) {
        content.push(0);
    }
    content.extend_from_slice(trimmed);
    value(INTEGER, &content)
}

/// Takes the first value off: its tag, its content, and itself with both.
pub(crate) fn take<'a>(input: &mut &'a [u8]) -> Option<(u8, &'a [u8], &'a [u8])> {
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
pub(crate) fn expect<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    take(input).filter(|(found, ..)| *found == tag).map(|(_, content, _)| content)
}

/// What is read of a certificate (RFC 5280, section 4.1).
pub(crate) struct Certificate<'a> {
    /// `notBefore` and `notAfter` as they are written: `20260101000000Z`, with the century.
    pub(crate) validity: [String; 2],
    /// The subject, whole.
    pub(crate) subject: &'a [u8],
    /// The public key's own bytes.
    pub(crate) key_bits: &'a [u8],
}

/// Reads a certificate; none when it is none.
pub(crate) fn certificate(der: &[u8]) -> Option<Certificate<'_>> {
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
    Some(Certificate { validity, subject, key_bits })
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

    proptest! {
        #[test]
        fn what_is_written_is_read(tag in any::<u8>(), content in prop::collection::vec(any::<u8>(), 0..400)) {
            let written = value(tag, &content);
            let mut input = &written[..];
            prop_assert_eq!(take(&mut input), Some((tag, &content[..], &written[..])));
            prop_assert!(input.is_empty());
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = certificate(&bytes);
        }
    }
}
