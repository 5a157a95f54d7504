use super::{pretty, print};
use crate::cli::List;
use crate::failure::Outcome;
use crate::house::found;
use control::wire::{FaultState, Status};
use model::sample::TargetState;
use std::fmt::Write;

/// `murphy list`
pub async fn list(args: List) -> Outcome {
    let client = found(&args.which)?;
    let (status, targets, faults) = (client.status().await?, client.targets().await?, client.faults().await?);
    if args.output.json {
        return print(
            &(pretty(&serde_json::json!({"status": status, "targets": targets, "faults": faults})) + "\n"),
        );
    }
    print(&plain(&status, &targets, &faults))
}

fn plain(status: &Status, targets: &[TargetState], faults: &[FaultState]) -> String {
    let mut out = String::new();
    if let Some(halt) = &status.agent.halted {
        let _ = writeln!(out, "HALTED by {}; lift it with `murphy halt --lift`\n", halt.by);
    }
    if let Some(run) = status.agent.run.as_ref().filter(|r| r.verdict.is_none()) {
        let stage =
            run.stage.as_ref().map_or(String::new(), |(name, n)| format!(" {name} {n}/{}", run.stages.len()));
        let _ = writeln!(out, "run {}: {}{stage}, by {}\n", run.name, run.phase, run.by);
    }
    if targets.is_empty() {
        out.push_str("no targets are open\n");
    }
    for t in targets {
        let _ = writeln!(out, "{} {:<22} {}", if t.up { "●" } else { "◌" }, t.target.to_string(), t.about);
    }
    out.push('\n');
    if faults.is_empty() {
        out.push_str("nothing is armed\n");
        return out;
    }
    let wide = |f: fn(&FaultState) -> usize| faults.iter().map(f).max().unwrap_or(0);
    let (id, target, what) = (
        wide(|f| f.id.chars().count()).max(2),
        wide(|f| f.fault.target.to_string().chars().count()).max(6),
        wide(|f| f.fault.describe().chars().count()).max(5),
    );
    let _ = writeln!(
        out,
        "{:<id$}  {:<target$}  {:<what$}  {:>8}  {:>12}  BY",
        "ID", "TARGET", "FAULT", "LEFT", "APPLIED"
    );
    for f in faults {
        let left =
            f.left.map_or("ending".to_owned(), |l| model::units::Span::secs(l.0.as_secs()).to_string());
        let applied = format!("{}/{}", f.evidence.applied, f.evidence.considered);
        let _ = writeln!(
            out,
            "{:<id$}  {:<target$}  {:<what$}  {left:>8}  {applied:>12}  {}",
            f.id,
            f.fault.target.to_string(),
            f.fault.describe(),
            f.by
        );
    }
    out
}
