use super::{effect, hit, number, quantity, seconds};
use model::RunRecord;
use model::event::WindowResult;
use std::fmt::Write;

/// `report.md`: what a person pastes into a ticket.
pub fn markdown(run: &RunRecord) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(&mut out, run);
    out
}

fn write_all(out: &mut String, run: &RunRecord) -> std::fmt::Result {
    writeln!(out, "# {}: {}\n\n**{}**\n", run.name, run.verdict, run.why)?;
    if let Some(text) = &run.hypothesis {
        writeln!(out, "> {text}\n")?;
    }
    writeln!(out, "| | |\n|---|---|")?;
    writeln!(out, "| started | {} |\n| took | {:.0} s |\n| seed | {} |", run.started, run.seconds, run.seed)?;
    if let Some(owner) = &run.owner {
        writeln!(out, "| owner | {} |", cell(owner))?;
    }
    writeln!(
        out,
        "| decisions | `{}` |\n| murphy | {} |\n",
        &run.decisions_digest[..16.min(run.decisions_digest.len())],
        run.version
    )?;

    if !run.metrics.is_empty() {
        writeln!(
            out,
            "## Steady state\n\n| | metric | expected | before | worst during | after | |\n|---|---|---|---|---|---|---|"
        )?;
        for m in &run.metrics {
            let mark = mark(m.result);
            let role = if m.gate { "" } else { " (informs)" };
            writeln!(
                out,
                "| {mark} | {}{role} | {} | {} | {} | {} | {} |",
                cell(&m.name),
                cell(&m.expect),
                quantity(m.baseline, &m.unit),
                quantity(m.worst, &m.unit),
                quantity(m.after, &m.unit),
                cell(&m.why)
            )?;
        }
        writeln!(out)?;
    }
    writeln!(
        out,
        "## Faults\n\n| fault | on | hit | effect after | recovered while on | recovered after |\n|---|---|---|---|---|---|"
    )?;
    for f in &run.faults {
        writeln!(
            out,
            "| {} ({}) | {} | {} | {} | {} | {} |",
            cell(&f.what),
            cell(&f.id),
            cell(&f.target),
            cell(&hit(f)),
            effect(f),
            seconds(f.defence_s, "–"),
            seconds(f.healing_s, "–")
        )?;
    }
    writeln!(
        out,
        "\nTimes are {} s coarse. Recovery while on is the defence; recovery after is self-healing.",
        number(run.resolution_s)
    )?;
    for f in run.faults.iter().filter(|f| !f.evidence.measured.is_empty()) {
        let list: Vec<String> =
            f.evidence.measured.iter().map(|(k, v)| format!("{k} {}", number(*v))).collect();
        writeln!(out, "- {}: {}", f.id, list.join(", "))?;
    }
    if !run.guards.is_empty() {
        writeln!(out, "\n## Guards\n")?;
        for g in &run.guards {
            let what = if g.tripped { "ended the run" } else { "did not trip" };
            writeln!(out, "- {}: {what}; held for {:.0} s at most", g.guard, g.longest_s)?;
        }
    }
    writeln!(out, "\n## Phases\n")?;
    for p in &run.phases {
        let note = if p.skipped { " (left out)" } else { "" };
        writeln!(out, "- {:.0}–{:.0} s {}{note}", p.start_s, p.end_s, p.name)?;
    }
    if run.undo_failures > 0 {
        writeln!(
            out,
            "\n**{} undos failed or could not be verified. Run `murphy recover`.**",
            run.undo_failures
        )?;
    }
    Ok(())
}

fn mark(result: WindowResult) -> &'static str {
    match result {
        WindowResult::Pass => "✔",
        WindowResult::Fail => "✘",
        WindowResult::Unknown => "?",
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
