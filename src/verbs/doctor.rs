use super::{pretty, print};
use crate::cli::Doctor;
use crate::failure::{FAILED, Outcome};
use crate::house;
use crate::service::checks;
use engine::{EngineError, Fixed};

/// `murphy doctor`: what this machine can do, and what is missing for the rest; with `--fix` first takes back what is left.
pub fn doctor(args: &Doctor) -> Outcome {
    if args.fix {
        return fix(args.output.json);
    }
    let checks = checks();
    if args.output.json {
        return print(&(pretty(&checks) + "\n"));
    }
    let wide = checks.iter().map(|c| c.name.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for check in &checks {
        out.push_str(&format!(
            "{} {:<wide$}  {}\n",
            if check.ok { "✔" } else { "✘" },
            check.name,
            check.found
        ));
        if let Some(hint) = &check.hint {
            out.push_str(&format!("  {:<wide$}  = {hint}\n", ""));
        }
    }
    print(&out)
}

/// Undoes from the logs, then what is found on the machine and no log tells of.
fn fix(json: bool) -> Outcome {
    house::block_on(async move {
        let mut all = Vec::new();
        for (dir, outcome) in house::recover_all().await {
            match outcome {
                Ok(report) => all.extend(report.acts.iter().map(|a| Fixed {
                    what: format!("{} ({})", a.undo, dir.display()),
                    outcome: a.outcome.to_string(),
                    failed: a.failed,
                })),
                // Its agent lives, and undoes by itself.
                Err(EngineError::InUse { .. }) => {}
                Err(e) => {
                    all.push(Fixed { what: dir.display().to_string(), outcome: e.to_string(), failed: true })
                }
            }
        }
        all.extend(engine::fix(&crate::injectors::all()).await);
        let failed = all.iter().any(|f| f.failed);
        if json {
            print(&(pretty(&all) + "\n"))?;
        } else if all.is_empty() {
            print("nothing was left behind\n")?;
        }
        for one in all.iter().filter(|_| !json) {
            print(&format!("{} {} - {}\n", if one.failed { "✘" } else { "✔" }, one.what, one.outcome))?;
        }
        Ok(if failed { FAILED } else { 0 })
    })
}
