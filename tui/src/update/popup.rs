//! Keys of what lies over the screen.

use super::{ByHand, Effect, act, toast, typing};
use crate::command::{COMMANDS, Command, possible};
use crate::radius::Size;
use crate::state::{Level, Model, Popup};
use crossterm::event::{KeyCode, KeyEvent};
use nucleo_matcher::pattern::{CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher};

pub(super) fn press(model: &mut Model, key: &KeyEvent, effects: &mut Vec<Effect>) {
    if key.code == KeyCode::Esc {
        model.ui.popup = None;
        return;
    }
    // Taken out, and put back unless the key closed it.
    let Some(mut popup) = model.ui.popup.take() else { return };
    let keep = match &mut popup {
        Popup::Help { filter, scroll } => {
            match key.code {
                KeyCode::Up => *scroll = scroll.saturating_sub(1),
                KeyCode::Down => *scroll += 1,
                KeyCode::PageUp => *scroll = scroll.saturating_sub(10),
                KeyCode::PageDown => *scroll += 10,
                KeyCode::Enter => return,
                KeyCode::Char('?' | 'q') if filter.value().is_empty() => return,
                _ => {
                    typing::edit(filter, key);
                    *scroll = 0;
                }
            }
            true
        }
        Popup::Palette { input, selected } => {
            let found = palette(input.value());
            match key.code {
                KeyCode::Up => *selected = selected.saturating_sub(1),
                KeyCode::Down => *selected = (*selected + 1).min(found.len().saturating_sub(1)),
                KeyCode::Enter => {
                    if let Some(command) = found.get(*selected) {
                        act::run(model, *command, effects);
                    }
                    return;
                }
                _ => {
                    typing::edit(input, key);
                    *selected = 0;
                }
            }
            true
        }
        Popup::Confirm { order, typed } => {
            let done = match (order.radius.size, key.code) {
                (Size::High, KeyCode::Enter) => {
                    let same = typed.value().trim() == order.fault.target.name;
                    if !same {
                        toast(model, Level::Bad, format!("type {} to arm", order.fault.target.name));
                    }
                    same
                }
                (Size::High, _) => {
                    typing::edit(typed, key);
                    false
                }
                (_, KeyCode::Char('y' | 'Y')) => true,
                (_, KeyCode::Char('n' | 'N')) => return,
                _ => false,
            };
            if done {
                act::arm(model, order, effects);
                return;
            }
            true
        }
        Popup::Leave => match key.code {
            KeyCode::Char('h' | 'H') => {
                act::halt(model, effects);
                effects.push(Effect::Leave);
                return;
            }
            KeyCode::Char('k' | 'K') => {
                effects.push(Effect::Leave);
                return;
            }
            KeyCode::Char('s' | 'S') => return,
            _ => true,
        },
        Popup::Lift { typed } => {
            if key.code == KeyCode::Enter {
                let word = lift_word(model);
                if typed.value().trim() == word {
                    for (i, agent) in model.agents.iter().enumerate() {
                        if agent.halted.is_some() {
                            effects.push(Effect::Lift(i));
                        }
                    }
                    return;
                }
                toast(model, Level::Bad, format!("type {word} to lift the halt"));
            } else {
                typing::edit(typed, key);
            }
            true
        }
        Popup::EndRun => match key.code {
            KeyCode::Char('y' | 'Y') => {
                for (i, agent) in model.agents.iter().enumerate() {
                    if agent.running().is_some() {
                        effects.push(Effect::EndRun(i));
                    }
                }
                return;
            }
            KeyCode::Char('n' | 'N') => return,
            _ => true,
        },
        Popup::CloseConnection { agent, id, how } => match key.code {
            KeyCode::Char('y' | 'Y') => {
                effects.push(Effect::Connection(*agent, ByHand::Close(*how), *id));
                return;
            }
            KeyCode::Char('n' | 'N') => return,
            _ => true,
        },
        Popup::Fault(agent, id) => match key.code {
            KeyCode::Char('d') | KeyCode::Delete => {
                match possible(model, Command::Disarm) {
                    Ok(()) => act::disarm(model, *agent, &id.clone(), effects),
                    Err(why) => toast(model, Level::Bad, format!("disarm: {why}")),
                }
                return;
            }
            KeyCode::Char('y') => {
                let found = model.agents[*agent].faults.iter().find(|f| f.id == *id);
                if let Some(line) = found.map(|f| crate::cmdline::arm(&f.fault)) {
                    act::copy(model, line, effects);
                }
                true
            }
            KeyCode::Enter | KeyCode::Char('q') => return,
            _ => true,
        },
        Popup::Target(..) => match key.code {
            KeyCode::Char('a') => {
                act::run(model, Command::Arm, effects);
                return;
            }
            KeyCode::Enter | KeyCode::Char('q') => return,
            _ => true,
        },
    };
    if keep && model.ui.popup.is_none() {
        model.ui.popup = Some(popup);
    }
}

/// The word that lifts a halt: the run's name, so that whoever lifts knows what goes on.
pub(crate) fn lift_word(model: &Model) -> String {
    model
        .agents
        .iter()
        .find_map(crate::state::Agent::running)
        .map_or_else(|| "lift".to_owned(), |r| r.name.clone())
}

/// Commands by a fuzzy name, best first; all of them for an empty one.
pub(crate) fn palette(text: &str) -> Vec<Command> {
    let pattern = Pattern::parse(text, CaseMatching::Ignore, Normalization::Smart);
    let mut matcher = Matcher::new(Config::DEFAULT);
    let mut buffer = Vec::new();
    let mut found: Vec<(u32, Command)> = COMMANDS
        .iter()
        .filter_map(|def| {
            let text = format!("{} {}", def.name, def.about);
            let name = nucleo_matcher::Utf32Str::new(def.name, &mut buffer);
            // A hit in the name counts for more than one in what it does.
            let by_name = pattern.score(name, &mut matcher).map(|s| s + 1000);
            let by_text =
                || pattern.score(nucleo_matcher::Utf32Str::new(&text, &mut Vec::new()), &mut matcher.clone());
            by_name.or_else(by_text).map(|score| (score, def.command))
        })
        .collect();
    // Stable: equals stay in the order of the table.
    found.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    found.into_iter().map(|(_, c)| c).collect()
}
