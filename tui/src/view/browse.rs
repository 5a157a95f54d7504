//! What the screens that browse have in common: a live table, and under it the selected row in detail.

use super::text::{line, wrap};
use super::theme::Theme;
use super::{faults, title_again, titled};
use crate::state::{Agent, Model};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect, Spacing};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use tui_input::Input;

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

/// How many rows there are, and how many of them a filter leaves: how a table's title begins.
pub(super) fn counted(what: &str, total: usize, shown: usize, theme: Theme) -> Vec<Span<'static>> {
    let style = theme.title(true);
    let mut pieces = vec![Span::styled(format!(" {what} {total} "), style)];
    if shown < total {
        pieces.push(Span::styled(format!("· shown {shown} "), style));
    }
    pieces
}

/// The filter, in so many columns: how it ends.
pub(super) fn filtered(
    mut pieces: Vec<Span<'static>>,
    model: &Model,
    filter: &Input,
    columns: u16,
    theme: Theme,
) -> Line<'static> {
    if model.ui.filtering || !filter.value().is_empty() {
        pieces.push(Span::styled("· /", theme.title(true)));
        let room = usize::from(columns).clamp(8, 40);
        pieces.extend(faults::input(filter, model.ui.filtering, room, theme));
        pieces.push(Span::raw(" "));
    }
    Line::from(pieces)
}

/// Why a table of something that agents list is empty, where that says more than what is open: an agent cannot tell, has
/// not answered yet, or the filter leaves nothing.
pub(super) fn waiting<T>(
    model: &Model,
    what: &str,
    filter: &Input,
    list: impl Fn(&Agent) -> Option<&Result<T, String>>,
) -> Option<Vec<String>> {
    let failed = |a: &Agent| list(a)?.as_ref().err().map(|why| format!("{}: {why}", a.name));
    let whys: Vec<String> = model.agents.iter().filter_map(failed).collect();
    if !whys.is_empty() {
        return Some(whys);
    }
    if model.agents.iter().any(|a| a.up() && list(a).is_none()) {
        return Some(vec![format!("asking for the {what}s…")]);
    }
    (!filter.value().is_empty()).then(|| vec![format!("no {what} fits the filter; esc shows all")])
}

/// The letter under which a fault is plotted.
pub(super) fn tag(model: &Model, agent: usize, id: &str) -> Option<String> {
    model.windows.iter().rfind(|w| w.agent == agent && w.id == id).map(|w| w.tag.clone())
}

/// `●B latency`: the sign says whether it has acted.
pub(super) fn fault(model: &Model, agent: usize, id: &str, fault: &str, applied: bool) -> String {
    let sign = if applied { '●' } else { '○' };
    let tag = tag(model, agent, id).map_or_else(String::new, |t| format!("{t} "));
    format!("{sign}{tag}{fault}")
}

/// The columns of a table, as they fit.
pub(super) trait Plan<T> {
    /// The head line.
    fn head(&self) -> String;

    /// The line of one row, which is of an agent.
    fn row(&self, model: &Model, agent: usize, item: &T, style: Style, theme: Theme) -> Line<'static>;
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
    pub(super) fn draw<'a, T: 'a, P: Plan<T>>(
        self,
        f: &mut Frame,
        area: Rect,
        (model, theme): (&Model, Theme),
        empty: impl FnOnce() -> Vec<String>,
        rows: impl Iterator<Item = Option<(usize, &'a T)>>,
        plan: impl FnOnce(usize) -> P,
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
        let plan = plan(columns);
        let mut lines = vec![line([(plan.head(), theme.dim())])];
        for (i, row) in rows.enumerate().skip(from).take(room) {
            let Some((agent, item)) = row else { continue };
            let style = match (i == self.selected, self.focused) {
                (true, true) => theme.selected(),
                (true, false) => theme.marked(),
                _ => Style::new(),
            };
            let style = if model.agents[agent].up() { style } else { style.patch(theme.dim()) };
            lines.push(plan.row(model, agent, item, style, theme));
        }
        f.render_widget(Paragraph::new(lines), inner);
    }
}
