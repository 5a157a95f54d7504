//! Which requests or connections a fault is for.

use crate::problem::{Problem, did_you_mean};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;
use std::fmt;
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
    /// The name that the client asked for in its TLS handshake.
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
    /// The host that was asked for, without its port.
    fn host(&self) -> Option<&str> {
        None
    }
    /// The value of a header, by its lower-case name.
    fn header(&self, _name: &str) -> Option<&str> {
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
    /// The client's address, in this network.
    Client(Network),
    /// The service that the client got, of several, by glob of its address.
    Member(String),
    /// The name that the client asked for in its TLS handshake, by glob.
    Sni(String),
}

/// A regular expression that remembers how it was written.
#[derive(Debug, Clone)]
pub struct Regex(regex_lite::Regex);

/// A network in CIDR notation; a bare address is itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// The keys a matcher can have.
pub const KEYS: [&str; 11] =
    ["method", "path", "path_regex", "host", "header", "client", "member", "sni", "all", "any", "not"];

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.to_json() == other.to_json()
    }
}

impl Matcher {
    /// Whether it holds.
    pub fn matches(&self, facts: &dyn Facts) -> bool {
        match self {
            Matcher::All(list) => list.iter().all(|m| m.matches(facts)),
            Matcher::Any(list) => list.iter().any(|m| m.matches(facts)),
            Matcher::Not(inner) => !inner.matches(facts),
            Matcher::Method(list) => {
                facts.method().is_some_and(|m| list.iter().any(|want| want.eq_ignore_ascii_case(m)))
            }
            Matcher::Path(pattern) => facts.path().is_some_and(|p| glob(pattern, p)),
            Matcher::PathRegex(regex) => facts.path().is_some_and(|p| regex.0.is_match(p)),
            Matcher::Host(pattern) => {
                facts.host().is_some_and(|h| glob(&pattern.to_lowercase(), &h.to_lowercase()))
            }
            Matcher::Header(name, pattern) => facts.header(name).is_some_and(|v| glob(pattern, v)),
            Matcher::Client(network) => facts.client().is_some_and(|ip| network.contains(ip)),
            Matcher::Member(pattern) => facts.member().is_some_and(|m| glob(pattern, m)),
            Matcher::Sni(pattern) => {
                facts.sni().is_some_and(|s| glob(&pattern.to_lowercase(), &s.to_lowercase()))
            }
        }
    }

    /// The first key in it that only a request can answer.
    pub fn needs_requests(&self) -> Option<&'static str> {
        match self {
            Matcher::All(list) | Matcher::Any(list) => list.iter().find_map(Matcher::needs_requests),
            Matcher::Not(inner) => inner.needs_requests(),
            Matcher::Method(_) => Some("method"),
            Matcher::Path(_) => Some("path"),
            Matcher::PathRegex(_) => Some("path_regex"),
            Matcher::Host(_) => Some("host"),
            Matcher::Header(..) => Some("header"),
            Matcher::Client(_) | Matcher::Member(_) | Matcher::Sni(_) => None,
        }
    }

    /// Whether it asks for the name in a TLS handshake.
    pub fn asks_for_sni(&self) -> bool {
        match self {
            Matcher::All(list) | Matcher::Any(list) => list.iter().any(Matcher::asks_for_sni),
            Matcher::Not(inner) => inner.asks_for_sni(),
            Matcher::Sni(_) => true,
            _ => false,
        }
    }

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
                let regex = regex_lite::Regex::new(pattern)
                    .map_err(|e| Problem::new(format!("{pattern:?} is not a regular expression: {e}")).hint("in a regular expression ( [ { . * + ? have a meaning: write \\( for a bracket itself"))?;
                Matcher::PathRegex(Regex(regex))
            }
            "host" => Matcher::Host(text()?.to_owned()),
            "header" => {
                let map = value.as_object().filter(|m| !m.is_empty()).ok_or_else(|| {
                    Problem::new("header must be a map of names and patterns")
                        .hint("write {header: {x-user: \"beta-*\"}}")
                })?;
                let mut all = Vec::new();
                for (name, pattern) in map {
                    let pattern = pattern.as_str().ok_or_else(|| {
                        Problem::new(format!("the pattern for header {name} must be a text"))
                    })?;
                    all.push(Matcher::Header(name.to_lowercase(), pattern.to_owned()));
                }
                if all.len() == 1 { all.remove(0) } else { Matcher::All(all) }
            }
            "client" => Matcher::Client(Network::parse(text()?)?),
            "member" => Matcher::Member(text()?.to_owned()),
            "sni" => Matcher::Sni(text()?.to_owned()),
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

    /// The JSON form, which reads back the same.
    pub fn to_json(&self) -> Json {
        use serde_json::json;
        match self {
            Matcher::All(list) => json!({"all": list.iter().map(Matcher::to_json).collect::<Vec<_>>()}),
            Matcher::Any(list) => json!({"any": list.iter().map(Matcher::to_json).collect::<Vec<_>>()}),
            Matcher::Not(inner) => json!({"not": inner.to_json()}),
            Matcher::Method(list) => json!({"method": list}),
            Matcher::Path(p) => json!({"path": p}),
            Matcher::PathRegex(r) => json!({"path_regex": r.0.as_str()}),
            Matcher::Host(h) => json!({"host": h}),
            Matcher::Header(n, p) => json!({"header": {n: p}}),
            Matcher::Client(n) => json!({"client": n.to_string()}),
            Matcher::Member(m) => json!({"member": m}),
            Matcher::Sni(s) => json!({"sni": s}),
        }
    }
}

impl std::str::FromStr for Matcher {
    type Err = Problem;

    /// Reads what people type on a command line or in a form: `method=POST path=/pay*`, `header.x-user=beta-*`,
    /// `client=10.0.0.0/8`; several must all hold. Values with spaces stand in double quotes. Conditions with `any` and
    /// `not` are written in the JSON form, which begins with `{`.
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
            let (key, json) = match (key, key.strip_prefix("header.")) {
                (_, Some(name)) => ("header", serde_json::json!({name: value})),
                ("any" | "all" | "not" | "header", _) => {
                    return Err(Problem::new(format!("{key} cannot be written this way")).hint(
                        "a header is written header.NAME=PATTERN, any and not as JSON: {\"not\": {\"path\": \"/health\"}}",
                    ));
                }
                _ => (key, Json::String(value.to_owned())),
            };
            all.push(Matcher::from_entry(key, &json)?);
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
            Matcher::Client(n) => format!("from {n}"),
            Matcher::Member(m) => format!("to {m}"),
            Matcher::Sni(s) => format!("sni {s}"),
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

impl Network {
    /// Reads `10.0.0.0/8`, `::1` or `127.0.0.1`.
    pub fn parse(text: &str) -> Result<Network, Problem> {
        let error = || {
            Problem::new(format!("{text:?} is neither an address nor a network"))
                .hint("write for example 10.0.0.0/8 or 127.0.0.1")
        };
        let (address, bits) = match text.split_once('/') {
            Some((a, b)) => (a, Some(b.parse::<u8>().map_err(|_| error())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let full = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(full);
        if bits > full { Err(error()) } else { Ok(Network { address, bits }) }
    }

    /// Whether the address lies in it. IPv4 addresses written as IPv6 count as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        fn wide(ip: IpAddr) -> (u128, u8) {
            match ip.to_canonical() {
                IpAddr::V4(v) => (u128::from(v.to_bits()) << 96, 4),
                IpAddr::V6(v) => (v.to_bits(), 6),
            }
        }
        let ((net, family), (ip, other)) = (wide(self.address), wide(ip));
        family == other && (self.bits == 0 || (net ^ ip) >> (128 - u32::from(self.bits)) == 0)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// `*` fits any text, `?` one character, everything else itself. Linear in both lengths but for the last star.
pub fn glob(pattern: &str, text: &str) -> bool {
    let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut i, mut j, mut star) = (0, 0, None);
    while j < t.len() {
        if i < p.len() && (p[i] == '?' || (p[i] == t[j] && p[i] != '*')) {
            i += 1;
            j += 1;
        } else if i < p.len() && p[i] == '*' {
            star = Some((i, j));
            i += 1;
        } else if let Some((si, sj)) = star {
            i = si + 1;
            j = sj + 1;
            star = Some((si, j));
        } else {
            return false;
        }
    }
    p[i..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Get(&'static str);
    impl Facts for Get {
        fn method(&self) -> Option<&str> {
            Some("GET")
        }
        fn path(&self) -> Option<&str> {
            Some(self.0)
        }
        fn client(&self) -> Option<IpAddr> {
            Some(IpAddr::from([10, 1, 2, 3]))
        }
    }

    #[test]
    fn globs() {
        for (p, t, want) in [
            ("/pay*", "/pay/7", true),
            ("/pay*", "/cart", false),
            ("*.wal", "a.wal", true),
            ("a?c", "abc", true),
            ("a*b*c", "aXbYbc", true),
            ("", "", true),
            ("*", "", true),
        ] {
            assert_eq!(glob(p, t), want, "{p} {t}");
        }
    }

    #[test]
    fn conditions_combine_and_read_back() {
        let m =
            Matcher::from_json(&json!({"method": "get", "not": {"path": "/health"}, "client": "10.0.0.0/8"}))
                .unwrap();
        assert!(m.matches(&Get("/pay")));
        assert!(!m.matches(&Get("/health")));
        assert_eq!(Matcher::from_json(&m.to_json()).unwrap(), m);
        assert_eq!(m.needs_requests(), Some("method"));
    }

    #[test]
    fn as_typed() {
        let typed = |text: &str| text.parse::<Matcher>().map(|m| m.to_json()).map_err(|p| p.to_string());
        assert_eq!(
            typed("method=post,put path=/pay*").unwrap(),
            json!({"all": [{"method": ["POST", "PUT"]}, {"path": "/pay*"}]})
        );
        assert_eq!(typed(r#"header.X-User="a b""#).unwrap(), json!({"header": {"x-user": "a b"}}));
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
        assert!(why(json!({})).contains("must not be empty"));
    }
}
