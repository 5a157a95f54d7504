//! Headers and statuses as people give them for answers and replacements, checked when a fault is armed.

use crate::http::headers::Headers;
use crate::knob::Dials;
use http::{HeaderName, HeaderValue, StatusCode};
use model::{Injection, Problem};

/// Says which fault made an answer.
pub(crate) const MARK: &str = "x-murphy-fault";

/// The parameter `name`, a map of headers.
pub(super) fn headers(dials: &Dials<'_>, param: &str) -> Result<Headers, Problem> {
    let fault = dials.fixed().name();
    let mut headers = Headers::new();
    for (written, value) in dials.fixed().map(param).into_iter().flatten() {
        name(fault, written)?;
        HeaderValue::from_str(value).map_err(|_| {
            Problem::new(format!("{fault}: the value of {written} has characters that a header cannot have"))
                .hint("write printable ASCII on one line")
        })?;
        headers.append(written, value);
    }
    Ok(headers)
}

/// Whether it is a header's name that a fault may set or take off.
pub(super) fn name(fault: &str, written: &str) -> Result<(), Problem> {
    let name: HeaderName = written.parse().map_err(|_| {
        Problem::new(format!("{fault}: {written:?} is not the name of a header"))
            .hint("names are letters, digits and dashes, such as retry-after")
    })?;
    if crate::http::hop::frames_the_message(&name) {
        return Err(Problem::new(format!("{fault}: {name} cannot be set"))
            .hint("it is made from the body; leave it out"));
    }
    Ok(())
}

/// The parameter `status`.
pub(super) fn status(given: &Injection) -> Option<StatusCode> {
    given.int("status").and_then(|n| u16::try_from(n).ok()).and_then(|n| StatusCode::from_u16(n).ok())
}

/// Says in a head which fault made it.
pub(super) fn mark(headers: &mut Headers, fault_id: &str) {
    let printable: String = fault_id.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
    headers.insert(MARK, if printable.trim().is_empty() { "?" } else { printable.trim() });
}

#[cfg(test)]
mod tests {
    use crate::armed::Settings;

    fn why(params: &str) -> String {
        let json = format!(r#"{{"target":"proxy:a","for":"1s","inject":{{"abort":{params}}}}}"#);
        let fault = serde_json::from_str(&json).unwrap();
        Settings::read(&fault, 0).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn headers_are_checked_when_a_fault_is_armed() {
        assert_eq!(why(r#"{"headers": {"retry-after": "1"}}"#), "");
        assert!(why(r#"{"headers": {"retry after": "1"}}"#).contains("not the name of a header"));
        assert!(why(r#"{"headers": {"x": "a\nb"}}"#).contains("printable"));
        assert!(why(r#"{"headers": {"content-length": "7"}}"#).contains("cannot be set"));
    }
}
