//! A tree as text: YAML in blocks, as Kubernetes' own tools write it, or JSON.

use super::tree::{Data, Node};
use std::fmt::Write;

/// YAML, every line indented by so many spaces.
pub fn yaml(node: &Node, indent: usize) -> String {
    let mut out = String::new();
    block(node, indent, &mut out);
    out
}

/// JSON; `indent`: how much each level is indented, none: in one line.
pub fn json(node: &Node, indent: Option<usize>) -> String {
    let mut out = String::new();
    object(node, indent, 0, &mut out);
    out
}

fn block(node: &Node, indent: usize, out: &mut String) {
    match &node.data {
        Data::Map(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                pad(indent, out);
                out.push_str(&scalar(key));
                out.push(':');
                after_key(value, indent, out);
            }
        }
        Data::List(items) if !items.is_empty() => {
            for item in items {
                let mut inner = String::new();
                match &item.data {
                    Data::Scalar { .. } => {
                        inner = " ".repeat(indent + 2);
                        value_of(item, indent, &mut inner);
                    }
                    _ => block(item, indent + 2, &mut inner),
                }
                pad(indent, out);
                out.push_str("- ");
                out.push_str(inner.get(indent + 2..).unwrap_or_default());
            }
        }
        _ => {
            pad(indent, out);
            value_of(node, indent, out);
        }
    }
}

fn after_key(value: &Node, indent: usize, out: &mut String) {
    match &value.data {
        _ if value.is_empty() && matches!(&value.data, Data::Scalar { text, .. } if text.is_empty()) => {
            out.push('\n')
        }
        Data::Map(entries) if !entries.is_empty() => {
            out.push('\n');
            block(value, indent + 2, out);
        }
        Data::List(items) if !items.is_empty() => {
            out.push('\n');
            block(value, indent, out);
        }
        _ => {
            out.push(' ');
            value_of(value, indent, out);
        }
    }
}

/// What stands in one line, or as a literal block.
fn value_of(node: &Node, indent: usize, out: &mut String) {
    match &node.data {
        Data::List(_) => out.push_str("[]\n"),
        Data::Map(_) => out.push_str("{}\n"),
        Data::Scalar { text, .. } if is_literal(text) => {
            let body = text.trim_end_matches('\n');
            let kept = text.len() - body.len();
            out.push_str(match kept {
                0 => "|-\n",
                1 => "|\n",
                _ => "|+\n",
            });
            for line in body.split('\n') {
                if !line.is_empty() {
                    pad(indent + 2, out);
                    out.push_str(line);
                }
                out.push('\n');
            }
            (1..kept).for_each(|_| out.push('\n'));
        }
        Data::Scalar { .. } => {
            out.push_str(&scalar(node));
            out.push('\n');
        }
    }
}

/// Whether a text can stand as a literal block: several lines, of which the first is not indented.
fn is_literal(text: &str) -> bool {
    let body = text.trim_end_matches('\n');
    text.contains('\n')
        && !body.is_empty()
        && !body.starts_with([' ', '\t', '\n'])
        && !text.chars().any(|c| (c.is_control() && c != '\n' && c != '\t') || c == '\u{feff}')
        && !text.contains(['\u{85}', '\u{2028}', '\u{2029}'])
}

/// A scalar in one line.
pub(crate) fn scalar(node: &Node) -> String {
    match &node.data {
        Data::Scalar { text, plain: true } if !text.contains(['\n', '\r']) => text.clone(),
        Data::Scalar { text, .. } if is_a_word(text) => text.clone(),
        Data::Scalar { text, .. } => quoted(text),
        _ => String::new(),
    }
}

/// Whether a text is one without quotes for every reader of YAML.
fn is_a_word(text: &str) -> bool {
    const OTHERS: [&str; 11] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"];
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_./-".contains(c))
        && !OTHERS.contains(&text.to_ascii_lowercase().as_str())
}

/// In double quotes, with the escapes of JSON, which YAML has too.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || ['\u{feff}', '\u{2028}', '\u{2029}'].contains(&c) => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn object(node: &Node, indent: Option<usize>, depth: usize, out: &mut String) {
    let line = |depth: usize, out: &mut String| {
        if let Some(width) = indent {
            out.push('\n');
            pad(width * depth, out);
        }
    };
    match &node.data {
        Data::Map(entries) if !entries.is_empty() => {
            out.push('{');
            for (n, (key, value)) in entries.iter().enumerate() {
                out.push_str(if n > 0 { "," } else { "" });
                line(depth + 1, out);
                out.push_str(&quoted(key.as_text().unwrap_or_default()));
                out.push_str(if indent.is_some() { ": " } else { ":" });
                object(value, indent, depth + 1, out);
            }
            line(depth, out);
            out.push('}');
        }
        Data::List(items) if !items.is_empty() => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                out.push_str(if n > 0 { "," } else { "" });
                line(depth + 1, out);
                object(item, indent, depth + 1, out);
            }
            line(depth, out);
            out.push(']');
        }
        Data::Map(_) => out.push_str("{}"),
        Data::List(_) => out.push_str("[]"),
        Data::Scalar { text, plain: true } if serde_json::from_str::<serde_json::Value>(text).is_ok() => {
            out.push_str(text);
        }
        Data::Scalar { .. } => match node.to_value() {
            serde_json::Value::String(text) => out.push_str(&quoted(&text)),
            other => out.push_str(&other.to_string()),
        },
    }
}

fn pad(n: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', n));
}

#[cfg(test)]
mod tests {
    use super::super::tree::parse;
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn written_as_it_means() {
        let source =
            "a: {b: [1, 'yes', x], c: {}, d: [], e: }\nf: \"two\\nlines\\n\"\ng: [[1, 2], [{h: i}]]\n";
        let node = parse(source).unwrap().unwrap();
        assert_eq!(
            yaml(&node, 0),
            "a:\n  b:\n  - 1\n  - \"yes\"\n  - x\n  c: {}\n  d: []\n  e: ~\nf: |\n  two\n  lines\ng:\n- - 1\n  - 2\n- - h: i\n"
        );
        assert_eq!(
            json(&node, None),
            r#"{"a":{"b":[1,"yes","x"],"c":{},"d":[],"e":null},"f":"two\nlines\n","g":[[1,2],[{"h":"i"}]]}"#
        );
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[ -~\\n\\té]{0,12}".prop_map(Value::from),
            "(yes|no|null|~|0x1f|1e3|- a|a: b|#x|'|\"|\\||>|\\* |& )".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z./:# -]{1,8}", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_survives(value in prop::collection::btree_map("[a-z]{1,4}", value(), 1..4)) {
            let value = Value::Object(value.into_iter().collect());
            let node = Node::from_value(&value);
            let text = yaml(&node, 0);
            prop_assert_eq!(&parse(&text).unwrap().unwrap().to_value(), &value, "{}", text);
            for indent in [None, Some(2)] {
                let text = json(&node, indent);
                prop_assert_eq!(&serde_json::from_str::<Value>(&text).unwrap(), &value);
                prop_assert_eq!(&parse(&text).unwrap().unwrap().to_value(), &value, "{}", text);
            }
        }
    }
}
