//! Faults: the catalogue at the left, the arming form at the right, and under it whom it hits and the same as a command.

use super::text::{cut, line, pad, width, wrap};
use super::theme::Theme;
use super::{panel, title_again, titled};
use crate::catalogue::{self, Row};
use crate::cmdline;
use crate::command::{Command, possible};
use crate::form::{self, Asks, Field, Plan};
use crate::radius::{self, Radius, Size};
use crate::state::{Focus, Model};
use model::FaultDef;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect, Spacing};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use tui_input::Input;

/// Draws the screen.
pub fn draw(f: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let side = match area.width {
        w if w >= 110 => 36,
        w if w >= 80 => 28,
        _ => 22,
    };
    let [left, right] = Layout::horizontal([Constraint::Length(side), Constraint::Min(20)])
        .spacing(Spacing::Overlap(1))
        .areas(area);
    if model.ui.focus == Focus::Form {
        rows(f, left, model, theme);
    }
    form_side(f, right, model, theme);
    if model.ui.focus != Focus::Form {
        rows(f, left, model, theme);
    }
}

/// The form, whom it hits, what it does.
fn form_side(f: &mut Frame, right: Rect, model: &Model, theme: Theme) {
    let Some(def) = model.ui.form.def else {
        let block = panel("Arm", false, theme);
        let inner = block.inner(right);
        f.render_widget(block, right);
        return f.render_widget(Line::from(" select a fault in the catalogue").style(theme.dim()), inner);
    };
    let columns = usize::from(right.width).saturating_sub(4);
    let verdict = verdict(model, theme, columns);
    let what = what_it_does(def, columns, theme);
    let fields = model.ui.form.fields.len() as u16;
    // The form first, then whom it hits, then as much of the explanation as there is room for.
    let form = (fields + 4).min(right.height.saturating_sub(6)).max(5);
    let hits = (verdict.len() as u16 + 2).min((right.height + 1).saturating_sub(form)).max(3);
    let [a, b, c] =
        Layout::vertical([Constraint::Length(form), Constraint::Length(hits), Constraint::Min(0)])
            .spacing(Spacing::Overlap(1))
            .areas(right);
    if c.height >= 3 {
        boxed(f, c, "What it does", what, theme);
    }
    boxed(f, b, "Blast radius", verdict, theme);
    draw_form(f, a, model, def, theme);
    title_again(f, b, "Blast radius", theme);
    if c.height >= 3 {
        title_again(f, c, "What it does", theme);
    }
}

fn boxed(f: &mut Frame, area: Rect, title: &str, lines: Vec<Line<'static>>, theme: Theme) {
    let block = panel(title, false, theme);
    let inner = block.inner(area);
    f.render_widget(block, area);
    f.render_widget(Paragraph::new(lines), inner);
}

fn rows(f: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let focused = model.ui.focus == Focus::Catalogue;
    let filter = model.ui.filter.value();
    let block = if model.ui.filtering || !filter.is_empty() {
        let room = usize::from(area.width).saturating_sub(16);
        let mut shown = vec![Span::raw(" Catalogue /")];
        shown.extend(input(&model.ui.filter, model.ui.filtering, room, theme));
        shown.push(Span::raw(" "));
        titled(Line::from(shown).style(theme.title(focused)), focused, theme)
    } else {
        panel("Catalogue", focused, theme)
    };
    let inner = block.inner(area);
    f.render_widget(block, area);
    let rows = catalogue::rows(model);
    if rows.is_empty() {
        let text = vec![Line::from(" nothing fits the filter"), Line::from(" esc shows everything")];
        return f.render_widget(Paragraph::new(text).style(theme.dim()), inner);
    }
    let columns = usize::from(inner.width);
    let room = usize::from(inner.height);
    let from = (model.ui.row + 1).saturating_sub(room);
    let mut lines = Vec::new();
    for (i, row) in rows.iter().enumerate().skip(from).take(room) {
        let style = match (i == model.ui.row, focused) {
            (true, true) => theme.selected(),
            (true, false) => theme.marked(),
            _ => Style::new(),
        };
        lines.push(match row {
            Row::Layer(layer) => {
                let open = !filter.is_empty() || !model.ui.folded.contains(layer);
                let sign = if open { '▾' } else { '▸' };
                Line::from(pad(&format!("{sign} {}", layer.title()), columns))
                    .style(style.patch(theme.strong()))
            }
            Row::Fault(def) => {
                let why = why_not(model, def);
                let mut text = format!("   {}", def.name);
                if let Some(why) = &why {
                    text = format!("{text} ({why})");
                } else if def.irreversible {
                    text.push_str(" (no undo)");
                }
                let style = if why.is_some() { style.patch(theme.dim()) } else { style };
                Line::from(pad(&text, columns)).style(style)
            }
        });
    }
    f.render_widget(Paragraph::new(lines), inner);
}

/// Why a fault cannot be armed anywhere, in a few words.
fn why_not(model: &Model, def: &FaultDef) -> Option<String> {
    let up: Vec<_> = model.agents.iter().filter(|a| a.up()).collect();
    let whys: Vec<&String> = up.iter().filter_map(|a| a.unavailable.get(def.name)).collect();
    if !up.is_empty() && whys.len() == up.len() {
        return whys.first().map(|w| (*w).clone());
    }
    let missing = if def.is_for_datagrams() { "no udp target" } else { "no target" };
    let nowhere = form::typed_kinds(def).is_empty() && crate::update::targets(model, def).is_empty();
    nowhere.then(|| missing.to_owned())
}

/// A line of text with its cursor.
pub(super) fn input(input: &Input, active: bool, columns: usize, theme: Theme) -> Vec<Span<'static>> {
    let value = input.value();
    if !active {
        return vec![Span::raw(cut(value, columns))];
    }
    let scroll = input.visual_scroll(columns.saturating_sub(1));
    let cursor = input.cursor();
    let shown: Vec<(usize, char)> = {
        let mut skipped = 0;
        value
            .chars()
            .enumerate()
            .skip_while(|(_, c)| {
                let skip = skipped < scroll;
                skipped += width(&c.to_string());
                skip
            })
            .collect()
    };
    let mut before = String::new();
    let mut under = " ".to_owned();
    let mut after = String::new();
    let mut used = 0;
    for (i, c) in shown {
        used += width(&c.to_string());
        if used > columns {
            break;
        }
        match i.cmp(&cursor) {
            std::cmp::Ordering::Less => before.push(c),
            std::cmp::Ordering::Equal => under = c.to_string(),
            std::cmp::Ordering::Greater => after.push(c),
        }
    }
    vec![Span::raw(before), Span::styled(under, theme.selected()), Span::raw(after)]
}

fn draw_form(f: &mut Frame, area: Rect, model: &Model, def: &'static FaultDef, theme: Theme) {
    let focused = model.ui.focus == Focus::Form;
    let title = match &model.ui.form.changes {
        Some(changing) => format!("Change {}: {} on {}", changing.id, def.name, changing.from.target),
        None => format!("Arm: {}", def.name),
    };
    let block = panel(&title, focused, theme);
    let inner = block.inner(area);
    f.render_widget(block, area);
    let form = &model.ui.form;
    let wrong = form.fault().err().unwrap_or_default();
    let help_rows = 2;
    let room = usize::from(inner.height).saturating_sub(help_rows);
    let from = (form.at + 1).saturating_sub(room).min(form.fields.len().saturating_sub(room));
    let label = form.fields.iter().map(|f| width(f.name())).max().unwrap_or(6) + 1;
    let columns = usize::from(inner.width);
    let mut lines = Vec::new();
    for (i, field) in form.fields.iter().enumerate().skip(from).take(room) {
        let active = focused && i == form.at;
        let bad = wrong.iter().any(|(line, _)| *line == i);
        let sign = match (active, bad) {
            (_, true) => "▲",
            (true, _) => "›",
            _ => " ",
        };
        let style = if bad { theme.warn() } else { Style::new() };
        let name = if active { style.patch(theme.strong()) } else { style };
        let mut spans = vec![
            Span::styled(format!("{sign} "), if bad { theme.warn() } else { theme.strong() }),
            Span::styled(pad(field.name(), label), name),
            Span::raw(" "),
        ];
        spans.extend(value(model, field, active, columns.saturating_sub(label + 4), theme));
        lines.push(Line::from(spans));
    }
    lines.resize(room.min(lines.len().max(room)), Line::default());
    // Under the fields: what is wrong in the selected one, or what it means.
    let problem = wrong.iter().find(|(line, _)| *line == form.at || !focused);
    let (text, style) = match (problem, form.field()) {
        (Some((_, p)), _) => (p.to_string(), theme.warn()),
        (None, Some(field)) if focused => (field.help(def), theme.dim()),
        _ => (def.summary.to_owned(), theme.dim()),
    };
    for l in wrap(&text, columns.saturating_sub(3)).into_iter().take(help_rows) {
        lines.push(line([(format!("  {l}"), style)]));
    }
    f.render_widget(Paragraph::new(lines), inner);
}

fn value(model: &Model, field: &Field, active: bool, columns: usize, theme: Theme) -> Vec<Span<'static>> {
    let choice = |text: String| {
        if active {
            vec![
                Span::styled("‹ ", theme.dim()),
                Span::styled(cut(&text, columns.saturating_sub(4)), theme.selected()),
                Span::styled(" ›", theme.dim()),
            ]
        } else {
            vec![Span::raw(cut(&text, columns))]
        }
    };
    match field.asks {
        Asks::Target if model.ui.form.is_target_typed() => input(&field.input, active, columns, theme),
        Asks::Target => match &model.ui.form.target {
            None if active => {
                let mut spans = input(&field.input, true, columns, theme);
                spans.push(Span::styled("type one", theme.dim()));
                spans
            }
            None => vec![Span::styled("none", theme.warn())],
            Some((agent, target)) => {
                let about = model.agents[*agent].target(target).map_or("", |t| t.about.as_str());
                let name = if model.agents.len() > 1 {
                    format!("{} at {}", target, model.agents[*agent].name)
                } else {
                    target.to_string()
                };
                let mut spans = choice(name.clone());
                let left = columns.saturating_sub(width(&name) + 6);
                if left > 10 {
                    spans.push(Span::styled(format!("  {}", cut(about, left)), theme.dim()));
                }
                spans
            }
        },
        _ if field.choices().is_some() => choice(field.input.value().to_owned()),
        _ if !active && field.input.value().is_empty() => {
            let nothing = match field.asks {
                Asks::When => "everything",
                Asks::Lease => "none: it lasts its time",
                Asks::Param(p) if p.required => "missing",
                _ => "-",
            };
            vec![Span::styled(nothing, theme.dim())]
        }
        _ => input(&field.input, active, columns, theme),
    }
}

/// Whom it hits, what the agent would do, and the command line that does the same.
fn verdict(model: &Model, theme: Theme, columns: usize) -> Vec<Line<'static>> {
    let form = &model.ui.form;
    let (fault, agent) = match (form.fault(), &form.target) {
        (Ok(fault), Some((agent, _))) => (fault, *agent),
        _ => return vec![line([(" not complete yet".to_owned(), theme.dim())])],
    };
    let radius = radius::of(model, agent, &fault);
    let mut lines = vec![bars(&radius, theme)];
    // Beside the bars where there is room, under them otherwise.
    let beside = radius.words.first().filter(|w| width(w) + 15 <= columns);
    if let Some(words) = beside {
        lines[0].spans.push(Span::raw(format!("  {words}")));
    }
    for words in radius.words.iter().skip(usize::from(beside.is_some())) {
        lines.extend(wrap(words, columns).into_iter().map(|l| Line::from(format!(" {l}"))));
    }
    if let Err(why) = possible(model, Command::Arm) {
        lines.push(line([(format!(" cannot be armed now: {why}"), theme.warn())]));
    }
    let (sign, said, style) = match &form.plan {
        _ if form.changes.is_some() => (
            "✎",
            vec!["changes it while it is on, also for what is open and what waits".to_owned()],
            theme.dim(),
        ),
        Plan::None | Plan::Asked(_) => {
            ("…", vec!["asking the agent what it would do".to_owned()], theme.dim())
        }
        Plan::Refused(why) => ("✘", vec![why.clone()], theme.warn()),
        Plan::Possible(plan) => {
            let mut said: Vec<String> =
                plan.acts.iter().map(|a| format!("{}; undone: {}", a.act, a.undo)).collect();
            said.extend(plan.warnings.iter().map(|w| format!("▲ {w}")));
            ("✔", said, Style::new())
        }
    };
    for text in said {
        for (i, l) in wrap(&text, columns.saturating_sub(2)).into_iter().take(3).enumerate() {
            let sign = if i == 0 { sign } else { " " };
            lines.push(line([(format!(" {sign} {l}"), style)]));
        }
    }
    lines.push(line([(" the same as (^Y copies):".to_owned(), theme.dim())]));
    let command = match &form.changes {
        Some(changing) => changing.command(&fault),
        None => cmdline::arm(&fault),
    };
    for l in wrap(&command, columns).into_iter().take(3) {
        lines.push(line([(format!(" {l}"), theme.strong())]));
    }
    lines
}

/// `▓▓▓░░ MEDIUM`.
pub(super) fn bars(radius: &Radius, theme: Theme) -> Line<'static> {
    let style = match radius.size {
        Size::Low => theme.good().patch(theme.strong()),
        Size::Medium => theme.warn(),
        Size::High => theme.bad(),
    };
    let bars = format!(" {}{} {}", "▓".repeat(radius.bars), "░".repeat(5 - radius.bars), radius.size.word());
    Line::from(vec![Span::styled(pad(&bars, 13), style)])
}

fn what_it_does(def: &FaultDef, columns: usize, theme: Theme) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = Vec::new();
    let mut say = |text: String, style: Style| {
        lines.extend(wrap(&text, columns).into_iter().map(|l| line([(format!(" {l}"), style)])));
    };
    say(def.summary.to_owned(), theme.strong());
    say(def.detail.to_owned(), Style::new());
    say(format!("Ends: {}.", def.ends), theme.dim());
    if !def.needs.is_empty() {
        say(format!("Needs: {}.", def.needs.join(", ")), theme.dim());
    }
    lines
}
