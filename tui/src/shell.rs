//! The loop: keys first, then what agents say, drawn at most so often.

use crate::remote::Remote;
use crate::state::Model;
use crate::term::Term;
use crate::update::{Effect, Msg, next_tick_ms, update};
use crate::{Error, Outcome, view};
use control::Endpoint;
use crossterm::event::{Event, EventStream};
use futures::StreamExt;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Time between frames that only data asks for; a key is drawn at once.
const FRAME: Duration = Duration::from_millis(250);

/// How many messages are taken in before the keys are looked at again.
const BATCH: usize = 256;

/// How long calls under way are waited for when leaving: a halt must go out.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) async fn run(mut model: Model, endpoints: Vec<Endpoint>) -> Result<Outcome, Error> {
    let terminal = |source| Error::Terminal { source };
    let start = Instant::now();
    let mut hangup = signal(SignalKind::hangup()).map_err(terminal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(terminal)?;
    // From a key it comes as a key; from elsewhere it ends this like any other program.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(terminal)?;
    let mut term = Term::take().map_err(terminal)?;
    let (mut remote, mut messages) = Remote::start(endpoints, start);
    model.size = term.size().map_err(terminal)?;
    let mut keys = EventStream::new();
    let mut pace = Pace { drawn: None, at_once: true };
    let mut left = false;
    while !left {
        if model.dirty && pace.due() {
            term.draw(|f| view::draw(f, &model)).map_err(terminal)?;
            model.dirty = false;
            pace.drew();
        }
        let tick = next_tick_ms(&model).map(|ms| Duration::from_secs_f64(ms / 1e3));
        let msg = tokio::select! {
            biased; // a key, and so a halt, waits for nobody
            key = keys.next() => match key {
                None => Some(Msg::Terminate),
                Some(Err(source)) => return Err(Error::Terminal { source }),
                Some(Ok(event)) => {
                    pace.at_once = true;
                    of_terminal(event)
                }
            },
            _ = hangup.recv() => Some(Msg::Terminate),
            _ = terminate.recv() => Some(Msg::Terminate),
            _ = interrupt.recv() => Some(Msg::Terminate),
            () = pace.wait(), if model.dirty => None,
            Some(msg) = messages.recv() => Some(msg),
            () = sleep(tick) => None,
        };
        let mut effects = update(&mut model, Msg::Tick(remote.now_ms()));
        if let Some(msg) = msg {
            if let Msg::Resize(columns, rows) = msg {
                term.resize(columns, rows).map_err(terminal)?;
            }
            effects.extend(update(&mut model, msg));
        }
        effects.extend(drain(&mut model, &mut messages));
        for effect in effects {
            match effect {
                Effect::Copy(text) => term.copy(&text).map_err(terminal)?,
                Effect::Leave => left = true,
                effect => remote.carry_out(effect),
            }
        }
    }
    drop(term);
    remote.finish(PATIENCE).await;
    Ok(Outcome {
        armed: model.armed_count(),
        halted: !model.ui.halting.is_empty() || model.halted().is_some(),
    })
}

/// Takes in what has queued up, so that one frame shows all of it.
fn drain(model: &mut Model, messages: &mut mpsc::Receiver<Msg>) -> Vec<Effect> {
    let mut effects = Vec::new();
    for _ in 0..BATCH {
        match messages.try_recv() {
            Ok(msg) => effects.extend(update(model, msg)),
            Err(_) => break,
        }
    }
    effects
}

fn of_terminal(event: Event) -> Option<Msg> {
    match event {
        Event::Key(key) => Some(Msg::Key(key)),
        Event::Paste(text) => Some(Msg::Paste(text)),
        Event::Resize(columns, rows) => Some(Msg::Resize(columns, rows)),
        _ => None,
    }
}

async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// When the next frame may be drawn.
struct Pace {
    drawn: Option<Instant>,
    at_once: bool,
}

impl Pace {
    fn left(&self) -> Duration {
        self.drawn.map_or(Duration::ZERO, |at| FRAME.saturating_sub(at.elapsed()))
    }

    fn due(&self) -> bool {
        self.at_once || self.left().is_zero()
    }

    async fn wait(&self) {
        tokio::time::sleep(self.left()).await;
    }

    fn drew(&mut self) {
        self.drawn = Some(Instant::now());
        self.at_once = false;
    }
}
