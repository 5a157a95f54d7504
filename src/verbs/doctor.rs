use super::{pretty, print};
use crate::cli::Output;
use crate::failure::Outcome;
use crate::service::checks;

/// `murphy doctor`: what this machine can do, and what is missing for the rest.
pub fn doctor(output: Output) -> Outcome {
    let checks = checks();
    if output.json {
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
        if let (false, Some(hint)) = (check.ok, &check.hint) {
            out.push_str(&format!("  {:<wide$}  = {hint}\n", ""));
        }
    }
    print(&out)
}
