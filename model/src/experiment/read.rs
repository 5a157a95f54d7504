//! Reads an experiment file: the whole of it, so that every problem is shown at once.

use super::sections::names::check_name;
use super::sections::{load, safety, stages, steady_state, targets};
use super::{Experiment, Format, Report};
use crate::chaosmesh;
use crate::problem::{Problem, Problems};
use crate::yaml::{Fields, Node, Reader, parse};
use std::collections::BTreeMap;

const KEYS: [&str; 13] = [
    "murphy",
    "name",
    "description",
    "hypothesis",
    "owner",
    "tags",
    "seed",
    "vars",
    "targets",
    "steady_state",
    "load",
    "stages",
    "safety",
];

/// Reads an experiment. `name` is how the text is called in messages, and its stem the experiment's name when it gives
/// none; `set` overrides variables.
pub fn read(name: &str, source: &str, set: &BTreeMap<String, String>) -> Result<Experiment, Problems> {
    let problems = |list| Problems { name: name.to_owned(), source: source.to_owned(), list };
    let root = parse(source).map_err(problems)?;
    let vars = variables(&root, set).map_err(problems)?;
    let reader = Reader::new(vars);
    let experiment = match chaosmesh::is_one(&root) {
        true => chaosmesh::translate(&reader, &root).and_then(|ours| document(&reader, &ours, name)),
        false => document(&reader, &root, name),
    };
    if !reader.failed() {
        for var in reader.unused().iter().filter(|v| set.contains_key(*v)) {
            reader.report(
                Problem::new(format!("--set {var}: the file does not use this variable"))
                    .hint(format!("write ${{{var}}} where it belongs")),
            );
        }
    }
    match experiment {
        Some(experiment) if !reader.failed() => Ok(experiment),
        _ => {
            let mut list = reader.into_problems();
            if list.is_empty() {
                // A part was left out without a word; better an odd sentence than an empty one.
                list.push(
                    Problem::new("the file is no complete experiment")
                        .hint("compare it with docs/experiments.md"),
                );
            }
            Err(problems(list))
        }
    }
}

fn variables(root: &Node, set: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Vec<Problem>> {
    let reader = Reader::default();
    let mut vars = BTreeMap::new();
    if let crate::yaml::Data::Map(entries) = &root.data {
        for (_, node) in entries.iter().filter(|(k, _)| k.text == "vars") {
            for (key, value) in reader.entries(node, "vars") {
                match &value.data {
                    crate::yaml::Data::Scalar { text, .. } => {
                        vars.insert(key.text.clone(), text.clone());
                    }
                    _ => reader.report(
                        Problem::new(format!("the variable {} must be a text or a number", key.text))
                            .at(value.place),
                    ),
                }
            }
        }
    }
    for (key, value) in set {
        vars.insert(key.clone(), value.clone());
    }
    if reader.failed() { Err(reader.into_problems()) } else { Ok(vars) }
}

fn document(r: &Reader, root: &Node, file: &str) -> Option<Experiment> {
    let mut known = KEYS.to_vec();
    known.push("report");
    let top = r.fields(root, "an experiment", &known)?;
    if let Some(version) = r.need(&top, "an experiment", "murphy", "1")
        && r.text(version, "murphy").is_some_and(|v| v != "1")
    {
        r.refuse::<()>(
            version.place,
            format!("this murphy reads version 1 of the format, not {}", version.describe()),
            "write murphy: 1",
        );
    }
    let text = |key: &str| top.get(key).and_then(|n| r.text(n, key));
    let name = match top.get("name") {
        Some(node) => r.text(node, "name").filter(|n| check_name(r, node.place, n)),
        None => Some(stem(file)),
    };
    let targets = targets::read(r, &top);
    let loads = load::read(r, &top);
    let steady = steady_state::read(r, &top, &targets, &loads);
    let safety = safety::read(r, &top, steady.as_ref());
    let stages = stages::read(r, &top, &targets, safety.as_ref());
    let tags =
        top.get("tags").map(|n| r.items(n, "tags").iter().filter_map(|t| r.text(t, "a tag")).collect());
    let experiment = Experiment {
        description: text("description"),
        hypothesis: text("hypothesis"),
        owner: text("owner"),
        tags: tags.unwrap_or_default(),
        seed: top.get("seed").and_then(|n| r.integer(n, "seed", 0, u64::MAX)),
        report: report(r, &top)?,
        name: name?,
        targets,
        steady_state: steady?,
        loads,
        stages: stages?,
        safety: safety?,
    };
    let lasts = experiment.lasts();
    if let Some(max) = experiment.safety.max_duration.filter(|max| *max < lasts) {
        r.refuse::<()>(
            top.place_of("safety"),
            format!("the run takes {lasts}, longer than its max_duration {max}"),
            "make max_duration longer, or the stages shorter",
        );
    }
    Some(experiment)
}

fn stem(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    let stem: String = base
        .trim_end_matches(".yaml")
        .trim_end_matches(".yml")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' })
        .collect();
    let stem = stem.trim_matches('-');
    if stem.is_empty() { "experiment".to_owned() } else { stem.to_owned() }
}

fn report(r: &Reader, top: &Fields<'_>) -> Option<Report> {
    let all = || Format::ALL.iter().map(|(_, f)| *f).collect::<Vec<_>>();
    let Some(node) = top.get("report") else {
        return Some(Report { dir: None, formats: all() });
    };
    let f = r.fields(node, "report", &["dir", "formats"])?;
    let formats = match f.get("formats") {
        Some(list) => {
            r.items(list, "formats").iter().filter_map(|n| r.choice(n, "formats", &Format::ALL)).collect()
        }
        None => all(),
    };
    Some(Report { dir: f.get("dir").and_then(|n| r.text(n, "dir")), formats })
}
