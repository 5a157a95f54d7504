#![allow(dead_code)]
#[path = "../../../control/tests/support/memory.rs"]
pub mod memory;
pub mod sim;

use control::service::Service;
use control::wire::Status;
use control::{Caller, Role};
use control::{ClientError, Signal};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use futures::{FutureExt, StreamExt};
use memory::Memory;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use std::sync::{Arc, OnceLock};
use tui::state::Model;
use tui::update::{ByHand, Effect, Msg, News, Snapshot, update};
use tui::{Look, Marker};

pub const DARK: Look = Look { light: false, mono: false, marker: Marker::Braille };

/// A console on agents in memory, without sockets and on a clock that stands still.
pub struct Console {
    pub model: Model,
    pub agents: Vec<Arc<Memory>>,
    streams: Vec<futures::stream::BoxStream<'static, Arc<model::Event>>>,
    pub role: Role,
}

impl Console {
    pub fn new(agents: Vec<Arc<Memory>>, look: Look, read_only: bool) -> Console {
        let addresses = (0..agents.len()).map(|i| format!("unix:/run/murphy-{i}.sock"));
        let model = Model::new(addresses, look, read_only);
        let streams = agents.iter().map(|a| a.events(0)).collect();
        let mut console = Console { model, agents, streams, role: Role::Admin };
        for i in 0..console.agents.len() {
            console.say(i, News::Signal(Signal::Connected { fresh: true }));
            console.snapshot(i);
        }
        console.sync();
        console.tick(console.model.now_ms);
        console
    }

    /// The agent of the pictures, five minutes into its run.
    pub fn shop(look: Look) -> Console {
        // Its history takes a while to make up, and is the same every time.
        static SHOP: OnceLock<(Arc<Memory>, Vec<model::Event>)> = OnceLock::new();
        let (memory, history) = SHOP.get_or_init(|| {
            let memory = still(Memory::new("edge-1"), |m| {
                let m = m.with_proxy("cart", true).with_proxy("pg", false);
                let m = m.with_target(model::TargetKind::Node, "self", "this machine, 4 cores");
                sim::run_history(&m, 300);
                m
            });
            let mut events = memory.events(0);
            let mut history = Vec::new();
            while let Some(Some(event)) = events.next().now_or_never() {
                history.push((*event).clone());
            }
            (memory, history)
        });
        Console::new(vec![memory.like(history)], look, false)
    }

    pub fn tick(&mut self, now_ms: f64) -> Vec<Effect> {
        update(&mut self.model, Msg::Tick(now_ms))
    }

    pub fn say(&mut self, agent: usize, news: News) -> Vec<Effect> {
        update(&mut self.model, Msg::Agent(agent, Box::new(news)))
    }

    /// Answers the console's regular questions.
    pub fn snapshot(&mut self, agent: usize) {
        let memory = self.agents[agent].clone();
        let now = |f: futures::future::BoxFuture<'_, control::Answer<control::wire::AgentStatus>>| {
            f.now_or_never().unwrap().unwrap()
        };
        let status = now(memory.status());
        let now_ms = status.mono_ms;
        self.tick(now_ms);
        let you = Caller { name: "sre".into(), uid: Some(1000), pid: None, role: self.role };
        let snapshot = Snapshot {
            asked_ms: now_ms,
            answered_ms: now_ms,
            status: Status { agent: status, you },
            targets: memory.targets().now_or_never().unwrap().unwrap(),
            faults: memory.faults().now_or_never().unwrap().unwrap(),
            unavailable: None,
        };
        self.say(agent, News::Snapshot(Box::new(snapshot)));
    }

    /// Answers what was asked about connections, and does what was ordered by hand.
    pub fn answer(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let more = match effect {
                Effect::Connections(agent, query) => {
                    let list = self.agents[agent].connections(*query).now_or_never().unwrap();
                    self.say(agent, News::Connections(list.map_err(ClientError::Failure)))
                }
                Effect::Connection(agent, what, id) => {
                    let (memory, me) = (self.agents[agent].clone(), Caller::inside("sre"));
                    let done = match what {
                        ByHand::Close(how) => memory.close_connection(id, how, me).now_or_never(),
                        ByHand::Hold => {
                            memory.hold_connection(id, model::units::Span::secs(60), me).now_or_never()
                        }
                        ByHand::Release => memory.release_connection(id, me).now_or_never(),
                    };
                    let done = done.unwrap().map_err(ClientError::Failure);
                    self.say(agent, News::ConnectionDone(what, id, done))
                }
                other => panic!("{other:?} is not about connections"),
            };
            self.answer(more);
        }
    }

    /// Lets the console ask for connections once more.
    pub fn poll(&mut self) {
        let effects = self.tick(self.model.now_ms + 1000.0);
        self.answer(effects.into_iter().filter(|e| matches!(e, Effect::Connections(..))).collect());
    }

    /// Takes in the events that the agents have.
    pub fn sync(&mut self) {
        for i in 0..self.streams.len() {
            while let Some(Some(event)) = self.streams[i].next().now_or_never() {
                self.say(i, News::Signal(Signal::Event(Box::new((*event).clone()))));
            }
        }
    }

    /// Lets a second pass.
    pub fn second(&mut self, rates: &[(&str, f64)]) {
        for memory in self.agents.clone() {
            let t = {
                let mut state = memory.state();
                state.ahead_ms += 1000.0;
                state.ahead_ms
            };
            sim::second(&memory, t as u64 / 1000, rates);
            self.tick(t);
        }
        self.sync();
    }

    pub fn key(&mut self, code: KeyCode) -> Vec<Effect> {
        update(&mut self.model, Msg::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    pub fn ctrl(&mut self, c: char) -> Vec<Effect> {
        update(&mut self.model, Msg::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL)))
    }

    /// Types letters.
    pub fn text(&mut self, text: &str) -> Vec<Effect> {
        text.chars().flat_map(|c| self.key(KeyCode::Char(c))).collect()
    }

    pub fn buffer(&mut self, columns: u16, rows: u16) -> Buffer {
        update(&mut self.model, Msg::Resize(columns, rows));
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        terminal.draw(|f| tui::view::draw(f, &self.model)).unwrap();
        terminal.backend().buffer().clone()
    }

    /// The screen as text.
    pub fn screen(&mut self, columns: u16, rows: u16) -> String {
        let buffer = self.buffer(columns, rows);
        let line =
            |y| (0..columns).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..rows).map(line).collect::<Vec<_>>().join("\n")
    }
}

/// An agent whose clock stands still.
pub fn still(memory: Arc<Memory>, make: impl FnOnce(Arc<Memory>) -> Arc<Memory>) -> Arc<Memory> {
    memory.state().still = true;
    make(memory)
}
