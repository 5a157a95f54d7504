//! Every command with its names, its keys and what it does.

use super::key::{Key, ch, code, ctrl};
use super::{Command, CommandDef};
use crate::screen::Screen;
use crossterm::event::KeyCode;

/// All commands.
pub const COMMANDS: &[CommandDef] = &[
    row(Command::Halt, "halt", "HALT", "halt everything, at once and without a question", &[ctrl('x')]),
    row(Command::Arm, "arm", "arm", "arm a fault", &[ch('a')]),
    row(Command::Disarm, "disarm", "disarm", "disarm the selected fault", &[ch('d'), code(KeyCode::Delete)]),
    row(Command::Adjust, "change", "change", "change the selected fault while it is on", &[ch('e')]),
    row(Command::Undo, "undo", "undo", "disarm what I armed last", &[ch('u')]),
    row(Command::Detail, "detail", "detail", "the selected row in detail", &[code(KeyCode::Enter)]),
    row(Command::Lift, "lift", "lift", "lift the halt, on purpose", &[ch('r')]),
    CommandDef {
        command: Command::EndRun,
        name: "end run",
        short: "end the run",
        about: "end the run and take its faults back, after a question",
        keys: &[ch('x')],
        only: Some(Screen::Run),
    },
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
    row(Command::Run, "run", "run", "the experiment: stages on a time line, checks, faults", &[ch('6')]),
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
