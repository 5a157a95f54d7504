//! Heads of HTTP/1.1 as they are written: lines that need no change as they came, in their order.

use super::framing::{Body, has_no_body};
use crate::http::headers::Headers;
use crate::http::hop::Hop;
use crate::http::message::{RequestHead, ResponseHead};
use crate::http::websocket;
use crate::http::wire::Malformed;
use http::{Method, Version};

/// How a request's head is written.
pub(crate) struct AsRequest<'a> {
    /// What `Connection` said of the client's.
    pub(crate) hop: Hop,
    /// How the body is to be announced.
    pub(crate) body: Body,
    /// The host of those that name none.
    pub(crate) service: &'a str,
    /// What is wrong with it.
    pub(crate) malformed: Option<Malformed>,
}

/// Writes a request's head for the service.
pub(crate) fn request(out: &mut Vec<u8>, head: &RequestHead, how: &AsRequest<'_>) {
    let extended = !head.protocol.is_empty();
    let plain_connect = head.method == Method::CONNECT && !extended;
    if how.malformed == Some(Malformed::FirstLine) {
        out.extend_from_slice(b"?");
    }
    out.extend_from_slice(if extended { b"GET" } else { head.method.as_str().as_bytes() });
    out.push(b' ');
    let target = if plain_connect { host_of(head).unwrap_or_default() } else { head.path_and_query() };
    out.extend_from_slice(if target.is_empty() { b"/" } else { target.as_bytes() });
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let headers = &head.headers;
    let replaced = (!head.authority.is_empty() || head.absolute().is_some()).then(|| host_of(head)).flatten();
    let host = |out: &mut Vec<u8>, host: &str| line(out, b"Host", host.as_bytes());
    if !headers.contains("host") {
        host(out, replaced.unwrap_or(how.service));
    }
    let http2 = head.version == Version::HTTP_2;
    let mut cookies = http2 && headers.all("cookie").count() > 1;
    let mut said = Said::default();
    headers.write_each(out, |out, name, _| {
        if name.len() == 4 && name.eq_ignore_ascii_case("host") {
            return match replaced {
                Some(instead) => {
                    host(out, instead);
                    false
                }
                None => true,
            };
        }
        if http2 && name == "cookie" && headers.all("cookie").count() > 1 {
            if std::mem::take(&mut cookies) {
                let crumbs: Vec<&[u8]> = headers.all("cookie").collect();
                line(out, b"cookie", &crumbs.join(&b"; "[..]));
            }
            return false;
        }
        how.keeps(out, headers, name, &mut said)
    });
    if extended {
        line(out, b"Connection", b"Upgrade");
        line(out, b"Upgrade", head.protocol.as_bytes());
        if head.protocol == "websocket" {
            line(out, b"Sec-WebSocket-Key", websocket::key().as_bytes());
        }
    } else {
        if how.hop.upgrade && !said.connection {
            line(out, b"Connection", b"Upgrade");
        } else if how.hop.trailers && !said.connection {
            line(out, b"Connection", b"TE");
        }
        if how.hop.trailers && !said.te {
            line(out, b"TE", b"trailers");
        }
    }
    if how.body == Body::Chunked && !said.coding {
        line(out, b"Transfer-Encoding", b"chunked");
    }
    finish(out, how.malformed);
}

/// What of the framing has been written.
#[derive(Default)]
struct Said {
    connection: bool,
    te: bool,
    coding: bool,
}

impl AsRequest<'_> {
    /// Whether the line is written as it came.
    fn keeps(&self, out: &mut Vec<u8>, headers: &Headers, name: &str, said: &mut Said) -> bool {
        let is = |word: &str| name.eq_ignore_ascii_case(word);
        match name.len() {
            10 if is("connection") && (self.hop.upgrade || self.hop.trailers) && !said.connection => {
                said.connection = true;
                line(out, name.as_bytes(), if self.hop.upgrade { b"Upgrade" } else { b"TE" });
                false
            }
            7 if is("upgrade") && self.hop.upgrade => true,
            2 if is("te") && self.hop.trailers && !self.hop.upgrade && !said.te => {
                said.te = true;
                line(out, name.as_bytes(), b"trailers");
                false
            }
            17 if is("transfer-encoding") => {
                let first = !said.coding && self.body == Body::Chunked;
                said.coding |= first;
                first
            }
            14 if is("content-length") => {
                // A length of nothing is said when the client said it.
                let kept = matches!(self.body, Body::Length(_) | Body::None);
                if kept { length(out, headers, name, self.malformed) } else { false }
            }
            _ => !self.hop.ends(headers, name),
        }
    }
}

fn host_of(head: &RequestHead) -> Option<&str> {
    head.host_and_port()
}

/// How a response's head is written.
pub(crate) struct AsResponse {
    /// What `Connection` says of the service's.
    pub(crate) hop: Hop,
    /// How the body is announced to the client.
    pub(crate) body: Body,
    /// Whether the connection ends behind it.
    pub(crate) close: bool,
    /// The client speaks HTTP/1.0 and wants to keep the connection.
    pub(crate) keep_alive: bool,
    /// What is wrong with it.
    pub(crate) malformed: Option<Malformed>,
}

/// Writes a response's head for the client.
pub(crate) fn response(out: &mut Vec<u8>, head: &ResponseHead, how: &AsResponse) {
    status_line(out, head, how.malformed);
    let headers = &head.headers;
    let tunnel = how.body == Body::Tunnel && head.status.is_informational();
    let mut said = Said::default();
    let bodiless = matches!(how.body, Body::None);
    headers.write_each(out, |out, name, _| {
        let is = |word: &str| name.eq_ignore_ascii_case(word);
        match name.len() {
            10 if is("connection") && tunnel && !said.connection => {
                said.connection = true;
                line(out, name.as_bytes(), b"Upgrade");
                false
            }
            7 if is("upgrade") => tunnel || head.status == http::StatusCode::UPGRADE_REQUIRED,
            17 if is("transfer-encoding") => {
                let first =
                    !said.coding && (how.body == Body::Chunked || (bodiless && !has_no_body(head.status)));
                said.coding |= first;
                first
            }
            14 if is("content-length") => {
                let kept =
                    matches!(how.body, Body::Length(_)) || (bodiless && !head.status.is_informational());
                if kept { length(out, headers, name, how.malformed) } else { false }
            }
            _ => !how.hop.ends(headers, name),
        }
    });
    if tunnel && !said.connection {
        line(out, b"Connection", b"Upgrade");
    }
    match how.body {
        Body::Chunked if !said.coding => line(out, b"Transfer-Encoding", b"chunked"),
        Body::Length(n) if !headers.contains("content-length") => {
            line(out, b"Content-Length", n.to_string().as_bytes());
        }
        _ => {}
    }
    if how.body == Body::Tunnel {
        // What comes behind it is no message any more.
    } else if how.close {
        line(out, b"Connection", b"close");
    } else if how.keep_alive {
        line(out, b"Connection", b"keep-alive");
    }
    finish(out, how.malformed);
}

/// Writes the head of a response before the response.
pub(crate) fn informational(out: &mut Vec<u8>, head: &ResponseHead) {
    status_line(out, head, None);
    let hop = Hop::read(&head.headers);
    head.headers.write_if(out, |name, _| !hop.ends(&head.headers, name));
    out.extend_from_slice(b"\r\n");
}

fn status_line(out: &mut Vec<u8>, head: &ResponseHead, malformed: Option<Malformed>) {
    out.extend_from_slice(if malformed == Some(Malformed::FirstLine) { b"HTTQ/1.1 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(&head.reason);
    out.extend_from_slice(b"\r\n");
}

fn finish(out: &mut Vec<u8>, malformed: Option<Malformed>) {
    if malformed == Some(Malformed::HeaderWithoutColon) {
        out.extend_from_slice(b"this line has no colon\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// A length that is not what it should be; true when the line shall stay as it is.
fn length(out: &mut Vec<u8>, headers: &Headers, name: &str, malformed: Option<Malformed>) -> bool {
    let said: u64 = headers.text("content-length").and_then(|v| v.parse().ok()).unwrap_or_default();
    let instead = match malformed {
        Some(Malformed::LengthTooLarge) => (said + 1 + said / 2).to_string(),
        Some(Malformed::LengthTooSmall) => (said / 2).to_string(),
        // Not behind the number: some clients read as far as there are digits.
        Some(Malformed::LengthNotANumber) => format!("x{said}"),
        Some(Malformed::LengthTwice) => {
            line(out, name.as_bytes(), said.to_string().as_bytes());
            (said + 1).to_string()
        }
        _ => return true,
    };
    line(out, name.as_bytes(), instead.as_bytes());
    false
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::h1::head;

    fn as_request(text: &str, body: Body) -> String {
        let mut head = RequestHead::default();
        head::request(text.as_bytes(), &mut head).unwrap();
        let hop = Hop::read(&head.headers);
        let mut out = Vec::new();
        request(&mut out, &head, &AsRequest { hop, body, service: "s:1", malformed: None });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn requests_pass_as_they_were_written() {
        let text =
            "GET /a HTTP/1.1\r\nHoSt:shop\r\nx-A:  1 \r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\r\n";
        assert_eq!(as_request(text, Body::None), "GET /a HTTP/1.1\r\nHoSt:shop\r\nx-A:  1 \r\n\r\n");
        let text = "PUT /a HTTP/1.1\r\nHost: a\r\nTRANSFER-encoding:  chunked\r\nTE: trailers, gzip\r\n\r\n";
        let want = "PUT /a HTTP/1.1\r\nHost: a\r\nTRANSFER-encoding:  chunked\r\nTE: trailers\r\nConnection: TE\r\n\r\n";
        assert_eq!(as_request(text, Body::Chunked), want);
        let text = "GET http://shop:81/x?y HTTP/1.1\r\nhost: other\r\n\r\n";
        assert_eq!(as_request(text, Body::None), "GET /x?y HTTP/1.1\r\nHost: shop:81\r\n\r\n");
        assert_eq!(as_request("GET / HTTP/1.0\r\n\r\n", Body::None), "GET / HTTP/1.1\r\nHost: s:1\r\n\r\n");
        let text =
            "GET / HTTP/1.1\r\nHost: a\r\nconnection: keep-alive, Upgrade\r\nUPGRADE: websocket\r\n\r\n";
        let want = "GET / HTTP/1.1\r\nHost: a\r\nconnection: Upgrade\r\nUPGRADE: websocket\r\n\r\n";
        assert_eq!(as_request(text, Body::None), want);
        let text = "CONNECT db:1 HTTP/1.1\r\nHost: db\r\n\r\n";
        assert_eq!(as_request(text, Body::None), "CONNECT db:1 HTTP/1.1\r\nHost: db\r\n\r\n");
    }

    #[test]
    fn http2_becomes_http1() {
        let mut head = RequestHead {
            target: "/a".into(),
            authority: "shop".into(),
            version: Version::HTTP_2,
            ..RequestHead::default()
        };
        for (name, value) in [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("te", "trailers")] {
            head.headers.append(name, value);
        }
        let hop = Hop::read(&head.headers);
        let mut out = Vec::new();
        let how = AsRequest { hop, body: Body::Chunked, service: "s:1", malformed: None };
        request(&mut out, &head, &how);
        let want = "GET /a HTTP/1.1\r\nHost: shop\r\ncookie: a=1; b=2\r\nx: y\r\nte: trailers\r\n\
            Connection: TE\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }

    fn as_response(text: &str, body: Body, close: bool, malformed: Option<Malformed>) -> String {
        let mut head = ResponseHead::default();
        head::response(text.as_bytes(), &mut head).unwrap();
        let hop = Hop::read(&head.headers);
        let mut out = Vec::new();
        response(&mut out, &head, &AsResponse { hop, body, close, keep_alive: false, malformed });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn responses_pass_as_they_were_written() {
        let text =
            "HTTP/1.1 200 Very Fine\r\nX-Odd:1\r\nConnection: x-hop\r\nX-Hop: 1\r\ncontent-LENGTH: 5\r\n\r\n";
        let want = "HTTP/1.1 200 Very Fine\r\nX-Odd:1\r\ncontent-LENGTH: 5\r\n\r\n";
        assert_eq!(as_response(text, Body::Length(5), false, None), want);
        let want =
            "HTTP/1.1 200 Very Fine\r\nX-Odd:1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
        assert_eq!(as_response(text, Body::Chunked, true, None), want);
        let twice = as_response(text, Body::Length(5), false, Some(Malformed::LengthTwice));
        assert!(twice.contains("content-LENGTH: 5\r\ncontent-LENGTH: 6\r\n"), "{twice}");
        let text = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
        let want = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        assert_eq!(as_response(text, Body::Tunnel, false, None), want);
    }
}
