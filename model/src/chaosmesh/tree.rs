//! Pieces of trees.

use crate::problem::Place;
use crate::yaml::{Data, Key, Node};

/// A text.
pub(super) fn text(place: Place, text: impl Into<String>) -> Node {
    Node { place, data: Data::Scalar { text: text.into(), quoted: true } }
}

/// A word that may mean something else than a text: a name, `true`.
pub(super) fn plain(place: Place, text: impl Into<String>) -> Node {
    Node { place, data: Data::Scalar { text: text.into(), quoted: false } }
}

/// A whole number.
pub(super) fn number(place: Place, n: u64) -> Node {
    plain(place, n.to_string())
}

/// A sequence.
pub(super) fn list(place: Place, items: Vec<Node>) -> Node {
    Node { place, data: Data::List(items) }
}

/// A mapping.
pub(super) fn map(place: Place, entries: Vec<(&str, Node)>) -> Node {
    let entries = entries
        .into_iter()
        .map(|(key, value)| (Key { text: key.to_owned(), place: value.place }, value))
        .collect();
    Node { place, data: Data::Map(entries) }
}
