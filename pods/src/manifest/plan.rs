//! What is done to one pod, decided before anything is.

use super::options::{self, Beside, Defaults, Mode, Options, STATUS};
use super::parts;
use super::tree::{Node, Path, Step, keys};
use super::workload::Workload;
use crate::ways::{self, PROBES, Ways};
use model::Problem;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is added to a pod and changed in it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// Put before all others of `initContainers`.
    pub(super) before: Vec<Node>,
    /// Put after all others of `containers`.
    pub(super) beside: Vec<Node>,
    pub(super) volumes: Vec<Node>,
    /// From the pod to ports of probes, and which they shall be.
    pub(super) probes: Vec<Probe>,
    /// What is told of it.
    pub(super) summary: String,
}

/// A port that the kubelet is told to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    /// From the pod.
    pub(super) path: Path,
    /// `web/livenessProbe/httpGet`
    pub(super) name: String,
    /// The port that leads past the proxy.
    pub(super) to: u16,
}

/// What was there before: kept in an annotation, so that it can be there again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Status {
    /// The version of this record.
    pub(super) murphy: u32,
    /// The ports of probes, as they were written.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) probes: BTreeMap<String, String>,
    /// What stood after the colon of keys that had nothing in them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) was: BTreeMap<String, String>,
}

/// Whether a pod gets murphy.
pub(super) enum Decision {
    /// It does.
    Inject(Box<Plan>),
    /// It does not want it, or did not ask.
    Skip(&'static str),
    /// It asked and cannot have it.
    Refuse(Problem),
}

/// Decides about a workload, which has nothing of ours in it.
pub(super) fn decide(root: &Node, workload: &Workload, defaults: &Defaults) -> Decision {
    let Some(pod) = root.at(&workload.pod) else { return Decision::Skip("it has no pod") };
    let annotations =
        |node: Option<&'_ Node>| node.and_then(|n| n.at(&keys(&["metadata", "annotations"]))).cloned();
    let (own, owners) = (annotations(Some(pod)), annotations(root.at(&workload.at)));
    let all = [own.as_ref(), owners.as_ref()];
    match options::wants(&all) {
        Some(false) => {
            return Decision::Skip(
                "it has the annotation murphy.dev/inject with another value than \"true\"",
            );
        }
        None if !defaults.all => return Decision::Skip("it has no annotation murphy.dev/inject: \"true\""),
        _ => {}
    }
    match plan(pod, &all, defaults) {
        Ok(plan) => Decision::Inject(Box::new(plan)),
        Err(problem) => Decision::Refuse(problem),
    }
}

fn plan(pod: &Node, annotations: &[Option<&Node>], defaults: &Defaults) -> Result<Plan, Problem> {
    let asked = options::read(annotations, defaults)?;
    let ways = ways(pod, &asked)?;
    let spec = pod.get("spec").ok_or_else(|| Problem::new("the pod has no spec"))?;
    let (probes, past) = if asked.mode == Mode::Redirect { probes(spec, &ways)? } else { Default::default() };
    let summary = match asked.mode {
        Mode::Explicit => format!("proxies {}", asked.proxies.join("; ")),
        Mode::Redirect => {
            let list =
                |ways: &[ways::Way]| if ways.is_empty() { "none".into() } else { ways::write_list(ways) };
            format!("inbound {}, outbound {}", list(&ways.inbound), list(&ways.outbound))
        }
    };
    let (mut before, mut beside) = (Vec::new(), Vec::new());
    if asked.mode == Mode::Redirect {
        before.push(parts::redirect(&asked, &ways, &past));
    }
    match asked.beside {
        Beside::Native => &mut before,
        Beside::Container => &mut beside,
    }
    .push(parts::sidecar(&asked, &ways));
    Ok(Plan { before, beside, volumes: parts::volumes(&asked), probes, summary })
}

/// The ports that lead through the proxy, if it can be there at all.
pub(super) fn ways(pod: &Node, asked: &Options) -> Result<Ways, Problem> {
    let spec = pod.get("spec").ok_or_else(|| Problem::new("the pod has no spec"))?;
    let lists = ["containers", "initContainers"];
    let containers = |list: &str| spec.get(list).map(Node::items).unwrap_or_default();
    if containers("containers").is_empty() {
        return Err(Problem::new("the pod has no containers").hint("a pod has at least one"));
    }
    if spec.is_true("hostNetwork") {
        return Err(Problem::new("the pod is in its node's network (hostNetwork), which others share")
            .hint("use the node agent for it, or leave hostNetwork out"));
    }
    if spec.at(&keys(&["os", "name"])).and_then(Node::as_text) == Some("windows") {
        return Err(Problem::new("the pod is one of Windows").hint("murphy runs on Linux alone"));
    }
    let ends = spec.word("restartPolicy").filter(|policy| *policy != "Always");
    if let (Beside::Container, Some(policy)) = (asked.beside, ends) {
        return Err(Problem::new(format!(
            "the pod ends when its containers do (restartPolicy {policy}), and a sidecar that is a container like them does not"
        ))
        .hint("use a native sidecar for it, which Kubernetes has since 1.29 (murphy.dev/sidecar: native)"));
    }
    for container in lists.iter().flat_map(|list| containers(list)) {
        if container.word("name").is_some_and(|n| [parts::INIT, parts::SIDECAR].contains(&n)) {
            return Err(Problem::new("the pod has a container named murphy that was not injected")
                .hint("take it out, or have nothing injected"));
        }
    }
    let ours = |node: &&Node| node.word("name").is_some_and(|name| VOLUMES.contains(&name));
    if let Some(volume) = containers("volumes").iter().find(ours).and_then(|volume| volume.word("name")) {
        return Err(Problem::new(format!("the pod has a volume named {volume} that was not injected"))
            .hint("give it another name: murphy's own volumes are called that"));
    }
    let user = |node: &Node| {
        node.at(&keys(&["securityContext", "runAsUser"])).and_then(|n| n.as_text()?.parse().ok())
    };
    let everyone = lists.iter().flat_map(|list| containers(list)).chain([spec]);
    if asked.mode == Mode::Redirect && everyone.filter_map(user).any(|u: u32| u == asked.user) {
        return Err(Problem::new(format!(
            "a container of the pod runs as user {}, which is the proxy's",
            asked.user
        ))
        .hint("its traffic would not be redirected: choose another user with murphy.dev/uid"));
    }
    let declared = options::declared(containers("containers").iter());
    let ways = match asked.mode {
        Mode::Explicit => Ways::default(),
        Mode::Redirect => {
            let outbound = ways::read_list(&asked.outbound)?;
            Ways::new(options::inbound(asked.inbound.as_deref(), &declared, &outbound)?, outbound)?
        }
    };
    match asked.mode {
        Mode::Redirect if ways.is_empty() => {
            return Err(Problem::new("no port is named, so nothing would lead through murphy")
                .hint("declare ports of the containers, or name some with murphy.dev/inbound and murphy.dev/outbound"));
        }
        Mode::Explicit if asked.proxies.is_empty() => {
            return Err(Problem::new("mode explicit has no proxies")
                .hint("name some: murphy.dev/proxies: \"db=127.0.0.1:15432,db.shop.svc:5432\", several with ; between"));
        }
        _ => {}
    }
    Ok(ways)
}

/// The probes that are led past the proxy, and the ports that do it, from one to the other.
type Past = (Vec<Probe>, Vec<(u16, u16)>);

/// The ports that the kubelet asks and that would lead through the proxy: each gets one that leads past it.
fn probes(spec: &Node, ways: &Ways) -> Result<Past, Problem> {
    const ASKS: [[&str; 2]; 5] = [
        ["livenessProbe", ""],
        ["readinessProbe", ""],
        ["startupProbe", ""],
        ["lifecycle", "postStart"],
        ["lifecycle", "preStop"],
    ];
    let (mut probes, mut past): (Vec<Probe>, Vec<(u16, u16)>) = Default::default();
    for list in ["containers", "initContainers"] {
        for (n, container) in spec.get(list).map(Node::items).unwrap_or_default().iter().enumerate() {
            let own = options::declared(std::iter::once(container));
            for ask in ASKS {
                for handler in ["httpGet", "tcpSocket", "grpc"] {
                    let steps =
                        ask.iter().filter(|s| !s.is_empty()).chain([&handler]).copied().collect::<Vec<_>>();
                    let Some(asked) = container.at(&keys(&steps)) else { continue };
                    // Another host is another's affair.
                    let Some(port) = asked.word("port").filter(|_| asked.word("host").is_none()) else {
                        continue;
                    };
                    let number = port.parse().ok();
                    let named = || own.iter().find(|d| d.name.as_deref() == Some(port)).map(|d| d.port);
                    let Some(to) = number.or_else(named) else { continue };
                    if !ways.inbound.iter().any(|way| way.port == to) {
                        continue;
                    }
                    let from = match past.iter().find(|(_, t)| *t == to) {
                        Some((from, _)) => *from,
                        None => {
                            let from = PROBES + past.len() as u16;
                            past.push((from, to));
                            from
                        }
                    };
                    let mut path = keys(&["spec", list]);
                    path.push(Step::Item(n));
                    path.extend(keys(&steps));
                    path.push(Step::Key("port".into()));
                    let name = format!("{}/{}", container.word("name").unwrap_or_default(), steps.join("/"));
                    if probes.iter().any(|p| p.name == name) {
                        return Err(Problem::new(format!("two containers have the same name: {name}"))
                            .hint("give each container its own name"));
                    }
                    probes.push(Probe { path, name, to: from });
                }
            }
        }
    }
    Ok((probes, past))
}

/// The volumes that are ours.
pub(super) const VOLUMES: &[&str] = &[parts::STATE, parts::TOKEN, parts::TLS];

/// The paths, from a pod, of what something is added to, with how a status names them.
pub(super) const PLACES: [(&str, &[&str]); 4] = [
    ("metadata", &["metadata"]),
    ("annotations", &["metadata", "annotations"]),
    ("initContainers", &["spec", "initContainers"]),
    ("volumes", &["spec", "volumes"]),
];

impl Status {
    /// What has to be remembered of a pod, as its text says it.
    pub(super) fn of(pod: &Node, plan: &Plan, source: &str) -> Status {
        let mut status = Status { murphy: 1, ..Status::default() };
        for (name, path) in PLACES {
            let (last, before) = (path[path.len() - 1], keys(&path[..path.len() - 1]));
            if let Some((key, value)) = pod.at(&before).and_then(|n| n.entry(last))
                && value.is_empty()
            {
                status.was.insert(name.into(), after_colon(source, key, value).to_owned());
            }
        }
        for probe in &plan.probes {
            if let Some(port) = pod.at(&probe.path) {
                let text = source.get(port.span.clone()).filter(|t| !t.is_empty() && !port.closed);
                let text = text.map_or_else(|| super::emit::scalar(port), str::to_owned);
                status.probes.insert(probe.name.clone(), text);
            }
        }
        status
    }

    /// What an annotation remembers; none when there is no such annotation.
    pub(super) fn read(pod: &Node) -> Option<Status> {
        let text = pod.at(&keys(&["metadata", "annotations"]))?.word(STATUS)?;
        Some(serde_json::from_str(text).unwrap_or_default())
    }

    pub(super) fn text(&self) -> String {
        // Texts as keys and values always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Where the colon after a key is.
pub(super) fn colon(source: &str, key: &Node) -> Option<usize> {
    let rest = source.get(key.span.end..)?;
    let gap = rest.len() - rest.trim_start_matches([' ', '\t']).len();
    rest[gap..].starts_with(':').then_some(key.span.end + gap)
}

/// What stands between a key's colon and the end of its value.
pub(super) fn after_colon<'s>(source: &'s str, key: &Node, value: &Node) -> &'s str {
    let Some(colon) = colon(source, key) else { return "" };
    let end = if value.span.is_empty() { colon + 1 } else { value.span.end.max(colon + 1) };
    source.get(colon + 1..end).unwrap_or_default()
}
