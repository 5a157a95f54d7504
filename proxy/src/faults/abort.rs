//! `abort`: answers requests itself.

use super::{Act, Known, Point, RequestFault};
use crate::armed::Meters;
use crate::http::headers::Headers;
use crate::http::hit::Hit;
use crate::http::message::Answer;
use crate::knob::Dials;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use model::Problem;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

/// Says which fault made an answer.
pub(crate) const MARK: &str = "x-murphy-fault";

struct Abort {
    status: StatusCode,
    headers: Headers,
    body: Bytes,
    mark: bool,
}

pub(super) fn read(dials: &Dials<'_>) -> Result<Act, Problem> {
    let given = dials.fixed();
    let status = given
        .int("status")
        .and_then(|n| u16::try_from(n).ok())
        .and_then(|n| StatusCode::from_u16(n).ok())
        .unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let mut headers = Headers::new();
    for (written, value) in given.map("headers").into_iter().flatten() {
        let name: HeaderName = written.parse().map_err(|_| {
            Problem::new(format!("abort: {written:?} is not the name of a header"))
                .hint("names are letters, digits and dashes, such as retry-after")
        })?;
        if crate::http::hop::frames_the_message(&name) {
            return Err(Problem::new(format!("abort: {name} cannot be set"))
                .hint("it is made from the body; leave it out"));
        }
        HeaderValue::from_str(value).map_err(|_| {
            Problem::new(format!("abort: the value of {name} has characters that a header cannot have"))
                .hint("write printable ASCII on one line")
        })?;
        headers.append(written, value);
    }
    let body = Bytes::from(given.text("body").unwrap_or_default().to_owned());
    Ok(Act::Request(Box::new(Abort { status, headers, body, mark: given.flag("mark") })))
}

impl RequestFault for Abort {
    fn answer(&self, point: Point, hit: &Hit, _known: &Known<'_>) -> Option<Answer> {
        if point != Point::Request {
            return None;
        }
        let mut headers = self.headers.clone();
        if self.mark {
            mark(&mut headers, &hit.fault.id);
        }
        Some(Answer { status: self.status, headers, body: self.body.clone(), trailers: None })
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        BTreeMap::from([("requests_answered", meters.applied.load(Relaxed) as f64)])
    }
}

/// Says in a head which fault made it.
pub(crate) fn mark(headers: &mut Headers, fault_id: &str) {
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
    fn headers_are_checked_when_it_is_armed() {
        assert_eq!(why(r#"{"headers": {"retry-after": "1"}}"#), "");
        assert!(why(r#"{"headers": {"retry after": "1"}}"#).contains("not the name of a header"));
        assert!(why(r#"{"headers": {"x": "a\nb"}}"#).contains("printable"));
        assert!(why(r#"{"headers": {"content-length": "7"}}"#).contains("cannot be set"));
    }
}
