//! The terminal: taken over at the start, given back at the end, however it ends.

use crate::encode::Encoder;
use crossterm::clipboard::CopyToClipboard;
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use crossterm::{cursor, execute, queue};
use ratatui::Terminal;
use ratatui::layout::Rect;
use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the terminal is ours now.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Collects what is written until it is sent in one piece, so that a frame is one write.
#[derive(Debug, Clone, Default)]
pub struct Piece(Rc<RefCell<Vec<u8>>>);

impl Piece {
    /// What was collected; it begins anew.
    pub fn take(&self) -> Vec<u8> {
        self.0.take()
    }
}

impl Write for Piece {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The terminal while it is ours.
pub struct Term {
    terminal: Terminal<Encoder<Piece>>,
    piece: Piece,
}

impl Term {
    /// Takes the terminal over. A panic gives it back before it is told.
    pub fn take() -> io::Result<Term> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                give_back();
                before(info);
            }));
        });
        // crossterm answers NO_COLOR with resets that lose bold and reverse; without colours we set none ourselves.
        crossterm::style::force_color_output(true);
        enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste, cursor::Hide)?;
        let piece = Piece::default();
        let terminal = Terminal::new(Encoder::new(piece.clone()))?;
        Ok(Term { terminal, piece })
    }

    /// Draws, as one synchronised update and one write.
    pub fn draw(&mut self, render: impl FnOnce(&mut ratatui::Frame)) -> io::Result<()> {
        queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        self.terminal.draw(render)?;
        queue!(self.terminal.backend_mut(), EndSynchronizedUpdate)?;
        self.send()
    }

    /// The terminal has another size.
    pub fn resize(&mut self, columns: u16, rows: u16) -> io::Result<()> {
        self.terminal.resize(Rect::new(0, 0, columns, rows))?;
        self.send()
    }

    /// Columns and rows.
    pub fn size(&self) -> io::Result<(u16, u16)> {
        crossterm::terminal::size()
    }

    /// Puts a text into the clipboard of whoever sits at the terminal (OSC 52), also across SSH.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        execute!(io::stdout(), CopyToClipboard::to_clipboard_from(text))
    }

    fn send(&mut self) -> io::Result<()> {
        let piece = self.piece.take();
        let mut out = io::stdout().lock();
        out.write_all(&piece)?;
        out.flush()
    }
}

impl Drop for Term {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(
            io::stdout(),
            EndSynchronizedUpdate,
            DisableBracketedPaste,
            cursor::Show,
            LeaveAlternateScreen
        );
        let _ = disable_raw_mode();
    }
}
