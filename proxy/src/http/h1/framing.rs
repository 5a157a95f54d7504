//! Where a message's body ends (RFC 9112, section 6). What says so twice and differently is refused.

use super::head::{Refused, bad};
use crate::http::headers::Headers;
use crate::http::message::{RequestHead, ResponseHead};
use http::{Method, StatusCode, Version};

/// How a body is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// There is none.
    None,
    /// It has so many bytes.
    Length(u64),
    /// It comes in chunks.
    Chunked,
    /// It ends with the connection.
    Close,
    /// It ends with its stream: HTTP/2, where nothing has to announce a length.
    Stream,
    /// No body: the connection changes over, and from then on there are bytes both ways.
    Tunnel,
}

/// A request's. A length that is said several times and the same is said once from here on.
pub(crate) fn request(head: &mut RequestHead) -> Result<Body, Refused> {
    let coded = coding(&head.headers, head.version)?;
    match (coded, length(&mut head.headers)?) {
        (true, Some(_)) => Err(bad("both Transfer-Encoding and Content-Length are given")),
        (true, None) => Ok(Body::Chunked),
        (false, Some(0)) | (false, None) => Ok(Body::None),
        (false, Some(n)) => Ok(Body::Length(n)),
    }
}

/// A response's, to a request with that method that did or did not ask for an upgrade.
pub(crate) fn response(head: &mut ResponseHead, method: &Method, upgrade: bool) -> Result<Body, Refused> {
    let coded = coding(&head.headers, head.version)?;
    let length = length(&mut head.headers)?;
    if coded && length.is_some() {
        return Err(bad("both Transfer-Encoding and Content-Length are given"));
    }
    Ok(match head.status {
        StatusCode::SWITCHING_PROTOCOLS if upgrade => Body::Tunnel,
        StatusCode::SWITCHING_PROTOCOLS => return Err(bad("it changes over to another protocol, unasked")),
        status if method == Method::CONNECT && status.is_success() => Body::Tunnel,
        status if has_no_body(status) || method == Method::HEAD => Body::None,
        _ if coded => Body::Chunked,
        _ => length.map_or(Body::Close, Body::Length),
    })
}

/// Whether responses of that status never have a body.
pub(crate) fn has_no_body(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

/// Whether it is chunked; any other coding is refused.
fn coding(headers: &Headers, version: Version) -> Result<bool, Refused> {
    if !headers.contains("transfer-encoding") {
        return Ok(false);
    }
    if version == Version::HTTP_10 {
        return Err(bad("HTTP/1.0 has no Transfer-Encoding"));
    }
    let mut values = headers.all("transfer-encoding");
    match (values.next(), values.next()) {
        (Some(value), None) if value.eq_ignore_ascii_case(b"chunked") => Ok(true),
        (Some(value), None) if ends_chunked(value) => {
            Err(Refused { status: 501, why: "no Transfer-Encoding but chunked is understood" })
        }
        (Some(_), None) => Err(bad("Transfer-Encoding does not end with chunked")),
        _ => Err(bad("Transfer-Encoding is given more than once")),
    }
}

fn ends_chunked(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let mut codings = text.split(',').map(|c| c.trim_matches([' ', '\t']));
    let is_known = |c: &str| {
        ["gzip", "x-gzip", "deflate", "compress", "x-compress"].iter().any(|k| c.eq_ignore_ascii_case(k))
    };
    codings.next_back().is_some_and(|c| c.eq_ignore_ascii_case("chunked")) && codings.all(is_known)
}

fn length(headers: &mut Headers) -> Result<Option<u64>, Refused> {
    let (mut found, mut count) = (None, 0);
    for value in headers.all("content-length") {
        for part in value.split(|b| *b == b',') {
            let part = part.trim_ascii();
            if part.is_empty() || part.len() > 19 || !part.iter().all(u8::is_ascii_digit) {
                return Err(bad("Content-Length is not a number of bytes"));
            }
            let n = part.iter().fold(0_u64, |sum, b| sum * 10 + u64::from(b - b'0'));
            if found.is_some_and(|other| other != n) {
                return Err(bad("there are two different Content-Length"));
            }
            found = Some(n);
            count += 1;
        }
    }
    if let Some(n) = found.filter(|_| count > 1) {
        headers.insert("Content-Length", n.to_string());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_request(version: Version, fields: &[(&str, &str)]) -> Result<Body, Refused> {
        let headers = fields.iter().copied().collect();
        request(&mut RequestHead { version, headers, ..RequestHead::default() })
    }

    #[test]
    fn requests() {
        let of = |fields: &[(&str, &str)]| of_request(Version::HTTP_11, fields);
        assert_eq!(of(&[]), Ok(Body::None));
        assert_eq!(of(&[("Content-Length", "5")]), Ok(Body::Length(5)));
        assert_eq!(of(&[("Content-Length", "5"), ("content-length", "5, 5")]), Ok(Body::Length(5)));
        assert_eq!(of(&[("Transfer-Encoding", "Chunked")]), Ok(Body::Chunked));
        for fields in [
            &[("Content-Length", "5"), ("Content-Length", "6")][..],
            &[("Content-Length", "5, 6")],
            &[("Content-Length", "+5")],
            &[("Content-Length", "0x5")],
            &[("Content-Length", "")],
            &[("Content-Length", "5 5")],
            &[("Content-Length", "99999999999999999999")],
            &[("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
            &[("Transfer-Encoding", "identity")],
            &[("Transfer-Encoding", "chunked, identity")],
            &[("Transfer-Encoding", "chunked, chunked")],
            &[("Transfer-Encoding", "xchunked")],
            &[("Transfer-Encoding", "\"chunked\"")],
            &[("Transfer-Encoding", "x, chunked")],
            &[("Transfer-Encoding", "\u{b}chunked")],
            &[("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")],
        ] {
            assert_eq!(of(fields).unwrap_err().status, 400, "{fields:?}");
        }
        assert_eq!(of(&[("Transfer-Encoding", "gzip, chunked")]).unwrap_err().status, 501);
        assert!(of_request(Version::HTTP_10, &[("Transfer-Encoding", "chunked")]).is_err());
    }

    #[test]
    fn responses() {
        let of = |status: u16, method: Method, upgrade, fields: &[(&str, &str)]| {
            let mut head = ResponseHead::new(StatusCode::from_u16(status).unwrap());
            head.headers = fields.iter().copied().collect();
            response(&mut head, &method, upgrade)
        };
        let length = [("content-length", "7")];
        assert_eq!(of(200, Method::GET, false, &length), Ok(Body::Length(7)));
        assert_eq!(of(200, Method::HEAD, false, &length), Ok(Body::None));
        assert_eq!(of(304, Method::GET, false, &length), Ok(Body::None));
        assert_eq!(of(204, Method::GET, false, &[]), Ok(Body::None));
        assert_eq!(of(200, Method::GET, false, &[]), Ok(Body::Close));
        assert_eq!(of(200, Method::CONNECT, false, &[]), Ok(Body::Tunnel));
        assert_eq!(of(101, Method::GET, true, &[]), Ok(Body::Tunnel));
        assert!(of(101, Method::GET, false, &[]).is_err());
    }
}
