//! What happens becomes what is known: one pure function, which also says what is to be done outside.

mod act;
mod connections;
mod events;
mod files;
mod fold;
mod keys;
mod popup;
mod requests;
mod typing;

pub(crate) use act::targets;
pub(crate) use popup::{lift_word, palette};
pub use requests::{AboutRequests, alike};

use crate::form::Plan;
use crate::state::{Model, TargetRow, Toast, ui};
use control::wire::{Change, Disarmed, FaultState, Halted, PlanView, RunState, Status};
use control::{
    ClientError, Close, ConnectionList, ConnectionQuery, OperationList, OperationQuery, RequestList,
    RequestQuery, Signal,
};
use crossterm::event::KeyEvent;
use model::sample::TargetState;
use model::{Fault, units::Span};
use std::collections::BTreeMap;

/// What comes in.
#[derive(Debug)]
pub enum Msg {
    /// Time passed: milliseconds on the console's clock.
    Tick(f64),
    /// A key.
    Key(KeyEvent),
    /// Text was pasted.
    Paste(String),
    /// The terminal has another size: columns, rows.
    Resize(u16, u16),
    /// Something about an agent.
    Agent(usize, Box<News>),
    /// The process was asked to end.
    Terminate,
}

/// Something about one agent.
#[derive(Debug)]
pub enum News {
    /// From its stream of events.
    Signal(Signal),
    /// What it is and does, asked and answered at these times of the console's clock.
    Snapshot(Box<Snapshot>),
    /// The answer to a dry run, by the number of the question.
    Planned(u64, Box<Result<PlanView, ClientError>>),
    /// The answer to arming.
    Armed(Result<Box<FaultState>, ClientError>),
    /// A change that was asked for: the fault's id, and how it is now.
    Adjusted(String, Result<Box<FaultState>, ClientError>),
    /// The answer to disarming.
    Disarmed(String, Result<Disarmed, ClientError>),
    /// The answer to a renewal.
    Renewed(String, Result<Box<FaultState>, ClientError>),
    /// The answer to a halt, and how long it took in milliseconds.
    Halted(f64, Result<Halted, ClientError>),
    /// The answer to lifting it.
    Lifted(Result<(), ClientError>),
    /// Its open connections.
    Connections(Result<ConnectionList, ClientError>),
    /// The answer to something done to a connection by hand: what, and its number.
    ConnectionDone(ByHand, u64, Result<(), ClientError>),
    /// Its requests.
    Requests(Result<RequestList, ClientError>),
    /// The answer to something done about requests by hand.
    RequestsDone(AboutRequests, Result<(), ClientError>),
    /// Operations on its files.
    Operations(Result<OperationList, ClientError>),
    /// The answer to ending the run.
    RunEnded(Result<Box<RunState>, ClientError>),
}

/// What an agent answered to the questions the console asks every few seconds.
#[derive(Debug)]
pub struct Snapshot {
    /// Asked at.
    pub asked_ms: f64,
    /// Answered at.
    pub answered_ms: f64,
    /// Its status.
    pub status: Status,
    /// Its targets.
    pub targets: Vec<TargetState>,
    /// Its faults.
    pub faults: Vec<FaultState>,
    /// What cannot be armed there, when it was asked.
    pub unavailable: Option<BTreeMap<String, String>>,
}

/// What is to be done outside.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each is the call of control::Client by that name")]
pub enum Effect {
    Halt(usize),
    Plan {
        agent: usize,
        fault: Box<Fault>,
        ask: u64,
    },
    Arm {
        agent: usize,
        fault: Box<Fault>,
        lease: Option<Span>,
    },
    Adjust {
        agent: usize,
        id: String,
        change: Box<Change>,
    },
    Disarm(usize, String),
    Renew(usize, String),
    Lift(usize),
    EndRun(usize),
    Connections(usize, Box<ConnectionQuery>),
    /// Something done to a connection by hand: at which agent, what, and its number.
    Connection(usize, ByHand, u64),
    Requests(usize, Box<RequestQuery>),
    Operations(usize, Box<OperationQuery>),
    /// Something done about requests by hand: at which agent, and what.
    AboutRequests(usize, AboutRequests),
    /// Asks the agent anew for what it is and does.
    Refresh(usize),
    /// Puts a text into the clipboard of the terminal.
    Copy(String),
    /// Leaves, after everything before this was done.
    Leave,
}

/// What is done to a connection by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByHand {
    /// It is ended.
    Close(Close),
    /// Nothing passes on it.
    Hold,
    /// It goes on.
    Release,
}

/// How long a message stays.
const TOAST_MS: f64 = 6000.0;

/// How long the form must rest before the agent is asked about it.
const REST_MS: f64 = 250.0;

/// Takes in what happened.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    let mut effects = Vec::new();
    match msg {
        Msg::Tick(now_ms) => tick(model, now_ms, &mut effects),
        Msg::Key(key) => {
            model.dirty = true;
            keys::press(model, &key, &mut effects);
        }
        Msg::Paste(text) => {
            model.dirty = true;
            typing::paste(model, &text);
        }
        Msg::Resize(columns, rows) => {
            model.size = (columns, rows);
            model.dirty = true;
        }
        Msg::Agent(agent, news) => {
            if agent < model.agents.len() {
                fold::news(model, agent, *news, &mut effects);
            }
        }
        Msg::Terminate => effects.push(Effect::Leave),
    }
    keep_selections(model);
    effects
}

/// How often the clock should tick; none when time changes nothing.
pub fn next_tick_ms(model: &Model) -> Option<f64> {
    match model.ui.form.changed_ms {
        Some(since) => Some((since + REST_MS - model.now_ms).max(10.0)),
        None if model.counting() || model.polls() => Some(1000.0 - model.now_ms % 1000.0),
        None => None,
    }
}

fn tick(model: &mut Model, now_ms: f64, effects: &mut Vec<Effect>) {
    let second = (model.now_ms / 1000.0) as u64 != (now_ms / 1000.0) as u64;
    model.now_ms = now_ms;
    if model.ui.toast.as_ref().is_some_and(|t| t.until_ms <= now_ms) {
        model.ui.toast = None;
        model.dirty = true;
    }
    if second {
        connections::ask(model, effects);
        requests::ask(model, effects);
        files::ask(model, effects);
    }
    if second && model.counting() {
        model.dirty = true;
        for (agent, id) in &model.mine {
            let found = model.agents[*agent].faults.iter().find(|f| f.id == *id);
            if let Some(lease) = found.and_then(|f| f.lease) {
                // Three times a lease, so that one that is lost does not end the fault.
                let every = (lease.0.as_secs() / 3).max(1);
                if ((now_ms / 1000.0) as u64).is_multiple_of(every) {
                    effects.push(Effect::Renew(*agent, id.clone()));
                }
            }
        }
    }
    if model.ui.form.changed_ms.is_some_and(|since| now_ms - since >= REST_MS) {
        model.ui.form.changed_ms = None;
        ask_for_plan(model, effects);
    }
}

/// Asks the agent what the form as it stands would do.
fn ask_for_plan(model: &mut Model, effects: &mut Vec<Effect>) {
    let form = &mut model.ui.form;
    model.dirty = true;
    form.plan = Plan::None;
    if form.changes.is_some() {
        // The agent plans what is armed anew; of a change it says when it is made whether it can be.
        return;
    }
    if let (Ok(fault), Some((agent, _))) = (form.fault(), &form.target)
        && model.agents[*agent].up()
    {
        let ask = model.now_ms.to_bits();
        form.plan = Plan::Asked(ask);
        effects.push(Effect::Plan { agent: *agent, fault: Box::new(fault), ask });
    }
}

/// Selections stay on rows that exist.
fn keep_selections(model: &mut Model) {
    let targets = model.target_rows().len();
    let faults = model.armed_count();
    follow_run(model);
    let ui = &mut model.ui;
    if ui.target >= targets.max(1) {
        ui.target = targets.saturating_sub(1);
        model.replot();
    }
    model.ui.fault = model.ui.fault.min(faults.saturating_sub(1));
    if let Some(popup) = &model.ui.popup {
        let gone = match popup {
            ui::Popup::Fault(agent, id) => !model.agents[*agent].faults.iter().any(|f| f.id == *id),
            ui::Popup::Target(agent, target) => model.agents[*agent].target(target).is_none(),
            ui::Popup::CloseConnection { agent, id, .. } => model.connection(*agent, *id).is_none(),
            ui::Popup::Lift { .. } => model.halted().is_none(),
            _ => false,
        };
        if gone {
            model.ui.popup = None;
            model.dirty = true;
        }
    }
}

/// Until a person selects a target, the one that the run's bounds are about is shown, with its bounds.
fn follow_run(model: &mut Model) {
    if model.ui.chosen {
        return;
    }
    let Some(wanted) = model.followed() else { return };
    let is = |r: &TargetRow<'_>| matches!(r, TargetRow::One(_, t) if t.target == wanted);
    if let Some(row) = model.target_rows().iter().position(is)
        && row != model.ui.target
    {
        model.ui.target = row;
        model.dirty = true;
        model.replot();
    }
}

/// Shows a message for a while.
fn toast(model: &mut Model, level: ui::Level, text: impl Into<String>) {
    model.ui.toast = Some(Toast { text: text.into(), level, until_ms: model.now_ms + TOAST_MS });
    model.dirty = true;
}
