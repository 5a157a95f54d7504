//! What the screens that browse have in common: a live table, and under it the selected row in detail.

use super::text::{line, wrap};
use super::theme::Theme;
use super::{title_again, titled};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect, Spacing};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

/// Draws a table over the whole area, or with a detail of so many rows under it; that gives its title.
pub(super) fn over(
    f: &mut Frame,
    area: Rect,
    detail: Option<u16>,
    theme: Theme,
    table: impl FnOnce(&mut Frame, Rect),
    draw_detail: impl FnOnce(&mut Frame, Rect) -> String,
) {
    let Some(detail) = detail else { return table(f, area) };
    let [above, below] = Layout::vertical([Constraint::Min(4), Constraint::Length(detail)])
        .spacing(Spacing::Overlap(1))
        .areas(area);
    let title = draw_detail(f, below);
    table(f, above);
    title_again(f, below, &title, theme);
}

/// A table as it stands.
pub(super) struct Table {
    /// Its title.
    pub(super) title: Line<'static>,
    /// Whether it has the keys.
    pub(super) focused: bool,
    /// How many rows there are.
    pub(super) rows: usize,
    /// Which of them is selected; it is kept in sight.
    pub(super) selected: usize,
}

impl Table {
    /// Draws it: the head line and those rows for which there is room, or what to do about there being none.
    pub(super) fn draw(
        self,
        f: &mut Frame,
        area: Rect,
        theme: Theme,
        empty: impl FnOnce() -> Vec<String>,
        content: impl FnOnce(usize, &mut Vec<Line<'static>>, std::ops::Range<usize>),
    ) {
        let block = titled(self.title, self.focused, theme);
        let inner = block.inner(area);
        f.render_widget(block, area);
        let columns = usize::from(inner.width);
        if self.rows == 0 {
            let lines: Vec<Line<'_>> = empty()
                .iter()
                .flat_map(|text| wrap(text, columns.saturating_sub(2)))
                .map(|l| line([(format!(" {l}"), theme.dim())]))
                .collect();
            return f.render_widget(Paragraph::new(lines), inner);
        }
        let room = usize::from(inner.height).saturating_sub(1);
        let from = (self.selected + 1).saturating_sub(room);
        let mut lines = Vec::with_capacity(room + 1);
        content(columns, &mut lines, from..(from + room).min(self.rows));
        f.render_widget(Paragraph::new(lines), inner);
    }
}
