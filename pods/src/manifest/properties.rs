//! Whatever a manifest looks like: doing it twice is doing it once, and taking it out gives back what was there.

use super::tree::{Node, parse};
use super::*;
use proptest::prelude::*;
use std::fmt::Write;

/// How a text is written.
#[derive(Debug, Clone)]
struct Hand {
    /// Spaces a level, and before dashes.
    step: usize,
    dash: usize,
    /// Spaces after a dash.
    gap: usize,
    comments: bool,
    crlf: bool,
    /// Ends without a line end.
    open: bool,
    /// Brackets for what is small.
    brackets: bool,
}

fn hand() -> impl Strategy<Value = Hand> {
    let sizes = (2_usize..5, 0_usize..3, 1_usize..3);
    (sizes, any::<[bool; 4]>()).prop_map(|((step, dash, gap), [comments, crlf, open, brackets])| Hand {
        step,
        dash: dash.min(step - 1),
        gap,
        comments,
        crlf,
        open,
        brackets,
    })
}

impl Hand {
    fn write(&self, value: &Value) -> String {
        let mut out = String::new();
        self.map(value.as_object().unwrap(), 0, &mut out);
        let out = if self.open { out.trim_end().to_owned() } else { out };
        if self.crlf { out.replace('\n', "\r\n") } else { out }
    }

    fn map(&self, map: &serde_json::Map<String, Value>, indent: usize, out: &mut String) {
        for (n, (key, value)) in map.iter().enumerate() {
            if self.comments && (n + indent).is_multiple_of(3) {
                let _ = writeln!(out, "{}# about {key}", " ".repeat(indent));
            }
            let _ = write!(out, "{}{key}:", " ".repeat(indent));
            self.value(value, indent, out);
        }
    }

    fn value(&self, value: &Value, indent: usize, out: &mut String) {
        let comment = if self.comments && indent.is_multiple_of(2) { "  # here" } else { "" };
        let small = self.brackets && value.to_string().len() < 40;
        match value {
            Value::Object(map) if !map.is_empty() && !small => {
                out.push('\n');
                self.map(map, indent + self.step, out);
            }
            Value::Array(items) if !items.is_empty() && !small => {
                out.push_str(comment);
                out.push('\n');
                for item in items {
                    let at = indent + self.dash;
                    let inner = at + 1 + self.gap;
                    let mut text = String::new();
                    match item {
                        Value::Object(map) if !map.is_empty() => self.bare().map(map, inner, &mut text),
                        other => {
                            let _ = writeln!(text, "{}{other}", " ".repeat(inner));
                        }
                    }
                    let _ = write!(out, "{}-{}{}", " ".repeat(at), " ".repeat(self.gap), &text[inner..]);
                }
            }
            Value::Null if !self.brackets => {
                let _ = writeln!(out, "{comment}");
            }
            other => {
                let _ = writeln!(out, " {other}{comment}");
            }
        }
    }

    /// The first line of an item follows its dash, so that no comment may stand before it.
    fn bare(&self) -> Hand {
        Hand { comments: false, ..self.clone() }
    }
}

/// Nothing, or one of the ways to write nothing, or something.
fn maybe(value: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Option<Value>> {
    let empty = prop_oneof![Just(serde_json::json!([])), Just(serde_json::json!({})), Just(Value::Null)];
    prop_oneof![2 => Just(None), 1 => empty.prop_map(Some), 3 => value.prop_map(Some)]
}

fn container() -> impl Strategy<Value = Value> {
    let probe = prop_oneof![
        Just(serde_json::json!({"httpGet": {"path": "/", "port": "p"}})),
        Just(serde_json::json!({"tcpSocket": {"port": 8080}, "periodSeconds": 3})),
        Just(serde_json::json!({"exec": {"command": ["true"]}})),
    ];
    ("[a-z]{3,6}", any::<bool>(), prop::option::of(probe)).prop_map(|(image, first, probe)| {
        let mut map = serde_json::Map::new();
        let ports = serde_json::json!([{"containerPort": 8080, "name": "p"}]);
        if first {
            map.insert("ports".into(), ports.clone());
        }
        map.insert("image".into(), Value::from(image));
        map.entry("ports").or_insert(ports);
        if let Some(probe) = probe {
            map.insert("livenessProbe".into(), probe);
        }
        Value::Object(map)
    })
}

fn named(items: Vec<Value>, prefix: &str) -> Value {
    let each = items.into_iter().enumerate().map(|(n, mut item)| {
        item["name"] = Value::from(format!("{prefix}{n}"));
        item
    });
    Value::Array(each.collect())
}

/// A list where a list belongs: `{}` and maps would be something else.
fn as_list(value: Option<Value>) -> Option<Value> {
    value.filter(|v| !v.is_object())
}

fn workload() -> impl Strategy<Value = Value> {
    let containers = prop::collection::vec(container(), 1..3);
    let more = prop::collection::vec(Just(serde_json::json!({"image": "i", "args": ["a b", "#c"]})), 1..3);
    let volumes = prop::collection::vec(Just(serde_json::json!({"emptyDir": {}})), 1..3);
    let annotations = prop::collection::btree_map("[a-z]{1,5}(/[a-z]{1,4})?", "[ -~é]{0,12}", 1..3);
    let annotations =
        annotations.prop_map(|m| Value::Object(m.into_iter().map(|(k, v)| (k, v.into())).collect()));
    let parts = (
        containers,
        maybe(more.prop_map(|c| named(c, "i"))),
        maybe(volumes.prop_map(|v| named(v, "v"))),
        maybe(annotations),
        prop::option::of(Just(serde_json::json!({"app": "x"}))),
        0_usize..6,
    );
    parts.prop_map(|(containers, init, volumes, annotations, labels, kind)| {
        let mut spec = serde_json::Map::new();
        spec.insert("containers".into(), named(containers, "c"));
        for (key, value) in [("initContainers", as_list(init)), ("volumes", as_list(volumes))] {
            if let Some(value) = value {
                spec.insert(key.into(), value);
            }
        }
        let mut metadata = serde_json::Map::new();
        for (key, value) in [("annotations", annotations.filter(|a| !a.is_array())), ("labels", labels)] {
            if let Some(value) = value {
                metadata.insert(key.into(), value);
            }
        }
        let pod = match metadata.is_empty() {
            true => serde_json::json!({"spec": spec}),
            false => serde_json::json!({"metadata": metadata, "spec": spec}),
        };
        let job = || serde_json::json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"template": pod}});
        match kind {
            0 => {
                let mut whole = pod;
                whole["apiVersion"] = "v1".into();
                whole["kind"] = "Pod".into();
                whole["metadata"]["name"] = "p".into();
                whole
            }
            1 => serde_json::json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "s"}, "spec": {"template": pod}}),
            2 => serde_json::json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c"}, "spec": {"jobTemplate": {"spec": {"template": pod}}}}),
            3 => serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [job(), {"apiVersion": "v1", "kind": "Secret"}, job()]}),
            4 => job(),
            _ => serde_json::json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d", "annotations": {}}, "spec": {"template": pod}}),
        }
    })
}

fn value_of(text: &str) -> Value {
    parse(text).unwrap().as_ref().map_or(Value::Null, Node::to_value)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn twice_is_once_and_back_is_before(value in workload(), hand in hand(), before in any::<bool>(), native in any::<bool>()) {
        let beside = if native { Beside::Native } else { Beside::Container };
        let defaults = Defaults { all: true, beside, ..Defaults::default() };
        let mut source = hand.write(&value);
        prop_assert_eq!(&value_of(&source), &value, "{}", source);
        if before {
            source.insert_str(0, "# first\na: [1, 2] # kept\n---\n");
        }
        let once = inject(&source, &defaults);
        prop_assert!(once.notes.iter().any(|n| matches!(n.what, Outcome::Injected(_))), "{:?}\n{}", once.notes, source);
        prop_assert_eq!(&inject(&once.text, &defaults).text, &once.text, "{}", source);
        let back = uninject(&once.text).text;
        let rewritten = once.notes.iter().any(|n| matches!(n.what, Outcome::Rewritten(_)));
        if rewritten {
            prop_assert!(hand.brackets, "{}", source);
            let last = |text: &str| value_of(documents(text).last().unwrap());
            prop_assert_eq!(last(&back), last(&source), "{}", once.text);
        } else {
            prop_assert_eq!(&back, &source, "{}", once.text);
        }
        // What the webhook does to the same object is the same.
        let (object, _) = inject_object(&value, &defaults);
        let object = object.unwrap();
        let injected = value_of(documents(&once.text).last().unwrap());
        prop_assert_eq!(without_status(object.clone()), without_status(injected));
        let again = inject_object(&object, &defaults).0.unwrap();
        prop_assert_eq!(again, object);
    }

    #[test]
    fn no_text_is_too_odd(text in "(---|[ -~\\n\\t:\\[\\]{}&*!|>'\"#é]|kind: Pod\\n|apiVersion: v1\\n|spec:\\n|  containers:\\n|  - name: x\\n){0,40}") {
        let defaults = Defaults { all: true, ..Defaults::default() };
        let once = inject(&text, &defaults);
        if !once.notes.iter().any(|n| matches!(n.what, Outcome::Injected(_) | Outcome::Removed)) {
            prop_assert_eq!(once.text, text);
        }
    }
}

/// The record of what was before says how it was written, which an object does not know.
fn without_status(mut value: Value) -> Value {
    match &mut value {
        Value::Object(map) => {
            map.remove(STATUS);
            map.values_mut().for_each(|v| *v = without_status(v.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|v| *v = without_status(v.take())),
        _ => {}
    }
    value
}
