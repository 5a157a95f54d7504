//! What must hold of a JSON document: `$.ok == true`, `$.items[0].stock > 3`.

use super::Compare;
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::str::FromStr;

/// A place in a JSON document, and what must stand there.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonTest {
    text: String,
    path: Vec<Step>,
    op: Compare,
    value: Value,
}

/// One step down.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

/// Why a text is no test.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonTestError {
    /// There is nothing to compare with.
    #[error("{0:?} compares with nothing")]
    NoComparison(String),
    /// The path cannot be followed.
    #[error("{0:?} is not a path: it begins with $ and goes on with .key or [0]")]
    Path(String),
    /// What stands on the right is no JSON.
    #[error("{0:?} is not JSON")]
    Value(String),
    /// Only numbers are less or more than another.
    #[error("{0} compares numbers only")]
    Order(&'static str),
}

impl JsonTest {
    /// Whether it holds of a document; what is no JSON, or has nothing at that place, does not.
    pub fn holds(&self, document: &[u8]) -> bool {
        let Ok(document) = serde_json::from_slice::<Value>(document) else { return false };
        let down = |at, step: &Step| match step {
            Step::Key(key) => Value::get(at, key),
            Step::Index(index) => Value::get(at, index),
        };
        let Some(found) = self.path.iter().try_fold(&document, down) else { return false };
        match (found.as_f64(), self.value.as_f64(), self.op) {
            (Some(a), Some(b), op) => op.holds(a, b),
            (_, _, Compare::Equal) => *found == self.value,
            (_, _, Compare::Differs) => *found != self.value,
            _ => false,
        }
    }
}

impl FromStr for JsonTest {
    type Err = JsonTestError;

    fn from_str(text: &str) -> Result<JsonTest, JsonTestError> {
        let whole = text.trim();
        // Keys have no signs in them, so the first one is the comparison's.
        let sign =
            whole.find(['=', '!', '<', '>']).ok_or_else(|| JsonTestError::NoComparison(whole.into()))?;
        let (path, rest) = whole.split_at(sign);
        let (sign, op) = Compare::ALL
            .into_iter()
            .find(|(sign, _)| rest.starts_with(sign))
            .ok_or_else(|| JsonTestError::NoComparison(whole.into()))?;
        let right = rest[sign.len()..].trim();
        let value: Value = serde_json::from_str(right).map_err(|_| JsonTestError::Value(right.into()))?;
        if !value.is_number() && !matches!(op, Compare::Equal | Compare::Differs) {
            return Err(JsonTestError::Order(sign));
        }
        Ok(JsonTest { text: whole.into(), path: steps(path.trim())?, op, value })
    }
}

fn steps(path: &str) -> Result<Vec<Step>, JsonTestError> {
    let bad = || JsonTestError::Path(path.into());
    let mut rest = path.strip_prefix('$').ok_or_else(bad)?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let (index, after) = after.split_once(']').ok_or_else(bad)?;
            steps.push(Step::Index(index.trim().parse().map_err(|_| bad())?));
            rest = after;
        } else {
            let after = rest.strip_prefix('.').ok_or_else(bad)?;
            let end = after.find(['.', '[']).unwrap_or(after.len());
            if end == 0 {
                return Err(bad());
            }
            steps.push(Step::Key(after[..end].to_owned()));
            rest = &after[end..];
        }
    }
    Ok(steps)
}

impl std::fmt::Display for JsonTest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for JsonTest {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_compared_at_a_place() {
        let document = br#"{"ok": true, "name": "a", "items": [{"stock": 4}, {"stock": 2.5}], "none": null}"#;
        let holds = |test: &str| test.parse::<JsonTest>().unwrap().holds(document);
        for test in [
            "$.ok == true",
            "$.ok != false",
            "$.name == \"a\"",
            "$.items[0].stock>3",
            "$.items[1].stock <= 2.5",
            "$.none == null",
            "$.items[0] == {\"stock\": 4}",
        ] {
            assert!(holds(test), "{test}");
        }
        for test in ["$.ok == false", "$.away == 1", "$.items[7].stock > 0", "$.name > 3", "$ == 1"] {
            assert!(!holds(test), "{test}");
        }
        assert!(!"$.ok == true".parse::<JsonTest>().unwrap().holds(b"<html>"));
    }

    #[test]
    fn what_is_no_test_is_refused() {
        let why = |text: &str| text.parse::<JsonTest>().unwrap_err().to_string();
        assert!(why("$.ok").contains("compares with nothing"));
        assert!(why("ok == true").contains("begins with $"));
        assert!(why("$..a == 1").contains("is not a path"));
        assert!(why("$[x] == 1").contains("is not a path"));
        assert!(why("$.a == yes").contains("is not JSON"));
        assert!(why("$.a < \"b\"").contains("numbers only"));
        assert!(why("$.a = 1").contains("compares with nothing"));
    }
}
