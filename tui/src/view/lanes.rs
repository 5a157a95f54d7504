//! One row for each fault window, on the same time axis as the plots above it, then the axis itself: what the shades say,
//! so that it can be read without colour.

use super::axis::Axis;
use super::plot::GUTTER;
use super::text;
use super::theme::Theme;
use crate::state::Window;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::Widget;

/// Lanes and axis.
#[derive(Debug)]
pub struct Lanes<'a> {
    /// The windows in sight, oldest first.
    pub windows: Vec<&'a Window>,
    /// The time axis.
    pub axis: Axis,
    /// Colours.
    pub theme: Theme,
    /// Each fault is named with its target: there are several.
    pub named: bool,
    /// The word at the right end: `now`, or how long ago.
    pub end: String,
}

/// The windows that a time axis can show, the newest `rows` of them; those still open before others.
pub fn in_sight<'a>(
    windows: impl IntoIterator<Item = &'a Window>,
    axis: Axis,
    rows: usize,
) -> Vec<&'a Window> {
    let mut seen: Vec<&Window> =
        windows.into_iter().filter(|w| axis.cover(w.from_ms, w.to_ms).is_some()).collect();
    while seen.len() > rows {
        let drop = seen.iter().position(|w| w.to_ms.is_some()).unwrap_or(0);
        seen.remove(drop);
    }
    seen
}

impl Widget for Lanes<'_> {
    fn render(self, area: Rect, buf: &mut Buffer) {
        if area.height == 0 || area.width <= GUTTER {
            return;
        }
        let x0 = area.x + GUTTER;
        for (row, w) in self.windows.iter().take(usize::from(area.height) - 1).enumerate() {
            let y = area.y + row as u16;
            let live = w.to_ms.is_none();
            let style = if live { self.theme.bad() } else { self.theme.dim() };
            buf.set_string(area.x + 2, y, text::cut(&w.tag, 3), style);
            let Some((from, to)) = self.axis.cover(w.from_ms, w.to_ms) else { continue };
            let end = if live { "▶" } else { "┫" };
            let length = usize::from(to - from);
            let bar = match length {
                1 => end.to_owned(),
                n => format!("┣{}{end}", "━".repeat(n - 2)),
            };
            buf.set_string(x0 + from, y, bar, style);
            // The name stands where there is room: before, in, or after its bar.
            let before = usize::from(from).saturating_sub(1);
            let after = usize::from(self.axis.width - to).saturating_sub(1);
            let name = if self.named { format!("{} {}", w.target.name, w.label) } else { w.label.clone() };
            let wide = text::width(&name);
            if wide <= before {
                buf.set_string(x0 + from - 1 - wide as u16, y, name, self.theme.dim());
            } else if length >= wide + 6 {
                buf.set_string(x0 + from + 2, y, format!(" {name} "), style);
            } else if after >= 4 && after >= before {
                buf.set_string(x0 + to + 1, y, text::cut(&name, after), self.theme.dim());
            } else if length >= 10 {
                buf.set_string(x0 + from + 2, y, format!(" {} ", text::cut(&name, length - 6)), style);
            } else if before >= 4 {
                let name = text::cut(&name, before);
                buf.set_string(x0 + from - 1 - text::width(&name) as u16, y, name, self.theme.dim());
            }
        }
        let y = area.bottom() - 1;
        let end = text::width(&self.end) as u16;
        for (x, label) in self.axis.labels() {
            let wide = text::width(&label) as u16;
            let start = x.saturating_sub(wide / 2);
            if start + wide + end + 1 < self.axis.width {
                buf.set_string(x0 + start, y, label, self.theme.dim());
            }
        }
        buf.set_string(x0 + self.axis.width.saturating_sub(end), y, &self.end, self.theme.dim());
    }
}
