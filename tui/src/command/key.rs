//! Keys, as terminals send them and as they are written.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// A key, or one with ctrl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(pub KeyCode, pub KeyModifiers);

impl Key {
    /// Whether that is the key that was pressed.
    pub fn is(self, event: &KeyEvent) -> bool {
        // Shift is part of the letter, and terminals differ in whether they say so besides.
        let mods = event.modifiers - KeyModifiers::SHIFT;
        let same = match (self.0, event.code) {
            (KeyCode::Char(a), KeyCode::Char(b)) if mods.contains(KeyModifiers::CONTROL) => {
                a == b.to_ascii_lowercase()
            }
            (a, b) => a == b,
        };
        same && mods == self.1
    }

    /// As it is written on the screen.
    pub fn text(self) -> String {
        match self.0 {
            KeyCode::Char(' ') => "space".to_owned(),
            KeyCode::Char(c) if self.1.contains(KeyModifiers::CONTROL) => {
                format!("^{}", c.to_ascii_uppercase())
            }
            KeyCode::Char(c) => c.to_string(),
            KeyCode::Enter => "⏎".to_owned(),
            KeyCode::Esc => "esc".to_owned(),
            KeyCode::Tab => "tab".to_owned(),
            KeyCode::BackTab => "⇧tab".to_owned(),
            KeyCode::Up => "↑".to_owned(),
            KeyCode::Down => "↓".to_owned(),
            KeyCode::PageUp => "pgup".to_owned(),
            KeyCode::PageDown => "pgdn".to_owned(),
            KeyCode::Home => "home".to_owned(),
            KeyCode::End => "end".to_owned(),
            KeyCode::F(n) => format!("f{n}"),
            other => format!("{other:?}").to_lowercase(),
        }
    }
}

pub(super) const fn ch(c: char) -> Key {
    Key(KeyCode::Char(c), KeyModifiers::NONE)
}

pub(super) const fn ctrl(c: char) -> Key {
    Key(KeyCode::Char(c), KeyModifiers::CONTROL)
}

pub(super) const fn code(c: KeyCode) -> Key {
    Key(c, KeyModifiers::NONE)
}
