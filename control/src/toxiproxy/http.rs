//! Requests in, answers out: routes, status codes and headers as clients know them.

use super::book::Book;
use super::refused::Refused;
use super::{Options, VERSION, metrics};
use crate::caller::Caller;
use crate::service::Audit;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use model::percent::{decode, encode};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a call may take. None does; it is for a machine that hangs.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(25);

/// The largest body: a populate of tens of thousands of proxies.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

const JSON: &str = "application/json";
const PLAIN: &str = "text/plain; charset=utf-8";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-toxiproxy-request-id");
const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

/// What a path and a method ask for.
#[derive(Debug, PartialEq)]
enum Call {
    Version,
    Metrics,
    Reset,
    Populate,
    Index,
    Create,
    Show(String),
    Update(String),
    Delete(String),
    Toxics(String),
    Add(String),
    Toxic(String, String),
    Edit(String, String),
    Remove(String, String),
}

/// What comes of looking for a route.
#[derive(Debug, PartialEq)]
enum Found {
    Call(Call),
    /// There is such a path, and it takes other methods.
    Method,
    Nothing,
}

/// Answers one request.
pub(super) async fn answer(
    book: &Arc<Book>,
    options: &Options,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let Some(path) = decode(head.uri.path()) else {
        return respond(400, Some(PLAIN), "400 Bad Request".into());
    };
    if let Some(clean) = cleaned(&path) {
        let query = head.uri.query().map(|q| format!("?{q}")).unwrap_or_default();
        let mut response = respond(301, None, String::new());
        if let Ok(value) = HeaderValue::from_str(&(encode(&clean) + &query)) {
            response.headers_mut().insert(LOCATION, value);
        }
        return response;
    }
    let call = match route(&head.method, &path, options) {
        Found::Nothing => return sniffless(respond(404, Some(PLAIN), "404 page not found\n".into())),
        Found::Method => return respond(405, None, String::new()),
        Found::Call(call) => call,
    };
    let browser = head.headers.get(USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/"));
    let mut response = if browser {
        sniffless(respond(403, Some(PLAIN), "User agent not allowed\n".into()))
    } else {
        let by = Caller::inside(format!("toxiproxy client {peer}"));
        match read(body).await {
            Err(refused) => refuse(&refused),
            Ok(bytes) => {
                let changes = head.method != Method::GET && call != Call::Metrics;
                let (work, caller, wants) = (book.clone(), by.clone(), options.clone());
                // To its end also when the client does not wait for it.
                let work = tokio::spawn(async move { carry_out(&work, &wants, call, &bytes, &caller).await });
                let response = match tokio::time::timeout(HANDLER_TIMEOUT, work).await {
                    Ok(Ok(response)) => response,
                    Ok(Err(e)) => refuse(&Refused::failed(format!("the call broke off: {e}"))),
                    Err(_) => refuse(&Refused {
                        status: 503,
                        text: "the call took more than 25s; it goes on".into(),
                    }),
                };
                if changes {
                    let status = response.status();
                    let action = format!("toxiproxy {}", head.method);
                    let error = (!status.is_success()).then(|| status.to_string());
                    book.agent.audit(Audit {
                        caller: by,
                        action,
                        what: path,
                        status: status.as_u16(),
                        error,
                    });
                }
                response
            }
        }
    };
    if let Ok(value) = HeaderValue::from_str(&request_id()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

fn route(method: &Method, path: &str, options: &Options) -> Found {
    let parts: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Found::Nothing;
    }
    let own = |text: &str| text.to_owned();
    let (get, post, change, delete) = (
        method == Method::GET,
        method == Method::POST,
        method == Method::POST || method == Method::PATCH,
        method == Method::DELETE,
    );
    let call = match parts[..] {
        ["version"] => get.then_some(Call::Version),
        ["metrics"] if options.proxy_metrics || options.runtime_metrics => Some(Call::Metrics),
        ["reset"] => post.then_some(Call::Reset),
        ["populate"] => post.then_some(Call::Populate),
        ["proxies"] if get => Some(Call::Index),
        ["proxies"] => post.then_some(Call::Create),
        ["proxies", name] if get => Some(Call::Show(own(name))),
        ["proxies", name] if change => Some(Call::Update(own(name))),
        ["proxies", name] => delete.then(|| Call::Delete(own(name))),
        ["proxies", name, "toxics"] if get => Some(Call::Toxics(own(name))),
        ["proxies", name, "toxics"] => post.then(|| Call::Add(own(name))),
        ["proxies", name, "toxics", toxic] if get => Some(Call::Toxic(own(name), own(toxic))),
        ["proxies", name, "toxics", toxic] if change => Some(Call::Edit(own(name), own(toxic))),
        ["proxies", name, "toxics", toxic] => delete.then(|| Call::Remove(own(name), own(toxic))),
        _ => return Found::Nothing,
    };
    call.map_or(Found::Method, Found::Call)
}

async fn carry_out(
    book: &Book,
    options: &Options,
    call: Call,
    bytes: &[u8],
    by: &Caller,
) -> Response<Full<Bytes>> {
    let json = |status: u16, outcome: Result<String, Refused>| match outcome {
        Ok(text) => respond(status, Some(JSON), text),
        Err(refused) => refuse(&refused),
    };
    let empty = |outcome: Result<(), Refused>| match outcome {
        Ok(()) => respond(204, None, String::new()),
        Err(refused) => refuse(&refused),
    };
    match call {
        Call::Version => {
            let text = format!("{{\"version\": \"{VERSION}\"}}\n");
            respond(200, Some("application/json;charset=utf-8"), text)
        }
        Call::Metrics => match metrics::page(book, options.proxy_metrics, options.runtime_metrics).await {
            Ok(text) => respond(200, Some("text/plain; version=0.0.4; charset=utf-8"), text),
            Err(refused) => refuse(&refused),
        },
        Call::Index => json(200, book.index().await),
        Call::Create => json(201, book.create(bytes, by).await),
        Call::Show(name) => json(200, book.show(&name).await),
        Call::Update(name) => json(200, book.update(&name, bytes, by).await),
        Call::Delete(name) => empty(book.delete(&name, by).await),
        Call::Reset => empty(book.reset(by).await),
        Call::Populate => {
            let (done, refused) = book.populate(bytes, by).await;
            let proxies = if done.is_empty() { "null".to_owned() } else { format!("[{}]", done.join(",")) };
            match refused {
                None => respond(201, Some(JSON), format!(r#"{{"proxies":{proxies}}}"#)),
                Some(refused) => {
                    let text = format!(r#"{{{},"proxies":{proxies}}}"#, refused.fields());
                    respond(refused.status, Some(JSON), text)
                }
            }
        }
        Call::Toxics(name) => json(200, book.toxics(&name).await),
        Call::Add(name) => json(200, book.add(&name, bytes, by).await),
        Call::Toxic(name, toxic) => json(200, book.toxic(&name, &toxic).await),
        Call::Edit(name, toxic) => json(200, book.edit(&name, &toxic, bytes, by).await),
        Call::Remove(name, toxic) => empty(book.remove(&name, &toxic, by).await),
    }
}

/// The path without empty parts and dots, when it has any; the end stays as it is.
fn cleaned(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut clean = format!("/{}", parts.join("/"));
    if path.ends_with('/') && clean != "/" {
        clean.push('/');
    }
    (clean != path).then_some(clean)
}

/// Reads a body of a bounded size in a bounded time.
async fn read(mut body: Incoming) -> Result<Bytes, Refused> {
    let all = async {
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Refused::body("unexpected EOF"))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > BODY_LIMIT {
                return Err(Refused { status: 413, text: "bad request body: larger than 16 MiB".into() });
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes.freeze())
    };
    tokio::time::timeout(BODY_TIMEOUT, all).await.unwrap_or_else(|_| Err(Refused::body("i/o timeout")))
}

fn refuse(refused: &Refused) -> Response<Full<Bytes>> {
    sniffless(respond(refused.status, Some(PLAIN), format!("{{{}}}\n", refused.fields())))
}

fn sniffless(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    response.headers_mut().insert(NOSNIFF, HeaderValue::from_static("nosniff"));
    response
}

fn respond(status: u16, media: Option<&'static str>, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(media) = media {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    }
    response
}

/// Twelve bytes in twenty letters: seconds, process, and a number that grows.
fn request_id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const LETTERS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // 100 bits: four of nothing, then 32 of each.
    let all =
        (u128::from(seconds as u32) << 64) | (u128::from(std::process::id()) << 32) | u128::from(number);
    (0..20).rev().map(|place| char::from(LETTERS[(all >> (place * 5)) as usize & 31])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        for (path, clean) in [
            ("//proxies", Some("/proxies")),
            ("/proxies//x/", Some("/proxies/x/")),
            ("/a/../proxies", Some("/proxies")),
            ("/../..", Some("/")),
            ("/proxies/", None),
            ("/proxies/x", None),
            ("/", None),
        ] {
            assert_eq!(cleaned(path).as_deref(), clean, "{path}");
        }
    }

    #[test]
    fn routes() {
        let options = Options::default();
        let find = |method: Method, path: &str| route(&method, path, &options);
        assert_eq!(find(Method::GET, "/proxies/"), Found::Nothing);
        assert_eq!(find(Method::GET, "/metrics"), Found::Nothing);
        assert_eq!(find(Method::HEAD, "/proxies"), Found::Method);
        assert_eq!(find(Method::PUT, "/proxies/a"), Found::Method);
        assert_eq!(find(Method::GET, "/proxies/a/b"), Found::Nothing);
        assert_eq!(
            find(Method::PATCH, "/proxies/a/toxics/b"),
            Found::Call(Call::Edit("a".into(), "b".into()))
        );
    }

    #[test]
    fn request_ids_are_their_own() {
        let (a, b) = (request_id(), request_id());
        assert_eq!((a.len(), b.len()), (20, 20));
        assert_ne!(a, b);
    }
}
