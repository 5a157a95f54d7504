use super::{pretty, print};
use crate::cli::Recover;
use crate::failure::{FAILED, Outcome};
use crate::house;

/// `murphy recover`: undoes what killed agents left, in all of this user's state directories.
pub async fn recover(args: Recover) -> Outcome {
    let reports = house::recover_all().await;
    if args.output.json {
        let list: Vec<_> = reports
            .iter()
            .map(|r| serde_json::json!({"dir": r.dir, "undone": r.undone, "gone": r.gone, "failed": r.failed, "live": r.live, "damage": r.damage}))
            .collect();
        print(&(pretty(&list) + "\n"))?;
    }
    let mut failed = false;
    let mut told = false;
    for r in &reports {
        failed |= !r.failed.is_empty() || !r.damage.is_empty();
        if args.output.json {
            continue;
        }
        for (word, list) in [("undone", &r.undone), ("nothing left to undo", &r.gone)] {
            for what in list {
                told = true;
                print(&format!("{word}: {what}\n"))?;
            }
        }
        if let Some(holder) = &r.live {
            told = true;
            print(&format!("{} is in use by {holder}, which takes its own faults back; left alone\n", r.dir.display()))?;
        }
        for what in r.damage.iter().chain(&r.failed) {
            told = true;
            eprintln!("error: {what}");
        }
    }
    if !told && !args.output.json {
        print("nothing was left behind\n")?;
    }
    Ok(if failed { FAILED } else { 0 })
}
