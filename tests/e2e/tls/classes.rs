//! Every class at once, each for one name of its own: what the clients say. docs/tls.md has the whole sentences.

use super::{Ground, lines, python, script};
use crate::ground::{curl, need, program, s_client};
use std::process::Command;

/// Name, fault, and what curl (with its exit code), openssl, Python and Node.js say.
type Class = (&'static str, &'static str, (i32, &'static str), &'static str, &'static str, &'static str);

/// What is armed, and the part of each client's error that stays the same over versions: curl with its exit code, openssl
/// s_client, Python, Node.js. `ok` where a client accepts it, `-` where it is not asked.
const CLASSES: &[Class] = &[
    (
        "expired",
        "tls_certificate problem=expired",
        (60, "certificate has expired"),
        "certificate has expired",
        "certificate has expired",
        "CERT_HAS_EXPIRED",
    ),
    (
        "early",
        "tls_certificate problem=not_yet_valid",
        (60, "not yet valid"),
        "certificate is not yet valid",
        "certificate is not yet valid",
        "CERT_NOT_YET_VALID",
    ),
    (
        "host",
        "tls_certificate problem=wrong_host",
        (60, "'host.test'"),
        "ostname mismatch",
        "ostname mismatch",
        "ERR_TLS_CERT_ALTNAME_INVALID",
    ),
    (
        "self",
        "tls_certificate problem=self_signed",
        (60, "self-signed certificate"),
        "self-signed certificate",
        "self-signed certificate",
        "DEPTH_ZERO_SELF_SIGNED_CERT",
    ),
    (
        "unknown",
        "tls_certificate problem=unknown_ca",
        (60, "unable to get local issuer certificate"),
        "unable to get local issuer certificate",
        "unable to get local issuer certificate",
        "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
    ),
    (
        "weak",
        "tls_certificate problem=weak_key",
        (60, "certificate key too weak"),
        "certificate key too weak",
        "certificate key too weak",
        "certificate key too weak",
    ),
    // Seen only by those that check: see below.
    ("revoked", "tls_certificate problem=revoked", (0, "200"), "Verify return code: 0 (ok)", "ok", "ok"),
    (
        "plain",
        "tls_plain_text",
        (35, "wrong version number"),
        "wrong version number",
        "WRONG_VERSION_NUMBER",
        "wrong version number",
    ),
    (
        "alert",
        "tls_alert",
        (35, "alert handshake failure"),
        "alert handshake failure",
        "HANDSHAKE_FAILURE",
        "alert handshake failure",
    ),
    (
        "internal",
        "tls_alert alert=internal_error",
        (35, "alert internal error"),
        "alert internal error",
        "ALERT_INTERNAL_ERROR",
        "alert internal error",
    ),
    (
        "name",
        "tls_alert alert=unrecognized_name",
        (35, "unrecognized name"),
        "unrecognized name",
        "UNRECOGNIZED_NAME",
        "unrecognized name",
    ),
    (
        "cipher",
        "tls_cipher",
        (35, "alert handshake failure"),
        "alert handshake failure",
        "HANDSHAKE_FAILURE",
        "alert handshake failure",
    ),
    (
        "unoffered",
        "tls_cipher how=unoffered",
        (35, "unknown cipher returned"),
        "unknown cipher returned",
        "UNKNOWN_CIPHER_RETURNED",
        "unknown cipher returned",
    ),
    ("tls10", "tls_version only=tls1.0", (35, "protocol"), "protocol", "PROTOCOL", "protocol"),
    ("tls11", "tls_version only=tls1.1", (35, "protocol"), "protocol", "PROTOCOL", "protocol"),
    ("tls12", "tls_version only=tls1.2", (0, "200"), "TLSv1.2", "ok", "ok"),
    ("tls13", "tls_version only=tls1.3", (0, "200"), "TLSv1.3", "ok", "ok"),
    (
        "client",
        "tls_client_certificate",
        (56, "certificate required"),
        "certificate required",
        "CERTIFICATE_REQUIRED",
        "CERTIFICATE_REQUIRED",
    ),
    (
        "short",
        "tls_truncate when=1000B",
        (ANY, ""),
        "unexpected eof",
        "EOF occurred in violation of protocol",
        "ECONNRESET",
    ),
    ("bare", "tls_truncate", (0, "200"), "unexpected eof", "EOF occurred in violation of protocol", "ok"),
];

/// Any exit code that is a failure: which one depends on curl's version.
const ANY: i32 = -1;

#[test]
fn every_class_is_refused_with_its_error() {
    let Some(ground) = Ground::start() else { return };
    let Ground { agent, port, root, .. } = &ground;
    let mut wrong = Vec::new();
    let ids: Vec<String> = CLASSES
        .iter()
        .map(|(name, fault, ..)| agent.arm(&format!("proxy:web {fault} when.sni={name}.test")))
        .collect();
    for (name, fault, (code, says), openssl, ..) in CLASSES {
        let host = format!("{name}.test");
        let seen = curl(&host, *port, root, &[]);
        let as_said = if *code == ANY { seen.code != 0 } else { seen.code == *code };
        if !as_said || !format!("{}{}", seen.out, seen.err).contains(says) {
            wrong.push(format!("{fault}: curl: {seen:?}"));
        }
        let seen = s_client(&host, *port, root, &[]);
        if !format!("{}{}", seen.out, seen.err).contains(openssl) {
            wrong.push(format!("{fault}: openssl: {}\n{}", seen.out, seen.err));
        }
    }
    let hosts: Vec<String> = CLASSES.iter().map(|(name, ..)| format!("{name}.test")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    if need("python3", program("python3", &[]).is_some()) {
        let seen = lines(python("each", *port, root, &hosts));
        for ((name, fault, _, _, says, _), line) in CLASSES.iter().zip(&seen) {
            if !line.starts_with(&format!("{name}.test ")) || !line.contains(says) {
                wrong.push(format!("{fault}: python: {line}"));
            }
        }
        assert_eq!(seen.len(), CLASSES.len());
    }
    if need("node", program("node", &[]).is_some()) {
        let mut node = Command::new("node");
        node.env("NODE_EXTRA_CA_CERTS", root).arg(script("check.cjs")).arg(port.to_string()).args(&hosts);
        let seen = lines(node);
        for ((name, fault, _, _, _, says), line) in CLASSES.iter().zip(&seen) {
            if !line.starts_with(&format!("{name}.test ")) || !line.contains(says) {
                wrong.push(format!("{fault}: node: {line}"));
            }
        }
        assert_eq!(seen.len(), CLASSES.len());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Whoever asks for another name is served.
    assert_eq!(curl("other.test", *port, root, &[]).code, 0);
    for (id, (_, fault, ..)) in ids.iter().zip(CLASSES) {
        let (applied, considered) = agent.disarm(id);
        assert!(applied >= 2 && applied == considered, "{fault}: applied {applied} of {considered}");
    }
    assert_eq!(curl("expired.test", *port, root, &[]).code, 0);
}

#[test]
fn a_revoked_certificate_is_refused_by_those_that_check() {
    let Some(Ground { agent, port, root, nginx: _nginx }) = Ground::start() else { return };
    let list = agent.dir.path().join("list.pem").display().to_string();
    assert_eq!(agent.murphy(&["ca", "crl", "--out", &list]).code, 0);
    let by_list = || curl("a.test", port, &root, &["--crlfile", &list]);
    let by_staple = || curl("a.test", port, &root, &["--cert-status"]);
    assert_eq!((by_list().code, by_staple().code), (0, 0), "{:?} {:?}", by_list(), by_staple());
    let id = agent.arm("proxy:web tls_certificate problem=revoked");
    let seen = by_list();
    assert!(seen.code == 60 && seen.err.contains("certificate revoked"), "{seen:?}");
    let seen = by_staple();
    assert!(seen.code == 91 && seen.err.contains("revo"), "{seen:?}");
    let seen = s_client("a.test", port, &root, &["-CRL", &list, "-crl_check"]);
    assert!(seen.err.contains("certificate revoked"), "{seen:?}");
    let seen = s_client("a.test", port, &root, &["-status"]);
    assert!(seen.out.contains("Cert Status: revoked") && seen.out.contains("keyCompromise"), "{seen:?}");
    agent.disarm(&id);
    assert_eq!((by_list().code, by_staple().code), (0, 0));
}

#[test]
fn a_client_certificate_is_demanded() {
    let Some(Ground { agent, port, root, nginx }) = Ground::start() else { return };
    let (cert, key) = (nginx.file("client.pem"), nginx.file("client.key"));
    let shown = ["--cert", &cert, "--key", &key];
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        let id = agent.arm("proxy:web tls_client_certificate");
        let without = curl("a.test", port, &root, version);
        assert!(without.code != 0 && without.err.contains("certificate required"), "{without:?}");
        assert_eq!(curl("a.test", port, &root, &[&shown[..], version].concat()).code, 0);
        agent.disarm(&id);
        let id = agent.arm("proxy:web tls_client_certificate accept=none");
        let with = curl("a.test", port, &root, &[&shown[..], version].concat());
        assert!(with.code != 0 && with.err.contains("unknown ca"), "{with:?}");
        agent.disarm(&id);
    }
}
