//! The panels of the overview that are lists.

use super::panel;
use super::text::{clock, cut, line, pad, right, width};
use super::theme::Theme;
use crate::command::{Command, possible, short};
use crate::state::{ArmedFault, Focus, Model, TargetRow};
use crate::tell::number;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph};

/// The first row shown, so that the selected one is in sight.
fn offset(selected: usize, rows: usize) -> usize {
    selected.saturating_sub(rows.saturating_sub(1))
}

fn row_style(model: &Model, theme: Theme, focus: Focus, selected: bool) -> Style {
    match (selected, model.ui.focus == focus) {
        (true, true) => theme.selected(),
        (true, false) => theme.marked(),
        _ => Style::new(),
    }
}

/// Targets, each with its rate.
pub fn targets(f: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let focused = model.ui.focus == Focus::Targets;
    let block = panel("Targets", focused, theme);
    let inner = block.inner(area);
    f.render_widget(block, area);
    let rows = model.target_rows();
    if rows.is_empty() {
        let lines = vec![Line::from(" none open").style(theme.dim())];
        return f.render_widget(Paragraph::new(lines), inner);
    }
    let columns = usize::from(inner.width);
    let several = model.agents.len() > 1;
    let name =
        if several { model.agents.iter().map(|a| width(&a.name)).max().unwrap_or(0).clamp(5, 10) } else { 0 };
    let rate = 7;
    let target = columns.saturating_sub(2 + name + usize::from(several) + rate + 1);
    let mut head = "  ".to_owned();
    if several {
        head.push_str(&pad("AGENT", name + 1));
    }
    head.push_str(&format!("{} {}", pad("TARGET", target), right("RATE", rate)));
    let mut lines = vec![line([(head, theme.dim())])];
    let room = usize::from(inner.height).saturating_sub(1);
    for (i, row) in rows.iter().enumerate().skip(offset(model.ui.target, room)).take(room) {
        let style = row_style(model, theme, Focus::Targets, i == model.ui.target);
        let show = |r: f64| format!("{}/s", number(r));
        let text = match row {
            TargetRow::All => {
                let label = pad("all targets", name + usize::from(several) + target);
                format!("  {label} {}", right(&show(model.total_rate()), rate))
            }
            TargetRow::One(agent, t) => {
                let a = &model.agents[*agent];
                let (sign, value) = match (a.up(), t.up) {
                    (false, _) => ("◌", "lost".to_owned()),
                    (true, false) => ("✘", "down".to_owned()),
                    (true, true) => (
                        "●",
                        model.rate_of(*agent, &t.target.to_string()).map_or_else(|| "-".to_owned(), show),
                    ),
                };
                let mut text = format!("{sign} ");
                if several {
                    text.push_str(&pad(&a.name, name));
                    text.push(' ');
                }
                // What stands behind the name, where there is room for it.
                let full = format!("{} {}", t.target, t.listen.as_deref().unwrap_or(""));
                let full = if width(&full) <= target { full } else { t.target.to_string() };
                format!("{text}{} {}", pad(&full, target), right(&value, rate))
            }
        };
        let style = match row {
            TargetRow::One(agent, _) if !model.agents[*agent].up() => style.patch(theme.dim()),
            _ => style,
        };
        lines.push(Line::from(text).style(style));
    }
    f.render_widget(Paragraph::new(lines), inner);
}

/// The title of the panel of armed faults.
pub fn armed_title(model: &Model) -> String {
    match model.armed_count() {
        0 => "Armed".to_owned(),
        n => format!("Armed {n}"),
    }
}

/// Faults that are on, each with the time it has left.
pub fn armed(f: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let focused = model.ui.focus == Focus::Armed;
    let count = model.armed_count();
    let block = panel(&armed_title(model), focused, theme);
    let inner = block.inner(area);
    f.render_widget(block, area);
    let columns = usize::from(inner.width);
    if count == 0 {
        let text = match possible(model, Command::Arm) {
            Ok(()) => " none · a arms one".to_owned(),
            Err(why) => format!(" none ({why})"),
        };
        return f.render_widget(line([(cut(&text, columns), theme.dim())]), inner);
    }
    let left = 6;
    let tag = 3;
    let scope = if columns >= 36 { 12 } else { 0 };
    let gaps = if scope > 0 { 2 } else { 1 };
    let fault = columns.saturating_sub(tag + scope + left + gaps);
    let mut head = format!("{}{} ", " ".repeat(tag), pad("FAULT", fault));
    if scope > 0 {
        head.push_str(&pad("SCOPE", scope + 1));
    }
    head.push_str(&right("LEFT", left));
    let mut lines = vec![line([(head, theme.dim())])];
    let room = usize::from(inner.height).saturating_sub(1);
    for (i, (agent, f)) in model.armed().enumerate().skip(offset(model.ui.fault, room)).take(room) {
        let style = row_style(model, theme, Focus::Armed, i == model.ui.fault);
        let up = model.agents[agent].up();
        let mut text = format!("{} ", pad(&f.fault.inject.describe(), fault));
        if scope > 0 {
            text.push_str(&pad(&scope_words(f), scope));
            text.push(' ');
        }
        text.push_str(&right(&left_words(model, up, f), left));
        let style = if up { style } else { style.patch(theme.dim()) };
        lines.push(Line::from_iter(
            [(pad(&f.tag, tag), style.patch(theme.bad())), (text, style)]
                .map(|(t, s)| ratatui::text::Span::styled(t, s)),
        ));
    }
    f.render_widget(Paragraph::new(lines), inner);
}

fn scope_words(f: &ArmedFault) -> String {
    let name = &f.fault.target.name;
    if f.evidence.applied == 0 && f.evidence.considered >= 50 {
        return format!("hit 0 of {}", number(f.evidence.considered as f64));
    }
    if f.fault.share.is_all() { name.clone() } else { format!("{} {}", cut(name, 8), f.fault.share) }
}

/// The time left. A lost agent's fault ends when its time or lease is up, which can no longer be seen.
fn left_words(model: &Model, up: bool, f: &ArmedFault) -> String {
    if f.leaving && up {
        return "…".to_owned();
    }
    let ends = if up { f.ends_ms } else { f.lapses_ms() };
    match ends.map(|e| e - model.now_ms) {
        None => "-".to_owned(),
        Some(left) if !up && left <= 0.0 => "lapsed".to_owned(),
        Some(left) if !up => format!("≤{}", clock(left)),
        // Rounded up, so that what is on never shows 00:00.
        Some(left) => clock(left + 999.0),
    }
}

/// What happened, newest at the bottom.
pub fn events(f: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let focused = model.ui.focus == Focus::Events;
    let start = model.run().map(|r| r.since_ms);
    let state = match (model.ui.frozen, model.ui.back) {
        (Some(_), _) => "frozen".to_owned(),
        (None, 0) => "following".to_owned(),
        (None, n) => format!("{n} back · g follows"),
    };
    let block = panel(&format!("Events · {state}"), focused, theme);
    let inner = block.inner(area);
    f.render_widget(block, area);
    let rows = usize::from(inner.height);
    let end = match model.ui.frozen {
        Some(frozen) => frozen.log.saturating_sub(model.forgotten).min(model.log.len()),
        None => model.log.len(),
    };
    let end = end.saturating_sub(model.ui.back).max(rows.min(end));
    let from = end.saturating_sub(rows);
    let several = model.agents.len() > 1;
    let mut lines = Vec::new();
    for (i, e) in model.log.range(from..end).enumerate() {
        let when = match start {
            Some(start) if e.at_ms >= start - 500.0 => format!("T+{}", clock(e.at_ms - start)),
            _ => time_of_day(e.wall_ms, model.utc_offset_s),
        };
        let text = if several && e.told.word != "agent" {
            format!("{} · {}", model.agents[e.agent].name, e.told.text)
        } else {
            e.told.text.clone()
        };
        let selected = focused && from + i + 1 == end;
        let base = if selected { theme.marked() } else { Style::new() };
        let room = usize::from(inner.width).saturating_sub(19);
        lines.push(
            line([
                (format!(" {} ", pad(&when, 8)), theme.dim()),
                (format!("{} ", pad(e.told.word, 8)), theme.weight(e.told.weight)),
                (cut(&text, room), Style::new()),
            ])
            .style(base),
        );
    }
    if lines.is_empty() {
        lines.push(Line::from(" nothing happened yet").style(theme.dim()));
    }
    f.render_widget(Paragraph::new(lines), inner);
}

fn time_of_day(wall_ms: u64, offset_s: i32) -> String {
    let s = (wall_ms / 1000) as i64 + i64::from(offset_s);
    let s = s.rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

/// How many rows the banner of a halt takes.
pub fn halted_height(model: &Model, area: Rect) -> u16 {
    let agents = model.ui.halting.len().max(1) as u16;
    (agents + 4).min(area.height / 2)
}

/// Who halted, what each agent said to it, and how it is lifted.
pub fn halted(f: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let Some((_, halt)) = model.halted() else { return };
    let when =
        model.log.iter().rfind(|e| e.told.word == "HALT").map_or(String::new(), |e| match model.run() {
            Some(run) => format!(" at T+{}", clock(e.at_ms - run.since_ms)),
            None => format!(" at {}", time_of_day(e.wall_ms, model.utc_offset_s)),
        });
    let block = Block::bordered()
        .title(line([(format!(" HALTED by {}{when} ", halt.by), theme.alarm())]))
        .border_style(theme.bad());
    let inner = block.inner(area);
    f.render_widget(block, area);
    let name = model.agents.iter().map(|a| width(&a.name)).max().unwrap_or(8).clamp(8, 20);
    let mut lines = Vec::new();
    if !model.ui.halting.is_empty() {
        lines.push(line([(
            format!(" {} {} FAULTS OFF", pad("AGENT", name), pad("CONFIRMED", 12)),
            theme.dim(),
        )]));
    }
    for h in &model.ui.halting {
        let (took, said, style) = match (&h.took_ms, &h.result) {
            (Some(ms), Some(Ok(faults))) => {
                let tags: Vec<String> = faults.iter().map(|id| tag_of(model, h.agent, id)).collect();
                let tags = if tags.is_empty() { "nothing was on".to_owned() } else { tags.join(" ") };
                (format!("{}ms", number(*ms)), tags, Style::new())
            }
            (_, Some(Err(why))) => ("NO".to_owned(), why.clone(), theme.bad()),
            _ => (
                format!("{} …", clock(model.now_ms - h.told_ms)),
                "told; no answer yet".to_owned(),
                theme.warn(),
            ),
        };
        lines.push(line([
            (format!(" {} {} ", pad(&model.agents[h.agent].name, name), pad(&took, 12)), Style::new()),
            (said, style),
        ]));
    }
    let how = match possible(model, Command::Lift) {
        Ok(()) => "r lifts it, on purpose.".to_owned(),
        Err(why) => format!("Lifting {why}."),
    };
    lines.push(
        Line::from(format!(" Nothing can be armed until the halt is lifted. {how}")).style(theme.strong()),
    );
    f.render_widget(Paragraph::new(lines), inner);
}

/// The letter of a fault that may be gone, with its id.
fn tag_of(model: &Model, agent: usize, id: &str) -> String {
    let found = model.windows.iter().rfind(|w| w.agent == agent && w.id == id);
    found.map_or_else(|| id.to_owned(), |w| format!("{} {}", w.tag, short(&w.label)))
}
