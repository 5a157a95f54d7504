//! The ways in which conditions are written: JSON (and with it YAML), and what people type on a command line.

use super::{Bytes, KEYS, Matcher, Network, Numbers, Regex};
use crate::catalogue::FILE_OPERATIONS;
use crate::problem::{Problem, did_you_mean};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value as Json, json};
use std::fmt;
use std::str::FromStr;

/// Keys whose value is a map of names and patterns, with what they are made of and an example.
type Named = (&'static str, fn(String, String) -> Matcher, bool, &'static str);
const NAMED: [Named; 4] = [
    ("header", Matcher::Header, true, "{x-user: \"beta-*\"}"),
    ("response_header", Matcher::ResponseHeader, true, "{server: \"nginx*\"}"),
    ("query", Matcher::Query, false, "{page: \"1\"}"),
    ("cookie", Matcher::Cookie, false, "{session: \"beta-*\"}"),
];

impl Matcher {
    /// Reads the JSON form.
    pub fn from_json(json: &Json) -> Result<Matcher, Problem> {
        let map = json.as_object().ok_or_else(|| {
            Problem::new("a matcher must be a map").hint("write for example {method: POST, path: \"/pay*\"}")
        })?;
        let mut all = Vec::new();
        for (key, value) in map {
            all.push(Matcher::from_entry(key, value)?);
        }
        match all.len() {
            0 => Err(Problem::new("a matcher must not be empty").hint("leave it out to match everything")),
            1 => Ok(all.remove(0)),
            _ => Ok(Matcher::All(all)),
        }
    }

    /// Reads one key with its value.
    pub fn from_entry(key: &str, value: &Json) -> Result<Matcher, Problem> {
        let text = || value.as_str().ok_or_else(|| Problem::new(format!("{key} must be a text")));
        if let Some((_, make, folds, example)) = NAMED.iter().find(|(name, ..)| *name == key) {
            return named(key, value, *make, *folds, example);
        }
        Ok(match key {
            "method" => Matcher::Method(match value {
                Json::String(s) => {
                    s.split(',').map(|m| m.trim().to_uppercase()).filter(|m| !m.is_empty()).collect()
                }
                Json::Array(items) if !items.is_empty() && items.iter().all(Json::is_string) => {
                    items.iter().filter_map(Json::as_str).map(str::to_uppercase).collect()
                }
                _ => return Err(Problem::new("method must be a text or a list of texts")),
            }),
            "path" => {
                let pattern = text()?;
                if !pattern.starts_with(['/', '*', '?']) {
                    return Err(Problem::new(format!("the path {pattern:?} matches nothing"))
                        .hint(format!("paths begin with /: write \"/{pattern}\"")));
                }
                Matcher::Path(pattern.to_owned())
            }
            "path_regex" => {
                let pattern = text()?;
                let regex = regex_lite::Regex::new(pattern).map_err(|e| {
                    Problem::new(format!("{pattern:?} is not a regular expression: {e}")).hint(
                        "in a regular expression ( [ { . * + ? have a meaning: write \\( for a bracket itself",
                    )
                })?;
                Matcher::PathRegex(Regex(regex))
            }
            "host" => Matcher::Host(text()?.to_owned()),
            "content_type" => Matcher::ContentType(text()?.to_owned()),
            "body_size" => Matcher::BodySize(Bytes::parse(text()?)?),
            "grpc_service" => Matcher::GrpcService(text()?.trim_start_matches('/').to_owned()),
            "grpc_method" => Matcher::GrpcMethod(text()?.to_owned()),
            "status" => Matcher::Status(Numbers::parse(&numbers(value)?, 100, 999)?),
            "sni" => Matcher::Sni(text()?.to_owned()),
            "client" => Matcher::Client(Network::parse(text()?)?),
            "member" => Matcher::Member(text()?.to_owned()),
            "op" => Matcher::Operation(operations(value)?),
            "pid" => Matcher::Pid(Numbers::parse(&numbers(value)?, 1, u64::from(u32::MAX))?),
            "uid" => Matcher::Uid(Numbers::parse(&numbers(value)?, 0, u64::from(u32::MAX))?),
            "gid" => Matcher::Gid(Numbers::parse(&numbers(value)?, 0, u64::from(u32::MAX))?),
            "command" => Matcher::Command(text()?.to_owned()),
            "cgroup" => Matcher::Cgroup(text()?.to_owned()),
            "size" => Matcher::Size(Bytes::parse(text()?)?),
            "offset" => Matcher::Offset(Bytes::parse(text()?)?),
            "all" | "any" => {
                let list = value
                    .as_array()
                    .filter(|a| !a.is_empty())
                    .ok_or_else(|| Problem::new(format!("{key} must be a list of matchers, not empty")))?;
                let list = list.iter().map(Matcher::from_json).collect::<Result<_, _>>()?;
                if key == "all" { Matcher::All(list) } else { Matcher::Any(list) }
            }
            "not" => Matcher::Not(Box::new(Matcher::from_json(value)?)),
            _ => {
                let hint = match did_you_mean(key, KEYS) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("it can ask for {}", KEYS.join(", ")),
                };
                return Err(Problem::new(format!("a matcher has no key {key:?}")).hint(hint));
            }
        })
    }

    /// Reads one condition as it is typed: `method`, `header.x-user`, `query.page` and so on with its value.
    pub fn from_pair(key: &str, value: &str) -> Result<Matcher, Problem> {
        let is_named = |key: &str| NAMED.iter().any(|(name, ..)| *name == key);
        let (key, json) = match key.split_once('.') {
            Some((map, name)) if is_named(map) => (map, json!({name: value})),
            _ if is_named(key) || ["any", "all", "not"].contains(&key) => {
                return Err(Problem::new(format!("{key} cannot be written this way")).hint(
                    "a header is written header.NAME=PATTERN (so are query, cookie and response_header), any and not as \
                     JSON: {\"not\": {\"path\": \"/health\"}}",
                ));
            }
            _ => (key, Json::String(value.to_owned())),
        };
        Matcher::from_entry(key, &json)
    }

    /// The JSON form, which reads back the same.
    pub fn to_json(&self) -> Json {
        match self {
            Matcher::All(list) => json!({"all": list.iter().map(Matcher::to_json).collect::<Vec<_>>()}),
            Matcher::Any(list) => json!({"any": list.iter().map(Matcher::to_json).collect::<Vec<_>>()}),
            Matcher::Not(inner) => json!({"not": inner.to_json()}),
            Matcher::Method(list) => json!({"method": list}),
            Matcher::Path(p) => json!({"path": p}),
            Matcher::PathRegex(r) => json!({"path_regex": r.0.as_str()}),
            Matcher::Host(h) => json!({"host": h}),
            Matcher::Header(n, p) => json!({"header": {n: p}}),
            Matcher::Query(n, p) => json!({"query": {n: p}}),
            Matcher::Cookie(n, p) => json!({"cookie": {n: p}}),
            Matcher::ContentType(p) => json!({"content_type": p}),
            Matcher::BodySize(b) => json!({"body_size": b.to_string()}),
            Matcher::GrpcService(p) => json!({"grpc_service": p}),
            Matcher::GrpcMethod(p) => json!({"grpc_method": p}),
            Matcher::Status(n) => json!({"status": n.to_string()}),
            Matcher::ResponseHeader(n, p) => json!({"response_header": {n: p}}),
            Matcher::Sni(p) => json!({"sni": p}),
            Matcher::Client(n) => json!({"client": n.to_string()}),
            Matcher::Member(m) => json!({"member": m}),
            Matcher::Operation(list) => json!({"op": list}),
            Matcher::Pid(n) => json!({"pid": n.to_string()}),
            Matcher::Uid(n) => json!({"uid": n.to_string()}),
            Matcher::Gid(n) => json!({"gid": n.to_string()}),
            Matcher::Command(p) => json!({"command": p}),
            Matcher::Cgroup(p) => json!({"cgroup": p}),
            Matcher::Size(b) => json!({"size": b.to_string()}),
            Matcher::Offset(b) => json!({"offset": b.to_string()}),
        }
    }
}

/// Words of operations on files: a text with commas, or a list.
fn operations(value: &Json) -> Result<Vec<String>, Problem> {
    let known = &FILE_OPERATIONS[1..];
    let words: Vec<&str> = match value {
        Json::String(text) => text.split(',').map(str::trim).collect(),
        Json::Array(items) => items.iter().map(|i| i.as_str().unwrap_or_default()).collect(),
        _ => vec![""],
    };
    for word in &words {
        if !known.contains(word) {
            let hint = match did_you_mean(word, known.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("there are {}", known.join(", ")),
            };
            return Err(Problem::new(format!("{word:?} is no operation on files")).hint(hint));
        }
    }
    Ok(words.into_iter().map(str::to_owned).collect())
}

fn named(
    key: &str,
    value: &Json,
    make: fn(String, String) -> Matcher,
    folds: bool,
    example: &str,
) -> Result<Matcher, Problem> {
    let map = value.as_object().filter(|m| !m.is_empty()).ok_or_else(|| {
        Problem::new(format!("{key} must be a map of names and patterns"))
            .hint(format!("write {{{key}: {example}}}"))
    })?;
    let mut all = Vec::new();
    for (name, pattern) in map {
        let pattern = match pattern {
            Json::String(text) => text.clone(),
            Json::Number(n) => n.to_string(),
            _ => return Err(Problem::new(format!("the pattern for {key} {name} must be a text"))),
        };
        all.push(make(if folds { name.to_lowercase() } else { name.clone() }, pattern));
    }
    Ok(if all.len() == 1 { all.remove(0) } else { Matcher::All(all) })
}

/// A number, a text or a list of both as one text.
fn numbers(value: &Json) -> Result<String, Problem> {
    match value {
        Json::Number(n) => Ok(n.to_string()),
        Json::String(s) => Ok(s.clone()),
        Json::Array(items) if !items.is_empty() => {
            Ok(items.iter().map(numbers).collect::<Result<Vec<_>, _>>()?.join(","))
        }
        _ => Err(Problem::new("a number must be a number, a range or a list")
            .hint("write 503, \"500-599\" or [404, 503]")),
    }
}

impl FromStr for Matcher {
    type Err = Problem;

    /// Reads what people type on a command line or in a form: `method=POST path=/pay*`, `header.x-user=beta-*`,
    /// `query.page=1`, `client=10.0.0.0/8`; several must all hold. Values with spaces stand in double quotes. Conditions
    /// with `any` and `not` are written in the JSON form, which begins with `{`.
    fn from_str(text: &str) -> Result<Matcher, Problem> {
        let text = text.trim();
        if text.starts_with('{') {
            let json = serde_json::from_str(text)
                .map_err(|e| Problem::new(format!("the matcher is not JSON: {e}")))?;
            return Matcher::from_json(&json);
        }
        let mut all = Vec::new();
        for word in words(text)? {
            let Some((key, value)) = word.split_once('=') else {
                return Err(Problem::new(format!("{word:?} is not a condition"))
                    .hint("write for example method=POST path=/pay*"));
            };
            all.push(Matcher::from_pair(key, value)?);
        }
        match all.len() {
            0 => Err(Problem::new("the matcher is empty").hint("leave it out to match everything")),
            1 => Ok(all.remove(0)),
            _ => Ok(Matcher::All(all)),
        }
    }
}

/// Splits at white space, but not inside double quotes; the quotes are dropped.
fn words(text: &str) -> Result<Vec<String>, Problem> {
    let (mut out, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => {
                if !word.is_empty() {
                    out.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    if quoted {
        return Err(Problem::new("a double quote is not closed").hint("close it"));
    }
    if !word.is_empty() {
        out.push(word);
    }
    Ok(out)
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join =
            |list: &[Matcher], word: &str| list.iter().map(Matcher::to_string).collect::<Vec<_>>().join(word);
        let text = match self {
            Matcher::All(list) => join(list, " "),
            Matcher::Any(list) => format!("({})", join(list, " or ")),
            Matcher::Not(inner) => format!("not {inner}"),
            Matcher::Method(list) => list.join(","),
            Matcher::Path(p) => p.clone(),
            Matcher::PathRegex(r) => format!("~{}", r.0.as_str()),
            Matcher::Host(h) => format!("host {h}"),
            Matcher::Header(n, p) => format!("{n}: {p}"),
            Matcher::Query(n, p) => format!("?{n}={p}"),
            Matcher::Cookie(n, p) => format!("cookie {n}={p}"),
            Matcher::ContentType(p) => format!("type {p}"),
            Matcher::BodySize(b) => format!("body {b}"),
            Matcher::GrpcService(p) => format!("grpc service {p}"),
            Matcher::GrpcMethod(p) => format!("grpc method {p}"),
            Matcher::Status(n) => format!("answered {n}"),
            Matcher::ResponseHeader(n, p) => format!("answered {n}: {p}"),
            Matcher::Sni(p) => format!("sni {p}"),
            Matcher::Client(n) => format!("from {n}"),
            Matcher::Member(m) => format!("to {m}"),
            Matcher::Operation(list) => list.join(","),
            Matcher::Pid(n) => format!("pid {n}"),
            Matcher::Uid(n) => format!("uid {n}"),
            Matcher::Gid(n) => format!("gid {n}"),
            Matcher::Command(p) => format!("by {p}"),
            Matcher::Cgroup(p) => format!("in {p}"),
            Matcher::Size(b) => format!("size {b}"),
            Matcher::Offset(b) => format!("at {b}"),
        };
        f.pad(&text)
    }
}

impl Serialize for Matcher {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(s)
    }
}

impl<'de> Deserialize<'de> for Matcher {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Matcher::from_json(&Json::deserialize(d)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_typed() {
        let typed = |text: &str| text.parse::<Matcher>().map(|m| m.to_json()).map_err(|p| p.to_string());
        assert_eq!(
            typed("method=post,put path=/pay*").unwrap(),
            json!({"all": [{"method": ["POST", "PUT"]}, {"path": "/pay*"}]})
        );
        assert_eq!(typed(r#"header.X-User="a b""#).unwrap(), json!({"header": {"x-user": "a b"}}));
        assert_eq!(typed("query.Page=1").unwrap(), json!({"query": {"Page": "1"}}));
        assert_eq!(typed("status=500-599,404").unwrap(), json!({"status": "500-599,404"}));
        assert_eq!(typed(r#"body_size=">= 1MiB""#).unwrap(), json!({"body_size": ">= 1MiB"}));
        assert_eq!(typed(r#"{"not": {"path": "/a"}}"#).unwrap(), json!({"not": {"path": "/a"}}));
        assert!(typed("pth=/a").unwrap_err().contains("did you mean path?"));
        assert!(typed("POST").unwrap_err().contains("write for example method=POST"));
        assert!(typed("not=x").unwrap_err().contains("JSON"));
        assert!(typed("header=x").unwrap_err().contains("header.NAME=PATTERN"));
        assert!(typed("path=\"/a").unwrap_err().contains("not closed"));
        assert!(typed(" ").unwrap_err().contains("empty"));
    }

    #[test]
    fn refusals_teach() {
        let why = |j: Json| Matcher::from_json(&j).unwrap_err().to_string();
        assert_eq!(why(json!({"methd": "GET"})), r#"a matcher has no key "methd"; did you mean method?"#);
        assert!(why(json!({"path": "pay"})).contains("write \"/pay\""));
        assert!(why(json!({"path_regex": "("})).contains("not a regular expression"));
        assert!(why(json!({"client": "10.0.0.0/40"})).contains("neither an address nor a network"));
        assert!(why(json!({"query": "page=1"})).contains("write {query: {page: \"1\"}}"));
        assert!(why(json!({"status": "5xx"})).contains("write for example 503"));
        assert!(why(json!({"body_size": "big"})).contains(">= 1MiB"));
        assert!(why(json!({})).contains("must not be empty"));
    }
}
