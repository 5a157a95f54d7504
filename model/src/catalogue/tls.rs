//! Faults on TLS with the clients of a proxy. They are decided when the ClientHello is there, in the order of this table:
//! first what answers it with something else than a handshake, then what changes the handshake, then how the session ends.

use super::{FaultDef, Layer, PROXY, ParamDef, optional, required, with_default};
use crate::fault::Fault;
use crate::problem::Problem;
use crate::target::{Downstream, ProxySpec};
use crate::value::ParamType::{Choice, Span, SpanOrSize};

/// Rows of this table begin from this one.
const TLS: FaultDef = FaultDef { layer: Layer::Tls, ..PROXY };

const ALERT: ParamDef = with_default(
    "alert",
    Choice(&[
        "handshake_failure",
        "internal_error",
        "unrecognized_name",
        "protocol_version",
        "insufficient_security",
        "access_denied",
        "bad_certificate",
        "unsupported_certificate",
        "certificate_revoked",
        "certificate_expired",
        "certificate_unknown",
        "unknown_ca",
        "illegal_parameter",
        "decode_error",
        "decrypt_error",
        "bad_record_mac",
        "record_overflow",
        "unexpected_message",
        "missing_extension",
        "unsupported_extension",
        "bad_certificate_status_response",
        "unknown_psk_identity",
        "certificate_required",
        "no_application_protocol",
        "inappropriate_fallback",
        "user_canceled",
        "close_notify",
    ]),
    "handshake_failure",
    "which one, by its name in RFC 8446",
);

pub(super) const FAULTS: &[FaultDef] = &[
    FaultDef {
        name: "tls_plain_text",
        summary: "Answers a TLS handshake in plain text.",
        detail: "What a client sees that speaks TLS to a port without it: an HTTP/1.1 400 in plain text, then the end. New \
                 handshakes only.",
        ..TLS
    },
    FaultDef {
        name: "tls_alert",
        params: &[ALERT],
        summary: "Aborts the handshake with an alert.",
        detail: "The fatal alert is the answer to the ClientHello. New handshakes only.",
        ..TLS
    },
    FaultDef {
        name: "tls_cipher",
        params: &[with_default(
            "how",
            Choice(&["alert", "unoffered"]),
            "alert",
            "alert: handshake_failure, as servers do that share no suite with the client; unoffered: the server chooses a \
             suite that the client did not offer",
        )],
        summary: "No cipher suite in common.",
        detail: "New handshakes only.",
        ..TLS
    },
    FaultDef {
        name: "tls_version",
        params: &[required(
            "only",
            Choice(&["tls1.0", "tls1.1", "tls1.2", "tls1.3"]),
            "tls1.0",
            "the only version that the server speaks",
        )],
        summary: "The server speaks only one version of TLS.",
        detail: "With tls1.0 and tls1.1 the ClientHello is answered by a ServerHello of that version, as such a server does; \
                 clients of today refuse it. A client that would take it gets the alert protocol_version next, for murphy \
                 itself does not speak those versions. With tls1.2 and tls1.3 sessions come about with that version, and \
                 clients without it are refused by the alert protocol_version; that needs tls: {downstream: terminate}. New \
                 handshakes only.",
        ..TLS
    },
    FaultDef {
        name: "tls_certificate",
        params: &[required(
            "problem",
            Choice(&[
                "expired",
                "not_yet_valid",
                "wrong_host",
                "self_signed",
                "unknown_ca",
                "revoked",
                "weak_key",
            ]),
            "expired",
            "what is wrong with the certificate",
        )],
        summary: "The server's certificate has a problem.",
        detail: "The certificate is made for the name that the client asks for, by murphy's own CA (`murphy ca`), and is right \
                 but for the one problem. expired ended a day ago; not_yet_valid begins in a week; wrong_host is for \
                 wrong-host.invalid; self_signed is its own issuer; unknown_ca is signed by a CA that nobody has; revoked is on \
                 the list of `murphy ca crl` and carries a stapled OCSP response that says so, which only clients see that \
                 check; weak_key has an RSA key of 768 bits. Needs tls: {downstream: terminate}. New handshakes only, and no \
                 session is resumed across it.",
        ..TLS
    },
    FaultDef {
        name: "tls_client_certificate",
        params: &[with_default(
            "accept",
            Choice(&["any", "none"]),
            "any",
            "any: whatever certificate a client shows is taken; none: its certificate is refused, too, by the alert unknown_ca",
        )],
        summary: "The server demands a client certificate.",
        detail: "Clients without one are refused by the alert certificate_required. With TLS 1.3 a client learns of it only \
                 after its own handshake is over: when it reads. Needs tls: {downstream: terminate}. New handshakes only.",
        ..TLS
    },
    FaultDef {
        name: "tls_stall",
        shown: &["step"],
        params: &[
            with_default(
                "step",
                Choice(&["client_hello", "server_hello", "certificate", "finished"]),
                "client_hello",
                "after what nothing more comes from the server: client_hello: it does not answer at all; server_hello, \
                 certificate: it sends nothing after that message; finished: nothing after the client has sent its Finished",
            ),
            optional("delay", Span, "3s", "how long it stalls; to the end of the fault when absent"),
        ],
        summary: "The handshake stalls at a named step.",
        detail: "The connection stays open. What was held back is sent when the fault ends, and the handshake goes on. Of an \
                 encrypted handshake (TLS 1.3) that passes through, the messages cannot be told apart: certificate then means \
                 after the second encrypted record. With TLS 1.3 finished means that the client's handshake succeeds and \
                 nothing is answered. New handshakes only.",
        ..TLS
    },
    FaultDef {
        name: "tls_truncate",
        params: &[optional(
            "when",
            SpanOrSize,
            "4KiB",
            "a time since the fault took the connection, or a number of bytes to the client after which it is closed; when \
             absent the session is truncated when it ends by itself",
        )],
        summary: "Closes sessions without close_notify.",
        detail: "The connection ends in order (FIN) and TLS does not, as in a truncation attack. Open sessions are concerned, \
                 too. Sessions that pass through lose the close_notify that the service sends.",
        ..TLS
    },
];

/// Why a fault makes no sense on a proxy with that TLS, or without it; none when it does, or has nothing to do with TLS.
pub fn misfit(fault: &Fault, spec: &ProxySpec) -> Option<Problem> {
    let name = fault.inject.name();
    let downstream = spec.downstream_tls();
    let refuse = |what: String, hint: &str| Some(Problem::new(what).hint(hint));
    if fault.inject.def().layer != Layer::Tls {
        let asks = fault.when.as_ref().is_some_and(|when| when.asks_for_sni());
        return match downstream {
            None if asks => refuse(
                format!("{name} cannot match on sni: no TLS of clients is seen here"),
                "give the proxy tls: {downstream: terminate} or {downstream: pass_through}",
            ),
            _ => None,
        };
    }
    match downstream {
        None => refuse(
            format!("{name} is about TLS with clients, and this proxy has none"),
            "give the proxy tls: {downstream: terminate}, or {downstream: pass_through}",
        ),
        Some(Downstream::PassThrough) => {
            let newer = fault.inject.text("only").is_some_and(|v| v == "tls1.2" || v == "tls1.3");
            match name {
                "tls_certificate" | "tls_client_certificate" => refuse(
                    format!(
                        "{name} cannot be: the certificates of TLS that passes through are the service's"
                    ),
                    "give the proxy tls: {downstream: terminate}",
                ),
                "tls_version" if newer => refuse(
                    "the version of TLS that passes through is the service's to choose".into(),
                    "give the proxy tls: {downstream: terminate}, or choose tls1.0 or tls1.1",
                ),
                _ => None,
            }
        }
        Some(Downstream::Terminate) => None,
    }
}
