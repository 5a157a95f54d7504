use super::names::known;
use super::steady_state::bound;
use crate::experiment::{Compare, Confirm, Guard, Safety, Source, SteadyState};
use crate::units::{Percent, Span};
use crate::yaml::{Fields, Node, Reader};

/// Reads `safety`.
pub(in crate::experiment) fn read(
    r: &Reader,
    top: &Fields<'_>,
    steady: Option<&SteadyState>,
) -> Option<Safety> {
    let mut out = Safety {
        confirm: Confirm::None,
        max_targets_at_once: None,
        max_percent: None,
        allow_commands: None,
        max_duration: None,
        lease: Span::secs(15),
        abort_if: vec![],
        on_unknown: Some(Span::secs(30)),
        verify_within: Span::secs(60),
    };
    if let Some(node) = top.get("safety") {
        let f = r.fields(
            node,
            "safety",
            &[
                "confirm",
                "blast_radius",
                "max_duration",
                "lease",
                "abort_if",
                "on_unknown",
                "on_interrupt",
                "verify_recovery",
            ],
        )?;
        if let Some(n) = f.get("confirm") {
            out.confirm = r.choice(
                n,
                "confirm",
                &[("none", Confirm::None), ("prompt", Confirm::Prompt), ("typed", Confirm::Typed)],
            )?;
        }
        if let Some(n) = f.get("blast_radius") {
            let b = r.fields(n, "blast_radius", &["max_targets_at_once", "max_percent", "allow_commands"])?;
            out.max_targets_at_once =
                b.get("max_targets_at_once").and_then(|n| r.integer(n, "max_targets_at_once", 1, 1_000_000));
            out.max_percent = b.get("max_percent").and_then(|n| r.parse(n, "max_percent"));
            out.allow_commands = b.get("allow_commands").map(|n| {
                r.items(n, "allow_commands").iter().filter_map(|c| r.text(c, "a command")).collect()
            });
        }
        out.max_duration = f.get("max_duration").and_then(|n| r.parse(n, "max_duration"));
        if let Some(n) = f.get("lease") {
            out.lease = r.parse(n, "lease")?;
            if out.lease < Span::secs(1) {
                return r.refuse(
                    n.place,
                    format!("a lease of {} is too short", out.lease),
                    "write at least 1s",
                );
            }
        }
        if let Some(n) = f.get("on_interrupt") {
            r.choice(n, "on_interrupt", &[("recover", ())])?;
        }
        if let Some(n) = f.get("on_unknown") {
            let u = r.fields(n, "on_unknown", &["after", "then"])?;
            let abort = u
                .get("then")
                .map_or(Some(true), |n| r.choice(n, "then", &[("abort", true), ("continue", false)]))?;
            let after = u.get("after").map_or(Some(Span::secs(30)), |n| r.parse(n, "after"))?;
            out.on_unknown = abort.then_some(after);
        }
        if let Some(n) = f.get("verify_recovery") {
            let v = r.fields(n, "verify_recovery", &["within"])?;
            out.verify_within = v.get("within").map_or(Some(out.verify_within), |n| r.parse(n, "within"))?;
        }
        if let Some(list) = f.get("abort_if") {
            out.abort_if = r.items(list, "abort_if").iter().filter_map(|n| guard(r, n, steady)).collect();
        }
    }
    commands(r, top, &out, steady);
    Some(out)
}

fn guard(r: &Reader, node: &Node, steady: Option<&SteadyState>) -> Option<Guard> {
    let f = r.fields(node, "a guard", &["metric", "is", "for", "file", "node"])?;
    if let Some(n) = f.get("node") {
        if let Some(key) = ["metric", "is", "file"].into_iter().find(|key| f.has(key)) {
            return r.refuse(
                f.place_of(key),
                format!(
                    "a guard looks at this machine or at something else, and this one has {key} beside node"
                ),
                "make it two guards",
            );
        }
        return machine(r, n, &f);
    }
    if let Some(n) = f.get("file") {
        if let Some(key) = ["metric", "is", "for"].into_iter().find(|key| f.has(key)) {
            return r.refuse(
                f.place_of(key),
                format!("a guard looks at a file or at a metric, and this one has {key} beside file"),
                "make it two guards; a file ends the run as soon as it is there",
            );
        }
        return Some(Guard::File { path: r.text(n, "file")? });
    }
    let name_node = r.need(&f, "a guard", "metric", "checkout_ok")?;
    let name = r.text(name_node, "metric")?;
    let metrics = &steady?.metrics;
    let Some(metric) = metrics.iter().find(|m| m.name == name) else {
        let names: Vec<&str> = metrics.iter().map(|m| m.name.as_str()).collect();
        return r.refuse(name_node.place, format!("there is no metric named {name:?}"), known(&name, &names));
    };
    let (op, value) = bound(r, r.need(&f, "a guard", "is", "\"< 90%\"")?, "is", &metric.from)?;
    let lasts = f.get("for").map_or(Some(Span::ZERO), |n| r.parse(n, "for"))?;
    Some(Guard::Metric { metric: name, op, value, lasts })
}

/// `{cpu: "> 95%", memory: "> 90%"}`: either ends the run.
fn machine(r: &Reader, node: &Node, guard: &Fields<'_>) -> Option<Guard> {
    let f = r.fields(node, "node", &["cpu", "memory"])?;
    let share = |key: &str| match f.get(key) {
        None => Some(None),
        Some(n) => share(r, n, key).map(Some),
    };
    let (cpu, memory) = (share("cpu")?, share("memory")?);
    if cpu.is_none() && memory.is_none() {
        return r.refuse(
            node.place,
            "a guard on node looks at nothing",
            "write for example {cpu: \"> 95%\"}",
        );
    }
    let lasts = guard.get("for").map_or(Some(Span::ZERO), |n| r.parse(n, "for"))?;
    Some(Guard::Node { cpu, memory, lasts })
}

/// `> 95%`
fn share(r: &Reader, node: &Node, key: &str) -> Option<(Compare, f64)> {
    let text = r.text(node, key)?;
    let compared = Compare::ALL.iter().find_map(|(sign, op)| Some((*op, text.trim().strip_prefix(sign)?)));
    let Some((op, rest)) = compared else {
        return r.refuse(
            node.place,
            format!("{key}: {text:?} has no comparison"),
            "write for example \"> 95%\"",
        );
    };
    match rest.trim().parse::<Percent>() {
        Ok(percent) => Some((op, percent.value())),
        Err(e) => r.refuse(node.place, format!("{key}: {e}"), "write for example \"> 95%\""),
    }
}

fn commands(r: &Reader, top: &Fields<'_>, safety: &Safety, steady: Option<&SteadyState>) {
    let (Some(allowed), Some(steady)) = (&safety.allow_commands, steady) else { return };
    for metric in &steady.metrics {
        if let Source::Command(probe) = &metric.from
            && !allowed.iter().any(|a| Some(a) == probe.run.first())
        {
            r.refuse::<()>(
                top.place_of("safety"),
                format!("metric {} runs {}, which allow_commands does not name", metric.name, probe.run[0]),
                "add it there, or remove the metric",
            );
        }
    }
}
