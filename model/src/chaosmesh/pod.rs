//! PodChaos, TimeChaos, DNSChaos: what is done to containers and to the programs in them.

use super::selector::{containers, each, fields, joined};
use super::tree::{map, plain, text};
use super::{Step, Steps};
use crate::yaml::{Node, Reader};

/// PodChaos.
pub(super) fn kills(r: &Reader, spec: &Node) -> Option<Steps> {
    let f = fields(r, spec, &["action", "gracePeriod"])?;
    let target = map(spec.place, vec![("container", containers(r, &f)?)]);
    let action = r.need(&f, "spec", "action", "pod-failure")?;
    let grace = match f.get("gracePeriod") {
        Some(n) => r.integer(n, "gracePeriod", 0, 86_400)?,
        None => 0,
    };
    let kill = |signal: &str| {
        let step = Step::new(action.place, "kill", vec![("signal", plain(action.place, signal))]);
        Step { once: true, ..step }
    };
    let step = match r.text(action, "action")?.as_str() {
        "pod-kill" if grace > 0 => kill("SIGTERM"),
        // Whether it comes back is its restart policy's business, as it is a controller's there.
        "pod-kill" | "container-kill" => kill("SIGKILL"),
        "pod-failure" => Step::new(action.place, "container_stop", vec![]),
        other => {
            return r.refuse(
                action.place,
                format!("spec.action: {other:?} is none of PodChaos"),
                "it is pod-kill, pod-failure or container-kill",
            );
        }
    };
    Some(Steps { target, faults: vec![step] })
}

/// TimeChaos.
pub(super) fn clocks(r: &Reader, spec: &Node) -> Option<Steps> {
    let f = fields(r, spec, &["timeOffset", "clockIds"])?;
    let target = map(spec.place, vec![("container", containers(r, &f)?)]);
    let offset = r.need(&f, "spec", "timeOffset", "\"-10m\"")?;
    let mut parameters = vec![("offset", text(offset.place, r.text(offset, "timeOffset")?))];
    if let Some(ids) = f.get("clockIds") {
        for id in r.items(ids, "clockIds") {
            let word = r.text(id, "clockIds")?;
            if word != "CLOCK_REALTIME" && word != "CLOCK_MONOTONIC" {
                return r.refuse(
                    id.place,
                    format!("spec.clockIds: {word} cannot be changed in a running process"),
                    "CLOCK_REALTIME and CLOCK_MONOTONIC can",
                );
            }
        }
        let word = |id: &str| id.trim_start_matches("CLOCK_").to_lowercase();
        parameters.push(("clocks", each(r, ids, "clockIds", word)?));
    }
    Some(Steps { target, faults: vec![Step::new(offset.place, "clock", parameters)] })
}

/// DNSChaos.
pub(super) fn names(r: &Reader, spec: &Node) -> Option<Steps> {
    let f = fields(r, spec, &["action", "patterns"])?;
    let target = map(spec.place, vec![("container", containers(r, &f)?)]);
    let action = r.need(&f, "spec", "action", "error")?;
    let answer = match r.text(action, "action")?.as_str() {
        "error" => "servfail",
        "random" => "random",
        other => {
            return r.refuse(
                action.place,
                format!("spec.action: {other:?} is none of DNSChaos"),
                "it is error or random",
            );
        }
    };
    let mut parameters = vec![("answer", plain(action.place, answer))];
    if let Some(patterns) = f.get("patterns") {
        parameters.push(("names", joined(r, patterns, "patterns")?));
    }
    Some(Steps { target, faults: vec![Step::new(action.place, "dns", parameters)] })
}
