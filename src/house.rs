//! An agent with everything it needs, and how others find it: what the verbs have in common.
//!
//! ```text
//! state directory/            MURPHY_STATE_DIR, or the user's own
//!   agent/                    of `murphy agent`: undo.jsonl, halt.json
//!   run-4711/                 of a command in the foreground, as long as it lives; murphy.sock is in it
//! ```

use crate::cli::{Shown, Which};
use crate::failure::{Failure, Outcome};
use crate::injectors;
use crate::service::EngineService;
use control::endpoint::Place;
use control::{Client, Endpoint, Server, SocketOptions};
use engine::export::Exporter;
use engine::export::otlp::Collector;
use engine::{Agent, Config, EngineError, RecoverReport, WatchdogCommand};
use fusefs::FsInjector;
use model::target::{NodeSpec, Target, TargetRef, TargetSpec};
use model::units::Span;
use nodeops::NetworkInjector;
use proxy::ProxyInjector;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Runs a verb on a runtime of its own.
pub fn block_on(verb: impl Future<Output = Outcome>) -> Outcome {
    block_on_threads(None, verb)
}

/// The same with so many threads for what the verb does; none: one a processor.
pub fn block_on_threads(threads: Option<usize>, verb: impl Future<Output = Outcome>) -> Outcome {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads.max(1));
    }
    let runtime = builder.enable_all().build().map_err(|e| {
        Failure::cannot(
            format!("cannot start the runtime: {e}"),
            "look at the limits of this process (ulimit -a)",
        )
    })?;
    let outcome = runtime.block_on(verb);
    // Blocking reads of a terminal have no end of their own.
    runtime.shutdown_background();
    outcome
}

/// Ctrl-c, a termination or a hang-up. To be asked for before anything is done, so that none is missed.
pub fn interrupt() -> Result<mpsc::Receiver<&'static str>, Failure> {
    let (tell, told) = mpsc::channel(4);
    for (kind, name) in [
        (SignalKind::interrupt(), "ctrl-c"),
        (SignalKind::terminate(), "SIGTERM"),
        (SignalKind::hangup(), "a hang-up"),
    ] {
        let mut signals = signal(kind).map_err(|e| {
            Failure::cannot(format!("cannot listen for signals: {e}"), "look at the limits of this process")
        })?;
        let tell = tell.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if tell.send(name).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(told)
}

/// A client of the agent that is meant.
pub fn client(which: &Which) -> Result<Client, Failure> {
    Ok(Client::new(endpoint(which.socket.as_deref(), &which.shown)?))
}

/// The same for who only looks or takes back: where the user's own agent is not there, the one that a command in the
/// foreground has (`murphy mount`, `run`, `demo`), if it is the only one.
pub fn found(which: &Which) -> Result<Client, Failure> {
    if which.socket.is_some() || default_socket().exists() {
        return client(which);
    }
    match passing_agents().as_slice() {
        [] => client(which),
        [one] => Ok(Client::new(Endpoint::unix(one))),
        several => {
            let list: Vec<String> = several.iter().map(|s| s.display().to_string()).collect();
            Err(Failure::usage(
                "there is no agent of your own, but several commands that have one in them",
                format!("say which with --socket: {}", list.join(", ")),
            ))
        }
    }
}

/// The agent of a command in the foreground that has this target open.
pub async fn holder_of(target: &TargetRef) -> Option<Client> {
    for socket in passing_agents() {
        let client = Client::new(Endpoint::unix(socket));
        if client.targets().await.is_ok_and(|open| open.iter().any(|t| t.target == *target)) {
            return Some(client);
        }
    }
    None
}

/// The sockets of this user's commands in the foreground that live.
pub fn passing_agents() -> Vec<PathBuf> {
    let dirs = state_dirs().into_iter().filter(|dir| !dir.ends_with("agent") && engine::is_lived_in(dir));
    dirs.map(|dir| dir.join("murphy.sock")).filter(|socket| socket.exists()).collect()
}

/// The address of the agent that is meant: as given, else the user's own.
pub fn endpoint(given: Option<&str>, shown: &Shown) -> Result<Endpoint, Failure> {
    let endpoint = match given {
        None => Endpoint::unix(default_socket()),
        // A bare path needs no scheme.
        Some(text) if !text.contains(':') => Endpoint::unix(text),
        Some(text) => text.parse().map_err(|e: control::endpoint::EndpointError| {
            let text = e.to_string();
            let (what, hint) = text.split_once("; ").unwrap_or((&text, "see `murphy --help`"));
            Failure::usage(what, hint)
        })?,
    };
    crate::tcp::with(endpoint, shown)
}

/// The socket of `murphy agent` when nobody says otherwise.
pub fn default_socket() -> PathBuf {
    control::endpoint::default_socket(
        host::privilege::uid(),
        std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
    )
}

/// Where an agent of ours shall listen: as given, else the user's own socket.
pub fn socket_path(given: Option<&str>) -> Result<PathBuf, Failure> {
    let Some(text) = given else { return Ok(default_socket()) };
    match endpoint(Some(text), &Shown::default())?.place {
        Place::Unix(path) => Ok(path),
        Place::Tcp(..) | Place::Tls(..) => Err(Failure::usage(
            format!("--socket {text:?} is not a path"),
            "write unix:PATH or a path; TCP is asked for with --listen",
        )),
    }
}

/// The user's own agent, as `MURPHY_SOCKET` says.
pub fn own_agent(shown: &Shown) -> Result<Endpoint, Failure> {
    let said = std::env::var("MURPHY_SOCKET").ok().filter(|said| !said.is_empty());
    endpoint(said.as_deref(), shown)
}

/// Every agent of this user that might be there.
pub fn own_agents(shown: &Shown) -> Vec<Endpoint> {
    // One that is named in a wrong way must not keep the others from being found.
    let own = own_agent(shown).inspect_err(|e| tell!("{e}"));
    let sockets = state_dirs().into_iter().map(|dir| dir.join("murphy.sock")).filter(|s| s.exists());
    own.into_iter().chain(sockets.map(Endpoint::unix)).collect()
}

/// What a halt that was given without an agent leaves for the next one.
pub fn persist_halt(on: bool) -> Result<(), Failure> {
    let dir = host::dirs::state().join("agent");
    let done = if on {
        engine::halt_offline(&dir, &host::privilege::user()).map(drop)
    } else {
        engine::lift_offline(&dir).map(drop)
    };
    done.map_err(|e| Failure::cannot(e.to_string(), "choose another directory with MURPHY_STATE_DIR"))
}

/// Undoes what dead agents left in any of this user's state directories.
pub async fn recover_all() -> Vec<(PathBuf, Result<RecoverReport, EngineError>)> {
    recover_in(state_dirs()).await
}

async fn recover_in(dirs: Vec<PathBuf>) -> Vec<(PathBuf, Result<RecoverReport, EngineError>)> {
    let mut reports = Vec::new();
    for dir in dirs {
        let outcome = engine::recover(&dir, &injectors::all(), false).await;
        let clean = matches!(&outcome, Ok(report) if report.problems().is_empty());
        if clean && !dir.ends_with("agent") && !has_living_owner(&dir) {
            // What is left is an empty log; if it cannot be removed, the next start tries again.
            let _ = std::fs::remove_dir_all(&dir);
        }
        reports.push((dir, outcome));
    }
    reports
}

/// Whether the process whose number ends the directory's name lives: one that is just starting has made its directory and
/// does not hold it yet.
fn has_living_owner(dir: &Path) -> bool {
    let name = dir.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let pid = name.rsplit('-').next().and_then(|n| n.parse().ok());
    pid.is_some_and(|pid| host::process::stat(pid).is_ok())
}

fn state_dirs() -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = std::fs::read_dir(host::dirs::state())
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        // Beside them lies murphy's CA, which is nobody's state.
        .filter(|path| path.is_dir() && !path.ends_with("ca"))
        .collect();
    dirs.sort();
    dirs
}

/// An agent in this process, reachable by others.
pub struct House {
    /// The agent.
    pub agent: Agent,
    /// What its API calls.
    pub service: Arc<EngineService>,
    /// Its proxies.
    pub proxies: Arc<ProxyInjector>,
    /// The directories that it serves.
    pub files: Arc<FsInjector>,
    /// Its control socket.
    pub socket: PathBuf,
    server: Server,
    exporter: Option<Exporter>,
    /// Removed at the end, for an agent in the foreground.
    dir: Option<PathBuf>,
    _follower: Follower,
}

/// The task that goes after containers; ends with the house.
struct Follower(tokio::task::AbortHandle);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Where and for how long an agent serves.
#[derive(Debug, Default)]
pub struct Opening {
    /// The control socket; none: one in the state directory.
    pub socket: Option<PathBuf>,
    /// The group whose members are operators.
    pub group: Option<String>,
    /// TCP, too.
    pub tcp: Option<control::TcpOptions>,
    /// How long faults outlive an agent that hangs.
    pub lease: Option<Span>,
    /// Who is sent spans of what happens.
    pub otlp: Option<Collector>,
    /// Targets to open; whoever reaches the agent finds them open.
    pub targets: Vec<Target>,
    /// Nothing is armed: a halt is no reason not to look.
    pub dry: bool,
    /// Nothing but proxies, which end with this process: no watchdog is needed, and the machine is no target.
    pub proxies_only: bool,
}

impl House {
    /// An agent for a command in the foreground. `verb` becomes part of its state directory's name.
    pub async fn foreground(verb: &str) -> Result<House, Failure> {
        House::foreground_with(verb, Opening::default()).await
    }

    /// The same, serving as it is told.
    pub async fn foreground_with(verb: &str, opening: Opening) -> Result<House, Failure> {
        if let Some(halt) = engine::halted_offline(&host::dirs::state().join("agent")) {
            if opening.dry {
                tell!("mind: nothing can be armed now: {} halted everything (murphy halt --lift)", halt.by);
                return House::open(&format!("{verb}-{}", std::process::id()), true, opening).await;
            }
            return Err(Failure::cannot(
                format!("nothing can be armed: {} halted everything", halt.by),
                "when it is safe again: murphy halt --lift",
            ));
        }
        let name = format!("{verb}-{}", std::process::id());
        House::open(&name, true, opening).await
    }

    /// The agent of `murphy agent`.
    pub async fn daemon(opening: Opening) -> Result<House, Failure> {
        House::open("agent", false, opening).await
    }

    async fn open(name: &str, passing: bool, opening: Opening) -> Result<House, Failure> {
        // A directory in use is its agent's own affair; asking it for its lock would hold us up for seconds.
        let mut left = state_dirs();
        left.retain(|dir| !engine::is_lived_in(dir));
        for (_, outcome) in recover_in(left).await {
            // Another one may have begun to tidy up there meanwhile.
            if let Ok(report) = outcome {
                report.problems().iter().for_each(|what| tell!("warning: {what}"));
            }
        }
        let dir = host::dirs::state().join(name);
        let socket = opening.socket.clone().unwrap_or_else(|| dir.join("murphy.sock"));
        let cannot = |e: EngineError| {
            let text = e.to_string();
            let (what, hint) = text
                .split_once("; ")
                .unwrap_or((&text, "another state directory can be chosen with MURPHY_STATE_DIR"));
            Failure::cannot(what, hint)
        };
        let proxies = injectors::proxies();
        let files = injectors::files();
        let network = Arc::new(NetworkInjector::new());
        let mut config = match opening.proxies_only {
            true => Config::new(&dir, vec![proxies.clone()]),
            false => Config::new(&dir, injectors::with(proxies.clone(), files.clone(), network.clone()))
                .watchdog(WatchdogCommand::this_program()),
        };
        config.leftovers = vec![socket.clone()];
        if let Some(lease) = opening.lease {
            config.lease = lease.0;
        }
        let lease = config.lease;
        let agent = Agent::start(config).await.map_err(cannot)?;
        let followed = files.clone();
        let follower =
            Follower(tokio::spawn(async move { followed.follow_containers().await }).abort_handle());
        let seen = proxies.clone();
        let exporter = opening
            .otlp
            .map(|collector| Exporter::start(&agent, collector, Arc::new(move || seen.requests())));
        // This machine needs no opening; as an open target it can be chosen on the console.
        let this_machine = Target { name: "self".into(), spec: TargetSpec::Node(NodeSpec::default()) };
        let this_machine = Some(this_machine).filter(|_| !opening.proxies_only);
        for target in this_machine.into_iter().chain(opening.targets) {
            if let Err(e) = agent.open(target).await {
                // Nothing was armed yet, so nothing can be left.
                let _ = agent.shutdown().await;
                return Err(match e {
                    EngineError::Refused(problem) => Failure::Cannot(vec![problem]),
                    other => cannot(other),
                });
            }
        }
        let service = Arc::new(EngineService::new(agent.clone(), lease, &proxies, files.clone()));
        let options = control::Options {
            socket: Some(SocketOptions { group: opening.group, ..SocketOptions::new(&socket) }),
            tcp: opening.tcp,
        };
        match Server::start(options, service.clone()).await {
            Ok(server) => {
                if let Some(address) = server.address() {
                    network.control_port(address.port());
                }
                Ok(House {
                    agent,
                    service,
                    proxies,
                    files,
                    socket,
                    server,
                    exporter,
                    dir: passing.then_some(dir),
                    _follower: follower,
                })
            }
            Err(e) => {
                // Nothing was armed yet, so nothing can be left.
                let _ = agent.shutdown().await;
                let text = e.to_string();
                let (what, hint) =
                    text.split_once("; ").unwrap_or((&text, "choose another path with --socket"));
                Err(Failure::cannot(what, hint))
            }
        }
    }

    /// The TCP address it listens on.
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        self.server.address()
    }

    /// A client of this agent.
    pub fn client(&self) -> Client {
        Client::new(Endpoint::unix(&self.socket))
    }

    /// Takes everything back and ends; says what could not be taken back.
    pub async fn close(self) -> Outcome {
        self.service.end_run_if_any("the end of murphy").await;
        let ended = self.agent.shutdown().await;
        self.server.stop().await;
        if let Some(exporter) = self.exporter {
            exporter.stop().await;
        }
        match ended {
            Ok(()) => {
                if let Some(dir) = &self.dir {
                    // An empty log; if it cannot be removed, the next start tries again.
                    let _ = std::fs::remove_dir_all(dir);
                }
                Ok(0)
            }
            Err(e) => Err(Failure::cannot(e.to_string(), "`murphy recover` tries again")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_the_living_are_told_from_those_of_the_dead() {
        assert!(has_living_owner(Path::new(&format!("/state/run-{}", std::process::id()))));
        assert!(!has_living_owner(Path::new("/state/run-4000000000")));
        assert!(!has_living_owner(Path::new("/state/other")));
    }
}
