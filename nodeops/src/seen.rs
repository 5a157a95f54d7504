//! What there is on this machine that could be a target, and what is in the way of seeing more. Looks, and touches nothing.

use crate::containers::api::{Engine, usual_sockets};
use crate::containers::find::Listed;
use crate::services::running_units;
use host::Capabilities;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Everything that was seen.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Seen {
    /// Containers of the engines that answer.
    pub containers: Vec<SeenContainer>,
    /// Units of systemd that run.
    pub services: Vec<SeenService>,
    /// Network namespaces other than ours.
    pub namespaces: Vec<SeenNamespace>,
    /// The interfaces of this machine.
    pub interfaces: Vec<String>,
    /// Directories that are served by a murphy.
    pub mounts: Vec<SeenMount>,
    /// What is missing to see, or to reach, more.
    pub missing: Vec<String>,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeenContainer {
    /// As a target: `container:shop-db-1`.
    pub target: String,
    /// Its id.
    pub id: String,
    /// The word for its state: `running`, `paused`, `exited`.
    pub state: String,
    /// Its image.
    pub image: String,
    /// The service of a compose project: `shop/db`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Its ports, as far as the engine knows them; a proxy can stand in front of any.
    pub ports: Vec<u16>,
    /// Its labels but compose's own.
    pub labels: BTreeMap<String, String>,
    /// The socket of its engine.
    pub engine: String,
}

/// A unit of systemd.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeenService {
    /// The unit.
    pub unit: String,
    /// Its control group as a target, where that is found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// A network namespace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeenNamespace {
    /// As a target: `netns:blue`, or `process:4711` for one without a name.
    pub target: String,
    /// Its inode.
    pub inode: u64,
    /// How many processes are in it.
    pub processes: usize,
    /// One of them, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
}

/// A mount of murphy's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeenMount {
    /// As a target.
    pub target: String,
    /// Where it is.
    pub path: String,
    /// The process in whose mount namespace it was seen, when that is not ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
}

/// Looks.
pub async fn seen() -> Seen {
    let mut seen = Seen::default();
    containers(&mut seen).await;
    match running_units().await {
        Ok(units) => seen.services = units.into_iter().map(service).collect(),
        Err(why) => seen.missing.push(why),
    }
    namespaces(&mut seen);
    mounts(&mut seen);
    let links = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    seen.interfaces = links.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    seen.interfaces.sort();
    rights(&mut seen.missing);
    seen
}

async fn containers(seen: &mut Seen) {
    let sockets = usual_sockets(|name| std::env::var(name).ok());
    let there: Vec<&String> = sockets.iter().filter(|socket| Path::new(socket).exists()).collect();
    if let Some(other) = std::env::var("DOCKER_HOST").ok().filter(|host| !host.starts_with("unix://")) {
        seen.missing
            .push(format!("DOCKER_HOST is {other}: only engines on this machine (unix://…) are asked"));
    }
    if there.is_empty() {
        seen.missing.push(format!(
            "containers: no engine, looked for {}; start Docker or podman system service, or set DOCKER_HOST",
            sockets.join(", ")
        ));
    }
    let mut known = Vec::new();
    for socket in there {
        let engine = Engine::at(socket);
        let list = match engine.get("/containers/json?all=1").await {
            Ok(list) => list,
            Err(e) => {
                let denied = fs::File::options().read(true).write(true).open(socket);
                let denied = denied.is_err_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied);
                seen.missing.push(match denied {
                    true => format!(
                        "containers: {socket} may not be used by this user; run as root or join its group"
                    ),
                    false => format!("containers: {e}; {}", e.hint()),
                });
                continue;
            }
        };
        let info = engine.get("/info").await.unwrap_or_default();
        let options = info["SecurityOptions"].as_array().cloned().unwrap_or_default();
        if options.iter().filter_map(|o| o.as_str()).any(|o| o.contains("rootless")) {
            seen.missing.push(format!(
                "the engine at {socket} is rootless: what it does itself (pause, stop, kill, limits) works; the network, files and processors inside need murphy as root of the machine"
            ));
        }
        for one in list.as_array().into_iter().flatten() {
            let listed = Listed::read(one);
            // One engine may listen in two places.
            if known.contains(&listed.id) {
                continue;
            }
            known.push(listed.id.clone());
            seen.containers.push(container(&listed, one, socket));
        }
    }
    seen.containers.sort_by(|a, b| a.target.cmp(&b.target));
}

fn container(listed: &Listed, raw: &serde_json::Value, socket: &str) -> SeenContainer {
    let is_composes =
        |key: &str| key.starts_with("com.docker.compose.") || key.starts_with("io.podman.compose.");
    let labels = listed.labels.as_object().into_iter().flatten();
    let labels = labels.filter(|(key, _)| !is_composes(key));
    let mut ports: Vec<u16> = raw["Ports"]
        .as_array()
        .into_iter()
        .flatten()
        // Docker's word for it, and Podman's.
        .filter_map(|p| p["PrivatePort"].as_u64().or(p["container_port"].as_u64())?.try_into().ok())
        .collect();
    ports.sort_unstable();
    ports.dedup();
    SeenContainer {
        target: format!("container:{}", listed.name),
        id: listed.id.clone(),
        state: listed.state.clone(),
        image: raw["Image"].as_str().unwrap_or_default().to_owned(),
        service: listed.service(),
        ports,
        labels: labels.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect(),
        engine: socket.to_owned(),
    }
}

/// A unit's control group, in the place where systemd makes it.
fn service(unit: String) -> SeenService {
    let path = format!("/system.slice/{unit}");
    let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"];
    let there = roots.iter().any(|root| Path::new(&format!("{root}{path}")).is_dir());
    SeenService { unit, target: there.then(|| format!("cgroup:{path}")) }
}

fn namespaces(seen: &mut Seen) {
    let number = |path: &str| fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    let mine = number("/proc/self/ns/net");
    let mut names = BTreeMap::new();
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        if let Some(id) = number(&entry.path().to_string_lossy()) {
            names.insert(id, entry.file_name().to_string_lossy().into_owned());
        }
    }
    let mut inside: BTreeMap<(u64, u64), Vec<host::Process>> = BTreeMap::new();
    let mut hidden = 0;
    for process in host::process::list() {
        match number(&format!("/proc/{}/ns/net", process.id.pid)) {
            Some(id) => inside.entry(id).or_default().push(process),
            None => hidden += usize::from(process.id.alive() && !process.command.is_empty()),
        }
    }
    let mut all: Vec<(u64, u64)> = names.keys().chain(inside.keys()).copied().collect();
    all.sort_unstable();
    all.dedup();
    for id in all.into_iter().filter(|id| Some(*id) != mine) {
        let there = inside.get(&id);
        let oldest = there.and_then(|list| list.iter().min_by_key(|p| (p.id.start, p.id.pid)));
        let target = match (names.get(&id), oldest) {
            (Some(name), _) => format!("netns:{name}"),
            (None, Some(process)) => format!("process:{}", process.id.pid),
            (None, None) => continue,
        };
        seen.namespaces.push(SeenNamespace {
            target,
            inode: id.1,
            processes: there.map_or(0, Vec::len),
            first: oldest.map(|p| p.comm.clone()),
        });
    }
    if hidden > 0 && !Capabilities::mine().has("CAP_SYS_PTRACE") {
        seen.missing.push(format!(
            "the namespaces of {hidden} processes cannot be seen: they are other users'; run as root"
        ));
    }
}

fn mounts(seen: &mut Seen) {
    let mut tables = vec![(None, "/proc/self/mountinfo".to_owned())];
    let number = |pid: &str| fs::metadata(format!("/proc/{pid}/ns/mnt")).ok().map(|m| m.ino());
    let mut known: Vec<u64> = number("self").into_iter().collect();
    for process in host::process::list() {
        let pid = process.id.pid;
        if let Some(id) = number(&pid.to_string()).filter(|id| !known.contains(id)) {
            known.push(id);
            tables.push((Some(pid), format!("/proc/{pid}/mountinfo")));
        }
    }
    for (pid, table) in tables {
        let text = fs::read_to_string(table).unwrap_or_default();
        for line in text.lines().filter(|line| line.contains(" - fuse.murphy ")) {
            let Some(path) = line.split(' ').nth(4) else { continue };
            let path = path.replace("\\040", " ");
            seen.mounts.push(SeenMount { target: format!("fs:{path}"), path, pid });
        }
    }
}

fn rights(missing: &mut Vec<String>) {
    let mine = Capabilities::mine();
    let needed = [
        ("CAP_SYS_ADMIN", "entering the namespaces of containers, mounting over directories"),
        ("CAP_NET_ADMIN", "faults of networks, a proxy in front of a container"),
        ("CAP_SYS_PTRACE", "processes of other users: their namespaces, clocks and limits"),
        ("CAP_KILL", "signals to processes of other users"),
    ];
    let lacking: Vec<String> = needed
        .iter()
        .filter(|(name, _)| !mine.has(name))
        .map(|(name, what)| format!("{name} ({what})"))
        .collect();
    if !lacking.is_empty() {
        missing.push(format!("not allowed to this process: {}; run as root", lacking.join(", ")));
    }
    if !Path::new("/dev/fuse").exists() {
        missing.push(
            "directories: there is no /dev/fuse; load the module (modprobe fuse), or in a container --device /dev/fuse"
                .to_owned(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn containers_show_what_they_are_called_and_where_they_listen() {
        let raw = json!({
            "Id": "0123456789abcdef", "Names": ["/shop-db-1"], "State": "running", "Created": 1, "Image": "shop",
            "Ports": [{"PrivatePort": 5432, "Type": "tcp"}, {"PrivatePort": 5432, "Type": "tcp", "IP": "::"}],
            "Labels": {"com.docker.compose.project": "shop", "com.docker.compose.service": "db", "tier": "data"},
        });
        let seen = container(&Listed::read(&raw), &raw, "/s");
        assert_eq!((seen.target.as_str(), seen.service.as_deref()), ("container:shop-db-1", Some("shop/db")));
        assert_eq!((seen.ports, seen.labels.len()), (vec![5432], 1));
    }

    #[tokio::test]
    async fn it_looks_without_being_asked_for_anything() {
        let seen = seen().await;
        assert!(seen.interfaces.contains(&"lo".to_owned()), "{seen:?}");
        assert!(seen.namespaces.iter().all(|n| n.inode > 0));
    }
}
