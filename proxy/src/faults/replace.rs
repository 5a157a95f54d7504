//! `replace`: headers, status, method, path or the whole body become others.

use super::through::{Pass, Through};
use super::{Act, Known, RequestFault, given};
use crate::armed::Meters;
use crate::chain::Dir;
use crate::http::headers::Headers;
use crate::http::hit::Hit;
use crate::http::message::{Piece, RequestHead, ResponseHead};
use crate::http::stage::BodyStage;
use crate::http::wire::Ending;
use crate::knob::Dials;
use bytes::Bytes;
use http::{Method, StatusCode};
use model::Problem;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

struct Replace {
    dir: Dir,
    set: Headers,
    remove: Vec<String>,
    status: Option<StatusCode>,
    method: Option<Method>,
    path: Option<String>,
    body: Option<Bytes>,
}

pub(super) fn read(dials: &Dials<'_>) -> Result<Act, Problem> {
    let params = dials.fixed();
    let dir = direction(dials);
    let elsewhere: &[&str] = if dir == Dir::Up { &["status"] } else { &["method", "path"] };
    if let Some(name) = elsewhere.iter().find(|name| params.get(name).is_some()) {
        let other = if dir == Dir::Up { "response" } else { "request" };
        return Err(Problem::new(format!("replace: {name} is not of what is replaced here"))
            .hint(format!("add point={other}, or leave it out")));
    }
    let method = params.text("method").map(|text| {
        text.parse::<Method>().map_err(|_| {
            Problem::new(format!("replace: {text:?} is not a method")).hint("write for example GET or PUT")
        })
    });
    let path = params.text("path").map(str::to_owned);
    if let Some(path) =
        path.as_deref().filter(|p| !p.starts_with('/') || p.contains(|c: char| c <= ' ' || c == '\x7f'))
    {
        return Err(Problem::new(format!("replace: {path:?} is not a path"))
            .hint("paths begin with / and have no spaces: /v2/cart?full=1"));
    }
    let remove: Vec<String> = params.text("remove").map_or_else(Vec::new, |text| {
        text.split(',').map(|n| n.trim().to_owned()).filter(|n| !n.is_empty()).collect()
    });
    remove.iter().try_for_each(|name| given::name("replace", name))?;
    let replace = Replace {
        dir,
        set: given::headers(dials, "set")?,
        remove,
        status: given::status(params),
        method: method.transpose()?,
        path,
        body: params.text("body").map(|text| Bytes::from(text.to_owned())),
    };
    if replace.set.is_empty()
        && replace.remove.is_empty()
        && (&replace.status, &replace.method, &replace.path, &replace.body) == (&None, &None, &None, &None)
    {
        return Err(Problem::new("replace has nothing to replace")
            .hint("give set, remove, status, method, path or body"));
    }
    Ok(Act::Request(Box::new(replace)))
}

/// The parameter `point` as the direction of the message that is changed.
pub(super) fn direction(dials: &Dials<'_>) -> Dir {
    if dials.fixed().text("point") == Some("request") { Dir::Up } else { Dir::Down }
}

impl Replace {
    fn headers(&self, headers: &mut Headers) -> bool {
        let mut changed = false;
        for name in &self.remove {
            changed |= headers.remove(name);
        }
        for (name, value) in self.set.iter() {
            headers.insert(name, value);
            changed = true;
        }
        if self.body.is_some() {
            headers.remove("content-encoding");
        }
        changed
    }
}

impl RequestFault for Replace {
    fn request(&self, _hit: &Hit, head: &mut RequestHead) -> bool {
        if self.dir != Dir::Up {
            return false;
        }
        if let Some(method) = &self.method {
            head.method = method.clone();
        }
        if let Some(path) = &self.path {
            head.target.clone_from(path);
        }
        let changed = self.headers(&mut head.headers);
        changed || self.method.is_some() || self.path.is_some()
    }

    fn response(&self, _hit: &Hit, _request: &RequestHead, head: &mut ResponseHead) -> bool {
        if self.dir != Dir::Down {
            return false;
        }
        if let Some(status) = self.status {
            head.set_status(status);
        }
        let changed = self.headers(&mut head.headers);
        changed || self.status.is_some()
    }

    fn stage(&self, hit: &Arc<Hit>, dir: Dir, _known: &Known<'_>) -> Option<Box<dyn BodyStage>> {
        let body = self.body.clone().filter(|_| dir == self.dir)?;
        Through::stage(Other { body: Some(body), hit: hit.clone() })
    }

    fn keeps_length(&self, dir: Dir) -> bool {
        self.body.is_none() || dir != self.dir
    }

    fn acts_on_responses(&self) -> bool {
        self.dir == Dir::Down
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        BTreeMap::from([("messages_changed", meters.applied.load(Relaxed) as f64)])
    }
}

/// Gives another body as soon as the first bytes of the true one, or its end, are there.
struct Other {
    body: Option<Bytes>,
    hit: Arc<Hit>,
}

impl Pass for Other {
    fn pass(&mut self, piece: Piece, _now: Instant, out: &mut VecDeque<Piece>) -> Result<(), Ending> {
        if let Some(body) = self.body.take() {
            self.hit.apply();
            if !body.is_empty() {
                out.push_back(Piece::Data(body));
            }
        }
        if !matches!(piece, Piece::Data(_)) {
            out.push_back(piece);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::through::bench::{Exchange, data, drain};
    use super::*;
    use crate::armed::Settings;

    #[test]
    fn heads_and_bodies_become_others() {
        let mut x = Exchange::new("replace status=404 set=x-a:1,server:none remove=etag body=gone");
        x.response.headers =
            [("Server", "nginx"), ("ETag", "x"), ("Content-Encoding", "gzip")].into_iter().collect();
        let mut head = x.response.clone();
        assert!(x.with(|f, _| f.response(&x.hit, &x.request, &mut head)));
        assert_eq!(head.status, StatusCode::NOT_FOUND);
        assert_eq!(format!("{:?}", head.headers), r#"{"server": "none", "x-a": "1"}"#);
        assert!(!x.with(|f, _| f.request(&x.hit, &mut RequestHead::default()) || f.keeps_length(Dir::Down)));
        let mut stage = x.stage(Dir::Down);
        [data("what"), data("ever"), Piece::End].into_iter().for_each(|p| stage.push(p, x.start));
        assert_eq!((drain(&mut *stage, x.start).as_str(), x.applied()), ("gone.", 1.0));
    }

    #[test]
    fn requests_go_elsewhere() {
        let x = Exchange::new("replace point=request path=/v2?a=b method=PUT");
        let mut head = RequestHead { target: "/v1".into(), ..RequestHead::default() };
        assert!(x.with(|f, _| f.request(&x.hit, &mut head)));
        assert_eq!((head.method.as_str(), head.path(), head.query()), ("PUT", "/v2", Some("a=b")));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let why = |params: &str| {
            let json = format!(r#"{{"target":"proxy:a","for":"1s","inject":{{"replace":{params}}}}}"#);
            Settings::read(&serde_json::from_str(&json).unwrap(), 0)
                .err()
                .map_or(String::new(), |e| e.to_string())
        };
        assert!(why("{}").contains("nothing to replace"));
        assert!(why(r#"{"path": "/x"}"#).contains("add point=request"));
        assert!(why(r#"{"point": "request", "path": "x"}"#).contains("begin with /"));
        assert!(why(r#"{"point": "request", "method": "G T"}"#).contains("not a method"));
        assert!(why(r#"{"remove": "content-length"}"#).contains("cannot be set"));
    }
}
