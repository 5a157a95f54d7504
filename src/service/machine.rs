//! What this machine can do, and what a name alone says.

use control::wire::Check;
use engine::Possible;
use model::{Target, TargetRef, TargetSpec};

/// The target that a name alone describes: `process:4711`, `fs:/srv/db`, `node:self`.
pub fn implied(reference: &TargetRef) -> Option<Target> {
    TargetSpec::implied(reference).map(|spec| Target { name: reference.name.clone(), spec })
}

/// What this machine can do, and for each fault whether it is possible.
pub fn checks() -> Vec<Check> {
    let report = examine();
    let mut out: Vec<Check> = report
        .machine
        .iter()
        .map(|f| Check {
            name: f.name.clone(),
            ok: f.ok,
            found: f.found.clone(),
            hint: (!f.hint.is_empty()).then(|| f.hint.clone()),
        })
        .collect();
    out.extend(report.faults.iter().map(|f| {
        let found = match f.possible {
            Possible::Yes => "possible",
            Possible::Partly => "possible on some targets",
            Possible::No => "not possible",
        };
        let hint = (!f.missing.is_empty()).then(|| f.missing.join("; "));
        Check { name: format!("fault {}", f.name), ok: f.possible != Possible::No, found: found.into(), hint }
    }));
    out.extend(report.leftovers.iter().map(|left| Check {
        name: "leftover".into(),
        ok: left.owner.is_some(),
        found: match &left.owner {
            Some(owner) => format!("{}; {owner} has it on", left.what),
            None => left.what.clone(),
        },
        hint: left.owner.is_none().then(|| format!("murphy doctor --fix ({})", left.undo)),
    }));
    out.extend(report.logs.iter().map(|log| Check {
        name: "undo log".into(),
        ok: log.held_by.is_some(),
        found: format!("{}: {}", log.file.display(), log.what),
        hint: log.held_by.is_none().then(|| "murphy recover".into()),
    }));
    if let Some(halt) = &report.halted {
        out.push(Check {
            name: "halt".into(),
            ok: false,
            found: format!("everything is halted by {}", halt.by),
            hint: Some("murphy halt --lift".into()),
        });
    }
    out
}

/// Whether each fault is possible here.
pub fn possible() -> Vec<engine::FaultCheck> {
    engine::possible(&crate::injectors::all())
}

/// The machine, the faults, what is left on it, and the undo log of the user's agent.
fn examine() -> engine::Doctor {
    engine::doctor(&host::dirs::state().join("agent"), &crate::injectors::all())
}
