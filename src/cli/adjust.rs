//! `murphy adjust` as it is typed.

use super::{Output, Which, condition, pair};
use clap::Args;
use model::units::{Percent, Span};

/// `murphy adjust`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  murphy adjust A delay=300ms                      what passes from now on is that late, and so is what waits already
  murphy adjust A --percent 50% --for 5m           half of it, and for five minutes from now on
  murphy adjust A --when path='/pay*'              only those; --when everything for all again
What is not named stays as it is.")]
pub struct Adjust {
    /// The fault's id, as `murphy list` shows it
    pub id: String,
    /// Parameters to change; KEY= takes one away that was given
    #[arg(value_name = "KEY=VALUE", value_parser = pair)]
    pub params: Vec<(String, String)>,
    /// How long it lasts from now on
    #[arg(long = "for", value_name = "DURATION")]
    pub lasts: Option<Span>,
    /// The share of connections, requests or operations that is hit: 30%
    #[arg(long, value_name = "SHARE", group = "share")]
    pub percent: Option<Percent>,
    /// Hit every n-th
    #[arg(long, value_name = "N", group = "share", value_parser = clap::value_parser!(u64).range(1..))]
    pub nth: Option<u64>,
    /// Hit the first n
    #[arg(long, value_name = "N", group = "share", value_parser = clap::value_parser!(u64).range(1..))]
    pub first: Option<u64>,
    /// What it must match, in place of what it matched: as for `murphy arm`, or everything
    #[arg(long, value_name = "KEY=VALUE", value_parser = conditions)]
    pub when: Vec<Condition>,
    /// Which agent.
    #[command(flatten)]
    pub which: Which,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// A part of a matcher.
#[derive(Debug, Clone)]
pub enum Condition {
    /// Whatever comes.
    Everything,
    /// One that must hold.
    Pair(String, String),
}

fn conditions(text: &str) -> Result<Condition, String> {
    if text == "everything" {
        return Ok(Condition::Everything);
    }
    condition(text).map(|(key, value)| Condition::Pair(key, value))
}
