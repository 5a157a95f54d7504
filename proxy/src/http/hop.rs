//! What a proxy does to heads: RFC 9110, section 7.6.1, and nothing more.

use super::headers::Headers;
use http::HeaderName;

/// Whether the header is made from the message itself and cannot be chosen.
pub(crate) fn frames_the_message(name: &HeaderName) -> bool {
    let name = name.as_str();
    is_hop(name) || name == "content-length" || name == "proxy-authenticate"
}

/// Whether a field belongs to one connection, by its name alone.
pub(crate) fn is_hop(name: &str) -> bool {
    let known: &[&str] = match name.len() {
        2 => &["te"],
        7 => &["upgrade"],
        10 => &["connection", "keep-alive"],
        16 => &["proxy-connection"],
        17 => &["transfer-encoding"],
        _ => return false,
    };
    known.iter().any(|k| k.eq_ignore_ascii_case(name))
}

/// What `Connection` says, read once for a head.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Hop {
    /// There are fields of this connection beside the usual ones.
    names_others: bool,
    /// `close` is among them.
    pub(crate) close: bool,
    /// `keep-alive` is among them.
    pub(crate) keep_alive: bool,
    /// The other side shall change to the protocol that `Upgrade` names.
    pub(crate) upgrade: bool,
    /// Trailers are welcome.
    pub(crate) trailers: bool,
}

impl Hop {
    /// Of that head.
    pub(crate) fn read(headers: &Headers) -> Hop {
        let mut hop = Hop::default();
        for token in headers.tokens("connection") {
            let is = |word: &str| token.eq_ignore_ascii_case(word);
            hop.close |= is("close");
            hop.keep_alive |= is("keep-alive");
            hop.upgrade |= is("upgrade");
            hop.names_others |= !is_hop(token) && !is("close");
        }
        // A connection that changes to HTTP/2 would take its requests past every fault.
        hop.upgrade &= headers.contains("upgrade") && !headers.has_token("upgrade", "h2c");
        hop.trailers = headers.has_token("te", "trailers");
        hop
    }

    /// Whether a field ends here.
    pub(crate) fn ends(self, headers: &Headers, name: &str) -> bool {
        is_hop(name) || (self.names_others && !is_of_message(name) && headers.has_token("connection", name))
    }
}

/// Fields that are never a connection's own, whatever it says.
fn is_of_message(name: &str) -> bool {
    ["host", "content-length", "trailer"].iter().any(|k| k.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_connection_ends_here() {
        let headers: Headers = [
            ("Host", "shop"),
            ("Connection", "keep-alive, X-Private, host, content-length"),
            ("x-private", "1"),
            ("Content-Length", "0"),
            ("Keep-Alive", "timeout=5"),
            ("TE", "trailers, deflate"),
            ("Trailer", "x-sum"),
            ("Transfer-Encoding", "chunked"),
            ("Accept", "*/*"),
        ]
        .into_iter()
        .collect();
        let hop = Hop::read(&headers);
        let left: Vec<_> = headers.iter().map(|(n, _)| n).filter(|n| !hop.ends(&headers, n)).collect();
        assert_eq!(left, ["Host", "Content-Length", "Trailer", "Accept"]);
        assert!(hop.trailers && hop.keep_alive && !hop.close && !hop.upgrade);
    }

    #[test]
    fn an_upgrade_needs_both_fields_and_is_not_to_http2() {
        let of = |fields: &[(&str, &str)]| Hop::read(&fields.iter().copied().collect()).upgrade;
        assert!(of(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]));
        assert!(!of(&[("upgrade", "websocket")]) && !of(&[("connection", "upgrade")]));
        assert!(!of(&[
            ("connection", "upgrade, http2-settings"),
            ("upgrade", "h2c"),
            ("http2-settings", "x")
        ]));
    }
}
