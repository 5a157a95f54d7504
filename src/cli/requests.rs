//! `murphy requests` as it is typed.

use super::{Output, Which, condition, target};
use clap::{Args, Subcommand};
use control::TopBy;
use model::units::Span;
use model::{RequestState, TargetRef};

/// `murphy requests`
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Requests are kept while somebody looks: from the first look until 30 s after the last.

Examples:
  murphy requests --follow --text 'POST /pay'
  murphy requests --fault --target proxy:web
  murphy requests hold proxy:web --when 'path=/pay*' --for 2m
  murphy requests release 4711
  murphy requests top proxy:web --by route"
)]
pub struct Requests {
    /// What to do; without it requests are listed.
    #[command(subcommand)]
    pub act: Option<RequestAct>,
    /// Only those through this target: proxy:web
    #[arg(long, value_name = "TARGET", value_parser = target)]
    pub target: Option<TargetRef>,
    /// Only those that a fault did something to
    #[arg(long)]
    pub fault: bool,
    /// Only those that are held, waiting, answering, done or broken
    #[arg(long, value_parser = state)]
    pub state: Option<RequestState>,
    /// Only those in which these words stand: in method, path, host, status, client, the faults' names and ids
    #[arg(long, value_name = "WORDS", default_value = "")]
    pub text: String,
    /// At most so many, the last ones
    #[arg(long, value_name = "N", default_value_t = control::requests::LIMIT)]
    pub limit: usize,
    /// Go on and print each request when it is over, until ctrl-c
    #[arg(long, short)]
    pub follow: bool,
    /// Which agent.
    #[command(flatten)]
    pub which: Which,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// What is done about requests.
#[derive(Debug, Subcommand)]
pub enum RequestAct {
    /// Hold requests that match, before the service gets them
    Hold {
        /// The target they go through: proxy:web
        #[arg(value_parser = target)]
        target: TargetRef,
        /// What they must match: method=POST, path='/pay*', header.x-user='beta-*'; any and not as JSON
        #[arg(long, value_name = "KEY=VALUE", value_parser = condition)]
        when: Vec<(String, String)>,
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
    /// Let one held request go on
    Release {
        /// Its number, as `murphy requests` shows it
        id: u64,
        /// Which agent.
        #[command(flatten)]
        which: Which,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Hold no more; what was held goes on
    Resume {
        /// The hold's number, as `murphy requests hold` said it
        hold: u64,
        /// Which agent.
        #[command(flatten)]
        which: Which,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Who asks most, or for what
    Top {
        /// The target: proxy:web
        #[arg(value_parser = target)]
        target: TargetRef,
        /// client or route (a method and a path whose numbers and ids are *)
        #[arg(long, default_value = "client", value_parser = top_by)]
        by: TopBy,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = control::requests::TOP)]
        limit: usize,
        /// Which agent.
        #[command(flatten)]
        which: Which,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
}

fn state(text: &str) -> Result<RequestState, String> {
    RequestState::ALL
        .into_iter()
        .find(|s| s.word() == text)
        .ok_or_else(|| "write held, waiting, answering, done or broken".to_owned())
}

fn top_by(text: &str) -> Result<TopBy, String> {
    text.parse().map_err(|()| "write client or route".to_owned())
}
