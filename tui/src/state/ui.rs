//! What the person at the keys has open, selected and typed.

use crate::form::{Form, Order};
use crate::screen::Screen;
use crate::state::connections::Browse;
use std::collections::BTreeSet;
use tui_input::Input;

/// How it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Light background.
    pub light: bool,
    /// No colours at all.
    pub mono: bool,
    /// What plots are drawn with.
    pub marker: Marker,
}

/// What plots are drawn with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Marker {
    /// Two by four dots a cell.
    #[default]
    Braille,
    /// One dot a cell.
    Dots,
    /// Half blocks.
    Blocks,
}

/// Which panel has the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Focus {
    /// Overview: targets.
    Targets,
    /// Overview: armed faults.
    Armed,
    /// Overview: events.
    Events,
    /// Faults: the catalogue.
    Catalogue,
    /// Faults: the form.
    Form,
    /// Connections: the table.
    Connections,
    /// Requests: the table.
    Requests,
    /// Files: the tail of operations.
    Files,
    /// Run: its time line.
    Run,
}

/// Something that lies over the screen.
#[derive(Debug, Clone)]
pub enum Popup {
    /// Keys, with a filter.
    Help {
        /// What is typed.
        filter: Input,
        /// The first line shown.
        scroll: usize,
    },
    /// Commands by name.
    Palette {
        /// What is typed.
        input: Input,
        /// Which is selected.
        selected: usize,
    },
    /// Arming something that is not small.
    Confirm {
        /// What is armed.
        order: Box<Order>,
        /// What is typed, when the target's name is asked for.
        typed: Input,
    },
    /// Leaving with faults armed.
    Leave,
    /// Lifting the halt, on purpose.
    Lift {
        /// What is typed.
        typed: Input,
    },
    /// Ending the run.
    EndRun,
    /// Ending a connection, which cannot be undone.
    CloseConnection {
        /// Which agent.
        agent: usize,
        /// The connection's number.
        id: u64,
        /// In order, or by a reset.
        how: control::Close,
    },
    /// A fault in detail: agent and id.
    Fault(usize, String),
    /// A target in detail: agent and target.
    Target(usize, model::TargetRef),
}

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// It worked.
    Good,
    /// It did not, and why.
    Bad,
}

/// A message that goes away by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Toast {
    /// What it says.
    pub text: String,
    /// How much it matters.
    pub level: Level,
    /// When it goes.
    pub until_ms: f64,
}

/// The view as it was when it was frozen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frozen {
    /// The newest column.
    pub column: i64,
    /// One past the newest line of the log, counted from the first ever.
    pub log: usize,
}

/// One agent's part of a halt.
#[derive(Debug, Clone, PartialEq)]
pub struct Halting {
    /// Which agent.
    pub agent: usize,
    /// When it was told.
    pub told_ms: f64,
    /// How long its answer took.
    pub took_ms: Option<f64>,
    /// What it took back, or why it did not.
    pub result: Option<Result<Vec<String>, String>>,
}

/// The state of the keys' side.
#[derive(Debug)]
pub struct Ui {
    /// How it looks.
    pub look: Look,
    /// Which screen.
    pub screen: Screen,
    /// Which panel has the keys.
    pub focus: Focus,
    /// What lies over it.
    pub popup: Option<Popup>,
    /// The selected row of targets.
    pub target: usize,
    /// Whether a person selected it; until then it follows the run.
    pub chosen: bool,
    /// The selected row of faults.
    pub fault: usize,
    /// How many lines the log is scrolled back.
    pub back: usize,
    /// Which of [`super::columns::ZOOMS`].
    pub zoom: usize,
    /// The view stands still.
    pub frozen: Option<Frozen>,
    /// The catalogue's filter.
    pub filter: Input,
    /// The filter is being typed.
    pub filtering: bool,
    /// Layers of the catalogue that are folded.
    pub folded: BTreeSet<model::catalogue::Layer>,
    /// The selected row of the catalogue, among those shown.
    pub row: usize,
    /// The arming form.
    pub form: Form,
    /// What is shown of the connections.
    pub connections: Browse,
    /// What is shown of the requests.
    pub requests: crate::state::requests::Browse,
    /// What is shown of the operations on files.
    pub files: crate::state::files::Browse,
    /// A message.
    pub toast: Option<Toast>,
    /// The last halt from here.
    pub halting: Vec<Halting>,
}

impl Ui {
    /// As it is at the start.
    pub fn new(look: Look) -> Ui {
        Ui {
            look,
            screen: Screen::Overview,
            focus: Focus::Targets,
            popup: None,
            target: 0,
            chosen: false,
            fault: 0,
            back: 0,
            zoom: 0,
            frozen: None,
            filter: Input::default(),
            filtering: false,
            folded: BTreeSet::new(),
            row: 1,
            form: Form::default(),
            connections: Browse::default(),
            requests: crate::state::requests::Browse::default(),
            files: crate::state::files::Browse::default(),
            toast: None,
            halting: Vec::new(),
        }
    }
}
