//! Reading bodies and queries with bounds, and writing answers.

use crate::routes::Route;
use crate::wire::{Code, Failure};
use bytes::{Bytes, BytesMut};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use model::percent::decode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

/// The largest body.
pub(super) const BODY_LIMIT: usize = 1024 * 1024;

/// How much of a body that is too large is still read.
const THROWN_LIMIT: usize = 16 * BODY_LIMIT;

/// How long a body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Reads a JSON body of a bounded size in a bounded time.
pub(super) async fn read<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Incoming,
    route: &Route,
) -> Result<T, Failure> {
    let schema = route.body.unwrap_or("nothing");
    let bytes = read_bytes(headers, body).await?;
    if bytes.is_empty() {
        return Err(Failure::new(Code::BadRequest, format!("{} needs a body: a {schema}", route.name))
            .hint("GET /api/v1/openapi.json describes it"));
    }
    serde_json::from_slice(&bytes).map_err(|e| {
        Failure::new(Code::BadRequest, format!("the body is not a {schema}: {e}"))
            .hint("GET /api/v1/openapi.json describes it")
    })
}

/// Reads a body that should be empty, so that one sent by mistake is refused rather than ignored.
pub(super) async fn nothing(headers: &HeaderMap, body: Incoming, route: &Route) -> Result<(), Failure> {
    let bytes = read_bytes(headers, body).await?;
    let empty = bytes.iter().all(u8::is_ascii_whitespace) || bytes.trim_ascii() == b"{}";
    if empty {
        return Ok(());
    }
    Err(Failure::new(Code::BadRequest, format!("{} takes no body", route.name)))
}

async fn read_bytes(headers: &HeaderMap, body: Incoming) -> Result<Bytes, Failure> {
    use hyper::body::Body as _;
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let json = headers.get(CONTENT_TYPE).and_then(|t| t.to_str().ok()).is_some_and(|t| {
        t.split(';').next().is_some_and(|t| t.trim().eq_ignore_ascii_case("application/json"))
    });
    if !json {
        return Err(Failure::new(Code::UnsupportedMediaType, "the body is not declared as JSON")
            .hint("send content-type: application/json"));
    }
    tokio::time::timeout(BODY_TIMEOUT, collect(body))
        .await
        .unwrap_or_else(|_| Err(Failure::new(Code::Timeout, "the body did not come within 10s")))
}

/// Reads a body to its end. One that is too large is read on for a while and thrown away: a connection that is closed
/// while the client still sends is reset, and the client never sees why.
async fn collect(mut body: Incoming) -> Result<Bytes, Failure> {
    let mut bytes = BytesMut::new();
    let mut thrown = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Failure::new(Code::BadRequest, format!("the body broke off: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if thrown > 0 || bytes.len() + data.len() > BODY_LIMIT {
            thrown += data.len();
            if thrown > THROWN_LIMIT {
                break;
            }
        } else {
            bytes.extend_from_slice(&data);
        }
    }
    if thrown > 0 {
        return Err(Failure::new(Code::TooLarge, "the body is larger than 1 MiB"));
    }
    Ok(bytes.freeze())
}

/// Reads the query; unknown names are refused.
pub(super) fn query(text: Option<&str>, route: &Route) -> Result<BTreeMap<&'static str, String>, Failure> {
    let mut out = BTreeMap::new();
    for pair in text.unwrap_or("").split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, "true"));
        let Some(known) = route.query.iter().find(|q| q.name == name) else {
            let names: Vec<&str> = route.query.iter().map(|q| q.name).collect();
            let hint = match names.as_slice() {
                [] => "it takes none".to_owned(),
                names => format!("it takes {}", names.join(", ")),
            };
            return Err(Failure::new(
                Code::BadRequest,
                format!("{} has no query parameter {name:?}", route.name),
            )
            .hint(hint));
        };
        let value = decode(&value.replace('+', " ")).ok_or_else(|| {
            Failure::new(Code::BadRequest, format!("the query parameter {name} is not encoded properly"))
        })?;
        out.insert(known.name, value);
    }
    Ok(out)
}

/// A value of the query, read.
pub(super) fn parsed<T: std::str::FromStr>(
    query: &BTreeMap<&'static str, String>,
    name: &str,
    expected: &str,
) -> Result<Option<T>, Failure> {
    let Some(text) = query.get(name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        Failure::new(Code::BadRequest, format!("the query parameter {name}={text} is not {expected}"))
    })
}

/// A JSON answer.
pub(super) fn json<T: Serialize>(status: u16, value: &T) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => respond(status, "application/json", bytes.into()),
        // The wire types have string keys and no failing serializers, so this is for completeness only.
        Err(e) => {
            let text = format!(r#"{{"error":"the answer does not serialise: {e}","code":"internal"}}"#);
            respond(500, "application/json", text.into())
        }
    }
}

/// The answer to a call that failed.
pub(super) fn failure(failure: &Failure, allow: &[&str]) -> Response<Body> {
    let mut response = json(failure.code.status(), failure);
    if let Some(value) = Some(allow.join(", ")).filter(|a| !a.is_empty())
        && let Ok(value) = HeaderValue::from_str(&value)
    {
        response.headers_mut().insert(ALLOW, value);
    }
    if failure.code == Code::Unauthorized {
        response.headers_mut().insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// An answer of any type.
pub(super) fn respond(status: u16, media: &'static str, bytes: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(bytes).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}
