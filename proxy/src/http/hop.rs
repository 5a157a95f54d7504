//! What a proxy does to heads: RFC 9110, section 7.6.1, and nothing more.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, PROXY_AUTHENTICATE, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, HeaderValue, Method, Request, Version};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Headers that belong to one connection.
const HOP_BY_HOP: [HeaderName; 6] =
    [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE];

/// Whether the header is made from the message itself and cannot be chosen.
pub(crate) fn frames_the_message(name: &HeaderName) -> bool {
    *name == CONTENT_LENGTH || HOP_BY_HOP.contains(name) || *name == PROXY_AUTHENTICATE
}

/// The protocol that both ends are asked to change to (`websocket`), when `Connection` says so, too.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted = tokens(headers).any(|t| t.eq_ignore_ascii_case("upgrade"));
    headers.get(UPGRADE).filter(|_| wanted).cloned()
}

/// Takes out what belongs to the connection that the message came on.
pub(crate) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers).filter_map(|t| t.parse().ok()).collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        // Trailers and Host are never a connection's own, whatever it says.
        if *name != HOST {
            headers.remove(name);
        }
    }
}

/// Makes a request one of our own connection to the service. True when it asks for an upgrade.
pub(crate) fn for_service<B>(request: &mut Request<B>, service: &str) -> bool {
    let headers = request.headers();
    let trailers = headers
        .get_all(TE)
        .iter()
        .any(|v| v.to_str().is_ok_and(|t| t.split(',').any(|t| t.trim().eq_ignore_ascii_case("trailers"))));
    if request.version() == Version::HTTP_2 {
        strip(request.headers_mut());
        if trailers {
            request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
        }
        return false;
    }
    let upgrade = upgrade(headers);
    let authority = request.uri().authority().filter(|_| request.method() != Method::CONNECT).cloned();
    strip(request.headers_mut());
    if let Some(authority) = authority {
        // Absolute form: its host counts (RFC 9112, section 3.2.2), and the service gets the path.
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from(path.unwrap_or(PathAndQuery::from_static("/")));
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            request.headers_mut().insert(HOST, host);
        }
    }
    if !request.headers().contains_key(HOST) {
        // HTTP/1.0 clients may leave it out; HTTP/1.1 may not.
        if let Ok(host) = HeaderValue::from_str(service) {
            request.headers_mut().insert(HOST, host);
        }
    }
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    let upgrades = upgrade.is_some();
    match (upgrade, trailers) {
        (Some(protocol), _) => {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, protocol);
        }
        (None, true) => {
            headers.insert(CONNECTION, HeaderValue::from_static("TE"));
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        (None, false) => {}
    }
    upgrades || request.method() == Method::CONNECT
}

fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .filter(|t| !t.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(head: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().uri("/a?b=c");
        for (name, value) in head {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn what_belongs_to_a_connection_stays_there() {
        let mut r = request(&[
            ("host", "shop"),
            ("connection", "keep-alive, x-private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers, deflate"),
            ("trailer", "x-sum"),
            ("transfer-encoding", "chunked"),
            ("accept", "*/*"),
        ]);
        assert!(!for_service(&mut r, "s:1"));
        let mut names: Vec<_> = r.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "connection", "host", "te", "trailer"]);
        assert_eq!(r.headers()["te"], "trailers");
    }

    #[test]
    fn an_upgrade_is_asked_for_again() {
        let mut r = request(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        assert!(for_service(&mut r, "s:1"));
        assert_eq!(
            (&r.headers()["connection"], &r.headers()["host"]),
            (&"Upgrade".parse().unwrap(), &"s:1".parse().unwrap())
        );
        let mut r = request(&[("upgrade", "websocket")]);
        assert!(!for_service(&mut r, "s:1"));
        assert!(!r.headers().contains_key("upgrade"));
    }

    #[test]
    fn absolute_form_names_the_host() {
        let mut r = request(&[("host", "other")]);
        *r.uri_mut() = "http://shop:81/x?y".parse().unwrap();
        for_service(&mut r, "s:1");
        assert_eq!((r.uri().to_string(), &r.headers()["host"]), ("/x?y".into(), &"shop:81".parse().unwrap()));
    }
}
