//! Files: what is done to them by kind, and the live tail of single operations.

use super::browse::{self, Table};
use super::panel;
use super::text::{cut, line, pad, right};
use super::theme::Theme;
use crate::state::{Focus, Model};
use model::FileOperation;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect, Spacing};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// Draws the screen.
pub fn draw(f: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let kinds = model.operation_kinds().len() as u16;
    if kinds == 0 {
        return tail(f, area, model, theme);
    }
    // Frame, head and a line a kind, as many as leave room for the tail.
    let height = (3 + kinds).min(area.height / 2).max(4);
    let [above, below] = Layout::vertical([Constraint::Length(height), Constraint::Min(4)])
        .spacing(Spacing::Overlap(1))
        .areas(area);
    by_kind(f, above, model, theme);
    tail(f, below, model, theme);
}

/// How often each kind is done, how long it takes, how often it failed.
fn by_kind(f: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let block = panel("By operation", false, theme);
    let inner = block.inner(area);
    f.render_widget(block, area);
    let columns = usize::from(inner.width);
    let target = columns.saturating_sub(12 + 9 + 10 + 10 + 9 + 10 + 6);
    let row = |cells: [&str; 7]| {
        let [op, rate, p50, p99, errors, total, on] = cells;
        format!(
            " {} {} {} {} {} {}  {}",
            pad(op, 11),
            right(rate, 8),
            right(p50, 9),
            right(p99, 9),
            right(errors, 8),
            right(total, 9),
            cut(on, target)
        )
    };
    let mut lines = vec![line([(row(["OP", "/S", "P50", "P99", "ERRORS", "TOTAL", "ON"]), theme.dim())])];
    for (agent, kind) in model.operation_kinds().into_iter().take(usize::from(inner.height).saturating_sub(1))
    {
        let rate = model
            .ui
            .files
            .rates
            .get(&agent)
            .and_then(|r| r.of(kind))
            .map_or_else(|| "…".to_owned(), |r| format!("{r:.0}"));
        let text = row([
            &kind.op,
            &rate,
            &kind.p50_us.map_or_else(|| "-".to_owned(), micros),
            &kind.p99_us.map_or_else(|| "-".to_owned(), micros),
            &kind.errors.to_string(),
            &kind.count.to_string(),
            &kind.target.to_string(),
        ]);
        let style = if kind.errors > 0 { theme.warn() } else { Style::new() };
        lines.push(line([(text, style)]));
    }
    f.render_widget(Paragraph::new(lines), inner);
}

fn tail(f: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let (focused, selected) = (model.ui.focus == Focus::Files, model.ui.files.row);
    let rows = model.operation_rows();
    let table = Table { title: title(model, area.width, theme), focused, rows: rows.len(), selected };
    table.draw(f, area, (model, theme), || empty(model), rows, |columns| Plan::new(model, columns));
}

fn title(model: &Model, columns: u16, theme: Theme) -> Line<'static> {
    let browse = &model.ui.files;
    let total = model.operation_count();
    let pieces = browse::counted("Operations", total, browse.rows.len(), theme);
    browse::filtered(pieces, model, &browse.filter, columns.saturating_sub(46), theme)
}

/// What to do about an empty table.
fn empty(model: &Model) -> Vec<String> {
    if let Some(why) = browse::waiting(model, "operation", &model.ui.files.filter, |a| a.operations.as_ref())
    {
        return why;
    }
    let served = model.agents.iter().flat_map(|a| &a.targets);
    let served: Vec<String> = served
        .filter(|t| t.target.kind == model::TargetKind::Fs)
        .map(|t| format!("{} ({})", t.target, t.about))
        .collect();
    if served.is_empty() {
        return vec![
            "no directory is served, and operations are those on files in such".into(),
            "serve one: murphy arm fs:/DIR latency delay=1ms --for 60s, or murphy mount /DIR".into(),
        ];
    }
    vec![
        "nothing was done since this screen was opened".into(),
        format!("operations show up here when programs use {}", served.join(", ")),
    ]
}

/// The widths of the columns, as they fit; none for what there is no room for.
struct Plan {
    agent: usize,
    time: usize,
    pid: usize,
    program: usize,
    op: usize,
    path: usize,
    bytes: usize,
    took: usize,
    result: usize,
    faults: usize,
}

impl Plan {
    fn new(model: &Model, columns: usize) -> Plan {
        let wide = columns >= 108;
        let agent = if model.agents.len() > 1 { if wide { 10 } else { 6 } } else { 0 };
        let [time, pid, program, op, bytes, took, result, faults] = match columns {
            108.. => [12, 7, 15, 11, 8, 7, 9, 14],
            70.. => [0, 6, 8, 9, 6, 6, 7, 4],
            _ => [0, 0, 8, 9, 0, 6, 7, 3],
        };
        let set = |n: usize| if n > 0 { n + 1 } else { 0 };
        let used: usize = [agent, time, pid, program, op, bytes, took, result].map(set).iter().sum();
        let path = columns.saturating_sub(2 + used + faults + 1);
        Plan { agent, time, pid, program, op, path, bytes, took, result, faults }
    }

    fn line(&self, cells: [&str; 9]) -> String {
        let wide = [
            self.agent,
            self.time,
            self.pid,
            self.program,
            self.op,
            self.path,
            self.bytes,
            self.took,
            self.result,
        ];
        // Numbers stand at the right.
        let numbers = [2, 6, 7];
        let mut out = String::new();
        for (i, (text, columns)) in cells.into_iter().zip(wide).enumerate() {
            if columns > 0 {
                out.push_str(&if numbers.contains(&i) { right(text, columns) } else { pad(text, columns) });
                out.push(' ');
            }
        }
        out
    }
}

impl browse::Plan<FileOperation> for Plan {
    fn head(&self) -> String {
        let cells = self.line(["AGENT", "UTC", "PID", "PROGRAM", "OP", "PATH", "BYTES", "TOOK", "RESULT"]);
        format!("  {cells}{}", cut("FAULTS", self.faults))
    }

    fn row(
        &self,
        model: &Model,
        agent: usize,
        o: &FileOperation,
        style: Style,
        theme: Theme,
    ) -> Line<'static> {
        let time = super::requests::utc(o.at_ms);
        // The end of a path tells more than its beginning.
        let path = tail_of(&o.path, self.path);
        let cells = self.line([
            &model.agents[agent].name,
            time.get(..self.time).unwrap_or(&time),
            &o.pid.to_string(),
            &o.command,
            &o.op,
            &path,
            &if o.bytes > 0 { super::connections::bytes(o.bytes) } else { "-".to_owned() },
            &micros(o.micros as f64),
            o.error.as_deref().unwrap_or("ok"),
        ]);
        let (sign, sign_style) = match (&o.error, o.faults.is_empty()) {
            (_, false) => ("● ", theme.bad()),
            (Some(_), true) => ("▲ ", theme.warn()),
            (None, true) => ("  ", style),
        };
        let tag = |id: &String| browse::tag(model, agent, id).unwrap_or_else(|| id.clone());
        let faults = o.faults.iter().map(tag).collect::<Vec<_>>().join(" ");
        Line::from(vec![
            Span::styled(sign, style.patch(sign_style)),
            Span::styled(cells, style),
            Span::styled(pad(&faults, self.faults), style),
        ])
    }
}

/// The end of a text, with a sign where it was cut.
fn tail_of(text: &str, columns: usize) -> String {
    let count = text.chars().count();
    if count <= columns {
        return text.to_owned();
    }
    let kept: String = text.chars().skip(count + 1 - columns.max(1)).collect();
    format!("…{kept}")
}

/// `12us`, `3.1ms`, `1.2s`.
fn micros(us: f64) -> String {
    match us {
        us if us < 999.5 => format!("{us:.0}us"),
        us if us < 99_950.0 => format!("{:.1}ms", us / 1e3),
        us if us < 999_500.0 => format!("{:.0}ms", us / 1e3),
        us => format!("{:.1}s", us / 1e6),
    }
}
