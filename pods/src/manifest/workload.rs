//! Where the pods are in a document.

use super::tree::{Node, Path, Step, keys};

/// Something that has a pod, or makes pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Workload {
    /// `Deployment/web`, for messages.
    pub(super) name: String,
    /// From the document to it.
    pub(super) at: Path,
    /// From the document to the pod, or to the pattern that its pods are made by: what has `metadata` and `spec`.
    pub(super) pod: Path,
}

/// Where the pod is within the kinds that have one.
fn inside(kind: &str, version: &str) -> Option<&'static [&'static str]> {
    let group = version.rsplit_once('/').map_or("", |(group, _)| group);
    match (group, kind) {
        ("", "Pod") => Some(&[]),
        ("", "ReplicationController")
        | ("apps" | "extensions", "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet")
        | ("batch", "Job") => Some(&["spec", "template"]),
        ("", "PodTemplate") => Some(&["template"]),
        ("batch", "CronJob") => Some(&["spec", "jobTemplate", "spec", "template"]),
        _ => None,
    }
}

/// All of them, also in lists.
pub(super) fn workloads(root: &Node) -> Vec<Workload> {
    let mut all = Vec::new();
    find(root, &mut Vec::new(), &mut all);
    all
}

fn find(node: &Node, at: &mut Path, all: &mut Vec<Workload>) {
    let (Some(kind), Some(version)) = (node.word("kind"), node.word("apiVersion")) else { return };
    if let Some(way) = inside(kind, version) {
        let mut pod = at.clone();
        pod.extend(keys(way));
        let name =
            node.get("metadata").and_then(|m| m.word("name").or(m.word("generateName"))).unwrap_or("?");
        if node.at(&keys(way)).is_some_and(|pod| pod.get("spec").is_some()) {
            all.push(Workload { name: format!("{kind}/{name}"), at: at.clone(), pod });
        }
    } else if kind.ends_with("List") {
        for n in 0..node.get("items").map_or(0, |items| items.items().len()) {
            at.extend([Step::Key("items".into()), Step::Item(n)]);
            if let Some(item) = node.get("items").and_then(|items| items.items().get(n)) {
                find(item, at, all);
            }
            at.truncate(at.len() - 2);
        }
    }
}
