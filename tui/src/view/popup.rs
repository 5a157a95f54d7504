//! What lies over the screen: help, palette, questions, details.

use super::faults::{bars, input};
use super::text::{clock, cut, line, pad, width, wrap};
use super::theme::Theme;
use crate::cmdline;
use crate::command::{COMMANDS, Command, CommandDef, Key, keys_on, possible};
use crate::radius::Size;
use crate::state::{ArmedFault, Model, Popup};
use crate::tell::{did, number};
use crate::update::{lift_word, palette};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Padding, Paragraph};

/// Draws the popup that is open.
pub fn draw(f: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    match &model.ui.popup {
        None => {}
        Some(Popup::Help { filter, scroll }) => {
            let lines = help(model, filter.value(), theme, area);
            let height = (lines.len() as u16 + 4).min(area.height);
            let room = usize::from(height.saturating_sub(4));
            let scroll = (*scroll).min(lines.len().saturating_sub(room));
            let mut shown = vec![prompt("type to filter: ", filter, theme), Line::default()];
            shown.extend(lines.into_iter().skip(scroll).take(room));
            show(f, area, "Keys", (area.width.min(84), height), shown, theme.frame(true));
        }
        Some(Popup::Palette { input: typed, selected }) => {
            let found = palette(typed.value());
            let room = usize::from(area.height.saturating_sub(6)).min(14);
            let from = (selected + 1).saturating_sub(room);
            let mut lines = vec![prompt(": ", typed, theme), Line::default()];
            if found.is_empty() {
                lines.push(line([("no command fits".to_owned(), theme.dim())]));
            }
            let columns = usize::from(area.width.min(72)).saturating_sub(4);
            for (i, command) in found.iter().enumerate().skip(from).take(room) {
                let style = if i == *selected { theme.selected() } else { Style::new() };
                lines.push(palette_row(model, *command, columns, theme).style(style));
            }
            let height = room as u16 + 4;
            show(f, area, "Command", (area.width.min(72), height), lines, theme.frame(true));
        }
        Some(Popup::Confirm { order, typed }) => {
            let columns = usize::from(area.width.min(72)).saturating_sub(6);
            let fault = &order.fault;
            let lasts =
                fault.lasts.map_or_else(|| "once".to_owned(), |l| format!("for {l}, then taken back"));
            let mut lines = vec![Line::default()];
            let say = |lines: &mut Vec<Line<'static>>, text: String, style: Style| {
                lines.extend(wrap(&text, columns).into_iter().map(|l| line([(l, style)])));
            };
            say(&mut lines, format!("{} on {}", fault.describe(), fault.target), theme.strong());
            say(&mut lines, lasts, Style::new());
            lines.push(Line::default());
            let mut head = bars(&order.radius, theme);
            head.spans.remove(0);
            let bar = bars(&order.radius, theme).spans.remove(0);
            lines.push(Line::from(Span::styled(bar.content.trim_start().to_owned(), bar.style)));
            for words in &order.radius.words {
                say(&mut lines, words.clone(), Style::new());
            }
            if let Some(lease) = order.lease {
                say(&mut lines, format!("taken back {lease} after this console is gone"), Style::new());
            }
            say(&mut lines, "u takes it back, ^X halts everything".to_owned(), theme.dim());
            lines.push(Line::default());
            match order.radius.size {
                Size::High => {
                    let mut ask = vec![
                        Span::raw("type "),
                        Span::styled(fault.target.name.clone(), theme.strong()),
                        Span::raw(" to arm: "),
                    ];
                    ask.extend(input(typed, true, 24, theme));
                    lines.push(Line::from(ask));
                    lines.push(keys(&[("⏎", "arm"), ("esc", "cancel")], theme));
                }
                _ => lines.push(keys(&[("y", "arm"), ("n", "cancel")], theme)),
            }
            let style = if order.radius.size == Size::High { theme.bad() } else { theme.warn() };
            let act = if order.changes.is_some() { "Change" } else { "Arm" };
            let title = format!("{act} · blast radius {}", order.radius.size.word());
            let height = lines.len() as u16 + 3;
            show(f, area, &title, (area.width.min(72), height), lines, style);
        }
        Some(Popup::Leave) => leave(f, area, model, theme),
        Some(Popup::Lift { typed }) => {
            let word = lift_word(model);
            let mut ask =
                vec![Span::raw("type "), Span::styled(word, theme.strong()), Span::raw(" to lift it: ")];
            ask.extend(input(typed, true, 24, theme));
            let by = model.halted().map_or_else(String::new, |(_, h)| h.by.clone());
            let lines = vec![
                Line::default(),
                Line::from(format!("Halted by {by}.")),
                Line::from("After lifting, faults can be armed again."),
                Line::default(),
                Line::from(ask),
                keys(&[("⏎", "lift"), ("esc", "leave it halted")], theme),
            ];
            show(f, area, "Lift the halt", (area.width.min(64), 9), lines, theme.warn());
        }
        Some(Popup::EndRun) => {
            let name = model.run().map_or("", |r| r.name.as_str()).to_owned();
            let lines = vec![
                Line::default(),
                Line::from(format!("End {name} and take its faults back? Its verdict will be: aborted.")),
                Line::default(),
                keys(&[("y", "end the run"), ("n", "go on")], theme),
            ];
            show(f, area, "End the run", (area.width.min(76), 7), lines, theme.warn());
        }
        Some(Popup::CloseConnection { agent, id, how }) => {
            let columns = usize::from(area.width.min(72)).saturating_sub(6);
            let (verb, sees) = match how {
                control::Close::Rst => {
                    ("Reset", "Both sides see a reset (ECONNRESET); what is on its way is lost.")
                }
                control::Close::Fin => ("Close", "Both sides see an orderly end."),
            };
            let which = model.connection(*agent, *id).map_or_else(String::new, |c| {
                let client = c.client.as_deref().unwrap_or("a unix socket");
                format!("{verb} {client} through {}?", c.target)
            });
            let mut lines = vec![Line::default()];
            for (text, style) in [
                (which.as_str(), theme.strong()),
                (sees, Style::new()),
                ("It cannot be undone.", Style::new()),
            ] {
                lines.extend(wrap(text, columns).into_iter().map(|l| line([(l, style)])));
            }
            lines.push(Line::default());
            lines.push(keys(&[("y", &verb.to_lowercase()), ("n", "leave it")], theme));
            let title = format!("{verb} connection #{id}");
            let height = lines.len() as u16 + 3;
            show(f, area, &title, (area.width.min(72), height), lines, theme.warn());
        }
        Some(Popup::Fault(agent, id)) => {
            if let Some(fault) = model.agents[*agent].faults.iter().find(|f| f.id == *id) {
                let width = area.width.min(84);
                let lines = fault_lines(model, *agent, fault, usize::from(width).saturating_sub(4), theme);
                let title = format!("{} {}", fault.tag, fault.id);
                show(f, area, &title, (width, lines.len() as u16 + 2), lines, theme.frame(true));
            }
        }
        Some(Popup::Target(agent, target)) => {
            let width = area.width.min(84);
            let lines = target_lines(model, *agent, target, usize::from(width).saturating_sub(4), theme);
            show(f, area, &target.to_string(), (width, lines.len() as u16 + 2), lines, theme.frame(true));
        }
    }
}

fn show(f: &mut Frame, area: Rect, title: &str, size: (u16, u16), lines: Vec<Line<'_>>, frame: Style) {
    let (width, height) = (size.0.min(area.width), size.1.min(area.height));
    let at =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    f.render_widget(Clear, at);
    let block = Block::bordered()
        .title(Line::from(format!(" {title} ")).style(frame))
        .border_style(frame)
        .padding(Padding::horizontal(1));
    f.render_widget(Paragraph::new(lines).block(block), at);
}

fn prompt(text: &str, typed: &tui_input::Input, theme: Theme) -> Line<'static> {
    let mut spans = vec![Span::styled(text.to_owned(), theme.dim())];
    spans.extend(input(typed, true, 40, theme));
    Line::from(spans)
}

fn keys(keys: &[(&str, &str)], theme: Theme) -> Line<'static> {
    let mut pieces = Vec::new();
    for (key, word) in keys {
        pieces.push((format!(" {key} "), theme.selected()));
        pieces.push((format!(" {word}   "), Style::new()));
    }
    line(pieces)
}

fn key_names(model: &Model, def: &'static CommandDef) -> String {
    keys_on(model.ui.screen, def).map(Key::text).collect::<Vec<_>>().join(" ")
}

fn palette_row(model: &Model, command: Command, columns: usize, theme: Theme) -> Line<'static> {
    let def = command.def();
    let keys = key_names(model, def);
    let about = match possible(model, command) {
        Ok(()) => def.about.to_owned(),
        Err(why) => format!("not now: {why}"),
    };
    let room = columns.saturating_sub(17 + width(&keys));
    line([
        (format!(" {} ", pad(def.name, 15)), Style::new()),
        (format!("{} ", pad(&about, room.saturating_sub(2))), theme.dim()),
        (keys, Style::new()),
    ])
}

/// Keys that do something now, then those that do not, with why.
fn help(model: &Model, filter: &str, theme: Theme, area: Rect) -> Vec<Line<'static>> {
    let filter = filter.to_lowercase();
    let fits = |d: &&'static CommandDef| {
        filter.is_empty()
            || d.name.contains(&filter)
            || d.about.to_lowercase().contains(&filter)
            || key_names(model, d).contains(&filter)
    };
    let columns = usize::from(area.width.min(84)).saturating_sub(4);
    let row = |d: &'static CommandDef, text: &str, style: Style| {
        line([
            (format!(" {} ", pad(&key_names(model, d), 8)), theme.strong()),
            (pad(d.name, 16), style),
            (cut(text, columns.saturating_sub(27)), style.patch(theme.dim())),
        ])
    };
    let mut now = vec![line([("NOW".to_owned(), theme.strong())])];
    let mut not = vec![Line::default(), line([("NOT NOW".to_owned(), theme.strong())])];
    for d in COMMANDS.iter().filter(fits) {
        match possible(model, d.command) {
            Ok(()) => now.push(row(d, d.about, Style::new())),
            Err(why) => not.push(row(d, &format!("{}: {why}", d.about), theme.dim())),
        }
    }
    if not.len() > 2 {
        now.extend(not);
    }
    now.push(Line::default());
    now.push(line([(
        "Text can be selected with the mouse: it belongs to the terminal.".to_owned(),
        theme.dim(),
    )]));
    now
}

fn leave(f: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let ends = model.armed().filter_map(|(_, f)| f.lapses_ms()).fold(0.0, f64::max);
    let running = model.agents.iter().any(|a| a.running().is_some());
    let keep = if model.inside() {
        "the agent ends with it and takes all back".to_owned()
    } else if running {
        "the run goes on without this console".to_owned()
    } else {
        format!("they end by themselves, the last in {}", clock(ends - model.now_ms))
    };
    let choice = |key: &str, word: &str, about: String| {
        line([
            (format!(" {key} "), theme.selected()),
            (format!(" {} ", pad(word, 15)), theme.strong()),
            (about, Style::new()),
        ])
    };
    let lines = vec![
        Line::default(),
        choice("h", "halt and leave", "takes all back and blocks new faults".to_owned()),
        choice("k", if model.inside() { "leave" } else { "keep and leave" }, keep),
        choice("esc", "stay", String::new()),
    ];
    let title = format!("Leaving with {} armed", model.armed_count());
    show(f, area, &title, (area.width.min(72), 7), lines, theme.warn());
}

fn facts(lines: &mut Vec<Line<'static>>, name: &str, text: &str, columns: usize, theme: Theme) {
    for (i, l) in wrap(text, columns.saturating_sub(13)).into_iter().enumerate() {
        let name = if i == 0 { name } else { "" };
        lines.push(line([(pad(name, 12), theme.dim()), (l, Style::new())]));
    }
}

fn fault_lines(
    model: &Model,
    agent: usize,
    f: &ArmedFault,
    columns: usize,
    theme: Theme,
) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut say = |name: &str, text: &str| facts(&mut lines, name, text, columns, theme);
    say("fault", &f.fault.describe());
    say("on", &format!("{} at {}", f.fault.target, model.agents[agent].name));
    say("by", &f.by);
    say("armed", &format!("{} ago", clock(model.now_ms - f.since_ms)));
    let ends =
        f.ends_ms.map_or_else(|| "not by itself".to_owned(), |e| format!("in {}", clock(e - model.now_ms)));
    say("ends", &ends);
    if let Some(lease) = f.lease {
        say("lease", &format!("{lease}, renewed while its console is there"));
    }
    say("did", &did(&f.evidence));
    say("means", f.fault.inject.def().summary);
    say("if all dies", f.fault.inject.def().ends);
    say("the same", &cmdline::arm(&f.fault));
    lines.push(Line::default());
    lines.push(keys(&[("d", "disarm"), ("y", "copy command"), ("esc", "close")], theme));
    lines
}

fn target_lines(
    model: &Model,
    agent: usize,
    target: &model::TargetRef,
    columns: usize,
    theme: Theme,
) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let a = &model.agents[agent];
    let Some(t) = a.target(target) else { return lines };
    let mut say = |name: &str, text: &str| facts(&mut lines, name, text, columns, theme);
    say("about", &t.about);
    say("agent", &format!("{} {} · {}", a.name, a.version, a.address));
    if let Some(listen) = &t.listen {
        say("listens", listen);
    }
    say("up", if t.up { "yes" } else { "no" });
    let name = target.to_string();
    let rate = model
        .rate_of(agent, &name)
        .map_or_else(|| "no traffic now".to_owned(), |r| format!("{}/s", number(r)));
    say("rate", &rate);
    if let Some(series) = a.series.get(&name) {
        say("open", &format!("{} connections", series.open));
    }
    let faults: Vec<String> = a
        .faults
        .iter()
        .filter(|f| f.fault.target == *target)
        .map(|f| format!("{} {}", f.tag, f.fault.describe()))
        .collect();
    say("armed", &if faults.is_empty() { "nothing".to_owned() } else { faults.join("\n") });
    lines.push(Line::default());
    lines.push(keys(&[("a", "arm here"), ("esc", "close")], theme));
    lines
}
