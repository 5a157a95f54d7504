//! Which containers are meant, and which processes and groups they are.

use super::api::{Engine, EngineError};
use crate::cgroup::Cgroups;
use crate::pick::pick;
use host::{ProcessId, process};
use inject::Refusal;
use model::TargetRef;
use model::target::{ContainerSpec, Pick};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// A running container.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Its full id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its first process, as this process sees it.
    pub pid: ProcessId,
    /// The groups that the first process is in.
    pub cgroups: Cgroups,
    /// The socket of its engine.
    pub engine: PathBuf,
}

impl Found {
    /// The first characters of the id, as people know it.
    pub fn short(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// Its processes, also where its groups cannot be seen from here: the kernel names the group of every process.
    pub fn processes(&self) -> Vec<u32> {
        match self.cgroups.all_processes() {
            found if found.is_empty() => {
                process::list().into_iter().map(|p| p.id.pid).filter(|pid| in_group(&self.id, *pid)).collect()
            }
            found => found,
        }
    }

    /// The container's root directory, as seen from here.
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.pid.pid))
    }
}

/// Finds containers for other rooms, through the engine that a spec names or the usual one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Finder;

impl inject::Containers for Finder {
    fn find<'a>(
        &'a self,
        target: &'a TargetRef,
        spec: &'a ContainerSpec,
    ) -> inject::BoxFuture<'a, Result<Vec<inject::Container>, Refusal>> {
        Box::pin(async move {
            let found = find(target, spec).await?;
            let one =
                |f: Found| inject::Container { id: f.id, name: f.name, pid: f.pid.pid, start: f.pid.start };
            Ok(found.into_iter().map(one).collect())
        })
    }
}

/// Running containers that fit, oldest first; never none, and exactly one where one is meant.
pub async fn find(target: &TargetRef, spec: &ContainerSpec) -> Result<Vec<Found>, Refusal> {
    let refuse = |e: EngineError| Refusal::new(format!("{target}: {e}"), e.hint());
    let engine = engine(spec).await.map_err(refuse)?;
    let listed = engine.get("/containers/json?all=1").await.map_err(refuse)?;
    let all: Vec<Listed> =
        listed.as_array().map(Vec::as_slice).unwrap_or_default().iter().map(Listed::read).collect();
    let mut fit: Vec<&Listed> = all.iter().filter(|c| c.fits(spec)).collect();
    if fit.is_empty() && spec.or_service {
        let services: Vec<ContainerSpec> = services_for(spec).collect();
        fit = all.iter().filter(|c| services.iter().any(|spec| c.fits(spec))).collect();
    }
    fit.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    if fit.is_empty() {
        let there: Vec<&str> = all.iter().filter(|c| c.runs()).take(8).map(|c| c.name.as_str()).collect();
        let there = if there.is_empty() {
            "none runs".to_owned()
        } else {
            format!("running are {}", there.join(", "))
        };
        return Err(Refusal::new(format!("{target}: no container has {}", wanted(spec)), there));
    }
    let running: Vec<&Listed> = fit.iter().copied().filter(|c| c.runs()).collect();
    if running.is_empty() {
        let states: Vec<String> = fit.iter().take(8).map(|c| format!("{} is {}", c.name, c.state)).collect();
        return Err(Refusal::new(
            format!("{target}: no container with {} runs: {}", wanted(spec), states.join(", ")),
            "start it first",
        ));
    }
    if spec.pick == Pick::One && running.len() > 1 {
        let names: Vec<&str> = running.iter().take(8).map(|c| c.name.as_str()).collect();
        return Err(Refusal::new(
            format!("{target} should be one container, but {} fit: {}", running.len(), names.join(", ")),
            "give its name, or say pick: all, pick: {count: 1} or pick: {percent: 50%}",
        ));
    }
    let mut found = Vec::new();
    for one in running {
        match inspect(&engine, &one.id).await {
            Ok(State { found: Some(it), .. }) => found.push(it),
            // It ended between the two looks.
            Ok(_) => {}
            Err(e) if e.is_missing() => {}
            Err(e) => return Err(refuse(e)),
        }
    }
    if found.is_empty() {
        return Err(Refusal::new(
            format!("{target}: the first process of {} cannot be found on this machine", wanted(spec)),
            "the engine must run on this machine, and its processes must be visible here (not in another pid namespace)",
        ));
    }
    Ok(found)
}

/// Those of a target that one fault gets, drawn from its seed.
pub async fn picked(target: &TargetRef, spec: &ContainerSpec, seed: u64) -> Result<Vec<Found>, Refusal> {
    let found = find(target, spec).await?;
    pick(target, &found, spec.pick, seed, "containers", names)
}

/// Names with short ids, the first eight: `web-1 (0123456789ab)`.
pub fn names(list: &[Found]) -> String {
    let mut text =
        list.iter().take(8).map(|f| format!("{} ({})", f.name, f.short())).collect::<Vec<_>>().join(", ");
    if list.len() > 8 {
        text.push_str(&format!(" and {} more", list.len() - 8));
    }
    text
}

/// What the engine says of one container.
#[derive(Debug, Clone)]
pub struct State {
    /// The word for it: `running`, `paused`, `exited`, …
    pub status: String,
    /// Whether it is frozen.
    pub paused: bool,
    /// Whether it has a first process.
    pub running: bool,
    /// Whether the kernel killed its first process for want of memory.
    pub oom_killed: bool,
    /// How often the engine has started it anew by itself.
    pub restarts: u64,
    /// When it was started last, in the engine's words.
    pub started_at: String,
    /// Its limits and the like.
    pub host_config: Value,
    /// Itself, when it runs and its first process can be found here.
    pub found: Option<Found>,
}

/// Looks at one container by its id.
pub async fn inspect(engine: &Engine, id: &str) -> Result<State, EngineError> {
    let whole = engine.get(&format!("/containers/{id}/json")).await?;
    let state = &whole["State"];
    let flag = |name: &str| state[name].as_bool().unwrap_or_default();
    let full = whole["Id"].as_str().unwrap_or(id).to_owned();
    let name = whole["Name"].as_str().unwrap_or_default().trim_start_matches('/').to_owned();
    let claimed = state["Pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
    let found = claimed.and_then(|pid| first_process(&full, pid)).and_then(|pid| {
        let cgroups = Cgroups::of(pid.pid).ok()?;
        Some(Found { id: full, name, pid, cgroups, engine: engine.socket().to_owned() })
    });
    Ok(State {
        status: state["Status"].as_str().unwrap_or_default().to_owned(),
        paused: flag("Paused"),
        running: flag("Running"),
        oom_killed: flag("OOMKilled"),
        restarts: whole["RestartCount"].as_u64().unwrap_or_default(),
        started_at: state["StartedAt"].as_str().unwrap_or_default().to_owned(),
        host_config: whole["HostConfig"].clone(),
        found,
    })
}

/// The engine that a target names, or the usual one.
pub async fn engine(spec: &ContainerSpec) -> Result<Engine, EngineError> {
    match &spec.engine {
        Some(socket) => Ok(Engine::at(socket)),
        None => Engine::usual().await,
    }
}

/// The engine's word for a process is a number in its own pid namespace. That number is ours too when the process is in a
/// group that has the container's id in its path; else the process is looked for among all.
fn first_process(id: &str, claimed: u32) -> Option<ProcessId> {
    if in_group(id, claimed) {
        return ProcessId::of(claimed).ok();
    }
    // Its number inside of the engine's namespace is in the list too, right before that in its own.
    let is_claimed = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("NSpid:")).unwrap_or_default();
        let numbers: Vec<&str> = line.split_whitespace().collect();
        numbers.contains(&claimed.to_string().as_str())
    };
    let candidates: Vec<u32> =
        process::list().into_iter().map(|p| p.id.pid).filter(|pid| in_group(id, *pid)).collect();
    let by_number = candidates.iter().copied().find(is_claimed);
    // Without a pid namespace of its own (`--pid=host`) the oldest is the first.
    let oldest =
        || candidates.iter().filter_map(|pid| ProcessId::of(*pid).ok()).min_by_key(|p| (p.start, p.pid));
    match by_number {
        Some(pid) => ProcessId::of(pid).ok(),
        None => oldest(),
    }
}

/// Whether a process is in a group that has a container's id in its path.
fn in_group(id: &str, pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(id))
}

/// A container as the engine lists it.
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) name: String,
    names: Vec<String>,
    pub(crate) state: String,
    created: i64,
    pub(crate) labels: Value,
}

impl Listed {
    pub(crate) fn read(value: &Value) -> Listed {
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let names: Vec<String> = value["Names"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .filter_map(|n| Some(n.as_str()?.trim_start_matches('/').to_owned()))
            .collect();
        // A link gives a container further names, with a slash in them.
        let name = names.iter().find(|n| !n.contains('/')).or(names.first()).cloned().unwrap_or_default();
        Listed {
            id: text("Id"),
            name,
            names,
            state: text("State"),
            created: value["Created"].as_i64().unwrap_or_default(),
            labels: value["Labels"].clone(),
        }
    }

    /// The service of a compose project that it is of: `shop/db`.
    pub(crate) fn service(&self) -> Option<String> {
        let part = |what: &str| BASES.iter().find_map(|base| self.label(&format!("{base}.{what}")));
        Some(format!("{}/{}", part("project")?, part("service")?))
    }

    fn runs(&self) -> bool {
        matches!(self.state.as_str(), "running" | "paused")
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name)?.as_str()
    }

    fn fits(&self, spec: &ContainerSpec) -> bool {
        let name = |wanted: &String| {
            self.names.iter().any(|n| n == wanted)
                || (wanted.len() >= 6 && self.id.starts_with(wanted.as_str()))
        };
        let label = |wanted: &String| {
            wanted.split(',').all(|one| match one.trim().split_once('=') {
                Some((key, value)) => self.label(key) == Some(value),
                None => self.label(one.trim()).is_some(),
            })
        };
        // `shop/web`: that service of that project.
        let service = |wanted: &String| match wanted.split_once('/') {
            Some((project, service)) => {
                compose(self, "project", project) && compose(self, "service", service)
            }
            None => compose(self, "service", wanted),
        };
        spec.name.as_ref().is_none_or(name)
            && spec.label.as_ref().is_none_or(label)
            && spec.service.as_ref().is_none_or(service)
    }
}

/// The compose services that the values of its labels may mean.
fn services_for(spec: &ContainerSpec) -> impl Iterator<Item = ContainerSpec> {
    let values = spec.label.as_deref().unwrap_or_default().split(',').filter_map(|one| one.split_once('='));
    values.map(|(_, value)| ContainerSpec {
        service: Some(value.trim().to_owned()),
        ..ContainerSpec::default()
    })
}

/// Docker Compose and podman-compose mark what they start.
const BASES: [&str; 2] = ["com.docker.compose", "io.podman.compose"];

fn compose(container: &Listed, what: &str, wanted: &str) -> bool {
    BASES.iter().any(|base| container.label(&format!("{base}.{what}")) == Some(wanted))
}

fn wanted(spec: &ContainerSpec) -> String {
    let parts = [("name", &spec.name), ("label", &spec.label), ("compose service", &spec.service)];
    let words: Vec<String> =
        parts.iter().filter_map(|(what, value)| Some(format!("{what} {:?}", value.as_deref()?))).collect();
    if words.is_empty() { "nothing to find it by".into() } else { words.join(" and ") }
}
