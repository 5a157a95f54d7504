//! Heads of HTTP/1.1 (RFC 9112, sections 2 to 5), read strictly: what two readers could understand differently is refused.

use crate::http::headers::Headers;
use crate::http::message::{RequestHead, ResponseHead};
use http::{Method, StatusCode, Version};
use memchr::{memchr, memchr_iter};

/// As large as a head may be.
pub(crate) const LARGEST: usize = 64 * 1024;
/// As many fields as it may have.
pub(crate) const MOST_FIELDS: usize = 256;

/// Why a message is refused, and the status that says so to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(crate) struct Refused {
    /// 400, 431, 501 or 505.
    pub(crate) status: u16,
    /// As a sentence.
    pub(crate) why: &'static str,
}

/// Refused with 400.
pub(crate) fn bad(why: &'static str) -> Refused {
    Refused { status: 400, why }
}

/// Where the head ends that begins the bytes, with its empty line; none when more must come. `from` remembers where to go
/// on looking.
pub(crate) fn end_of_head(bytes: &[u8], from: &mut usize) -> Result<Option<usize>, Refused> {
    for at in memchr_iter(b'\n', &bytes[*from..]) {
        let at = *from + at;
        match &bytes[..at] {
            [.., b'\n', b'\r'] | [b'\r'] => return within(at + 1).map(Some),
            [.., b'\r'] => {}
            _ => return Err(bad("a line ends with a line feed alone")),
        }
    }
    // A line feed at the end of what there is has been seen; what may belong to it has not.
    *from = bytes.len().saturating_sub(usize::from(bytes.last() == Some(&b'\r')));
    within(bytes.len()).map(|_| None)
}

fn within(size: usize) -> Result<usize, Refused> {
    if size > LARGEST {
        return Err(Refused { status: 431, why: "the head is larger than 64 KiB" });
    }
    Ok(size)
}

/// Reads a request's head, which has all its bytes.
pub(crate) fn request(bytes: &[u8], head: &mut RequestHead) -> Result<(), Refused> {
    head.clear();
    let (line, fields) = first_line(bytes)?;
    let mut parts = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad(
            "the request line is not a method, a target and a version with one space between each",
        ));
    };
    if method.is_empty() || !method.iter().all(|b| is_token(*b)) {
        return Err(bad("the method has characters that a method cannot have"));
    }
    head.method = Method::from_bytes(method).map_err(|_| bad("the method is not one"))?;
    head.version = version_of(version)?;
    if target.is_empty() || target.iter().any(|b| *b <= b' ' || *b == 0x7f) {
        return Err(bad("the request target has characters that it cannot have"));
    }
    let target = std::str::from_utf8(target).map_err(|_| bad("the request target is not UTF-8"))?;
    head.target.push_str(target);
    head.headers.read(fields)?;
    check_target(head)?;
    let mut hosts = head.headers.all("host");
    match (hosts.next(), hosts.next()) {
        (_, Some(_)) => Err(bad("there is more than one Host")),
        (None, None) if head.version == Version::HTTP_11 => Err(bad("there is no Host")),
        (Some(host), None) if !is_host(host) => Err(bad("Host has characters that a host cannot have")),
        _ => Ok(()),
    }
}

fn check_target(head: &RequestHead) -> Result<(), Refused> {
    if head.method == Method::CONNECT {
        let named = head.target.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty()
                && is_host(host.as_bytes())
                && !port.is_empty()
                && port.bytes().all(|b| b.is_ascii_digit())
        });
        return if named { Ok(()) } else { Err(bad("the target of CONNECT is not host:port")) };
    }
    if head.target.starts_with('/') || (head.target == "*" && head.method == Method::OPTIONS) {
        return Ok(());
    }
    match head.absolute() {
        Some((host, _)) if !host.is_empty() && is_host(host.as_bytes()) => Ok(()),
        _ => Err(bad("the request target is neither a path nor a URL")),
    }
}

fn is_host(host: &[u8]) -> bool {
    !host.iter().any(|b| *b <= b' ' || *b >= 0x7f || b"/?#@\\\"<>^`{|}".contains(b))
}

/// Reads a response's head, which has all its bytes.
pub(crate) fn response(bytes: &[u8], head: &mut ResponseHead) -> Result<(), Refused> {
    head.clear();
    let (line, fields) = first_line(bytes)?;
    let space = memchr(b' ', line).ok_or(bad("the status line has no status"))?;
    head.version = version_of(&line[..space])?;
    let rest = &line[space + 1..];
    let (digits, reason) = rest.split_at_checked(3).ok_or(bad("the status is not three digits"))?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(bad("the status is not three digits"));
    }
    head.status = StatusCode::from_bytes(digits).map_err(|_| bad("the status is below 100"))?;
    match reason {
        [] => {}
        [b' ', reason @ ..] if reason.iter().all(|b| is_text(*b)) => head.reason.extend_from_slice(reason),
        _ => return Err(bad("the words behind the status have characters that they cannot have")),
    }
    head.headers.read(fields)
}

fn first_line(bytes: &[u8]) -> Result<(&[u8], &[u8]), Refused> {
    let end = memchr(b'\n', bytes).ok_or(bad("the head has no line"))?;
    match &bytes[..end] {
        [line @ .., b'\r'] => Ok((line, &bytes[end + 1..])),
        _ => Err(bad("a line ends with a line feed alone")),
    }
}

fn version_of(bytes: &[u8]) -> Result<Version, Refused> {
    match bytes {
        b"HTTP/1.1" => Ok(Version::HTTP_11),
        b"HTTP/1.0" => Ok(Version::HTTP_10),
        // Who speaks a later minor version speaks this one, too (RFC 9110, section 2.5).
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => Ok(Version::HTTP_11),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Refused { status: 505, why: "the version is neither HTTP/1.1 nor HTTP/1.0" })
        }
        _ => Err(bad("the version is not one of HTTP")),
    }
}

impl Headers {
    /// Reads lines of fields up to the empty line, which must be the last.
    pub(crate) fn read(&mut self, lines: &[u8]) -> Result<(), Refused> {
        let base = self.start(lines);
        let mut at = 0;
        loop {
            let line = &lines[at..];
            let end = memchr(b'\n', line).ok_or(bad("the head has no empty line at its end"))?;
            let text = match &line[..end] {
                [text @ .., b'\r'] => text,
                _ => return Err(bad("a line ends with a line feed alone")),
            };
            if text.is_empty() {
                return match at + end + 1 == lines.len() {
                    true => Ok(()),
                    false => Err(bad("there is something behind the head")),
                };
            }
            if self.len() == MOST_FIELDS {
                return Err(Refused { status: 431, why: "there are more than 256 header fields" });
            }
            let name = text.iter().position(|b| !is_token(*b)).unwrap_or(text.len());
            match text.get(name) {
                Some(b':') if name > 0 => {}
                Some(b' ' | b'\t') if name == 0 => {
                    return Err(bad("a header field goes on in the next line"));
                }
                Some(b' ' | b'\t') => {
                    return Err(bad("there is a space between a header's name and its colon"));
                }
                None => return Err(bad("a header line has no colon")),
                Some(_) => return Err(bad("a header's name has characters that a name cannot have")),
            }
            let rest = &text[name + 1..];
            if !rest.iter().all(|b| is_text(*b)) {
                return Err(bad("a header's value has characters that a value cannot have"));
            }
            let lead = rest.iter().position(|b| !is_blank(*b)).unwrap_or(rest.len());
            let length = rest.len() - lead - rest[lead..].iter().rev().take_while(|b| is_blank(**b)).count();
            self.field(base + at, name, name + 1 + lead, length, end + 1);
            at += end + 1;
        }
    }
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// What a value may have: no control characters but the tab.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Characters of names and methods (RFC 9110, section 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    const TABLE: [bool; 256] = {
        let mut table = [false; 256];
        let mut at = 0;
        while at < 256 {
            table[at] = matches!(at as u8,
                b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*'
                | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
            at += 1;
        }
        table
    };
    TABLE[usize::from(byte)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RequestHead, Refused> {
        let mut head = RequestHead::default();
        let end = end_of_head(text.as_bytes(), &mut 0)?.ok_or(bad("more must come"))?;
        request(&text.as_bytes()[..end], &mut head).map(|()| head)
    }

    #[test]
    fn heads_are_read_as_they_are() {
        let head =
            read("POST /a?b HTTP/1.1\r\nHoSt: shop\r\nX-A:1\r\nx-a: \t 2\t \r\nEmpty:\r\n\r\nbody").unwrap();
        assert_eq!((head.method.as_str(), &*head.target), ("POST", "/a?b"));
        let fields: Vec<_> = head.headers.iter().collect();
        assert_eq!(fields, [("HoSt", &b"shop"[..]), ("X-A", b"1"), ("x-a", b"2"), ("Empty", b"")]);
        let mut out = Vec::new();
        head.headers.write(&mut out);
        assert_eq!(out, b"HoSt: shop\r\nX-A:1\r\nx-a: \t 2\t \r\nEmpty:\r\n");
        assert!(read("GET / HTTP/1.0\r\n\r\n").is_ok());
        assert_eq!(read("GET / HTTP/1.2\r\nHost: a\r\n\r\n").unwrap().version, Version::HTTP_11);
        let mut head = ResponseHead::default();
        response(b"HTTP/1.1 404 Not here, sorry\r\nA: b\r\n\r\n", &mut head).unwrap();
        assert_eq!((head.status.as_u16(), &head.reason[..]), (404, &b"Not here, sorry"[..]));
        response(b"HTTP/1.0 200\r\n\r\n", &mut head).unwrap();
        assert_eq!((head.status.as_u16(), &head.reason[..], head.version), (200, &b""[..], Version::HTTP_10));
    }

    #[test]
    fn the_end_is_found_however_the_bytes_come() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET";
        for step in 1..8 {
            let mut from = 0;
            let mut have = 0;
            let found = loop {
                have = (have + step).min(text.len());
                if let Some(end) = end_of_head(&text[..have], &mut from).unwrap() {
                    break end;
                }
            };
            assert_eq!(found, text.len() - 3);
        }
        assert!(end_of_head(b"GET / HTTP/1.1\nHost", &mut 0).is_err());
        assert_eq!(end_of_head(&[b'a'; LARGEST + 1], &mut 0).unwrap_err().status, 431);
    }

    #[test]
    fn what_could_be_misunderstood_is_refused() {
        for (text, why) in [
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "one space"),
            ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "one space"),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", "neither"),
            ("GET / http/1.1\r\nHost: a\r\n\r\n", "not one of HTTP"),
            ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", "method"),
            ("GET /\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n", "target"),
            ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", "neither a path"),
            ("GET / HTTP/1.1\r\n\r\n", "no Host"),
            ("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", "more than one Host"),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "Host has"),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "space between"),
            ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", "next line"),
            ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", "next line"),
            ("GET / HTTP/1.1\r\nHost: a\r\nx\r\n\r\n", "no colon"),
            ("GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", "name"),
            ("GET / HTTP/1.1\r\nHost: a\r\nx: a\0b\r\n\r\n", "value"),
            ("GET / HTTP/1.1\r\nHost: a\r\nx: a\rb\r\n\r\n", "value"),
            ("GET / HTTP/1.1\r\nHost: a\nx: b\r\n\r\n", "line feed alone"),
            ("CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.why.contains(why), "{text:?}: {error}");
        }
        let many: String = (0..257).map(|i| format!("x{i}: y\r\n")).collect();
        assert_eq!(read(&format!("GET / HTTP/1.0\r\n{many}\r\n")).unwrap_err().status, 431);
    }

    proptest::proptest! {
        /// Whatever is read here is read the same by httparse, which reads more than this.
        #[test]
        fn nothing_is_read_that_others_read_differently(
            line in "(GET|PO ST|X) (/|/a\\?b|\\*|http://h/x)[ ]?(HTTP/1\\.[01]| HTTP/1\\.1)",
            fields in proptest::collection::vec("(Host|X-A|Te |x\ty)[:]?[ \t]{0,2}[a-z\\x00-\\x20\\x7f]{0,6}[\r]?", 0..4),
        ) {
            let text = format!("{line}\r\n{}\r\n", fields.iter().map(|f| format!("{f}\n")).collect::<String>());
            if let Ok(head) = read(&text) {
                let mut room = [httparse::EMPTY_HEADER; 64];
                let mut other = httparse::Request::new(&mut room);
                proptest::prop_assert!(other.parse(text.as_bytes()).unwrap().is_complete(), "{:?}", text);
                proptest::prop_assert_eq!(other.method, Some(head.method.as_str()));
                proptest::prop_assert_eq!(other.path, Some(&*head.target));
                let theirs: Vec<_> = other.headers.iter().map(|h| (h.name, h.value)).collect();
                proptest::prop_assert_eq!(head.headers.iter().collect::<Vec<_>>(), theirs);
            }
        }
    }
}
