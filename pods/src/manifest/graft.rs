//! The same change on trees, where nothing is lost but the writing: for JSON, and to check what was done to a text.

use super::options::STATUS;
use super::parts;
use super::plan::{PLACES, Plan, Status, VOLUMES};
use super::tree::{self, Data, Node, Step, keys};

/// Adds to a pod what was planned.
pub(super) fn graft(pod: &mut Node, plan: &Plan, status: &Status) {
    for probe in &plan.probes {
        if let Some(port) = pod.at_mut(&probe.path) {
            *port = Node::plain(probe.to);
        }
    }
    if let Some(annotations) = mapping(pod, "metadata").and_then(|metadata| mapping(metadata, "annotations"))
    {
        annotations.insert(0, (Node::text(STATUS), Node::text(status.text())));
    }
    for (name, items) in [("initContainers", &plan.before), ("volumes", &plan.volumes)] {
        if items.is_empty() {
            continue;
        }
        if let Some(list) = pod.at_mut(&keys(&["spec"])).and_then(|spec| sequence(spec, name)) {
            list.splice(0..0, items.iter().cloned());
        }
    }
    if let Some(Data::List(containers)) = pod.at_mut(&keys(&["spec", "containers"])).map(|n| &mut n.data) {
        containers.extend(plan.beside.iter().cloned());
    }
}

/// Takes it out again.
pub(super) fn ungraft(pod: &mut Node, status: &Status) {
    if let Some(Data::Map(entries)) = pod.at_mut(&keys(&["metadata", "annotations"])).map(|n| &mut n.data) {
        entries.retain(|(key, _)| key.as_text() != Some(STATUS));
    }
    for (list, ours) in PUT {
        if let Some(Data::List(items)) = pod.at_mut(&keys(&["spec", list])).map(|n| &mut n.data) {
            items.retain(|item| !item.word("name").is_some_and(|name| ours.contains(&name)));
        }
    }
    // What had nothing in it before, or was not there; the inner ones first.
    for (name, path) in PLACES.iter().rev() {
        let (last, before) = (path[path.len() - 1], keys(&path[..path.len() - 1]));
        if pod.at(&keys(path)).is_some_and(Node::is_empty)
            && let Some(Data::Map(entries)) = pod.at_mut(&before).map(|n| &mut n.data)
        {
            match status.was.get(*name) {
                None => entries.retain(|(key, _)| key.as_text() != Some(last)),
                Some(text) => {
                    let value = entries.iter_mut().find(|(key, _)| key.as_text() == Some(last));
                    if let Some((_, value)) = value {
                        *value = read(text);
                    }
                }
            }
        }
    }
    for (path, text) in ports_of(pod, status) {
        if let Some(port) = pod.at_mut(&path) {
            *port = read(&text);
        }
    }
}

/// The lists that something is put into, with the names of that.
pub(super) const PUT: [(&str, &[&str]); 3] = [
    ("initContainers", &[parts::INIT, parts::SIDECAR]),
    ("volumes", VOLUMES),
    ("containers", &[parts::SIDECAR]),
];

/// Where ports of probes are that were changed, with what they were.
pub(super) fn ports_of(pod: &Node, status: &Status) -> Vec<(tree::Path, String)> {
    let mut all = Vec::new();
    for list in ["containers", "initContainers"] {
        let containers = pod.at(&keys(&["spec", list])).map(Node::items).unwrap_or_default();
        for (n, container) in containers.iter().enumerate() {
            let prefix = format!("{}/", container.word("name").unwrap_or_default());
            for (name, text) in &status.probes {
                let Some(rest) = name.strip_prefix(&prefix) else { continue };
                let mut path = keys(&["spec", list]);
                path.push(Step::Item(n));
                path.extend(rest.split('/').map(|word| Step::Key(word.into())));
                path.push(Step::Key("port".into()));
                if pod.at(&path).is_some() {
                    all.push((path, text.clone()));
                }
            }
        }
    }
    all
}

/// A value as it was written.
fn read(text: &str) -> Node {
    tree::parse(text).ok().flatten().unwrap_or_else(|| Node::plain("null"))
}

/// The entries of a key that is a mapping, or nothing yet.
fn mapping<'a>(node: &'a mut impl Entries, key: &str) -> Option<&'a mut Vec<(Node, Node)>> {
    let entries = node.entries_mut()?;
    let at = match entries.iter().position(|(k, _)| k.as_text() == Some(key)) {
        Some(at) => at,
        None => {
            entries.insert(0, (Node::text(key), Node::new(Data::Map(Vec::new()))));
            0
        }
    };
    let value = &mut entries[at].1;
    if value.is_empty() {
        *value = Node::new(Data::Map(Vec::new()));
    }
    match &mut value.data {
        Data::Map(entries) => Some(entries),
        _ => None,
    }
}

/// The items of a key that is a sequence, or nothing yet; before the containers.
fn sequence<'a>(spec: &'a mut Node, key: &str) -> Option<&'a mut Vec<Node>> {
    let Data::Map(entries) = &mut spec.data else { return None };
    let at = match entries.iter().position(|(k, _)| k.as_text() == Some(key)) {
        Some(at) => at,
        None => {
            let at = entries.iter().position(|(k, _)| k.as_text() == Some("containers")).unwrap_or(0);
            entries.insert(at, (Node::text(key), Node::list([])));
            at
        }
    };
    let value = &mut entries[at].1;
    if value.is_empty() {
        *value = Node::list([]);
    }
    match &mut value.data {
        Data::List(items) => Some(items),
        _ => None,
    }
}

/// What has entries: a node, or entries themselves.
trait Entries {
    fn entries_mut(&mut self) -> Option<&mut Vec<(Node, Node)>>;
}

impl Entries for Node {
    fn entries_mut(&mut self) -> Option<&mut Vec<(Node, Node)>> {
        match &mut self.data {
            Data::Map(entries) => Some(entries),
            _ => None,
        }
    }
}

impl Entries for Vec<(Node, Node)> {
    fn entries_mut(&mut self) -> Option<&mut Vec<(Node, Node)>> {
        Some(self)
    }
}
