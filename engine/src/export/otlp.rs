//! How spans are written (OTLP in JSON, as version 1 of the protocol has it), and where they are sent (HTTP, `/v1/traces`).

use super::spans::{Place, Span};
use crate::run::http::{Failure, Origin, Pool, request};
use bytes::Bytes;
use model::experiment::Trust;
use serde_json::{Value, json};
use std::path::Path;

/// The status of a span that failed.
const ERROR: u8 = 2;
/// A span of something inside a program, neither call nor answer.
const INTERNAL: u8 = 1;

/// Where spans go.
#[derive(Debug)]
pub struct Collector {
    url: String,
    origin: Origin,
    headers: Vec<(String, String)>,
    resource: Value,
    pool: Pool,
}

/// Why spans were not taken.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// They did not get there.
    #[error(transparent)]
    Unsent(#[from] Failure),
    /// They did, and were refused.
    #[error("it answered {0}: {1}")]
    Refused(u16, String),
}

impl SendError {
    /// Whether sending the same again is of use.
    pub fn is_passing(&self) -> bool {
        match self {
            SendError::Unsent(_) => true,
            SendError::Refused(status, _) => matches!(status, 429 | 502 | 503 | 504),
        }
    }
}

impl Collector {
    /// Spans are posted to `url`. Addresses without a path get `/v1/traces`, the usual one.
    ///
    /// # Errors
    /// When the address is none, or TLS has nothing to check certificates with.
    pub fn new(url: &str, headers: Vec<(String, String)>, service: &str) -> Result<Collector, Failure> {
        let mut origin = Origin::parse(url, &Trust::default(), Path::new("."))?;
        if origin.path == "/" {
            "/v1/traces".clone_into(&mut origin.path);
        }
        let names = rustix::system::uname();
        let host = names.nodename().to_string_lossy();
        let resource = json!({"attributes": [
            attribute("service.name", &json!(service)),
            attribute("service.version", &json!(env!("CARGO_PKG_VERSION"))),
            attribute("host.name", &json!(host)),
            attribute("process.pid", &json!(std::process::id())),
        ]});
        // So that a header that cannot be sent is known now.
        request(&origin, "POST", &headers, Bytes::new())
            .map_err(|e| Failure::Request("a header".into(), e))?;
        Ok(Collector { url: url.to_owned(), origin, headers, resource, pool: Pool::default() })
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends spans.
    ///
    /// # Errors
    /// When they did not get there, or were refused.
    pub async fn send(&self, spans: &[Span]) -> Result<(), SendError> {
        let body = self.body(spans).to_string();
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        headers.extend(self.headers.iter().cloned());
        let ask = request(&self.origin, "POST", &headers, body.into())
            .map_err(|e| Failure::Request("a header".into(), e))?;
        match self.pool.send(&self.origin, ask).await? {
            (200..=299, _) => Ok(()),
            (status, answer) => {
                let text: String = String::from_utf8_lossy(&answer).chars().take(200).collect();
                Err(SendError::Refused(status, text.trim().to_owned()))
            }
        }
    }

    fn body(&self, spans: &[Span]) -> Value {
        let spans: Vec<Value> = spans.iter().map(written).collect();
        let scope = json!({"name": "murphy", "version": env!("CARGO_PKG_VERSION")});
        json!({"resourceSpans": [{"resource": self.resource, "scopeSpans": [{"scope": scope, "spans": spans}]}]})
    }
}

fn written(span: &Span) -> Value {
    let mut value = json!({
        "traceId": trace(span.place),
        "spanId": number(span.place.span),
        "name": span.name,
        "kind": INTERNAL,
        // 64 bits are text in JSON.
        "startTimeUnixNano": span.begin.to_string(),
        "endTimeUnixNano": span.end.to_string(),
        "attributes": span.attributes.iter().map(|(key, value)| attribute(key, value)).collect::<Vec<_>>(),
    });
    if let Some(parent) = span.parent {
        value["parentSpanId"] = json!(number(parent));
    }
    if let Some(link) = span.link {
        value["links"] = json!([{"traceId": trace(link), "spanId": number(link.span)}]);
    }
    if let Some(why) = &span.failed {
        value["status"] = json!({"code": ERROR, "message": why});
    }
    value
}

fn trace(place: Place) -> String {
    format!("{:032x}", place.trace)
}

fn number(span: u64) -> String {
    format!("{span:016x}")
}

fn attribute(key: &str, value: &Value) -> Value {
    let typed = match value {
        Value::Bool(b) => json!({"boolValue": b}),
        Value::Number(n) if n.is_f64() => json!({"doubleValue": n}),
        Value::Number(n) => json!({"intValue": n.to_string()}),
        Value::String(text) => json!({"stringValue": text}),
        other => json!({"stringValue": other.to_string()}),
    };
    json!({"key": key, "value": typed})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::spans::Spans;

    #[test]
    fn numbers_are_as_long_as_they_must_be_and_64_bits_are_text() {
        let collector = Collector::new("http://127.0.0.1:4318", vec![], "murphy").unwrap();
        let mut spans = Spans::new(0);
        spans.event(
            &serde_json::from_value(json!({
                "seq": 1, "at_ms": 5, "mono_ms": 0.0, "event": "armed", "id": "A", "by": "eve",
                "fault": {"target": "proxy:web", "inject": {"abort": {}}},
            }))
            .unwrap(),
        );
        spans.end_all(7);
        let body = collector.body(&spans.take());
        let span = &body["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["traceId"].as_str().unwrap().len(), 32);
        assert_eq!(span["spanId"].as_str().unwrap().len(), 16);
        assert_eq!(
            (&span["startTimeUnixNano"], &span["endTimeUnixNano"]),
            (&json!("5000000"), &json!("7000000"))
        );
        assert_eq!(attribute("n", &json!(3))["value"], json!({"intValue": "3"}));
        assert_eq!(attribute("n", &json!(0.5))["value"], json!({"doubleValue": 0.5}));
    }

    #[test]
    fn addresses_get_the_usual_path_and_wrong_ones_are_refused() {
        let path = |url| Collector::new(url, vec![], "murphy").map(|c| c.origin.path);
        assert_eq!(path("http://collector:4318").unwrap(), "/v1/traces");
        assert_eq!(path("http://collector:4318/otel/v1/traces").unwrap(), "/otel/v1/traces");
        assert!(path("collector:4318").is_err());
        let header = |name: &str| Collector::new("http://c", vec![(name.into(), "x".into())], "murphy");
        assert!(header("authorization").is_ok() && header("not a name").is_err());
    }
}
