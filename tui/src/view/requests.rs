//! Requests: the live table, and under it the selected one in detail.

use super::browse::{self, Table};
use super::panel;
use super::text::{cut, line, pad, right};
use super::theme::Theme;
use crate::state::{Focus, Model};
use model::{RequestFault, RequestState, RequestView};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// Draws the screen.
pub fn draw(f: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    // Frame, what was asked, where the time went, and a line a fault.
    let detail =
        model.selected_request().map(|(_, r)| (4 + r.faults.len().max(1) as u16).clamp(5, area.height / 2));
    let table = |f: &mut Frame, area| table(f, area, model, theme);
    browse::over(f, area, detail, theme, table, |f, area| detail_pane(f, area, model, theme));
}

fn table(f: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let (focused, selected) = (model.ui.focus == Focus::Requests, model.ui.requests.row);
    let rows = model.request_rows();
    let table = Table { title: title(model, area.width, theme), focused, rows: rows.len(), selected };
    table.draw(f, area, (model, theme), || empty(model), rows, |columns| Plan::new(model, columns));
}

/// How many there are, how many are held, and what is filtered.
fn title(model: &Model, columns: u16, theme: Theme) -> Line<'static> {
    let browse = &model.ui.requests;
    let style = theme.title(true);
    let (total, held) = model.request_counts();
    let mut pieces = browse::counted("Requests", total, browse.rows.len(), theme);
    let holds: Vec<String> = model
        .holds()
        .map(|(_, hold)| hold.when.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string))
        .collect();
    if !holds.is_empty() {
        pieces.push(Span::styled("· ", style));
        let which = cut(&holds.join(", "), usize::from(columns).saturating_sub(50).clamp(8, 40));
        pieces.push(Span::styled(format!("holding {which}: {held} "), theme.warn()));
    }
    browse::filtered(pieces, model, &browse.filter, columns.saturating_sub(56), theme)
}

/// What to do about an empty table.
fn empty(model: &Model) -> Vec<String> {
    if let Some(why) = browse::waiting(model, "request", &model.ui.requests.filter, |a| a.requests.as_ref()) {
        return why;
    }
    let proxies: Vec<String> = model
        .agents
        .iter()
        .flat_map(|a| &a.targets)
        .filter(|t| t.http)
        .map(|t| match &t.listen {
            Some(listen) => format!("{} ({listen})", t.target),
            None => t.target.to_string(),
        })
        .collect();
    if proxies.is_empty() {
        return vec![
            "no proxy that is open speaks HTTP".into(),
            "open one: murphy agent --proxy NAME=LISTEN,UPSTREAM,http".into(),
        ];
    }
    vec![
        "no request has come since this screen was opened".into(),
        format!("they show up here when clients ask {}", proxies.join(", ")),
    ]
}

/// The widths of the columns, as they fit.
struct Plan {
    agent: usize,
    time: usize,
    client: usize,
    target: usize,
    request: usize,
    faults: usize,
}

const STATUS: usize = 4;
const MS: usize = 7;

impl Plan {
    fn new(model: &Model, columns: usize) -> Plan {
        let wide = columns >= 108;
        let agent = if model.agents.len() > 1 { if wide { 10 } else { 6 } } else { 0 };
        let several = model.agents.iter().flat_map(|a| &a.targets).filter(|t| t.http).count() > 1;
        let (time, client, target) = match (wide, several || agent > 0) {
            (true, _) => (12, 21, 12),
            (false, true) => (8, 0, 8),
            (false, false) => (8, if columns >= 76 { 15 } else { 0 }, 0),
        };
        let set = |n: usize| if n > 0 { n + 1 } else { 0 };
        let used = 2 + set(agent) + set(time) + set(client) + set(target) + set(STATUS) + 2 * set(MS);
        let left = columns.saturating_sub(used);
        let faults = (left / 2).min(28);
        Plan { agent, time, client, target, request: left.saturating_sub(faults + 1), faults }
    }

    fn line(&self, cells: [&str; 8]) -> String {
        let [agent, time, client, target, request, status, ms, injected] = cells;
        let mut out = String::new();
        for (text, columns) in [
            (agent, self.agent),
            (time, self.time),
            (client, self.client),
            (target, self.target),
            (request, self.request),
        ] {
            if columns > 0 {
                out.push_str(&pad(text, columns));
                out.push(' ');
            }
        }
        for (text, columns) in [(status, STATUS), (ms, MS), (injected, MS)] {
            out.push_str(&right(text, columns));
            out.push(' ');
        }
        out
    }
}

impl browse::Plan<RequestView> for Plan {
    fn head(&self) -> String {
        let cells = self.line(["AGENT", "UTC", "CLIENT", "TARGET", "REQUEST", "ST", "MS", "+MS"]);
        format!("  {cells}{}", cut("FAULTS", self.faults))
    }

    fn row(&self, model: &Model, agent: usize, r: &RequestView, style: Style, theme: Theme) -> Line<'static> {
        let status = match (r.state, r.status) {
            (RequestState::Held, _) => "held".to_owned(),
            (RequestState::Broken, None) => "cut".to_owned(),
            (_, Some(status)) => status.to_string(),
            (_, None) => "…".to_owned(),
        };
        let time = utc(r.at_ms);
        let injected = if r.injected_ms >= 0.05 { millis(r.injected_ms) } else { "·".to_owned() };
        let cells = self.line([
            &model.agents[agent].name,
            cut_front(&time, self.time),
            r.client.as_deref().unwrap_or("unix socket"),
            // Its name alone: all of them are proxies.
            &r.target.name,
            &format!("{} {}", r.method, r.path),
            &status,
            &millis(r.total_ms),
            &injected,
        ]);
        let failed = r.status.is_some_and(|s| s >= 500) || r.state == RequestState::Broken;
        let (sign, sign_style) = match r.state {
            RequestState::Held => ("‖ ", theme.warn()),
            _ if r.faults.iter().any(|f| f.applied) => ("● ", theme.bad()),
            _ if failed => ("▲ ", theme.warn()),
            _ if r.faults.iter().any(|f| f.taken) => ("○ ", style),
            _ => ("  ", style),
        };
        let words: Vec<String> = r
            .faults
            .iter()
            .filter(|f| f.taken)
            .map(|f| browse::fault(model, agent, &f.id, &f.fault, f.applied))
            .collect();
        let faults = if words.is_empty() { "·".to_owned() } else { words.join(" ") };
        Line::from(vec![
            Span::styled(sign, style.patch(sign_style)),
            Span::styled(cells, style),
            Span::styled(pad(&faults, self.faults), style),
        ])
    }
}

/// The time of day in UTC, to the millisecond.
pub(super) fn utc(at_ms: u64) -> String {
    let (s, ms) = (at_ms / 1000 % 86_400, at_ms % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", s / 3600, s / 60 % 60, s % 60)
}

/// Of a time of day, the part that fits: the seconds stay.
fn cut_front(time: &str, columns: usize) -> &str {
    if columns < time.len() && time.is_ascii() { &time[..columns] } else { time }
}

/// `0.4`, `21.3`, `162`, `12.4s`.
fn millis(ms: f64) -> String {
    match ms {
        ms if ms < 99.95 => format!("{ms:.1}"),
        ms if ms < 99_999.5 => format!("{ms:.0}"),
        ms => format!("{:.0}s", ms / 1000.0),
    }
}

/// The selected one. Gives its title.
fn detail_pane(f: &mut Frame, area: Rect, model: &Model, theme: Theme) -> String {
    let Some((agent, r)) = model.selected_request() else { return String::new() };
    let at = if model.agents.len() > 1 { format!(" at {}", model.agents[agent].name) } else { String::new() };
    let title = format!("Request #{}{at}", r.id);
    let block = panel(&title, false, theme);
    let inner = block.inner(area);
    f.render_widget(block, area);
    let columns = usize::from(inner.width).saturating_sub(2);
    let host = r.host.as_deref().map_or_else(String::new, |h| format!(" host {h}"));
    let status = match (r.status, &r.error) {
        (_, Some(why)) => format!("502: {why}"),
        (Some(status), None) => status.to_string(),
        (None, None) => r.state.to_string(),
    };
    let head = format!(
        "{} {} HTTP/{}{host} · up {} B, down {} B · {status}",
        r.method, r.path, r.http, r.bytes_up, r.bytes_down
    );
    let mut lines =
        vec![line([(format!(" {}", cut(&head, columns)), theme.strong())]), way(r, columns, theme)];
    for fault in &r.faults {
        lines.push(decided(model, agent, fault, columns, theme));
    }
    if r.faults.is_empty() {
        lines.push(line([(" no fault matches it".to_owned(), theme.dim())]));
    }
    f.render_widget(Paragraph::new(lines), inner);
    title
}

/// Where the time went: with the client, here, with the service.
fn way(r: &RequestView, columns: usize, theme: Theme) -> Line<'static> {
    let client = r.client.as_deref().unwrap_or("a unix socket");
    let injected = if r.state == RequestState::Held {
        ("─‖ held by hand: r lets it go on ‖─".to_owned(), theme.warn())
    } else if r.injected_ms >= 0.05 {
        (format!("─ murphy held it {} ms ─", millis(r.injected_ms)), theme.bad())
    } else {
        ("─ murphy ─".to_owned(), theme.dim())
    };
    let service = match r.upstream_ms {
        Some(ms) => format!(" the service {} ms", millis(ms)),
        None if r.status.is_some() && r.error.is_none() => " answered here, not by the service".to_owned(),
        None => " the service has not answered".to_owned(),
    };
    let room = columns.saturating_sub(client.chars().count() + injected.0.chars().count() + 8);
    line([
        (format!(" {client} "), theme.strong()),
        ("├".to_owned(), theme.dim()),
        injected,
        ("▶".to_owned(), theme.dim()),
        (cut(&format!("{service} · {} ms in all", millis(r.total_ms)), room), Style::new()),
    ])
}

/// What was drawn for a fault, and what came of it.
fn decided(model: &Model, agent: usize, fault: &RequestFault, columns: usize, theme: Theme) -> Line<'static> {
    let armed = model.agents[agent].faults.iter().find(|a| a.id == fault.id);
    let what = armed.map_or_else(|| fault.fault.clone(), |a| a.fault.describe());
    let tag = browse::tag(model, agent, &fault.id).unwrap_or_else(|| fault.id.clone());
    let draw = fault.draw.map_or_else(String::new, |d| format!(", draw {d:.4}"));
    let (sign, did, style) = match (fault.taken, fault.applied) {
        (_, true) => ('●', "has acted on it", theme.bad()),
        (true, false) => ('○', "has it, and has not acted", Style::new()),
        (false, _) => ('·', "spared it", theme.dim()),
    };
    line([
        (format!(" {sign} {tag} "), style),
        (
            cut(
                &format!("{what} {did} (ordinal {}{draw})", fault.ordinal),
                columns.saturating_sub(4 + tag.chars().count()),
            ),
            Style::new(),
        ),
    ])
}
