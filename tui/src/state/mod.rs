//! Everything the console knows, and nothing of how it is drawn.

pub mod agent;
pub mod bounds;
pub mod columns;
pub mod connections;
pub mod files;
pub mod requests;
pub mod series;
pub mod ui;

pub use agent::{Agent, ArmedFault, Check, Link, Run, Step};
pub use ui::{Focus, Halting, Level, Look, Popup, Toast, Ui};

use crate::screen::Screen;
use crate::tell::Told;
use bounds::Bound;
use columns::Columns;
use control::Role;
use model::TargetRef;
use series::Series;
use std::collections::VecDeque;

/// How many events are kept to look at.
const LOG: usize = 2000;

/// How many past fault windows are kept.
const WINDOWS: usize = 200;

/// The console's whole state. Times are milliseconds on the console's clock, which [`crate::update::Msg::Tick`] moves.
#[derive(Debug)]
pub struct Model {
    /// Now.
    pub now_ms: f64,
    /// What to add to UTC for the time of day where the reader is, in seconds.
    pub utc_offset_s: i32,
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
    /// Keys that change something are refused, whatever the agents would allow.
    pub read_only: bool,
    /// This process: an agent in it ends with the console.
    pub pid: Option<u32>,
    /// The agents, in the order given.
    pub agents: Vec<Agent>,
    /// What happened, oldest first.
    pub log: VecDeque<Entry>,
    /// How many entries were forgotten, so that places in the log can be named.
    pub forgotten: usize,
    /// When faults were on, oldest first.
    pub windows: Vec<Window>,
    /// How many letters were made up here.
    pub tags: usize,
    /// The bounds of the run's metrics.
    pub bounds: Vec<Bound>,
    /// What the plots show.
    pub columns: Columns,
    /// Faults armed from this console, oldest first: agent and id.
    pub mine: Vec<(usize, String)>,
    /// What the person at the keys has open, selected and typed.
    pub ui: Ui,
    /// Something visible changed since it was drawn.
    pub dirty: bool,
}

/// One line of the log.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Which agent.
    pub agent: usize,
    /// Wall-clock time, milliseconds since 1970.
    pub wall_ms: u64,
    /// On the console's clock.
    pub at_ms: f64,
    /// In words.
    pub told: Told,
}

/// When a fault was on.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Which agent.
    pub agent: usize,
    /// The fault's id.
    pub id: String,
    /// Its letter.
    pub tag: String,
    /// The fault in a few words.
    pub label: String,
    /// What it was on.
    pub target: TargetRef,
    /// When it was on.
    pub from_ms: f64,
    /// When it was off again.
    pub to_ms: Option<f64>,
}

/// One row of the table of targets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TargetRow<'a> {
    /// All of them.
    All,
    /// One.
    One(usize, &'a model::sample::TargetState),
}

impl Model {
    /// A console for agents at those addresses.
    pub fn new(addresses: impl IntoIterator<Item = String>, look: Look, read_only: bool) -> Model {
        let mut columns = Columns::default();
        columns.rebuild(&[], columns::ZOOMS[0]);
        Model {
            now_ms: 0.0,
            utc_offset_s: 0,
            size: (80, 24),
            read_only,
            pid: None,
            agents: addresses.into_iter().map(Agent::new).collect(),
            log: VecDeque::new(),
            forgotten: 0,
            windows: Vec::new(),
            tags: 0,
            bounds: Vec::new(),
            columns,
            mine: Vec::new(),
            ui: Ui::new(look),
            dirty: true,
        }
    }

    /// The rows of the table of targets: all together first, when there are several.
    pub fn target_rows(&self) -> Vec<TargetRow<'_>> {
        let one = self.agents.iter().enumerate().flat_map(|(i, a)| a.targets.iter().map(move |t| (i, t)));
        let mut rows: Vec<TargetRow<'_>> = one.map(|(i, t)| TargetRow::One(i, t)).collect();
        if rows.len() > 1 {
            rows.insert(0, TargetRow::All);
        }
        rows
    }

    /// The selected target; none when all are.
    pub fn selected_target(&self) -> Option<(usize, &model::sample::TargetState)> {
        match self.target_rows().get(self.ui.target) {
            Some(TargetRow::One(agent, target)) => Some((*agent, target)),
            _ => None,
        }
    }

    /// The target that the run is about: the first of its bounds' that is open.
    pub fn followed(&self) -> Option<TargetRef> {
        let open = |name: &String| {
            let targets = self.agents.iter().flat_map(|a| &a.targets);
            targets.map(|t| &t.target).find(|t| t.to_string() == *name).cloned()
        };
        self.bounds.iter().filter_map(|b| b.target.as_ref()).find_map(open)
    }

    /// All faults that are on, with their agents.
    pub fn armed(&self) -> impl Iterator<Item = (usize, &ArmedFault)> {
        self.agents.iter().enumerate().flat_map(|(i, a)| a.faults.iter().map(move |f| (i, f)))
    }

    /// How many faults are on.
    pub fn armed_count(&self) -> usize {
        self.agents.iter().map(|a| a.faults.len()).sum()
    }

    /// The selected fault.
    pub fn selected_fault(&self) -> Option<(usize, &ArmedFault)> {
        self.armed().nth(self.ui.fault)
    }

    /// The run that matters: one that is going on, or else the last one.
    pub fn run(&self) -> Option<&Run> {
        let running = self.agents.iter().find_map(Agent::running);
        running.or_else(|| self.agents.iter().find_map(|a| a.run.as_ref()))
    }

    /// The same with its agent.
    pub fn run_at(&self) -> Option<(usize, &Run)> {
        let all = || self.agents.iter().enumerate();
        let running = all().find_map(|(i, a)| Some((i, a.running()?)));
        running.or_else(|| all().find_map(|(i, a)| Some((i, a.run.as_ref()?))))
    }

    /// Who halted, of the first agent that is halted.
    pub fn halted(&self) -> Option<(usize, &control::wire::HaltState)> {
        self.agents.iter().enumerate().find_map(|(i, a)| a.halted.as_ref().map(|h| (i, h)))
    }

    /// The least that we may do at any agent that answers.
    pub fn role(&self) -> Option<Role> {
        self.agents.iter().filter(|a| a.up()).filter_map(|a| a.role).min()
    }

    /// The letters for a new window: those that the agent calls it by, so that `murphy disarm B` means what is B here.
    /// What has a longer name, or one that another agent's fault has already, gets small letters, which no agent gives.
    fn tag(&mut self, id: &str) -> String {
        let given = id.len() <= 2 && id.bytes().all(|b| b.is_ascii_uppercase());
        if given && !self.windows.iter().any(|w| w.tag == id && w.to_ms.is_none()) {
            return id.to_owned();
        }
        let n = self.tags;
        self.tags += 1;
        let letter = char::from(b'a' + (n % 26) as u8);
        if n < 26 { letter.to_string() } else { format!("{letter}{}", n / 26 + 1) }
    }

    /// Notes that a fault is on, and gives its letter; the one it has when it is known already.
    pub fn open_window(&mut self, agent: usize, id: &str, fault: &model::Fault, from_ms: f64) -> String {
        if let Some(w) = self.windows.iter().rfind(|w| w.agent == agent && w.id == id && w.to_ms.is_none()) {
            return w.tag.clone();
        }
        let tag = self.tag(id);
        if self.windows.len() == WINDOWS {
            self.windows.remove(0);
        }
        let at = self.windows.partition_point(|w| w.from_ms <= from_ms);
        self.windows.insert(
            at,
            Window {
                agent,
                id: id.to_owned(),
                tag: tag.clone(),
                label: fault.inject.describe(),
                target: fault.target.clone(),
                from_ms,
                to_ms: None,
            },
        );
        tag
    }

    /// Notes that a fault is off.
    pub fn close_window(&mut self, agent: usize, id: &str, to_ms: f64) {
        let open = |w: &&mut Window| w.agent == agent && w.id == id && w.to_ms.is_none();
        if let Some(w) = self.windows.iter_mut().rfind(open) {
            w.to_ms = Some(to_ms.max(w.from_ms));
        }
    }

    /// Adds a line to the log.
    pub fn note(&mut self, entry: Entry) {
        if self.log.len() == LOG {
            self.log.pop_front();
            self.forgotten += 1;
        }
        // By time: of several agents, one's history may come after another's news.
        let at = self.log.partition_point(|e| e.at_ms <= entry.at_ms);
        self.log.insert(at, entry);
    }

    /// The series that the plots show.
    pub fn plotted(&self) -> Vec<&Series> {
        match self.selected_target() {
            Some((agent, target)) => {
                self.agents[agent].series.get(&target.target.to_string()).into_iter().collect()
            }
            None => self.agents.iter().flat_map(|a| a.series.values()).collect(),
        }
    }

    /// Adds up the plots' columns anew.
    pub fn replot(&mut self) {
        let zoom = columns::ZOOMS[self.ui.zoom];
        let mut columns = std::mem::take(&mut self.columns);
        columns.rebuild(&self.plotted(), zoom);
        self.columns = columns;
    }

    /// Adds the newest seconds to the plots' columns.
    pub fn advance_plots(&mut self) {
        let mut columns = std::mem::take(&mut self.columns);
        columns.advance(&self.plotted());
        self.columns = columns;
    }

    /// The newest column that is shown. It moves on without data too, so that silence is seen as a gap.
    pub fn last_column(&self) -> i64 {
        if let Some(frozen) = self.ui.frozen {
            return frozen.column;
        }
        let zoom = self.columns.zoom.max(1);
        let silent = ((self.now_ms / 1000.0) as i64 - 3).div_euclid(zoom);
        self.columns.last().map_or(silent, |last| last.max(silent))
    }

    /// Requests per second of a target over its last seconds; none without data.
    pub fn rate_of(&self, agent: usize, target: &str) -> Option<f64> {
        let series = self.agents.get(agent)?.series.get(target)?;
        let last = series.last()?;
        if (self.now_ms / 1000.0) as i64 - last > 5 {
            return None;
        }
        let rates: Vec<f64> = (last - 2..=last).filter_map(|s| series.at(s)).map(|b| b.rate()).collect();
        (!rates.is_empty()).then(|| rates.iter().sum::<f64>() / rates.len() as f64)
    }

    /// Requests per second of everything.
    pub fn total_rate(&self) -> f64 {
        let of = |(i, a): (usize, &Agent)| a.series.keys().filter_map(|t| self.rate_of(i, t)).sum::<f64>();
        self.agents.iter().enumerate().map(of).sum()
    }

    /// Whether an agent lives in this very process, and ends with it.
    pub fn inside(&self) -> bool {
        self.agents.iter().any(|a| a.pid.is_some() && a.pid == self.pid)
    }

    /// Whether connections are asked for: only while they are looked at, and while some are held, which the head line says
    /// everywhere.
    pub fn polls_connections(&self) -> bool {
        let wanted = match self.ui.screen {
            Screen::Connections => self.ui.frozen.is_none(),
            _ => self.connection_counts().1 > 0,
        };
        wanted && self.agents.iter().any(Agent::up)
    }

    /// Whether anything is asked for once a second.
    pub fn polls(&self) -> bool {
        self.polls_connections() || self.polls_requests() || self.polls_operations()
    }

    /// Whether time alone changes what is on the screen.
    pub fn counting(&self) -> bool {
        self.armed_count() > 0
            || self.agents.iter().any(|a| a.running().is_some() || !a.up())
            || self.ui.toast.is_some()
            || !self.columns.is_empty()
    }
}
