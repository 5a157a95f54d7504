//! Manifests with murphy beside their applications, and without it again.
//!
//! What is added is put between lines where the YAML is written in blocks, so that everything else stays as it was, comments
//! and all. Afterwards the result is read again and compared with the same change made to the tree; where it would mean
//! something else (aliases), and where nothing can be put between lines (brackets), the document is written anew.
//!
//! ```text
//! tree       a document whose nodes know where they stood
//! emit       a tree as YAML or JSON
//! workload   where the pods are
//! options    what is asked for
//! parts      the containers and volumes that a pod gets
//! plan       what is done to one pod
//! text       the change as lines
//! graft      the change on trees
//! ```

mod emit;
mod graft;
mod options;
mod parts;
mod plan;
mod text;
pub(crate) mod tree;
mod workload;

pub use options::{Beside, Defaults, INJECT, Mode, STATUS};

use crate::ways::Ways;
use model::Problem;
use plan::{Decision, Status};
use serde_json::Value;
use text::Edits;
use tree::Node;
use workload::workloads;

/// What came of one workload, or of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// `Deployment/web`, or `document 3`.
    pub about: String,
    /// What came of it.
    pub what: Outcome,
}

/// What came of a workload.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It has murphy, with these ports.
    Injected(String),
    /// It has murphy no more.
    Removed,
    /// It stays as it is, and why.
    Skipped(&'static str),
    /// It asked for murphy and cannot have it.
    Refused(Problem),
    /// Its document was written anew; `true`: it had comments, and they are lost.
    Rewritten(bool),
    /// It cannot be read.
    Unreadable(Problem),
}

/// Manifests, changed, and what came of each workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// The text.
    pub text: String,
    /// What came of them.
    pub notes: Vec<Note>,
}

/// Gives every workload that wants it murphy. One that has it already is done anew, so that its options count.
pub fn inject(manifests: &str, defaults: &Defaults) -> Changed {
    each(manifests, |source, notes| {
        let (mut bare, mut added) = (Vec::new(), Vec::new());
        let source = strip(source, &mut bare)?;
        let text = add(&source, defaults, &mut added)?;
        // That it was taken out for that is nobody's news, unless it is not put in again.
        let again = |about: &str| {
            added.iter().any(|note| note.about == about && matches!(note.what, Outcome::Injected(_)))
        };
        bare.retain(|note| note.what != Outcome::Removed || !again(&note.about));
        notes.append(&mut bare);
        notes.append(&mut added);
        Ok(text)
    })
}

/// Takes murphy out of every workload that has it.
pub fn uninject(manifests: &str) -> Changed {
    each(manifests, strip)
}

/// One pod or workload as the API server has it, with murphy; none when it does not get it, with the reason.
pub fn inject_object(object: &Value, defaults: &Defaults) -> (Option<Value>, Vec<Note>) {
    let mut notes = Vec::new();
    let mut root = Node::from_value(object);
    let mut changed = false;
    for workload in workloads(&root) {
        if let Some(pod) = root.at_mut(&workload.pod)
            && let Some(status) = Status::read(pod)
        {
            graft::ungraft(pod, &status);
        }
        match plan::decide(&root, &workload, defaults) {
            Decision::Inject(plan) => {
                let what = Outcome::Injected(plan.summary.clone());
                if let Some(pod) = root.at_mut(&workload.pod) {
                    let status = Status::of(pod, &plan, "");
                    graft::graft(pod, &plan, &status);
                    changed = true;
                }
                notes.push(Note { about: workload.name, what });
            }
            Decision::Skip(why) => notes.push(Note { about: workload.name, what: Outcome::Skipped(why) }),
            Decision::Refuse(problem) => {
                notes.push(Note { about: workload.name, what: Outcome::Refused(problem) });
            }
        }
    }
    (changed.then(|| root.to_value()), notes)
}

/// The ports of a pod, as the API server has it, that would lead through murphy: by its annotations and these defaults.
pub fn ways_of(pod: &Value, defaults: &Defaults) -> Result<Ways, Problem> {
    let pod = Node::from_value(pod);
    let annotations = pod.get("metadata").and_then(|m| m.get("annotations"));
    plan::ways(&pod, &options::read(&[annotations], defaults)?)
}

/// Does something to each document; one that cannot be read stays as it is.
fn each(manifests: &str, mut change: impl FnMut(&str, &mut Vec<Note>) -> Result<String, Problem>) -> Changed {
    let (mut text, mut notes) = (String::with_capacity(manifests.len() + 8192), Vec::new());
    for (n, document) in documents(manifests).into_iter().enumerate() {
        match change(document, &mut notes) {
            Ok(changed) => text.push_str(&changed),
            Err(problem) => {
                text.push_str(document);
                notes.push(Note { about: format!("document {}", n + 1), what: Outcome::Unreadable(problem) });
            }
        }
    }
    Changed { text, notes }
}

/// The documents of a text, each with the line that begins it. Joined they are the text.
fn documents(text: &str) -> Vec<&str> {
    let (mut all, mut start, mut at) = (Vec::new(), 0, 0);
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end();
        if at > start && (bare == "---" || bare.starts_with("--- ")) {
            // Lines before the first one are directives, comments or nothing, unless they are a document.
            let before = &text[start..at];
            let empty = |l: &str| l.trim().is_empty() || l.starts_with(['#', '%']);
            if !(all.is_empty() && before.lines().all(empty) && before.lines().any(|l| l.starts_with('%'))) {
                all.push(before);
                start = at;
            }
        }
        at += line.len();
    }
    all.push(&text[start..]);
    all
}

/// How a document is written anew.
enum Form {
    Yaml,
    Json(Option<usize>),
}

fn form(source: &str) -> Form {
    let bare = source.trim_start_matches('\u{feff}').trim();
    if !bare.starts_with('{') || serde_json::from_str::<Value>(bare).is_err() {
        return Form::Yaml;
    }
    let second = bare.lines().nth(1);
    Form::Json(second.map(|line| (line.len() - line.trim_start_matches(' ').len()).max(1)))
}

/// A document written anew, with what stands before it and after it.
fn rewrite(source: &str, root: &Node) -> String {
    match form(source) {
        Form::Json(indent) => {
            let lead = &source[..source.len() - source.trim_start().len()];
            let tail = &source[source.trim_end().len()..];
            format!("{lead}{}{tail}", emit::json(root, indent))
        }
        Form::Yaml => {
            let marker = if source.starts_with("---") { "---\n" } else { "" };
            format!("{marker}{}", emit::yaml(root, 0))
        }
    }
}

/// Whether something of it is a comment. Wrong only where it does no harm: what looks like one within a text.
fn has_comments(source: &str) -> bool {
    source.lines().any(|line| line.trim_start().starts_with('#') || line.contains(" #"))
}

fn strip(source: &str, notes: &mut Vec<Note>) -> Result<String, Problem> {
    let Some(root) = tree::parse(source)? else { return Ok(source.to_owned()) };
    let mut wanted = root.clone();
    let (mut edits, mut by_lines) = (Edits::new(source), true);
    let mut any = false;
    for workload in workloads(&root) {
        let Some(pod) = root.at(&workload.pod) else { continue };
        if !text::is_injected(pod) {
            continue;
        }
        let status = Status::read(pod).unwrap_or_default();
        by_lines = by_lines && edits.ungraft(pod, &status).is_ok();
        if let Some(pod) = wanted.at_mut(&workload.pod) {
            graft::ungraft(pod, &status);
        }
        any = true;
        notes.push(Note { about: workload.name, what: Outcome::Removed });
    }
    if !any {
        return Ok(source.to_owned());
    }
    Ok(by_lines.then(|| checked(edits, &wanted)).flatten().unwrap_or_else(|| {
        if has_comments(source) {
            notes.push(Note { about: name_of(&root), what: Outcome::Rewritten(true) });
        }
        rewrite(source, &wanted)
    }))
}

fn add(source: &str, defaults: &Defaults, notes: &mut Vec<Note>) -> Result<String, Problem> {
    let Some(root) = tree::parse(source)? else { return Ok(source.to_owned()) };
    let mut plans = Vec::new();
    for workload in workloads(&root) {
        let about = workload.name.clone();
        let what = match plan::decide(&root, &workload, defaults) {
            Decision::Inject(plan) => {
                let what = Outcome::Injected(plan.summary.clone());
                plans.push((workload, plan));
                what
            }
            Decision::Skip(why) => Outcome::Skipped(why),
            Decision::Refuse(problem) => Outcome::Refused(problem),
        };
        notes.push(Note { about, what });
    }
    if plans.is_empty() {
        return Ok(source.to_owned());
    }
    let grafted = |source: &str, root: &Node| -> (Option<String>, Node) {
        let (mut edits, mut by_lines) = (Edits::new(source), true);
        let mut wanted = root.clone();
        for (workload, plan) in &plans {
            let Some(pod) = root.at(&workload.pod) else { continue };
            let status = Status::of(pod, plan, source);
            by_lines = by_lines && edits.graft(pod, plan, &status).is_ok();
            if let Some(pod) = wanted.at_mut(&workload.pod) {
                graft::graft(pod, plan, &status);
            }
        }
        (by_lines.then(|| checked(edits, &wanted)).flatten(), wanted)
    };
    if let (Some(text), _) = grafted(source, &root) {
        return Ok(text);
    }
    if let Form::Json(_) = form(source) {
        return Ok(rewrite(source, &grafted(source, &root).1));
    }
    notes.push(Note { about: name_of(&root), what: Outcome::Rewritten(has_comments(source)) });
    // In blocks and without aliases lines can be put into it, now and the next time.
    let anew = rewrite(source, &root);
    match tree::parse(&anew)? {
        Some(root) => {
            let (text, wanted) = grafted(&anew, &root);
            Ok(text.unwrap_or_else(|| rewrite(source, &wanted)))
        }
        None => Ok(source.to_owned()),
    }
}

/// The text with its changes, if it means what it should.
fn checked(edits: Edits<'_>, wanted: &Node) -> Option<String> {
    let text = edits.apply().ok()?;
    let meant = tree::parse(&text).ok()??;
    (meant.to_value() == wanted.to_value()).then_some(text)
}

fn name_of(root: &Node) -> String {
    let name = root.get("metadata").and_then(|m| m.word("name"));
    match (root.word("kind"), name) {
        (Some(kind), Some(name)) => format!("{kind}/{name}"),
        (Some(kind), None) => kind.to_owned(),
        _ => "a document".to_owned(),
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
