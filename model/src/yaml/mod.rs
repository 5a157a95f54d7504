//! YAML, read by one module so that the parser behind it can be changed in one place.
//!
//! A text becomes a tree of [`Node`]s that remember where they stood; a [`Reader`] takes values out of the tree and
//! collects every problem on the way, so that a person sees all of them at once. Anchors, aliases and `<<` merges work;
//! deep nesting and alias bombs are refused while parsing.

mod parse;
mod reader;

pub use parse::parse;
pub use reader::{Fields, Reader};

use crate::problem::Place;

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub data: Data,
}

/// The shapes of YAML.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Nothing, `~` or `null`.
    Null,
    /// A text, a number, a word; quoted ones are always texts.
    Scalar {
        /// The text without its quotes.
        text: String,
        /// It stood in quotes or as a block.
        quoted: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in its order, without duplicates.
    Map(Vec<(Key, Node)>),
}

/// A key with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Its text.
    pub text: String,
    /// Where it stands.
    pub place: Place,
}

impl Node {
    /// What it is, with its article, for messages.
    pub fn describe(&self) -> String {
        match &self.data {
            Data::Null => "nothing".into(),
            Data::Scalar { text, .. } if text.chars().count() > 40 => "a long text".into(),
            Data::Scalar { text, .. } => format!("{text:?}"),
            Data::List(_) => "a list".into(),
            Data::Map(_) => "a map".into(),
        }
    }

    /// The same as JSON: unquoted numbers, booleans and nulls by YAML 1.2's core schema.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as J;
        match &self.data {
            Data::Null => J::Null,
            Data::Scalar { text, quoted: true } => J::String(text.clone()),
            Data::Scalar { text, quoted: false } => match text.as_str() {
                "true" => J::Bool(true),
                "false" => J::Bool(false),
                other => {
                    let plain = other.starts_with(|c: char| c.is_ascii_digit() || c == '-');
                    match serde_json::from_str::<serde_json::Number>(other) {
                        Ok(number) if plain => J::Number(number),
                        _ => J::String(other.to_owned()),
                    }
                }
            },
            Data::List(items) => J::Array(items.iter().map(Node::to_json).collect()),
            Data::Map(entries) => {
                J::Object(entries.iter().map(|(k, v)| (k.text.clone(), v.to_json())).collect())
            }
        }
    }
}
