//! The console: looks at agents and drives them, through the control API and nothing else.
//!
//! ```text
//! keys ─┐                        ┌─▶ view::draw ─▶ terminal
//!       ├─▶ update(&mut Model) ──┤
//! agents┘      (pure)            └─▶ effects ─▶ agents
//! ```
#![forbid(unsafe_code)]

mod catalogue;
pub mod change;
mod cmdline;
pub mod command;
pub mod encode;
pub mod form;
pub mod plain;
pub mod radius;
mod remote;
pub mod screen;
mod shell;
pub mod state;
pub mod tell;
mod term;
pub mod update;
pub mod view;

pub use state::Look;
pub use state::ui::Marker;

use control::Endpoint;
use state::Model;
use std::io::{self, IsTerminal};

/// How the console is opened.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The agents to attach to; they may come and go.
    pub attach: Vec<Endpoint>,
    /// Only look. Halting stays possible.
    pub read_only: bool,
    /// Dark or light.
    pub theme: Theme,
    /// No colours at all; `NO_COLOR` in the environment asks for it too.
    pub no_color: bool,
    /// What plots are drawn with.
    pub marker: Marker,
}

/// The background that colours are chosen for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Theme {
    /// As `COLORFGBG` says, dark when it says nothing; `T` changes it.
    #[default]
    Auto,
    /// Dark.
    Dark,
    /// Light.
    Light,
}

/// How it was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// How many faults were armed when it was left, as far as was known.
    pub armed: usize,
    /// Whether everything was halted, from here or by someone else, and not lifted.
    pub halted: bool,
}

/// Why the console cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Input or output is no terminal.
    #[error("the console needs a terminal, and {what} is none; for a plain text use: murphy watch --plain")]
    NoTerminal {
        /// Which end.
        what: &'static str,
    },
    /// The terminal failed.
    #[error("the terminal failed: {source}; the agents go on, and what is armed ends by itself")]
    Terminal {
        /// What the system said.
        source: io::Error,
    },
}

/// Opens the console and returns when it is left. Blocks, on a runtime of its own, so that an engine in the same process
/// cannot slow its keys down: from async code call it through `spawn_blocking`.
pub fn run(options: Options) -> Result<Outcome, Error> {
    if !io::stdin().is_terminal() {
        return Err(Error::NoTerminal { what: "the input" });
    }
    if !io::stdout().is_terminal() {
        return Err(Error::NoTerminal { what: "the output" });
    }
    let light = match options.theme {
        Theme::Dark => false,
        Theme::Light => true,
        Theme::Auto => std::env::var("COLORFGBG").is_ok_and(|v| light_background(&v)),
    };
    let mono = options.no_color || std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let look = Look { light, mono, marker: options.marker };
    let addresses = options.attach.iter().map(Endpoint::to_string);
    let mut model = Model::new(addresses, look, options.read_only);
    model.pid = Some(std::process::id());
    model.utc_offset_s = utc_offset_s();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Terminal { source })?;
    runtime.block_on(shell::run(model, options.attach))
}

/// `COLORFGBG` is `foreground;background`, in the sixteen colours: 7 and 15 are light.
fn light_background(value: &str) -> bool {
    value.rsplit(';').next().is_some_and(|bg| matches!(bg.trim(), "7" | "15"))
}

fn utc_offset_s() -> i32 {
    let now = jiff::Timestamp::now();
    jiff::tz::TimeZone::system().to_offset(now).seconds()
}

#[cfg(test)]
mod tests {
    #[test]
    fn backgrounds() {
        assert!(super::light_background("0;15") && super::light_background("0;default;7"));
        assert!(!super::light_background("15;0") && !super::light_background(""));
    }
}
