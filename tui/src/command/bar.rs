//! What the key bar shows.

use super::{Command, possible};
use crate::screen::Screen;
use crate::state::{Focus, Model};
use model::ConnectionState;

/// What the key bar shows, in order, each with its worth (1 the most) for when there is no room for all. What is not
/// possible comes with its reason, where it is what one would look for.
pub fn bar(model: &Model) -> Vec<(Command, u8, Result<(), String>)> {
    let list: &[(Command, u8)] = match (model.ui.screen, model.ui.focus) {
        (Screen::Overview, _) => &[
            (Command::Lift, 1),
            (Command::Arm, 1),
            (Command::Disarm, 2),
            (Command::Adjust, 5),
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
        (Screen::Run, _) => &[
            (Command::Lift, 1),
            (Command::EndRun, 1),
            (Command::Palette, 5),
            (Command::Help, 2),
            (Command::Quit, 3),
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
