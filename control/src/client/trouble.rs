//! Why TLS with an agent came to nothing: what the libraries say, in words that name the agent, the file and what to do.

use super::error::ClientError;
use crate::endpoint::Endpoint;
use crate::tls::{ClientTls, Shown};
use model::units::Span;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};
use std::error::Error;
use std::io;
use std::time::Duration;

/// The error of a handshake, or of the first bytes after it: an agent that refuses a certificate says so only then. None:
/// it has nothing to do with TLS.
pub(crate) fn trouble(
    tls: &ClientTls,
    endpoint: &Endpoint,
    error: &(dyn Error + 'static),
) -> Option<ClientError> {
    let at = format!("the agent at {endpoint}");
    let (what, hint, brief) = match cause(error)? {
        rustls::Error::InvalidCertificate(e) => theirs(&at, tls.shown(), e),
        rustls::Error::AlertReceived(alert) => ours(&at, tls.shown(), *alert),
        rustls::Error::InvalidMessage(_) => (
            format!("what answers at {endpoint} does not speak TLS"),
            format!("if it is an agent without TLS: {}", endpoint.to_string().replace("https://", "http://")),
            "no TLS there",
        ),
        rustls::Error::PeerIncompatible(why) => (
            format!("{at} speaks TLS of a kind that is not spoken here: {why:?}"),
            "is it an agent, or something older in front of it?".to_owned(),
            "other TLS",
        ),
        e => (
            format!("TLS with {at} failed: {e}"),
            "is it an agent? openssl s_client -connect shows what answers there".to_owned(),
            "TLS failed",
        ),
    };
    Some(ClientError::Tls { what, hint, brief })
}

/// What rustls said, below what the socket and HTTP made of it.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(e) = next {
        if let Some(found) = e.downcast_ref() {
            return Some(found);
        }
        next = match e.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => e.source(),
        };
    }
    None
}

type Said = (String, String, &'static str);

/// What is wrong with the agent's certificate.
fn theirs(at: &str, shown: &Shown, e: &CertificateError) -> Said {
    let its = format!("the certificate of {at}");
    let renew = "its files are read again when they change; or is this machine's clock wrong?";
    match e {
        // Another authority of the same name is another one.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => match &shown.ca {
            Some(file) => (
                format!("{its} is not signed by the authority in {}", file.display()),
                "give that agent's authority with --ca; if it should be this one, someone else may answer there"
                    .to_owned(),
                "unknown authority",
            ),
            None => (
                format!("{its} is not signed by an authority that this system trusts"),
                "give its authority, as a PEM file, with --ca or MURPHY_CA".to_owned(),
                "unknown authority",
            ),
        },
        CertificateError::Expired => {
            (format!("{its} has expired"), format!("renew it there; {renew}"), "certificate expired")
        }
        CertificateError::ExpiredContext { time, not_after } => (
            format!("{its} has expired {} ago", span(*not_after, *time)),
            format!("renew it there; {renew}"),
            "certificate expired",
        ),
        CertificateError::NotValidYet => {
            (format!("{its} is not valid yet"), format!("renew it there; {renew}"), "not valid yet")
        }
        CertificateError::NotValidYetContext { time, not_before } => (
            format!("{its} is valid in {} only", span(*time, *not_before)),
            format!("renew it there; {renew}"),
            "not valid yet",
        ),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<String> = presented.iter().map(|name| bare(name)).collect();
            let names = if names.is_empty() { "no name at all".to_owned() } else { names.join(", ") };
            (
                format!("{its} is for {names}, not for {}", expected.to_str()),
                "reach it by one of its names, or say which one you expect with --server-name".to_owned(),
                "another name",
            )
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => (
            format!("{its} is not one of a server"),
            "give the agent one with the extended key usage serverAuth".to_owned(),
            "not a server's",
        ),
        e if format!("{e:?}").contains("CaUsedAsEndEntity") => (
            format!("{its} is that of an authority, which no server may show"),
            "give the agent a certificate that an authority has signed, and that authority to --ca".to_owned(),
            "an authority's",
        ),
        e => (
            format!("{its} cannot be believed: {e}"),
            "look at it: openssl s_client -connect".to_owned(),
            "certificate not believed",
        ),
    }
}

/// What the agent says of ours.
fn ours(at: &str, shown: &Shown, alert: AlertDescription) -> Said {
    use AlertDescription as Alert;
    let asked = matches!(
        alert,
        Alert::CertificateRequired | Alert::BadCertificate | Alert::HandshakeFailure | Alert::AccessDenied
    );
    let Some(file) = &shown.cert else {
        return match asked {
            true => (
                format!("{at} asks for a certificate, and none was shown"),
                "give yours with --cert and --key, or MURPHY_CERT and MURPHY_KEY".to_owned(),
                "asks for a certificate",
            ),
            false => alerted(at, alert),
        };
    };
    let mine = format!("your certificate in {}", file.display());
    match alert {
        // The second: its authority is called as theirs, and is another.
        Alert::UnknownCA | Alert::DecryptError => (
            format!("{at} does not know the authority of {mine}"),
            "use one that is signed by the authority of the agent's --tls-client-ca".to_owned(),
            "our authority is unknown",
        ),
        Alert::CertificateExpired => (
            format!("{at} says that {mine} has expired, or is not valid yet"),
            "renew it; or is one of the clocks wrong?".to_owned(),
            "our certificate expired",
        ),
        Alert::UnsupportedCertificate => (
            format!("{at} says that {mine} is not one of a client"),
            "use one with the extended key usage clientAuth".to_owned(),
            "not a client's",
        ),
        Alert::CertificateRequired
        | Alert::BadCertificate
        | Alert::CertificateUnknown
        | Alert::CertificateRevoked
        | Alert::AccessDenied => (
            format!("{at} refuses {mine} ({alert:?})"),
            "look at it: openssl x509 -text -in".to_owned(),
            "our certificate is refused",
        ),
        _ => alerted(at, alert),
    }
}

fn alerted(at: &str, alert: AlertDescription) -> Said {
    let what = match alert {
        AlertDescription::UnrecognisedName => format!("{at} is not called that"),
        _ => format!("{at} ended the handshake ({alert:?})"),
    };
    (what, "is it an agent, and of this version?".to_owned(), "handshake refused")
}

/// The time between two moments, as coarsely as people say it.
fn span(from: UnixTime, to: UnixTime) -> Span {
    let seconds = to.as_secs().saturating_sub(from.as_secs());
    let unit = [86_400, 3600, 60].into_iter().find(|unit| seconds >= 2 * unit).unwrap_or(1);
    Span(Duration::from_secs(seconds / unit * unit))
}

/// `DnsName("web")`, as the library writes it, as people do.
fn bare(name: &str) -> String {
    let inside = name.split_once('(').map_or(name, |(_, rest)| rest.trim_end_matches(')'));
    inside.trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_found_below_others_and_names_are_bare() {
        let inner = rustls::Error::AlertReceived(AlertDescription::UnknownCA);
        let error = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, inner.clone()));
        assert_eq!(cause(&error), Some(&inner));
        assert_eq!(cause(&io::Error::other("x")), None);
        assert_eq!(bare("DnsName(\"web\")"), "web");
        assert_eq!(bare("IpAddress(127.0.0.1)"), "127.0.0.1");
        let at = |s| UnixTime::since_unix_epoch(Duration::from_secs(s));
        assert_eq!(
            span(at(0), at(3 * 86_400 + 5)).to_string(),
            Span(Duration::from_secs(3 * 86_400)).to_string()
        );
    }
}
