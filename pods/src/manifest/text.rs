//! The change as lines that are put between others, so that everything else stays byte for byte: comments, order, quotes,
//! line ends.

use super::emit;
use super::graft::{PUT, ports_of};
use super::options::STATUS;
use super::plan::{Plan, Status, after_colon, colon};
use super::tree::{Data, Node, keys};
use std::ops::Range;

/// The text is written in a way that lines cannot be put into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotByLines;

/// Changes of one text.
pub(super) struct Edits<'s> {
    source: &'s str,
    newline: &'static str,
    list: Vec<(Range<usize>, String)>,
}

type Done = Result<(), NotByLines>;

impl<'s> Edits<'s> {
    /// None yet.
    pub(super) fn new(source: &'s str) -> Edits<'s> {
        let newline = if source.contains("\r\n") { "\r\n" } else { "\n" };
        Edits { source, newline, list: Vec::new() }
    }

    /// The text with all of them.
    pub(super) fn apply(mut self) -> Result<String, NotByLines> {
        // Those at the same place stay in the order in which they were asked for.
        self.list.sort_by_key(|(range, _)| range.start);
        let mut out = String::with_capacity(self.source.len() + 4096);
        let mut at = 0;
        for (range, text) in &self.list {
            out.push_str(self.source.get(at..range.start).ok_or(NotByLines)?);
            out.push_str(text);
            at = range.end;
        }
        out.push_str(self.source.get(at..).ok_or(NotByLines)?);
        Ok(out)
    }

    /// Adds to a pod what was planned.
    pub(super) fn graft(&mut self, pod: &Node, plan: &Plan, status: &Status) -> Done {
        for probe in &plan.probes {
            let port = pod.at(&probe.path).filter(|p| !p.closed && !p.span.is_empty()).ok_or(NotByLines)?;
            self.list.push((port.span.clone(), probe.to.to_string()));
        }
        self.annotate(pod, status)?;
        let spec = pod.get("spec").filter(|spec| !spec.closed).ok_or(NotByLines)?;
        for (name, items) in [("initContainers", &plan.before), ("volumes", &plan.volumes)] {
            if !items.is_empty() {
                self.put_first(spec, name, items)?;
            }
        }
        if plan.beside.is_empty() { Ok(()) } else { self.put_last(spec, &plan.beside) }
    }

    fn annotate(&mut self, pod: &Node, status: &Status) -> Done {
        let line = line_of(&status.text());
        if pod.closed {
            return Err(NotByLines);
        }
        let Some((key, metadata)) = pod.entry("metadata") else {
            let first = pod.entries().first().ok_or(NotByLines)?;
            let indent = self.indent(first.0.span.start)?;
            let pad = " ".repeat(indent);
            return self.insert(
                first.0.span.start,
                &[format!("{pad}metadata:"), format!("{pad}  annotations:"), format!("{pad}    {line}")],
            );
        };
        if metadata.is_empty() {
            let pad = " ".repeat(self.indent(key.span.start)? + 2);
            return self.fill(key, metadata, &[format!("{pad}annotations:"), format!("{pad}  {line}")]);
        }
        match metadata.entry("annotations") {
            None if metadata.closed => self.put_in_brackets(metadata, &in_metadata(&line)),
            None => {
                let first = metadata.entries().first().ok_or(NotByLines)?.0.span.start;
                let pad = " ".repeat(self.indent(first)?);
                self.insert(first, &[format!("{pad}annotations:"), format!("{pad}  {line}")])
            }
            Some((key, annotations)) if annotations.is_empty() && !metadata.closed => {
                let pad = " ".repeat(self.indent(key.span.start)? + 2);
                self.fill(key, annotations, &[format!("{pad}{line}")])
            }
            Some((_, annotations)) if annotations.closed => {
                self.put_in_brackets(annotations, &in_annotations(&line))
            }
            Some(_) if metadata.closed => Err(NotByLines),
            Some((_, annotations)) => {
                let first = annotations.entries().first().ok_or(NotByLines)?.0.span.start;
                let pad = " ".repeat(self.indent(first)?);
                self.insert(first, &[format!("{pad}{line}")])
            }
        }
    }

    /// Puts items before all others of a list.
    fn put_first(&mut self, spec: &Node, name: &str, items: &[Node]) -> Done {
        let (containers, list) = spec.entry("containers").ok_or(NotByLines)?;
        let rendered = |indent: usize| -> Vec<String> {
            emit::yaml(&Node::list(items.iter().cloned()), indent).lines().map(str::to_owned).collect()
        };
        match spec.entry(name) {
            Some((key, value)) if value.is_empty() => {
                let indent = self.indent(key.span.start)?;
                self.fill(key, value, &rendered(indent + 2))
            }
            Some((_, value)) if value.closed => Err(NotByLines),
            Some((_, value)) => {
                let first = value.items().first().ok_or(NotByLines)?.span.start;
                let (at, indent) = self.dash(first)?;
                self.insert(at, &rendered(indent))
            }
            None => {
                let indent = self.indent(containers.span.start)?;
                // As the containers are written: under their key, or further in.
                let first = list.items().first().filter(|_| !list.closed).ok_or(NotByLines)?;
                let inner = self.dash(first.span.start)?.1;
                let mut lines = vec![format!("{}{name}:", " ".repeat(indent))];
                lines.extend(rendered(inner));
                self.insert(self.before_comments(containers.span.start, indent), &lines)
            }
        }
    }

    /// Puts items after all others of the containers.
    fn put_last(&mut self, spec: &Node, items: &[Node]) -> Done {
        let list = spec.get("containers").filter(|list| !list.closed).ok_or(NotByLines)?;
        let (first, last) = list.items().first().zip(list.items().last()).ok_or(NotByLines)?;
        let (_, indent) = self.dash(first.span.start)?;
        let at = self.line_end(last.end());
        let open = !self.source[..at].ends_with('\n');
        let mut text = String::new();
        for line in emit::yaml(&Node::list(items.iter().cloned()), indent).lines() {
            // The last line of a text without a line end stays one.
            let [before, after] = if open { [self.newline, ""] } else { ["", self.newline] };
            text.extend([before, line, after]);
        }
        self.list.push((at..at, text));
        Ok(())
    }

    /// Takes out of a pod what was put into it.
    pub(super) fn ungraft(&mut self, pod: &Node, status: &Status) -> Done {
        for (path, text) in ports_of(pod, status) {
            let port = pod.at(&path).filter(|p| !p.closed && !p.span.is_empty()).ok_or(NotByLines)?;
            self.list.push((port.span.clone(), text));
        }
        let spec = pod.get("spec").filter(|spec| !spec.closed).ok_or(NotByLines)?;
        for (name, ours) in PUT {
            let Some((key, list)) = spec.entry(name) else { continue };
            let is_ours = |item: &&Node| item.word("name").is_some_and(|name| ours.contains(&name));
            let found: Vec<&Node> = list.items().iter().filter(is_ours).collect();
            if found.is_empty() {
                continue;
            }
            if found.len() == list.items().len() {
                self.empty(key, list, status.was.get(name))?;
                continue;
            }
            if list.closed {
                return Err(NotByLines);
            }
            for item in found {
                let (mut at, _) = self.dash(item.span.start)?;
                let end = self.line_end(item.end());
                if end == self.source.len() && !self.source.ends_with('\n') {
                    // The line before becomes the last one of a text without a line end.
                    at = self.source[..at].strip_suffix('\n').map_or(at, |s| s.trim_end_matches('\r').len());
                }
                self.list.push((at..end, String::new()));
            }
        }
        let (key, metadata) = pod.entry("metadata").ok_or(NotByLines)?;
        let (inner, annotations) = metadata.entry("annotations").ok_or(NotByLines)?;
        if annotations.closed || metadata.closed {
            let line = line_of(annotations.word(STATUS).ok_or(NotByLines)?);
            return self
                .take_out_of_brackets(metadata, &in_metadata(&line))
                .or_else(|_| self.take_out_of_brackets(annotations, &in_annotations(&line)));
        }
        match (metadata.entries().len(), annotations.entries().len()) {
            (1, 1) if status.was.contains_key("metadata") || !status.was.contains_key("annotations") => {
                self.empty(key, metadata, status.was.get("metadata"))
            }
            (_, 1) => self.empty(inner, annotations, status.was.get("annotations")),
            _ => {
                let (key, value) = annotations.entry(STATUS).ok_or(NotByLines)?;
                self.indent(key.span.start)?;
                self.list.push((self.line_start(key.span.start)..self.line_end(value.end()), String::new()));
                Ok(())
            }
        }
    }

    /// Puts an entry before the others of a mapping in brackets.
    fn put_in_brackets(&mut self, map: &Node, entry: &str) -> Done {
        if map.is_empty() || !self.source[map.span.start..].starts_with('{') {
            return Err(NotByLines);
        }
        self.list.push((map.span.start + 1..map.span.start + 1, entry.to_owned()));
        Ok(())
    }

    /// Takes it out again.
    fn take_out_of_brackets(&mut self, map: &Node, entry: &str) -> Done {
        let inside =
            self.source.get(map.span.start..).and_then(|rest| rest.strip_prefix('{')).ok_or(NotByLines)?;
        if !inside.starts_with(entry) {
            return Err(NotByLines);
        }
        self.list.push((map.span.start + 1..map.span.start + 1 + entry.len(), String::new()));
        Ok(())
    }

    /// Gives a key without a value one: lines below it.
    fn fill(&mut self, key: &Node, value: &Node, lines: &[String]) -> Done {
        let colon = colon(self.source, key).ok_or(NotByLines)?;
        // Something between them belongs to neither: an anchor, a tag, a comment.
        let was = after_colon(self.source, key, value);
        if !["", "[]", "{}", "~", "null", "Null", "NULL"].contains(&was.trim()) || was.contains('\n') {
            return Err(NotByLines);
        }
        let text: String = lines.iter().flat_map(|line| [self.newline, line]).collect();
        self.list.push((colon + 1..colon + 1 + was.len(), text));
        Ok(())
    }

    /// Takes a key's value away, or the key with it.
    fn empty(&mut self, key: &Node, value: &Node, was: Option<&String>) -> Done {
        match was {
            Some(was) => {
                let colon = colon(self.source, key).ok_or(NotByLines)?;
                self.list.push((colon + 1..value.end(), was.clone()));
            }
            None => {
                self.indent(key.span.start)?;
                self.list.push((self.line_start(key.span.start)..self.line_end(value.end()), String::new()));
            }
        }
        Ok(())
    }

    /// Puts lines before the line of that place.
    fn insert(&mut self, before: usize, lines: &[String]) -> Done {
        let at = self.line_start(before);
        let text: String = lines.iter().flat_map(|line| [line, self.newline]).collect();
        self.list.push((at..at, text));
        Ok(())
    }

    /// The indentation of what begins its line there.
    fn indent(&self, at: usize) -> Result<usize, NotByLines> {
        let before = self.source.get(self.line_start(at)..at).ok_or(NotByLines)?;
        if before.bytes().all(|b| b == b' ') { Ok(before.len()) } else { Err(NotByLines) }
    }

    /// The line of an item's dash, and its indentation.
    fn dash(&self, item: usize) -> Result<(usize, usize), NotByLines> {
        let start = self.line_start(item);
        let before = self.source.get(start..item).ok_or(NotByLines)?;
        let indent = before.len() - before.trim_start_matches(' ').len();
        let rest = before[indent..].strip_prefix('-').ok_or(NotByLines)?;
        if rest.bytes().all(|b| b == b' ') && !rest.is_empty() {
            Ok((start, indent))
        } else {
            Err(NotByLines)
        }
    }

    /// Before the comments that stand above that line and belong to it.
    fn before_comments(&self, at: usize, indent: usize) -> usize {
        let mut line = self.line_start(at);
        while line > 0 {
            let above = self.line_start(line - 1);
            let text = self.source[above..line].trim_end();
            let own = text.len() - text.trim_start().len();
            if !text.trim_start().starts_with('#') || own != indent {
                break;
            }
            line = above;
        }
        line
    }

    fn line_start(&self, at: usize) -> usize {
        self.source[..at].rfind('\n').map_or(0, |n| n + 1)
    }

    /// After the end of the line of that place.
    fn line_end(&self, at: usize) -> usize {
        // A value that takes its line's end along has had it already.
        let at = if at > 0 && self.source[..at].ends_with('\n') { at - 1 } else { at };
        self.source[at..].find('\n').map_or(self.source.len(), |n| at + n + 1)
    }
}

/// The record as an entry: in single quotes, where nothing but they themselves is special.
fn line_of(status: &str) -> String {
    format!("{STATUS}: '{}'", status.replace('\'', "''"))
}

fn in_metadata(line: &str) -> String {
    format!("annotations: {{{line}}}, ")
}

fn in_annotations(line: &str) -> String {
    format!("{line}, ")
}

/// Whether a tree has something of ours in it.
pub(super) fn is_injected(pod: &Node) -> bool {
    pod.at(&keys(&["metadata", "annotations"]))
        .is_some_and(|a| matches!(a.data, Data::Map(_)) && a.get(STATUS).is_some())
}
