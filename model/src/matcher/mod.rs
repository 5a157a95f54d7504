//! Which requests or connections a fault is for.
//!
//! [`Facts`] is what a thing can be asked, [`Matcher`] a condition on it; [`read`] has the ways in which people write
//! conditions, [`pattern`] and [`bounds`] what texts and numbers can be compared with.

mod bounds;
mod network;
mod pattern;
mod read;
pub mod schema;

pub use bounds::{Bytes, Numbers};
pub use network::Network;
pub use pattern::{Regex, glob, glob_ignoring_case};

use crate::catalogue::Layer;
use std::borrow::Cow;
use std::net::IpAddr;

/// What a matcher asks about: each answer is none when the thing has no such property.
pub trait Facts {
    /// The client's address.
    fn client(&self) -> Option<IpAddr> {
        None
    }
    /// Which of several services the client got.
    fn member(&self) -> Option<&str> {
        None
    }
    /// The server's name that a client of TLS asked for.
    fn sni(&self) -> Option<&str> {
        None
    }
    /// The request method.
    fn method(&self) -> Option<&str> {
        None
    }
    /// The path without the query.
    fn path(&self) -> Option<&str> {
        None
    }
    /// What stands behind the path's question mark.
    fn query(&self) -> Option<&str> {
        None
    }
    /// The host that was asked for, without its port.
    fn host(&self) -> Option<&str> {
        None
    }
    /// The value of a request's header, by its lower-case name.
    fn header(&self, _name: &str) -> Option<&str> {
        None
    }
    /// The bytes of a request's body, when its head says how many.
    fn body_size(&self) -> Option<u64> {
        None
    }
    /// The response's status.
    fn status(&self) -> Option<u16> {
        None
    }
    /// The value of a response's header, by its lower-case name.
    fn response_header(&self, _name: &str) -> Option<&str> {
        None
    }
    /// The operation on a file.
    fn operation(&self) -> Option<&str> {
        None
    }
    /// The process that calls.
    fn pid(&self) -> Option<u64> {
        None
    }
    /// Its user.
    fn uid(&self) -> Option<u64> {
        None
    }
    /// Its group.
    fn gid(&self) -> Option<u64> {
        None
    }
    /// Its command, as in `ps -o comm`.
    fn command(&self) -> Option<&str> {
        None
    }
    /// Its control group.
    fn cgroup(&self) -> Option<&str> {
        None
    }
    /// How many bytes of a file are read or written.
    fn size(&self) -> Option<u64> {
        None
    }
    /// From where on in the file.
    fn offset(&self) -> Option<u64> {
        None
    }
}

/// A condition on a request or a connection. In files and JSON one map; several keys must all hold.
#[derive(Debug, Clone)]
pub enum Matcher {
    /// Every one holds.
    All(Vec<Matcher>),
    /// At least one holds.
    Any(Vec<Matcher>),
    /// It does not hold.
    Not(Box<Matcher>),
    /// The method, one of these.
    Method(Vec<String>),
    /// The path, by glob: `*` is any text, also across `/`; `?` is one character.
    Path(String),
    /// The path, by regular expression, anywhere unless anchored.
    PathRegex(Regex),
    /// The host, by glob.
    Host(String),
    /// A header is there, and its value fits the glob.
    Header(String, String),
    /// A parameter of the query is there, and its decoded value fits the glob.
    Query(String, String),
    /// A cookie is there, and its value fits the glob.
    Cookie(String, String),
    /// The media type of the request's body, without its parameters, by glob.
    ContentType(String),
    /// The size of the request's body, as its head states it. A body without a stated size does not match.
    BodySize(Bytes),
    /// The service of a gRPC call with its package, by glob: `shop.v1.Cart`.
    GrpcService(String),
    /// The method of a gRPC call, by glob.
    GrpcMethod(String),
    /// The response's status, one of these.
    Status(Numbers),
    /// A header of the response is there, and its value fits the glob.
    ResponseHeader(String, String),
    /// The server's name that a client of TLS asked for, by glob.
    Sni(String),
    /// The client's address, in this network.
    Client(Network),
    /// The service that the client got, of several, by glob of its address.
    Member(String),
    /// The operation on a file, one of these.
    Operation(Vec<String>),
    /// The process that calls, one of these.
    Pid(Numbers),
    /// The user that calls, one of these.
    Uid(Numbers),
    /// The group that calls, one of these.
    Gid(Numbers),
    /// The command that calls, as in `ps -o comm`, by glob.
    Command(String),
    /// The control group that calls, by glob.
    Cgroup(String),
    /// How many bytes of a file are read or written.
    Size(Bytes),
    /// From where on in the file.
    Offset(Bytes),
}

/// The keys a matcher can have.
pub const KEYS: [&str; 27] = [
    "method",
    "path",
    "path_regex",
    "host",
    "header",
    "query",
    "cookie",
    "content_type",
    "body_size",
    "grpc_service",
    "grpc_method",
    "status",
    "response_header",
    "sni",
    "client",
    "member",
    "op",
    "pid",
    "uid",
    "gid",
    "command",
    "cgroup",
    "size",
    "offset",
    "all",
    "any",
    "not",
];

/// Who can answer a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Asks {
    Connection,
    Request,
    Response,
    File,
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.to_json() == other.to_json()
    }
}

impl Matcher {
    /// Whether it holds.
    pub fn matches(&self, facts: &dyn Facts) -> bool {
        let fits = |pattern: &str, text: Option<&str>| text.is_some_and(|t| glob(pattern, t));
        match self {
            Matcher::All(list) => list.iter().all(|m| m.matches(facts)),
            Matcher::Any(list) => list.iter().any(|m| m.matches(facts)),
            Matcher::Not(inner) => !inner.matches(facts),
            Matcher::Method(list) => {
                facts.method().is_some_and(|m| list.iter().any(|want| want.eq_ignore_ascii_case(m)))
            }
            Matcher::Path(pattern) => fits(pattern, facts.path()),
            Matcher::PathRegex(regex) => facts.path().is_some_and(|p| regex.0.is_match(p)),
            Matcher::Host(pattern) => facts.host().is_some_and(|h| glob_ignoring_case(pattern, h)),
            Matcher::Header(name, pattern) => fits(pattern, facts.header(name)),
            Matcher::Query(name, pattern) => facts.query().is_some_and(|q| in_query(q, name, pattern)),
            Matcher::Cookie(name, pattern) => {
                facts.header("cookie").is_some_and(|c| in_cookies(c, name, pattern))
            }
            Matcher::ContentType(pattern) => {
                facts.header("content-type").is_some_and(|v| glob_ignoring_case(pattern, media_type(v)))
            }
            Matcher::BodySize(bytes) => facts.body_size().is_some_and(|n| bytes.contains(n)),
            Matcher::GrpcService(pattern) => fits(pattern, grpc(facts).map(|(service, _)| service)),
            Matcher::GrpcMethod(pattern) => fits(pattern, grpc(facts).map(|(_, method)| method)),
            Matcher::Status(numbers) => facts.status().is_some_and(|s| numbers.contains(s.into())),
            Matcher::ResponseHeader(name, pattern) => fits(pattern, facts.response_header(name)),
            Matcher::Sni(pattern) => facts.sni().is_some_and(|n| glob_ignoring_case(pattern, n)),
            Matcher::Client(network) => facts.client().is_some_and(|ip| network.contains(ip)),
            Matcher::Member(pattern) => fits(pattern, facts.member()),
            Matcher::Operation(list) => {
                facts.operation().is_some_and(|op| list.iter().any(|want| want == op))
            }
            Matcher::Pid(numbers) => facts.pid().is_some_and(|n| numbers.contains(n)),
            Matcher::Uid(numbers) => facts.uid().is_some_and(|n| numbers.contains(n)),
            Matcher::Gid(numbers) => facts.gid().is_some_and(|n| numbers.contains(n)),
            Matcher::Command(pattern) => fits(pattern, facts.command()),
            Matcher::Cgroup(pattern) => fits(pattern, facts.cgroup()),
            Matcher::Size(bytes) => facts.size().is_some_and(|n| bytes.contains(n)),
            Matcher::Offset(bytes) => facts.offset().is_some_and(|n| bytes.contains(n)),
        }
    }

    /// The first key in it that nothing of that layer can answer.
    pub fn unfit_for(&self, layer: Layer) -> Option<&'static str> {
        if layer == Layer::Files {
            // A path is a request's or a file's.
            let paths = ["path", "path_regex"];
            return self.first_key(&|word, asks| asks != Asks::File && !paths.contains(&word));
        }
        let most = if layer == Layer::Requests { Asks::Response } else { Asks::Connection };
        self.first_that(&|asks| asks > most)
    }

    /// The first key in it that only a response can answer.
    pub fn needs_response(&self) -> Option<&'static str> {
        self.first_that(&|asks| asks == Asks::Response)
    }

    /// The first key in it that asks for a request's headers.
    pub fn needs_headers(&self) -> Option<&'static str> {
        match self {
            Matcher::All(list) | Matcher::Any(list) => list.iter().find_map(Matcher::needs_headers),
            Matcher::Not(inner) => inner.needs_headers(),
            Matcher::Header(..)
            | Matcher::Cookie(..)
            | Matcher::ContentType(_)
            | Matcher::GrpcService(_)
            | Matcher::GrpcMethod(_)
            | Matcher::BodySize(_) => self.key().map(|(word, _)| word),
            _ => None,
        }
    }

    /// Whether it asks for the server's name that clients of TLS asked for.
    pub fn asks_for_sni(&self) -> bool {
        match self {
            Matcher::All(list) | Matcher::Any(list) => list.iter().any(Matcher::asks_for_sni),
            Matcher::Not(inner) => inner.asks_for_sni(),
            other => matches!(other, Matcher::Sni(_)),
        }
    }

    fn first_that(&self, wanted: &dyn Fn(Asks) -> bool) -> Option<&'static str> {
        self.first_key(&|_, asks| wanted(asks))
    }

    fn first_key(&self, wanted: &dyn Fn(&str, Asks) -> bool) -> Option<&'static str> {
        match self {
            Matcher::All(list) | Matcher::Any(list) => list.iter().find_map(|m| m.first_key(wanted)),
            Matcher::Not(inner) => inner.first_key(wanted),
            _ => self.key().filter(|(word, asks)| wanted(word, *asks)).map(|(word, _)| word),
        }
    }

    /// A single condition's key, and who can answer it.
    fn key(&self) -> Option<(&'static str, Asks)> {
        Some(match self {
            Matcher::All(_) | Matcher::Any(_) | Matcher::Not(_) => return None,
            Matcher::Client(_) => ("client", Asks::Connection),
            Matcher::Member(_) => ("member", Asks::Connection),
            Matcher::Sni(_) => ("sni", Asks::Connection),
            Matcher::Method(_) => ("method", Asks::Request),
            Matcher::Path(_) => ("path", Asks::Request),
            Matcher::PathRegex(_) => ("path_regex", Asks::Request),
            Matcher::Host(_) => ("host", Asks::Request),
            Matcher::Header(..) => ("header", Asks::Request),
            Matcher::Query(..) => ("query", Asks::Request),
            Matcher::Cookie(..) => ("cookie", Asks::Request),
            Matcher::ContentType(_) => ("content_type", Asks::Request),
            Matcher::BodySize(_) => ("body_size", Asks::Request),
            Matcher::GrpcService(_) => ("grpc_service", Asks::Request),
            Matcher::GrpcMethod(_) => ("grpc_method", Asks::Request),
            Matcher::Status(_) => ("status", Asks::Response),
            Matcher::ResponseHeader(..) => ("response_header", Asks::Response),
            Matcher::Operation(_) => ("op", Asks::File),
            Matcher::Pid(_) => ("pid", Asks::File),
            Matcher::Uid(_) => ("uid", Asks::File),
            Matcher::Gid(_) => ("gid", Asks::File),
            Matcher::Command(_) => ("command", Asks::File),
            Matcher::Cgroup(_) => ("cgroup", Asks::File),
            Matcher::Size(_) => ("size", Asks::File),
            Matcher::Offset(_) => ("offset", Asks::File),
        })
    }
}

/// The service and the method of a gRPC call; none when it is not one.
fn grpc(facts: &dyn Facts) -> Option<(&str, &str)> {
    facts.header("content-type").filter(|v| v.starts_with("application/grpc"))?;
    facts.path()?.strip_prefix('/')?.rsplit_once('/')
}

fn media_type(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

fn in_query(query: &str, name: &str, pattern: &str) -> bool {
    query.split('&').any(|pair| {
        let (n, v) = pair.split_once('=').unwrap_or((pair, ""));
        decoded(n) == name && glob(pattern, &decoded(v))
    })
}

fn in_cookies(cookies: &str, name: &str, pattern: &str) -> bool {
    cookies.split(';').any(|pair| {
        let (n, v) = pair.split_once('=').unwrap_or((pair, ""));
        n.trim() == name && glob(pattern, v.trim().trim_matches('"'))
    })
}

/// A part of a query with its `%41` and `+` undone; what does not decode stays.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let hex = |b: Option<&u8>| b.and_then(|b| (*b as char).to_digit(16));
    let (bytes, mut out, mut i) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while let Some(&b) = bytes.get(i) {
        i += 1;
        match (b, hex(bytes.get(i)), hex(bytes.get(i + 1))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                i += 2;
            }
            (b'+', ..) => out.push(b' '),
            _ => out.push(b),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value as Json, json};

    struct Call;
    impl Facts for Call {
        fn client(&self) -> Option<IpAddr> {
            Some(IpAddr::from([10, 1, 2, 3]))
        }
        fn method(&self) -> Option<&str> {
            Some("POST")
        }
        fn path(&self) -> Option<&str> {
            Some("/shop.v1.Cart/Add")
        }
        fn query(&self) -> Option<&str> {
            Some("q=a%20b+c&flag&n=1&n=2&bad=%zz")
        }
        fn header(&self, name: &str) -> Option<&str> {
            match name {
                "content-type" => Some("application/grpc+proto; x=y"),
                "cookie" => Some("a=1; session=\"beta-7\""),
                _ => None,
            }
        }
        fn body_size(&self) -> Option<u64> {
            Some(2048)
        }
        fn status(&self) -> Option<u16> {
            Some(503)
        }
        fn response_header(&self, name: &str) -> Option<&str> {
            (name == "server").then_some("nginx/1")
        }
        fn sni(&self) -> Option<&str> {
            Some("Shop.Example")
        }
        fn operation(&self) -> Option<&str> {
            Some("fsync")
        }
        fn uid(&self) -> Option<u64> {
            Some(70)
        }
        fn command(&self) -> Option<&str> {
            Some("postgres")
        }
        fn offset(&self) -> Option<u64> {
            Some(8192)
        }
    }

    fn holds(json: &Json) -> bool {
        let m = Matcher::from_json(json).unwrap();
        assert_eq!(Matcher::from_json(&m.to_json()).unwrap(), m, "{json}");
        m.matches(&Call)
    }

    #[test]
    fn each_key_holds_and_does_not() {
        for (yes, no) in [
            (json!({"method": "put,post"}), json!({"method": ["GET"]})),
            (json!({"path": "/shop*"}), json!({"path": "/cart"})),
            (json!({"path_regex": "Add$"}), json!({"path_regex": "^Add"})),
            (json!({"query": {"q": "a b c"}}), json!({"query": {"Q": "*"}})),
            (json!({"query": {"flag": ""}}), json!({"query": {"flag": "?*"}})),
            (json!({"query": {"n": "2", "bad": "%zz"}}), json!({"query": {"n": "3"}})),
            (json!({"cookie": {"session": "beta-*"}}), json!({"cookie": {"sess": "*"}})),
            (json!({"content_type": "application/GRPC*"}), json!({"content_type": "*json"})),
            (json!({"body_size": ">= 2KiB"}), json!({"body_size": "< 2KiB"})),
            (json!({"grpc_service": "shop.*"}), json!({"grpc_service": "Cart"})),
            (json!({"grpc_method": "Add"}), json!({"grpc_method": "Remove"})),
            (json!({"status": "500-599"}), json!({"status": [200, 404]})),
            (json!({"status": 503}), json!({"status": "200"})),
            (json!({"response_header": {"Server": "nginx*"}}), json!({"response_header": {"via": "*"}})),
            (json!({"sni": "*.example"}), json!({"sni": "example"})),
            (json!({"op": "write,fsync"}), json!({"op": ["read"]})),
            (json!({"uid": "70"}), json!({"uid": "71-80"})),
            (json!({"uid": 70}), json!({"pid": "1-4000000"})),
            (json!({"command": "post*"}), json!({"command": "redis*"})),
            (json!({"offset": ">= 8KiB"}), json!({"size": ">= 0B"})),
            (json!({"client": "10.0.0.0/8"}), json!({"client": "11.0.0.0/8"})),
            (
                json!({"any": [{"path": "/x"}, {"method": "POST"}]}),
                json!({"all": [{"path": "/x"}, {"method": "POST"}]}),
            ),
            (json!({"not": {"path": "/x"}}), json!({"not": {"method": "POST"}})),
        ] {
            assert!(holds(&yes), "{yes}");
            assert!(!holds(&no), "{no}");
        }
    }

    #[test]
    fn who_can_answer_is_known() {
        let m = Matcher::from_json(&json!({"client": "10.0.0.0/8", "not": {"status": 500}})).unwrap();
        assert_eq!(m.unfit_for(Layer::Connections), Some("status"));
        assert_eq!((m.unfit_for(Layer::Requests), m.needs_response()), (None, Some("status")));
        let m = Matcher::from_json(&json!({"sni": "a", "member": "b"})).unwrap();
        assert_eq!((m.unfit_for(Layer::Connections), m.needs_headers()), (None, None));
        let m = Matcher::from_json(&json!({"path": "/wal/*", "uid": 7})).unwrap();
        assert_eq!((m.unfit_for(Layer::Files), m.unfit_for(Layer::Requests)), (None, Some("uid")));
        let m = Matcher::from_json(&json!({"path": "/wal/*", "method": "GET"})).unwrap();
        assert_eq!(m.unfit_for(Layer::Files), Some("method"));
        let m = Matcher::from_json(&json!({"cookie": {"a": "b"}})).unwrap();
        assert_eq!(m.needs_headers(), Some("cookie"));
    }
}
