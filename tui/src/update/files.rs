//! The screen of files: asking for what is done to them.

use super::{Effect, typing};
use crate::screen::Screen;
use crate::state::Model;
use control::{ClientError, OperationList};
use crossterm::event::{KeyCode, KeyEvent};
use model::FileOperation;

/// Asks every agent for its operations, while they are looked at; not one that has not answered yet.
pub(super) fn ask(model: &mut Model, effects: &mut Vec<Effect>) {
    if !model.polls_operations() {
        return;
    }
    let query = model.ui.files.query();
    for (i, agent) in model.agents.iter_mut().enumerate() {
        if agent.up() && agent.operations_asked.is_none() {
            agent.operations_asked = Some(query.clone());
            effects.push(Effect::Operations(i, Box::new(query.clone())));
        }
    }
}

/// An agent's answer.
pub(super) fn list(
    model: &mut Model,
    agent: usize,
    answer: Result<OperationList, ClientError>,
    effects: &mut Vec<Effect>,
) {
    let asked = model.agents[agent].operations_asked.take();
    if asked.is_some_and(|asked| asked != model.ui.files.query()) {
        // Something was typed meanwhile.
        ask(model, effects);
    }
    // What stands still on the screen must not move, nor change under a key.
    if model.ui.frozen.is_some() && model.ui.screen == Screen::Files {
        return;
    }
    let answer = match answer {
        // The agent is lost, or slow: what it said last is shown, as its faults are.
        Err(e) if e.code().is_none() && model.agents[agent].operations.is_some() => return,
        answer => answer.map_err(|e| e.to_string()),
    };
    model.agents[agent].operations = Some(answer);
    model.count_operations(agent);
    model.sort_operations();
}

/// A key for the filter, while it is typed. Says whether it was one for it.
pub(super) fn filter(model: &mut Model, key: &KeyEvent, effects: &mut Vec<Effect>) -> bool {
    match key.code {
        KeyCode::Esc => {
            model.ui.files.filter.reset();
            model.ui.filtering = false;
        }
        KeyCode::Enter | KeyCode::Tab => model.ui.filtering = false,
        KeyCode::Up | KeyCode::Down => return false,
        _ => {
            if !typing::edit(&mut model.ui.files.filter, key) {
                return false;
            }
        }
    }
    model.sort_operations();
    ask(model, effects);
    true
}

/// An operation in words, to be copied.
pub(super) fn words(o: &FileOperation) -> String {
    let result = o.error.as_deref().unwrap_or("ok");
    let mut text = format!(
        "{} {} {} of {} bytes by {} ({}): {result}, {} µs",
        o.target, o.op, o.path, o.bytes, o.command, o.pid, o.micros
    );
    for id in &o.faults {
        text.push_str(&format!(" · {id}"));
    }
    text
}
