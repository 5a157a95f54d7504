//! `abort`: answers requests itself.

use super::{Act, RequestFault};
use crate::armed::Meters;
use crate::http::Answer;
use crate::knob::Dials;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use model::Problem;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

/// Says which fault made an answer.
pub(crate) const MARK: HeaderName = HeaderName::from_static("x-murphy-fault");

struct Abort {
    status: StatusCode,
    headers: HeaderMap,
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
    let mut headers = HeaderMap::new();
    for (name, value) in given.map("headers").into_iter().flatten() {
        let name: HeaderName = name.parse().map_err(|_| {
            Problem::new(format!("abort: {name:?} is not the name of a header"))
                .hint("names are letters, digits and dashes, such as retry-after")
        })?;
        if crate::http::headers::frames_the_message(&name) {
            return Err(Problem::new(format!("abort: {name} cannot be set"))
                .hint("it is made from the body; leave it out"));
        }
        let value = HeaderValue::from_str(value).map_err(|_| {
            Problem::new(format!("abort: the value of {name} has characters that a header cannot have"))
                .hint("write printable ASCII on one line")
        })?;
        headers.append(name, value);
    }
    let body = Bytes::from(given.text("body").unwrap_or_default().to_owned());
    Ok(Act::Request(Box::new(Abort { status, headers, body, mark: given.flag("mark") })))
}

impl RequestFault for Abort {
    fn answer(&self, fault_id: &str) -> Option<Answer> {
        let mut headers = self.headers.clone();
        if self.mark {
            let printable: String = fault_id.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
            let id = HeaderValue::from_str(&printable).unwrap_or(HeaderValue::from_static("?"));
            headers.insert(MARK, id);
        }
        Some(Answer { status: self.status, headers, body: self.body.clone() })
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        BTreeMap::from([("requests_answered", meters.applied.load(Relaxed) as f64)])
    }
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
