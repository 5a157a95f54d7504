//! systemd by its own command: what it says of a unit, and what it is asked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// How long systemd may take to answer a question.
const ANSWER: Duration = Duration::from_secs(10);

/// The command.
#[derive(Debug, Clone)]
pub(super) struct Systemctl {
    program: PathBuf,
    /// Where it is seen that systemd runs: sd_booted(3).
    booted: PathBuf,
}

/// A unit as systemd sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    /// Its full name.
    pub id: String,
    /// `loaded`, `not-found`, `masked`, …
    pub load: String,
    /// `active`, `inactive`, `failed`, `activating`, …
    pub active: String,
    /// Of one run of it: another run has another.
    pub invocation: String,
}

/// Nobody is asked for a password: what is not allowed fails.
const QUIET: &str = "--no-ask-password";

/// Whether a command of ours is on its way that stops a unit, whoever has started it.
pub(super) fn is_stopping(unit: &str) -> bool {
    let words = format!("{QUIET} stop -- {unit}");
    host::process::list().iter().any(|p| p.command.ends_with(&words))
}

impl Default for Systemctl {
    fn default() -> Self {
        Systemctl { program: "systemctl".into(), booted: "/run/systemd/system".into() }
    }
}

impl Systemctl {
    /// Another program in its place.
    pub(super) fn of(program: PathBuf) -> Systemctl {
        Systemctl { program, booted: "/".into() }
    }

    /// Why services cannot be reached here at all.
    pub(super) fn missing(&self) -> Option<String> {
        (!Path::new(&self.booted).is_dir())
            .then(|| format!("systemd does not run on this machine: there is no {}", self.booted.display()))
    }

    /// Looks at a unit.
    pub(super) async fn show(&self, unit: &str) -> Result<Unit, String> {
        let properties = "--property=Id,LoadState,ActiveState,InvocationID";
        let text = self.run(&["show", properties, "--", unit], ANSWER).await?;
        let fields: BTreeMap<&str, &str> = text.lines().filter_map(|l| l.split_once('=')).collect();
        let field = |name: &str| fields.get(name).map(|v| (*v).to_owned()).unwrap_or_default();
        Ok(Unit {
            id: field("Id"),
            load: field("LoadState"),
            active: field("ActiveState"),
            invocation: field("InvocationID"),
        })
    }

    /// The services that run.
    pub(super) async fn running(&self) -> Result<Vec<String>, String> {
        let args =
            ["list-units", "--type=service", "--state=running", "--plain", "--no-legend", "--no-pager"];
        let text = self.run(&args, ANSWER).await?;
        Ok(text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
    }

    /// Has something done, and waits for it that long.
    pub(super) async fn ask(&self, verb: &str, unit: &str, patience: Duration) -> Result<(), String> {
        self.run(&[QUIET, verb, "--", unit], patience).await.map(drop)
    }

    async fn run(&self, args: &[&str], patience: Duration) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        command.args(args).env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
        let shown = || format!("{} {}", self.program.display(), args.join(" "));
        let out = tokio::time::timeout(patience, command.output())
            .await
            .map_err(|_| format!("`{}` was not done within {} s", shown(), patience.as_secs()))?
            .map_err(|e| format!("`{}` cannot be run: {e}", shown()))?;
        if out.status.success() {
            return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&out.stderr);
        Err(format!("`{}` failed ({}): {}", shown(), out.status, said.trim().replace('\n', " ")))
    }
}
