//! The difference of two values as a JSON Patch (RFC 6902).
//!
//! Made here because libraries compare lists place by place: where a container is put before others, their patch takes the
//! first one to pieces, field by field, and adds it again at the end. People read these patches in the audit log of the API
//! server.

use serde_json::{Value, json};

/// What makes the first value the second. Items that were put before those of a list, or after them, are added, so that what
/// others do to the list at the same time stays.
pub fn diff(before: &Value, after: &Value) -> Vec<Value> {
    let mut patch = Vec::new();
    walk(before, after, &mut String::new(), &mut patch);
    patch
}

fn walk(before: &Value, after: &Value, at: &mut String, patch: &mut Vec<Value>) {
    match (before, after) {
        _ if before == after => {}
        (Value::Object(old), Value::Object(new)) => {
            for key in old.keys().filter(|key| !new.contains_key(*key)) {
                patch.push(json!({"op": "remove", "path": step(at, key)}));
            }
            for (key, value) in new {
                let mut path = step(at, key);
                match old.get(key) {
                    None => patch.push(json!({"op": "add", "path": path, "value": value})),
                    Some(old) => walk(old, value, &mut path, patch),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) if new.len() >= old.len() => {
            let more = new.len() - old.len();
            // As many as there were, of the new ones: the last, or the first.
            let kept = if old.iter().zip(new).all(|(old, new)| alike(old, new)) { 0 } else { more };
            let added = if kept == 0 { old.len()..new.len() } else { 0..more };
            for n in added {
                patch.push(json!({"op": "add", "path": step(at, &n.to_string()), "value": new[n]}));
            }
            for (n, old) in old.iter().enumerate() {
                walk(old, &new[kept + n], &mut step(at, &(kept + n).to_string()), patch);
            }
        }
        _ => patch.push(json!({"op": "replace", "path": at, "value": after})),
    }
}

/// Whether two items of a list are the same thing, which may have changed.
fn alike(old: &Value, new: &Value) -> bool {
    old == new || (old["name"].is_string() && old["name"] == new["name"])
}

fn step(at: &str, key: &str) -> String {
    format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), (0..3).prop_map(Value::from), "[ab]".prop_map(Value::from)];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[ab/~]{1,2}", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_patch_makes_one_the_other(before in value(), after in value()) {
            // As others read it.
            let patch: json_patch::Patch = serde_json::from_value(Value::from(diff(&before, &after))).unwrap();
            let mut patched = before.clone();
            json_patch::patch(&mut patched, &patch).unwrap();
            prop_assert_eq!(patched, after);
        }
    }
}
