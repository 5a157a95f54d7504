//! Reading the first flight of a TLS client: records and the ClientHello (RFC 8446, sections 4.1.2 and 5.1; RFC 6066,
//! section 3). The bytes are anyone's, so every length is checked and nothing is allocated beyond what was sent.

use std::borrow::Cow;

/// Content types of records.
pub(crate) const ALERT: u8 = 21;
pub(crate) const HANDSHAKE: u8 = 22;
pub(crate) const APPLICATION_DATA: u8 = 23;

/// The header of a record.
pub(crate) const HEADER: usize = 5;
/// As much as a ClientHello may have: large ones carry post-quantum key shares and many extensions, a few kilobytes.
pub(crate) const LONGEST_HELLO: usize = 64 * 1024;
/// What a record can carry, with what encryption adds (RFC 8446, section 5.2).
const LONGEST_RECORD: usize = (1 << 14) + 256;

/// What a client says first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The name it asks for.
    pub sni: Option<String>,
    /// The versions it takes, the best first as it lists them: `0x0304` is TLS 1.3.
    pub versions: Vec<u16>,
    /// Its cipher suites.
    pub ciphers: Vec<u16>,
    /// The protocols that it offers by ALPN.
    pub alpn: Vec<Vec<u8>>,
}

/// Whether the beginning of a stream is a ClientHello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// It is.
    Hello(ClientHello),
    /// It may become one.
    More,
    /// It is none, whatever follows.
    Never,
}

/// Reads the ClientHello at the beginning of a stream. It may be split over records, and records may follow it.
pub fn parse(bytes: &[u8]) -> Parsed {
    let message = match first_message(bytes) {
        Ok(Some(message)) => message,
        Ok(None) if bytes.len() > LONGEST_HELLO => return Parsed::Never,
        Ok(None) => return Parsed::More,
        Err(NotTls) => return Parsed::Never,
    };
    client_hello(&message).map_or(Parsed::Never, Parsed::Hello)
}

struct NotTls;

/// The body of the first handshake message, which must be a ClientHello; none when it is not whole yet.
fn first_message(mut bytes: &[u8]) -> Result<Option<Cow<'_, [u8]>>, NotTls> {
    let mut joined: Cow<'_, [u8]> = Cow::Borrowed(&[]);
    loop {
        // What is there of the header must be right: plain text shows itself in its first byte.
        for (i, byte) in bytes.iter().take(3).enumerate() {
            let fits = match i {
                0 => *byte == HANDSHAKE,
                1 => *byte == 3,
                _ => *byte <= 4,
            };
            if !fits {
                return Err(NotTls);
            }
        }
        let Some(header) = bytes.get(..HEADER) else { return Ok(None) };
        let n = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if n == 0 || n > LONGEST_RECORD {
            return Err(NotTls);
        }
        let whole = bytes.len() >= HEADER + n;
        let part = &bytes[HEADER..bytes.len().min(HEADER + n)];
        if joined.is_empty() {
            joined = Cow::Borrowed(part);
        } else {
            joined.to_mut().extend_from_slice(part);
        }
        match joined.first() {
            None => return Ok(None),
            Some(1) => {}
            Some(_) => return Err(NotTls),
        }
        if let Some(head) = joined.get(..4) {
            let length = usize::from(head[1]) << 16 | usize::from(head[2]) << 8 | usize::from(head[3]);
            if length > LONGEST_HELLO {
                return Err(NotTls);
            }
            if joined.len() >= 4 + length {
                return Ok(Some(match joined {
                    Cow::Borrowed(all) => Cow::Borrowed(&all[4..4 + length]),
                    Cow::Owned(all) => Cow::Owned(all[4..4 + length].to_vec()),
                }));
            }
        }
        if !whole || joined.len() > LONGEST_HELLO {
            return Ok(None);
        }
        bytes = &bytes[HEADER + n..];
    }
}

fn client_hello(body: &[u8]) -> Option<ClientHello> {
    let mut r = Reader(body);
    let legacy = r.u16()?;
    r.take(32)?;
    let session = r.u8()?;
    r.take(usize::from(session))?;
    let mut suites = r.list16()?;
    let mut hello = ClientHello::default();
    while let Some(suite) = suites.u16() {
        hello.ciphers.push(suite);
    }
    let compressions = r.u8()?;
    r.take(usize::from(compressions))?;
    let mut extensions = if r.0.is_empty() { Reader(&[]) } else { r.list16()? };
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let mut inside = extensions.list16()?;
        match kind {
            0 => hello.sni = server_name(&mut inside).or(hello.sni),
            16 => {
                let mut names = inside.list16()?;
                while !names.0.is_empty() {
                    let n = names.u8()?;
                    hello.alpn.push(names.take(usize::from(n))?.to_vec());
                }
            }
            43 => {
                let n = inside.u8()?;
                let mut list = Reader(inside.take(usize::from(n))?);
                while let Some(version) = list.u16() {
                    hello.versions.push(version);
                }
            }
            _ => {}
        }
    }
    if hello.versions.is_empty() {
        // Before TLS 1.3 a client names the best and takes what is older; which of those, it does not say.
        hello.versions = (0x0301..=legacy.min(0x0303)).rev().collect();
    }
    Some(hello)
}

/// The first host name; one that is no text is none.
fn server_name(inside: &mut Reader<'_>) -> Option<String> {
    let mut names = inside.list16()?;
    while !names.0.is_empty() {
        let kind = names.u8()?;
        let name = names.list16()?.0;
        if kind == 0 {
            let text = std::str::from_utf8(name).ok()?;
            let plain = !text.is_empty() && text.len() <= 255 && text.bytes().all(|b| b.is_ascii_graphic());
            return plain.then(|| text.trim_end_matches('.').to_ascii_lowercase());
        }
    }
    None
}

/// Takes lengths and values off a slice.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    fn list16(&mut self) -> Option<Reader<'a>> {
        let n = self.u16()?;
        self.take(usize::from(n)).map(Reader)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A ClientHello in one record, as rustls writes it.
    pub(crate) fn real(name: &str) -> Vec<u8> {
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = name.to_owned().try_into().unwrap();
        let mut client = rustls::ClientConnection::new(config.into(), name).unwrap();
        let mut out = Vec::new();
        client.write_tls(&mut out).unwrap();
        out
    }

    #[test]
    fn a_real_one_is_understood() {
        let Parsed::Hello(hello) = parse(&real("Shop.Example")) else { panic!("not understood") };
        assert_eq!(hello.sni.as_deref(), Some("shop.example"));
        assert_eq!(hello.versions, [0x0304, 0x0303]);
        assert_eq!(hello.alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert!(hello.ciphers.contains(&0x1301) && hello.ciphers.contains(&0xc02b));
        let Parsed::Hello(hello) = parse(&real("127.0.0.1")) else { panic!("not understood") };
        assert_eq!(hello.sni, None);
    }

    #[test]
    fn plain_text_shows_itself_at_once() {
        for text in ["GET / HTTP/1.1\r\n", "S", "\x16\x02", "\x16\x03\x05", "\x16\x03\x01\x00\x00"] {
            assert_eq!(parse(text.as_bytes()), Parsed::Never, "{text:?}");
        }
        assert_eq!(parse(b""), Parsed::More);
        assert_eq!(parse(b"\x16\x03"), Parsed::More);
        // A ServerHello is no ClientHello.
        assert_eq!(parse(b"\x16\x03\x03\x00\x04\x02\x00\x00\x00"), Parsed::Never);
        // Endless handshakes are given up.
        let mut long = Vec::new();
        for _ in 0..5 {
            long.extend_from_slice(&[22, 3, 1, 0x40, 0]);
            long.extend(std::iter::repeat_n(1, 0x4000));
        }
        long[6..9].copy_from_slice(&[0, 0xff, 0xff]);
        assert_ne!(parse(&long), Parsed::More);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let mut hello = vec![22, 3, 1, 0, (bytes.len() + 4).min(255) as u8, 1, 0, 0, bytes.len().min(251) as u8];
            hello.extend_from_slice(&bytes);
            let _ = parse(&hello);
        }

        #[test]
        fn mutations_do_not_panic(at in 0_usize..200, to in any::<u8>()) {
            let mut bytes = real("shop.example");
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = parse(&bytes);
        }

        /// However it is cut into records and into reads, it means the same, and no prefix says that it never will.
        #[test]
        fn fragments_mean_the_same(size in 1_usize..300, read in 1_usize..300) {
            let whole = real("shop.example");
            let body = &whole[HEADER..];
            let mut cut = Vec::new();
            for part in body.chunks(size) {
                cut.extend_from_slice(&[HANDSHAKE, 3, 1]);
                cut.extend_from_slice(&(part.len() as u16).to_be_bytes());
                cut.extend_from_slice(part);
            }
            for end in (read..cut.len()).step_by(read) {
                prop_assert_eq!(parse(&cut[..end]), Parsed::More);
            }
            prop_assert_eq!(parse(&cut), parse(&whole));
        }
    }
}
