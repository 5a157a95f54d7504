//! What passes between the codecs, the exchange and the faults: heads, and pieces of bodies.

use super::headers::Headers;
use bytes::Bytes;
use http::{Method, StatusCode, Version};

/// A request's head. Its target is as it came; for HTTP/2 that is the path, and the pseudo-headers are beside it.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestHead {
    /// What is asked for.
    pub(crate) method: Method,
    /// The target as it came: `/path?query`, `http://host/path`, `host:port` or `*`.
    pub(crate) target: String,
    /// With HTTP/2 what `:authority` says; with HTTP/1.1 empty, and then the target or `Host` say it.
    pub(crate) authority: String,
    /// With HTTP/2 what `:scheme` says.
    pub(crate) scheme: String,
    /// With HTTP/2's extended CONNECT, the protocol that the stream shall speak.
    pub(crate) protocol: String,
    /// The version that the client speaks.
    pub(crate) version: Version,
    /// Its header fields.
    pub(crate) headers: Headers,
}

/// A response's head.
#[derive(Debug, Clone, Default)]
pub(crate) struct ResponseHead {
    /// Its status.
    pub(crate) status: StatusCode,
    /// The words behind the status; HTTP/2 has none.
    pub(crate) reason: Vec<u8>,
    /// The version that the service speaks.
    pub(crate) version: Version,
    /// Its header fields.
    pub(crate) headers: Headers,
}

/// A part of a body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    /// Bytes, never none. With HTTP/1.1's chunked coding one or a part of one chunk, with HTTP/2 one DATA frame.
    Data(Bytes),
    /// A WebSocket frame or a part of it; only where frames are told apart.
    Frame(Frame),
    /// Trailers. Only the end comes after them.
    Trailers(Headers),
    /// The end; nothing comes after it.
    End,
}

/// A WebSocket frame, or a part of one that is larger than what is read at once.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    /// What its header says, when this is its beginning.
    pub(crate) head: Option<FrameHead>,
    /// The bytes as they came, with the header when this is the beginning.
    pub(crate) bytes: Bytes,
    /// Whether the frame ends here.
    pub(crate) last: bool,
}

/// A WebSocket frame's header (RFC 6455, section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    /// How many bytes the header itself has.
    pub(crate) size: u8,
    /// Whether the message ends with this frame.
    pub(crate) fin: bool,
    /// The three reserved bits.
    pub(crate) reserved: u8,
    /// 0 continuation, 1 text, 2 binary, 8 close, 9 ping, 10 pong.
    pub(crate) opcode: u8,
    /// The masking key; clients must have one.
    pub(crate) mask: Option<[u8; 4]>,
    /// How many bytes of payload come.
    pub(crate) length: u64,
}

/// An answer that the proxy gives by itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its headers but those that frame the message.
    pub(crate) headers: Headers,
    /// Its body.
    pub(crate) body: Bytes,
    /// What comes after the body, if anything.
    pub(crate) trailers: Option<Headers>,
}

impl RequestHead {
    /// Takes everything out and keeps the room.
    pub(crate) fn clear(&mut self) {
        self.method = Method::GET;
        for text in [&mut self.target, &mut self.authority, &mut self.scheme, &mut self.protocol] {
            text.clear();
        }
        self.version = Version::HTTP_11;
        self.headers.clear();
    }

    /// The path without the query: `/a` of `/a?b` and of `http://host/a?b`. `*` is itself; with CONNECT there is none.
    pub(crate) fn path(&self) -> &str {
        let path = self.path_and_query();
        path.split_once('?').map_or(path, |(path, _)| path)
    }

    /// What stands behind the question mark.
    pub(crate) fn query(&self) -> Option<&str> {
        self.path_and_query().split_once('?').map(|(_, query)| query)
    }

    /// Path and query, in every form of the target.
    pub(crate) fn path_and_query(&self) -> &str {
        if self.target.starts_with('/') {
            return &self.target;
        }
        if self.method == Method::CONNECT && self.protocol.is_empty() {
            return "";
        }
        match self.absolute() {
            Some((_, "")) => "/",
            Some((_, rest)) => rest,
            None => &self.target,
        }
    }

    /// The host that is asked for, with its port if that is said: of the target, else of `:authority`, else of `Host`.
    pub(crate) fn host_and_port(&self) -> Option<&str> {
        if !self.target.starts_with('/') {
            if let Some((authority, _)) = self.absolute() {
                return Some(authority);
            }
            if self.method == Method::CONNECT && self.protocol.is_empty() {
                return Some(&self.target);
            }
        }
        match self.authority.is_empty() {
            true => self.headers.text("host"),
            false => Some(&self.authority),
        }
    }

    /// The same without the port.
    pub(crate) fn host(&self) -> Option<&str> {
        self.host_and_port().map(without_port)
    }

    /// Authority and what follows it, of a target in absolute form.
    pub(crate) fn absolute(&self) -> Option<(&str, &str)> {
        let (scheme, rest) = self.target.split_once("://")?;
        if !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
            return None;
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        Some(rest.split_at(end))
    }
}

impl ResponseHead {
    /// One of ours.
    pub(crate) fn new(status: StatusCode) -> ResponseHead {
        ResponseHead {
            status,
            reason: reason(status).to_vec(),
            version: Version::HTTP_11,
            headers: Headers::new(),
        }
    }

    /// Takes everything out and keeps the room.
    pub(crate) fn clear(&mut self) {
        self.status = StatusCode::OK;
        self.reason.clear();
        self.version = Version::HTTP_11;
        self.headers.clear();
    }

    /// Changes the status with the words that go with it.
    pub(crate) fn set_status(&mut self, status: StatusCode) {
        self.status = status;
        self.reason = reason(status).to_vec();
    }
}

/// The words that usually stand behind a status.
pub(crate) fn reason(status: StatusCode) -> &'static [u8] {
    status.canonical_reason().unwrap_or_default().as_bytes()
}

impl Piece {
    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        match self {
            Piece::Data(bytes) => bytes.len(),
            Piece::Frame(frame) => frame.bytes.len(),
            Piece::Trailers(_) | Piece::End => 0,
        }
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: Method, target: &str) -> RequestHead {
        let headers = [("Host", "shop:80")].into_iter().collect();
        RequestHead { method, target: target.into(), headers, ..RequestHead::default() }
    }

    #[test]
    fn targets_in_all_forms() {
        let r = head(Method::GET, "/a/b?c=d?e");
        assert_eq!((r.path(), r.query(), r.host()), ("/a/b", Some("c=d?e"), Some("shop")));
        let r = head(Method::GET, "http://other:81/a?b");
        assert_eq!((r.path(), r.query(), r.host_and_port()), ("/a", Some("b"), Some("other:81")));
        let r = head(Method::GET, "http://other");
        assert_eq!((r.path(), r.query(), r.host()), ("/", None, Some("other")));
        let r = head(Method::OPTIONS, "*");
        assert_eq!((r.path(), r.host()), ("*", Some("shop")));
        let r = head(Method::CONNECT, "db:5432");
        assert_eq!((r.path(), r.host_and_port()), ("", Some("db:5432")));
        let mut r = head(Method::GET, "/x?u=http://y");
        r.authority = "[::1]:8080".into();
        assert_eq!((r.path(), r.host()), ("/x", Some("[::1]")));
    }
}
