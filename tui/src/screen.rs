//! The table of screens: a new one is a row here, a file in `view`, and its keys in `command`.

use crate::state::Focus;

/// A screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Screen {
    /// Targets, armed faults, plots, events.
    Overview,
    /// The catalogue and the arming form.
    Faults,
    /// The open connections of the proxies.
    Connections,
    /// The HTTP requests through them.
    Requests,
    /// Operations on files.
    Files,
    /// The experiment that runs, or ran last.
    Run,
}

/// A row of the table.
#[derive(Debug)]
pub struct ScreenDef {
    /// Which.
    pub screen: Screen,
    /// The key that opens it.
    pub key: char,
    /// Its title.
    pub title: &'static str,
    /// Its panels, in the order of the tab key.
    pub panels: &'static [Focus],
}

/// All screens.
pub const SCREENS: &[ScreenDef] = &[
    ScreenDef {
        screen: Screen::Overview,
        key: '1',
        title: "Overview",
        panels: &[Focus::Targets, Focus::Armed, Focus::Events],
    },
    ScreenDef { screen: Screen::Faults, key: '2', title: "Faults", panels: &[Focus::Catalogue, Focus::Form] },
    ScreenDef { screen: Screen::Connections, key: '3', title: "Connections", panels: &[Focus::Connections] },
    ScreenDef { screen: Screen::Requests, key: '4', title: "Requests", panels: &[Focus::Requests] },
    ScreenDef { screen: Screen::Files, key: '5', title: "Files", panels: &[Focus::Files] },
    ScreenDef { screen: Screen::Run, key: '6', title: "Run", panels: &[Focus::Run] },
];

impl Screen {
    /// Its row.
    pub fn def(self) -> &'static ScreenDef {
        // Every screen has a row; the test below says so.
        SCREENS.iter().find(|d| d.screen == self).unwrap_or(&SCREENS[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_screen_has_a_row() {
        use Screen::{Connections, Faults, Files, Overview, Requests, Run};
        for screen in [Overview, Faults, Connections, Requests, Files, Run] {
            assert_eq!(screen.def().screen, screen);
        }
    }
}
