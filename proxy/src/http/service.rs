//! One request's way: through the faults that take it, to the service, and back.

use super::Pool;
use super::body::Body;
use super::hit::Hit;
use super::message::{Answer, RequestHead};
use crate::conn::Conn;
use crate::faults::{Known, Point};
use crate::metrics::Outcome;
use crate::target::Target;
use crate::timers::Timers;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::service::Service;
use model::matcher::Facts;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Says why the service gave no answer.
const ERROR: &str = "x-murphy-error";

/// What stands at the front of one client's connection.
pub(super) struct Front(Arc<Context>);

struct Context {
    target: Arc<Target>,
    conn: Arc<Conn>,
    pool: Arc<Pool>,
}

impl Front {
    pub(super) fn new(target: Arc<Target>, conn: Arc<Conn>, pool: Arc<Pool>) -> Front {
        Front(Arc::new(Context { target, conn, pool }))
    }
}

impl Service<Request<Incoming>> for Front {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let context = self.0.clone();
        Box::pin(async move { Ok(context.handle(request).await) })
    }
}

impl Context {
    async fn handle(&self, request: Request<Incoming>) -> Response<Body> {
        let late = self.conn.heads().up_delay();
        let now = Instant::now();
        let mut under_way = UnderWay::new(&self.conn, now.checked_sub(late).unwrap_or(now), late);
        let faults = self.target.request_faults();
        let mut hits = Vec::new();
        let asked = Asked::of(&request, &self.conn);
        for fault in faults.iter() {
            hits.extend(Hit::take(fault, &WithHeaders(&asked, request.headers()), now));
        }

        let mut answer = None;
        for hit in &hits {
            under_way.hold(hit, Point::Request, self.target.timers()).await;
            answer = hit.answer(Point::Request, &Known { request: &RequestHead::default(), response: None });
            if answer.is_some() {
                break;
            }
        }
        let response = match answer {
            Some(answer) => {
                swallow(request);
                into_response(answer)
            }
            None => match self.pool.send(request).await {
                Ok(response) => response,
                Err(why) => bad_gateway(&why.to_string()),
            },
        };

        let now_armed = self.target.request_faults();
        if !Arc::ptr_eq(&faults, &now_armed) {
            // Armed while this one was under way. Its headers are gone, so who asks for headers gets the next one.
            let new = now_armed.iter().filter(|f| !faults.iter().any(|known| Arc::ptr_eq(known, f)));
            for fault in new.filter(|f| f.takes_late_requests()) {
                hits.extend(Hit::take(fault, &asked, Instant::now()));
            }
            hits.sort_by_key(|hit| hit.fault.order);
        }
        for hit in &hits {
            under_way.hold(hit, Point::Response, self.target.timers()).await;
        }
        under_way.answered(response.status(), hits.iter().any(|hit| hit.was_applied()));
        response
    }
}

/// A request that has no answer yet. Dropped like this it counts as one that never got any.
struct UnderWay<'a> {
    conn: &'a Conn,
    outcome: Outcome,
    answered: bool,
}

impl<'a> UnderWay<'a> {
    fn new(conn: &'a Conn, started: Instant, added: Duration) -> UnderWay<'a> {
        UnderWay { conn, outcome: Outcome { started, added, failed: true, touched: false }, answered: false }
    }

    async fn hold(&mut self, hit: &Hit, point: Point, timers: &Timers) {
        // Set before the wait, so that a request given up while it was held counts as touched.
        let before = self.outcome.touched;
        self.outcome.touched = true;
        self.outcome.added += hit.hold(point, timers).await;
        self.outcome.touched = before || hit.was_applied();
    }

    fn answered(mut self, status: StatusCode, touched: bool) {
        let heads = self.conn.heads();
        self.outcome.failed = status.is_server_error();
        self.outcome.touched |= touched || heads.is_shaped();
        self.answered = true;
        heads.hand_over(self.outcome, Instant::now(), &self.conn.metrics);
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.outcome.touched |= self.conn.heads().is_shaped() || self.conn.killed().is_some();
            self.conn.metrics.request(&self.outcome, None);
        }
    }
}

fn bad_gateway(why: &str) -> Response<Body> {
    let printable: String = why.chars().map(|c| if c.is_ascii_graphic() { c } else { ' ' }).collect();
    let headers = [(ERROR, &*printable), ("content-type", "text/plain; charset=utf-8")].into_iter().collect();
    let body = Bytes::from(format!("murphy: {why}\n"));
    into_response(Answer { status: StatusCode::BAD_GATEWAY, headers, body, trailers: None })
}

fn into_response(answer: Answer) -> Response<Body> {
    let mut response = Response::new(Body::full(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers.to_map();
    response
}

/// Reads a body that nobody wants, so that the connection stays usable.
fn swallow(request: Request<Incoming>) {
    // Who waits for a go-ahead has sent nothing yet, and reading would give it.
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return;
    }
    let mut body = request.into_body();
    tokio::spawn(async move { while let Some(Ok(_)) = body.frame().await {} });
}

/// What matchers ask of a request but its headers; kept while it is under way, without copying.
struct Asked {
    client: Option<IpAddr>,
    member: Option<Arc<str>>,
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
}

/// The same with the headers, while they are there.
struct WithHeaders<'a>(&'a Asked, &'a HeaderMap);

impl Asked {
    fn of(request: &Request<Incoming>, conn: &Conn) -> Asked {
        Asked {
            client: conn.birth.client.map(|a| a.ip()),
            member: conn.birth.member.clone(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            host: request.headers().get(header::HOST).cloned(),
        }
    }
}

impl Facts for Asked {
    fn client(&self) -> Option<IpAddr> {
        self.client
    }
    fn member(&self) -> Option<&str> {
        self.member.as_deref()
    }
    fn method(&self) -> Option<&str> {
        Some(self.method.as_str())
    }
    fn path(&self) -> Option<&str> {
        Some(self.uri.path())
    }
    fn host(&self) -> Option<&str> {
        let named = || self.host.as_ref().and_then(|v| v.to_str().ok()).map(without_port);
        self.uri.host().or_else(named)
    }
}

impl Facts for WithHeaders<'_> {
    fn client(&self) -> Option<IpAddr> {
        self.0.client()
    }
    fn member(&self) -> Option<&str> {
        self.0.member()
    }
    fn method(&self) -> Option<&str> {
        self.0.method()
    }
    fn path(&self) -> Option<&str> {
        self.0.path()
    }
    fn host(&self) -> Option<&str> {
        self.0.host()
    }
    fn header(&self, name: &str) -> Option<&str> {
        self.1.get(name).and_then(|v| v.to_str().ok())
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}
