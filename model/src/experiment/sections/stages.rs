use super::names::{check_name, declared, known};
use crate::experiment::{Otherwise, Planned, Safety, Stage, Start};
use crate::fault::{Fault, Injection};
use crate::matcher::Matcher;
use crate::problem::Problem;
use crate::ramp::{Ramp, Track};
use crate::share::{Per, Share};
use crate::target::Target;
use crate::units::{Percent, Span};
use crate::value::ParamType;
use crate::yaml::{Data, Fields, Node, Reader};
use std::collections::BTreeMap;

/// The keys of a fault in a stage.
const FAULT_KEYS: [&str; 15] = [
    "id", "target", "at", "after", "for", "percent", "nth", "first", "per", "when", "ramp", "seed", "inject",
    "every", "times",
];

/// Reads `stages`.
pub(in crate::experiment) fn read(
    r: &Reader,
    top: &Fields<'_>,
    targets: &[Target],
    safety: Option<&Safety>,
) -> Option<Vec<Stage>> {
    let node = r.need(
        top,
        "an experiment",
        "stages",
        "[{faults: [{target: web, for: 30s, inject: {latency: {delay: 100ms}}}]}]",
    )?;
    let items = r.items(node, "stages");
    if items.is_empty() {
        return r.refuse(node.place, "there are no stages", "write at least one, with a fault in it");
    }
    let mut ids: Vec<String> = Vec::new();
    let mut stages: Vec<Stage> = Vec::new();
    for (i, item) in items.iter().enumerate() {
        if let Some(stage) = stage(r, top, item, i, targets, safety, &mut ids) {
            if stages.iter().any(|s| s.name == stage.name) {
                r.refuse::<()>(
                    item.place,
                    format!("two stages are named {}", stage.name),
                    "give each a name of its own",
                );
            }
            stages.push(stage);
        }
    }
    if !r.failed() && stages.iter().all(|s| s.faults.is_empty()) {
        return r.refuse(
            node.place,
            "no stage has a fault",
            "an experiment that breaks nothing finds nothing",
        );
    }
    Some(stages)
}

fn stage(
    r: &Reader,
    top: &Fields<'_>,
    node: &Node,
    index: usize,
    targets: &[Target],
    safety: Option<&Safety>,
    ids: &mut Vec<String>,
) -> Option<Stage> {
    let f = r.fields(node, "a stage", &["name", "for", "require", "otherwise", "faults"])?;
    let name = match f.get("name") {
        Some(n) => r.text(n, "name").filter(|t| check_name(r, n.place, t))?,
        None => format!("stage-{}", index + 1),
    };
    let given = match f.get("for") {
        Some(n) => Some(r.parse::<Span>(n, "for")?),
        None => None,
    };
    let require_steady = match f.get("require") {
        Some(n) => r.choice(n, "require", &[("steady", true)])?,
        None => false,
    };
    let otherwise = match f.get("otherwise") {
        Some(n) => r.choice(
            n,
            "otherwise",
            &[("skip", Otherwise::Skip), ("abort", Otherwise::Abort), ("continue", Otherwise::Continue)],
        )?,
        None => Otherwise::Skip,
    };
    let mut faults: Vec<(Planned, crate::problem::Place)> = Vec::new();
    let mut complete = true;
    if let Some(list) = f.get("faults") {
        for item in r.items(list, "faults") {
            match fault(r, top, item, targets, safety, ids) {
                Some(more) => faults.extend(more.into_iter().map(|p| (p, item.place))),
                None => complete = false,
            }
        }
    }
    if !complete {
        return None;
    }
    let mut ends: BTreeMap<String, Span> = BTreeMap::new();
    for (planned, place) in &faults {
        let start = match &planned.start {
            Start::At(at) => *at,
            Start::After { fault, delay } => match ends.get(fault) {
                Some(end) => Span(end.0 + delay.0),
                None => {
                    let names: Vec<&str> = ends.keys().map(String::as_str).collect();
                    return r.refuse(
                        *place,
                        format!(
                            "{} waits for {fault:?}, which no fault before it in this stage is named",
                            planned.id
                        ),
                        known(fault, &names),
                    );
                }
            },
        };
        let end = Span(start.0 + planned.fault.lasts.unwrap_or_default().0);
        if let Some(lasts) = given.filter(|lasts| end > *lasts) {
            r.refuse::<()>(
                *place,
                format!("{} ends {end} after the stage began, which takes {lasts}", planned.id),
                "make the stage longer, or the fault shorter",
            );
        }
        ends.insert(planned.id.clone(), end);
    }
    let lasts = match given.or_else(|| ends.values().max().copied()) {
        Some(Span::ZERO) | None => {
            return r.refuse(f.place, format!("stage {name} takes no time"), "give it a length: for: 60s");
        }
        Some(lasts) => lasts,
    };
    Some(Stage {
        name,
        lasts,
        require_steady,
        otherwise,
        faults: faults.into_iter().map(|(p, _)| p).collect(),
    })
}

fn fault(
    r: &Reader,
    top: &Fields<'_>,
    node: &Node,
    targets: &[Target],
    safety: Option<&Safety>,
    ids: &mut Vec<String>,
) -> Option<Vec<Planned>> {
    let f = r.fields(node, "a fault", &FAULT_KEYS)?;
    let target = r.need(&f, "a fault", "target", "web").and_then(|n| {
        let name = r.text(n, "target")?;
        let found = targets.iter().find(|t| t.name == name || t.reference().to_string() == name);
        found.or_else(|| {
            if declared(top, &name) {
                return None;
            }
            let names: Vec<&str> = targets.iter().map(|t| t.name.as_str()).collect();
            r.refuse(n.place, format!("there is no target named {name:?}"), known(&name, &names))
        })
    });
    let inject = r.need(&f, "a fault", "inject", "{latency: {delay: 100ms}}").and_then(|n| injection(r, n));
    // All of them are read before any is missed, so that all their problems are told.
    let lasts = f.get("for").map(|n| r.parse::<Span>(n, "for"));
    let share = share(r, &f);
    let per = f.get("per").map(|n| r.parse::<Per>(n, "per"));
    let when = f.get("when").map(|n| matcher(r, n));
    let (target, inject, share) = (target?, inject?, share?);
    let lasts = match lasts {
        Some(read) => Some(read?),
        None => None,
    };
    let per = match per {
        Some(read) => Some(read?),
        None => None,
    };
    let when = match when {
        Some(read) => Some(read?),
        None => None,
    };
    let ramp = match f.get("ramp") {
        Some(n) => Some(ramp(r, n, &inject)?),
        None => None,
    };
    let seed = match f.get("seed") {
        Some(n) => Some(r.integer(n, "seed", 0, u64::MAX)?),
        None => None,
    };
    let id = match f.get("id") {
        Some(n) => {
            let id = r.text(n, "id").filter(|t| check_name(r, n.place, t))?;
            if ids.contains(&id) {
                return r.refuse(
                    n.place,
                    format!("two faults have the id {id:?}"),
                    "give each an id of its own",
                );
            }
            id
        }
        None => (1..)
            .map(|i| if i == 1 { inject.name().to_owned() } else { format!("{}-{i}", inject.name()) })
            .find(|id| !ids.contains(id))?,
    };
    let fault = Fault {
        id: Some(id.clone()),
        target: target.reference(),
        inject,
        lasts,
        share,
        per,
        when,
        ramp,
        seed,
    };
    let problems = fault.problems();
    if !problems.is_empty() {
        for problem in problems {
            r.report(problem.at(node.place));
        }
        return None;
    }
    within_radius(r, node, &fault, safety);
    if matches!(fault.share, Share::Percent(p) if p.value() <= 0.0) && !ramps_share(&fault) {
        return r.refuse(
            f.place_of("percent"),
            "percent: 0% hits nothing",
            "write the share that is to be hit, such as 30%",
        );
    }
    if needs_http(&fault) && !speaks_http(target) {
        return r.refuse(
            node.place,
            format!("{} is about requests, and {} speaks tcp", fault.inject.name(), fault.target),
            "give the target protocol: http",
        );
    }
    if let crate::target::TargetSpec::Proxy(proxy) = &target.spec
        && let Some(problem) = crate::catalogue::tls_misfit(&fault, proxy)
    {
        return r.refuse(node.place, problem.what, problem.hint.unwrap_or_default());
    }
    let planned = repeat(r, &f, &id, &fault)?;
    if let Some(taken) = planned.iter().find(|p| ids.contains(&p.id)) {
        return r.refuse(
            node.place,
            format!("{id} comes again as {}, and another fault has that id", taken.id),
            "give that other fault another id",
        );
    }
    ids.extend(planned.iter().map(|p| p.id.clone()));
    Some(planned)
}

fn ramps_share(fault: &Fault) -> bool {
    fault.ramp.as_ref().is_some_and(|ramp| ramp.tracks.iter().any(|t| t.param == "percent"))
}

fn needs_http(fault: &Fault) -> bool {
    fault.inject.def().layer == crate::catalogue::Layer::Requests
}

fn speaks_http(target: &Target) -> bool {
    matches!(&target.spec, crate::target::TargetSpec::Proxy(p) if p.protocol == crate::target::Protocol::Http)
}

fn within_radius(r: &Reader, node: &Node, fault: &Fault, safety: Option<&Safety>) {
    let Some(max) = safety.and_then(|s| s.max_percent) else { return };
    if fault.inject.def().counts.is_some() && fault.hits_at_most() > max.fraction() {
        r.refuse::<()>(
            node.place,
            format!("{} may hit more than the {max} that blast_radius allows", fault.inject.name()),
            format!("write percent: {max} or less"),
        );
    }
}

fn injection(r: &Reader, node: &Node) -> Option<Injection> {
    let Data::Map(entries) = &node.data else {
        return r.refuse(
            node.place,
            format!("inject must be a map, not {}", node.describe()),
            "write for example {latency: {delay: 100ms}}",
        );
    };
    let [(key, value)] = &entries[..] else {
        return r.refuse(node.place, "inject names exactly one fault", "make it several faults in the list");
    };
    let place_all = |p: Problem| {
        r.report(p.at(key.place));
        None
    };
    let Some(def) = crate::catalogue::find(&key.text) else {
        let hint = crate::catalogue::nearest(&key.text)
            .map_or("`murphy faults` lists them".to_owned(), |n| format!("did you mean {n}?"));
        return r.refuse(key.place, format!("there is no fault named {:?}", key.text), hint);
    };
    let names: Vec<&str> = def.params.iter().map(|p| p.name).collect();
    let mut params = BTreeMap::new();
    let mut complete = true;
    if value.data != Data::Null {
        let f = r.fields(value, def.name, &names)?;
        for param in def.params {
            let Some(given) = f.get(param.name) else { continue };
            let Some(json) = r.json(given) else {
                complete = false;
                continue;
            };
            match param.ty.from_json(&json) {
                Ok(v) => {
                    params.insert(param.name.to_owned(), v);
                }
                Err(e) => {
                    complete = false;
                    let message = e.to_string();
                    let (wrong, hint) = message
                        .split_once("; ")
                        .map_or((message.clone(), format!("it is {}", param.ty.describe())), |(w, h)| {
                            (w.to_owned(), h.to_owned())
                        });
                    r.refuse::<()>(given.place, format!("{} {}: {wrong}", def.name, param.name), hint);
                }
            }
        }
        if value_has_unknown(value, &names) {
            return None;
        }
    }
    if !complete {
        return None;
    }
    Injection::new(def, params).map_or_else(place_all, Some)
}

fn value_has_unknown(node: &Node, names: &[&str]) -> bool {
    matches!(&node.data, Data::Map(entries) if entries.iter().any(|(k, _)| !names.contains(&k.text.as_str())))
}

fn share(r: &Reader, f: &Fields<'_>) -> Option<Share> {
    let given: Vec<&str> = ["percent", "nth", "first"].into_iter().filter(|k| f.has(k)).collect();
    match given[..] {
        [] => Some(Share::All),
        ["percent"] => r.parse::<Percent>(f.get("percent")?, "percent").map(Share::Percent),
        ["nth"] => r.integer(f.get("nth")?, "nth", 1, u64::MAX).map(Share::Nth),
        ["first"] => r.integer(f.get("first")?, "first", 1, u64::MAX).map(Share::First),
        _ => r.refuse(
            f.place_of(given[1]),
            format!("{} cannot be combined", given.join(" and ")),
            "keep one of them",
        ),
    }
}

/// Reads a condition on requests or connections.
pub(super) fn matcher(r: &Reader, node: &Node) -> Option<Matcher> {
    let Data::Map(entries) = &node.data else {
        return r.refuse(
            node.place,
            format!("when must be a map, not {}", node.describe()),
            "write for example {method: POST, path: \"/pay*\"}",
        );
    };
    let mut list = Vec::new();
    for (key, value) in entries {
        match Matcher::from_entry(&key.text, &r.json(value)?) {
            Ok(m) => list.push(m),
            Err(problem) => {
                r.report(problem.at(if crate::matcher::KEYS.contains(&key.text.as_str()) {
                    value.place
                } else {
                    key.place
                }));
            }
        }
    }
    match list.len() {
        0 if entries.is_empty() => r.refuse(
            node.place,
            "when is empty",
            "write for example {method: POST}, or leave it out to match everything",
        ),
        0 => None,
        1 => list.pop(),
        _ => Some(Matcher::All(list)),
    }
}

fn ramp(r: &Reader, node: &Node, inject: &Injection) -> Option<Ramp> {
    let entries = r.entries(node, "ramp");
    let mut known_keys: Vec<&str> = inject.def().params.iter().map(|p| p.name).collect();
    known_keys.extend(["percent", "over"]);
    let f = r.fields(node, "ramp", &known_keys)?;
    let over: Span = r.parse(r.need(&f, "ramp", "over", "60s")?, "over")?;
    let mut tracks = Vec::new();
    for (key, value) in entries.iter().filter(|(k, _)| k.text != "over") {
        let ty = match inject.def().param(&key.text) {
            Some(p) => p.ty,
            None if key.text == "percent" => ParamType::Percent,
            None => return None,
        };
        if matches!(
            ty,
            ParamType::Text
                | ParamType::Bool
                | ParamType::Choice(_)
                | ParamType::Choices(_)
                | ParamType::Map
                | ParamType::Spans
                | ParamType::Drift
        ) {
            return r.refuse(key.place, format!("{} cannot change gradually", key.text), "ramp a quantity");
        }
        let [from, to] = r.items(value, &key.text) else {
            return r.refuse(
                value.place,
                format!("{} of a ramp must be [from, to]", key.text),
                "write for example [1%, 50%]",
            );
        };
        let read = |n: &Node| {
            let text = r.text(n, &key.text)?;
            ty.parse(&text).map_err(|e| r.report(Problem::new(format!("{}: {e}", key.text)).at(n.place))).ok()
        };
        tracks.push(Track { param: key.text.clone(), from: read(from)?, to: read(to)? });
    }
    if tracks.is_empty() {
        return r.refuse(
            node.place,
            "the ramp changes nothing",
            "write for example {percent: [1%, 50%], over: 60s}",
        );
    }
    Some(Ramp { over, tracks })
}

/// `every` and `times` make one fault several, each with an id of its own.
fn repeat(r: &Reader, f: &Fields<'_>, id: &str, fault: &Fault) -> Option<Vec<Planned>> {
    let offset = |key: &str| -> Option<Option<Span>> {
        let Some(node) = f.get(key) else { return Some(None) };
        let text = r.text(node, key)?;
        match text.trim_start_matches('+').parse::<Span>() {
            Ok(span) => Some(Some(span)),
            Err(e) => r.refuse(node.place, format!("{key}: {e}"), "write for example 30s"),
        }
    };
    let (at, every) = (offset("at")?, offset("every")?);
    let times = match f.get("times") {
        Some(n) => r.integer(n, "times", 1, 1000)?,
        None => 1,
    };
    if every.is_none() && times > 1 {
        return r.refuse(f.place_of("times"), "times needs every", "write for example every: 45s");
    }
    if let (Some(every), Some(lasts)) = (every, fault.lasts)
        && every < lasts
    {
        return r.refuse(
            f.place_of("every"),
            format!("{id} lasts {lasts} and would come again after {every}"),
            "make every longer than for",
        );
    }
    let after = match f.get("after") {
        Some(n) => Some(r.text(n, "after")?),
        None => None,
    };
    let planned = (0..times as u32).map(|i| {
        let id = if i == 0 { id.to_owned() } else { format!("{id}.{}", i + 1) };
        let shift = Span(at.unwrap_or_default().0 + every.unwrap_or_default().0 * i);
        let start = match &after {
            Some(other) => Start::After { fault: other.clone(), delay: shift },
            None => Start::At(shift),
        };
        Planned { id: id.clone(), start, fault: Fault { id: Some(id), ..fault.clone() } }
    });
    Some(planned.collect())
}
