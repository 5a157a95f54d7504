//! Measures a frame of the busy overview: time to draw, and bytes. `cargo run --release -p murphy-tui --example cost`

#[path = "../tests/support/mod.rs"]
mod support;

use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};
use std::cell::Cell;
use std::io::{self, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};
use support::{Console, DARK, sim};
use tui::update::{Msg, update};

#[derive(Clone, Default)]
struct Count(Rc<Cell<usize>>);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.set(self.0.get() + bytes.len());
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn main() -> io::Result<()> {
    for (columns, rows) in [(80, 24), (120, 36), (200, 60)] {
        let mut c = Console::shop(DARK);
        update(&mut c.model, Msg::Resize(columns, rows));
        let count = Count::default();
        let options = TerminalOptions { viewport: Viewport::Fixed(Rect::new(0, 0, columns, rows)) };
        let mut terminal = Terminal::with_options(tui::encode::Encoder::new(count.clone()), options)?;
        let mut frame = |c: &Console| -> io::Result<(usize, Duration)> {
            count.0.set(0);
            let begun = Instant::now();
            terminal.draw(|f| tui::view::draw(f, &c.model))?;
            Ok((count.0.get(), begun.elapsed()))
        };
        let whole = frame(&c)?;
        let (mut bytes, mut times) = (Vec::new(), Vec::new());
        for _ in 0..120 {
            c.second(&sim::RATES);
            let (b, t) = frame(&c)?;
            bytes.push(b);
            times.push(t);
        }
        let same = frame(&c)?;
        bytes.sort_unstable();
        times.sort_unstable();
        let n = times.len();
        let (begun, now_ms) = (Instant::now(), c.model.now_ms);
        for _ in 0..1000 {
            update(&mut c.model, Msg::Tick(now_ms));
        }
        let idle = begun.elapsed() / 1000;
        println!(
            "{columns}×{rows}: first frame {} B {:?}; a second: median {} B, most {} B, {:?} median, {:?} most; \
             unchanged {} B {:?}; update {idle:?}",
            whole.0,
            whole.1,
            bytes[n / 2],
            bytes[n - 1],
            times[n / 2],
            times[n - 1],
            same.0,
            same.1,
        );
    }
    Ok(())
}
