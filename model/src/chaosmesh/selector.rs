//! Whom: a selector, a mode and its value, as containers.

use super::tree::{list, map, number, plain, text};
use super::{is_empty, percent};
use crate::yaml::{Data, Fields, Node, Reader};

/// Keys that every `spec` may have.
pub(super) const KEYS: [&str; 6] = ["selector", "mode", "value", "duration", "scheduler", "containerNames"];

/// What a selector can say, and why murphy cannot follow the rest of it.
const UNKNOWN: [(&str, &str); 7] = [
    ("annotationSelectors", "containers have no annotations"),
    ("expressionSelectors", "murphy compares labels with what they are, and no more"),
    ("fieldSelectors", "they are about objects of Kubernetes"),
    ("nodeSelectors", "there is one machine: this one"),
    ("nodes", "there is one machine: this one"),
    ("podPhaseSelectors", "containers that do not run are never meant"),
    ("physicalMachines", "run murphy there, with target node: self"),
];

/// The keys of `spec`: those of all, and those of one kind.
pub(super) fn fields<'n>(r: &Reader, spec: &'n Node, own: &[&str]) -> Option<Fields<'n>> {
    let mut known = KEYS.to_vec();
    known.extend(own);
    let fields = r.fields(spec, "spec", &known)?;
    super::without(
        r,
        &fields,
        "containerNames",
        "containers stand alone here, not in pods",
        "select the container by a label of its own",
    )?;
    Some(fields)
}

/// How many of those that fit.
enum Mode {
    All,
    One,
    Count(Node),
    Percent(Node),
}

/// Containers, any number of them: the value of a target's key `container`.
pub(super) fn containers(r: &Reader, f: &Fields<'_>) -> Option<Node> {
    let mut keys = labels(r, f)?;
    let place = f.place;
    keys.push((
        "pick",
        match mode(r, f)? {
            Mode::All => plain(place, "all"),
            Mode::One => map(place, vec![("count", number(place, 1))]),
            Mode::Count(n) => map(place, vec![("count", n)]),
            Mode::Percent(n) => map(place, vec![("percent", n)]),
        },
    ));
    Some(map(place, keys))
}

/// One container or all of them: what a proxy or a filesystem can stand in front of. Whether there is one is seen later.
pub(super) fn one_or_all(r: &Reader, f: &Fields<'_>) -> Option<(Vec<(&'static str, Node)>, bool)> {
    let keys = labels(r, f)?;
    match mode(r, f)? {
        Mode::All => Some((keys, true)),
        Mode::One => Some((keys, false)),
        Mode::Count(n) | Mode::Percent(n) => r.refuse(
            n.place,
            "spec.mode: here it is one container or all of them",
            "write mode: all, or mode: one where there is one",
        ),
    }
}

fn mode(r: &Reader, f: &Fields<'_>) -> Option<Mode> {
    let node = r.need(f, "spec", "mode", "one")?;
    let value = |example: &str| r.need(f, "spec", "value", example);
    Some(match r.text(node, "mode")?.as_str() {
        "all" => Mode::All,
        "one" => Mode::One,
        "fixed" => {
            let n = value("\"2\"")?;
            Mode::Count(plain(n.place, r.text(n, "value")?))
        }
        "fixed-percent" => Mode::Percent(percent(r, value("\"50\"")?, "value")?),
        "random-max-percent" => {
            return r.refuse(
                node.place,
                "spec.mode: random-max-percent hits another share each time, and murphy says before whom it hits",
                "write fixed-percent",
            );
        }
        other => {
            return r.refuse(
                node.place,
                format!("spec.mode: {other:?} is none"),
                "it is one, all, fixed or fixed-percent",
            );
        }
    })
}

/// The labels that all of them have.
fn labels(r: &Reader, f: &Fields<'_>) -> Option<Vec<(&'static str, Node)>> {
    let empty = "an empty selector is everything that runs here";
    let hint = "write selector: {labelSelectors: {app: payments}}";
    let Some(selector) = f.get("selector") else {
        return r.refuse(f.place, format!("spec.selector is missing: {empty}"), hint);
    };
    let mut known = vec!["namespaces", "labelSelectors", "pods"];
    known.extend(UNKNOWN.iter().map(|(key, _)| *key));
    let s = r.fields(selector, "spec.selector", &known)?;
    for (key, why) in UNKNOWN {
        if s.get(key).is_some_and(|node| !is_empty(node)) {
            return r.refuse(
                s.place_of(key),
                format!("spec.selector.{key}: {why}"),
                "select by labelSelectors",
            );
        }
    }
    if let Some(pods) = s.get("pods").filter(|node| !is_empty(node)) {
        return pod(r, pods, s.has("labelSelectors"));
    }
    // Containers have no namespaces: that one is named is no choice among them.
    let Some(labels) = s.get("labelSelectors").filter(|node| !is_empty(node)) else {
        return r.refuse(selector.place, format!("spec.selector has no labels: {empty}"), hint);
    };
    let mut words = Vec::new();
    for (key, value) in r.entries(labels, "labelSelectors") {
        words.push(format!("{}={}", key.text, r.text(value, &key.text)?));
    }
    Some(vec![("label", text(labels.place, words.join(","))), ("or_service", plain(labels.place, "true"))])
}

/// Pods by name: a container of that name.
fn pod(r: &Reader, pods: &Node, labels: bool) -> Option<Vec<(&'static str, Node)>> {
    let mut names = Vec::new();
    for (namespace, list) in r.entries(pods, "pods") {
        let Data::List(items) = &list.data else {
            return r.refuse(
                list.place,
                format!("pods of {} must be a list", namespace.text),
                "write [name]",
            );
        };
        names.extend(items);
    }
    match names[..] {
        [name] if !labels => Some(vec![("name", text(name.place, r.text(name, "a pod's name")?))]),
        _ => r.refuse(
            pods.place,
            "spec.selector.pods: it names one container, and nothing beside it",
            "select several by a label that they share",
        ),
    }
}

/// A list of words, joined.
pub(super) fn joined(r: &Reader, node: &Node, what: &str) -> Option<Node> {
    let words: Option<Vec<String>> = r.items(node, what).iter().map(|item| r.text(item, what)).collect();
    Some(text(node.place, words?.join(",")))
}

/// A list of words, each as `word` has it.
pub(super) fn each(r: &Reader, node: &Node, what: &str, word: impl Fn(&str) -> String) -> Option<Node> {
    let words: Option<Vec<Node>> =
        r.items(node, what).iter().map(|item| Some(plain(item.place, word(&r.text(item, what)?)))).collect();
    Some(list(node.place, words?))
}
