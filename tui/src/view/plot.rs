//! A plot over whole columns: what a column shows depends on it and the one before alone, so that a plot that moves on
//! moves by whole cells and nothing in it shimmers.

use super::axis::Axis;
use super::text;
use super::theme::Theme;
use crate::state::ui::Marker;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::Widget;

/// Columns left of a plot, for its numbers.
pub const GUTTER: u16 = 6;

/// One line of a plot: its style, and a value for each column.
pub type Series = (Style, Vec<Option<f64>>);

/// A plot.
#[derive(Debug)]
pub struct Plot<'a> {
    /// The heading.
    pub title: Line<'a>,
    /// What is drawn, later ones over earlier ones.
    pub series: Vec<Series>,
    /// The value at the upper edge; the lower is zero.
    pub top: f64,
    /// Dotted lines.
    pub bounds: Vec<f64>,
    /// Columns to shade: from, to, and whether the fault is still on.
    pub shades: &'a [(u16, u16, bool)],
    /// The time axis.
    pub axis: Axis,
    /// Colours.
    pub theme: Theme,
    /// What it is drawn with.
    pub marker: Marker,
}

impl Widget for Plot<'_> {
    fn render(self, area: Rect, buf: &mut Buffer) {
        if area.height < 2 || area.width <= GUTTER + 2 {
            return;
        }
        buf.set_line(area.x, area.y, &self.title, area.width);
        let plot = Rect {
            x: area.x + GUTTER,
            y: area.y + 1,
            width: self.axis.width.min(area.width - GUTTER),
            height: area.height - 1,
        };
        for (from, to, live) in self.shades {
            let to = (*to).min(plot.width);
            if *from < to {
                let rect = Rect { x: plot.x + from, y: plot.y, width: to - from, height: plot.height };
                buf.set_style(rect, self.theme.shade(*live));
            }
        }
        self.numbers(area, plot, buf);
        let mut canvas = Canvas::new(plot.width, plot.height, self.marker);
        for bound in &self.bounds {
            canvas.dots(canvas.row(*bound, self.top), self.theme.bound());
        }
        for (style, values) in &self.series {
            canvas.line(values, self.top, *style);
        }
        canvas.draw(plot, buf);
    }
}

impl Plot<'_> {
    fn numbers(&self, area: Rect, plot: Rect, buf: &mut Buffer) {
        let mut rows = vec![(plot.y, self.top), (plot.bottom() - 1, 0.0)];
        if plot.height >= 5 {
            rows.insert(1, (plot.y + (plot.height - 1) / 2, self.top / 2.0));
        }
        if plot.height == 1 {
            rows.pop();
        }
        for (y, value) in rows {
            let label = format!("{} ", text::right(&crate::tell::number(value), usize::from(GUTTER) - 1));
            buf.set_string(area.x, y, label, self.theme.dim());
        }
    }
}

/// The next round number above the largest value: 1, 2, 2.5, 4, 5 or 8 times a power of ten.
pub fn round_top(largest: f64, least: f64) -> f64 {
    let value = largest.max(least).max(1e-9) * 1.02;
    let power = 10_f64.powf(value.log10().floor());
    let step = [1.0, 2.0, 2.5, 4.0, 5.0, 8.0, 10.0].into_iter().find(|s| s * power >= value).unwrap_or(10.0);
    step * power
}

/// A grid of fine dots under the cells of a plot.
struct Canvas {
    width: u16,
    height: u16,
    marker: Marker,
    /// Dots of a cell: in braille's bits, or two halves.
    cells: Vec<(u8, Option<Style>)>,
}

impl Canvas {
    fn new(width: u16, height: u16, marker: Marker) -> Canvas {
        let cells = vec![(0, None); usize::from(width) * usize::from(height)];
        Canvas { width, height, marker, cells }
    }

    /// Dots across and down in one cell.
    fn fine(&self) -> (i32, i32) {
        match self.marker {
            Marker::Braille => (2, 4),
            Marker::Blocks => (1, 2),
            Marker::Dots => (1, 1),
        }
    }

    /// The fine row of a value, from above.
    fn row(&self, value: f64, top: f64) -> i32 {
        let rows = i32::from(self.height) * self.fine().1;
        let up = (value / top).clamp(0.0, 1.0) * f64::from(rows - 1);
        rows - 1 - up.round() as i32
    }

    fn set(&mut self, x: i32, y: i32, style: Style, over: bool) {
        let (across, down) = self.fine();
        if x < 0 || y < 0 || x >= i32::from(self.width) * across || y >= i32::from(self.height) * down {
            return;
        }
        let cell = &mut self.cells[(y / down) as usize * usize::from(self.width) + (x / across) as usize];
        cell.0 |= match self.marker {
            Marker::Braille => {
                [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]][(y % 4) as usize][(x % 2) as usize]
            }
            Marker::Blocks => 1 << (y % 2),
            Marker::Dots => 1,
        };
        if over || cell.1.is_none() {
            cell.1 = Some(style);
        }
    }

    /// A dotted line at a fine row.
    fn dots(&mut self, row: i32, style: Style) {
        let (across, _) = self.fine();
        let every = if across == 2 { 2 } else { 3 };
        for x in (0..i32::from(self.width) * across).step_by(every as usize) {
            self.set(x, row, style, false);
        }
    }

    /// A line through the columns' values; what has no neighbour is a dot.
    fn line(&mut self, values: &[Option<f64>], top: f64, style: Style) {
        let (across, _) = self.fine();
        let mut before: Option<i32> = None;
        for (column, value) in values.iter().enumerate() {
            let Some(value) = value else {
                before = None;
                continue;
            };
            let row = self.row(*value, top);
            let x = column as i32 * across;
            let from = before.unwrap_or(row);
            if across == 2 {
                // Half way in the first dot of the cell, there in the second.
                let middle = from + (row - from) / 2;
                self.upright(x, from, middle, style);
                self.upright(x + 1, middle, row, style);
            } else {
                self.upright(x, from, row, style);
            }
            before = Some(row);
        }
    }

    /// The dots from one row to another in one fine column, without the first when there are several: it was drawn by
    /// the column before.
    fn upright(&mut self, x: i32, from: i32, to: i32, style: Style) {
        let step = (to - from).signum();
        let mut y = if step == 0 { from } else { from + step };
        loop {
            self.set(x, y, style, true);
            if y == to {
                break;
            }
            y += step;
        }
    }

    fn draw(&self, area: Rect, buf: &mut Buffer) {
        for (i, (bits, style)) in self.cells.iter().enumerate() {
            let Some(style) = style else { continue };
            let symbol = match (self.marker, bits) {
                (_, 0) => continue,
                (Marker::Braille, bits) => char::from_u32(0x2800 + u32::from(*bits)).unwrap_or('⠿'),
                (Marker::Blocks, 1) => '▀',
                (Marker::Blocks, 2) => '▄',
                (Marker::Blocks, _) => '█',
                (Marker::Dots, _) => '•',
            };
            let (x, y) = (i as u16 % self.width, i as u16 / self.width);
            if let Some(cell) = buf.cell_mut((area.x + x, area.y + y)) {
                cell.set_char(symbol).set_style(*style);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(marker: Marker, values: &[f64], bounds: Vec<f64>) -> Vec<String> {
        let width = values.len() as u16;
        let look = crate::state::Look { light: false, mono: true, marker };
        let plot = Plot {
            title: Line::from("t"),
            series: vec![(Style::new(), values.iter().map(|v| (*v >= 0.0).then_some(*v)).collect())],
            top: 8.0,
            bounds,
            shades: &[],
            axis: Axis { last: 0, width, zoom: 1 },
            theme: Theme::new(look),
            marker,
        };
        let area = Rect::new(0, 0, width + GUTTER, 3);
        let mut buf = Buffer::empty(area);
        plot.render(area, &mut buf);
        (1..3).map(|y| (0..area.width).map(|x| buf[(x, y)].symbol()).collect()).collect()
    }

    #[test]
    fn lines_in_three_markers() {
        let values = [0.0, 0.0, 8.0, 8.0, -1.0, 0.0];
        let all =
            [Marker::Braille, Marker::Blocks, Marker::Dots].map(|m| picture(m, &values, vec![]).join("\n"));
        let cells: Vec<String> = all.iter().map(|p| p.replace(' ', "_")).collect();
        insta::assert_snapshot!(cells.join("\n"), @r"
        ____8___⢸⠉__
        ____0_⣀⣀⠇__⣀
        ____8___█▀__
        ____0_▄▄▀__▄
        ____8___••__
        ____0_••___•
        ");
    }

    #[test]
    fn tops_are_round() {
        for (largest, want) in [(318.0, 400.0), (390.0, 400.0), (0.3, 0.4), (656.0, 800.0), (1000.0, 2000.0)]
        {
            assert!((round_top(largest, 0.0) - want).abs() < 1e-9, "{largest} {}", round_top(largest, 0.0));
        }
        assert_eq!(round_top(0.0, 1.0), 2.0);
    }

    #[test]
    fn a_plot_that_moves_on_moves_by_whole_cells() {
        let values: Vec<f64> = (0..41).map(|i| f64::from((i * 7) % 9)).collect();
        for marker in [Marker::Braille, Marker::Blocks, Marker::Dots] {
            // Bounds stand still, and are left out here.
            let now = picture(marker, &values[..40], vec![]);
            let next = picture(marker, &values[1..], vec![]);
            let cells = |row: &String| row.chars().skip(usize::from(GUTTER)).collect::<Vec<_>>();
            for (a, b) in now.iter().zip(&next) {
                // The oldest column lost its neighbour.
                assert_eq!(cells(a)[2..], cells(b)[1..39]);
            }
        }
    }
}
