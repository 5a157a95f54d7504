use super::{Data, Key, Node};
use crate::problem::{Place, Problem};
use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};
use std::collections::HashMap;

/// Files larger than this are refused: an experiment is a page or two.
const LARGEST: usize = 1 << 20;
/// How many nodes a file may have after its aliases are expanded.
const MOST_NODES: usize = 100_000;

/// Parses one document. The list of problems is never empty.
pub fn parse(source: &str) -> Result<Node, Vec<Problem>> {
    if source.len() > LARGEST {
        return Err(vec![
            Problem::new(format!("the file is {} bytes long", source.len()))
                .hint("an experiment may have 1 MiB"),
        ]);
    }
    let mut builder = Builder {
        source,
        events: Parser::new_from_str(source),
        anchors: HashMap::new(),
        nodes: 0,
        problems: vec![],
    };
    match builder.document() {
        Ok(node) if builder.problems.is_empty() => Ok(node),
        Ok(_) => Err(builder.problems),
        Err(problem) => {
            builder.problems.push(problem);
            Err(builder.problems)
        }
    }
}

struct Builder<'s, I> {
    source: &'s str,
    events: I,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    problems: Vec<Problem>,
}

impl<'s, I: Iterator<Item = Result<(Event<'s>, Span), ScanError>>> Builder<'s, I> {
    fn document(&mut self) -> Result<Node, Problem> {
        loop {
            match self.next()? {
                (Event::StreamStart | Event::DocumentStart(..), _) => {}
                (Event::StreamEnd | Event::DocumentEnd, _) => {
                    return Err(Problem::new("the file is empty")
                        .hint("begin with `murphy: 1`; `murphy demo --print` shows a whole one"));
                }
                (event, span) => {
                    let node = self.node(event, span)?;
                    while let Some(next) = self.events.next() {
                        let (event, span) = next.map_err(|e| self.scan_error(&e))?;
                        if let Event::DocumentStart(..) = event {
                            return Err(Problem::new("the file has a second document")
                                .at(self.place(span))
                                .hint("one file is one experiment: split it at ---"));
                        }
                    }
                    return Ok(node);
                }
            }
        }
    }

    /// The next event that is no comment.
    fn next(&mut self) -> Result<(Event<'s>, Span), Problem> {
        loop {
            match self.events.next() {
                Some(Ok((Event::Comment(..) | Event::Anchor(..), _))) => {}
                Some(Ok(pair)) => return Ok(pair),
                Some(Err(e)) => return Err(self.scan_error(&e)),
                None => return Err(Problem::new("the file ends too early")),
            }
        }
    }

    fn node(&mut self, event: Event<'s>, span: Span) -> Result<Node, Problem> {
        let place = self.place(span);
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            return Err(Problem::new("the file has too many values")
                .at(place)
                .hint("aliases may not multiply without end"));
        }
        let (anchor, data) = match event {
            Event::Scalar(text, style, anchor, _) => {
                let quoted = style != ScalarStyle::Plain;
                let null = !quoted && matches!(&*text, "" | "~" | "null");
                (anchor, if null { Data::Null } else { Data::Scalar { text: text.into_owned(), quoted } })
            }
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.node(event, span)?),
                    }
                }
                (anchor, Data::List(items))
            }
            Event::MappingStart(_, anchor, _) => (anchor, self.map()?),
            Event::Alias(id) => {
                let node = self.anchors.get(&id).cloned().ok_or_else(|| {
                    Problem::new("this alias refers to itself")
                        .at(place)
                        .hint("an alias may only name an anchor that is complete")
                })?;
                self.nodes += count(&node);
                return Ok(Node { place, ..node });
            }
            _ => return Err(Problem::new("something unexpected stands here").at(place)),
        };
        let node = Node { place, data };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn map(&mut self) -> Result<Data, Problem> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut merged: Vec<(Key, Node)> = Vec::new();
        loop {
            let (event, span) = match self.next()? {
                (Event::MappingEnd, _) => break,
                pair => pair,
            };
            let place = self.place(span);
            let Event::Scalar(text, ..) = event else {
                return Err(Problem::new("a key must be a word").at(place));
            };
            let key = Key { text: text.into_owned(), place };
            let (event, span) = self.next()?;
            let value = self.node(event, span)?;
            if key.text == "<<" {
                let sources = match value.data {
                    Data::List(items) => items,
                    _ => vec![value],
                };
                for source in sources {
                    let Data::Map(more) = source.data else {
                        return Err(Problem::new("<< merges maps only").at(source.place));
                    };
                    merged.extend(more);
                }
            } else if let Some((first, _)) = entries.iter().find(|(k, _)| k.text == key.text) {
                let line = first.place.line;
                self.problems.push(
                    Problem::new(format!("the key {:?} stands here twice", key.text))
                        .at(place)
                        .hint(format!("it was given on line {line} already")),
                );
            } else {
                entries.push((key, value));
            }
        }
        for (key, value) in merged {
            if !entries.iter().any(|(k, _)| k.text == key.text) {
                entries.push((key, value));
            }
        }
        Ok(Data::Map(entries))
    }

    fn place(&self, span: Span) -> Place {
        let start = span.start.byte_offset().unwrap_or(0).min(self.source.len());
        let end = span.end.byte_offset().unwrap_or(start).clamp(start, self.source.len());
        Place { start, end, line: span.start.line(), column: span.start.col() + 1 }
    }

    fn scan_error(&self, error: &ScanError) -> Problem {
        let mark = error.marker();
        let start = mark.byte_offset().unwrap_or(0).min(self.source.len());
        let place = Place { start, end: start, line: mark.line().max(1), column: mark.col() + 1 };
        let problem =
            Problem::new(format!("this is not YAML: {}", error.info().trim_end_matches('.'))).at(place);
        let line = self.source.lines().nth(place.line.saturating_sub(1)).unwrap_or("");
        if line.starts_with('\t') || line.trim_start_matches(' ').starts_with('\t') {
            return problem.hint("indent with spaces: YAML forbids tabs");
        }
        problem.hint("look at indentation, quotes and brackets here and in the line before")
    }
}

fn count(node: &Node) -> usize {
    match &node.data {
        Data::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        Data::Map(entries) => 1 + entries.iter().map(|(_, v)| count(v)).sum::<usize>(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn places_merges_and_aliases() {
        let node = parse("a: &x {b: 1, c: two}\nd:\n  <<: *x\n  c: \"3\"\n").unwrap();
        assert_eq!(node.to_json(), serde_json::json!({"a": {"b": 1, "c": "two"}, "d": {"b": 1, "c": "3"}}));
        let Data::Map(entries) = &node.data else { panic!() };
        assert_eq!((entries[1].0.place.line, entries[1].0.place.column), (2, 1));
    }

    #[test]
    fn bombs_and_depth_are_refused_quickly() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..9 {
            bomb.push_str(&format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(", ")));
        }
        assert!(parse(&bomb).unwrap_err()[0].what.contains("too many values"));
        assert!(parse(&"[".repeat(20_000)).is_err());
        assert!(parse("a: 1\na: 2").unwrap_err()[0].what.contains("twice"));
        assert!(parse("").unwrap_err()[0].what.contains("empty"));
        assert!(parse("a:\n\tb: 1").unwrap_err()[0].hint.as_deref().unwrap_or("").contains("tabs"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[ -~\\n\\t:\\[\\]{}&*!|>'\"#é]{0,80}") {
            let _ = parse(&text);
        }
    }
}
