//! The first two lines: what goes on, how bad it is, who we are; and the screens.

use super::text::{self, clock, line};
use super::theme::Theme;
use crate::command::short;
use crate::screen::SCREENS;
use crate::state::{Link, Model};
use control::Role;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;

type Pieces = Vec<(String, Style)>;

/// Draws the head line.
pub fn head(f: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let columns = usize::from(area.width);
    // From the fullest to the shortest, the first that fits.
    for detail in (0..=4).rev() {
        let (left, right) = (left(model, theme, detail), right(model, theme, detail));
        let wide = |p: &Pieces| p.iter().map(|(t, _)| text::width(t)).sum::<usize>();
        let (l, r) = (wide(&left), wide(&right));
        if l + r < columns || detail == 0 {
            f.render_widget(line(left), area);
            if l + r < columns {
                let right_area = Rect { x: area.right() - r as u16, width: r as u16, ..area };
                f.render_widget(line(right), right_area);
            }
            return;
        }
    }
}

fn left(model: &Model, theme: Theme, detail: usize) -> Pieces {
    let mut out = vec![(" murphy ".to_owned(), theme.selected().patch(theme.strong()))];
    let mut say = |text: String, style: Style| out.push((text, style));
    match model.run() {
        Some(run) => {
            let name = text::cut(&run.name, [8, 12, 16, 24, 40][detail]);
            say(format!(" {name} "), theme.strong());
            match (&run.verdict, &run.stage) {
                (Some((verdict, _)), _) => {
                    let style = if verdict == "held" { theme.good() } else { theme.bad() };
                    say(verdict.to_uppercase(), style);
                }
                (None, Some((stage, n))) => {
                    let word = if detail >= 3 { "stage " } else { "" };
                    say(format!("{word}{n}/{} ", run.stages()), Style::new());
                    say(text::cut(stage, [6, 8, 10, 16, 24][detail]).to_uppercase(), theme.strong());
                }
                (None, None) => say(run.phase.to_uppercase(), theme.strong()),
            }
            if run.verdict.is_none() {
                say(format!(" T+{}", clock(model.now_ms - run.since_ms)), Style::new());
                if let (Some(lasts), true) = (run.lasts, detail >= 4) {
                    let left = lasts.as_millis_f64() - (model.now_ms - run.phase_since_ms);
                    say(format!(" ({} left)", clock(left)), theme.dim());
                }
            }
        }
        None if detail >= 2 => {
            let name = match model.agents.as_slice() {
                [one] if one.offset_ms.is_none() => "no agent".to_owned(),
                [one] => one.name.clone(),
                many => format!("{} agents", many.len()),
            };
            say(format!(" {} · no run", text::cut(&name, 24)), Style::new());
        }
        None => {}
    }
    say("  ".to_owned(), Style::new());
    if let Some((_, halt)) = model.halted() {
        say(" HALTED ".to_owned(), theme.alarm());
        if detail >= 3 {
            say(format!(" by {}", short(&halt.by)), Style::new());
        }
        say("  ".to_owned(), Style::new());
    }
    let armed = model.armed_count();
    let (dot, style) = if armed > 0 { ("●", theme.bad()) } else { ("○", theme.dim()) };
    say(if detail == 0 { format!("{dot}{armed}") } else { format!("{dot} {armed} armed") }, style);
    let held = model.connection_counts().1;
    if held > 0 {
        say(if detail == 0 { format!(" ‖{held}") } else { format!("  ‖ {held} held") }, theme.warn());
    }
    let breach = model.run().into_iter().flat_map(|r| r.breaches.values()).copied().reduce(f64::min);
    if let Some(since) = breach {
        let word = if detail == 0 { " ▲" } else { "  ▲ BREACH " };
        say(format!("{word}{}", clock(model.now_ms - since)), theme.warn());
    }
    out
}

fn right(model: &Model, theme: Theme, detail: usize) -> Pieces {
    let mut out = Pieces::new();
    let role = if model.read_only {
        Some("read-only")
    } else {
        match model.role() {
            Some(Role::Viewer) => Some("viewer"),
            Some(Role::Operator) if detail >= 3 => Some("operator"),
            _ => None,
        }
    };
    if let Some(role) = role {
        out.push((format!("{role} "), theme.warn()));
    }
    let up = model.agents.iter().filter(|a| a.up()).count();
    let all = model.agents.len();
    if all > 1 || up < all {
        let style = if up < all { theme.warn() } else { Style::new() };
        out.push((format!("agents {up}/{all} "), style));
        let lost = model.agents.iter().find(|a| matches!(a.link, Link::Lost { .. }));
        if let (Some(lost), true) = (lost, detail >= 3) {
            out.push((format!("▲{} lost ", text::cut(&lost.name, 16)), theme.bad()));
        }
    }
    let rtt = model
        .agents
        .iter()
        .filter_map(|a| a.rtt_ms)
        .fold(None, |m: Option<f64>, r| Some(m.map_or(r, |m| m.max(r))));
    if let (Some(rtt), true) = (rtt, detail >= 2) {
        let rtt = if rtt < 0.5 { "<1".to_owned() } else { format!("{rtt:.0}") };
        out.push((format!("rtt {rtt}ms "), theme.dim()));
    }
    out
}

/// Draws the line of screens.
pub fn tabs(f: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let mut pieces = Pieces::new();
    let wide: usize = SCREENS.iter().map(|def| def.title.len() + 5).sum();
    let gap = if wide > usize::from(area.width) { "" } else { " " };
    for def in SCREENS {
        let style = if def.screen == model.ui.screen { theme.selected() } else { Style::new() };
        pieces.push((format!(" {} {}{gap}", def.key, def.title), style));
        pieces.push((gap.to_owned(), Style::new()));
    }
    if model.ui.frozen.is_some() {
        pieces.push((" view frozen: space goes on ".to_owned(), theme.warn()));
    }
    f.render_widget(line(pieces), area);
}
