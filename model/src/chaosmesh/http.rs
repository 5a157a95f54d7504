//! HTTPChaos.

use super::selector::{fields, one_or_all};
use super::tree::{map, plain, text};
use super::{Step, Steps, without};
use crate::yaml::{Data, Fields, Node, Reader};
use base64::Engine;

const KEYS: [&str; 12] = [
    "target",
    "port",
    "method",
    "path",
    "code",
    "request_headers",
    "response_headers",
    "abort",
    "delay",
    "replace",
    "patch",
    "tls",
];

/// HTTPChaos.
pub(super) fn read(r: &Reader, spec: &Node) -> Option<Steps> {
    let f = fields(r, spec, &KEYS)?;
    let (mut keys, all) = one_or_all(r, &f)?;
    without(
        r,
        &f,
        "tls",
        "it takes a Secret of the cluster",
        "name certificates in a proxy target of murphy's",
    )?;
    keys.push(("port", r.need(&f, "spec", "port", "80")?.clone()));
    if all {
        keys.push(("all", plain(spec.place, "true")));
    }
    let proxy = vec![("in_front_of", map(spec.place, keys)), ("protocol", plain(spec.place, "http"))];
    let target = map(spec.place, vec![("proxy", map(spec.place, proxy))]);
    let side = r.need(&f, "spec", "target", "Request")?;
    let point = match r.text(side, "target")?.as_str() {
        "Request" => plain(side.place, "request"),
        "Response" => plain(side.place, "response"),
        other => {
            return r.refuse(
                side.place,
                format!("spec.target: {other:?} is none"),
                "it is Request or Response",
            );
        }
    };
    let mut faults = Vec::new();
    if let Some(node) = f.get("delay") {
        faults.push(Step::new(node.place, "delay", vec![("delay", node.clone()), ("point", point.clone())]));
    }
    if let Some(node) = f.get("abort")
        && r.boolean(node, "abort")?
    {
        let how = ("how", plain(node.place, "close"));
        faults.push(Step::new(node.place, "abort", vec![how, ("point", point.clone())]));
    }
    if let Some(node) = f.get("replace") {
        faults.push(replace(r, node, &point)?);
    }
    if let Some(node) = f.get("patch") {
        faults.push(patch(r, node, &point)?);
    }
    if faults.is_empty() {
        return r.refuse(spec.place, "spec does nothing", "add abort: true, delay, replace or patch");
    }
    let when = matcher(&f);
    for step in &mut faults {
        step.beside.extend(when.clone().map(|when| ("when", when)));
    }
    Some(Steps { target, faults })
}

/// Which requests.
fn matcher(f: &Fields<'_>) -> Option<Node> {
    let mut keys: Vec<(&str, Node)> = Vec::new();
    for key in ["method", "path"] {
        keys.extend(f.get(key).map(|node| (key, node.clone())));
    }
    keys.extend(f.get("code").map(|node| ("status", node.clone())));
    for (theirs, ours) in [("request_headers", "header"), ("response_headers", "response_header")] {
        keys.extend(f.get(theirs).map(|node| (ours, node.clone())));
    }
    (!keys.is_empty()).then(|| map(f.place, keys))
}

fn replace(r: &Reader, node: &Node, point: &Node) -> Option<Step> {
    let what = "spec.replace";
    let own = r.fields(node, what, &["path", "method", "headers", "body", "queries", "code"])?;
    queries(r, &own, what)?;
    let mut parameters = vec![("point", point.clone())];
    for (theirs, ours) in [("path", "path"), ("method", "method"), ("headers", "set"), ("code", "status")] {
        parameters.extend(own.get(theirs).map(|node| (ours, node.clone())));
    }
    if let Some(body) = own.get("body") {
        let decoded = base64::engine::general_purpose::STANDARD.decode(r.text(body, "body")?.trim());
        match decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok()) {
            Some(decoded) => parameters.push(("body", text(body.place, decoded))),
            None => {
                return r.refuse(
                    body.place,
                    format!("{what}.body: it is no text in base64"),
                    "there a body is written in base64: `base64 -w0 FILE` prints it",
                );
            }
        }
    }
    Some(Step::new(node.place, "replace", parameters))
}

fn patch(r: &Reader, node: &Node, point: &Node) -> Option<Step> {
    let what = "spec.patch";
    let own = r.fields(node, what, &["headers", "body", "queries"])?;
    queries(r, &own, what)?;
    if let Some(headers) = own.get("headers") {
        return r.refuse(
            headers.place,
            format!("{what}.headers: they would be added beside those of their names"),
            "replace.headers sets them in their place",
        );
    }
    let body = r.need(&own, what, "body", "{type: JSON, value: '{\"paid\": false}'}")?;
    let inner = r.fields(body, "spec.patch.body", &["type", "value"])?;
    let kind = r.need(&inner, "spec.patch.body", "type", "JSON")?;
    if r.text(kind, "type")? != "JSON" {
        return r.refuse(kind.place, "spec.patch.body.type: it is JSON alone", "write type: JSON");
    }
    let value = r.need(&inner, "spec.patch.body", "value", "'{\"paid\": false}'")?;
    let json = match &value.data {
        Data::Scalar { .. } => r.text(value, "value")?,
        _ => value.to_json().to_string(),
    };
    Some(Step::new(node.place, "patch", vec![("point", point.clone()), ("json", text(value.place, json))]))
}

fn queries(r: &Reader, own: &Fields<'_>, what: &str) -> Option<()> {
    match own.get("queries") {
        Some(node) => r.refuse(
            node.place,
            format!("{what}.queries: single parameters are not changed"),
            "replace.path takes a whole path with its query",
        ),
        None => Some(()),
    }
}
