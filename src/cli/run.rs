//! `murphy demo`, `murphy run` and `murphy check` as they are typed.

use super::{Export, Look, Output, pair};
use clap::{Args, ValueHint};
use model::units::Span;
use std::path::PathBuf;

/// `murphy demo`
#[derive(Debug, Args)]
pub struct Demo {
    /// Without the console: lines of text, the verdict, the report's path; so it is where there is no terminal, too
    #[arg(long)]
    pub headless: bool,
    /// How long the whole experiment takes, 20s at least
    #[arg(long = "for", value_name = "DURATION", default_value = "60s")]
    pub lasts: Span,
    /// The seed of every random choice
    #[arg(long)]
    pub seed: Option<u64>,
    /// Where the report goes
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub report: Option<PathBuf>,
    /// Print the experiment that would be run, and end
    #[arg(long)]
    pub print: bool,
    /// How the console looks.
    #[command(flatten)]
    pub look: Look,
}

/// `murphy run`
#[derive(Debug, Args)]
pub struct Run {
    /// The experiment file; - reads standard input
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Set a variable of the file: --set slow=800ms
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// The seed of every random choice, in place of the file's
    #[arg(long)]
    pub seed: Option<u64>,
    /// Where the report goes, in place of the file's; a directory per run is made in it
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub report: Option<PathBuf>,
    /// Print what would be done and how it would be undone, and touch nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// The experiment's name, where the file asks for it to be typed
    #[arg(long, value_name = "NAME")]
    pub confirm: Option<String>,
    /// Show it on the console
    #[arg(long)]
    pub tui: bool,
    /// Who is told.
    #[command(flatten)]
    pub export: Export,
    /// How the console looks.
    #[command(flatten)]
    pub look: Look,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// `murphy check`
#[derive(Debug, Args)]
pub struct Check {
    /// Experiment files; - reads standard input
    #[arg(required = true, value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
    /// Set a variable of the files
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
}
