//! The faults on TLS handshakes, `tls_…`: what each says to a ClientHello. What follows is done in `crate::tls`.

use super::Act;
use crate::armed::Meters;
use crate::knob::Dials;
use crate::tls::{Accept, Flaw, Step, TLS10, TLS11, Version, alert_number};
use model::Problem;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// What a fault makes of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handshake {
    /// It is answered in plain text.
    PlainText,
    /// It is answered by an alert.
    Alert(u8),
    /// The server chooses a cipher suite that was not offered.
    Unoffered,
    /// The server chooses a version that nobody speaks any more.
    OldVersion(u16),
    /// The server speaks one version.
    Only(Version),
    /// The certificate has a flaw.
    Certificate(Flaw),
    /// The client must show a certificate.
    Clients(Accept),
    /// The server stops.
    Stall {
        /// After what.
        step: Step,
        /// For how long; as long as the fault when absent.
        delay: Option<Duration>,
    },
}

impl Handshake {
    /// What it measurably did.
    pub(crate) fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        let mut all = BTreeMap::from([("handshakes", meters.applied.load(Relaxed) as f64)]);
        all.extend(meters.lateness());
        all
    }
}

pub(super) fn read_plain_text(_: &Dials<'_>) -> Result<Act, Problem> {
    Ok(Act::Handshake(Handshake::PlainText))
}

pub(super) fn read_alert(dials: &Dials<'_>) -> Result<Act, Problem> {
    let number = word(dials, "alert", alert_number)?;
    Ok(Act::Handshake(Handshake::Alert(number)))
}

pub(super) fn read_cipher(dials: &Dials<'_>) -> Result<Act, Problem> {
    Ok(Act::Handshake(match dials.fixed().text("how") {
        Some("unoffered") => Handshake::Unoffered,
        // handshake_failure
        _ => Handshake::Alert(40),
    }))
}

pub(super) fn read_version(dials: &Dials<'_>) -> Result<Act, Problem> {
    let act = word(dials, "only", |word| {
        Some(match word {
            "tls1.0" => Handshake::OldVersion(TLS10),
            "tls1.1" => Handshake::OldVersion(TLS11),
            "tls1.2" => Handshake::Only(Version::Tls12),
            "tls1.3" => Handshake::Only(Version::Tls13),
            _ => return None,
        })
    })?;
    Ok(Act::Handshake(act))
}

pub(super) fn read_certificate(dials: &Dials<'_>) -> Result<Act, Problem> {
    Ok(Act::Handshake(Handshake::Certificate(word(dials, "problem", Flaw::find)?)))
}

pub(super) fn read_clients(dials: &Dials<'_>) -> Result<Act, Problem> {
    let accept = if dials.fixed().text("accept") == Some("none") { Accept::None } else { Accept::Any };
    Ok(Act::Handshake(Handshake::Clients(accept)))
}

pub(super) fn read_stall(dials: &Dials<'_>) -> Result<Act, Problem> {
    let step = word(dials, "step", Step::find)?;
    let delay = dials.fixed().span("delay");
    Ok(Act::Handshake(Handshake::Stall { step, delay }))
}

/// A word of the catalogue as what it means here.
fn word<T>(dials: &Dials<'_>, name: &str, find: impl Fn(&str) -> Option<T>) -> Result<T, Problem> {
    let text = dials.fixed().text(name).unwrap_or_default();
    find(text).ok_or_else(|| {
        Problem::new(format!("{name} {text:?} is not known here")).hint("`murphy faults` lists the words")
    })
}
