//! Overview: targets and armed faults at the left, plots with lanes at the right, events below.

use super::axis::Axis;
use super::lanes::{Lanes, in_sight};
use super::plot::{GUTTER, Plot, Series, round_top};
use super::text::{line, seconds};
use super::theme::Theme;
use super::{panel, panels, title_again};
use crate::state::bounds::{Bound, Plotted};
use crate::state::columns::Point;
use crate::state::{Focus, Model};
use crate::tell::number;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect, Spacing};
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

type Panel = fn(&mut Frame, Rect, &Model, Theme);

/// Draws the screen.
pub fn draw(f: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let wide = area.width >= 110;
    let events = match area.height {
        h if h >= 30 => 8,
        h if h >= 18 => 5,
        _ => 3,
    };
    let banner = if model.halted().is_some() { panels::halted_height(model, area) } else { 0 };
    let [halted, main, log] =
        Layout::vertical([Constraint::Length(banner), Constraint::Min(6), Constraint::Length(events)])
            .areas(area);
    if banner > 0 {
        panels::halted(f, halted, model, theme);
    }
    let side = match area.width {
        w if w >= 140 => 48,
        w if w >= 110 => 40,
        w if w >= 80 => 28,
        _ => 25,
    };
    let [left, right] = Layout::horizontal([Constraint::Length(side), Constraint::Min(20)])
        .spacing(Spacing::Overlap(1))
        .areas(main);
    let rows = model.target_rows().len().max(1) as u16;
    let targets = (rows + 3).min(if wide { 10 } else { 7 }).min(left.height / 2 + 1).max(4);
    let [upper, lower] = Layout::vertical([Constraint::Length(targets), Constraint::Min(3)])
        .spacing(Spacing::Overlap(1))
        .areas(left);
    // Neighbours share a frame: the panel that has the keys is drawn last, so that its frame is whole.
    let mut panels: Vec<(Focus, Panel, Rect)> = vec![
        (Focus::Targets, panels::targets, upper),
        (Focus::Armed, panels::armed, lower),
        (Focus::Events, panels::events, log),
    ];
    panels.sort_by_key(|(focus, ..)| *focus == model.ui.focus);
    plots(f, right, model, theme);
    for (_, draw, area) in panels {
        draw(f, area, model, theme);
    }
    if model.ui.focus == Focus::Targets {
        title_again(f, lower, &panels::armed_title(model), theme);
    }
}

fn plots(f: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let inner_width = area.width.saturating_sub(2);
    let axis = Axis {
        last: model.last_column(),
        width: inner_width.saturating_sub(GUTTER + 1),
        zoom: model.columns.zoom.max(1),
    };
    let whole = seconds(i64::from(axis.width) * axis.zoom);
    let of = model.selected_target().map_or_else(String::new, |(_, t)| format!(" · {}", t.target));
    let title = if area.width >= 70 {
        format!("Steady state{of} · last {whole} · {} buckets", seconds(axis.zoom))
    } else {
        format!("Steady state{of} · {whole}")
    };
    let title = super::text::cut(&title, usize::from(area.width).saturating_sub(4));
    let block = panel(&title, false, theme);
    let inner = block.inner(area);
    f.render_widget(block, area);
    if model.columns.is_empty() {
        return no_data(f, inner, model, theme);
    }
    // Faults of all targets: what is wrong here may come from there.
    let rows = usize::from(inner.height) / 4;
    let windows = in_sight(&model.windows, axis, rows.clamp(1, 8));
    let named = model.agents.iter().map(|a| a.targets.len()).sum::<usize>() > 1;
    let lanes = windows.len() as u16 + 1;
    let three = inner.height >= lanes + 13;
    let plots = inner.height.saturating_sub(lanes);
    let parts: Vec<Constraint> = if three {
        vec![Constraint::Fill(3), Constraint::Fill(2), Constraint::Fill(2), Constraint::Length(lanes)]
    } else if plots >= 8 {
        vec![Constraint::Fill(3), Constraint::Fill(2), Constraint::Length(lanes)]
    } else {
        vec![Constraint::Fill(1), Constraint::Length(lanes)]
    };
    let areas = Layout::vertical(parts).split(inner);
    let shades: Vec<(u16, u16, bool)> = windows
        .iter()
        .filter_map(|w| axis.cover(w.from_ms, w.to_ms).map(|(a, b)| (a, b, w.to_ms.is_none())))
        .collect();
    let points: Vec<Option<Point>> = (0..axis.width).map(|x| model.columns.at(axis.number(x))).collect();
    let now = points.iter().rev().take(2).find_map(|p| *p);
    let draw = Draw { model, theme, axis, shades: &shades, points: &points, now };
    let n = areas.len() - 1;
    f.render_widget(draw.latency(), areas[0]);
    if n > 1 {
        f.render_widget(draw.errors(), areas[1]);
    }
    if n > 2 {
        f.render_widget(draw.rate(), areas[2]);
    }
    let end = match model.ui.frozen {
        Some(frozen) => {
            let ago = model.now_ms / 1000.0 - (frozen.column * axis.zoom) as f64;
            format!("{} ago", seconds(ago.max(0.0) as i64))
        }
        None => "now".to_owned(),
    };
    f.render_widget(Lanes { windows, axis, theme, named, end }, areas[n]);
}

struct Draw<'a> {
    model: &'a Model,
    theme: Theme,
    axis: Axis,
    shades: &'a [(u16, u16, bool)],
    points: &'a [Option<Point>],
    now: Option<Point>,
}

impl<'a> Draw<'a> {
    fn values(&self, of: impl Fn(&Point) -> Option<f64>) -> Vec<Option<f64>> {
        self.points.iter().map(|p| p.as_ref().and_then(&of)).collect()
    }

    /// The bounds that belong to what is selected.
    fn bounds(&self, which: impl Fn(Plotted) -> bool) -> Vec<&'a Bound> {
        let chosen = self.model.selected_target().map(|(_, t)| t.target.to_string());
        let targets: usize = self.model.agents.iter().map(|a| a.targets.len()).sum();
        let followed = self.model.followed().map(|t| t.to_string());
        let fits = |b: &&Bound| match (&b.target, &chosen) {
            // What users of the run's load get is shown with all traffic, and with what the run is about.
            (Some(t), Some(chosen)) => {
                t == chosen || (t.starts_with("load:") && followed.as_ref() == Some(chosen))
            }
            // Of all targets together only what is about all of them can be said.
            (Some(t), None) => targets <= 1 || t.starts_with("load:"),
            (None, _) => true,
        };
        self.model.bounds.iter().filter(|b| which(b.plotted)).filter(fits).collect()
    }

    /// The bounds in words, as short as the width asks for.
    fn bound_words(&self, bounds: &[&Bound], value: impl Fn(&Bound) -> Option<f64>) -> Vec<(String, Style)> {
        let short = self.axis.width < 64;
        let mut out = Vec::new();
        for b in bounds.iter().take(2) {
            let sign = if b.below { '<' } else { '>' };
            let quantile = match b.plotted {
                Plotted::Latency(q) if !short => format!("p{q} "),
                _ => String::new(),
            };
            let (verdict, style) = match value(b) {
                None => ("?", self.theme.dim()),
                Some(v) if b.holds(v) => ("ok", self.theme.good()),
                Some(_) if short => ("▲", self.theme.warn()),
                Some(_) => ("▲ OUT", self.theme.warn()),
            };
            let value = number(b.value);
            let words = if short {
                format!("  {sign}{value} ")
            } else {
                format!("   bound {quantile}{sign} {value} ")
            };
            out.push((words, self.theme.bound()));
            out.push((verdict.to_owned(), style));
        }
        out
    }

    fn plot(
        &self,
        title: Vec<(String, Style)>,
        series: Vec<Series>,
        bounds: &[&Bound],
        least: f64,
        most: f64,
    ) -> Plot<'a> {
        let largest = series.iter().flat_map(|(_, v)| v.iter().flatten()).copied().fold(0.0, f64::max);
        let bound = bounds.iter().map(|b| b.value * 1.05).fold(0.0, f64::max);
        // A bound far above everything would press the lines to the ground.
        let bound = if bound > largest * 8.0 && largest > least { 0.0 } else { bound };
        Plot {
            title: line(title),
            series,
            top: round_top(largest.max(bound), least).min(most),
            bounds: bounds.iter().map(|b| b.value).collect(),
            shades: self.shades,
            axis: self.axis,
            theme: self.theme,
            marker: self.model.ui.look.marker,
        }
        .without_bounds_above_top()
    }

    fn latency(&self) -> Plot<'a> {
        let t = self.theme;
        let show = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), number);
        let mut title = vec![
            (" latency ms ".to_owned(), t.strong()),
            ("p99 ".to_owned(), t.p99()),
            (show(self.now.and_then(|p| p.p99)), t.p99().patch(t.strong())),
            ("  p50 ".to_owned(), t.p50()),
            (show(self.now.and_then(|p| p.p50)), t.p50().patch(t.strong())),
        ];
        let bounds = self.bounds(|p| matches!(p, Plotted::Latency(_)));
        let value = |b: &Bound| match b.plotted {
            Plotted::Latency(50) => self.now.and_then(|p| p.p50),
            Plotted::Latency(90) => self.now.and_then(|p| p.p90),
            Plotted::Latency(95) => self.now.and_then(|p| p.p95),
            _ => self.now.and_then(|p| p.p99),
        };
        title.extend(self.bound_words(&bounds, value));
        let series = vec![(t.p50(), self.values(|p| p.p50)), (t.p99(), self.values(|p| p.p99))];
        self.plot(title, series, &bounds, 1.0, f64::INFINITY)
    }

    fn errors(&self) -> Plot<'a> {
        let t = self.theme;
        let now = self.now.and_then(|p| p.errors);
        let mut title = vec![
            (" errors % ".to_owned(), t.strong()),
            (now.map_or_else(|| "-".to_owned(), number), t.errors().patch(t.strong())),
        ];
        let bounds = self.bounds(|p| p == Plotted::Errors);
        title.extend(self.bound_words(&bounds, |_| now));
        self.plot(title, vec![(t.errors(), self.values(|p| p.errors))], &bounds, 1.0, 100.0)
    }

    fn rate(&self) -> Plot<'a> {
        let t = self.theme;
        let now = self.now.map(|p| p.rate);
        let mut title = vec![
            (" requests/s ".to_owned(), t.strong()),
            (now.map_or_else(|| "-".to_owned(), number), t.rate().patch(t.strong())),
        ];
        let bounds = self.bounds(|p| p == Plotted::Rate);
        title.extend(self.bound_words(&bounds, |_| now));
        self.plot(title, vec![(t.rate(), self.values(|p| Some(p.rate)))], &bounds, 5.0, f64::INFINITY)
    }
}

impl Plot<'_> {
    fn without_bounds_above_top(mut self) -> Self {
        let top = self.top;
        self.bounds.retain(|b| *b <= top);
        self
    }
}

/// What to do while there is nothing to draw.
fn no_data(f: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let proxies: Vec<String> = model
        .agents
        .iter()
        .flat_map(|a| &a.targets)
        .filter_map(|t| t.listen.as_ref().map(|l| format!("{l} ({})", t.target.name)))
        .take(3)
        .collect();
    let text = if model.target_rows().is_empty() {
        "No targets, so nothing to plot. Start with one: murphy tui --proxy NAME=LISTEN,UPSTREAM,http (or murphy agent \
         --proxy …). Or run an experiment, which opens its own: murphy run FILE.yaml"
            .to_owned()
    } else if proxies.is_empty() {
        "These targets carry no traffic, so there is nothing to plot: put a proxy before the service that should notice."
            .to_owned()
    } else {
        format!("No traffic was seen yet. Send requests to {}.", proxies.join(", "))
    };
    let columns = usize::from(area.width).saturating_sub(4);
    let mut lines = vec![Line::default()];
    lines.extend(
        super::text::wrap(&text, columns)
            .into_iter()
            .map(|l| Line::from(format!("  {l}")).style(theme.dim())),
    );
    f.render_widget(Paragraph::new(lines), area);
}
