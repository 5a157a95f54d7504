//! Connections: the live table, and under it the selected one in detail.

use super::browse::{self, Table};
use super::panel;
use super::text::{clock, cut, line, pad, right, width};
use super::theme::Theme;
use crate::state::{Focus, Model};
use crate::tell::number;
use model::{ConnectionState, ConnectionView};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// Draws the screen.
pub fn draw(f: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    // Frame, path and bytes, and a line a fault.
    let detail = model
        .selected_connection()
        .map(|(_, c)| (5 + c.faults.len().max(1) as u16).clamp(6, area.height / 2));
    let table = |f: &mut Frame, area| table(f, area, model, theme);
    browse::over(f, area, detail, theme, table, |f, area| detail_pane(f, area, model, theme));
}

fn table(f: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let (focused, selected) = (model.ui.focus == Focus::Connections, model.ui.connections.row);
    let rows = model.connection_rows();
    let table = Table { title: title(model, area.width, theme), focused, rows: rows.len(), selected };
    table.draw(f, area, (model, theme), || empty(model), rows, |columns| Plan::new(model, columns));
}

/// How many there are, how many are held, what is filtered and in which order.
fn title(model: &Model, columns: u16, theme: Theme) -> Line<'static> {
    let browse = &model.ui.connections;
    let style = theme.title(true);
    let (total, held) = model.connection_counts();
    let mut pieces = browse::counted("Connections", total, browse.rows.len(), theme);
    if held > 0 {
        pieces.push(Span::styled("· ", style));
        pieces.push(Span::styled(format!("held {held} "), theme.warn()));
    }
    let order = match browse.sort {
        control::Sort::Age => "oldest first",
        control::Sort::Newest => "newest first",
        control::Sort::Bytes => "most bytes first",
    };
    pieces.push(Span::styled(format!("· {order} "), style));
    browse::filtered(pieces, model, &browse.filter, columns.saturating_sub(56), theme)
}

/// What to do about an empty table.
fn empty(model: &Model) -> Vec<String> {
    if let Some(why) =
        browse::waiting(model, "connection", &model.ui.connections.filter, |a| a.connections.as_ref())
    {
        return why;
    }
    let proxies: Vec<String> = model
        .agents
        .iter()
        .flat_map(|a| &a.targets)
        .filter(|t| t.target.kind == model::TargetKind::Proxy)
        .map(|t| match &t.listen {
            Some(listen) => format!("{} ({listen})", t.target),
            None => t.target.to_string(),
        })
        .collect();
    if proxies.is_empty() {
        return vec![
            "no proxy is open, and connections are those through proxies".into(),
            "open one: murphy agent --proxy NAME=LISTEN,UPSTREAM, or murphy tui --proxy NAME=LISTEN,UPSTREAM"
                .into(),
        ];
    }
    vec![
        "no connection is open".into(),
        format!("they show up here when clients connect to {}", proxies.join(", ")),
    ]
}

/// The widths of the columns, as they fit.
struct Plan {
    agent: usize,
    client: usize,
    target: usize,
    upstream: usize,
    state: usize,
    faults: usize,
}

const AGE: usize = 7;
const BYTES: usize = 6;

impl Plan {
    fn new(model: &Model, columns: usize) -> Plan {
        let wide = columns >= 108;
        let agent = if model.agents.len() > 1 {
            model.agents.iter().map(|a| width(&a.name)).max().unwrap_or(5).clamp(5, if wide { 12 } else { 6 })
        } else {
            0
        };
        let several = model.agents.iter().flat_map(|a| &a.targets).filter(|t| t.listen.is_some()).count() > 1;
        let (client, target, upstream) = match (wide, several || agent > 0) {
            (true, _) => (21, 14, 21),
            (false, true) => (17, 10, 0),
            (false, false) => (21, 0, 0),
        };
        let state = 11;
        let set = |n: usize| if n > 0 { n + 1 } else { 0 };
        let used = 2
            + set(agent)
            + set(client)
            + set(target)
            + set(upstream)
            + set(AGE)
            + 2 * set(BYTES)
            + set(state);
        Plan { agent, client, target, upstream, state, faults: columns.saturating_sub(used) }
    }

    fn line(&self, cells: [&str; 8]) -> String {
        let [agent, client, target, upstream, age, up, down, state] = cells;
        let mut out = String::new();
        for (text, columns) in
            [(agent, self.agent), (client, self.client), (target, self.target), (upstream, self.upstream)]
        {
            if columns > 0 {
                out.push_str(&pad(text, columns));
                out.push(' ');
            }
        }
        for (text, columns) in [(age, AGE), (up, BYTES), (down, BYTES)] {
            out.push_str(&right(text, columns));
            out.push(' ');
        }
        out.push_str(&pad(state, self.state));
        out.push(' ');
        out
    }
}

impl browse::Plan<ConnectionView> for Plan {
    fn head(&self) -> String {
        let cells = self.line(["AGENT", "CLIENT", "TARGET", "UPSTREAM", "AGE", "UP", "DOWN", "STATE"]);
        format!("  {cells}{}", cut("FAULTS", self.faults))
    }

    fn row(
        &self,
        model: &Model,
        agent: usize,
        c: &ConnectionView,
        style: Style,
        theme: Theme,
    ) -> Line<'static> {
        let cells = self.line([
            &model.agents[agent].name,
            c.client.as_deref().unwrap_or("unix socket"),
            // Its name alone: all of them are proxies.
            &c.target.name,
            c.upstream.as_deref().unwrap_or("-"),
            &clock(c.age_ms as f64),
            &bytes(c.bytes_up),
            &bytes(c.bytes_down),
            c.state.word(),
        ]);
        let (sign, sign_style) = match c.state {
            ConnectionState::Held => ("‖ ", theme.warn()),
            _ if c.faults.iter().any(|f| f.applied) => ("● ", theme.bad()),
            _ if !c.faults.is_empty() => ("○ ", style),
            _ => ("  ", style),
        };
        let words: Vec<String> =
            c.faults.iter().map(|f| browse::fault(model, agent, &f.id, &f.fault, f.applied)).collect();
        let faults = if words.is_empty() { "·".to_owned() } else { words.join(" ") };
        Line::from(vec![
            Span::styled(sign, style.patch(sign_style)),
            Span::styled(cells, style),
            Span::styled(pad(&faults, self.faults), style),
        ])
    }
}

/// `214`, `1.2K`, `35M`: bytes in powers of 1024, in five columns.
pub(super) fn bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["", "K", "M", "G"] {
        if value < 1023.5 {
            return if unit.is_empty() || value >= 99.95 {
                format!("{value:.0}{unit}")
            } else {
                format!("{value:.1}{unit}")
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1}T")
}

/// The selected one. Gives its title.
fn detail_pane(f: &mut Frame, area: Rect, model: &Model, theme: Theme) -> String {
    let Some((agent, c)) = model.selected_connection() else { return String::new() };
    let at = if model.agents.len() > 1 { format!(" at {}", model.agents[agent].name) } else { String::new() };
    let title = format!("Connection #{}{at}", c.id);
    let block = panel(&title, false, theme);
    let inner = block.inner(area);
    f.render_widget(block, area);
    let columns = usize::from(inner.width).saturating_sub(2);
    let client = c.client.as_deref().unwrap_or("a unix socket");
    let upstream = c.upstream.as_deref().unwrap_or("not known yet");
    let (arrow, style) = match c.state {
        ConnectionState::Held => ("─‖─", theme.warn()),
        _ => ("──▶", theme.dim()),
    };
    let mut lines = vec![
        line([
            (format!(" {client} "), theme.strong()),
            (format!("{arrow} "), style),
            (c.target.to_string(), theme.strong()),
            (format!(" {arrow} "), style),
            (upstream.to_owned(), theme.strong()),
        ]),
        Line::from(format!(
            " {} · {} old · up {} B · down {} B",
            c.state,
            clock(c.age_ms as f64),
            grouped(c.bytes_up),
            grouped(c.bytes_down)
        )),
    ];
    if c.state == ConnectionState::Held {
        let text = " held by hand: nothing passes until r lets it go on, or its lease is over";
        lines.push(line([(cut(text, columns), theme.warn())]));
    }
    for fault in &c.faults {
        let armed = model.agents[agent].faults.iter().find(|a| a.id == fault.id);
        let what = armed.map_or_else(|| fault.fault.clone(), |a| a.fault.describe());
        let tag = browse::tag(model, agent, &fault.id).unwrap_or_else(|| fault.id.clone());
        let (sign, did, style) = if fault.applied {
            ('●', "has acted on it", theme.bad())
        } else {
            ('○', "has it, and has not acted yet", Style::new())
        };
        lines.push(line([
            (format!(" {sign} {tag} "), style),
            (cut(&format!("{what} {did}"), columns), Style::new()),
        ]));
    }
    if c.faults.is_empty() {
        lines.push(line([(" no fault has it".to_owned(), theme.dim())]));
    }
    f.render_widget(Paragraph::new(lines), inner);
    title
}

/// `1 234 567`.
fn grouped(n: u64) -> String {
    if n >= 10_000_000_000 {
        return number(n as f64);
    }
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_few_columns() {
        let all: Vec<String> =
            [0, 214, 1023, 1024, 1290, 102_400, 1_048_575, 36_700_160, u64::MAX].map(bytes).into();
        assert_eq!(all, ["0", "214", "1023", "1.0K", "1.3K", "100K", "1.0M", "35.0M", "16777216.0T"]);
        assert_eq!(
            (grouped(0), grouped(1234), grouped(1_234_567)),
            ("0".into(), "1 234".into(), "1 234 567".into())
        );
    }
}
