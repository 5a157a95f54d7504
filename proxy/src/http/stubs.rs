//! Answers in the service's place, as a target's `stubs` say.

use super::facts::Asked;
use super::headers::Headers;
use super::message::{Answer, RequestHead};
use super::seams::Stub;
use crate::conn::Conn;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use model::{Matcher, Problem};
use std::time::Duration;

/// All stubs of a target, in order.
pub(crate) struct Stubs {
    list: Vec<One>,
    /// There is no service behind them.
    alone: bool,
}

struct One {
    when: Option<Matcher>,
    delay: Duration,
    status: StatusCode,
    headers: Headers,
    body: Bytes,
}

impl Stubs {
    /// Of what was asked for.
    pub(crate) fn new(stubs: &[model::Stub], alone: bool) -> Result<Stubs, Problem> {
        Ok(Stubs { list: stubs.iter().map(One::new).collect::<Result<_, _>>()?, alone })
    }
}

impl One {
    fn new(stub: &model::Stub) -> Result<One, Problem> {
        if let Some(problem) = stub.problem() {
            return Err(problem);
        }
        let mut headers = Headers::new();
        for (name, value) in &stub.headers {
            let known = name.parse::<HeaderName>().map_err(|_| {
                Problem::new(format!("a stub's {name:?} is not the name of a header"))
                    .hint("names are letters, digits and dashes, such as content-type")
            })?;
            if super::hop::frames_the_message(&known) {
                return Err(Problem::new(format!("a stub cannot set {name}"))
                    .hint("it is made from the body; leave it out"));
            }
            HeaderValue::from_str(value).map_err(|_| {
                Problem::new(format!("a stub's {name} has characters that a header cannot have"))
                    .hint("write printable ASCII on one line")
            })?;
            headers.append(name, value);
        }
        Ok(One {
            when: stub.when.clone(),
            delay: stub.delay.map_or(Duration::ZERO, |d| d.0),
            status: StatusCode::from_u16(stub.status).unwrap_or(StatusCode::OK),
            headers,
            body: Bytes::from(stub.body.clone()),
        })
    }
}

impl Stub for Stubs {
    fn answer(&self, conn: &Conn, head: &RequestHead) -> Option<(Duration, Answer)> {
        let asked = Asked { conn, request: head, response: None };
        let found = self.list.iter().find(|one| one.when.as_ref().is_none_or(|when| when.matches(&asked)));
        if let Some(one) = found {
            let answer = Answer {
                status: one.status,
                headers: one.headers.clone(),
                body: one.body.clone(),
                trailers: None,
            };
            return Some((one.delay, answer));
        }
        self.alone.then(|| {
            let why = format!("no stub is for {} {}", head.method, head.path());
            let printable: String = why.chars().map(|c| if c.is_ascii_graphic() { c } else { ' ' }).collect();
            let headers = [("x-murphy-error", &*printable), ("content-type", "text/plain; charset=utf-8")];
            let answer = Answer {
                status: StatusCode::NOT_FOUND,
                headers: headers.into_iter().collect(),
                body: format!("murphy: {why}\n").into(),
                trailers: None,
            };
            (Duration::ZERO, answer)
        })
    }
}
