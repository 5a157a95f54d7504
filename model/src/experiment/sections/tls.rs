use crate::target::{Alpn, Downstream, KeyPair, OriginateSpec, Protocol, TlsSpec};
use crate::yaml::{Fields, Node, Reader};

/// Reads a proxy's `tls`.
pub(super) fn read(r: &Reader, node: &Node, what: &str, protocol: Protocol) -> Option<TlsSpec> {
    let what = &format!("{what}: tls");
    let f = r.fields(node, what, &["downstream", "certificate", "alpn", "upstream"])?;
    if protocol == Protocol::Udp {
        return r.refuse(
            node.place,
            format!("{what} is for connections, not datagrams"),
            "leave it out, or give the target protocol: tcp or http",
        );
    }
    let downstream = match f.get("downstream") {
        Some(n) => Some(r.choice(n, "downstream", &Downstream::WORDS)?),
        None => None,
    };
    let certificate = key_pair(r, &f, what)?;
    let alpn = alpn(r, &f)?;
    if downstream != Some(Downstream::Terminate) && (certificate.is_some() || !alpn.is_empty()) {
        let key = if certificate.is_some() { "certificate" } else { "alpn" };
        return r.refuse(
            f.place_of(key),
            format!("{what}: {key} is for clients whose TLS ends here"),
            "write downstream: terminate, or leave it out; what is shown to the service stands under upstream",
        );
    }
    let upstream = match f.get("upstream") {
        Some(n) => Some(originate(r, n, what)?),
        None => None,
    };
    match downstream {
        Some(Downstream::PassThrough) if upstream.is_some() => r.refuse(
            f.place_of("upstream"),
            format!("{what}: what passes through is encrypted already"),
            "write downstream: terminate to speak TLS anew with the service, or leave upstream out",
        ),
        Some(Downstream::PassThrough) if protocol == Protocol::Http => r.refuse(
            f.place_of("downstream"),
            format!("{what}: no request can be read in TLS that passes through"),
            "write downstream: terminate, or protocol: tcp",
        ),
        // What was wrong with its keys has been said.
        None if upstream.is_none() && r.failed() => None,
        None if upstream.is_none() => r.refuse(
            node.place,
            format!("{what} says nothing"),
            "write downstream: terminate or pass_through, or upstream: {roots: ca.pem}",
        ),
        downstream => Some(TlsSpec { downstream, certificate, alpn, upstream }),
    }
}

fn originate(r: &Reader, node: &Node, what: &str) -> Option<OriginateSpec> {
    let what = &format!("{what}: upstream");
    let f = r.fields(node, what, &["sni", "roots", "certificate", "insecure", "alpn"])?;
    let text = |key: &str| f.get(key).map(|n| not_empty(r, n, what, key));
    let (sni, roots) = (text("sni").map_or(Some(None), |t| t.map(Some))?, text("roots"));
    let roots = roots.map_or(Some(None), |t| t.map(Some))?;
    let insecure = match f.get("insecure") {
        Some(n) => r.boolean(n, "insecure")?,
        None => false,
    };
    if insecure && roots.is_some() {
        return r.refuse(
            f.place_of("insecure"),
            format!("{what}: with insecure: true nothing is checked, also not against roots"),
            "keep one of them",
        );
    }
    Some(OriginateSpec { sni, roots, certificate: key_pair(r, &f, what)?, insecure, alpn: alpn(r, &f)? })
}

fn key_pair(r: &Reader, f: &Fields<'_>, what: &str) -> Option<Option<KeyPair>> {
    let Some(node) = f.get("certificate") else { return Some(None) };
    let what = &format!("{what}: certificate");
    let f = r.fields(node, what, &["cert", "key"])?;
    let cert = r.need(&f, what, "cert", "web.pem").and_then(|n| not_empty(r, n, what, "cert"));
    let key = r.need(&f, what, "key", "web.key").and_then(|n| not_empty(r, n, what, "key"));
    Some(Some(KeyPair { cert: cert?, key: key? }))
}

fn alpn(r: &Reader, f: &Fields<'_>) -> Option<Vec<Alpn>> {
    let Some(node) = f.get("alpn") else { return Some(vec![]) };
    let items = r.items(node, "alpn");
    if items.is_empty() {
        return r.refuse(node.place, "alpn is empty", "write for example [h2, \"http/1.1\"]");
    }
    items.iter().map(|n| r.choice(n, "alpn", &Alpn::WORDS)).collect()
}

fn not_empty(r: &Reader, node: &Node, what: &str, key: &str) -> Option<String> {
    let text = r.text(node, key)?;
    if text.trim().is_empty() {
        return r.refuse(node.place, format!("{what}: {key} is empty"), "leave it out, or give it a value");
    }
    Some(text)
}
