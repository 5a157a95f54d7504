use super::names::check_name;
use crate::experiment::{Load, LoadStage, Trust};
use crate::units::{EventRate, Span};
use crate::yaml::{Data, Fields, Node, Reader};

/// Reads `load`.
pub(in crate::experiment) fn read(r: &Reader, top: &Fields<'_>) -> Vec<Load> {
    let Some(node) = top.get("load") else { return vec![] };
    r.entries(node, "load")
        .iter()
        .filter_map(|(key, value)| check_name(r, key.place, &key.text).then(|| one(r, &key.text, value))?)
        .collect()
}

fn one(r: &Reader, name: &str, node: &Node) -> Option<Load> {
    let what = format!("load {name}");
    let f = r.fields(node, &what, &["http", "stages", "rate"])?;
    let http = r.need(&f, &what, "http", "{url: \"http://127.0.0.1:8000/\"}")?;
    let h = r.fields(http, &what, &["url", "roots", "insecure", "method", "headers", "body", "timeout"])?;
    let url_node = r.need(&h, &what, "url", "\"http://127.0.0.1:8000/\"");
    let url = url_node.and_then(|n| url(r, n));
    let method = h.get("method").map_or(Some("GET".to_owned()), |n| method(r, n));
    let headers = h.get("headers").map_or(vec![], |n| {
        r.entries(n, "headers")
            .iter()
            .filter_map(|(k, v)| Some((k.text.clone(), r.text(v, &k.text)?)))
            .collect()
    });
    let stages = match (f.get("stages"), f.get("rate")) {
        (Some(list), None) => stages(r, list, &what),
        (None, Some(n)) => {
            r.parse::<EventRate>(n, "rate").map(|rate| vec![LoadStage { lasts: None, from: rate, to: rate }])
        }
        _ => r.refuse(
            node.place,
            format!("{what} needs either rate or stages"),
            "write for example rate: 50/s",
        ),
    };
    Some(Load {
        name: name.to_owned(),
        url: url?,
        trust: trust(r, &h)?,
        method: method?,
        headers,
        body: h.get("body").and_then(|n| r.text(n, "body")),
        timeout: h.get("timeout").map_or(Some(Span::secs(10)), |n| r.parse(n, "timeout"))?,
        stages: stages?,
    })
}

/// An `http://` or `https://` address; others are refused with what to write.
pub(super) fn url(r: &Reader, node: &Node) -> Option<String> {
    let text = r.text(node, "url")?;
    match text.strip_prefix("http://").or(text.strip_prefix("https://")) {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace) => {
            Some(text)
        }
        _ => r.refuse(
            node.place,
            format!("{text:?} is not a URL"),
            "write for example http://127.0.0.1:8000/health",
        ),
    }
}

/// `roots` and `insecure`, beside an `https://` address.
pub(super) fn trust(r: &Reader, f: &Fields<'_>) -> Option<Trust> {
    let roots = match f.get("roots") {
        Some(n) => Some(r.text(n, "roots")?),
        None => None,
    };
    let insecure = match f.get("insecure") {
        Some(n) => r.boolean(n, "insecure")?,
        None => false,
    };
    let given = ["roots", "insecure"].into_iter().find(|key| f.has(key));
    let plain = f.get("url").and_then(|n| r.text(n, "url")).is_some_and(|url| url.starts_with("http://"));
    match given {
        Some(key) if plain => r.refuse(
            f.place_of(key),
            format!("{key} is about certificates, and an http:// address has none"),
            "leave it out, or write https://",
        ),
        _ if insecure && roots.is_some() => r.refuse(
            f.place_of("insecure"),
            "with insecure nothing is checked, also not against roots",
            "keep one of them",
        ),
        _ => Some(Trust { roots, insecure }),
    }
}

fn method(r: &Reader, node: &Node) -> Option<String> {
    let text = r.text(node, "method")?.to_uppercase();
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_alphabetic() || c == '-') {
        return r.refuse(node.place, format!("{text:?} is not a method"), "write for example GET or POST");
    }
    Some(text)
}

fn stages(r: &Reader, list: &Node, what: &str) -> Option<Vec<LoadStage>> {
    let mut out = Vec::new();
    for item in r.items(list, "stages") {
        let f = r.fields(item, &format!("a stage of {what}"), &["for", "rate"])?;
        let lasts = match f.get("for") {
            Some(n) => Some(r.parse::<Span>(n, "for")?),
            None => None,
        };
        let rate = r.need(&f, "a stage of load", "rate", "50/s")?;
        let (from, to) = match &rate.data {
            Data::Map(_) => {
                let m = r.fields(rate, "rate", &["from", "to", "shape"])?;
                if let Some(shape) = m.get("shape") {
                    r.choice(shape, "shape", &[("linear", ())])?;
                }
                (
                    r.parse(r.need(&m, "rate", "from", "10/s")?, "from")?,
                    r.parse(r.need(&m, "rate", "to", "100/s")?, "to")?,
                )
            }
            _ => {
                let rate: EventRate = r.parse(rate, "rate")?;
                (rate, rate)
            }
        };
        if from != to && lasts.is_none() {
            return r.refuse(item.place, "a rate that changes needs a length", "add for, such as 60s");
        }
        out.push(LoadStage { lasts, from, to });
    }
    if out.is_empty() {
        return r.refuse(list.place, format!("{what} has no stages"), "write for example rate: 50/s");
    }
    Some(out)
}
