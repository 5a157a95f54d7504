use super::{pretty, print};
use crate::cli::Recover;
use crate::failure::{FAILED, Outcome};
use crate::house;
use engine::EngineError;

/// `murphy recover`: undoes what killed agents left, in all of this user's state directories.
pub async fn recover(args: Recover) -> Outcome {
    let reports = house::recover_all().await;
    if args.output.json {
        let list: Vec<_> = reports
            .iter()
            .map(|(dir, outcome)| match outcome {
                Ok(report) => serde_json::json!({"dir": dir, "report": report}),
                Err(e) => serde_json::json!({"dir": dir, "error": e.to_string()}),
            })
            .collect();
        print(&(pretty(&list) + "\n"))?;
    }
    let (mut failed, mut told) = (false, args.output.json);
    for (dir, outcome) in &reports {
        match outcome {
            Ok(report) => {
                for act in report.acts.iter().filter(|a| !a.failed && !args.output.json) {
                    told = true;
                    print(&format!("{}: {} - {}\n", act.id, act.undo, act.outcome))?;
                }
                for what in report.problems() {
                    (failed, told) = (true, true);
                    tell!("error: {what}");
                }
            }
            Err(EngineError::InUse { holder, .. }) if !args.output.json => {
                told = true;
                let who = holder.as_ref().map_or("another process".to_owned(), ToString::to_string);
                print(&format!(
                    "{} is in use by {who}, which takes its own faults back; left alone\n",
                    dir.display()
                ))?;
            }
            Err(EngineError::InUse { .. }) => {}
            Err(e) => {
                (failed, told) = (true, true);
                tell!("error: {e}");
            }
        }
    }
    if !told {
        print("nothing was left behind\n")?;
    }
    Ok(if failed { FAILED } else { 0 })
}
