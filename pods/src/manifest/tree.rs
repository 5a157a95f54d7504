//! A document as a tree whose nodes know where they stood, so that a text can be changed at a few places and stay itself
//! everywhere else.

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};
use model::Problem;
use model::problem::Place;
use serde_json::Value;
use std::collections::HashMap;
use std::ops::Range;

/// A document may have so many nodes after its aliases are expanded.
const MOST_NODES: usize = 500_000;

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// A text, number or word; `plain`: without quotes, so that `1` is a number and `true` a truth.
    Scalar {
        /// The text without its quotes.
        text: String,
        /// Without quotes.
        plain: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in its order.
    Map(Vec<(Node, Node)>),
}

/// A node with its place in the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The bytes where it stands; of a block the beginning alone counts.
    pub span: Range<usize>,
    /// It cannot be changed by lines: it is written in brackets, or an alias of what stands elsewhere.
    pub closed: bool,
    /// What it is.
    pub data: Data,
}

/// One step from a node to one within it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// To the value of a key.
    Key(String),
    /// To an item.
    Item(usize),
}

/// From a node to one within it.
pub type Path = Vec<Step>;

/// `steps!["spec", "template"]`
pub(crate) fn keys(words: &[&str]) -> Path {
    words.iter().map(|w| Step::Key((*w).to_owned())).collect()
}

impl Node {
    /// A node that stands nowhere yet.
    pub fn new(data: Data) -> Node {
        Node { span: 0..0, closed: false, data }
    }

    /// A text.
    pub fn text(text: impl Into<String>) -> Node {
        Node::new(Data::Scalar { text: text.into(), plain: false })
    }

    /// A number or a truth.
    pub fn plain(text: impl std::fmt::Display + Copy) -> Node {
        Node::new(Data::Scalar { text: text.to_string(), plain: true })
    }

    /// A mapping.
    pub fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Node)>) -> Node {
        Node::new(Data::Map(entries.into_iter().map(|(k, v)| (Node::text(k), v)).collect()))
    }

    /// A sequence.
    pub fn list(items: impl IntoIterator<Item = Node>) -> Node {
        Node::new(Data::List(items.into_iter().collect()))
    }

    /// A sequence of texts.
    pub fn words<T: Into<String>>(items: impl IntoIterator<Item = T>) -> Node {
        Node::list(items.into_iter().map(Node::text))
    }

    /// The text of a scalar that is something.
    pub fn as_text(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// Whether it is nothing.
    pub fn is_null(&self) -> bool {
        matches!(&self.data, Data::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Nothing, or a sequence or mapping with nothing in it.
    pub fn is_empty(&self) -> bool {
        match &self.data {
            Data::List(items) => items.is_empty(),
            Data::Map(entries) => entries.is_empty(),
            Data::Scalar { .. } => self.is_null(),
        }
    }

    /// The entries of a mapping.
    pub fn entries(&self) -> &[(Node, Node)] {
        match &self.data {
            Data::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a sequence.
    pub fn items(&self) -> &[Node] {
        match &self.data {
            Data::List(items) => items,
            _ => &[],
        }
    }

    /// A key with its value.
    pub fn entry(&self, key: &str) -> Option<&(Node, Node)> {
        self.entries().iter().find(|(k, _)| k.as_text() == Some(key))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, value)| value)
    }

    /// The text of a key's value.
    pub fn word(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_text()
    }

    /// Whether a key's value is true.
    pub fn is_true(&self, key: &str) -> bool {
        matches!(self.get(key).map(|n| &n.data), Some(Data::Scalar { text, plain: true }) if text == "true")
    }

    /// The node at the end of a path.
    pub fn at(&self, path: &[Step]) -> Option<&Node> {
        path.iter().try_fold(self, |node, step| match step {
            Step::Key(key) => node.get(key),
            Step::Item(n) => node.items().get(*n),
        })
    }

    /// The same, to be changed.
    pub fn at_mut(&mut self, path: &[Step]) -> Option<&mut Node> {
        path.iter().try_fold(self, |node, step| match (&mut node.data, step) {
            (Data::Map(entries), Step::Key(key)) => {
                entries.iter_mut().find(|(k, _)| k.as_text() == Some(key)).map(|(_, value)| value)
            }
            (Data::List(items), Step::Item(n)) => items.get_mut(*n),
            _ => None,
        })
    }

    /// Where its last word ends.
    pub fn end(&self) -> usize {
        let last = match &self.data {
            _ if self.closed => None,
            Data::Scalar { .. } => None,
            Data::List(items) => items.last(),
            Data::Map(entries) => entries.last().map(|(_, value)| value),
        };
        // An entry without a value ends where its key does, or later.
        last.map_or(self.span.end, Node::end)
    }

    /// What it means, by the core schema of YAML 1.2.
    pub fn to_value(&self) -> Value {
        match &self.data {
            _ if self.is_null() => Value::Null,
            Data::Scalar { text, plain: false } => Value::String(text.clone()),
            Data::Scalar { text, .. } => match text.as_str() {
                "true" | "True" | "TRUE" => Value::Bool(true),
                "false" | "False" | "FALSE" => Value::Bool(false),
                other => match serde_json::from_str::<serde_json::Number>(other) {
                    Ok(number) => Value::Number(number),
                    Err(_) => Value::String(other.to_owned()),
                },
            },
            Data::List(items) => Value::Array(items.iter().map(Node::to_value).collect()),
            Data::Map(entries) => {
                let text = |k: &Node| k.as_text().unwrap_or_default().to_owned();
                Value::Object(entries.iter().map(|(k, v)| (text(k), v.to_value())).collect())
            }
        }
    }

    /// The tree of a value.
    pub fn from_value(value: &Value) -> Node {
        match value {
            Value::Null => Node::plain("null"),
            Value::Bool(b) => Node::plain(*b),
            Value::Number(n) => Node::plain(n),
            Value::String(s) => Node::text(s.as_str()),
            Value::Array(items) => Node::list(items.iter().map(Node::from_value)),
            Value::Object(map) => {
                let entries = map.iter().map(|(k, v)| (Node::text(k.as_str()), Node::from_value(v)));
                Node::new(Data::Map(entries.collect()))
            }
        }
    }
}

/// Parses one document; none when there is nothing in it.
pub fn parse(source: &str) -> Result<Option<Node>, Problem> {
    let mut builder =
        Builder { source, events: Parser::new_from_str(source), anchors: HashMap::new(), nodes: 0 };
    loop {
        match builder.next()? {
            (Event::StreamStart | Event::DocumentStart(..), _) => {}
            (Event::StreamEnd | Event::DocumentEnd, _) => return Ok(None),
            (event, span) => {
                let node = builder.node(event, span)?;
                // What follows must be readable, too.
                while !matches!(builder.next()?.0, Event::StreamEnd) {}
                return Ok(Some(node));
            }
        }
    }
}

struct Builder<'s> {
    source: &'s str,
    events: Parser<'s, granit_parser::StrInput<'s>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'s> Builder<'s> {
    fn next(&mut self) -> Result<(Event<'s>, Span), Problem> {
        loop {
            match self.events.next() {
                Some(Ok((Event::Comment(..) | Event::Anchor(..), _))) => {}
                Some(Ok(pair)) => return Ok(pair),
                Some(Err(e)) => {
                    let mark = e.marker();
                    let at = mark.byte_offset().unwrap_or(0).min(self.source.len());
                    let place =
                        Place { start: at, end: at, line: mark.line().max(1), column: mark.col() + 1 };
                    let what = format!("this is not YAML: {}", e.info().trim_end_matches('.'));
                    return Err(Problem::new(what).at(place));
                }
                None => return Ok((Event::StreamEnd, Span::default())),
            }
        }
    }

    fn problem(&self, span: &Span, what: &str) -> Problem {
        let Range { start, end } = self.range(span);
        Problem::new(what).at(Place { start, end, line: span.start.line(), column: span.start.col() + 1 })
    }

    fn range(&self, span: &Span) -> Range<usize> {
        let start = span.start.byte_offset().unwrap_or(0).min(self.source.len());
        start..span.end.byte_offset().unwrap_or(start).clamp(start, self.source.len())
    }

    fn node(&mut self, event: Event<'s>, span: Span) -> Result<Node, Problem> {
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            return Err(self.problem(&span, "the document has too many values"));
        }
        let mut range = self.range(&span);
        let (anchor, closed, data) = match event {
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                (anchor, anchor > 0, Data::Scalar { text: text.into_owned(), plain })
            }
            Event::SequenceStart(style, anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, end) => {
                            range.end = self.range(&end).end;
                            break;
                        }
                        (event, span) => items.push(self.node(event, span)?),
                    }
                }
                (anchor, style == StructureStyle::Flow, Data::List(items))
            }
            Event::MappingStart(style, anchor, _) => {
                let (entries, end) = self.entries()?;
                range.end = end;
                (anchor, style == StructureStyle::Flow, Data::Map(entries))
            }
            Event::Alias(id) => {
                let node = self.anchors.get(&id).cloned();
                let node = node.ok_or_else(|| self.problem(&span, "this alias refers to itself"))?;
                self.nodes += count(&node);
                return Ok(Node { span: range, closed: true, ..node });
            }
            _ => return Err(self.problem(&span, "something unexpected stands here")),
        };
        let node = Node { span: range, closed, data };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn entries(&mut self) -> Result<(Vec<(Node, Node)>, usize), Problem> {
        let mut entries: Vec<(Node, Node)> = Vec::new();
        let mut merged: Vec<(Node, Node)> = Vec::new();
        loop {
            let (event, span) = match self.next()? {
                (Event::MappingEnd, end) => {
                    let end = self.range(&end).end;
                    for (key, value) in merged {
                        if !entries.iter().any(|(k, _)| k.as_text() == key.as_text()) {
                            entries.push((key, value));
                        }
                    }
                    return Ok((entries, end));
                }
                pair => pair,
            };
            let key = self.node(event, span)?;
            let Data::Scalar { text, .. } = &key.data else {
                return Err(self.problem(&span, "a key must be a word"));
            };
            if entries.iter().any(|(k, _)| matches!(&k.data, Data::Scalar { text: t, .. } if t == text)) {
                return Err(self.problem(&span, &format!("the key {text:?} stands here twice")));
            }
            let merges = text == "<<";
            let (event, span) = self.next()?;
            let value = self.node(event, span)?;
            if !merges {
                entries.push((key, value));
                continue;
            }
            let sources = match value.data {
                Data::List(items) => items,
                _ => vec![value],
            };
            for source in sources {
                let Data::Map(more) = source.data else {
                    return Err(self.problem(&span, "<< merges maps only"));
                };
                // What stands elsewhere cannot be changed here.
                merged.extend(more.into_iter().map(|(k, v)| (k, Node { closed: true, ..v })));
            }
        }
    }
}

fn count(node: &Node) -> usize {
    match &node.data {
        Data::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        Data::Map(entries) => 1 + entries.iter().map(|(_, v)| count(v)).sum::<usize>(),
        Data::Scalar { .. } => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_know_where_they_stood() {
        let source = "# é\na:\n  b: 'x y'   # why\n  list:\n  - one\n  - \"two\"\nnone:\nflow: {c: [1, 2]}\n";
        let root = parse(source).unwrap().unwrap();
        let of = |path: &[Step]| &source[root.at(path).unwrap().span.clone()];
        assert_eq!(of(&keys(&["a", "b"])), "'x y'");
        let list = root.at(&keys(&["a", "list"])).unwrap();
        assert_eq!(&source[list.items()[1].span.clone()], "\"two\"");
        assert_eq!(&source[..list.end()], &source[..source.find("\nnone").unwrap()]);
        assert_eq!(of(&keys(&["flow"])), "{c: [1, 2]}");
        assert!(root.get("none").unwrap().is_null() && root.get("flow").unwrap().closed);
        assert_eq!(
            root.to_value(),
            serde_json::json!({"a": {"b": "x y", "list": ["one", "two"]}, "none": null, "flow": {"c": [1, 2]}})
        );
    }

    #[test]
    fn aliases_and_merges_are_what_they_stand_for() {
        let root = parse("a: &x {b: 1}\nc: *x\nd:\n  <<: *x\n  e: 2\n").unwrap().unwrap();
        assert_eq!(root.to_value(), serde_json::json!({"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}}));
        assert!(root.get("c").unwrap().closed);
        assert!(parse("a: 1\na: 2\n").is_err() && parse("# nothing\n").unwrap().is_none());
    }
}
