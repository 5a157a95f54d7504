//! The screen of requests: asking for them, and holding them by hand.

use super::{Effect, toast, typing};
use crate::screen::Screen;
use crate::state::{Level, Model};
use control::connections::HOLD_LEASE;
use control::{ClientError, HoldOrder, RequestList};
use crossterm::event::{KeyCode, KeyEvent};
use model::{Matcher, RequestView};

/// What is done about requests by hand.
#[derive(Debug, Clone, PartialEq)]
pub enum AboutRequests {
    /// Those that match are held.
    Hold(Box<HoldOrder>),
    /// One goes on.
    Release(u64),
    /// Nothing is held any more by that hold.
    Resume(u64),
}

/// Asks every agent for its requests, while they are looked at; not one that has not answered yet.
pub(super) fn ask(model: &mut Model, effects: &mut Vec<Effect>) {
    if !model.polls_requests() {
        return;
    }
    let query = model.ui.requests.query();
    for (i, agent) in model.agents.iter_mut().enumerate() {
        if agent.up() && agent.requests_asked.is_none() {
            agent.requests_asked = Some(query.clone());
            effects.push(Effect::Requests(i, Box::new(query.clone())));
        }
    }
}

/// An agent's answer.
pub(super) fn list(
    model: &mut Model,
    agent: usize,
    answer: Result<RequestList, ClientError>,
    effects: &mut Vec<Effect>,
) {
    let asked = model.agents[agent].requests_asked.take();
    if asked.is_some_and(|asked| asked != model.ui.requests.query()) {
        // Something was typed meanwhile.
        ask(model, effects);
    }
    // What stands still on the screen must not move, nor change under a key.
    if model.ui.frozen.is_some() && model.ui.screen == Screen::Requests {
        return;
    }
    let answer = match answer {
        // The agent is lost, or slow: what it said last is shown, as its faults are.
        Err(e) if e.code().is_none() && model.agents[agent].requests.is_some() => return,
        answer => answer.map_err(|e| e.to_string()),
    };
    if model.agents[agent].requests.as_ref() == Some(&answer) {
        return;
    }
    model.agents[agent].requests = Some(answer);
    model.sort_requests();
}

/// What those are like that are held with this one: its method and path.
pub fn alike(request: &RequestView) -> Matcher {
    Matcher::All(vec![Matcher::Method(vec![request.method.clone()]), Matcher::Path(request.path.clone())])
}

/// Holds requests like the selected one.
pub(super) fn hold(model: &mut Model, effects: &mut Vec<Effect>) {
    let Some((agent, request)) = model.selected_request() else { return };
    let (target, when) = (request.target.clone(), Some(alike(request)));
    let order = Box::new(HoldOrder { target, when, lease: Some(HOLD_LEASE) });
    effects.push(Effect::AboutRequests(agent, AboutRequests::Hold(order)));
}

/// Lets the selected one go on.
pub(super) fn release(model: &mut Model, effects: &mut Vec<Effect>) {
    if let Some((agent, request)) = model.selected_request() {
        effects.push(Effect::AboutRequests(agent, AboutRequests::Release(request.id)));
    }
}

/// Holds nothing any more.
pub(super) fn resume(model: &mut Model, effects: &mut Vec<Effect>) {
    let holds: Vec<(usize, u64)> = model.holds().map(|(agent, hold)| (agent, hold.id)).collect();
    let resume = |(agent, id)| Effect::AboutRequests(agent, AboutRequests::Resume(id));
    effects.extend(holds.into_iter().map(resume));
}

/// What came of it.
pub(super) fn done(
    model: &mut Model,
    what: &AboutRequests,
    result: Result<(), ClientError>,
    effects: &mut Vec<Effect>,
) {
    let (good, bad) = match what {
        AboutRequests::Hold(order) => {
            let which = order.when.as_ref().map_or_else(String::new, |when| format!(" {when}"));
            (
                format!("requests{which} are held, for {HOLD_LEASE} at most: r lets one go on, R all"),
                "requests are not held".to_owned(),
            )
        }
        AboutRequests::Release(id) => {
            (format!("request #{id} goes on"), format!("request #{id} was not released"))
        }
        AboutRequests::Resume(_) => {
            ("nothing is held any more".to_owned(), "the hold was not ended".to_owned())
        }
    };
    match result {
        Ok(()) => toast(model, Level::Good, good),
        Err(e) => toast(model, Level::Bad, format!("{bad}: {e}")),
    }
    ask(model, effects);
}

/// A key for the filter, while it is typed. Says whether it was one for it.
pub(super) fn filter(model: &mut Model, key: &KeyEvent, effects: &mut Vec<Effect>) -> bool {
    match key.code {
        KeyCode::Esc => {
            model.ui.requests.filter.reset();
            model.ui.filtering = false;
        }
        KeyCode::Enter | KeyCode::Tab => model.ui.filtering = false,
        KeyCode::Up | KeyCode::Down => return false,
        _ => {
            if !typing::edit(&mut model.ui.requests.filter, key) {
                return false;
            }
        }
    }
    model.sort_requests();
    ask(model, effects);
    true
}

/// A request in words, to be copied.
pub(super) fn words(r: &RequestView) -> String {
    let client = r.client.as_deref().unwrap_or("unix");
    let status = r.status.map_or_else(|| "-".to_owned(), |s| s.to_string());
    let mut text = format!(
        "#{} {client} → {} {} {} {status} {} {:.1} ms, {:.1} ms of it injected",
        r.id, r.target, r.method, r.path, r.state, r.total_ms, r.injected_ms
    );
    for fault in r.faults.iter().filter(|f| f.taken) {
        let did = if fault.applied { "applied" } else { "has it" };
        text.push_str(&format!(" · {} {} {did} (ordinal {})", fault.id, fault.fault, fault.ordinal));
    }
    text
}

/// The command line that lists the same.
pub(super) fn command(model: &Model) -> String {
    let text = model.ui.requests.filter.value().trim();
    if text.is_empty() {
        return "murphy requests --follow".to_owned();
    }
    format!("murphy requests --follow --text {}", crate::cmdline::quote(text))
}
