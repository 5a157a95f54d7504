//! Targets that exist on this machine anyway: directories, processes, containers, namespaces, control groups, the machine.

use crate::target::{
    CgroupSpec, ContainerSpec, Front, FsSpec, NetnsSpec, NodeSpec, Pick, ProcessSpec, TargetSpec,
};
use crate::yaml::{Fields, Node, Reader};

const FS_KEYS: [&str; 8] =
    ["mount", "source", "pid", "container", "in_use_passes", "track_unsynced", "writeback", "passthrough"];

pub(super) fn fs(r: &Reader, node: &Node, what: &str) -> Option<TargetSpec> {
    let f = r.fields(node, what, &FS_KEYS)?;
    let mount = r.need(&f, what, "mount", "/srv/shop/db").and_then(|n| directory(r, n, what, "mount"));
    let source = match f.get("source") {
        Some(n) => Some(directory(r, n, what, "source")?),
        None => None,
    };
    let pid = match f.get("pid") {
        Some(n) => Some(r.integer(n, "pid", 1, u64::from(u32::MAX))? as u32),
        None => None,
    };
    let container = match f.get("container") {
        Some(n) => match container(r, n, &format!("{what}: container"))? {
            TargetSpec::Container(spec) => Some(Box::new(spec)),
            _ => None,
        },
        None => None,
    };
    if container.is_some() && pid.is_some() {
        return r.refuse(
            f.place_of("pid"),
            format!("{what}: both container and pid say in which mount namespace"),
            "keep one of them",
        );
    }
    let in_use_passes = match f.get("in_use_passes") {
        Some(n) if container.is_none() => {
            return r.refuse(
                n.place,
                format!("{what}: in_use_passes is for directories in containers"),
                "leave it out: elsewhere what is open before the mount always goes past it",
            );
        }
        Some(n) => r.boolean(n, "in_use_passes")?,
        None => false,
    };
    let track_unsynced = match f.get("track_unsynced") {
        Some(n) => Some(r.parse(n, "track_unsynced")?),
        None => None,
    };
    let writeback = match f.get("writeback") {
        Some(n) => r.boolean(n, "writeback")?,
        None => false,
    };
    let mut passthrough = Vec::new();
    if let Some(n) = f.get("passthrough") {
        for item in r.items(n, "passthrough") {
            let glob = r.text(item, "passthrough")?;
            if !glob.starts_with(['/', '*', '?']) {
                return r.refuse(
                    item.place,
                    format!("{what}: passthrough {glob:?} matches nothing"),
                    format!("paths below the mount begin with /: write \"/{glob}\""),
                );
            }
            passthrough.push(glob);
        }
    }
    if track_unsynced.is_some() && (writeback || !passthrough.is_empty()) {
        return r.refuse(
            f.place_of("track_unsynced"),
            format!("{what}: track_unsynced does not go with writeback or passthrough"),
            "what the kernel keeps or writes by itself cannot be tracked: leave one of them out",
        );
    }
    let mount = mount?;
    Some(TargetSpec::Fs(FsSpec {
        mount,
        source,
        pid,
        container,
        in_use_passes,
        track_unsynced,
        writeback,
        passthrough,
    }))
}

/// An absolute path of a directory.
fn directory(r: &Reader, node: &Node, what: &str, key: &str) -> Option<String> {
    absolute(r, node, what, key, "/srv/shop/db")
}

fn absolute(r: &Reader, node: &Node, what: &str, key: &str, example: &str) -> Option<String> {
    let text = r.text(node, key)?;
    if !text.starts_with('/') {
        return r.refuse(
            node.place,
            format!("{what}: {key} {text:?} is not an absolute path"),
            format!("write it from the root: {example}"),
        );
    }
    Some(text)
}

const PROCESS_KEYS: [&str; 8] = ["pid", "match", "regex", "name", "user", "cgroup", "container", "pick"];

pub(super) fn process(r: &Reader, node: &Node, what: &str) -> Option<TargetSpec> {
    let f = r.fields(node, what, &PROCESS_KEYS)?;
    let pid = match f.get("pid") {
        Some(n) => Some(r.integer(n, "pid", 1, u64::from(u32::MAX))? as u32),
        None => None,
    };
    let matches = f.get("match").and_then(|n| r.text(n, "match"));
    if matches.as_deref().is_some_and(|m| m.trim().is_empty()) {
        return r.refuse(
            f.place_of("match"),
            format!("{what}: match is empty and would be every process"),
            "write a part of the command line",
        );
    }
    let regex = word(r, &f, "regex")?;
    if let Some(Err(e)) = regex.as_deref().map(regex_lite::Regex::new) {
        return r.refuse(f.place_of("regex"), format!("{what}: regex: {e}"), "correct the expression");
    }
    let spec = ProcessSpec {
        pid,
        matches,
        regex,
        name: word(r, &f, "name")?,
        user: word(r, &f, "user")?,
        cgroup: match f.get("cgroup") {
            Some(n) => Some(absolute(r, n, what, "cgroup", "/system.slice/nginx.service")?),
            None => None,
        },
        container: word(r, &f, "container")?,
        pick: match f.get("pick") {
            Some(n) => pick(r, n)?,
            None => Pick::One,
        },
    };
    let selects = ["match", "regex", "name", "user", "cgroup", "container"].iter().any(|k| f.has(k));
    if spec.pid.is_some() == selects {
        return r.refuse(
            node.place,
            format!("{what} needs either pid or match"),
            "write for example match: \"shop-worker --queue\"; regex, name, user, cgroup and container find processes too",
        );
    }
    Some(TargetSpec::Process(spec))
}

pub(super) fn node(r: &Reader, node: &Node, what: &str) -> Option<TargetSpec> {
    if let crate::yaml::Data::Map(_) = node.data {
        let f = r.fields(node, what, &["interface"])?;
        return Some(TargetSpec::Node(NodeSpec { interface: word(r, &f, "interface")? }));
    }
    let word = r.text(node, what)?;
    if word != "self" {
        return r.refuse(
            node.place,
            format!("{what}: this murphy breaks the machine it runs on, not {word:?}"),
            "write node: self, or node: {interface: eth0} for faults of one network interface",
        );
    }
    Some(TargetSpec::Node(NodeSpec::default()))
}

const CONTAINER_KEYS: [&str; 8] =
    ["name", "label", "or_service", "compose", "service", "pick", "engine", "interface"];

pub(super) fn container(r: &Reader, node: &Node, what: &str) -> Option<TargetSpec> {
    let f = r.fields(node, what, &CONTAINER_KEYS)?;
    one_of(r, &f, node, what, &["name", "label", "service"], "name: shop-web-1")?;
    Some(TargetSpec::Container(ContainerSpec {
        name: word(r, &f, "name")?,
        label: word(r, &f, "label")?,
        or_service: or_service(r, &f, what)?,
        service: service(r, &f, what)?,
        pick: match f.get("pick") {
            Some(n) => pick(r, n)?,
            None => Pick::One,
        },
        engine: word(r, &f, "engine")?,
        interface: word(r, &f, "interface")?,
    }))
}

const FRONT_KEYS: [&str; 10] =
    ["name", "label", "or_service", "compose", "service", "all", "engine", "port", "outgoing", "reset_open"];

/// The containers in front of which a proxy stands.
pub(super) fn front(r: &Reader, node: &Node, what: &str) -> Option<Front> {
    let what = format!("{what}: in_front_of");
    let f = r.fields(node, &what, &FRONT_KEYS)?;
    one_of(r, &f, node, &what, &["name", "label", "service"], "service: shop/db")?;
    let port = r.need(&f, &what, "port", "5432").and_then(|n| r.integer(n, "port", 1, 65535));
    let flag = |key: &str| f.get(key).map_or(Some(false), |n| r.boolean(n, key));
    Some(Front {
        name: word(r, &f, "name")?,
        label: word(r, &f, "label")?,
        or_service: or_service(r, &f, &what)?,
        service: service(r, &f, &what)?,
        all: flag("all")?,
        engine: word(r, &f, "engine")?,
        port: port? as u16,
        outgoing: flag("outgoing")?,
        reset_open: flag("reset_open")?,
    })
}

/// Whether a compose service may stand for a label.
fn or_service(r: &Reader, f: &Fields<'_>, what: &str) -> Option<bool> {
    match f.get("or_service") {
        Some(n) if !f.has("label") => r.refuse(
            n.place,
            format!("{what}: or_service is for containers that are found by a label"),
            "leave it out, or add label: app=payments",
        ),
        Some(n) => r.boolean(n, "or_service"),
        None => Some(false),
    }
}

/// A service of a compose project: `service: shop/db`, or `compose: shop` beside `service: db`.
fn service(r: &Reader, f: &Fields<'_>, what: &str) -> Option<Option<String>> {
    let (project, service) = (word(r, f, "compose")?, word(r, f, "service")?);
    match (project, service) {
        (Some(_), None) => r.refuse(
            f.place_of("compose"),
            format!("{what}: compose names a project, and no service of it is named"),
            "add service: web",
        ),
        (Some(_), Some(service)) if service.contains('/') => r.refuse(
            f.place_of("service"),
            format!("{what}: service {service:?} names a project already"),
            "leave compose out, or the part before the slash",
        ),
        (Some(project), Some(service)) => Some(Some(format!("{project}/{service}"))),
        (None, service) => Some(service),
    }
}

pub(super) fn netns(r: &Reader, node: &Node, what: &str) -> Option<TargetSpec> {
    let f = r.fields(node, what, &["name", "path", "pid", "interface"])?;
    one_of(r, &f, node, what, &["name", "path", "pid"], "name: blue")?;
    Some(TargetSpec::Netns(NetnsSpec {
        name: word(r, &f, "name")?,
        path: match f.get("path") {
            Some(n) => Some(absolute(r, n, what, "path", "/run/netns/blue")?),
            None => None,
        },
        pid: match f.get("pid") {
            Some(n) => Some(r.integer(n, "pid", 1, u64::from(u32::MAX))? as u32),
            None => None,
        },
        interface: word(r, &f, "interface")?,
    }))
}

pub(super) fn cgroup(r: &Reader, node: &Node, what: &str) -> Option<TargetSpec> {
    Some(TargetSpec::Cgroup(CgroupSpec {
        path: absolute(r, node, what, "cgroup", "/system.slice/nginx.service")?,
    }))
}

/// That exactly one of these keys is given.
fn one_of(r: &Reader, f: &Fields<'_>, node: &Node, what: &str, keys: &[&str], example: &str) -> Option<()> {
    match keys.iter().filter(|k| f.has(k)).count() {
        1 => Some(()),
        0 => r.refuse(
            node.place,
            format!("{what} needs one of {}", keys.join(", ")),
            format!("write for example {example}"),
        ),
        _ => r.refuse(
            node.place,
            format!("{what} has several of {}", keys.join(", ")),
            "keep one of them: they are different ways to say which",
        ),
    }
}

/// A text that is absent or says something.
fn word(r: &Reader, f: &Fields<'_>, key: &str) -> Option<Option<String>> {
    let Some(n) = f.get(key) else { return Some(None) };
    let text = r.text(n, key)?;
    if text.trim().is_empty() {
        return r.refuse(n.place, format!("{key} is empty"), "write a name, or leave it out");
    }
    Some(Some(text))
}

fn pick(r: &Reader, node: &Node) -> Option<Pick> {
    if let crate::yaml::Data::Map(_) = node.data {
        let f = r.fields(node, "pick", &["count", "percent"])?;
        return match (f.get("count"), f.get("percent")) {
            (Some(n), None) => Some(Pick::Count(r.integer(n, "count", 1, 10_000)? as u32)),
            (None, Some(n)) => Some(Pick::Percent(r.parse(n, "percent")?)),
            _ => r.refuse(node.place, "pick needs either count or percent", "write for example {count: 2}"),
        };
    }
    r.choice(node, "pick", &[("one", Pick::One), ("all", Pick::All)])
}
