//! The last line: what can be done here and now, and halt at its right end, always.

use super::text::{self, line};
use super::theme::Theme;
use crate::command::{self, Command};
use crate::state::{Focus, Level, Model};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::{Clear, Paragraph};

/// Draws the key bar.
pub fn bar(f: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let halt = if area.width >= 110 { " ^X HALT ALL " } else { " ^X HALT " };
    let room = usize::from(area.width).saturating_sub(text::width(halt) + 1);
    let mut pieces: Vec<(String, Style)> = Vec::new();
    let mut used = 0;
    for (command, possible) in command::bar(model) {
        let (keys, label) = label(model, command);
        let label = match &possible {
            Ok(()) => format!(" {label} "),
            Err(why) => format!(" {label} ({why}) "),
        };
        let wide = text::width(&keys) + 2 + text::width(&label);
        if used + wide > room {
            continue;
        }
        used += wide;
        let (key, word) = match possible {
            Ok(()) => (theme.selected(), Style::new()),
            Err(_) => (theme.dim(), theme.dim()),
        };
        pieces.push((format!(" {keys} "), key));
        pieces.push((label, word));
    }
    f.render_widget(line(pieces), area);
    let wide = text::width(halt) as u16;
    let at = Rect { x: area.right().saturating_sub(wide), width: wide.min(area.width), ..area };
    f.render_widget(line([(halt.to_owned(), theme.alarm())]), at);
}

/// The keys of a command and the word for it, as they fit the place.
fn label(model: &Model, command: Command) -> (String, &'static str) {
    let def = command.def();
    let keys = match command {
        Command::ZoomOut => "+/-".to_owned(),
        Command::Arm if model.ui.focus == Focus::Form => "⏎".to_owned(),
        _ => def.keys.first().map_or_else(String::new, |k| k.text()),
    };
    let word = match command {
        Command::Freeze if model.ui.frozen.is_some() => "go on",
        Command::NextPanel => "field",
        _ => def.short,
    };
    (keys, word)
}

/// Draws the message, over the lines above the key bar.
pub fn toast(f: &mut Frame, above: Rect, model: &Model, theme: Theme) {
    let Some(toast) = &model.ui.toast else { return };
    let (sign, style) = match toast.level {
        Level::Good => ("✔ ", theme.good()),
        Level::Bad => ("▲ ", theme.warn()),
    };
    let lines = text::wrap(&format!("{sign}{}", toast.text), usize::from(above.width).saturating_sub(2));
    let height = (lines.len() as u16).min(4).min(above.height);
    let area = Rect { y: above.bottom() - height, height, ..above };
    f.render_widget(Clear, area);
    let lines: Vec<_> = lines.into_iter().map(|l| line([(format!(" {l}"), style)])).collect();
    f.render_widget(Paragraph::new(lines), area);
}
