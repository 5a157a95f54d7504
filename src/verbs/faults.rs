use super::{pretty, print};
use crate::cli::Faults;
use crate::failure::{Failure, Outcome};
use model::FaultDef;
use model::catalogue::{self, Layer};
use std::fmt::Write;

/// `murphy faults`: the catalogue as a list, one fault in full, JSON, or the reference page.
pub fn faults(args: &Faults) -> Outcome {
    if args.markdown {
        return print(&markdown());
    }
    if let Some(name) = &args.name {
        let Some(def) = catalogue::find(name) else {
            let hint = catalogue::nearest(name)
                .map_or("`murphy faults` lists them".to_owned(), |n| format!("did you mean {n}?"));
            return Err(Failure::usage(format!("there is no fault named {name:?}"), hint));
        };
        return if args.output.json { print(&(pretty(def) + "\n")) } else { print(&whole(def)) };
    }
    if args.output.json {
        return print(&(pretty(&catalogue::all().collect::<Vec<_>>()) + "\n"));
    }
    let mut out = String::new();
    for layer in Layer::ALL {
        let _ = writeln!(out, "{}", layer.title());
        for def in catalogue::all().filter(|d| d.layer == layer) {
            let _ = writeln!(out, "  {:<22} {}", def.name, def.summary);
        }
        out.push('\n');
    }
    out.push_str("`murphy faults NAME` tells everything about one.\n");
    print(&out)
}

fn whole(def: &FaultDef) -> String {
    let mut out = format!("{}: {}\n\n{}\n\n", def.name, def.summary, fill(def.detail, 90));
    for param in def.params {
        let need = match param.default {
            _ if param.required => "required".to_owned(),
            Some(default) => format!("default {default}"),
            None => "optional".to_owned(),
        };
        let _ = writeln!(
            out,
            "  {:<12} {} ({need})\n  {:<12} {}",
            param.name,
            param.ty.describe(),
            "",
            param.doc
        );
    }
    if !def.params.is_empty() {
        out.push('\n');
    }
    let kinds = def.targets.iter().map(|k| k.word()).collect::<Vec<_>>().join(", ");
    let _ = writeln!(out, "on:          {kinds}");
    if let Some(counts) = def.counts {
        let _ = writeln!(out, "share of:    {counts} (--percent, --nth, --first, --when)");
    }
    if !def.needs.is_empty() {
        let _ = writeln!(out, "needs:       {}", def.needs.join(", "));
    }
    let _ = writeln!(
        out,
        "undone:      {}",
        if def.irreversible { "cannot be undone, only ended" } else { "yes" }
    );
    let _ = writeln!(out, "if all dies: {}", def.ends);
    let _ = writeln!(out, "\n  {}", def.example());
    out
}

/// The reference page, `docs/faults.md`.
fn markdown() -> String {
    let mut out = String::from(
        "# Faults\n\nMade from the catalogue by `murphy faults --markdown`; do not edit it by hand.\n\n\
         Common to all: `for` (every fault has an end), a share of what it counts (`percent`, `nth`, `first`), `when` (a matcher), \
         `ramp` (parameters that change while it is on), `seed` (the same seed decides the same per ordinal).\n",
    );
    for layer in Layer::ALL {
        let _ = writeln!(out, "\n## {}", layer.title());
        for def in catalogue::all().filter(|d| d.layer == layer) {
            let _ = writeln!(out, "\n### {}\n\n{} {}\n", def.name, def.summary, def.detail);
            if !def.params.is_empty() {
                let _ = writeln!(out, "| parameter | what it is | default | meaning |\n|---|---|---|---|");
            }
            for p in def.params {
                let default = if p.required { "required" } else { p.default.unwrap_or("–") };
                let _ = writeln!(out, "| `{}` | {} | {default} | {} |", p.name, p.ty.describe(), p.doc);
            }
            let kinds = def.targets.iter().map(|k| k.word()).collect::<Vec<_>>().join(", ");
            let _ = writeln!(
                out,
                "\n- on: {kinds}\n- share of: {}",
                def.counts.unwrap_or("nothing: it hits its target as a whole")
            );
            let _ = writeln!(
                out,
                "- undone: {}",
                if def.irreversible { "cannot be undone, only ended" } else { "yes" }
            );
            let _ = writeln!(out, "- what ends it when agent and watchdog are both gone: {}", def.ends);
            if !def.needs.is_empty() {
                let _ = writeln!(out, "- needs: {}", def.needs.join(", "));
            }
            let _ = writeln!(out, "- example: `{}`", def.example());
        }
    }
    out
}

/// Breaks a text into lines of at most `width` characters.
fn fill(text: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines
            .last_mut()
            .filter(|l| l.is_empty() || l.chars().count() + 1 + word.chars().count() <= width);
        match last {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}
