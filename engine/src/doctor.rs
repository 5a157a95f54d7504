//! What is possible here, and what is missing for the rest.

use crate::halt::{self, Halt};
use crate::undo;
use host::probe::{self, Finding};
use host::{Capabilities, Holder};
use inject::Injector;
use model::catalogue;
use model::catalogue::Layer;
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

/// How far something is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Possible {
    /// Altogether.
    Yes,
    /// On some targets.
    Partly,
    /// Not at all.
    No,
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

/// Looks at this machine, at what the injectors can do on it, and at a state directory. Changes nothing.
pub fn doctor(state_dir: &Path, injectors: &[Arc<dyn Injector>]) -> Doctor {
    let machine = probe::all();
    let caps = Capabilities::mine();
    let faults = catalogue::all().map(|def| check(def, injectors, &machine, caps)).collect();
    Doctor { machine, faults, logs: logs(state_dir), halted: halt::read(state_dir) }
}

fn check(
    def: &model::FaultDef,
    injectors: &[Arc<dyn Injector>],
    machine: &[Finding],
    caps: Capabilities,
) -> FaultCheck {
    let mut missing = Vec::new();
    let mut possible = Possible::Yes;
    if !injectors.iter().any(|i| i.injects(def.name) && i.kinds().iter().any(|k| def.fits(*k))) {
        possible = Possible::No;
        missing.push("nothing here injects it; use a build that has it".to_owned());
    }
    let wanted = match def.layer {
        Layer::Node => "pidfd",
        Layer::Files => "fuse",
        _ => "",
    };
    if let Some(lack) = machine.iter().find(|f| f.name == wanted && !f.ok) {
        possible = Possible::No;
        missing.push(format!("{wanted}: {}; {}", lack.found, lack.hint));
    }
    for need in def.needs {
        // `CAP_KILL for other users' processes`: without the capability the rest is possible still.
        let (cap, purpose) = need.split_once(' ').unwrap_or((need, ""));
        if !cap.starts_with("CAP_") || caps.has(cap) {
            continue;
        }
        let how = machine.iter().find(|f| f.name == cap).map_or("run as root", |f| f.hint.as_str());
        if purpose.is_empty() {
            possible = Possible::No;
            missing.push(format!("{cap}: {how}"));
        } else {
            possible = if possible == Possible::No { Possible::No } else { Possible::Partly };
            missing.push(format!("{cap} {purpose}: {how}"));
        }
    }
    FaultCheck { name: def.name.to_owned(), layer: def.layer.title().to_owned(), possible, missing }
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
