//! Line plots as inline SVG: seconds across, a quantity up, faults as shaded windows, a bound as a dashed line.

use super::{escape, number};
use std::fmt::Write;

/// One line of a plot.
#[derive(Debug)]
pub struct Line<'a> {
    /// Its name in the legend.
    pub name: &'a str,
    /// Its CSS class, which gives the colour.
    pub class: &'a str,
    /// (seconds, value); a gap where there was no value.
    pub points: Vec<(f64, Option<f64>)>,
}

/// A plot with everything on it.
#[derive(Debug)]
pub struct Plot<'a> {
    /// Above the plot.
    pub title: &'a str,
    /// The unit of the quantity.
    pub unit: &'a str,
    /// The lines.
    pub lines: Vec<Line<'a>>,
    /// The bound, when a metric has one here.
    pub bound: Option<f64>,
    /// Faults: begin, end, label.
    pub windows: &'a [(f64, f64, String)],
    /// The length of the run in seconds.
    pub seconds: f64,
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 26.0;

/// The horizontal place of a time.
pub fn across(t: f64, seconds: f64) -> f64 {
    LEFT + (WIDTH - LEFT - RIGHT) * (t / seconds.max(1.0)).clamp(0.0, 1.0)
}

impl Plot<'_> {
    /// The plot as a `<figure>`.
    pub fn svg(&self) -> String {
        let mut out = String::new();
        let _ = self.draw(&mut out);
        out
    }

    fn draw(&self, out: &mut String) -> std::fmt::Result {
        let highest = self
            .lines
            .iter()
            .flat_map(|l| l.points.iter().filter_map(|p| p.1))
            .chain(self.bound)
            .fold(0.0, f64::max);
        let top = round_up(highest * 1.05);
        let y = |v: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (v / top).clamp(0.0, 1.0);
        let x = |t: f64| across(t, self.seconds);
        let legend: Vec<String> = self
            .lines
            .iter()
            .map(|l| format!("<span class=\"key {}\">{}</span>", l.class, escape(l.name)))
            .collect();
        write!(out, "<figure><figcaption>{} {}</figcaption>", escape(self.title), legend.join(" "))?;
        write!(
            out,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escape(self.title)
        )?;
        for (start, end, label) in self.windows {
            let (a, b) = (x(*start), x(*end));
            write!(
                out,
                "<rect class=\"window\" x=\"{a:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
                (b - a).max(1.0),
                HEIGHT - TOP - BOTTOM,
                escape(label)
            )?;
        }
        for i in 0..=4 {
            let v = top * f64::from(i) / 4.0;
            write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>",
                WIDTH - RIGHT,
                at = y(v)
            )?;
            if i % 2 == 0 {
                write!(
                    out,
                    "<text class=\"tick end\" x=\"{:.0}\" y=\"{:.1}\">{}{}</text>",
                    LEFT - 6.0,
                    y(v) + 4.0,
                    number(v),
                    escape(self.unit)
                )?;
            }
        }
        let step = round_up(self.seconds / 8.0).max(1.0);
        let mut t = 0.0;
        while t <= self.seconds {
            write!(
                out,
                "<text class=\"tick\" x=\"{:.1}\" y=\"{:.0}\">{}s</text>",
                x(t),
                HEIGHT - 8.0,
                number(t)
            )?;
            t += step;
        }
        for line in &self.lines {
            let mut path = String::new();
            let mut pen = 'M';
            for (t, v) in &line.points {
                match v {
                    Some(v) => {
                        write!(path, "{pen}{:.1} {:.1}", x(*t), y(*v))?;
                        pen = 'L';
                    }
                    None => pen = 'M',
                }
            }
            write!(out, "<path class=\"line {}\" d=\"{path}\"/>", line.class)?;
        }
        if let Some(bound) = self.bound {
            write!(
                out,
                "<line class=\"bound\" x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{b:.1}\" y2=\"{b:.1}\"/>",
                WIDTH - RIGHT,
                b = y(bound)
            )?;
            write!(
                out,
                "<text class=\"tick end bound-text\" x=\"{:.0}\" y=\"{:.1}\">bound {}{}</text>",
                WIDTH - RIGHT - 2.0,
                y(bound) - 4.0,
                number(bound),
                escape(self.unit)
            )?;
        }
        write!(out, "</svg></figure>")
    }
}

/// The next of 1, 2, 5 × 10ⁿ.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let magnitude = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 4.0, 5.0, 10.0]
        .into_iter()
        .map(|m| m * magnitude)
        .find(|m| *m >= value * 0.999)
        .unwrap_or(10.0 * magnitude)
}
