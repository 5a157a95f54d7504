//! Whether a command can be done here and now, and if not, why.

use super::Command;
use crate::screen::Screen;
use crate::state::{Focus, Model, columns::ZOOMS};
use control::Role;
use model::{ConnectionState, ConnectionView, RequestState, RequestView};

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
        Command::Adjust => {
            if ui.screen != Screen::Overview {
                return Err("on the screen Overview".into());
            }
            if model.selected_fault().is_none() {
                return Err("nothing is armed".into());
            }
            may(model, Role::Operator)
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
            Focus::Run => Err("all that is known stands here".into()),
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
        Command::Filter if matches!(ui.screen, Screen::Overview | Screen::Run) => {
            Err("the other screens have one".into())
        }
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
            Screen::Files | Screen::Run => Err("there is none that does the same".into()),
        },
        Command::CopyRow => match ui.focus {
            Focus::Targets if model.target_rows().is_empty() => Err("no targets".into()),
            Focus::Armed if model.armed_count() == 0 => Err("nothing is armed".into()),
            Focus::Events if model.log.is_empty() => Err("no events".into()),
            Focus::Connections if model.selected_connection().is_none() => Err("no connection".into()),
            Focus::Requests if model.selected_request().is_none() => Err("no request".into()),
            Focus::Files if model.selected_operation().is_none() => Err("no operation".into()),
            Focus::Run if model.run().is_none() => Err("no run".into()),
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
