//! What an agent is made of.

use inject::Injector;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What an agent is made of. [`Config::new`] has defaults that work.
#[derive(Clone)]
pub struct Config {
    /// Where the undo log lies: a directory of this agent's alone.
    pub state_dir: PathBuf,
    /// What injects, by kind of target.
    pub injectors: Vec<Arc<dyn Injector>>,
    /// How long faults stay on when the agent hangs; it renews three times as often.
    pub lease: Duration,
    /// How the watchdog is started; without one only the next start or `recover` undoes what a crash left.
    pub watchdog: Option<WatchdogCommand>,
    /// Sockets of ours that the watchdog removes when the agent has crashed and nobody listens on them.
    pub leftovers: Vec<PathBuf>,
    /// Agents with the same word here see each other's claims on targets. Only tests that must not see each other
    /// need another one.
    pub claim_space: String,
}

impl Config {
    /// An agent with its undo log in that directory, a lease of 15 s and no watchdog.
    pub fn new(state_dir: impl Into<PathBuf>, injectors: Vec<Arc<dyn Injector>>) -> Config {
        Config {
            state_dir: state_dir.into(),
            injectors,
            lease: Duration::from_secs(15),
            watchdog: None,
            leftovers: Vec::new(),
            claim_space: "murphy".into(),
        }
    }

    /// The same with a watchdog.
    pub fn watchdog(mut self, command: WatchdogCommand) -> Config {
        self.watchdog = Some(command);
        self
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("state_dir", &self.state_dir)
            .field("injectors", &self.injectors.iter().map(|i| i.name()).collect::<Vec<_>>())
            .field("lease", &self.lease)
            .field("watchdog", &self.watchdog)
            .finish_non_exhaustive()
    }
}

/// A program that calls [`crate::watchdog::main`] with the arguments that follow its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchdogCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments before ours.
    pub args: Vec<OsString>,
}

impl WatchdogCommand {
    /// This very program, by its hidden verb [`crate::watchdog::VERB`]; also after the file was replaced.
    pub fn this_program() -> WatchdogCommand {
        WatchdogCommand { program: "/proc/self/exe".into(), args: vec![crate::watchdog::VERB.into()] }
    }
}
