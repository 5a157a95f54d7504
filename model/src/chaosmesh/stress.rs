//! StressChaos.

use super::selector::{containers, fields};
use super::tree::{map, text};
use super::{Step, Steps, is_empty, percent};
use crate::yaml::{Fields, Node, Reader};

/// StressChaos.
pub(super) fn read(r: &Reader, spec: &Node) -> Option<Steps> {
    let f = fields(r, spec, &["stressors", "stressngStressors"])?;
    let target = map(spec.place, vec![("container", containers(r, &f)?)]);
    let mut faults = Vec::new();
    if let Some(node) = f.get("stressngStressors").filter(|node| !is_empty(node)) {
        // As there, it takes the place of all others.
        let args = text(node.place, r.text(node, "stressngStressors")?);
        faults.push(Step::new(node.place, "stress_ng", vec![("args", args)]));
        return Some(Steps { target, faults });
    }
    let stressors = r.need(&f, "spec", "stressors", "{cpu: {workers: 1, load: 50}}")?;
    let all = r.fields(stressors, "spec.stressors", &["cpu", "memory"])?;
    if let Some(node) = all.get("cpu") {
        let own = r.fields(node, "spec.stressors.cpu", &["workers", "load", "options"])?;
        options(r, &own, "cpu")?;
        let mut parameters = Vec::new();
        parameters.extend(own.get("workers").map(|n| ("cores", n.clone())));
        let load = match own.get("load") {
            Some(n) => percent(r, n, "load")?,
            None => text(node.place, "100%"),
        };
        parameters.push(("load", load));
        faults.push(Step::new(node.place, "cpu", parameters));
    }
    if let Some(node) = all.get("memory") {
        let what = "spec.stressors.memory";
        let own = r.fields(node, what, &["workers", "size", "options", "time", "oomScoreAdj"])?;
        options(r, &own, "memory")?;
        for (key, why) in [
            (
                "time",
                "a ramp is written otherwise here: ramp: {over: 10s, size: [0B, 256MB]} in a file of murphy's",
            ),
            ("oomScoreAdj", "murphy's child is always the first to go when memory is short"),
        ] {
            if own.get(key).is_some() {
                return r.refuse(own.place_of(key), format!("{what}.{key}: it is not taken"), why);
            }
        }
        let size = r.need(&own, what, "size", "256MB")?;
        let amount = text(size.place, r.text(size, "size")?);
        // However many workers there are, they take so much in all.
        let key = if r.text(size, "size")?.ends_with('%') { "load" } else { "size" };
        faults.push(Step::new(node.place, "memory", vec![(key, amount)]));
    }
    if faults.is_empty() {
        return r.refuse(stressors.place, "spec.stressors are none", "write for example {cpu: {workers: 1}}");
    }
    Some(Steps { target, faults })
}

fn options(r: &Reader, own: &Fields<'_>, of: &str) -> Option<()> {
    match own.get("options") {
        Some(node) if !is_empty(node) => r.refuse(
            own.place_of("options"),
            format!("spec.stressors.{of}.options: they are for stress-ng, and murphy does this itself"),
            "write them as stressngStressors, where stress-ng is installed",
        ),
        _ => Some(()),
    }
}
