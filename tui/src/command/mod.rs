//! Every key is a named command: one table feeds the key bar, the help and the palette.

mod bar;
mod key;
mod possible;
mod table;

pub use bar::bar;
pub use key::Key;
pub use possible::possible;
pub(crate) use possible::short;
pub use table::COMMANDS;

use crate::screen::Screen;
use crossterm::event::KeyEvent;

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the table says what each does")]
pub enum Command {
    Halt,
    Arm,
    Disarm,
    Adjust,
    Undo,
    Detail,
    Lift,
    EndRun,
    Freeze,
    Follow,
    ZoomIn,
    ZoomOut,
    Filter,
    CopyRow,
    CopyCommand,
    Overview,
    Faults,
    Connections,
    ResetConnection,
    CloseConnection,
    HoldConnection,
    ReleaseConnection,
    SortConnections,
    Requests,
    HoldRequests,
    ReleaseRequest,
    ResumeRequests,
    Files,
    Run,
    NextPanel,
    PreviousPanel,
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Theme,
    Palette,
    Help,
    Back,
    Quit,
}

/// A row of the table.
#[derive(Debug)]
pub struct CommandDef {
    /// Which.
    pub command: Command,
    /// Its name, in the palette.
    pub name: &'static str,
    /// One or two words, in the key bar.
    pub short: &'static str,
    /// What it does, in the help.
    pub about: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
    /// The one screen where these keys are its own; there they come before what they do elsewhere.
    pub only: Option<Screen>,
}

impl Command {
    /// Its row.
    pub fn def(self) -> &'static CommandDef {
        // Every command has a row; the test below says so.
        COMMANDS.iter().find(|d| d.command == self).unwrap_or(&COMMANDS[0])
    }
}

/// The command of a key on a screen, when it has one.
pub fn of_key(screen: Screen, event: &KeyEvent) -> Option<Command> {
    let of = |only| COMMANDS.iter().find(|d| d.only == only && d.keys.iter().any(|k| k.is(event)));
    of(Some(screen)).or_else(|| of(None)).map(|d| d.command)
}

/// The keys of a command on a screen: without those that do something else there.
pub fn keys_on(screen: Screen, def: &'static CommandDef) -> impl Iterator<Item = Key> {
    let elsewhere = def.only.is_some_and(|only| only != screen);
    def.keys
        .iter()
        .copied()
        .filter(move |k| elsewhere || of_key(screen, &KeyEvent::new(k.0, k.1)) == Some(def.command))
}

/// The command that opens a screen.
pub fn of_screen(screen: Screen) -> Command {
    match screen {
        Screen::Overview => Command::Overview,
        Screen::Faults => Command::Faults,
        Screen::Connections => Command::Connections,
        Screen::Requests => Command::Requests,
        Screen::Files => Command::Files,
        Screen::Run => Command::Run,
    }
}

#[cfg(test)]
mod tests {
    use super::key::ch;
    use super::*;
    use crate::screen::SCREENS;
    use crossterm::event::{KeyCode, KeyModifiers};
    use std::collections::HashSet;

    #[test]
    fn names_and_keys_are_unique_and_every_command_has_a_row() {
        let (mut names, mut keys, mut commands) = (HashSet::new(), HashSet::new(), HashSet::new());
        for def in COMMANDS {
            assert!(names.insert(def.name), "{} twice", def.name);
            assert!(commands.insert(def.command));
            for key in def.keys {
                assert!(keys.insert((def.only, key.text())), "{} twice", key.text());
            }
        }
        assert_eq!(COMMANDS.len(), Command::Quit as usize + 1);
        for def in SCREENS {
            let key = of_screen(def.screen).def().keys[0];
            assert_eq!(key, ch(def.key), "{}", def.title);
        }
    }

    #[test]
    fn keys_as_terminals_send_them() {
        let on = |screen, c| of_key(screen, &KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE));
        assert_eq!(on(Screen::Connections, 'r'), Some(Command::ReleaseConnection));
        assert_eq!(on(Screen::Overview, 'r'), Some(Command::Lift));
        assert_eq!(on(Screen::Connections, 'k'), Some(Command::ResetConnection));
        assert_eq!((on(Screen::Faults, 'k'), on(Screen::Faults, 'i')), (Some(Command::Up), None));
        assert_eq!(on(Screen::Connections, 'j'), Some(Command::Down));
        let press = |code, mods| of_key(Screen::Overview, &KeyEvent::new(code, mods));
        assert_eq!(press(KeyCode::Char('x'), KeyModifiers::CONTROL), Some(Command::Halt));
        assert_eq!(
            press(KeyCode::Char('X'), KeyModifiers::CONTROL | KeyModifiers::SHIFT),
            Some(Command::Halt)
        );
        assert_eq!(press(KeyCode::Char('T'), KeyModifiers::SHIFT), Some(Command::Theme));
        assert_eq!(press(KeyCode::Char('?'), KeyModifiers::SHIFT), Some(Command::Help));
        assert_eq!(press(KeyCode::Char('x'), KeyModifiers::NONE), None);
    }
}
