//! NetworkChaos.

use super::selector::{containers, fields, joined};
use super::tree::{map, plain, text};
use super::{Step, Steps, percent, without};
use crate::yaml::{Fields, Node, Reader};

const KEYS: [&str; 12] = [
    "action",
    "delay",
    "loss",
    "duplicate",
    "corrupt",
    "bandwidth",
    "rate",
    "direction",
    "target",
    "externalTargets",
    "device",
    "targetDevice",
];

/// The parts of an action `netem`, each of which is an action by itself.
const PARTS: [&str; 5] = ["delay", "loss", "duplicate", "corrupt", "rate"];

/// NetworkChaos.
pub(super) fn read(r: &Reader, spec: &Node) -> Option<Steps> {
    let f = fields(r, spec, &KEYS)?;
    let target = map(spec.place, vec![("container", containers(r, &f)?)]);
    let selected = "who is meant there is found by the API server";
    without(r, &f, "target", selected, "name them in externalTargets: addresses, networks or DNS names")?;
    without(r, &f, "targetDevice", "it belongs to target", "leave it out")?;
    let action = r.need(&f, "spec", "action", "delay")?;
    let word = r.text(action, "action")?;
    let filter = filter(r, &f)?;
    let faults = match word.as_str() {
        "partition" => vec![Step::new(action.place, "partition", vec![])],
        "netem" => {
            let mut all = Vec::new();
            for part in PARTS.into_iter().filter(|part| f.has(part)) {
                all.extend(single(r, &f, part)?);
            }
            all
        }
        "bandwidth" => single(r, &f, "bandwidth")?,
        part if PARTS.contains(&part) => single(r, &f, part)?,
        other => {
            return r.refuse(
                action.place,
                format!("spec.action: {other:?} is none of NetworkChaos"),
                "it is delay, loss, duplicate, corrupt, rate, bandwidth, partition or netem",
            );
        }
    };
    if faults.is_empty() {
        return r.refuse(action.place, "spec.action: netem does nothing by itself", "add for example delay");
    }
    let with = |mut step: Step| {
        step.parameters.extend(filter.iter().map(|(key, node)| (*key, node.clone())));
        step
    };
    Some(Steps { target, faults: faults.into_iter().map(with).collect() })
}

/// Which packets.
fn filter(r: &Reader, f: &Fields<'_>) -> Option<Vec<(&'static str, Node)>> {
    let mut keys = Vec::new();
    let (place, word) = match f.get("direction") {
        Some(node) => (node.place, r.text(node, "direction")?),
        None => (f.place, "to".to_owned()),
    };
    let ours = match word.as_str() {
        "to" => "egress",
        "from" => "ingress",
        "both" => "both",
        other => {
            return r.refuse(place, format!("spec.direction: {other:?} is none"), "it is to, from or both");
        }
    };
    keys.push(("direction", plain(place, ours)));
    if let Some(peers) = f.get("externalTargets") {
        keys.push(("peer", joined(r, peers, "externalTargets")?));
    }
    if let Some(device) = f.get("device") {
        keys.push(("interface", text(device.place, r.text(device, "device")?)));
    }
    Some(keys)
}

fn single(r: &Reader, f: &Fields<'_>, part: &str) -> Option<Vec<Step>> {
    let node = r.need(f, "spec", part, "{latency: 10ms}")?;
    let what = format!("spec.{part}");
    let place = node.place;
    let share = |name: &'static str, fault: &'static str| {
        let own = r.fields(node, &what, &[name, "correlation"])?;
        let chance = percent(r, r.need(&own, &what, name, "\"25\"")?, name)?;
        let mut parameters = vec![("chance", chance)];
        parameters.extend(correlation(r, &own)?);
        Some(vec![Step::new(place, fault, parameters)])
    };
    match part {
        "loss" => share("loss", "net_loss"),
        "duplicate" => share("duplicate", "net_duplicate"),
        "corrupt" => share("corrupt", "net_corrupt"),
        "delay" => delay(r, node, &what),
        _ => rate(r, node, &what),
    }
}

fn correlation(r: &Reader, own: &Fields<'_>) -> Option<Option<(&'static str, Node)>> {
    match own.get("correlation") {
        Some(node) => Some(Some(("correlation", percent(r, node, "correlation")?))),
        None => Some(None),
    }
}

fn delay(r: &Reader, node: &Node, what: &str) -> Option<Vec<Step>> {
    let own = r.fields(node, what, &["latency", "jitter", "correlation", "reorder"])?;
    let late = r.need(&own, what, "latency", "\"10ms\"")?.clone();
    let Some(reorder) = own.get("reorder") else {
        let mut parameters = vec![("delay", late)];
        parameters.extend(own.get("jitter").map(|node| ("jitter", node.clone())));
        parameters.extend(correlation(r, &own)?);
        return Some(vec![Step::new(node.place, "net_delay", parameters)]);
    };
    // As netem has it: some packets go at once, and all others wait.
    let what = format!("{what}.reorder");
    let inner = r.fields(reorder, &what, &["reorder", "correlation", "gap"])?;
    let chance = percent(r, r.need(&inner, &what, "reorder", "\"50\"")?, "reorder")?;
    let mut parameters = vec![("delay", late), ("chance", chance)];
    parameters.extend(correlation(r, &inner)?);
    parameters.extend(inner.get("gap").map(|node| ("gap", node.clone())));
    Some(vec![Step::new(reorder.place, "net_reorder", parameters)])
}

fn rate(r: &Reader, node: &Node, what: &str) -> Option<Vec<Step>> {
    let own = r.fields(node, what, &["rate", "limit", "buffer", "peakrate", "minburst"])?;
    let given = r.need(&own, what, "rate", "\"1mbps\"")?;
    let ours = bytes_per_second(&r.text(given, "rate")?).or_else(|| {
        r.refuse(
            given.place,
            format!("{what}.rate: {} is no rate", given.describe()),
            "write for example 1mbps: a million bytes (not bits) a second; also bps, kbps, gbps",
        )
    })?;
    for key in ["peakrate", "minburst"] {
        if own.has(key) {
            return r.refuse(
                own.place_of(key),
                format!("{what}.{key}: murphy's link has one rate"),
                "leave it out",
            );
        }
    }
    // `limit` and `buffer` size a token bucket; ours is sized by the time that a packet waits at most.
    Some(vec![Step::new(node.place, "net_rate", vec![("rate", text(given.place, ours))])])
}

/// Theirs are those of tc(8): `kbps` are thousands of bytes, `kbit` of bits.
fn bytes_per_second(written: &str) -> Option<String> {
    let at = written.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = written.split_at(at);
    number.parse::<f64>().ok()?;
    let ours = match unit.trim().to_lowercase().as_str() {
        "bps" => "B/s",
        "kbps" => "kB/s",
        "mbps" => "MB/s",
        "gbps" => "GB/s",
        "bit" => "bit/s",
        "kbit" => "kbit/s",
        "mbit" => "Mbit/s",
        "gbit" => "Gbit/s",
        _ => return None,
    };
    Some(format!("{number}{ours}"))
}
