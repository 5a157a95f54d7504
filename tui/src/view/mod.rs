//! Drawing: from what is known to cells, and nothing else.

mod axis;
mod browse;
mod connections;
mod faults;
mod files;
mod header;
mod keybar;
mod lanes;
mod overview;
mod panels;
mod plot;
mod popup;
mod requests;
mod run;
pub mod text;
pub mod theme;

use crate::screen::Screen;
use crate::state::{Link, Model};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::symbols::merge::MergeStrategy;
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph};
use theme::Theme;

/// Below this nothing useful fits.
const LEAST: (u16, u16) = (60, 15);

/// Draws everything.
pub fn draw(f: &mut Frame, model: &Model) {
    let theme = Theme::new(model.ui.look);
    let area = f.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        return too_small(f, area, model, theme);
    }
    let [head, tabs, body, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(area);
    header::head(f, head, model, theme);
    header::tabs(f, tabs, model, theme);
    let heard_of = model.agents.iter().any(|a| a.offset_ms.is_some()) || !model.log.is_empty();
    match model.ui.screen {
        _ if !heard_of => attaching(f, body, model, theme),
        Screen::Overview => overview::draw(f, body, model, theme),
        Screen::Faults => faults::draw(f, body, model, theme),
        Screen::Connections => connections::draw(f, body, model, theme),
        Screen::Requests => requests::draw(f, body, model, theme),
        Screen::Files => files::draw(f, body, model, theme),
        Screen::Run => run::draw(f, body, model, theme),
    }
    keybar::bar(f, keys, model, theme);
    popup::draw(f, Rect { height: area.height - 1, ..area }, model, theme);
    keybar::toast(f, body, model, theme);
}

/// A panel with its frame; neighbours share theirs.
pub(crate) fn panel(title: &str, focused: bool, theme: Theme) -> Block<'static> {
    titled(Line::from(format!(" {title} ")).style(theme.title(focused)), focused, theme)
}

/// A panel with a title of pieces.
pub(crate) fn titled(title: Line<'static>, focused: bool, theme: Theme) -> Block<'static> {
    Block::bordered().title(title).merge_borders(MergeStrategy::Exact).border_style(theme.frame(focused))
}

/// Gives a title its own style back, after a neighbour that has the keys was framed over it.
pub(crate) fn title_again(f: &mut Frame, area: Rect, title: &str, theme: Theme) {
    let width = (text::width(title) as u16 + 2).min(area.width.saturating_sub(2));
    let at = Rect { x: area.x + 1, y: area.y, width, height: 1 }.intersection(f.area());
    f.buffer_mut().set_style(at, theme.title(false));
}

fn too_small(f: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let lines = vec![
        Line::from(format!("{}×{} is too small", area.width, area.height)).style(theme.strong()),
        Line::from(format!("needs {}×{}", LEAST.0, LEAST.1)),
        Line::from(format!("{} armed", model.armed_count())),
        Line::from("^X halts").style(theme.bad()),
    ];
    f.render_widget(Paragraph::new(lines), area);
}

/// Before any agent was heard of: where it looks, and what to do.
fn attaching(f: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let block = panel("Attaching", true, theme);
    let inner = block.inner(area);
    f.render_widget(block, area);
    let columns = usize::from(inner.width).saturating_sub(4);
    let mut lines = vec![Line::default()];
    if model.agents.is_empty() {
        lines.push(Line::from("  No agent to attach to: murphy tui --attach unix:/path/to/murphy.sock"));
    }
    for agent in &model.agents {
        let (sign, style, what) = match &agent.link {
            Link::Connecting => ("◌", theme.dim(), "connecting…".to_owned()),
            Link::Up => ("●", theme.good(), "answers; reading its state…".to_owned()),
            Link::Lost { whole, .. } => ("✘", theme.bad(), whole.clone()),
        };
        lines.push(text::line([(format!("  {sign} {}", agent.address), style)]));
        for l in text::wrap(&what, columns.saturating_sub(2)) {
            lines.push(Line::from(format!("    {l}")));
        }
        lines.push(Line::default());
    }
    lines.push(Line::from("  It tries again by itself.").style(theme.dim()));
    f.render_widget(Paragraph::new(lines), inner);
}
