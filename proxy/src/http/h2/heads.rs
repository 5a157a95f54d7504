//! Heads between HTTP/2 and what is common to both versions.

use crate::http::headers::{Headers, put};
use crate::http::hop::{Hop, is_hop};
use crate::http::message::{RequestHead, ResponseHead};
use h2::ext::Protocol;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};

/// Reads a client's request.
pub(crate) fn read_request<B>(request: &Request<B>) -> RequestHead {
    let uri = request.uri();
    let authority = uri.authority().map_or("", Authority::as_str);
    let protocol = request.extensions().get::<Protocol>().map_or("", Protocol::as_str);
    let plain_connect = request.method() == Method::CONNECT && protocol.is_empty();
    RequestHead {
        method: request.method().clone(),
        target: match plain_connect {
            true => authority.to_owned(),
            false => uri.path_and_query().map_or("/", PathAndQuery::as_str).to_owned(),
        },
        authority: authority.to_owned(),
        scheme: uri.scheme_str().unwrap_or_default().to_owned(),
        protocol: protocol.to_owned(),
        version: Version::HTTP_2,
        headers: Headers::from_map(request.headers()),
    }
}

/// Whether all that names the host of a client's request names the same one (RFC 9113, section 8.3.1): whoever is behind us
/// may go by the other. CONNECT names it by its authority alone (section 8.5).
pub(crate) fn names_one_host<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(http::header::HOST).iter().map(HeaderValue::as_bytes);
    let authority = request.uri().authority().map(|a| a.as_str().as_bytes());
    if request.method() == Method::CONNECT && authority.is_none() {
        return false;
    }
    let Some(first) = authority.or_else(|| hosts.next()) else { return true };
    let port: &[u8] = if request.uri().scheme() == Some(&Scheme::HTTPS) { b":443" } else { b":80" };
    let bare = |host: &[u8]| host.strip_suffix(port).unwrap_or(host).to_ascii_lowercase();
    hosts.all(|host| host == first || bare(host) == bare(first))
}

/// Reads a service's response.
pub(crate) fn read_response(into: &mut ResponseHead, response: &Response<()>) {
    into.clear();
    into.status = response.status();
    into.reason.extend_from_slice(crate::http::message::reason(response.status()));
    into.version = Version::HTTP_2;
    into.headers = Headers::from_map(response.headers());
}

/// A request as the service gets it.
pub(crate) fn request(head: &RequestHead, hop: Hop, host: &str) -> Result<Request<()>, String> {
    let unfit = |what: &str, e: http::Error| format!("HTTP/2 cannot carry its {what}: {e}");
    let mut request = Request::new(());
    let authority = head.host_and_port().filter(|h| !h.is_empty()).unwrap_or(host);
    let mut uri = Uri::builder().authority(authority);
    let extended = hop.upgrade || !head.protocol.is_empty();
    if head.method != Method::CONNECT || extended {
        let scheme = if head.scheme == "https" { Scheme::HTTPS } else { Scheme::HTTP };
        let path = head.path_and_query();
        uri = uri.scheme(scheme).path_and_query(if path.is_empty() { "/" } else { path });
    }
    *request.uri_mut() = uri.build().map_err(|e| unfit("target", e))?;
    *request.method_mut() = if extended { Method::CONNECT } else { head.method.clone() };
    *request.version_mut() = Version::HTTP_2;
    if extended {
        let wanted = head.headers.text("upgrade").filter(|_| head.protocol.is_empty());
        request.extensions_mut().insert(Protocol::from(wanted.unwrap_or(&head.protocol)));
    }
    let map = request.headers_mut();
    fields(map, &head.headers, hop, |name| {
        name.eq_ignore_ascii_case("host") || (hop.upgrade && name.eq_ignore_ascii_case("sec-websocket-key"))
    });
    if hop.trailers {
        put(map, "te", b"trailers");
    }
    Ok(request)
}

/// A response as the client gets it.
pub(crate) fn response(head: &ResponseHead, relength: bool) -> Response<()> {
    let mut response = Response::new(());
    let changes_over = head.status == StatusCode::SWITCHING_PROTOCOLS;
    *response.status_mut() = if changes_over { StatusCode::OK } else { head.status };
    *response.version_mut() = Version::HTTP_2;
    let hop = Hop::read(&head.headers);
    fields(response.headers_mut(), &head.headers, hop, |name| {
        (relength && name.eq_ignore_ascii_case("content-length"))
            || (changes_over && name.eq_ignore_ascii_case("sec-websocket-accept"))
    });
    response
}

fn fields(map: &mut HeaderMap, headers: &Headers, hop: Hop, left_out: impl Fn(&str) -> bool) {
    map.reserve(headers.len());
    for (name, value) in headers.iter() {
        if !is_hop(name) && !hop.ends(headers, name) && !left_out(name) {
            put(map, name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_one_host() {
        for (uri, hosts, one) in [
            ("http://shop/", &[][..], true),
            ("http://shop/", &["shop"], true),
            ("http://shop/", &["SHOP:80"], true),
            ("http://shop/", &["shop:443"], false),
            ("https://shop:443/", &["shop"], true),
            ("http://shop/", &["bank"], false),
            ("http://shop/", &["shop", "bank"], false),
            ("/", &["shop"], true),
            ("/", &["shop", "bank"], false),
        ] {
            let mut request = Request::builder().uri(uri);
            for host in hosts {
                request = request.header("host", *host);
            }
            assert_eq!(names_one_host(&request.body(()).unwrap()), one, "{uri} {hosts:?}");
        }
        let connect = |uri: &str| Request::builder().method(Method::CONNECT).uri(uri).body(()).unwrap();
        assert!(names_one_host(&connect("shop:443")));
        assert!(!names_one_host(&connect("/")));
    }
}
