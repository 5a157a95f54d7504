//! Where a key goes: halt first, then what lies on top, then what is typed into, then the table of commands.

use super::{Effect, act, popup, typing};
use crate::command::{Command, of_key};
use crate::state::{Focus, Model};
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

pub(super) fn press(model: &mut Model, key: &KeyEvent, effects: &mut Vec<Effect>) {
    if key.kind == KeyEventKind::Release {
        return;
    }
    let command = of_key(model.ui.screen, key);
    // Before every widget: nothing that is open, focused or typed may keep a halt from happening.
    if command == Some(Command::Halt) {
        return act::halt(model, effects);
    }
    if model.ui.popup.is_some() {
        return popup::press(model, key, effects);
    }
    if model.ui.filtering && typing::filter(model, key, effects) {
        return;
    }
    if model.ui.focus == Focus::Form && form(model, key, effects) {
        return;
    }
    if let Some(command) = command {
        act::run(model, command, effects);
    }
}

/// The keys of the form. Says whether the key was its.
fn form(model: &mut Model, key: &KeyEvent, effects: &mut Vec<Effect>) -> bool {
    let last = model.ui.form.fields.len().saturating_sub(1);
    let at = model.ui.form.at;
    match (key.code, key.modifiers) {
        (KeyCode::Esc, _) if model.ui.form.changes.is_some() => {
            act::leave_change(model);
            act::run(model, Command::Overview, effects);
        }
        (KeyCode::Esc, _) => model.ui.focus = Focus::Catalogue,
        (KeyCode::Enter, _) => act::run(model, Command::Arm, effects),
        (KeyCode::Tab, _) if at == last => model.ui.form.at = 0,
        (KeyCode::Tab | KeyCode::Down, _) => model.ui.form.at = (at + 1).min(last),
        (KeyCode::BackTab, _) if at == 0 => model.ui.focus = Focus::Catalogue,
        (KeyCode::BackTab | KeyCode::Up, _) => model.ui.form.at = at.saturating_sub(1),
        (KeyCode::Left | KeyCode::Right, KeyModifiers::NONE) => {
            let by = if key.code == KeyCode::Right { 1 } else { -1 };
            if !act::step(model, by) {
                typing::field(model, key);
            }
        }
        (KeyCode::Char(' '), KeyModifiers::NONE) if !typed(model) => drop(act::step(model, 1)),
        (KeyCode::F(_), _) => return false,
        (KeyCode::Char(_), m)
            if m.contains(KeyModifiers::CONTROL) && of_key(model.ui.screen, key).is_some() =>
        {
            return false;
        }
        // A field that is not typed into leaves letters to the table of commands.
        (KeyCode::Char(_), _) if !typed(model) => return false,
        _ => return typing::field(model, key),
    }
    true
}

fn typed(model: &Model) -> bool {
    let form = &model.ui.form;
    form.field().zip(form.def).is_some_and(|(field, def)| typing::is_typed(field, def))
}
