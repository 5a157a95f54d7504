use super::{Data, Key, Node};
use crate::problem::{Place, Problem, did_you_mean};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;

/// Takes values out of a tree, replaces `${name}` by variables, and collects what is wrong.
#[derive(Debug, Default)]
pub struct Reader {
    vars: BTreeMap<String, String>,
    used: RefCell<BTreeSet<String>>,
    problems: RefCell<Vec<Problem>>,
}

/// A map whose keys have been checked against those that are known.
pub struct Fields<'n> {
    /// Where the map stands.
    pub place: Place,
    entries: &'n [(Key, Node)],
}

impl<'n> Fields<'n> {
    /// The value of a key; none when it is absent or has nothing.
    pub fn get(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|(_, node)| node).filter(|n| n.data != Data::Null)
    }

    /// The place of a key, or of the whole map when it is absent.
    pub fn place_of(&self, key: &str) -> Place {
        self.entry(key).map_or(self.place, |(k, _)| k.place)
    }

    /// Whether the key is there, also with nothing.
    pub fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    fn entry(&self, key: &str) -> Option<&'n (Key, Node)> {
        self.entries.iter().find(|(k, _)| k.text == key)
    }
}

impl Reader {
    /// A reader that knows these variables.
    pub fn new(vars: BTreeMap<String, String>) -> Reader {
        Reader { vars, ..Reader::default() }
    }

    /// Notes a problem.
    pub fn report(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Notes a problem at a place.
    pub fn refuse<T>(&self, place: Place, what: impl Into<String>, hint: impl Into<String>) -> Option<T> {
        self.report(Problem::new(what).at(place).hint(hint));
        None
    }

    /// Everything noted, by place, each only once.
    pub fn into_problems(self) -> Vec<Problem> {
        let mut list = self.problems.into_inner();
        list.sort_by_key(|p| p.place.map_or((usize::MAX, 0), |p| (p.line, p.column)));
        list.dedup();
        list
    }

    /// Whether anything was noted.
    pub fn failed(&self) -> bool {
        !self.problems.borrow().is_empty()
    }

    /// Variables that no text used.
    pub fn unused(&self) -> Vec<String> {
        let used = self.used.borrow();
        self.vars.keys().filter(|k| !used.contains(*k)).cloned().collect()
    }

    /// A map with keys among those known; unknown ones are noted.
    pub fn fields<'n>(&self, node: &'n Node, what: &str, known: &[&str]) -> Option<Fields<'n>> {
        let Data::Map(entries) = &node.data else {
            return self.refuse(
                node.place,
                format!("{what} must be a map, not {}", node.describe()),
                format!("its keys are {}", known.join(", ")),
            );
        };
        for (key, _) in entries.iter().filter(|(k, _)| !known.contains(&k.text.as_str())) {
            let hint = match did_you_mean(&key.text, known.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("the keys here are {}", known.join(", ")),
            };
            self.report(Problem::new(format!("{what} has no key {:?}", key.text)).at(key.place).hint(hint));
        }
        Some(Fields { place: node.place, entries })
    }

    /// A map with keys of the user's own.
    pub fn entries<'n>(&self, node: &'n Node, what: &str) -> &'n [(Key, Node)] {
        match &node.data {
            Data::Map(entries) => entries,
            Data::Null => &[],
            _ => {
                self.report(
                    Problem::new(format!("{what} must be a map, not {}", node.describe())).at(node.place),
                );
                &[]
            }
        }
    }

    /// A list.
    pub fn items<'n>(&self, node: &'n Node, what: &str) -> &'n [Node] {
        match &node.data {
            Data::List(items) => items,
            Data::Null => &[],
            _ => {
                self.report(
                    Problem::new(format!("{what} must be a list, not {}", node.describe()))
                        .at(node.place)
                        .hint("write - before each item"),
                );
                &[]
            }
        }
    }

    /// The value of a key that must be there.
    pub fn need<'n>(&self, fields: &Fields<'n>, what: &str, key: &str, example: &str) -> Option<&'n Node> {
        fields.get(key).or_else(|| {
            let place = fields.place_of(key);
            self.refuse(place, format!("{what} needs {key}"), format!("add for example {key}: {example}"))
        })
    }

    /// A text, with variables replaced.
    pub fn text(&self, node: &Node, what: &str) -> Option<String> {
        match &node.data {
            Data::Scalar { text, .. } => self.substitute(text, node.place),
            _ => self.refuse(
                node.place,
                format!("{what} must be a text, not {}", node.describe()),
                "write one value",
            ),
        }
    }

    /// Anything that is read from a text.
    pub fn parse<T: FromStr<Err: Display>>(&self, node: &Node, what: &str) -> Option<T> {
        let text = self.text(node, what)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(e) => {
                let message = e.to_string();
                let (what_is_wrong, hint) =
                    message.split_once("; ").map_or((message.as_str(), None), |(w, h)| (w, Some(h)));
                let mut problem = Problem::new(format!("{what}: {what_is_wrong}")).at(node.place);
                problem.hint = hint.map(str::to_owned);
                self.report(problem);
                None
            }
        }
    }

    /// A whole number within bounds.
    pub fn integer(&self, node: &Node, what: &str, min: u64, max: u64) -> Option<u64> {
        let text = self.text(node, what)?;
        match text.parse::<u64>() {
            Ok(n) if (min..=max).contains(&n) => Some(n),
            Ok(n) => self.refuse(
                node.place,
                format!("{what}: {n} is outside {min} to {max}"),
                "write a number between them",
            ),
            Err(_) => self.refuse(
                node.place,
                format!("{what}: {text:?} is not a whole number"),
                format!("write for example {}", min.max(1)),
            ),
        }
    }

    /// `true` or `false`.
    pub fn boolean(&self, node: &Node, what: &str) -> Option<bool> {
        match self.text(node, what)?.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            other => self.refuse(
                node.place,
                format!("{what}: {other:?} is neither true nor false"),
                "write true or false",
            ),
        }
    }

    /// One of some words.
    pub fn choice<T: Copy>(&self, node: &Node, what: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(node, what)?;
        if let Some((_, value)) = words.iter().find(|(w, _)| *w == text) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(w, _)| *w).collect();
        let hint = match did_you_mean(&text, known.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("write one of {}", known.join(", ")),
        };
        self.refuse(node.place, format!("{what}: {text:?} is not one of {}", known.join(", ")), hint)
    }

    /// The node as JSON with variables replaced in every text.
    pub fn json(&self, node: &Node) -> Option<serde_json::Value> {
        Some(self.resolve(node)?.to_json())
    }

    fn resolve(&self, node: &Node) -> Option<Node> {
        let data = match &node.data {
            Data::Scalar { text, quoted } => {
                Data::Scalar { text: self.substitute(text, node.place)?, quoted: *quoted }
            }
            Data::List(items) => Data::List(items.iter().map(|n| self.resolve(n)).collect::<Option<_>>()?),
            Data::Map(entries) => Data::Map(
                entries.iter().map(|(k, v)| Some((k.clone(), self.resolve(v)?))).collect::<Option<_>>()?,
            ),
            Data::Null => Data::Null,
        };
        Some(Node { place: node.place, data })
    }

    /// Replaces `${name}`; `$$` stands for one dollar sign.
    fn substitute(&self, text: &str, place: Place) -> Option<String> {
        if !text.contains('$') {
            return Some(text.to_owned());
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(tail) = rest.strip_prefix('$') {
                out.push('$');
                rest = tail;
            } else if let Some(tail) = rest.strip_prefix('{') {
                let Some((name, tail)) = tail.split_once('}') else {
                    return self.refuse(place, "${ has no }", "write ${name}");
                };
                let Some(value) = self.vars.get(name) else {
                    let hint = match did_you_mean(name, self.vars.keys().map(String::as_str)) {
                        Some(near) => format!("did you mean ${{{near}}}?"),
                        None => "define it under vars or give it with --set".to_owned(),
                    };
                    return self.refuse(place, format!("there is no variable {name:?}"), hint);
                };
                self.used.borrow_mut().insert(name.to_owned());
                out.push_str(value);
                rest = tail;
            } else {
                out.push('$');
            }
        }
        out.push_str(rest);
        Some(out)
    }
}
