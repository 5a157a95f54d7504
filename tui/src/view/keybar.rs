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
    let mut entries: Vec<(u8, [(String, Style); 2])> = Vec::new();
    for (command, worth, possible) in command::bar(model) {
        let (keys, word) = label(model, command);
        entries.push((
            worth,
            match possible {
                Ok(()) => [(format!(" {keys} "), theme.selected()), (format!(" {word} "), Style::new())],
                Err(why) => [(format!(" {keys} "), theme.dim()), (format!("{word} ({why}) "), theme.dim())],
            },
        ));
    }
    let wide = |e: &(u8, [(String, Style); 2])| e.1.iter().map(|(t, _)| text::width(t)).sum::<usize>();
    while entries.iter().map(wide).sum::<usize>() > room {
        let least = entries.iter().map(|e| e.0).max().unwrap_or_default();
        entries.retain(|e| e.0 != least);
    }
    let pieces = entries.into_iter().flat_map(|e| e.1);
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
