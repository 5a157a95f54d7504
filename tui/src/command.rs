//! Every key is a named command: this table feeds the key bar, the help and the palette.

use crate::screen::Screen;
use crate::state::{Focus, Model, columns::ZOOMS};
use control::service::Role;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use model::{ConnectionState, ConnectionView, RequestState, RequestView};

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the table below says what each does")]
pub enum Command {
    Halt,
    Arm,
    Disarm,
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

/// A key, or one with ctrl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(pub KeyCode, pub KeyModifiers);

const fn ch(c: char) -> Key {
    Key(KeyCode::Char(c), KeyModifiers::NONE)
}
const fn ctrl(c: char) -> Key {
    Key(KeyCode::Char(c), KeyModifiers::CONTROL)
}
const fn code(c: KeyCode) -> Key {
    Key(c, KeyModifiers::NONE)
}

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

const fn row(
    command: Command,
    name: &'static str,
    short: &'static str,
    about: &'static str,
    keys: &'static [Key],
) -> CommandDef {
    CommandDef { command, name, short, about, keys, only: None }
}

const fn connection(
    command: Command,
    name: &'static str,
    short: &'static str,
    about: &'static str,
    keys: &'static [Key],
) -> CommandDef {
    CommandDef { command, name, short, about, keys, only: Some(Screen::Connections) }
}

const fn request(
    command: Command,
    name: &'static str,
    short: &'static str,
    about: &'static str,
    keys: &'static [Key],
) -> CommandDef {
    CommandDef { command, name, short, about, keys, only: Some(Screen::Requests) }
}

/// All commands.
pub const COMMANDS: &[CommandDef] = &[
    row(Command::Halt, "halt", "HALT", "halt everything, at once and without a question", &[ctrl('x')]),
    row(Command::Arm, "arm", "arm", "arm a fault", &[ch('a')]),
    row(Command::Disarm, "disarm", "disarm", "disarm the selected fault", &[ch('d'), code(KeyCode::Delete)]),
    row(Command::Undo, "undo", "undo", "disarm what I armed last", &[ch('u')]),
    row(Command::Detail, "detail", "detail", "the selected row in detail", &[code(KeyCode::Enter)]),
    row(Command::Lift, "lift", "lift", "lift the halt, on purpose", &[ch('r')]),
    row(Command::EndRun, "end run", "end run", "end the run and take its faults back", &[]),
    row(Command::Freeze, "freeze", "freeze", "freeze the view, not the run", &[ch(' ')]),
    row(Command::Follow, "follow", "now", "back to now", &[ch('g')]),
    row(Command::ZoomIn, "zoom in", "zoom", "less time, more detail", &[ch('+'), ch('=')]),
    row(Command::ZoomOut, "zoom out", "zoom", "more time", &[ch('-')]),
    row(
        Command::Filter,
        "filter",
        "filter",
        "filter the catalogue, the connections, the requests or the operations",
        &[ch('/')],
    ),
    row(Command::CopyRow, "copy", "copy", "copy the selected row", &[ch('y')]),
    row(
        Command::CopyCommand,
        "copy command",
        "copy command",
        "copy the command line that does the same",
        &[ctrl('y')],
    ),
    row(Command::Overview, "overview", "overview", "targets, armed faults, plots, events", &[ch('1')]),
    row(Command::Faults, "faults", "faults", "the catalogue and the arming form", &[ch('2')]),
    row(Command::Connections, "connections", "conns", "open connections, live", &[ch('3')]),
    row(Command::Requests, "requests", "requests", "requests, live: timing, faults and draws", &[ch('4')]),
    row(Command::Files, "files", "files", "operations on files, live: by kind and one by one", &[ch('5')]),
    connection(
        Command::ResetConnection,
        "reset",
        "reset",
        "reset the selected connection, after a question",
        &[ch('k')],
    ),
    connection(
        Command::CloseConnection,
        "close",
        "close",
        "close the selected connection in order, after a question",
        &[ch('c')],
    ),
    connection(
        Command::HoldConnection,
        "hold",
        "hold",
        "let nothing pass on the selected connection, for a minute at most",
        &[ch('i')],
    ),
    connection(Command::ReleaseConnection, "release", "release", "let the held connection go on", &[ch('r')]),
    connection(
        Command::SortConnections,
        "sort",
        "sort",
        "connections by age, the newest first, or by bytes",
        &[ch('s')],
    ),
    request(
        Command::HoldRequests,
        "hold alike",
        "hold alike",
        "hold requests like the selected one before the service gets them, for a minute at most",
        &[ch('i')],
    ),
    request(Command::ReleaseRequest, "let go", "let go", "let the held request go on", &[ch('r')]),
    request(
        Command::ResumeRequests,
        "hold no more",
        "hold no more",
        "let all held requests go on",
        &[ch('R')],
    ),
    row(Command::NextPanel, "next panel", "panel", "to the next panel", &[code(KeyCode::Tab)]),
    row(Command::PreviousPanel, "previous panel", "panel", "to the panel before", &[code(KeyCode::BackTab)]),
    row(Command::Up, "up", "up", "one row up", &[code(KeyCode::Up), ch('k')]),
    row(Command::Down, "down", "down", "one row down", &[code(KeyCode::Down), ch('j')]),
    row(Command::PageUp, "page up", "up", "ten rows up", &[code(KeyCode::PageUp)]),
    row(Command::PageDown, "page down", "down", "ten rows down", &[code(KeyCode::PageDown)]),
    row(Command::First, "first", "first", "to the first row", &[code(KeyCode::Home)]),
    row(Command::Last, "last", "last", "to the last row", &[code(KeyCode::End)]),
    row(Command::Theme, "theme", "theme", "dark or light", &[ch('T')]),
    row(Command::Palette, "palette", "command", "find a command by its name", &[ch(':')]),
    row(Command::Help, "help", "keys", "all keys", &[ch('?'), code(KeyCode::F(1))]),
    row(Command::Back, "back", "back", "back, or close what is open", &[code(KeyCode::Esc)]),
    row(Command::Quit, "quit", "quit", "leave; asks when faults are armed", &[ch('q'), ctrl('c')]),
];

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

/// Whether it can be done here and now, and if not, why.
pub fn possible(model: &Model, command: Command) -> Result<(), String> {
    let ui = &model.ui;
    match command {
        Command::Arm => {
            may(model, Role::Operator)?;
            if let Some((_, halt)) = model.halted() {
                return Err(format!("halted by {}", short(&halt.by)));
            }
            if model.agents.iter().all(|a| a.targets.is_empty()) {
                return Err("no targets".into());
            }
            Ok(())
        }
        Command::Disarm => {
            if model.armed_count() == 0 {
                return Err("nothing is armed".into());
            }
            may(model, Role::Operator)
        }
        Command::Undo => {
            if model.mine.is_empty() {
                return Err("nothing armed from here".into());
            }
            may(model, Role::Operator)
        }
        Command::Lift => {
            if model.halted().is_none() {
                return Err("nothing is halted".into());
            }
            may(model, Role::Admin)
        }
        Command::EndRun => {
            if model.agents.iter().all(|a| a.running().is_none()) {
                return Err("no run is going on".into());
            }
            may(model, Role::Operator)
        }
        Command::Detail => match ui.focus {
            Focus::Targets if model.target_rows().is_empty() => Err("no targets".into()),
            Focus::Armed if model.armed_count() == 0 => Err("nothing is armed".into()),
            Focus::Events => Err("an event has no more to show".into()),
            Focus::Files => Err("an operation has no more to show".into()),
            Focus::Connections | Focus::Requests => Err("the pane under the table shows it".into()),
            _ => Ok(()),
        },
        Command::Freeze if matches!(ui.screen, Screen::Connections | Screen::Requests | Screen::Files) => {
            Ok(())
        }
        Command::Freeze | Command::ZoomIn | Command::ZoomOut if model.columns.is_empty() => {
            Err("nothing is plotted".into())
        }
        Command::ZoomIn if ui.zoom == 0 => Err("a column is a second already".into()),
        Command::ZoomOut if ui.zoom + 1 == ZOOMS.len() => Err("no more is kept".into()),
        Command::Follow if ui.frozen.is_none() && ui.back == 0 => Err("the view is at now".into()),
        Command::Filter if ui.screen == Screen::Overview => Err("the other screens have one".into()),
        Command::ResetConnection | Command::CloseConnection | Command::HoldConnection => {
            let (_, view) = on_connections(model)?;
            if let Some((_, halt)) = model.halted() {
                return Err(format!("halted by {}", short(&halt.by)));
            }
            if command == Command::HoldConnection && view.state == ConnectionState::Held {
                return Err("it is held".into());
            }
            may(model, Role::Operator)
        }
        Command::ReleaseConnection => {
            let (_, view) = on_connections(model)?;
            if view.state != ConnectionState::Held {
                let lift = if model.halted().is_some() { "; a halt is lifted on the Overview" } else { "" };
                return Err(format!("it is not held{lift}"));
            }
            may(model, Role::Operator)
        }
        Command::SortConnections if ui.screen != Screen::Connections => {
            Err("on the screen Connections".into())
        }
        Command::HoldRequests => {
            let (agent, _) = on_requests(model)?;
            if let Some((_, halt)) = model.halted() {
                return Err(format!("halted by {}", short(&halt.by)));
            }
            if !model.agents[agent].up() {
                return Err(format!("{} is lost", model.agents[agent].name));
            }
            may(model, Role::Operator)
        }
        Command::ReleaseRequest => {
            let (_, request) = on_requests(model)?;
            if request.state != RequestState::Held {
                return Err("it is not held".into());
            }
            may(model, Role::Operator)
        }
        Command::ResumeRequests => {
            if ui.screen != Screen::Requests {
                return Err("on the screen Requests".into());
            }
            if model.holds().next().is_none() {
                return Err("nothing is held".into());
            }
            may(model, Role::Operator)
        }
        Command::CopyCommand => match ui.screen {
            Screen::Faults => ui.form.fault().map(drop).map_err(|_| "the form is not complete".into()),
            Screen::Overview => model.selected_fault().map(drop).ok_or_else(|| "nothing is armed".into()),
            Screen::Connections | Screen::Requests => Ok(()),
            Screen::Files => Err("there is none that does the same".into()),
        },
        Command::CopyRow => match ui.focus {
            Focus::Targets if model.target_rows().is_empty() => Err("no targets".into()),
            Focus::Armed if model.armed_count() == 0 => Err("nothing is armed".into()),
            Focus::Events if model.log.is_empty() => Err("no events".into()),
            Focus::Connections if model.selected_connection().is_none() => Err("no connection".into()),
            Focus::Requests if model.selected_request().is_none() => Err("no request".into()),
            Focus::Files if model.selected_operation().is_none() => Err("no operation".into()),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// The selected connection, on the screen where it is seen.
fn on_connections(model: &Model) -> Result<(usize, &ConnectionView), String> {
    if model.ui.screen != Screen::Connections {
        return Err("on the screen Connections".into());
    }
    let (agent, view) = model.selected_connection().ok_or_else(|| "no connection is selected".to_owned())?;
    if !model.agents[agent].up() {
        return Err(format!("{} is lost", model.agents[agent].name));
    }
    Ok((agent, view))
}

/// The selected request, on the screen where it is seen.
fn on_requests(model: &Model) -> Result<(usize, &RequestView), String> {
    if model.ui.screen != Screen::Requests {
        return Err("on the screen Requests".into());
    }
    model.selected_request().ok_or_else(|| "no request is selected".to_owned())
}

/// Whether this console may, at any agent that answers.
fn may(model: &Model, needed: Role) -> Result<(), String> {
    if model.read_only {
        return Err("read-only".into());
    }
    match model.agents.iter().filter(|a| a.up()).filter_map(|a| a.role).max() {
        None => Err("no agent answers".into()),
        Some(role) if role < needed => Err(format!("needs {needed}, you are {role}")),
        Some(_) => Ok(()),
    }
}

/// A name without what stands behind it in brackets.
pub fn short(by: &str) -> &str {
    by.split(" (").next().unwrap_or(by)
}

/// What the key bar shows, in order, each with its worth (1 the most) for when there is no room for all. What is not
/// possible comes with its reason, where it is what one would look for.
pub fn bar(model: &Model) -> Vec<(Command, u8, Result<(), String>)> {
    let list: &[(Command, u8)] = match (model.ui.screen, model.ui.focus) {
        (Screen::Overview, _) => &[
            (Command::Lift, 1),
            (Command::Arm, 1),
            (Command::Disarm, 2),
            (Command::Undo, 5),
            (Command::Detail, 6),
            (Command::Freeze, 7),
            (Command::ZoomOut, 8),
            (Command::Palette, 9),
            (Command::Help, 3),
            (Command::Quit, 4),
        ],
        (Screen::Connections, _) => &[
            (Command::HoldConnection, 1),
            (Command::ReleaseConnection, 1),
            (Command::ResetConnection, 2),
            (Command::CloseConnection, 3),
            (Command::Filter, 4),
            (Command::SortConnections, 6),
            (Command::Freeze, 8),
            (Command::Palette, 9),
            (Command::Help, 5),
            (Command::Quit, 7),
        ],
        (Screen::Requests, _) => &[
            (Command::HoldRequests, 1),
            (Command::ReleaseRequest, 1),
            (Command::ResumeRequests, 2),
            (Command::Filter, 3),
            (Command::Arm, 4),
            (Command::Freeze, 7),
            (Command::Palette, 8),
            (Command::Help, 5),
            (Command::Quit, 6),
        ],
        (Screen::Files, _) => &[
            (Command::Filter, 1),
            (Command::Arm, 2),
            (Command::CopyRow, 6),
            (Command::Freeze, 5),
            (Command::Palette, 7),
            (Command::Help, 3),
            (Command::Quit, 4),
        ],
        (_, Focus::Form) => {
            &[(Command::Arm, 1), (Command::NextPanel, 2), (Command::CopyCommand, 4), (Command::Back, 3)]
        }
        _ => &[
            (Command::Lift, 1),
            (Command::Arm, 1),
            (Command::Filter, 2),
            (Command::CopyCommand, 6),
            (Command::Back, 3),
            (Command::Palette, 7),
            (Command::Help, 4),
            (Command::Quit, 5),
        ],
    };
    list.iter()
        .map(|(c, worth)| (*c, *worth, possible(model, *c)))
        .filter(|(c, _, possible)| match c {
            Command::Arm => true,
            // Beside one that is held, releasing it is what one looks for.
            Command::HoldConnection => {
                possible.is_ok()
                    || model.selected_connection().is_some_and(|(_, v)| v.state != ConnectionState::Held)
            }
            _ => possible.is_ok(),
        })
        .collect()
}

/// The command that opens a screen.
pub fn of_screen(screen: Screen) -> Command {
    match screen {
        Screen::Overview => Command::Overview,
        Screen::Faults => Command::Faults,
        Screen::Connections => Command::Connections,
        Screen::Requests => Command::Requests,
        Screen::Files => Command::Files,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::SCREENS;
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
