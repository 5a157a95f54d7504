//! What is possible here, and what is missing for the rest.

mod needs;

use crate::halt::{self, Halt};
use crate::undo;
use host::Holder;
use host::probe::{self, Finding};
pub use inject::Possible;
use inject::{Injector, Leftover, Possibility, Recovered};
use model::{FaultDef, catalogue};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What `murphy doctor` shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Doctor {
    /// What was looked for on this machine.
    pub machine: Vec<Finding>,
    /// Every fault of the catalogue.
    pub faults: Vec<FaultCheck>,
    /// What faults have done to this machine, whether or not a log tells of it.
    pub leftovers: Vec<Found>,
    /// State directories with something left to undo or to look at.
    pub logs: Vec<StaleLog>,
    /// The halt that is on in the state directory.
    pub halted: Option<Halt>,
}

/// Whether a fault can be armed here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultCheck {
    /// The fault.
    pub name: String,
    /// Its heading.
    pub layer: String,
    /// Whether it is possible.
    pub possible: Possible,
    /// What is missing, each with how to get it.
    pub missing: Vec<String>,
}

/// A log that needs looking at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StaleLog {
    /// The file.
    pub file: PathBuf,
    /// What about it, and what to do.
    pub what: String,
    /// Who works with its directory, if anyone does: then it is that one's to deal with.
    pub held_by: Option<Holder>,
}

/// Something that a fault did to this machine, found on the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// What it is.
    pub what: String,
    /// What undoes it.
    pub undo: String,
    /// The agent that has it on: then it is that one's to undo.
    pub owner: Option<String>,
}

/// What came of undoing something that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fixed {
    /// What it was.
    pub what: String,
    /// What came of it, in words.
    pub outcome: String,
    /// It is still there.
    pub failed: bool,
}

/// Looks at this machine, at what the injectors can do on it, and at a state directory. Changes nothing.
pub fn doctor(state_dir: &Path, injectors: &[Arc<dyn Injector>]) -> Doctor {
    let leftovers = injectors.iter().flat_map(|i| i.leftovers()).map(|l| found(&l)).collect();
    Doctor {
        machine: probe::all(),
        faults: possible(injectors),
        logs: logs(state_dir),
        leftovers,
        halted: halt::read(state_dir),
    }
}

/// Every fault of the catalogue, and whether it can be armed here.
pub fn possible(injectors: &[Arc<dyn Injector>]) -> Vec<FaultCheck> {
    let machine = probe::all();
    catalogue::all()
        .map(|def| {
            let Possibility { possible, missing } = check(def, injectors, &machine);
            let missing = missing.into_iter().fold(Vec::new(), |mut all: Vec<String>, m| {
                if !all.contains(&m) {
                    all.push(m);
                }
                all
            });
            FaultCheck { name: def.name.to_owned(), layer: def.layer.title().to_owned(), possible, missing }
        })
        .collect()
}

/// Undoes what is found on the machine and belongs to nobody who lives. Logs are [`crate::recover`]'s, and come first.
pub async fn fix(injectors: &[Arc<dyn Injector>]) -> Vec<Fixed> {
    let mut out = Vec::new();
    for injector in injectors {
        let looking = injector.clone();
        let left = tokio::task::spawn_blocking(move || looking.leftovers()).await.unwrap_or_default();
        for one in left.into_iter().filter(|l| l.owner.is_none()) {
            let (outcome, failed) = match injector.recover(&one.record).await {
                Recovered::Undone => ("undone".to_owned(), false),
                Recovered::Gone(why) => (why, false),
                Recovered::Failed(why) => (why, true),
            };
            out.push(Fixed { what: one.record.act, outcome, failed });
        }
    }
    out
}

fn found(left: &Leftover) -> Found {
    Found { what: left.record.act.clone(), undo: left.record.undo.clone(), owner: left.owner.clone() }
}

/// What those say that inject it; of one that says nothing, what the catalogue says that it needs.
fn check(def: &FaultDef, injectors: &[Arc<dyn Injector>], machine: &[Finding]) -> Possibility {
    let mut said: Option<Possibility> = None;
    let mut whole = 0;
    let mut asked = 0;
    for injector in injectors {
        if !injector.injects(def.name) || !injector.kinds().iter().any(|k| def.fits(*k)) {
            continue;
        }
        asked += 1;
        let one = injector.possible(def.name).unwrap_or_else(|| needs::met(def, machine));
        whole += usize::from(one.possible == Possible::Yes);
        said = Some(match said.take() {
            None => one,
            Some(before) => either(before, one),
        });
    }
    let Some(mut said) = said else {
        return Possibility::yes().no("nothing here injects it; use a build that has it");
    };
    // On some kinds of targets only.
    if whole > 0 && whole < asked {
        said.possible = Possible::Partly;
    }
    said
}

/// Of two that do it on different kinds of targets.
fn either(a: Possibility, b: Possibility) -> Possibility {
    let possible = match (a.possible, b.possible) {
        (Possible::No, Possible::No) => Possible::No,
        (Possible::Yes, Possible::Yes) => Possible::Yes,
        _ => Possible::Partly,
    };
    Possibility { possible, missing: a.missing.into_iter().chain(b.missing).collect() }
}

fn logs(state_dir: &Path) -> Vec<StaleLog> {
    let lock = state_dir.join("lock");
    let held_by = host::lock::is_held(&lock).then(|| host::lock::holder(&lock)).flatten();
    let mut out = Vec::new();
    let file = state_dir.join(undo::FILE);
    match undo::read(state_dir) {
        Ok(contents) if contents.live.is_empty() && contents.damage.is_empty() => {}
        Ok(contents) => {
            let acts: Vec<&str> =
                contents.live.iter().flat_map(|f| f.acts.iter().map(|(_, r)| r.undo.as_str())).collect();
            let mut what = match (&held_by, acts.len()) {
                (_, 0) => String::new(),
                (Some(_), n) => format!("{n} acts are on; their agent undoes them: {}", acts.join(", ")),
                (None, n) => format!("{n} acts are left to undo: {}; run `murphy recover`", acts.join(", ")),
            };
            for damage in &contents.damage {
                what.push_str(&format!(" line {} is damaged: {};", damage.line, damage.why));
            }
            out.push(StaleLog { file, what: what.trim().to_owned(), held_by: held_by.clone() });
        }
        Err(e) if state_dir.exists() => {
            out.push(StaleLog { file, what: format!("it cannot be read: {e}"), held_by: held_by.clone() });
        }
        Err(_) => {}
    }
    let aside = std::fs::read_dir(state_dir).into_iter().flatten().flatten().map(|e| e.path());
    for path in aside.filter(|p| p.to_string_lossy().contains(".damaged-")) {
        let what =
            "a damaged log, kept to be looked at; undo by hand what it names, then delete it".to_owned();
        out.push(StaleLog { file: path, what, held_by: None });
    }
    out
}
