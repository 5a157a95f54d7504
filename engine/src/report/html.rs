use super::plot::{Line, Plot, across};
use super::{effect, escape, hit, number, quantity, seconds};
use model::RunRecord;
use model::event::WindowResult;
use model::verdict::{MetricRecord, Series};
use std::fmt::Write;

/// `report.html`: one file without anything from elsewhere, to be mailed or kept.
pub fn html(run: &RunRecord) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = page(&mut out, run);
    out
}

fn page(out: &mut String, run: &RunRecord) -> std::fmt::Result {
    write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{}: {}</title><style>{STYLE}</style></head><body><main>",
        escape(&run.name),
        run.verdict
    )?;
    write!(
        out,
        "<header><h1>{} <span class=\"verdict {}\">{}</span></h1><p class=\"why\">{}</p>",
        escape(&run.name),
        run.verdict,
        run.verdict,
        escape(&run.why)
    )?;
    if let Some(text) = &run.hypothesis {
        write!(out, "<blockquote>{}</blockquote>", escape(text))?;
    }
    write!(
        out,
        "<dl><div><dt>started</dt><dd>{}</dd></div><div><dt>took</dt><dd>{:.0} s</dd></div><div><dt>seed</dt><dd>{}</dd></div>",
        escape(&run.started),
        run.seconds,
        run.seed
    )?;
    if let Some(owner) = &run.owner {
        write!(out, "<div><dt>owner</dt><dd>{}</dd></div>", escape(owner))?;
    }
    write!(
        out,
        "<div><dt>decisions</dt><dd><code>{}</code></dd></div></dl></header>",
        &run.decisions_digest[..16.min(run.decisions_digest.len())]
    )?;
    timeline(out, run)?;
    metrics(out, run)?;
    faults(out, run)?;
    plots(out, run)?;
    guards(out, run)?;
    write!(
        out,
        "<footer>murphy {} · times are {} s coarse</footer></main></body></html>",
        escape(&run.version),
        number(run.resolution_s)
    )
}

fn timeline(out: &mut String, run: &RunRecord) -> std::fmt::Result {
    let shown: Vec<_> =
        run.faults.iter().filter_map(|f| Some((f.armed_s?, f.ended_s.unwrap_or(run.seconds), f))).collect();
    let height = 30.0 + 20.0 * shown.len() as f64;
    write!(
        out,
        "<h2>Timeline</h2><svg viewBox=\"0 0 900 {height}\" role=\"img\" aria-label=\"stages and faults\">"
    )?;
    for (i, phase) in run.phases.iter().enumerate() {
        let (a, b) = (across(phase.start_s, run.seconds), across(phase.end_s, run.seconds));
        let class = if phase.skipped {
            "skipped"
        } else if i % 2 == 0 {
            "phase"
        } else {
            "phase odd"
        };
        write!(
            out,
            "<rect class=\"{class}\" x=\"{a:.1}\" y=\"2\" width=\"{:.1}\" height=\"18\"><title>{} {:.0}–{:.0} s</title></rect>",
            (b - a).max(1.0),
            escape(&phase.name),
            phase.start_s,
            phase.end_s
        )?;
        // A name is drawn only where it fits: about seven units a letter.
        if b - a > 7.0 * phase.name.chars().count() as f64 {
            write!(
                out,
                "<text class=\"tick\" x=\"{:.1}\" y=\"15\">{}</text>",
                f64::midpoint(a, b),
                escape(&phase.name)
            )?;
        }
    }
    for (i, (start, end, fault)) in shown.iter().enumerate() {
        let y = 26.0 + 20.0 * i as f64;
        let (a, b) = (across(*start, run.seconds), across(*end, run.seconds));
        write!(
            out,
            "<rect class=\"fault\" x=\"{a:.1}\" y=\"{y:.0}\" width=\"{:.1}\" height=\"14\" rx=\"2\"><title>{}</title></rect>",
            (b - a).max(3.0),
            escape(&fault.what)
        )?;
        let label = format!("{} on {}", model::titled(&fault.id, ": ", &fault.what), fault.target);
        let (before, after) = (a - 6.0, 890.0 - (b + 6.0));
        let left = width(&label) > after && before > after;
        let (x, class) = if left { (a - 6.0, "label end") } else { (b + 6.0, "label") };
        let label = shortened(&label, if left { before } else { after });
        write!(out, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{:.0}\">{}</text>", y + 11.0, escape(&label))?;
    }
    write!(out, "</svg>")
}

/// About as wide as a label is drawn.
fn width(label: &str) -> f64 {
    label.chars().count() as f64 * 6.6
}

/// A label cut to the room there is; the whole of it stands in the table.
fn shortened(label: &str, room: f64) -> String {
    if width(label) <= room {
        return label.to_owned();
    }
    let fits = (room / 6.6) as usize;
    label.chars().take(fits.saturating_sub(1)).chain(['…']).collect()
}

fn metrics(out: &mut String, run: &RunRecord) -> std::fmt::Result {
    if run.metrics.is_empty() {
        return Ok(());
    }
    write!(
        out,
        "<h2>Steady state</h2><table><tr><th></th><th>metric</th><th>expected</th><th>before</th><th>worst during</th><th>after</th><th>windows</th></tr>"
    )?;
    for m in &run.metrics {
        write!(
            out,
            "<tr><td class=\"{0}\">{1}</td><td>{2}{3}<small>{4}</small></td><td>{5}</td><td>{6}</td><td>{7}</td><td>{8}</td><td class=\"strip\">",
            class(m.result),
            mark(m.result),
            escape(&m.name),
            if m.gate { "" } else { " <em>informs</em>" },
            escape(&m.source),
            escape(&m.expect),
            quantity(m.baseline, &m.unit),
            quantity(m.worst, &m.unit),
            quantity(m.after, &m.unit)
        )?;
        for w in &m.windows {
            let value = quantity(w.value, &m.unit);
            write!(
                out,
                "<i class=\"{} {}\" title=\"{:.0}–{:.0} s, {}: {value} from {} samples\"></i>",
                class(w.result),
                w.phase,
                w.start_s,
                w.end_s,
                w.phase,
                w.samples
            )?;
        }
        write!(
            out,
            "</td></tr><tr class=\"reason\"><td></td><td colspan=\"6\">{}</td></tr>",
            escape(&m.why)
        )?;
    }
    write!(out, "</table>")
}

fn faults(out: &mut String, run: &RunRecord) -> std::fmt::Result {
    write!(
        out,
        "<h2>Faults</h2><table><tr><th>fault</th><th>on</th><th>hit</th><th>effect after</th><th>recovered while on</th><th>recovered after</th></tr>"
    )?;
    for f in &run.faults {
        let measured: Vec<String> = f
            .evidence
            .measured
            .iter()
            .map(|(k, v)| format!("{} {}", k.replace('_', " "), number(*v)))
            .collect();
        write!(
            out,
            "<tr><td>{}<small>{}</small></td><td>{}</td><td>{}</td><td>{}<small>{}</small></td><td>{}</td><td>{}</td></tr>",
            escape(&f.what),
            escape(&f.id),
            escape(&f.target),
            escape(&hit(f)),
            effect(f),
            escape(f.effect_in.as_deref().unwrap_or("")),
            seconds(f.defence_s, "–"),
            seconds(f.healing_s, "–")
        )?;
        if !measured.is_empty() {
            let measured = escape(&measured.join(", "));
            write!(out, "<tr class=\"reason\"><td colspan=\"6\">{measured}</td></tr>")?;
        }
    }
    write!(out, "</table>")
}

fn plots(out: &mut String, run: &RunRecord) -> std::fmt::Result {
    let windows: Vec<(f64, f64, String)> = run
        .faults
        .iter()
        .filter_map(|f| {
            Some((f.armed_s?, f.ended_s.unwrap_or(run.seconds), format!("{} on {}", f.what, f.target)))
        })
        .collect();
    for series in run.series.iter().filter(|s| s.points.iter().any(|p| p.rate > 0.0)) {
        write!(out, "<h2>{}</h2>", escape(&series.name))?;
        let line =
            |name: &'static str, class: &'static str, of: fn(&model::verdict::Point) -> Option<f64>| Line {
                name,
                class,
                points: series.points.iter().map(|p| (p.t, of(p))).collect(),
            };
        let plot = |title, unit, lines, bound| {
            Plot { title, unit, lines, bound, windows: &windows, seconds: run.seconds }.svg()
        };
        out.push_str(&plot(
            "latency",
            "ms",
            vec![line("p99", "a", |p| p.p99), line("p50", "b", |p| p.p50)],
            bound(run, series, "latency"),
        ));
        out.push_str(&plot(
            "errors",
            "%",
            vec![line("share", "c", |p| p.errors)],
            bound(run, series, "errors"),
        ));
        out.push_str(&plot(
            "requests",
            "/s",
            vec![line("rate", "b", |p| Some(p.rate))],
            bound(run, series, "rate"),
        ));
    }
    Ok(())
}

/// The bound of the first metric about this series and statistic.
fn bound(run: &RunRecord, series: &Series, stat: &str) -> Option<f64> {
    let about = series.name.replacen(':', " ", 1);
    let fits = |m: &&MetricRecord| m.source.starts_with(&format!("{about} {stat}"));
    run.metrics.iter().find(fits).and_then(|m| m.bound)
}

fn guards(out: &mut String, run: &RunRecord) -> std::fmt::Result {
    if run.guards.is_empty() {
        return Ok(());
    }
    write!(out, "<h2>Guards</h2><ul>")?;
    for g in &run.guards {
        let what = if g.tripped { "<strong>ended the run</strong>" } else { "did not trip" };
        write!(out, "<li>{}: {what}; held for {:.0} s at most</li>", escape(&g.guard), g.longest_s)?;
    }
    write!(out, "</ul>")
}

fn class(result: WindowResult) -> &'static str {
    match result {
        WindowResult::Pass => "pass",
        WindowResult::Fail => "fail",
        WindowResult::Unknown => "unknown",
    }
}

fn mark(result: WindowResult) -> &'static str {
    match result {
        WindowResult::Pass => "✔",
        WindowResult::Fail => "✘",
        WindowResult::Unknown => "?",
    }
}

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1d2329;--soft:#66707a;--rule:#d9dee3;--paper:#fff;--good:#1a7f4b;--bad:#c2342b;--odd:#8a6d00;--a:#0b7285;--b:#2b6cb0;--c:#a1338a;--shade:#e8590c22;--fault:#e8590c}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ec;--soft:#9aa4ae;--rule:#343b42;--paper:#15191d;--good:#51cf87;--bad:#ff7b72;--odd:#e3b341;--a:#66d9e8;--b:#74b0f4;--c:#e599d8;--shade:#ff922b26;--fault:#ff922b}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:940px;margin:0 auto;padding:28px 20px 60px}h1{font-size:26px;margin:0 0 4px;overflow-wrap:anywhere}h2{font-size:17px;margin:34px 0 8px}
.verdict{font-size:15px;font-weight:600;padding:3px 11px;border-radius:20px;vertical-align:4px;border:1.5px solid;color:var(--odd)}.verdict.held{color:var(--good)}.verdict.deviated,.verdict.error,.verdict.aborted{color:var(--bad)}
.why{margin:0 0 12px;font-size:16px}blockquote{margin:0 0 14px;padding-left:12px;border-left:3px solid var(--rule);color:var(--soft)}
dl{display:flex;flex-wrap:wrap;gap:6px 28px;margin:0}dt{color:var(--soft);font-size:12px}dd{margin:0}
table{border-collapse:collapse;width:100%}th{text-align:left;font-weight:500;color:var(--soft);font-size:13px}td,th{padding:6px 10px 6px 0;border-bottom:1px solid var(--rule);vertical-align:top}
.reason td{color:var(--soft);font-size:13px;padding-top:0}tr:has(+.reason) td{border-bottom:0}small{display:block;color:var(--soft)}small:empty{display:none}
td.pass{color:var(--good)}td.fail{color:var(--bad)}td.unknown{color:var(--odd)}
.strip i{display:inline-block;width:9px;height:16px;margin:0 1px 1px 0;border-radius:1px;background:var(--rule)}.strip i.pass{background:var(--good)}.strip i.fail{background:var(--bad);height:20px}.strip i.unknown{background:repeating-linear-gradient(45deg,var(--soft) 0 2px,transparent 2px 5px)}.strip i.before,.strip i.after{opacity:.45}
figure{margin:0 0 10px}figcaption{font-size:13px;color:var(--soft)}.key{margin-left:10px}.key:before{content:'';display:inline-block;width:14px;height:3px;vertical-align:middle;margin-right:5px;background:currentColor}.key.a{color:var(--a)}.key.b{color:var(--b)}.key.c{color:var(--c)}
svg{width:100%;height:auto;display:block}.grid{stroke:var(--rule);stroke-width:1}.tick{fill:var(--soft);font-size:11px;text-anchor:middle}.tick.end,.label.end{text-anchor:end}.label{fill:var(--ink);font-size:11.5px}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}.line.a{stroke:var(--a)}.line.b{stroke:var(--b)}.line.c{stroke:var(--c)}.window{fill:var(--shade)}.bound{stroke:var(--bad);stroke-width:1.2;stroke-dasharray:5 4}.tick.bound-text{fill:var(--bad)}
.phase{fill:var(--rule)}.phase.odd{opacity:.55}.skipped{fill:none;stroke:var(--rule);stroke-dasharray:3 3}.fault{fill:var(--fault)}footer{margin-top:40px;color:var(--soft);font-size:13px}
";
