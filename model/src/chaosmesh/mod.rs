//! Chaos Mesh's files, read as experiments of ours where that can be done.
//!
//! What is read is one object of `chaos-mesh.org/v1alpha1`: it becomes the tree that the same experiment would have been
//! as a file of ours, with the places of the original, so that everything said about it later points at what the person
//! wrote. A selector means containers by their labels, or else those of the compose service that a label's value names.
//! What cannot be done is refused with the field's name and the reason.
//!
//! ```text
//! selector  whom: labels, mode and value
//! pod       PodChaos, TimeChaos, DNSChaos: what is done to containers and the programs in them
//! network   NetworkChaos      stress  StressChaos      http  HTTPChaos      io  IOChaos
//! tree      the pieces of which the result is built
//! ```

mod http;
mod io;
mod network;
mod pod;
mod selector;
mod stress;
mod tree;

use crate::problem::Place;
use crate::yaml::{Data, Fields, Node, Reader};
use tree::{list, map, number, plain, text};

/// What the objects name themselves by.
const GROUP: &str = "chaos-mesh.org/";
/// How long is watched what comes of a fault that happens once.
const AFTER_A_KILL: &str = "10s";

/// Kinds that Chaos Mesh has besides, and why they are not read.
const OTHERS: [(&str, &str, &str); 10] = [
    (
        "Schedule",
        "it is started again and again by a clock",
        "take the part below its type, with a kind of its own",
    ),
    (
        "Workflow",
        "it is a graph of other objects",
        "write its steps as stages of an experiment: docs/experiments.md",
    ),
    ("KernelChaos", "it lets the kernel itself fail", "io_error and memory fail what programs ask of it"),
    ("JVMChaos", "it changes Java programs from inside", "abort, delay and clock do it from outside"),
    (
        "AWSChaos",
        "it asks a cloud to stop its machines",
        "stop what runs here: container_stop, service_stop, kill",
    ),
    (
        "GCPChaos",
        "it asks a cloud to stop its machines",
        "stop what runs here: container_stop, service_stop, kill",
    ),
    (
        "AzureChaos",
        "it asks a cloud to stop its machines",
        "stop what runs here: container_stop, service_stop, kill",
    ),
    (
        "BlockChaos",
        "it needs a kernel module of its own",
        "latency and throttle on a directory slow its files",
    ),
    ("PhysicalMachineChaos", "it asks agents of Chaos Mesh's", "run murphy there: target node: self"),
    ("PodHttpChaos", "it is what the controller makes of HTTPChaos", "take the HTTPChaos"),
];

/// What one kind makes of its `spec`.
struct Steps {
    /// The target, as it would stand in a file.
    target: Node,
    /// What is injected into it.
    faults: Vec<Step>,
}

/// One fault.
struct Step {
    place: Place,
    name: &'static str,
    parameters: Vec<(&'static str, Node)>,
    /// Keys beside `inject`: a share, a matcher.
    beside: Vec<(&'static str, Node)>,
    /// It happens once and takes no length.
    once: bool,
}

impl Step {
    fn new(place: Place, name: &'static str, parameters: Vec<(&'static str, Node)>) -> Step {
        Step { place, name, parameters, beside: vec![], once: false }
    }
}

/// Whether it is one of Chaos Mesh's objects.
pub(crate) fn is_one(root: &Node) -> bool {
    let Data::Map(entries) = &root.data else { return false };
    entries.iter().any(|(key, value)| {
        key.text == "apiVersion"
            && matches!(&value.data, Data::Scalar { text, .. } if text.starts_with(GROUP))
    })
}

/// The experiment that it is, as a tree of our own format.
pub(crate) fn translate(r: &Reader, root: &Node) -> Option<Node> {
    let top =
        r.fields(root, "an object of Chaos Mesh", &["apiVersion", "kind", "metadata", "spec", "status"])?;
    let version = r.need(&top, "an object of Chaos Mesh", "apiVersion", "chaos-mesh.org/v1alpha1")?;
    if r.text(version, "apiVersion")? != "chaos-mesh.org/v1alpha1" {
        return r.refuse(
            version.place,
            format!("this murphy reads chaos-mesh.org/v1alpha1, not {}", version.describe()),
            "it is the version of Chaos Mesh 1 and 2",
        );
    }
    let name = name(r, &top)?;
    let kind = r.need(&top, "an object of Chaos Mesh", "kind", "NetworkChaos")?;
    let spec = r.need(&top, "an object of Chaos Mesh", "spec", "{action: delay, …}")?;
    let steps = match r.text(kind, "kind")?.as_str() {
        "PodChaos" => pod::kills(r, spec),
        "TimeChaos" => pod::clocks(r, spec),
        "DNSChaos" => pod::names(r, spec),
        "NetworkChaos" => network::read(r, spec),
        "StressChaos" => stress::read(r, spec),
        "HTTPChaos" => http::read(r, spec),
        "IOChaos" => io::read(r, spec),
        other => {
            let known = OTHERS.iter().find(|(word, ..)| *word == other);
            let (why, instead) = known.map_or(
                ("murphy does not know it", "it reads PodChaos, NetworkChaos, StressChaos, IOChaos, TimeChaos, HTTPChaos and DNSChaos"),
                |(_, why, instead)| (*why, *instead),
            );
            return r.refuse(kind.place, format!("a {other} cannot run here: {why}"), instead);
        }
    }?;
    let length = length(r, spec, &steps)?;
    let place = root.place;
    let mut stage = Vec::new();
    if steps.faults.iter().all(|step| step.once) {
        // Nothing lasts, and there is still to be seen what it does.
        stage.push(("for", length.clone().unwrap_or_else(|| text(place, AFTER_A_KILL))));
    }
    let faults = steps.faults.into_iter().map(|step| fault(step, length.as_ref())).collect();
    stage.push(("faults", list(place, faults)));
    Some(map(
        place,
        vec![
            ("murphy", number(place, 1)),
            ("name", name),
            ("targets", map(place, vec![("victims", steps.target)])),
            // They expect nothing of any number, so nothing is measured before and after.
            (
                "steady_state",
                map(place, vec![("baseline", text(place, "0s")), ("cooldown", text(place, "0s"))]),
            ),
            ("stages", list(place, vec![map(place, stage)])),
        ],
    ))
}

fn name(r: &Reader, top: &Fields<'_>) -> Option<Node> {
    let metadata = r.need(top, "an object of Chaos Mesh", "metadata", "{name: slow-payments}")?;
    let Data::Map(entries) = &metadata.data else {
        return r.refuse(metadata.place, "metadata must be a map", "write metadata: {name: slow-payments}");
    };
    match entries.iter().find(|(key, _)| key.text == "name") {
        // Dots are fine in theirs, and not in ours.
        Some((_, node)) => Some(text(node.place, r.text(node, "name")?.replace('.', "-"))),
        None => r.refuse(metadata.place, "metadata has no name", "write metadata: {name: slow-payments}"),
    }
}

/// How long it lasts: theirs may last until it is deleted, ours never do.
fn length(r: &Reader, spec: &Node, steps: &Steps) -> Option<Option<Node>> {
    let Data::Map(entries) = &spec.data else { return Some(None) };
    let given = |word: &str| entries.iter().find(|(key, _)| key.text == word);
    if let Some((key, _)) = given("scheduler") {
        return r.refuse(
            key.place,
            "spec.scheduler: it would be started again and again by a clock",
            "leave it out and run the file when it is time, or repeat the fault with every and times in a file of murphy's",
        );
    }
    match given("duration").map(|(_, node)| node) {
        Some(node) => Some(Some(node.clone())),
        None if steps.faults.iter().all(|step| step.once) => Some(None),
        None => r.refuse(
            spec.place,
            "spec.duration is missing, and murphy ends everything that it begins",
            "write duration: \"60s\"",
        ),
    }
}

fn fault(step: Step, length: Option<&Node>) -> Node {
    let mut keys = vec![("target", plain(step.place, "victims"))];
    if let Some(length) = length.filter(|_| !step.once) {
        keys.push(("for", length.clone()));
    }
    keys.extend(step.beside);
    keys.push(("inject", map(step.place, vec![(step.name, map(step.place, step.parameters))])));
    map(step.place, keys)
}

/// Refuses a field that is there.
fn without(r: &Reader, fields: &Fields<'_>, key: &str, why: &str, instead: &str) -> Option<()> {
    match fields.get(key) {
        Some(node) if !is_empty(node) => {
            r.refuse(fields.place_of(key), format!("spec.{key}: {why}"), instead)
        }
        _ => Some(()),
    }
}

fn is_empty(node: &Node) -> bool {
    match &node.data {
        Data::Null => true,
        Data::Scalar { text, .. } => text.is_empty(),
        Data::List(items) => items.is_empty(),
        Data::Map(entries) => entries.is_empty(),
    }
}

/// A percentage that is written without its sign: `"40"` or `40`.
fn percent(r: &Reader, node: &Node, what: &str) -> Option<Node> {
    let written = r.text(node, what)?;
    Some(text(node.place, if written.ends_with('%') { written } else { format!("{written}%") }))
}

#[cfg(test)]
mod tests;
