//! What is said to a ClientHello in place of a handshake, byte by byte.

use super::hello::{ALERT, ClientHello, HANDSHAKE};

/// TLS 1.0 and 1.1 on the wire.
pub(crate) const TLS10: u16 = 0x0301;
pub(crate) const TLS11: u16 = 0x0302;

/// What a web server says to TLS on its port for plain HTTP.
pub(crate) const PLAIN_TEXT: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 39\r\n\
Connection: close\r\n\r\nThis port speaks plain HTTP, not TLS.\r\n";

/// Alerts by name (RFC 8446, section 6).
const ALERTS: &[(&str, u8)] = &[
    ("close_notify", 0),
    ("unexpected_message", 10),
    ("bad_record_mac", 20),
    ("record_overflow", 22),
    ("handshake_failure", 40),
    ("bad_certificate", 42),
    ("unsupported_certificate", 43),
    ("certificate_revoked", 44),
    ("certificate_expired", 45),
    ("certificate_unknown", 46),
    ("illegal_parameter", 47),
    ("unknown_ca", 48),
    ("access_denied", 49),
    ("decode_error", 50),
    ("decrypt_error", 51),
    ("protocol_version", 70),
    ("insufficient_security", 71),
    ("internal_error", 80),
    ("inappropriate_fallback", 86),
    ("user_canceled", 90),
    ("missing_extension", 109),
    ("unsupported_extension", 110),
    ("unrecognized_name", 112),
    ("bad_certificate_status_response", 113),
    ("unknown_psk_identity", 115),
    ("certificate_required", 116),
    ("no_application_protocol", 120),
];

/// The number of an alert.
pub(crate) fn alert_number(name: &str) -> Option<u8> {
    ALERTS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// An alert in a record: fatal, but for those two that only say goodbye.
pub(crate) fn alert(number: u8, version: u16) -> Vec<u8> {
    let level = if number == 0 || number == 90 { 1 } else { 2 };
    record(ALERT, version, &[level, number])
}

/// The ServerHello of an old server, and what comes when the client takes it after all.
pub(crate) fn old_server(version: u16, hello: &ClientHello) -> Vec<u8> {
    // One that such a server may choose, best if the client offered it.
    const OLD: [u16; 6] = [0xc013, 0xc014, 0xc009, 0xc00a, 0x002f, 0x0035];
    let suite = OLD.into_iter().find(|s| hello.ciphers.contains(s)).unwrap_or(0x002f);
    let mut out = server_hello(version, suite);
    out.extend(alert(70, version));
    out
}

/// A ServerHello with a suite that the client did not offer.
pub(crate) fn unoffered_suite(hello: &ClientHello) -> Vec<u8> {
    // Export ciphers of the nineties: nobody offers them.
    let suite = [0x0003, 0x0008, 0x0014].into_iter().find(|s| !hello.ciphers.contains(s)).unwrap_or(0x0000);
    let mut out = server_hello(0x0303, suite);
    out.extend(alert(40, 0x0303));
    out
}

fn server_hello(version: u16, suite: u16) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    // Nothing is ever derived from it, so it need not be random.
    body.extend((0..32_u8).map(|i| i.wrapping_mul(37).wrapping_add(11)));
    body.push(0);
    body.extend(suite.to_be_bytes());
    body.push(0);
    // renegotiation_info (RFC 5746), which old servers have learned to send: without it clients stumble over that first.
    body.extend([0, 5, 0xff, 1, 0, 1, 0]);
    let mut message = vec![2, 0];
    message.extend((body.len() as u16).to_be_bytes());
    message.extend(body);
    record(HANDSHAKE, version, &message)
}

fn record(kind: u8, version: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend(version.to_be_bytes());
    out.extend((payload.len() as u16).to_be_bytes());
    out.extend_from_slice(payload);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alert_of_the_catalogue_has_its_number() {
        let def = model::catalogue::find("tls_alert").unwrap();
        let model::ParamType::Choice(words) = def.param("alert").unwrap().ty else { panic!("no choice") };
        for word in words {
            assert!(alert_number(word).is_some(), "{word}");
        }
        assert_eq!(words.len(), ALERTS.len());
        assert_eq!(alert(40, 0x0303), [21, 3, 3, 0, 2, 2, 40]);
    }

    #[test]
    fn the_plain_text_is_as_long_as_it_says() {
        let text = std::str::from_utf8(PLAIN_TEXT).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }

    #[test]
    fn a_suite_that_was_not_offered() {
        let hello = ClientHello { ciphers: vec![3, 8], ..ClientHello::default() };
        assert_eq!(unoffered_suite(&hello)[5 + 4 + 2 + 32 + 1..][..2], [0, 0x14]);
    }
}
