//! Cells to bytes, as few as it takes: over SSH a console is paid by the byte.
//!
//! crossterm writes colour and background together at every change of either, in their longest form, and moves the
//! cursor by absolute places. Plots that move on by a column change colour and skip cells all the time, so here only
//! what differs is written, in its shortest form. Sequences: ECMA-48 (SGR, CUP, CUF).

use ratatui::backend::{Backend, ClearType, CrosstermBackend, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};
use ratatui::style::{Color, Modifier};
use std::io::{self, Write};
use unicode_width::UnicodeWidthStr;

/// A backend that writes less than the one it wraps, which does everything but draw.
#[derive(Debug)]
pub struct Encoder<W: Write> {
    inner: CrosstermBackend<W>,
}

impl<W: Write> Encoder<W> {
    /// Writes there.
    pub fn new(writer: W) -> Encoder<W> {
        Encoder { inner: CrosstermBackend::new(writer) }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Write::flush(&mut self.inner)
    }
}

impl<W: Write> Backend for Encoder<W> {
    type Error = io::Error;

    fn draw<'a, I: Iterator<Item = (u16, u16, &'a Cell)>>(&mut self, content: I) -> io::Result<()> {
        let mut out = String::new();
        encode(content, &mut out);
        self.inner.write_all(out.as_bytes())
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        // It was hidden when the terminal was taken over, and nothing here shows it.
        Ok(())
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        self.inner.show_cursor()
    }

    fn get_cursor_position(&mut self) -> io::Result<Position> {
        self.inner.get_cursor_position()
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        self.inner.set_cursor_position(position)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.inner.clear()
    }

    fn clear_region(&mut self, clear_type: ClearType) -> io::Result<()> {
        self.inner.clear_region(clear_type)
    }

    fn size(&self) -> io::Result<Size> {
        self.inner.size()
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        self.inner.window_size()
    }

    fn flush(&mut self) -> io::Result<()> {
        Write::flush(&mut self.inner)
    }
}

/// What the terminal's pen is set to.
#[derive(Clone, Copy, PartialEq)]
struct Pen {
    fg: Color,
    bg: Color,
    modifier: Modifier,
}

const PLAIN: Pen = Pen { fg: Color::Reset, bg: Color::Reset, modifier: Modifier::empty() };

fn encode<'a>(content: impl Iterator<Item = (u16, u16, &'a Cell)>, out: &mut String) {
    let mut pen = PLAIN;
    // Where the cursor is known to be.
    let mut at: Option<(u16, u16)> = None;
    for (x, y, cell) in content {
        match at {
            Some((cx, cy)) if (cx, cy) == (x, y) => {}
            Some((cx, cy)) if cy == y && cx < x => match x - cx {
                1 => out.push_str("\x1b[C"),
                n => out.push_str(&format!("\x1b[{n}C")),
            },
            _ => out.push_str(&format!("\x1b[{};{}H", y + 1, x + 1)),
        }
        let wanted = Pen { fg: cell.fg, bg: cell.bg, modifier: cell.modifier };
        pen = change(pen, wanted, cell.symbol() == " ", out);
        out.push_str(cell.symbol());
        // Terminals disagree on how wide other symbols are, so after those the place is named anew.
        at = (cell.symbol().width() == 1).then_some((x + 1, y));
    }
    if pen != PLAIN {
        out.push_str("\x1b[m");
    }
}

/// Writes what makes one pen the other, and gives the pen as it is then: a blank shows no colour of its own.
fn change(from: Pen, wanted: Pen, blank: bool, out: &mut String) -> Pen {
    let shown = Modifier::REVERSED | Modifier::UNDERLINED | Modifier::CROSSED_OUT;
    let to = if blank && !(from.modifier | wanted.modifier).intersects(shown) {
        Pen { bg: wanted.bg, ..from }
    } else {
        wanted
    };
    if from == to {
        return to;
    }
    let mut codes: Vec<String> = Vec::new();
    let mut gone = from.modifier - to.modifier;
    let mut come = to.modifier - from.modifier;
    if to == PLAIN {
        out.push_str("\x1b[m");
        return to;
    }
    let weight = Modifier::BOLD | Modifier::DIM;
    if gone.intersects(weight) {
        // One code ends both, so the one that stays is set again.
        codes.push("22".into());
        come |= to.modifier & weight;
        gone -= weight;
    }
    for (modifier, on, off) in MODIFIERS {
        if gone.contains(modifier) {
            codes.push(off.into());
        }
        if come.contains(modifier) {
            codes.push(on.into());
        }
    }
    if from.fg != to.fg {
        codes.push(colour(to.fg, 30));
    }
    if from.bg != to.bg {
        codes.push(colour(to.bg, 40));
    }
    out.push_str(&format!("\x1b[{}m", codes.join(";")));
    to
}

const MODIFIERS: [(Modifier, &str, &str); 8] = [
    (Modifier::BOLD, "1", "22"),
    (Modifier::DIM, "2", "22"),
    (Modifier::ITALIC, "3", "23"),
    (Modifier::UNDERLINED, "4", "24"),
    (Modifier::SLOW_BLINK, "5", "25"),
    (Modifier::REVERSED, "7", "27"),
    (Modifier::HIDDEN, "8", "28"),
    (Modifier::CROSSED_OUT, "9", "29"),
];

/// The code of a colour; `base` is 30 for the text and 40 for the background.
fn colour(colour: Color, base: u8) -> String {
    let basic = |n: u8| (base + n).to_string();
    let bright = |n: u8| (base + 60 + n).to_string();
    match colour {
        Color::Reset => basic(9),
        Color::Black => basic(0),
        Color::Red => basic(1),
        Color::Green => basic(2),
        Color::Yellow => basic(3),
        Color::Blue => basic(4),
        Color::Magenta => basic(5),
        Color::Cyan => basic(6),
        Color::Gray => basic(7),
        Color::DarkGray => bright(0),
        Color::LightRed => bright(1),
        Color::LightGreen => bright(2),
        Color::LightYellow => bright(3),
        Color::LightBlue => bright(4),
        Color::LightMagenta => bright(5),
        Color::LightCyan => bright(6),
        Color::White => bright(7),
        Color::Indexed(n) => format!("{};5;{n}", base + 8),
        Color::Rgb(r, g, b) => format!("{};2;{r};{g};{b}", base + 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::buffer::Buffer;
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    /// What a terminal shows after that.
    fn shown(bytes: &str) -> vt100::Parser {
        let mut parser = vt100::Parser::new(5.try_into().unwrap(), 40.try_into().unwrap(), 0);
        parser.process(bytes.as_bytes());
        parser
    }

    #[test]
    fn a_terminal_shows_what_the_cells_say() {
        let styles = [
            Style::new(),
            Style::new().fg(Color::LightRed).add_modifier(Modifier::BOLD),
            Style::new().fg(Color::Indexed(130)).bg(Color::Indexed(236)),
            Style::new().add_modifier(Modifier::REVERSED),
            Style::new().add_modifier(Modifier::DIM),
            Style::new().bg(Color::Green).add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
        ];
        for seed in 0..200 {
            let draw = |n: u64| model::draw::bits(seed, model::draw::Lane::Share, n) as usize;
            let area = Rect::new(0, 0, 40, 5);
            let (before, mut after) = (Buffer::empty(area), Buffer::empty(area));
            for i in 0..30 {
                let (x, y) = (draw(i) % 34, draw(i + 100) % 5);
                let text = ["ab", " ", "⠤⠔⠒", "   ", "x y", "●"][draw(i + 200) % 6];
                after.set_string(x as u16, y as u16, text, styles[draw(i + 300) % styles.len()]);
            }
            let mut out = String::new();
            encode(before.diff(&after).into_iter(), &mut out);
            let parser = shown(&out);
            for y in 0..5 {
                for x in 0..40 {
                    let (cell, want) = (parser.screen().cell(y, x).unwrap(), &after[(x, y)]);
                    let symbol = if cell.contents().is_empty() { " " } else { cell.contents() };
                    assert_eq!(symbol, want.symbol(), "{seed} {x},{y}");
                    assert_eq!(cell.bgcolor(), of(want.bg), "{seed} {x},{y}");
                    assert_eq!(cell.inverse(), want.modifier.contains(Modifier::REVERSED));
                    if symbol != " " {
                        assert_eq!(cell.fgcolor(), of(want.fg), "{seed} {x},{y}");
                        let (bold, dim) =
                            (want.modifier.contains(Modifier::BOLD), want.modifier.contains(Modifier::DIM));
                        // The parser knows one weight at a time.
                        if !(bold && dim) {
                            assert_eq!((cell.bold(), cell.dim()), (bold, dim), "{seed} {x},{y}");
                        }
                    }
                }
            }
        }
    }

    fn of(colour: Color) -> vt100::Color {
        match colour {
            Color::Reset => vt100::Color::Default,
            Color::Green => vt100::Color::Idx(2),
            Color::LightRed => vt100::Color::Idx(9),
            Color::Indexed(n) => vt100::Color::Idx(n),
            other => panic!("{other:?}"),
        }
    }
}
