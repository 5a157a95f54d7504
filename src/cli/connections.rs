//! `murphy connections` as it is typed.

use super::{Output, Which, target};
use clap::{Args, Subcommand};
use model::units::Span;

/// `murphy connections`
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  murphy connections --target proxy:web --fault
  murphy connections --text 'held 10.0.3' --sort bytes
  murphy connections hold 17 --for 30s
  murphy connections close 17 --rst"
)]
pub struct Connections {
    /// What to do with one; without it they are listed.
    #[command(subcommand)]
    pub act: Option<ConnectionAct>,
    /// Only those through this target: proxy:web
    #[arg(long, value_name = "TARGET", value_parser = target)]
    pub target: Option<model::TargetRef>,
    /// Only those that a fault has
    #[arg(long)]
    pub fault: bool,
    /// Only those in which these words stand: in addresses, state, the faults' names and ids
    #[arg(long, value_name = "WORDS", default_value = "")]
    pub text: String,
    /// Which come first: age (the oldest), newest, bytes (those that carried most)
    #[arg(long, default_value = "age", value_parser = sort)]
    pub sort: control::Sort,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = control::connections::LIMIT)]
    pub limit: usize,
    /// Which agent.
    #[command(flatten)]
    pub which: Which,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// What is done with a connection by hand.
#[derive(Debug, Subcommand)]
pub enum ConnectionAct {
    /// End a connection, in order or by a reset; it cannot be undone
    Close {
        /// Its number, as `murphy connections` shows it
        id: u64,
        /// By a reset
        #[arg(long)]
        rst: bool,
        /// Which agent.
        #[command(flatten)]
        which: Which,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Let nothing pass on a connection until it is released
    Hold {
        /// Its number, as `murphy connections` shows it
        id: u64,
        /// How long at most
        #[arg(long = "for", value_name = "DURATION", default_value_t = control::connections::HOLD_LEASE)]
        lease: Span,
        /// Which agent.
        #[command(flatten)]
        which: Which,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Let a held connection go on
    Release {
        /// Its number, as `murphy connections` shows it
        id: u64,
        /// Which agent.
        #[command(flatten)]
        which: Which,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
}

fn sort(text: &str) -> Result<control::Sort, String> {
    text.parse().map_err(|()| "write age, newest or bytes".to_owned())
}
