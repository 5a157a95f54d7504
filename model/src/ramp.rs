//! Parameters that change while a fault is on.

use crate::units::Span;
use crate::value::Value;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::time::Duration;

/// Parameters that change evenly while a fault is on.
#[derive(Debug, Clone, PartialEq)]
pub struct Ramp {
    /// How long the change takes; afterwards the last value stays.
    pub over: Span,
    /// What changes.
    pub tracks: Vec<Track>,
}

/// One parameter's change.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// `percent`, or a parameter of the fault.
    pub param: String,
    /// At arming.
    pub from: Value,
    /// When `over` has passed.
    pub to: Value,
}

impl Ramp {
    /// The parameter's value `elapsed` after arming.
    pub fn at(&self, param: &str, elapsed: Duration) -> Option<Value> {
        let track = self.tracks.iter().find(|t| t.param == param)?;
        let part =
            if self.over.0.is_zero() { 1.0 } else { elapsed.as_secs_f64() / self.over.0.as_secs_f64() };
        Some(track.from.blend(&track.to, part))
    }
}

impl Serialize for Ramp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = serde_json::Map::new();
        for t in &self.tracks {
            let ends = [&t.from, &t.to].map(|v| serde_json::to_value(v).unwrap_or_default());
            map.insert(t.param.clone(), serde_json::Value::Array(ends.to_vec()));
        }
        map.insert("over".into(), serde_json::Value::String(self.over.to_string()));
        map.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Ramp {
    /// Values are read by their look (percent, duration, rate, size, number); the fault they belong to is not known here.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<String, serde_json::Value>::deserialize(d)?;
        let over =
            map.get("over").and_then(|v| v.as_str()).ok_or_else(|| D::Error::custom("a ramp needs over"))?;
        let over = over.parse().map_err(D::Error::custom)?;
        let mut tracks = Vec::new();
        for (param, ends) in map.iter().filter(|(k, _)| *k != "over") {
            let pair = ends
                .as_array()
                .filter(|a| a.len() == 2)
                .ok_or_else(|| D::Error::custom(format!("{param}: write [from, to]")))?;
            let [from, to] = [&pair[0], &pair[1]]
                .map(|v| guess(v).ok_or_else(|| D::Error::custom(format!("{param}: {v} is not a quantity"))));
            tracks.push(Track { param: param.clone(), from: from?, to: to? });
        }
        Ok(Ramp { over, tracks })
    }
}

fn guess(json: &serde_json::Value) -> Option<Value> {
    match json {
        serde_json::Value::Number(n) => n.as_i64().map(Value::Int).or_else(|| n.as_f64().map(Value::Float)),
        serde_json::Value::String(text) => None
            .or_else(|| text.parse().ok().map(Value::Percent))
            .or_else(|| text.parse().ok().map(Value::Span))
            .or_else(|| text.parse().ok().map(Value::Offset))
            .or_else(|| text.parse().ok().map(Value::ByteRate))
            .or_else(|| text.parse().ok().map(Value::EventRate))
            .or_else(|| text.parse().ok().map(Value::Size)),
        _ => None,
    }
}
