//! Text that is typed: the form's fields, the catalogue's filter, and the lines of popups.

use super::{Effect, connections, files, requests};
use crate::form::{self, Asks, Field};
use crate::screen::Screen;
use crate::state::{Focus, Model, Popup};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use model::FaultDef;
use tui_input::{Input, InputRequest};

/// Longer texts are slips of the clipboard.
const LONGEST: usize = 500;

/// Gives a key to a line. Says whether it was one for it.
pub(super) fn edit(input: &mut Input, key: &KeyEvent) -> bool {
    let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
    let alt = key.modifiers.contains(KeyModifiers::ALT);
    let request = match (key.code, ctrl, alt) {
        (KeyCode::Char(c), false, false) if input.value().len() < LONGEST => InputRequest::InsertChar(c),
        (KeyCode::Backspace, false, false) | (KeyCode::Char('h'), true, false) => {
            InputRequest::DeletePrevChar
        }
        (KeyCode::Backspace, ..) | (KeyCode::Char('w'), true, false) => InputRequest::DeletePrevWord,
        (KeyCode::Delete, ..) => InputRequest::DeleteNextChar,
        (KeyCode::Left, true, _) | (KeyCode::Char('b'), false, true) => InputRequest::GoToPrevWord,
        (KeyCode::Right, true, _) | (KeyCode::Char('f'), false, true) => InputRequest::GoToNextWord,
        (KeyCode::Left, ..) => InputRequest::GoToPrevChar,
        (KeyCode::Right, ..) => InputRequest::GoToNextChar,
        (KeyCode::Home, ..) | (KeyCode::Char('a'), true, false) => InputRequest::GoToStart,
        (KeyCode::End, ..) | (KeyCode::Char('e'), true, false) => InputRequest::GoToEnd,
        (KeyCode::Char('u'), true, false) => InputRequest::DeleteLine,
        (KeyCode::Char('k'), true, false) => InputRequest::DeleteTillEnd,
        _ => return false,
    };
    input.handle(request);
    true
}

/// A key for the selected field of the form.
pub(super) fn field(model: &mut Model, key: &KeyEvent) -> bool {
    let Some(def) = model.ui.form.def else { return false };
    let form = &mut model.ui.form;
    let Some(field) = form.fields.get_mut(form.at) else { return false };
    if !is_typed(field, def) {
        return false;
    }
    let before = field.input.value().to_owned();
    let taken = edit(&mut field.input, key);
    if field.input.value() != before {
        let target = field.asks == Asks::Target;
        form.changed_ms = Some(model.now_ms);
        if target {
            super::act::take_target(model);
        }
    }
    taken
}

/// Whether a field of the form is one to type in.
pub(super) fn is_typed(field: &Field, def: &FaultDef) -> bool {
    match field.asks {
        Asks::Target => !form::typed_kinds(def).is_empty(),
        _ => field.choices().is_none(),
    }
}

/// A key for the filter of the catalogue, while it is typed.
pub(super) fn filter(model: &mut Model, key: &KeyEvent, effects: &mut Vec<Effect>) -> bool {
    if model.ui.screen == Screen::Connections {
        return connections::filter(model, key, effects);
    }
    if model.ui.screen == Screen::Requests {
        return requests::filter(model, key, effects);
    }
    if model.ui.screen == Screen::Files {
        return files::filter(model, key, effects);
    }
    let ui = &mut model.ui;
    match key.code {
        KeyCode::Esc => {
            ui.filter.reset();
            ui.filtering = false;
        }
        KeyCode::Enter | KeyCode::Tab => ui.filtering = false,
        KeyCode::Up | KeyCode::Down => return false,
        _ => {
            if !edit(&mut ui.filter, key) {
                return false;
            }
        }
    }
    super::act::select_first_match(model);
    true
}

/// Pasted text goes where typed text would; line breaks become spaces.
pub(super) fn paste(model: &mut Model, text: &str) {
    let now_ms = model.now_ms;
    let ui = &mut model.ui;
    let input = match &mut ui.popup {
        Some(Popup::Help { filter, .. }) => filter,
        Some(Popup::Palette { input, .. }) => input,
        // A name is typed to think about it; pasting it would not be typing.
        Some(_) => return,
        None if ui.filtering && ui.screen == Screen::Connections => &mut ui.connections.filter,
        None if ui.filtering && ui.screen == Screen::Requests => &mut ui.requests.filter,
        None if ui.filtering && ui.screen == Screen::Files => &mut ui.files.filter,
        None if ui.filtering => &mut ui.filter,
        None if ui.focus == Focus::Form => {
            let (at, def) = (ui.form.at, ui.form.def);
            let Some(field) = ui.form.fields.get_mut(at) else { return };
            if !def.is_some_and(|def| is_typed(field, def)) {
                return;
            }
            ui.form.changed_ms = Some(now_ms);
            &mut field.input
        }
        None => return,
    };
    for c in text.trim().chars().take(LONGEST) {
        input.handle(InputRequest::InsertChar(if c.is_control() { ' ' } else { c }));
    }
    if model.ui.focus == Focus::Form && model.ui.form.field().is_some_and(|f| f.asks == Asks::Target) {
        super::act::take_target(model);
    }
    if model.ui.screen == Screen::Connections {
        model.sort_connections();
    }
    if model.ui.screen == Screen::Requests {
        model.sort_requests();
    }
    if model.ui.screen == Screen::Files {
        model.sort_operations();
    }
}
