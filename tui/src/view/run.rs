//! The run: its stages on a time line, what is judged, and its faults.

use super::panel;
use super::text::{clock, cut, line, pad, width, wrap};
use super::theme::Theme;
use crate::command::short;
use crate::state::{Check, Model, Run, Step, Window};
use model::event::WindowResult;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect, Spacing};
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

/// Columns before and after the bars.
const NAMES: usize = 16;
const NOTES: usize = 12;

/// Draws it.
pub fn draw(f: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let Some((agent, run)) = model.run_at() else { return none(f, area, theme) };
    let rows = rows(run, model.now_ms);
    let verdict = verdict(run, usize::from(area.width).saturating_sub(4), theme);
    let checks = checks(model, run, usize::from(area.width).saturating_sub(4), theme);
    let [a, b, c] = Layout::vertical([
        Constraint::Length((rows.len() + verdict.len() + 3) as u16),
        Constraint::Length((checks.len() + 2) as u16),
        Constraint::Min(3),
    ])
    .spacing(Spacing::Overlap(1))
    .areas(area);
    let columns = usize::from(area.width).saturating_sub(NAMES + NOTES + 4);
    let mut lines = vec![scale(&rows, columns, theme)];
    lines.extend(rows.iter().map(|row| row.line(&rows, columns, theme)));
    lines.extend(verdict);
    boxed(f, a, &format!("{} · seed {}", cut(&run.name, 40), run.seed), lines, true, theme);
    boxed(f, b, "Checks", checks, false, theme);
    let room = usize::from(c.height).saturating_sub(2);
    boxed(
        f,
        c,
        "Faults of the run",
        faults(model, agent, run, (usize::from(c.width), room), theme),
        false,
        theme,
    );
}

fn boxed(f: &mut Frame, area: Rect, title: &str, lines: Vec<Line<'static>>, focused: bool, theme: Theme) {
    let block = panel(title, focused, theme);
    let inner = block.inner(area);
    f.render_widget(block, area);
    f.render_widget(Paragraph::new(lines), inner);
}

fn none(f: &mut Frame, area: Rect, theme: Theme) {
    let lines = vec![
        Line::default(),
        Line::from("  No run is going on, and none has been since this console was opened."),
        Line::from("  murphy run FILE --tui shows one here; so does POST /api/v1/runs at this agent.")
            .style(theme.dim()),
    ];
    boxed(f, area, "Run", lines, true, theme);
}

/// A phase or a stage, in milliseconds since the run began.
struct Row {
    name: String,
    from: f64,
    to: f64,
    now: Option<f64>,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Done,
    Going,
    Ahead,
    Skipped,
}

/// What was, what is, and what is still to come, one after the other.
fn rows(run: &Run, now_ms: f64) -> Vec<Row> {
    let end = run.verdict.as_ref().map_or(now_ms, |(_, at)| *at) - run.since_ms;
    let mut rows: Vec<Row> = Vec::new();
    let entered = |step: &Step| {
        let from = step.from_ms - run.since_ms;
        let planned = step.lasts.map(|l| from + l.as_millis_f64());
        let (to, state) = match step.to_ms {
            Some(to) => (to - run.since_ms, State::Done),
            None if run.verdict.is_some() => (end, State::Done),
            None => (planned.unwrap_or(end).max(end), State::Going),
        };
        Row { name: step.name.clone(), from, to, now: (state == State::Going).then_some(end), state }
    };
    let stages = run.steps.iter().filter_map(|s| s.stage).collect::<Vec<_>>();
    let furthest = stages.iter().max().copied().unwrap_or(0);
    let before = run.steps.iter().filter(|s| s.stage.is_none() && !s.after(run));
    rows.extend(before.map(entered));
    for (n, (name, lasts)) in (1..).zip(&run.plan) {
        match run.steps.iter().find(|s| s.stage == Some(n)) {
            Some(step) => rows.push(entered(step)),
            None => {
                let from = rows.last().map_or(0.0, |r| r.to);
                let over = n < furthest || run.verdict.is_some();
                let (to, state) =
                    if over { (from, State::Skipped) } else { (from + lasts.as_millis_f64(), State::Ahead) };
                rows.push(Row { name: name.clone(), from, to, now: None, state });
            }
        }
    }
    let after = run.steps.iter().filter(|s| s.stage.is_none() && s.after(run));
    rows.extend(after.map(entered));
    rows
}

fn whole(rows: &[Row]) -> f64 {
    rows.iter().map(|r| r.to).fold(1000.0, f64::max)
}

/// The time line: where the quarters are.
fn scale(rows: &[Row], columns: usize, theme: Theme) -> Line<'static> {
    let (whole, end) = (whole(rows), clock(whole(rows)));
    let mut text = String::new();
    for quarter in 0..4 {
        let at = quarter * columns / 4;
        let mark = format!("├{}", clock(whole * quarter as f64 / 4.0));
        // Beside the end's own there may be no room for it.
        if at + width(&mark) + width(&end) + 2 <= columns {
            text = pad(&text, at) + &mark;
        }
    }
    let text = pad(&text, columns.saturating_sub(width(&end) + 1));
    line([(format!("{}{text}{end}┤", " ".repeat(NAMES)), theme.dim())])
}

impl Row {
    fn line(&self, rows: &[Row], columns: usize, theme: Theme) -> Line<'static> {
        let (sign, style) = match self.state {
            State::Done => ('✔', theme.good()),
            State::Going => ('▶', theme.warn()),
            State::Ahead => (' ', theme.dim()),
            State::Skipped => ('·', theme.dim()),
        };
        let at = |ms: f64| ((ms / whole(rows)) * columns as f64).round() as usize;
        let (from, to) = (at(self.from).min(columns), at(self.to).min(columns));
        let done = match self.state {
            State::Done => to,
            State::Going => self.now.map_or(to, at).clamp(from, to),
            State::Ahead | State::Skipped => from,
        };
        // What lasts has a cell at least.
        let ahead = match self.state {
            State::Ahead | State::Going => "▒".repeat(to.max(from + 1).saturating_sub(done)),
            _ => String::new(),
        };
        let full = match self.state {
            State::Done => done.saturating_sub(from).max(1),
            _ => done.saturating_sub(from),
        };
        let bar = format!("{}{}{ahead}", "·".repeat(from), "█".repeat(full));
        let note = match (self.state, self.now) {
            (State::Skipped, _) => "not begun".to_owned(),
            (State::Going, Some(now)) if self.to > now => format!("{} left", clock(self.to - now)),
            (State::Going, _) => format!("for {}", clock(self.now.unwrap_or(self.to) - self.from)),
            _ => clock(self.to - self.from),
        };
        line([
            (format!("{sign} "), style),
            (
                pad(&cut(&self.name, NAMES - 3), NAMES - 2),
                if self.state == State::Going { theme.strong() } else { style },
            ),
            (
                pad(&cut(&bar, columns), columns),
                if self.state == State::Ahead { theme.dim() } else { Style::new() },
            ),
            (format!(" {note}"), style),
        ])
    }
}

fn verdict(run: &Run, columns: usize, theme: Theme) -> Vec<Line<'static>> {
    let Some((verdict, _)) = &run.verdict else { return Vec::new() };
    let (sign, style) = if verdict == "held" { ('✔', theme.good()) } else { ('✘', theme.bad()) };
    let why = run.why.as_deref().unwrap_or_default();
    let mut lines = vec![Line::default()];
    let text = format!("{sign} {}: {why}", verdict.to_uppercase());
    lines.extend(wrap(&text, columns).into_iter().map(|l| line([(format!(" {l}"), style)])));
    if let Some(report) = &run.report {
        lines.push(line([(format!("   report: {report}"), theme.dim())]));
    }
    lines
}

fn checks(model: &Model, run: &Run, columns: usize, theme: Theme) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> =
        run.checks.iter().map(|(name, check)| checked(model, name, check, columns, theme)).collect();
    for (guard, since) in &run.breaches {
        let text = format!("▲ guard: {guard}, holds for {}", clock(model.now_ms - since));
        lines.push(line([(format!(" {}", cut(&text, columns)), theme.warn())]));
    }
    if lines.is_empty() {
        lines.push(line([(" nothing is judged: the experiment has no metrics".to_owned(), theme.dim())]));
    }
    lines
}

fn checked(model: &Model, name: &str, check: &Check, columns: usize, theme: Theme) -> Line<'static> {
    let (sign, style, word) = match check.result {
        Some(WindowResult::Pass) => ("✔", theme.good(), "ok"),
        Some(WindowResult::Fail) => ("▲", theme.bad(), "OUT"),
        Some(WindowResult::Unknown) => ("?", theme.warn(), "no data"),
        None => ("·", theme.dim(), "not judged yet"),
    };
    let since = match check.since_ms {
        Some(since) if model.run().is_none_or(|r| r.verdict.is_none()) => {
            format!(" for {}", clock(model.now_ms - since))
        }
        _ => String::new(),
    };
    let value = check.value.map_or_else(String::new, crate::tell::number);
    let names = (columns / 4).clamp(10, 24);
    let end = format!("{word}{since}");
    let source = columns.saturating_sub(names + 26 + width(&end));
    line([
        (format!(" {sign} "), style),
        (pad(&cut(name, names), names + 1), Style::new()),
        (pad(&cut(&check.expect, 11), 12), theme.strong()),
        (pad(&cut(&value, 8), 9), style),
        (pad(&cut(&check.source, source), source + 1), theme.dim()),
        (end, style),
    ])
}

fn faults(
    model: &Model,
    agent: usize,
    run: &Run,
    (columns, room): (usize, usize),
    theme: Theme,
) -> Vec<Line<'static>> {
    let of_run = |w: &&Window| w.agent == agent && w.to_ms.is_none_or(|to| to >= run.since_ms);
    let all: Vec<&Window> = model.windows.iter().filter(of_run).collect();
    if all.is_empty() {
        return vec![line([(" none has been armed yet".to_owned(), theme.dim())])];
    }
    let newest = all.into_iter().rev().take(room.max(1));
    newest
        .map(|w| {
            let armed = model.agents[agent].faults.iter().find(|f| f.id == w.id && w.to_ms.is_none());
            let (style, what) = match armed {
                Some(f) => {
                    let hit = format!("hit {} of {}", f.evidence.applied, f.evidence.considered);
                    let by = short(&f.by);
                    let mine = if by.starts_with("run ") { String::new() } else { format!(" · by {by}") };
                    (theme.bad(), format!("{} on {} · {hit}{mine}", f.fault.describe(), f.fault.target))
                }
                None => (theme.dim(), format!("{} on {}", w.label, w.target)),
            };
            let at = |ms: f64| clock(ms - run.since_ms);
            let until = w.to_ms.map_or("…".to_owned(), at);
            line([
                (format!(" {} ", pad(&w.tag, 2)), style),
                (format!("T+{}–{} ", at(w.from_ms), pad(&until, 6)), Style::new()),
                (
                    cut(&what, columns.saturating_sub(22)),
                    if armed.is_some() { Style::new() } else { theme.dim() },
                ),
            ])
        })
        .collect()
}
