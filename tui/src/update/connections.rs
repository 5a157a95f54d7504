//! The screen of connections: asking for them, and what is done to one by hand.

use super::{ByHand, Effect, toast, typing};
use crate::screen::Screen;
use crate::state::{Level, Model};
use control::connections::HOLD_LEASE;
use control::{ClientError, Close, ConnectionList, Sort};
use crossterm::event::{KeyCode, KeyEvent};
use model::ConnectionView;

/// Asks every agent for its connections, while they are looked at; not one that has not answered yet.
pub(super) fn ask(model: &mut Model, effects: &mut Vec<Effect>) {
    if !model.polls_connections() {
        return;
    }
    let query = model.ui.connections.query();
    for (i, agent) in model.agents.iter_mut().enumerate() {
        if agent.up() && agent.connections_asked.is_none() {
            agent.connections_asked = Some(query.clone());
            effects.push(Effect::Connections(i, Box::new(query.clone())));
        }
    }
}

/// An agent's answer.
pub(super) fn list(
    model: &mut Model,
    agent: usize,
    answer: Result<ConnectionList, ClientError>,
    effects: &mut Vec<Effect>,
) {
    let asked = model.agents[agent].connections_asked.take();
    if asked.is_some_and(|asked| asked != model.ui.connections.query()) {
        // Something was typed meanwhile.
        ask(model, effects);
    }
    // What stands still on the screen must not move, nor change under a key.
    if model.ui.frozen.is_some() && model.ui.screen == Screen::Connections {
        return;
    }
    let answer = match answer {
        // The agent is lost, or slow: what it said last is shown, as its faults are.
        Err(e) if e.code().is_none() && model.agents[agent].connections.is_some() => return,
        answer => answer.map_err(|e| e.to_string()),
    };
    if model.agents[agent].connections.as_ref() == Some(&answer) {
        return;
    }
    model.agents[agent].connections = Some(answer);
    model.sort_connections();
}

/// Holds the selected connection, or lets it go on.
pub(super) fn by_hand(model: &mut Model, what: ByHand, effects: &mut Vec<Effect>) {
    if let Some((agent, id)) = model.ui.connections.selected {
        effects.push(Effect::Connection(agent, what, id));
    }
}

/// What came of it.
pub(super) fn done(
    model: &mut Model,
    agent: usize,
    what: ByHand,
    id: u64,
    result: Result<(), ClientError>,
    effects: &mut Vec<Effect>,
) {
    let name = model.connection(agent, id).and_then(|c| c.client.clone()).unwrap_or_else(|| format!("#{id}"));
    match result {
        Ok(()) => {
            let text = match what {
                ByHand::Close(Close::Rst) => format!("{name} was reset"),
                ByHand::Close(Close::Fin) => format!("{name} was closed"),
                ByHand::Hold => format!("{name} is held, for {HOLD_LEASE} at most: r lets it go on"),
                ByHand::Release => format!("{name} goes on"),
            };
            toast(model, Level::Good, text);
        }
        Err(e) => {
            let verb = match what {
                ByHand::Close(_) => "ended",
                ByHand::Hold => "held",
                ByHand::Release => "released",
            };
            toast(model, Level::Bad, format!("{name} was not {verb}: {e}"));
        }
    }
    ask(model, effects);
}

/// The next order.
pub(super) fn resort(model: &mut Model, effects: &mut Vec<Effect>) {
    let at = Sort::ALL.iter().position(|s| *s == model.ui.connections.sort).unwrap_or(0);
    model.ui.connections.sort = Sort::ALL[(at + 1) % Sort::ALL.len()];
    model.ui.connections.row = 0;
    model.ui.connections.selected = None;
    model.sort_connections();
    ask(model, effects);
}

/// A key for the filter, while it is typed. Says whether it was one for it.
pub(super) fn filter(model: &mut Model, key: &KeyEvent, effects: &mut Vec<Effect>) -> bool {
    match key.code {
        KeyCode::Esc => {
            model.ui.connections.filter.reset();
            model.ui.filtering = false;
        }
        KeyCode::Enter | KeyCode::Tab => model.ui.filtering = false,
        KeyCode::Up | KeyCode::Down => return false,
        _ => {
            if !typing::edit(&mut model.ui.connections.filter, key) {
                return false;
            }
        }
    }
    model.sort_connections();
    ask(model, effects);
    true
}

/// A connection in words, to be copied.
pub(super) fn words(c: &ConnectionView) -> String {
    let client = c.client.as_deref().unwrap_or("unix");
    let upstream = c.upstream.as_deref().unwrap_or("?");
    let mut text = format!(
        "#{} {client} → {} → {upstream} {} up {} B down {} B",
        c.id, c.target, c.state, c.bytes_up, c.bytes_down
    );
    for fault in &c.faults {
        let did = if fault.applied { "applied" } else { "has it" };
        text.push_str(&format!(" · {} {} {did}", fault.id, fault.fault));
    }
    text
}

/// The command line that lists the same.
pub(super) fn command(model: &Model) -> String {
    let browse = &model.ui.connections;
    let mut line = "murphy connections".to_owned();
    let text = browse.filter.value().trim();
    if !text.is_empty() {
        line.push_str(&format!(" --text {}", crate::cmdline::quote(text)));
    }
    if browse.sort != Sort::default() {
        line.push_str(&format!(" --sort {}", browse.sort.word()));
    }
    line
}
