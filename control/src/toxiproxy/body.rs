//! The bodies that clients send, read as Go would read them: what is absent or null keeps its default.

use super::json::{self, Json};
use super::refused::Refused;
use super::toxic::{Kind, goes_up};

/// A proxy as it stands in a body.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ProxyBody {
    pub name: String,
    pub listen: Option<String>,
    pub upstream: Option<String>,
    pub enabled: Option<bool>,
    pub toxics: Vec<Json>,
}

/// A toxic as it stands in a body; its attributes are read once its kind is known.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ToxicBody {
    pub name: String,
    pub kind: String,
    pub stream: String,
    pub toxicity: f32,
    pub attributes: Option<Json>,
}

/// Reads one proxy.
pub(super) fn proxy(bytes: &[u8]) -> Result<ProxyBody, Refused> {
    let json = json::first(bytes).map_err(Refused::body)?;
    read_proxy(&json, "toxiproxy.Proxy", "Proxy").map_err(Refused::body)
}

/// Reads a list of proxies; none when it is null.
pub(super) fn proxies(bytes: &[u8]) -> Result<Vec<ProxyBody>, Refused> {
    const TYPE: &str = r#"[]struct { toxiproxy.Proxy; Enabled *bool "json:\"enabled\"" }"#;
    match json::first(bytes).map_err(Refused::body)? {
        Json::Null => Ok(Vec::new()),
        Json::List(items) => items
            .iter()
            .map(|item| read_proxy(item, TYPE.trim_start_matches("[]"), ""))
            .collect::<Result<_, _>>()
            .map_err(Refused::body),
        other => Err(Refused::body(format!(
            "json: cannot unmarshal {} into Go value of type {TYPE}",
            other.word()
        ))),
    }
}

fn read_proxy(json: &Json, whole: &str, owner: &str) -> Result<ProxyBody, String> {
    let mut out = ProxyBody::default();
    for (key, value) in fields(json, whole)? {
        let field = |name: &str| format!("{owner}.{name}");
        match key {
            _ if *value == Json::Null => {}
            _ if key.eq_ignore_ascii_case("name") => out.name = text(value, &field("name"))?,
            _ if key.eq_ignore_ascii_case("listen") => out.listen = Some(text(value, &field("listen"))?),
            _ if key.eq_ignore_ascii_case("upstream") => {
                out.upstream = Some(text(value, &field("upstream"))?)
            }
            _ if key.eq_ignore_ascii_case("enabled") => out.enabled = Some(flag(value, &field("enabled"))?),
            _ if key.eq_ignore_ascii_case("toxics") => {
                // Anything else than a list was never looked at by anyone.
                if let Json::List(items) = value {
                    out.toxics.clone_from(items);
                }
            }
            _ => {}
        }
    }
    Ok(out)
}

/// Reads one toxic.
pub(super) fn toxic(bytes: &[u8]) -> Result<ToxicBody, Refused> {
    json::first(bytes).and_then(|json| read_toxic(&json)).map_err(Refused::body)
}

/// Reads a toxic that stands in a larger body.
pub(super) fn read_toxic(json: &Json) -> Result<ToxicBody, String> {
    let mut out = ToxicBody {
        name: String::new(),
        kind: String::new(),
        stream: String::new(),
        toxicity: 1.0,
        attributes: None,
    };
    let (mut stream, mut direction) = (None, None);
    for (key, value) in fields(json, "toxics.ToxicWrapper")? {
        match key {
            _ if *value == Json::Null => {}
            _ if key.eq_ignore_ascii_case("name") => out.name = text(value, "ToxicWrapper.name")?,
            _ if key.eq_ignore_ascii_case("type") => out.kind = text(value, "ToxicWrapper.type")?,
            _ if key.eq_ignore_ascii_case("stream") => stream = Some(text(value, "ToxicWrapper.stream")?),
            // noxious-client's word for it. Toxiproxy does not know it, and makes every toxic of that client go down.
            "direction" => direction = Some(value),
            _ if key.eq_ignore_ascii_case("toxicity") => {
                out.toxicity = float(value, "ToxicWrapper.toxicity")?
            }
            _ if key.eq_ignore_ascii_case("attributes") => {
                if !matches!(value, Json::Object(_)) {
                    return Err(mismatch(value.word(), "ToxicWrapper.attributes", "toxics.NoopToxic"));
                }
                out.attributes = Some(value.clone());
            }
            _ => {}
        }
    }
    let word = direction.and_then(|value| text(value, "").ok()).filter(|word| goes_up(word).is_some());
    out.stream = stream.or(word).unwrap_or_else(|| "downstream".to_owned());
    Ok(out)
}

/// Reads a change to a toxic: its new attributes and toxicity, whole or not at all.
pub(super) fn change(
    bytes: &[u8],
    kind: &Kind,
    values: &mut [i64],
    toxicity: &mut f32,
) -> Result<(), Refused> {
    let json = json::first(bytes).map_err(Refused::body)?;
    let (mut new, mut share) = (values.to_vec(), *toxicity);
    let whole =
        r#"struct { Attributes interface {} "json:\"attributes\""; Toxicity float32 "json:\"toxicity\"" }"#;
    for (key, value) in fields(&json, whole).map_err(Refused::body)? {
        match key {
            _ if *value == Json::Null => {}
            _ if key.eq_ignore_ascii_case("attributes") => {
                attributes(value, kind, &mut new).map_err(Refused::body)?;
            }
            _ if key.eq_ignore_ascii_case("toxicity") => {
                share = float(value, ".toxicity").map_err(Refused::body)?;
            }
            _ => {}
        }
    }
    values.copy_from_slice(&new);
    *toxicity = share;
    Ok(())
}

/// Reads attributes into `values`, which stand in the order of the kind's names.
pub(super) fn attributes(json: &Json, kind: &Kind, values: &mut [i64]) -> Result<(), String> {
    let Json::Object(given) = json else {
        return Err(mismatch(json.word(), ".attributes", &format!("toxics.{}", kind.go)));
    };
    for (key, value) in given {
        let place = kind.attributes.iter().position(|name| key.eq_ignore_ascii_case(name));
        if let Some(at) = place.filter(|_| *value != Json::Null) {
            let field = format!(".attributes.{}", kind.attributes[at]);
            values[at] = match value {
                Json::Number(text) => {
                    text.parse().map_err(|_| mismatch(&format!("number {text}"), &field, "int64"))?
                }
                other => return Err(mismatch(other.word(), &field, "int64")),
            };
        }
    }
    Ok(())
}

fn fields<'a>(json: &'a Json, whole: &str) -> Result<Vec<(&'a str, &'a Json)>, String> {
    match json {
        Json::Null => Ok(Vec::new()),
        Json::Object(fields) => Ok(fields.iter().map(|(key, value)| (key.as_str(), value)).collect()),
        other => Err(format!("json: cannot unmarshal {} into Go value of type {whole}", other.word())),
    }
}

fn text(value: &Json, field: &str) -> Result<String, String> {
    match value {
        Json::Text(text) => Ok(text.clone()),
        other => Err(mismatch(other.word(), field, "string")),
    }
}

fn flag(value: &Json, field: &str) -> Result<bool, String> {
    match value {
        Json::Bool(flag) => Ok(*flag),
        other => Err(mismatch(other.word(), field, "bool")),
    }
}

fn float(value: &Json, field: &str) -> Result<f32, String> {
    match value {
        Json::Number(text) => text
            .parse::<f32>()
            .ok()
            .filter(|n| n.is_finite())
            .ok_or_else(|| mismatch(&format!("number {text}"), field, "float32")),
        other => Err(mismatch(other.word(), field, "float32")),
    }
}

fn mismatch(value: &str, field: &str, kind: &str) -> String {
    format!("json: cannot unmarshal {value} into Go struct field {field} of type {kind}")
}
