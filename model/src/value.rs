//! The value of one parameter of a fault, and the types that parameters have.

use crate::units::{ByteRate, Drift, EventRate, Offset, Percent, Size, Span, UnitError};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// The type of a parameter: what a text must be to become a [`Value`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ParamType {
    /// A duration: `120ms`.
    Span,
    /// A share: `30%`.
    Percent,
    /// A number of bytes: `64KiB`.
    Size,
    /// Bytes per second: `1MB/s`.
    ByteRate,
    /// Things per second: `50/s`.
    EventRate,
    /// A duration or a number of bytes: `2s` or `4KiB`.
    SpanOrSize,
    /// A whole number within bounds, both included.
    Int {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// A number within bounds, both included.
    Float {
        /// Smallest value.
        min: f64,
        /// Largest value.
        max: f64,
    },
    /// Any text.
    Text,
    /// `true` or `false`.
    Bool,
    /// One of some words.
    Choice(&'static [&'static str]),
    /// Some of some words, separated by commas or as a list.
    Choices(&'static [&'static str]),
    /// Names with texts, `name: value` each; on a command line `name:value`, separated by commas.
    Map,
    /// A list of durations: `1ms,2ms,5ms`.
    Spans,
    /// By how much a clock is wrong: `5s`, `-1h`.
    Offset,
    /// How much too fast a clock goes: `10%`, `-200ppm`.
    Drift,
}

/// A parameter's value, already checked.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// See [`ParamType::Span`].
    Span(Span),
    /// See [`ParamType::Percent`].
    Percent(Percent),
    /// See [`ParamType::Size`].
    Size(Size),
    /// See [`ParamType::ByteRate`].
    ByteRate(ByteRate),
    /// See [`ParamType::EventRate`].
    EventRate(EventRate),
    /// See [`ParamType::Int`].
    Int(i64),
    /// See [`ParamType::Float`].
    Float(f64),
    /// See [`ParamType::Text`]; also a word of [`ParamType::Choice`].
    Text(String),
    /// See [`ParamType::Bool`].
    Bool(bool),
    /// See [`ParamType::Choices`].
    Words(Vec<String>),
    /// See [`ParamType::Map`].
    Map(BTreeMap<String, String>),
    /// See [`ParamType::Spans`].
    Spans(Vec<Span>),
    /// See [`ParamType::Offset`].
    Offset(Offset),
    /// See [`ParamType::Drift`].
    Drift(Drift),
}

/// Why a text is no value of the wanted type.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ValueError {
    /// A quantity that does not read.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// Anything else, as a whole sentence.
    #[error("{0}")]
    Other(String),
}

impl ParamType {
    /// Reads a value from the text that a person wrote.
    pub fn parse(&self, text: &str) -> Result<Value, ValueError> {
        let text = text.trim();
        Ok(match self {
            ParamType::Span => Value::Span(text.parse()?),
            ParamType::Percent => Value::Percent(text.parse()?),
            ParamType::Size => Value::Size(text.parse()?),
            ParamType::ByteRate => Value::ByteRate(text.parse()?),
            ParamType::EventRate => Value::EventRate(text.parse()?),
            ParamType::SpanOrSize => match (text.parse::<Span>(), text.parse::<Size>()) {
                (Ok(span), _) => Value::Span(span),
                (_, Ok(size)) => Value::Size(size),
                _ => {
                    return Err(ValueError::Other(format!(
                        "{text:?} is neither a time (2s) nor a number of bytes (4KiB)"
                    )));
                }
            },
            ParamType::Int { min, max } => {
                let number: i64 =
                    text.parse().map_err(|_| ValueError::Other(format!("{text:?} is not a whole number")))?;
                if number < *min || number > *max {
                    return Err(ValueError::Other(format!("{number} is outside {min} to {max}")));
                }
                Value::Int(number)
            }
            ParamType::Float { min, max } => {
                let number: f64 = text
                    .parse()
                    .ok()
                    .filter(|n: &f64| n.is_finite())
                    .ok_or_else(|| ValueError::Other(format!("{text:?} is not a number")))?;
                if number < *min || number > *max {
                    return Err(ValueError::Other(format!("{number} is outside {min} to {max}")));
                }
                Value::Float(number)
            }
            ParamType::Text => Value::Text(text.to_owned()),
            ParamType::Bool => match text {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                _ => return Err(ValueError::Other(format!("{text:?} is neither true nor false"))),
            },
            ParamType::Choice(words) => Value::Text(word(text, words)?),
            ParamType::Choices(words) => {
                let chosen =
                    text.split(',').map(|part| word(part.trim(), words)).collect::<Result<Vec<_>, _>>()?;
                Value::Words(chosen)
            }
            ParamType::Map => {
                let mut map = BTreeMap::new();
                for pair in text.split(',').filter(|p| !p.trim().is_empty()) {
                    let (name, value) = pair
                        .split_once(':')
                        .ok_or_else(|| ValueError::Other(format!("{pair:?} is not name:value")))?;
                    map.insert(name.trim().to_owned(), value.trim().to_owned());
                }
                Value::Map(map)
            }
            ParamType::Offset => Value::Offset(text.parse()?),
            ParamType::Drift => Value::Drift(text.parse()?),
            ParamType::Spans => {
                Value::Spans(text.split(',').map(str::parse).collect::<Result<Vec<Span>, _>>()?)
            }
        })
    }

    /// Reads a value from JSON: texts as people write them, numbers, booleans, lists and maps where the type has them.
    pub fn from_json(&self, json: &serde_json::Value) -> Result<Value, ValueError> {
        use serde_json::Value as J;
        match (self, json) {
            (_, J::String(text)) => self.parse(text),
            (ParamType::Int { .. } | ParamType::Float { .. } | ParamType::Text, J::Number(n)) => {
                self.parse(&n.to_string())
            }
            (ParamType::Bool, J::Bool(b)) => Ok(Value::Bool(*b)),
            (ParamType::Choices(_) | ParamType::Spans, J::Array(items)) => {
                let texts: Vec<&str> = items.iter().filter_map(J::as_str).collect();
                if texts.len() != items.len() || texts.is_empty() {
                    return Err(ValueError::Other("it must be a list of texts, not empty".into()));
                }
                self.parse(&texts.join(","))
            }
            (ParamType::Map, J::Object(map)) => map
                .iter()
                .map(|(k, v)| match v {
                    J::String(s) => Ok((k.clone(), s.clone())),
                    J::Number(n) => Ok((k.clone(), n.to_string())),
                    _ => Err(ValueError::Other(format!("the value of {k:?} must be a text"))),
                })
                .collect::<Result<_, _>>()
                .map(Value::Map),
            (_, other) => Err(ValueError::Other(format!("{other} is not {}", self.describe()))),
        }
    }

    /// What the type expects, with its article, for messages and documentation.
    pub fn describe(&self) -> String {
        match self {
            ParamType::Span => "a duration (120ms)".into(),
            ParamType::Percent => "a percentage (30%)".into(),
            ParamType::Size => "a size (64KiB)".into(),
            ParamType::ByteRate => "a rate (1MB/s, 10Mbit/s)".into(),
            ParamType::EventRate => "a rate (50/s)".into(),
            ParamType::SpanOrSize => "a time (2s) or a number of bytes (4KiB)".into(),
            ParamType::Int { min, max } if *max == i64::MAX => format!("a whole number from {min}"),
            ParamType::Int { min, max } => format!("a whole number, {min} to {max}"),
            ParamType::Float { min, max } => format!("a number, {min} to {max}"),
            ParamType::Text => "a text".into(),
            ParamType::Bool => "true or false".into(),
            ParamType::Choice(words) => format!("one of {}", words.join(", ")),
            ParamType::Choices(words) => format!("some of {}", words.join(", ")),
            ParamType::Map => "names with texts (name: value)".into(),
            ParamType::Spans => "a list of durations (1ms,2ms,5ms)".into(),
            ParamType::Offset => "an offset (5s ahead, -5s back)".into(),
            ParamType::Drift => "a drift (10% too fast, -200ppm)".into(),
        }
    }
}

fn word(text: &str, words: &[&str]) -> Result<String, ValueError> {
    if words.contains(&text) {
        return Ok(text.to_owned());
    }
    let hint = crate::problem::did_you_mean(text, words.iter().copied());
    Err(ValueError::Other(format!(
        "{text:?} is not one of {}{}",
        words.join(", "),
        hint.map(|h| format!("; did you mean {h}?")).unwrap_or_default()
    )))
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Span(v) => v.fmt(f),
            Value::Percent(v) => v.fmt(f),
            Value::Size(v) => v.fmt(f),
            Value::ByteRate(v) => v.fmt(f),
            Value::EventRate(v) => v.fmt(f),
            Value::Int(v) => v.fmt(f),
            Value::Float(v) => v.fmt(f),
            Value::Text(v) => v.fmt(f),
            Value::Bool(v) => v.fmt(f),
            Value::Words(v) => v.join(",").fmt(f),
            Value::Map(v) => v.iter().map(|(k, v)| format!("{k}:{v}")).collect::<Vec<_>>().join(",").fmt(f),
            Value::Spans(v) => v.iter().map(Span::to_string).collect::<Vec<_>>().join(",").fmt(f),
            Value::Offset(v) => v.fmt(f),
            Value::Drift(v) => v.fmt(f),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Int(v) => s.serialize_i64(*v),
            Value::Float(v) => s.serialize_f64(*v),
            Value::Bool(v) => s.serialize_bool(*v),
            Value::Words(v) => v.serialize(s),
            Value::Spans(v) => v.serialize(s),
            Value::Map(v) => v.serialize(s),
            other => s.collect_str(other),
        }
    }
}

impl Value {
    /// The value between two of one kind at `part` (0.0..=1.0) of the way, for ramps; the later one when they cannot be blended.
    pub fn blend(&self, to: &Value, part: f64) -> Value {
        let mix = |a: f64, b: f64| a + (b - a) * part.clamp(0.0, 1.0);
        match (self, to) {
            (Value::Span(a), Value::Span(b)) => Value::Span(Span(std::time::Duration::from_secs_f64(
                mix(a.0.as_secs_f64(), b.0.as_secs_f64()).max(0.0),
            ))),
            (Value::Percent(a), Value::Percent(b)) => {
                Value::Percent(Percent::new(mix(a.value(), b.value()).clamp(0.0, 100.0)).unwrap_or(*b))
            }
            (Value::Size(a), Value::Size(b)) => Value::Size(Size(mix(a.0 as f64, b.0 as f64) as u64)),
            (Value::ByteRate(a), Value::ByteRate(b)) => {
                Value::ByteRate(ByteRate::bytes_per_second(mix(a.value(), b.value())))
            }
            (Value::EventRate(a), Value::EventRate(b)) => {
                Value::EventRate(EventRate::per_second(mix(a.value(), b.value())))
            }
            (Value::Offset(a), Value::Offset(b)) => {
                Value::Offset(Offset(mix(a.0 as f64, b.0 as f64).round() as i64))
            }
            (Value::Drift(a), Value::Drift(b)) => {
                Value::Drift(Drift::new(mix(a.fraction(), b.fraction())).unwrap_or(*b))
            }
            (Value::Int(a), Value::Int(b)) => Value::Int(mix(*a as f64, *b as f64).round() as i64),
            (Value::Float(a), Value::Float(b)) => Value::Float(mix(*a, *b)),
            _ => to.clone(),
        }
    }
}
