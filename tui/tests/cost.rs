//! What the screen costs on the wire: bytes a second over SSH, and nothing when nothing happens.

mod support;

use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};
use std::cell::Cell;
use std::io::{self, Write};
use std::rc::Rc;
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

/// Draws again and again; gives how many bytes each frame took.
fn frames() -> impl FnMut(&Console) -> usize {
    let count = Count::default();
    let options = TerminalOptions { viewport: Viewport::Fixed(Rect::new(0, 0, 120, 36)) };
    let mut terminal = Terminal::with_options(tui::encode::Encoder::new(count.clone()), options).unwrap();
    move |c: &Console| {
        let before = count.0.get();
        terminal.draw(|f| tui::view::draw(f, &c.model)).unwrap();
        count.0.get() - before
    }
}

#[test]
fn a_second_of_a_busy_overview_is_cheap_over_ssh() {
    let mut c = Console::shop(DARK);
    update(&mut c.model, Msg::Resize(120, 36));
    let mut draw = frames();
    let whole = draw(&c);
    let mut seconds = Vec::new();
    for _ in 0..60 {
        c.second(&sim::RATES);
        seconds.push(draw(&c));
    }
    let mean = seconds.iter().sum::<usize>() / seconds.len();
    println!("120×36: whole {whole} B, a second {mean} B, at most {} B", seconds.iter().max().unwrap());
    assert!(mean <= 2500, "{mean} bytes a second");
    let same = draw(&c);
    assert!(same <= 32, "{same} bytes for nothing");
}

#[test]
fn a_second_of_the_connections_is_cheap_over_ssh() {
    let mut c = Console::shop(DARK);
    update(&mut c.model, Msg::Resize(120, 36));
    sim::connections(&c.agents[0]);
    let effects = c.text("3");
    c.answer(effects);
    let mut draw = frames();
    let whole = draw(&c);
    let mut seconds = Vec::new();
    for n in 0..30 {
        for view in &mut c.agents[0].state().connections {
            view.age_ms += 1000;
            view.bytes_up += 217 * (n + view.id % 5);
            view.bytes_down += 9_173 * view.id;
        }
        c.poll();
        seconds.push(draw(&c));
    }
    let mean = seconds.iter().sum::<usize>() / seconds.len();
    println!("connections 120×36: whole {whole} B, a second {mean} B");
    assert!(mean <= 2500, "{mean} bytes a second");
}
