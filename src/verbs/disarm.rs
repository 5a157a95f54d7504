use super::{pretty, print};
use crate::cli::Disarm;
use crate::failure::Outcome;
use crate::house::found;

/// `murphy disarm`
pub async fn disarm(args: Disarm) -> Outcome {
    let client = found(&args.which)?;
    let ids =
        if args.all { client.faults().await?.into_iter().map(|f| f.id).rev().collect() } else { args.ids };
    let mut done = Vec::new();
    for id in &ids {
        let disarmed = client.disarm(id).await?;
        if !args.output.json {
            let e = &disarmed.evidence;
            print(&format!(
                "{} on {} is gone; it applied {} of {} times\n",
                disarmed.id, disarmed.target, e.applied, e.considered
            ))?;
        }
        done.push(disarmed);
    }
    if args.output.json {
        return print(&(pretty(&done) + "\n"));
    }
    if ids.is_empty() {
        print("nothing is armed\n")?;
    }
    Ok(0)
}
