//! What commands do.

use super::{ByHand, Effect, connections, files, requests, toast};
use crate::catalogue::{self, Row};
use crate::change::Changing;
use crate::cmdline;
use crate::command::{Command, possible};
use crate::form::{Asks, Order};
use crate::radius::{self, Size};
use crate::screen::Screen;
use crate::state::columns::ZOOMS;
use crate::state::ui::Frozen;
use crate::state::{Focus, Halting, Level, Model, Popup, TargetRow};
use control::Close;
use model::TargetRef;
use tui_input::Input;

/// Halts every agent, known to be reachable or not: better one call too many.
pub(super) fn halt(model: &mut Model, effects: &mut Vec<Effect>) {
    for agent in 0..model.agents.len() {
        effects.push(Effect::Halt(agent));
        let told_ms = model.now_ms;
        match model.ui.halting.iter_mut().find(|h| h.agent == agent) {
            Some(h) => (h.told_ms, h.took_ms) = (told_ms, None),
            None => model.ui.halting.push(Halting { agent, told_ms, took_ms: None, result: None }),
        }
    }
    // What was half typed is kept in the form; what was half confirmed is not. What the halt does is on the overview.
    model.ui.popup = None;
    show(model, Screen::Overview);
    (model.ui.frozen, model.ui.back) = (None, 0);
    toast(model, Level::Bad, "HALT sent to every agent");
}

/// Does a command, or says why not.
pub(super) fn run(model: &mut Model, command: Command, effects: &mut Vec<Effect>) {
    if let Err(why) = possible(model, command) {
        let name = command.def().name;
        return toast(model, Level::Bad, format!("{name}: {why}"));
    }
    match command {
        Command::Halt => halt(model, effects),
        Command::Arm => arm_or_open(model, effects),
        Command::Disarm => {
            if let Some((agent, id)) = model.selected_fault().map(|(a, f)| (a, f.id.clone())) {
                disarm(model, agent, &id, effects);
            }
        }
        Command::Undo => {
            if let Some((agent, id)) = model.mine.last().cloned() {
                disarm(model, agent, &id, effects);
            }
        }
        Command::Detail => detail(model),
        Command::Lift => model.ui.popup = Some(Popup::Lift { typed: Input::default() }),
        Command::EndRun => model.ui.popup = Some(Popup::EndRun),
        Command::Freeze => match model.ui.frozen {
            Some(_) => model.ui.frozen = None,
            None => {
                // An answer that is still under way would move what is to stand still; it is not taken in.
                let column = model.last_column();
                model.ui.frozen = Some(Frozen { column, log: model.forgotten + model.log.len() });
            }
        },
        Command::Follow => (model.ui.frozen, model.ui.back) = (None, 0),
        Command::ZoomIn => zoom(model, -1),
        Command::ZoomOut => zoom(model, 1),
        Command::Filter => {
            model.ui.focus = model.ui.screen.def().panels[0];
            model.ui.filtering = true;
        }
        Command::CloseConnection | Command::ResetConnection => {
            if let Some((agent, id)) = model.ui.connections.selected {
                let how = if command == Command::ResetConnection { Close::Rst } else { Close::Fin };
                model.ui.popup = Some(Popup::CloseConnection { agent, id, how });
            }
        }
        Command::HoldConnection => connections::by_hand(model, ByHand::Hold, effects),
        Command::ReleaseConnection => connections::by_hand(model, ByHand::Release, effects),
        Command::SortConnections => connections::resort(model, effects),
        Command::HoldRequests => requests::hold(model, effects),
        Command::ReleaseRequest => requests::release(model, effects),
        Command::ResumeRequests => requests::resume(model, effects),
        Command::Adjust => change(model),
        Command::CopyRow => copy_row(model, effects),
        Command::CopyCommand => {
            let line = match model.ui.screen {
                Screen::Faults => model.ui.form.fault().ok().map(|f| match &model.ui.form.changes {
                    Some(changing) => changing.command(&f),
                    None => cmdline::arm(&f),
                }),
                Screen::Overview => model.selected_fault().map(|(_, f)| cmdline::arm(&f.fault)),
                Screen::Connections => Some(connections::command(model)),
                Screen::Requests => Some(requests::command(model)),
                Screen::Files | Screen::Run => None,
            };
            if let Some(line) = line {
                copy(model, line, effects);
            }
        }
        Command::Overview => show(model, Screen::Overview),
        Command::Faults => show(model, Screen::Faults),
        Command::Connections => {
            show(model, Screen::Connections);
            connections::ask(model, effects);
        }
        Command::Requests => {
            show(model, Screen::Requests);
            requests::ask(model, effects);
        }
        Command::Files => {
            show(model, Screen::Files);
            files::ask(model, effects);
        }
        Command::Run => show(model, Screen::Run),
        Command::NextPanel => panel(model, 1),
        Command::PreviousPanel => panel(model, -1),
        Command::Up => walk(model, -1),
        Command::Down => walk(model, 1),
        Command::PageUp => walk(model, -10),
        Command::PageDown => walk(model, 10),
        Command::First => walk(model, i64::MIN / 2),
        Command::Last => walk(model, i64::MAX / 2),
        Command::Theme => model.ui.look.light = !model.ui.look.light,
        Command::Palette => model.ui.popup = Some(Popup::Palette { input: Input::default(), selected: 0 }),
        Command::Help => model.ui.popup = Some(Popup::Help { filter: Input::default(), scroll: 0 }),
        Command::Back => match model.ui.screen {
            Screen::Faults if !model.ui.filter.value().is_empty() => {
                model.ui.filter.reset();
                select_first_match(model);
            }
            Screen::Connections if !model.ui.connections.filter.value().is_empty() => {
                model.ui.connections.filter.reset();
                model.sort_connections();
                connections::ask(model, effects);
            }
            Screen::Requests if !model.ui.requests.filter.value().is_empty() => {
                model.ui.requests.filter.reset();
                model.sort_requests();
                requests::ask(model, effects);
            }
            Screen::Files if !model.ui.files.filter.value().is_empty() => {
                model.ui.files.filter.reset();
                model.sort_operations();
                files::ask(model, effects);
            }
            Screen::Connections | Screen::Requests | Screen::Files if model.ui.frozen.is_some() => {
                model.ui.frozen = None
            }
            Screen::Faults | Screen::Connections | Screen::Requests | Screen::Files | Screen::Run => {
                show(model, Screen::Overview)
            }
            Screen::Overview => (model.ui.frozen, model.ui.back) = (None, 0),
        },
        Command::Quit => quit(model, effects),
    }
}

fn quit(model: &mut Model, effects: &mut Vec<Effect>) {
    // A spectator can neither take anything back nor is to blame for what stays.
    if model.armed_count() == 0 || model.read_only {
        effects.push(Effect::Leave);
    } else {
        model.ui.popup = Some(Popup::Leave);
    }
}

fn show(model: &mut Model, screen: Screen) {
    model.ui.screen = screen;
    model.ui.filtering = false;
    model.ui.focus = screen.def().panels[0];
    if screen == Screen::Faults {
        if model.ui.form.def.is_none() {
            let rows = catalogue::rows(model);
            let first = |r: &Row| matches!(r, Row::Fault(def) if def.name == BEGIN_WITH);
            model.ui.row = rows.iter().position(first).unwrap_or(1);
        }
        open_form(model);
    }
}

/// The fault that is selected at first: the gentlest of those that everyone has a use for.
const BEGIN_WITH: &str = "latency";

/// In the form, arms; elsewhere, opens it.
fn arm_or_open(model: &mut Model, effects: &mut Vec<Effect>) {
    if model.ui.focus != Focus::Form {
        if model.ui.screen != Screen::Faults {
            let chosen = match model.ui.screen {
                Screen::Connections => model.selected_connection().map(|(a, c)| (a, c.target.clone())),
                Screen::Requests => model.selected_request().map(|(a, r)| (a, r.target.clone())),
                Screen::Files => model.selected_operation().map(|(a, o)| (a, o.target.clone())),
                _ => model.selected_target().map(|(a, t)| (a, t.target.clone())),
            };
            show(model, Screen::Faults);
            if chosen.is_some() {
                // The first fault that fits what was selected.
                let rows = catalogue::rows(model);
                let fits = |r: &Row| matches!(r, Row::Fault(def) if chosen.as_ref().is_some_and(|c| targets(model, def).contains(c)));
                let def = model.ui.form.def;
                if !def.is_some_and(|d| fits(&Row::Fault(d))) {
                    model.ui.row = rows.iter().position(fits).unwrap_or(model.ui.row);
                }
                open_form(model);
                model.ui.form.choose(chosen);
                open_form(model);
            }
        } else if model.ui.form.def.is_some() {
            enter_form(model);
        }
        return;
    }
    match (model.ui.form.fault(), model.ui.form.target.clone()) {
        (Err(wrong), _) => {
            if let Some((line, problem)) = wrong.first() {
                model.ui.form.at = *line;
                let text = problem.to_string();
                toast(model, Level::Bad, text);
            }
        }
        (Ok(_), None) => {}
        (Ok(fault), Some((agent, _))) => {
            if let Some(why) = model.agents[agent].unavailable.get(fault.inject.name()) {
                let text = format!("{} cannot be armed there: {why}", fault.inject.name());
                return toast(model, Level::Bad, text);
            }
            let lease = model.ui.form.lease().ok().flatten();
            let radius = radius::of(model, agent, &fault);
            let changes = model.ui.form.changes.clone();
            if changes.as_ref().is_some_and(|c| c.change(&fault) == control::wire::Change::default()) {
                return toast(model, Level::Bad, "change: nothing is different");
            }
            let order = Order { agent, fault, lease, radius, changes };
            if order.radius.size == Size::Low {
                arm(model, &order, effects);
            } else {
                model.ui.popup = Some(Popup::Confirm { order: Box::new(order), typed: Input::default() });
            }
        }
    }
}

/// The form for the selected fault as it is.
fn change(model: &mut Model) {
    let Some((agent, fault)) = model.selected_fault() else { return };
    let changing = Changing { agent, id: fault.id.clone(), from: fault.fault.clone() };
    show(model, Screen::Faults);
    model.ui.filter.reset();
    model.ui.folded.remove(&changing.from.inject.def().layer);
    let of = |row: &Row| matches!(row, Row::Fault(def) if *def == changing.from.inject.def());
    model.ui.row = catalogue::rows(model).iter().position(of).unwrap_or(model.ui.row);
    model.ui.form.change(changing);
    model.ui.form.changed_ms = None;
    model.ui.focus = Focus::Form;
}

/// The form arms again.
pub(super) fn leave_change(model: &mut Model) {
    if let Some(changing) = model.ui.form.changes.clone() {
        model.ui.form.open(changing.from.inject.def());
        open_form(model);
    }
}

/// The keys go to the form. The target stands first and is chosen already; what is asked for comes next. Where none is,
/// it is typed.
fn enter_form(model: &mut Model) {
    model.ui.focus = Focus::Form;
    let form = &mut model.ui.form;
    let missing = form.target.is_none() && form.def.is_some_and(|d| !crate::form::typed_kinds(d).is_empty());
    form.at = usize::from(!missing).min(form.fields.len().saturating_sub(1));
}

/// Arms, and goes to look at what it does.
pub(super) fn arm(model: &mut Model, order: &Order, effects: &mut Vec<Effect>) {
    show(model, Screen::Overview);
    model.ui.focus = Focus::Armed;
    match &order.changes {
        Some(changing) => {
            let change = Box::new(changing.change(&order.fault));
            effects.push(Effect::Adjust { agent: changing.agent, id: changing.id.clone(), change });
            leave_change(model);
        }
        None => {
            let fault = Box::new(order.fault.clone());
            effects.push(Effect::Arm { agent: order.agent, fault, lease: order.lease });
            model.ui.fault = model.armed_count();
        }
    }
    (model.ui.frozen, model.ui.back) = (None, 0);
}

pub(super) fn disarm(model: &mut Model, agent: usize, id: &str, effects: &mut Vec<Effect>) {
    if let Some(f) = model.agents[agent].faults.iter_mut().find(|f| f.id == id) {
        f.leaving = true;
        effects.push(Effect::Disarm(agent, id.to_owned()));
    }
}

pub(super) fn copy(model: &mut Model, text: String, effects: &mut Vec<Effect>) {
    toast(model, Level::Good, format!("copied: {text}"));
    effects.push(Effect::Copy(text));
}

fn copy_row(model: &mut Model, effects: &mut Vec<Effect>) {
    let text = match model.ui.focus {
        Focus::Targets => match model.target_rows().get(model.ui.target) {
            Some(TargetRow::One(_, t)) => format!("{} {}", t.target, t.about),
            _ => "all targets".to_owned(),
        },
        Focus::Armed => model.selected_fault().map_or_else(String::new, |(_, f)| {
            format!("{} {} on {} by {}", f.id, f.fault.describe(), f.fault.target, f.by)
        }),
        Focus::Events => {
            let at = model.log.len().saturating_sub(1 + model.ui.back);
            model.log.get(at).map_or_else(String::new, |e| format!("{} {}", e.told.word, e.told.text))
        }
        Focus::Connections => {
            model.selected_connection().map_or_else(String::new, |(_, c)| connections::words(c))
        }
        Focus::Requests => model.selected_request().map_or_else(String::new, |(_, r)| requests::words(r)),
        Focus::Files => model.selected_operation().map_or_else(String::new, |(_, o)| files::words(o)),
        Focus::Run => model.run().map_or_else(String::new, |run| {
            let ended = run.verdict.as_ref().map_or(run.phase.as_str(), |(verdict, _)| verdict);
            format!("{} {ended} {}", run.name, run.why.as_deref().unwrap_or_default())
        }),
        Focus::Catalogue | Focus::Form => match model.ui.form.fault() {
            Ok(fault) => cmdline::arm(&fault),
            Err(_) => return toast(model, Level::Bad, "copy: the form is not complete"),
        },
    };
    copy(model, text, effects);
}

fn detail(model: &mut Model) {
    match model.ui.focus {
        Focus::Targets => match model.target_rows().get(model.ui.target) {
            Some(TargetRow::One(agent, t)) => {
                model.ui.popup = Some(Popup::Target(*agent, t.target.clone()));
            }
            _ => toast(model, Level::Bad, "detail: select one target"),
        },
        Focus::Armed => {
            model.ui.popup = model.selected_fault().map(|(agent, f)| Popup::Fault(agent, f.id.clone()));
        }
        Focus::Catalogue => match catalogue::rows(model).get(model.ui.row) {
            Some(Row::Layer(layer)) => {
                let layer = *layer;
                if !model.ui.folded.remove(&layer) {
                    model.ui.folded.insert(layer);
                }
            }
            Some(Row::Fault(_)) => enter_form(model),
            None => {}
        },
        Focus::Events | Focus::Form | Focus::Connections | Focus::Requests | Focus::Files | Focus::Run => {}
    }
}

fn zoom(model: &mut Model, by: i32) {
    let next = model.ui.zoom as i32 + by;
    model.ui.zoom = next.clamp(0, ZOOMS.len() as i32 - 1) as usize;
    if let Some(frozen) = &mut model.ui.frozen {
        // The same moment stays at the right edge.
        frozen.column = (frozen.column * model.columns.zoom).div_euclid(ZOOMS[model.ui.zoom]);
    }
    model.replot();
}

fn panel(model: &mut Model, by: i32) {
    let panels = model.ui.screen.def().panels;
    let at = panels.iter().position(|p| *p == model.ui.focus).unwrap_or(0) as i32;
    model.ui.focus = panels[(at + by).rem_euclid(panels.len() as i32) as usize];
    model.ui.filtering = false;
}

fn walk(model: &mut Model, by: i64) {
    let moved =
        |at: usize, rows: usize| (at as i64).saturating_add(by).clamp(0, rows.max(1) as i64 - 1) as usize;
    match model.ui.focus {
        Focus::Targets => {
            model.ui.chosen = true;
            model.ui.target = moved(model.ui.target, model.target_rows().len());
            model.replot();
        }
        Focus::Armed => model.ui.fault = moved(model.ui.fault, model.armed_count()),
        Focus::Events => {
            let rows = model.log.len();
            model.ui.back =
                (model.ui.back as i64).saturating_sub(by).clamp(0, rows.max(1) as i64 - 1) as usize;
        }
        Focus::Catalogue => {
            model.ui.row = moved(model.ui.row, catalogue::rows(model).len());
            open_form(model);
        }
        Focus::Connections => {
            let at = moved(model.ui.connections.row, model.ui.connections.rows.len());
            model.select_connection(at);
        }
        Focus::Requests => {
            let at = moved(model.ui.requests.row, model.ui.requests.rows.len());
            model.select_request(at);
        }
        Focus::Files => {
            let at = moved(model.ui.files.row, model.ui.files.rows.len());
            model.select_operation(at);
        }
        Focus::Form | Focus::Run => {}
    }
}

/// After the filter changed: the first fault that is left.
pub(super) fn select_first_match(model: &mut Model) {
    let rows = catalogue::rows(model);
    let same = |r: &Row| matches!((r, model.ui.form.def), (Row::Fault(d), Some(def)) if *d == def);
    let first = |r: &Row| matches!(r, Row::Fault(_));
    model.ui.row = rows.iter().position(same).or_else(|| rows.iter().position(first)).unwrap_or(0);
    open_form(model);
}

/// Shows the form of the selected fault, on a target that fits.
fn open_form(model: &mut Model) {
    let rows = catalogue::rows(model);
    model.ui.row = model.ui.row.min(rows.len().saturating_sub(1));
    let Some(Row::Fault(def)) = rows.get(model.ui.row) else { return };
    let fitting = targets(model, def);
    let form = &mut model.ui.form;
    form.open(def);
    let typed = form.is_target_typed();
    if !typed && !form.target.as_ref().is_some_and(|t| fitting.contains(t)) {
        form.target = fitting.into_iter().next();
    }
    form.changed_ms = Some(model.now_ms);
    if typed {
        take_target(model);
    }
}

/// Goes by the target that is typed: at the agent that was chosen, or else the first that answers. Where nothing is typed
/// any more, one is chosen again.
pub(super) fn take_target(model: &mut Model) {
    let Some(def) = model.ui.form.def else { return };
    if !model.ui.form.is_target_typed() {
        model.ui.form.target = targets(model, def).into_iter().next();
        return;
    }
    let chosen = model.ui.form.target.as_ref().map(|(agent, _)| *agent);
    if let Some(agent) = chosen.or_else(|| model.agents.iter().position(crate::state::Agent::up)) {
        model.ui.form.take_typed_target(agent);
    }
}

/// The targets that a fault fits, at all agents that answer.
pub(crate) fn targets(model: &Model, def: &model::FaultDef) -> Vec<(usize, TargetRef)> {
    let requests = def.layer == model::catalogue::Layer::Requests;
    let tls = def.layer == model::catalogue::Layer::Tls;
    let datagrams = def.is_for_datagrams();
    let agents = model.agents.iter().enumerate().filter(|(_, a)| a.up());
    agents
        .flat_map(|(i, a)| a.targets.iter().map(move |t| (i, t)))
        .filter(|(_, t)| {
            def.fits(t.target.kind)
                && (!requests || t.http)
                && (!tls || sees_tls(t))
                && (!datagrams || passes_datagrams(t))
        })
        .map(|(i, t)| (i, t.target.clone()))
        .collect()
}

/// Whether a target sees its clients' handshakes: its description says what it speaks.
fn sees_tls(target: &model::sample::TargetState) -> bool {
    ["tcp tls", "http tls"].iter().any(|words| target.about.contains(words))
}

/// Whether a target passes datagrams: its description ends with what it speaks.
fn passes_datagrams(target: &model::sample::TargetState) -> bool {
    target.about.ends_with(" udp")
}

/// The next choice of the selected field. Says whether there was one.
pub(super) fn step(model: &mut Model, by: i32) -> bool {
    let Some(def) = model.ui.form.def else { return false };
    let stepped = if model.ui.form.field().is_some_and(|f| f.asks == Asks::Target) {
        if model.ui.form.is_target_typed() {
            return false;
        }
        let fitting = targets(model, def);
        let form = &mut model.ui.form;
        let at = fitting.iter().position(|t| form.target.as_ref() == Some(t)).unwrap_or(0) as i32;
        if !fitting.is_empty() {
            form.target = Some(fitting[(at + by).rem_euclid(fitting.len() as i32) as usize].clone());
        }
        true
    } else {
        model.ui.form.step(by)
    };
    if stepped {
        model.ui.form.changed_ms = Some(model.now_ms);
    }
    stepped
}
