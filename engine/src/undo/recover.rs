//! Undoing what an agent that is gone, or hangs, has left.

use super::read::{Contents, Damage, Live, read};
use super::record::{FILE, Record};
use crate::error::EngineError;
use crate::guarded;
use host::{FileLock, Holder};
use inject::{Injector, Recovered, Swept};
use model::TargetRef;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The lock's name in the state directory.
pub(crate) const LOCK: &str = "lock";

/// What came of undoing what a log held.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RecoverReport {
    /// Every act that was left, newest first.
    pub acts: Vec<ActReport>,
    /// Lines that did not read. What they recorded could not be undone by us.
    pub damage: Vec<Damage>,
    /// Where the damaged log was moved to.
    pub moved_to: Option<PathBuf>,
}

/// What came of one act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActReport {
    /// The fault's id.
    pub id: String,
    /// Its target.
    pub target: TargetRef,
    /// The fault in a few words.
    pub fault: String,
    /// Who had ordered it.
    pub by: String,
    /// The act in words.
    pub act: String,
    /// Its undo in words.
    pub undo: String,
    /// `undone`; `gone: …` when nothing was left to undo; `failed: …`.
    pub outcome: String,
    /// Whether it still has to be undone.
    pub failed: bool,
}

impl RecoverReport {
    /// Whether everything is undone that is known of.
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty() && self.acts.iter().all(|a| !a.failed)
    }

    /// What could not be undone, as sentences that say what to do; empty when all is well.
    pub fn problems(&self) -> Vec<String> {
        let damage = self.damage.iter().map(|d| {
            let kept = self.moved_to.as_deref().unwrap_or(&d.file).display();
            format!(
                "{} line {} is damaged: {}. Everything else was undone from it; what this line recorded was not. \
                 Read the line in {kept}, undo by hand what it names, then delete that file",
                d.file.display(),
                d.line,
                d.why
            )
        });
        let failed = self
            .acts
            .iter()
            .filter(|a| a.failed)
            .map(|a| format!("{} ({}): {}; to be undone: {}", a.id, a.act, a.outcome, a.undo));
        damage.chain(failed).collect()
    }
}

/// Undoes what is left in a state directory: what `murphy recover` does. Refused while a living agent works there,
/// unless `force`; an agent that hangs may be forced, and its own proxies are then left to it.
pub async fn recover(
    state_dir: &Path,
    injectors: &[Arc<dyn Injector>],
    force: bool,
) -> Result<RecoverReport, EngineError> {
    if !state_dir.exists() {
        return Ok(RecoverReport::default());
    }
    host::dirs::private(state_dir, 0o700).map_err(|e| EngineError::StateDir(e.to_string()))?;
    let failed = |e: io::Error| {
        EngineError::StateDir(format!("{} cannot be read: {e}", state_dir.join(FILE).display()))
    };
    let mut lock = lock_for_recover(state_dir);
    if let Err(EngineError::InUse { holder: Some(holder), .. }) = &lock
        && holder.process.is_stuck_dying()
    {
        let_die(state_dir, injectors).await;
        lock = lock_for_recover(state_dir);
    }
    match lock {
        Ok(_lock) => recover_here(state_dir, injectors, Reach::Everything).await.map_err(failed),
        Err(EngineError::InUse { .. }) if force => {
            recover_here(state_dir, injectors, Reach::NotTheAgents).await.map_err(failed)
        }
        Err(e) => Err(e),
    }
}

/// A watchdog that is just tidying up is waited for; an agent is not.
fn lock_for_recover(state_dir: &Path) -> Result<FileLock, EngineError> {
    let tidying = |e: &EngineError| matches!(e, EngineError::InUse { holder: Some(h), .. } if h.what == "watchdog" && h.process.alive());
    match lock(state_dir, "recover", Duration::from_secs(2)) {
        Err(e) if tidying(&e) => lock(state_dir, "recover", Duration::from_secs(30)),
        other => other,
    }
}

/// Whether an agent that lives works in a state directory: what it has on is its own affair.
#[must_use]
pub fn is_lived_in(state_dir: &Path) -> bool {
    let lock = state_dir.join(LOCK);
    let lives = |h: Holder| h.what != "watchdog" && h.process.alive();
    host::lock::is_held(&lock) && host::lock::holder(&lock).is_some_and(lives)
}

/// Takes the state directory for this process.
pub(crate) fn lock(state_dir: &Path, what: &str, patience: Duration) -> Result<FileLock, EngineError> {
    match FileLock::take(&state_dir.join(LOCK), &Holder::me(what), patience) {
        Ok(lock) => Ok(lock),
        Err(host::lock::LockError::Held { holder, .. }) => {
            Err(EngineError::InUse { dir: state_dir.to_owned(), holder })
        }
        Err(e) => Err(EngineError::StateDir(e.to_string())),
    }
}

/// What may be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The agent is gone: everything.
    Everything,
    /// The agent is there but does not answer: not what lives inside its process.
    NotTheAgents,
    /// The same, and only faults whose time, on the boot clock, has passed by so many milliseconds.
    Overdue(u64),
}

impl Reach {
    pub(crate) fn takes(self, fault: &Live) -> bool {
        match self {
            Reach::Everything | Reach::NotTheAgents => true,
            Reach::Overdue(grace) => {
                let now = host::clock::boottime().as_millis() as u64;
                fault.ends_ms.is_some_and(|ends| now > ends.saturating_add(grace))
            }
        }
    }
}

/// Undoes what the log holds, newest first, writes down what is undone, and empties the log when nothing is left and
/// the agent is gone. The caller holds the lock, or the agent that does hangs.
pub(crate) async fn recover_here(
    state_dir: &Path,
    injectors: &[Arc<dyn Injector>],
    reach: Reach,
) -> io::Result<RecoverReport> {
    let mut contents = read(state_dir)?;
    let mut report = RecoverReport { damage: contents.damage.clone(), ..RecoverReport::default() };
    let gone = reach == Reach::Everything;
    if let (true, Some(length)) = (gone, contents.torn) {
        // What is written from here on must not go on in the middle of that line.
        File::options().write(true).open(state_dir.join(FILE))?.set_len(length)?;
    }
    let mut undone = Vec::new();
    for fault in contents.live.iter_mut().rev().filter(|f| reach.takes(f)) {
        for (act, record) in fault.acts.iter().rev() {
            if record.ends_with_agent && !gone {
                continue;
            }
            let mut outcome = guarded::recover(injectors, record).await;
            if record.ends_with_agent && matches!(outcome, Recovered::Failed(_)) {
                outcome = Recovered::Gone("it ended with the agent".into());
            }
            let (text, failed) = match outcome {
                Recovered::Undone => ("undone".to_owned(), false),
                Recovered::Gone(why) => (format!("gone: {why}"), false),
                Recovered::Failed(why) => (format!("failed: {why}"), true),
            };
            if !failed {
                // A disk that is full keeps us from writing this, not from undoing.
                let _ = append(state_dir, &Record::Undone { n: fault.n, act: *act });
                undone.push((fault.n, *act));
            }
            report.acts.push(ActReport {
                id: fault.id.clone(),
                target: fault.target.clone(),
                fault: fault.fault.clone(),
                by: fault.by.clone(),
                act: record.act.clone(),
                undo: record.undo.clone(),
                outcome: text,
                failed,
            });
        }
        fault.acts.retain(|(act, _)| !undone.contains(&(fault.n, *act)));
    }
    if gone {
        report.moved_to = put_away(state_dir, &contents)?;
        report.acts.extend(let_die(state_dir, injectors).await.acts);
    }
    Ok(report)
}

/// An agent that was killed while one of its threads waited in the kernel for the agent itself - to write back a page of
/// a directory that it serves, say - does not end, and holds the state directory. When its targets are taken away, that
/// thread has nothing more to wait for.
pub(crate) async fn let_die(state_dir: &Path, injectors: &[Arc<dyn Injector>]) -> RecoverReport {
    let mut report = RecoverReport::default();
    for injector in injectors {
        report.acts.extend(injector.sweep(state_dir).await.into_iter().map(swept));
    }
    report
}

/// What was left of an open target is reported like an act that was left.
fn swept(left: Swept) -> ActReport {
    let (outcome, failed) = match left.outcome {
        Recovered::Undone => ("undone".to_owned(), false),
        Recovered::Gone(why) => (format!("gone: {why}"), false),
        Recovered::Failed(why) => (format!("failed: {why}"), true),
    };
    ActReport {
        id: left.target.to_string(),
        target: left.target,
        fault: "open".into(),
        by: "its opening".into(),
        act: left.act,
        undo: left.undo,
        outcome,
        failed,
    }
}

/// Leaves a log that holds just what is left; a damaged one is moved aside. Where to.
fn put_away(state_dir: &Path, contents: &Contents) -> io::Result<Option<PathBuf>> {
    let path = state_dir.join(FILE);
    let left: Vec<&Live> = contents.live.iter().filter(|f| !f.acts.is_empty()).collect();
    let mut moved_to = None;
    if !contents.damage.is_empty() {
        let aside = state_dir.join(format!("{FILE}.damaged-{}", host::clock::wall_ms()));
        fs::rename(&path, &aside)?;
        moved_to = Some(aside);
        for fault in &left {
            append(
                state_dir,
                &Record::Intent {
                    n: fault.n,
                    id: fault.id.clone(),
                    target: fault.target.clone(),
                    by: fault.by.clone(),
                    fault: fault.fault.clone(),
                    ends_ms: fault.ends_ms,
                    acts: fault.acts.iter().map(|(_, record)| record.clone()).collect(),
                },
            )?;
        }
        File::open(state_dir)?.sync_all()?;
    } else if left.is_empty()
        && let Ok(file) = File::options().write(true).open(&path)
    {
        file.set_len(0)?;
    }
    Ok(moved_to)
}

fn append(state_dir: &Path, record: &Record) -> io::Result<()> {
    let mut file = File::options().append(true).create(true).mode(0o600).open(state_dir.join(FILE))?;
    let before = file.metadata()?.len();
    let line = record.line();
    // One write a line: the agent may be writing too.
    let written = match file.write(&line) {
        Ok(n) if n == line.len() => return file.sync_data(),
        Ok(_) => Err(io::Error::from(io::ErrorKind::StorageFull)),
        Err(e) => Err(e),
    };
    if file.metadata().is_ok_and(|m| m.len() > before) {
        let _ = file.set_len(before);
    }
    written
}
